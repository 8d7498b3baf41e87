// SPDX-License-Identifier: GPL-2.0

//! `daxmf inject`: injects memory failures and bad blocks, to test how programs and filesystems
//! handle them.

use std::fs;
use std::io::{self, IsTerminal};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use clap::Args;
use cli::Unwritten;
use serde_json::json;

use crate::bad;
use crate::block;
use crate::physical::{self, PAGE};
use crate::privilege;
use crate::table::SECTOR;
use crate::text::number;

/// A file of mm/hwpoison-inject.c. A write of a page frame's number calls `memory_failure()`.
const CORRUPT_PFN: &str = "/sys/kernel/debug/hwpoison/corrupt-pfn";

/// What to inject, and where.
#[derive(Args)]
pub struct Options {
    /// A persistent-memory disk with DAX: a path, or a name in the kernel, such as pmem0.
    device: String,
    /// First byte of the device, decimal or 0x….
    #[arg(value_parser = number)]
    offset: u64,
    /// Number of bytes.
    #[arg(value_parser = number, default_value = "4096")]
    length: u64,
    /// List the range as bad, as if a scrub had found an error. Without this, the pages of the
    /// range fail, as if a processor had found one.
    #[arg(long)]
    error: bool,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Injects a failure or an error. Returns a line for each error.
pub fn act(options: &Options) -> Result<Vec<String>, Unwritten> {
    let target = match Target::new(options) {
        Ok(target) => target,
        Err(error) => return Ok(vec![error]),
    };

    if !options.yes {
        if let Err(error) = confirm(options, &target) {
            return Ok(vec![error, "nothing was injected".into()]);
        }
    }
    let injected = match options.error {
        true => target.list_as_bad(),
        false => target.fail(),
    };

    if let Err(error) = injected {
        return Ok(vec![error]);
    }
    let Target { disk, range, .. } = &target;
    let (offset, length) = (range.start, range.end - range.start);

    match options.json {
        true => cli::print(json!({
            "device": disk,
            "offset": offset,
            "length": length,
            "kind": if options.error { "error" } else { "failure" },
        }))?,
        false => cli::print(format_args!(
            "{disk}: {length:#x} bytes at {offset:#x}; 'daxmf events {disk}' shows the outcome"
        ))?,
    }
    Ok(vec![])
}

/// Asks the user for confirmation. Afterwards checks that the target is still the same, because the
/// disk can have gone while the user thought, and another one can have its name or its memory.
fn confirm(options: &Options, target: &Target) -> Result<(), String> {
    if !io::stdin().is_terminal() {
        return Err("standard input is not a terminal: use --yes".into());
    }
    let Target { disk, range, .. } = target;
    let effect = match options.error {
        true => "will read as an error until it is written",
        false => "will fail: processes that map it get SIGBUS, and its holder is notified",
    };
    let mut answer = String::new();

    // Standard output is for the result, which can be JSON.
    cli::warn(format_args!(
        "{disk}: memory from {:#x} to {:#x} {effect}. Type 'yes' to continue:",
        range.start, range.end
    ));
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| format!("standard input: {error}"))?;
    if answer.trim() != "yes" {
        return Err("the answer was not 'yes'".into());
    }
    match Target::new(options)? == *target {
        true => Ok(()),
        false => Err(format!(
            "{disk}: this is another disk than before the question: run the command again"
        )),
    }
}

/// A range of a disk.
#[derive(PartialEq, Eq)]
struct Target {
    disk: String,
    range: Range<u64>,
    /// Physical address of the first byte of the disk.
    address: u64,
    /// The number of the disk, which the kernel gives to no other disk.
    sequence: u64,
}

impl Target {
    /// Checks the device and the range.
    fn new(options: &Options) -> Result<Self, String> {
        privilege::check("it can kill processes and make data unreadable")?;

        let device = &options.device;
        let disk = block::whole_disk(device)?;
        let sequence = bad::number(&format!("/sys/block/{disk}/diskseq"))?;
        let address = physical::start(&disk)
            .ok_or_else(|| format!("{device}: not a persistent-memory disk with DAX"))?;
        let (offset, length) = (options.offset, options.length);
        let range = bad::range_of(&disk, &format!("/sys/block/{disk}"), offset, length)?;
        let unit = match options.error {
            true => SECTOR,
            false => PAGE,
        };

        if offset % unit != 0 || length % unit != 0 {
            return Err(format!(
                "{disk}: offset {offset:#x} and length {length:#x} must be multiples of {unit}"
            ));
        }
        Ok(Self {
            disk,
            range,
            address,
            sequence,
        })
    }

    fn list_as_bad(&self) -> Result<(), String> {
        let Self { disk, range, .. } = self;
        let path = format!("/sys/block/{disk}/badblocks");
        let sectors = (range.end - range.start) / SECTOR;

        fs::write(&path, format!("{} {sectors}", range.start / SECTOR))
            .map_err(|error| format!("{path}: {error}"))
    }

    /// Makes the pages fail one after another, up to the first error.
    fn fail(&self) -> Result<(), String> {
        if !Path::new(CORRUPT_PFN).exists() {
            // If modprobe fails, the write below fails, and its error is reported.
            let _ = Command::new("modprobe").arg("hwpoison-inject").status();
        }
        let pages = self.range.clone().step_by(PAGE as usize);

        pages.into_iter().try_for_each(|offset| {
            let pfn = self.address.saturating_add(offset) / PAGE;

            fs::write(CORRUPT_PFN, format!("{pfn:#x}")).map_err(|error| {
                format!(
                    "{}: {offset:#x}: {CORRUPT_PFN}: {}",
                    self.disk,
                    explain(&error)
                )
            })
        })
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "no such file: the kernel has no hwpoison-inject, or debugfs is not mounted".into()
        }
        _ => error.to_string(),
    }
}
