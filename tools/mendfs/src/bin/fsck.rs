// SPDX-License-Identifier: GPL-2.0

//! Checks and repairs a mendfs filesystem that is not mounted.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use cli::Unwritten;
use mendfs::check::{self, Checked};
use mendfs::device;
use mendfs::media::FileMedia;
use mendfs::report::{Class, Report};

/// Exit codes, as in fsck(8).
const CLEAN: u8 = 0;
const CORRECTED: u8 = 1;
const UNCORRECTED: u8 = 4;
const ERROR: u8 = 8;
const USAGE: u8 = 16;

/// Check and repair a mendfs filesystem that is not mounted.
#[derive(Parser)]
#[command(name = "fsck.mendfs", version)]
struct Cli {
    /// A block device or an image file.
    device: String,
    /// Repair nothing, and write nothing.
    #[arg(short, conflicts_with_all = ["yes", "preen"])]
    no: bool,
    /// Repair everything.
    #[arg(short, conflicts_with = "preen")]
    yes: bool,
    /// Repair everything if nothing is lost; otherwise repair nothing.
    #[arg(short, visible_short_alias = 'a')]
    preen: bool,
    /// Check even if the filesystem seems clean. This is always done.
    #[arg(short, hide = true)]
    force: bool,
    /// List all records, one per line, instead of checking. Writes nothing.
    #[arg(long, conflicts_with_all = ["yes", "preen", "json"])]
    list: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Print also the findings that are not damage, and the statistics.
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    cli::run(ERROR, USAGE, run)
}

fn run(cli: Cli) -> Result<u8, Box<dyn Error>> {
    let of_device = |error: String| format!("{}: {error}", cli.device);
    let asks = !cli.no && !cli.yes && !cli.preen && !cli.list && io::stdin().is_terminal();
    let may_write = cli.yes || cli.preen || asks;
    let file = device::open(&cli.device, may_write).map_err(of_device)?;
    let mut media = FileMedia::new(file).map_err(|e| of_device(e.to_string()))?;

    if cli.list {
        for line in check::list(&media).map_err(of_device)? {
            cli::print(line)?;
        }
        return Ok(CLEAN);
    }

    let Checked { mut report, repair } = check::check(&media, device::now()).map_err(of_device)?;

    if !cli.json {
        print_findings(&cli, &report)?;
    }
    if decides_to_repair(&cli, &report, asks) {
        repair
            .write(&mut media)
            .map_err(|e| of_device(e.to_string()))?;
        report.is_repaired = true;
    }
    print_result(&cli, &report)?;

    Ok(match (report.is_clean(), report.is_repaired) {
        (true, _) => CLEAN,
        (false, true) if report.unrepairable == 0 => CORRECTED,
        _ => UNCORRECTED,
    })
}

/// Whether the options or the user allow a repair.
fn decides_to_repair(cli: &Cli, report: &Report, asks: bool) -> bool {
    if cli.preen {
        return report.losses == 0;
    }
    if !asks || report.is_clean() {
        return cli.yes;
    }

    let mut answer = String::new();

    write!(io::stderr(), "Repair? [y/N] ").is_ok()
        && io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn print_findings(cli: &Cli, report: &Report) -> Result<(), Unwritten> {
    for finding in &report.findings {
        if cli.verbose || finding.class != Class::Note {
            cli::print(finding)?;
        }
    }

    let kept = report.findings.len() as u64;
    let all = report.errors + report.notes;

    if kept < all {
        cli::print(format_args!("and {} more", all - kept))?;
    }
    Ok(())
}

fn print_result(cli: &Cli, report: &Report) -> Result<(), Unwritten> {
    if cli.json {
        return cli::print(report.as_json(&cli.device));
    }
    if cli.verbose {
        let s = &report.statistics;

        cli::print(format_args!(
            "{} inodes, {} of them directories; {} names, {} attributes, {} extents, \
             {} bad ranges\n{} of {} data blocks used, {} of {} metadata units used",
            s.inodes,
            s.directories,
            s.names,
            s.attributes,
            s.extents,
            s.bad_ranges,
            s.used_blocks,
            s.data_blocks,
            s.used_units,
            s.units
        ))?;
    }
    match (report.errors, report.corrected()) {
        (0, _) => cli::print(format_args!("{}: clean", cli.device)),
        (errors, 0) => cli::print(format_args!(
            "{}: {errors} errors, {} of them losses; nothing repaired",
            cli.device, report.losses
        )),
        (errors, corrected) => cli::print(format_args!(
            "{}: {errors} errors, {} of them losses; {corrected} repaired",
            cli.device, report.losses
        )),
    }
}
