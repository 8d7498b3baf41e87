// SPDX-License-Identifier: GPL-2.0

//! Tests the kernel module with damaged images and with failing allocations.
//!
//! `mfmend images /dev/mapper/small /mnt` writes images with different damage to the device. It
//! mounts each image, reads and changes its files, and checks it afterwards. The exit status is 0
//! if all tests passed.

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
        /// The number of the first image.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// The distance between the numbers of images.
        #[arg(long, default_value_t = 1)]
        step: usize,
        /// The number of images.
        #[arg(long, default_value_t = 10_000)]
        count: usize,
        /// The maximum time in seconds.
        #[arg(long)]
        seconds: Option<u64>,
        /// Print the result of each image.
        #[arg(long, short)]
        verbose: bool,
        /// A device of 1040 blocks. It is overwritten.
        device: PathBuf,
        /// The directory to mount the images on.
        mount_point: PathBuf,
    },
    /// Make each allocation of many operations fail, one after the other.
    Faults {
        /// Run only operations whose names contain this text.
        #[arg(long, default_value = "")]
        filter: String,
        /// A device with an unmounted filesystem.
        device: PathBuf,
        /// The directory to mount it on.
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
