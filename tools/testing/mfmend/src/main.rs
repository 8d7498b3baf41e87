// SPDX-License-Identifier: GPL-2.0

//! Mounts damaged mendfs filesystems, and judges what comes of it.
//!
//! `mfmend images /dev/mapper/small /mnt` writes images to the device, each damaged in another way,
//! mounts each, walks through it and changes a little, and checks it afterwards. It exits 0 if all
//! went as it should.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

mod device;
mod faults;
mod images;
mod kernel_log;
mod mount;
mod operations;
mod walk;

use faults::Faults;
use images::Images;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Mount damaged images.
    Images {
        /// The number of the first one.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// How far it is from one number to the next.
        #[arg(long, default_value_t = 1)]
        step: usize,
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        count: usize,
        /// How long at most, in seconds.
        #[arg(long)]
        seconds: Option<u64>,
        /// Say of each image what came of it.
        #[arg(long, short)]
        verbose: bool,
        /// A device of 1040 blocks. What is on it goes.
        device: PathBuf,
        /// Where to mount them.
        mount_point: PathBuf,
    },
    /// Have allocations fail, one after the other in each of many operations.
    Faults {
        /// Only in operations whose names contain this.
        #[arg(long, default_value = "")]
        filter: String,
        /// A device with a filesystem, which is not mounted.
        device: PathBuf,
        /// Where to mount it.
        mount_point: PathBuf,
    },
}

fn run(cli: Cli) -> Result<u8, Box<dyn Error>> {
    let is_good = match cli.action {
        Action::Images {
            first,
            step,
            count,
            seconds,
            verbose,
            device,
            mount_point,
        } => {
            let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
            let numbers = (first..).step_by(step).take(count);

            Images::new(&device, &mount_point)?.run(numbers, end, verbose)?
        }
        Action::Faults {
            filter,
            device,
            mount_point,
        } => Faults::new(&device, &mount_point)?.run(&filter)?,
    };

    Ok(u8::from(!is_good))
}

fn main() -> ExitCode {
    cli::run(2, 2, run)
}
