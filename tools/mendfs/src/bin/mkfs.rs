// SPDX-License-Identifier: GPL-2.0

//! Makes a mendfs filesystem.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use cli::Unwritten;
use mendfs::format::{Fault, Geometry, Header, Magic, Secret, Superblock, Time};
use mendfs::media::{FileMedia, Media};
use mendfs::{checksum, device, info, make};
use uuid::Uuid;

/// Make a mendfs filesystem.
#[derive(Parser)]
#[command(name = "mkfs.mendfs", version)]
struct Cli {
    /// A block device with DAX, or an image file.
    device: String,
    /// The label, up to 32 bytes.
    #[arg(short = 'L', long, default_value = "", value_parser = info::parse_label)]
    label: info::Label,
    /// The UUID [default: random].
    #[arg(short = 'U', long)]
    uuid: Option<Uuid>,
    /// The key of the hash that orders names, 32 hexadecimal digits [default: random]. A user who
    /// knows it can slow down other users. Use it only to make reproducible images.
    #[arg(long, value_name = "DIGITS")]
    secret: Option<Uuid>,
    /// Size of the filesystem in blocks of 4 KiB [default: the size of the device].
    #[arg(short, long, value_name = "BLOCKS")]
    blocks: Option<u64>,
    /// Initial size of each copy of the metadata in blocks of 4 KiB. It grows when needed.
    #[arg(short, long, value_name = "BLOCKS")]
    metadata: Option<u64>,
    /// Size of each copy of the journal in blocks of 4 KiB, an even number from 8 to 4096.
    #[arg(short, long, value_name = "BLOCKS")]
    journal: Option<u64>,
    /// Overwrite an existing filesystem or partition table.
    #[arg(short, long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Print only errors and warnings.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Exit codes.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    cli::run(FAILURE, USAGE, |cli: Cli| {
        let superblock = make(&cli).map_err(|error| format!("{}: {error}", cli.device))?;

        if !cli.quiet {
            print_result(&cli, &superblock)?;
        }
        Ok(0)
    })
}

fn make(cli: &Cli) -> Result<Superblock, String> {
    let file = device::open(&cli.device, true)?;

    for warning in device::warnings(&cli.device) {
        cli::warn(format_args!(
            "mkfs.mendfs: {}: warning: {warning}",
            cli.device
        ));
    }

    let mut media = FileMedia::new(file).map_err(|e| e.to_string())?;

    if !cli.force {
        refuse_contents(&cli.device, &media)?;
    }

    let now = now()?;
    let uuid = cli.uuid.unwrap_or_else(Uuid::new_v4).into_bytes();
    let superblock = Superblock {
        uuid,
        geometry: geometry(cli, size(cli, media.blocks())?)?,
        label: cli.label.0,
        secret: Secret(match cli.secret {
            Some(secret) => secret.into_bytes(),
            None => device::random().map_err(|e| format!("/dev/urandom: {e}"))?,
        }),
        mount_uuid: uuid,
    };
    let shows_progress = !cli.quiet && !cli.json && io::stderr().is_terminal();
    let mut shown = 0;

    make::make(&mut media, &superblock, now, |done, total| {
        let percent = done * 100 / total;

        if shows_progress && percent != shown {
            shown = percent;
            let _ = write!(io::stderr(), "\rwriting metadata: {percent} %");
        }
    })
    .map_err(|e| e.to_string())?;
    if shown != 0 {
        cli::warn("");
    }
    Ok(superblock)
}

/// The time in `SOURCE_DATE_EPOCH` if it is set, for reproducible images, or the current time.
fn now() -> Result<Time, String> {
    const EPOCH: &str = "SOURCE_DATE_EPOCH";

    match env::var(EPOCH) {
        Ok(text) => text
            .parse::<i64>()
            .map(|seconds| Time {
                seconds,
                nanoseconds: 0,
            })
            .map_err(|e| format!("{EPOCH}: {e}")),
        Err(_) => Ok(device::now()),
    }
}

/// The number of blocks of the filesystem, on a device of `blocks` blocks.
fn size(cli: &Cli, blocks: u64) -> Result<u64, String> {
    match cli.blocks {
        Some(wanted) if wanted > blocks => Err(format!(
            "it has {blocks} blocks of 4 KiB, fewer than {wanted}"
        )),
        wanted => Ok(wanted.unwrap_or(blocks)),
    }
}

/// The sizes from the arguments, and the default for each size that is not given.
fn geometry(cli: &Cli, blocks: u64) -> Result<Geometry, String> {
    let describe = |fault: Fault| {
        format!("{fault}: {blocks} blocks of 4 KiB are too few or too many for these sizes")
    };
    let default = Geometry::of_device(blocks);

    match (cli.journal, cli.metadata) {
        (Some(journal), Some(metadata)) => Geometry::new(blocks, journal, metadata),
        (journal, metadata) => default.and_then(|default| {
            Geometry::new(
                blocks,
                journal.unwrap_or(default.journal_blocks()),
                metadata.unwrap_or(default.metadata_blocks()),
            )
        }),
    }
    .map_err(describe)
}

fn refuse_contents(path: &str, media: &FileMedia) -> Result<(), String> {
    // Check for mendfs here, because blkid does not recognize mendfs.
    let is_mendfs = |block| {
        media.read_block(block).is_ok_and(|bytes| {
            !matches!(
                Header::open(bytes.as_slice(), Magic::Super, 0, checksum),
                Err(Fault::Foreign)
            )
        })
    };
    let mendfs = [0, media.blocks().saturating_sub(1)]
        .into_iter()
        .any(is_mendfs)
        .then(|| "mendfs filesystem".to_string());

    match mendfs.or_else(|| device::probe(path)) {
        Some(what) => Err(format!("there is a {what} on it: -f overwrites it")),
        None => Ok(()),
    }
}

fn print_result(cli: &Cli, superblock: &Superblock) -> Result<(), Unwritten> {
    match cli.json {
        true => cli::print(info::json(&cli.device, superblock)),
        false => cli::print(info::text(&cli.device, superblock)),
    }
}
