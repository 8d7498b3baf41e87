// SPDX-License-Identifier: GPL-2.0

//! Shows and sets the label and UUID of a mendfs filesystem, and grows it.

use std::error::Error;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mendfs::format::Superblock;
use mendfs::growth::{self, MountedFs};
use mendfs::media::FileMedia;
use mendfs::{device, info, superblock};
use serde_json::json;
use uuid::Uuid;

/// Show and set the label and UUID of a mendfs filesystem, and grow it.
#[derive(Parser)]
#[command(name = "mendfs", version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show sizes, label and UUID.
    Show {
        /// A block device or an image file.
        device: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Print properties for udev, and nothing if there is no filesystem.
        #[arg(long, conflicts_with = "json")]
        udev: bool,
    },
    /// Show or set the label.
    Label {
        /// The mount point, or an unmounted device or image.
        path: String,
        /// The new label, up to 32 bytes. An empty one removes the label.
        #[arg(value_parser = info::parse_label)]
        label: Option<info::Label>,
    },
    /// Show or set the UUID.
    Uuid {
        /// A block device or an image file. To set the UUID, it must not be mounted.
        device: String,
        /// The new UUID, or `random`.
        #[arg(value_parser = parse_uuid)]
        uuid: Option<Uuid>,
    },
    /// Grow a mounted filesystem to the size of its device.
    Grow {
        /// The mount point.
        directory: String,
        /// The new size in blocks of 4 KiB, or with the unit K, M, G or T [default: the size of the
        /// device].
        #[arg(value_parser = growth::parse_size)]
        size: Option<u64>,
        /// Print the old and the new size as JSON.
        #[arg(long)]
        json: bool,
    },
}

fn parse_uuid(text: &str) -> Result<Uuid, String> {
    match text {
        "random" => Ok(Uuid::new_v4()),
        text => text.parse().map_err(|e: uuid::Error| e.to_string()),
    }
}

/// Exit codes.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    cli::run(FAILURE, USAGE, |cli: Cli| match cli.action {
        Action::Show { device, udev, .. } if udev => show_to_udev(&device),
        Action::Show { device, json, .. } => {
            let superblock = read(&device)?;

            match json {
                true => cli::print(info::json(&device, &superblock))?,
                false => cli::print(info::text(&device, &superblock))?,
            }
            Ok(0)
        }
        Action::Label { path, label } => {
            let Some(label) = label else {
                cli::print(show_label(&path)?)?;
                return Ok(0);
            };

            set_label(&path, &label).map_err(|error| format!("{path}: {error}"))?;
            Ok(0)
        }
        Action::Uuid { device, uuid } => {
            let Some(uuid) = uuid else {
                cli::print(Uuid::from_bytes(read(&device)?.mount_uuid))?;
                return Ok(0);
            };

            change(&device, |superblock| {
                superblock.mount_uuid = uuid.into_bytes()
            })?;
            Ok(0)
        }
        Action::Grow {
            directory,
            size,
            json,
        } => {
            let grow = || {
                let mounted = MountedFs::open(Path::new(&directory))?;

                Ok((mounted.geometry().blocks(), mounted.grow(size)?))
            };
            let (before, after) =
                grow().map_err(|error: Box<dyn Error>| format!("{directory}: {error}"))?;

            match (json, before == after) {
                (true, _) => cli::print(json!({
                    "directory": directory,
                    "blocks_before": before,
                    "blocks": after,
                }))?,
                (_, true) => cli::print(format_args!(
                    "{directory}: already has {after} blocks of 4 KiB, nothing to do"
                ))?,
                _ => cli::print(format_args!(
                    "{directory}: grown from {before} to {after} blocks of 4 KiB"
                ))?,
            }
            Ok(0)
        }
    })
}

/// Reads the superblock of a device.
fn read(device: &str) -> Result<Superblock, String> {
    superblock::on_device(device).map(|(superblock, _)| superblock)
}

/// Prints the properties for udev. udev calls this for every device with DAX, and most of them have
/// no mendfs, so a missing superblock causes no message.
fn show_to_udev(device: &str) -> Result<u8, Box<dyn Error>> {
    let Ok(superblock) = read(device) else {
        return Ok(FAILURE);
    };

    cli::print(info::udev(&superblock))?;
    Ok(0)
}

fn is_directory(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn show_label(path: &str) -> Result<String, String> {
    match is_directory(path) {
        true => mounted::label(Path::new(path))
            .map(|label| info::label_text(&label))
            .map_err(|error| format!("{path}: {error}")),
        false => Ok(info::label(&read(path)?)),
    }
}

fn set_label(path: &str, label: &info::Label) -> Result<(), String> {
    match is_directory(path) {
        true => mounted::set_label(Path::new(path), label).map_err(|error| error.to_string()),
        false => change(path, |superblock| superblock.label = label.0),
    }
}

/// Changes the superblock of a filesystem that is not mounted.
fn change(device: &str, change: impl FnOnce(&mut Superblock)) -> Result<(), String> {
    let write = || {
        let file = device::open(device, true)?;
        let mut media = FileMedia::new(file).map_err(|e| e.to_string())?;

        superblock::change(&mut media, change)
    };

    write().map_err(|error| format!("{device}: {error}"))
}

/// The label of a mounted filesystem, by the mount point.
mod mounted {
    use super::*;

    use nix::errno::Errno;

    /// `FSLABEL_MAX` of linux/fs.h, in bytes.
    const FSLABEL_MAX: usize = 256;

    mod ioctls {
        nix::ioctl_read!(get_label, 0x94, 49, [u8; super::FSLABEL_MAX]);
        nix::ioctl_write_ptr!(set_label, 0x94, 50, [u8; super::FSLABEL_MAX]);
    }

    /// Reads the label.
    ///
    /// # Errors
    ///
    /// - `ENOTTY` if the filesystem has no label.
    pub fn label(directory: &Path) -> Result<[u8; FSLABEL_MAX], Box<dyn Error>> {
        let file = File::open(directory)?;
        let mut label = [0; FSLABEL_MAX];

        // SAFETY: `FS_IOC_GETFSLABEL` writes at most `FSLABEL_MAX` bytes, the size of `label`.
        unsafe { ioctls::get_label(file.as_raw_fd(), &mut label) }?;
        Ok(label)
    }

    /// Sets the label.
    ///
    /// # Errors
    ///
    /// - `EPERM` if the caller is not root.
    pub fn set_label(directory: &Path, new: &info::Label) -> Result<(), Box<dyn Error>> {
        let file = File::open(directory)?;
        let mut label = [0; FSLABEL_MAX];

        for (to, from) in label.iter_mut().zip(new.0) {
            *to = from;
        }
        // SAFETY: `FS_IOC_SETFSLABEL` reads at most `FSLABEL_MAX` bytes, the size of `label`.
        let result = unsafe { ioctls::set_label(file.as_raw_fd(), &label) };

        match result {
            Err(Errno::EINVAL) => Err("the label is too long for this filesystem".into()),
            result => result.map(|_| ()).map_err(Into::into),
        }
    }
}
