// SPDX-License-Identifier: GPL-2.0

//! Mounts images with different damage.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;
use std::{fmt, fs, io};

use cli::Unwritten;
use mendfs::check::{self, Checked};
use mendfs::media::MemoryMedia;
use mendfs::report::{Class, Finding, Report};
use mfmend::image::{Image, BLOCKS, NOW};
use mfmend::mutation::mutate;
use mfmend::random::Random;
use nix::errno::Errno;

use crate::device::{Device, CHUNK};
use crate::kernel_log::{is_complaint, names_structure, KernelLog};
use crate::mount::Mounted;
use crate::walk;

/// The maximum number of changes to an image.
const MAX_CHANGES: u64 = 6;
/// The number of images from which on each result must occur. The rarest result is a read-only
/// mount: one of twenty images.
const ENOUGH_FOR_ALL: u64 = 200;
/// The number of failures after which the test stops.
const MAX_FAILURES: u64 = 10;

/// The expected result of a mount, from the findings of `fsck.mendfs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The mount succeeds, and repairs or ignores the damage.
    Mounted,
    /// The mount fails.
    Refused,
    /// Both are correct: one superblock is of another filesystem. `fsck.mendfs` finds out which one
    /// by the metadata, but a mount takes the first one.
    Either,
}

impl Expected {
    fn of(report: &Report) -> Self {
        let is_other = |f: &Finding| {
            f.place.starts_with("superblock")
                && f.what.contains("not a superblock of this filesystem")
        };

        if report.findings.iter().any(is_other) {
            Self::Either
        } else if report.findings.iter().all(is_tolerated) {
            Self::Mounted
        } else {
            Self::Refused
        }
    }
}

/// Whether a mount repairs the damage from another copy, or ignores it.
fn is_tolerated(finding: &Finding) -> bool {
    let place = &finding.place;

    finding.class == Class::Note
        || is_unused(finding)
        || place.starts_with("superblock")
        || place.contains(", copy ")
}

/// Whether the damage is in the journal. mendfs writes the journal before it reads the journal
/// again.
fn is_unused(finding: &Finding) -> bool {
    finding.place.starts_with("journal")
}

/// The numbers of images by their results.
#[derive(Default)]
struct Counts {
    mounted: u64,
    read_only: u64,
    refused: u64,
    repaired: u64,
    failures: u64,
}

impl Counts {
    fn add(&mut self, result: &Result<Outcome, String>) {
        match result {
            Ok(Outcome::Mounted { is_read_only }) => {
                self.mounted += 1;
                self.read_only += u64::from(*is_read_only);
            }
            Ok(Outcome::Refused { is_repaired }) => {
                self.refused += 1;
                self.repaired += u64::from(*is_repaired);
            }
            Err(_) => self.failures += 1,
        }
    }

    /// Whether there are images, and enough images have each result.
    fn is_enough(&self) -> bool {
        let all = self.mounted + self.refused;
        let parts = [self.mounted, self.read_only, self.refused, self.repaired];

        all > 0 && (all < ENOUGH_FOR_ALL || parts.iter().all(|part| *part > 0))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} images: {} mounted, {} of them read-only; {} refused, {} of them repaired and \
             mounted",
            self.mounted + self.refused + self.failures,
            self.mounted,
            self.read_only,
            self.refused,
            self.repaired
        )
    }
}

/// The result of an image without a failure.
#[derive(Debug)]
enum Outcome {
    Mounted { is_read_only: bool },
    Refused { is_repaired: bool },
}

/// A device that images are mounted from.
pub struct Images<'a> {
    path: &'a Path,
    /// The name of the device in the kernel log.
    name: String,
    device: Device,
    mount_point: &'a Path,
    log: KernelLog,
    populated: Image,
}

impl<'a> Images<'a> {
    /// Prepares to mount images from the device at `path`.
    ///
    /// # Errors
    ///
    /// - A message if the device or the kernel log cannot be opened.
    pub fn new(path: &'a Path, mount_point: &'a Path) -> Result<Self, String> {
        let describe = |e: io::Error| format!("{}: {e}", path.display());
        let device = fs::canonicalize(path).map_err(describe)?;
        let name = device.file_name().unwrap_or_default();

        Ok(Self {
            path,
            name: name.to_string_lossy().into_owned(),
            device: Device::open(path).map_err(describe)?,
            mount_point,
            log: KernelLog::open().map_err(|e| format!("/dev/kmsg: {e}"))?,
            populated: Image::populated(),
        })
    }

    /// Tries the images with these numbers, and stops at `end`. Returns whether all passed, and
    /// enough images had each result.
    ///
    /// # Errors
    ///
    /// - [`Unwritten`] if standard output cannot be written.
    pub fn run(
        &mut self,
        numbers: impl Iterator<Item = u64>,
        end: Option<Instant>,
        is_verbose: bool,
    ) -> Result<bool, Unwritten> {
        let mut counts = Counts::default();

        for number in numbers {
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }

            let result = self.try_image(number);

            counts.add(&result);
            if let Err(what) = &result {
                cli::print(format_args!("image {number}: {what}"))?;
            } else if is_verbose {
                cli::print(format_args!("image {number}: {result:?}"))?;
            }
            if counts.failures == MAX_FAILURES {
                break;
            }
        }
        cli::print(&counts)?;
        Ok(counts.failures == 0 && counts.is_enough())
    }

    fn try_image(&mut self, number: u64) -> Result<Outcome, String> {
        let mut random = Random::new(number);
        let mut image = self.populated.clone();

        for _ in 0..=random.below(MAX_CHANGES) {
            mutate(&mut image, &mut random);
        }

        let is_read_only = random.once_in(8);
        let checked = check::check(&image.media, NOW);
        let expected = match &checked {
            Ok(checked) => Expected::of(&checked.report),
            Err(_) => Expected::Refused,
        };

        self.write_image(&image.media)?;
        match (
            self.mount(is_read_only, has_bad_ranges(&checked))?,
            expected,
        ) {
            (true, Expected::Refused) => Err(format!("it was mounted, but {}", describe(&checked))),
            (false, Expected::Mounted) => {
                Err(format!("it was refused, but {}", describe(&checked)))
            }
            (true, _) => {
                self.expect_clean()?;
                Ok(Outcome::Mounted { is_read_only })
            }
            (false, _) => {
                let is_repaired = self.repair(image.media, checked)?;

                Ok(Outcome::Refused { is_repaired })
            }
        }
    }

    /// Mounts the device, uses the files and unmounts it. Returns false if the mount was refused,
    /// and the kernel log names the damaged structure.
    fn mount(&mut self, is_read_only: bool, has_bad_ranges: bool) -> Result<bool, String> {
        let result = mount_and_use(self.path, self.mount_point, is_read_only, has_bad_ranges);
        let lines = self.log.lines().map_err(|e| format!("/dev/kmsg: {e}"))?;
        let with_lines = |what: &str| Err(format!("{what}\n{}", lines.join("\n")));

        match result {
            _ if lines.iter().any(|line| is_complaint(line)) => with_lines("the kernel warns"),
            Ok(false) if !lines.iter().any(|line| names_structure(line, &self.name)) => {
                with_lines("it was refused, but the log names no structure")
            }
            Ok(is_mounted) => Ok(is_mounted),
            Err(what) => with_lines(&what),
        }
    }

    /// Checks that the filesystem on the device has no damage after a mount.
    fn expect_clean(&mut self) -> Result<(), String> {
        let checked = check::check(&self.read_image()?, NOW);

        match &checked {
            Ok(Checked { report, .. }) if report.findings.iter().all(is_unused) => Ok(()),
            _ => Err(format!("after the mount, {}", describe(&checked))),
        }
    }

    /// Repairs a filesystem that was refused. It must be mounted afterwards. Returns false if it
    /// cannot be repaired.
    fn repair(
        &mut self,
        mut media: MemoryMedia,
        checked: Result<Checked, String>,
    ) -> Result<bool, String> {
        let Ok(Checked { report, repair }) = checked else {
            return Ok(false);
        };

        if report.unrepairable != 0 {
            return Ok(false);
        }
        repair.write(&mut media).map_err(|e| e.to_string())?;
        self.write_image(&media)?;

        let has_bad_ranges = has_bad_ranges(&check::check(&media, NOW));

        match self.mount(false, has_bad_ranges) {
            Ok(true) => {}
            Ok(false) => return Err("it was refused after a repair".into()),
            Err(what) => return Err(format!("after a repair: {what}")),
        }
        self.expect_clean()?;
        Ok(true)
    }

    /// Writes an image to the device.
    fn write_image(&mut self, media: &MemoryMedia) -> Result<(), String> {
        for part in parts() {
            self.device.write(media, part).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Reads the image on the device.
    fn read_image(&mut self) -> Result<MemoryMedia, String> {
        let mut media = MemoryMedia {
            blocks: BLOCKS,
            ..MemoryMedia::default()
        };

        for part in parts() {
            self.device
                .read(&mut media, part)
                .map_err(|e| e.to_string())?;
        }
        Ok(media)
    }
}

/// All blocks of the device, in parts of [`CHUNK`] blocks. All of them are written, because a
/// damaged superblock can refer to any block.
fn parts() -> impl Iterator<Item = Range<u64>> {
    (0..BLOCKS)
        .step_by(CHUNK)
        .map(|start| start..BLOCKS.min(start + CHUNK as u64))
}

/// Whether the filesystem has bad ranges. A file can have blocks there.
fn has_bad_ranges(checked: &Result<Checked, String>) -> bool {
    checked
        .as_ref()
        .is_ok_and(|checked| checked.report.statistics.bad_ranges > 0)
}

fn mount_and_use(
    device: &Path,
    at: &Path,
    is_read_only: bool,
    has_bad_ranges: bool,
) -> Result<bool, String> {
    let mounted = match Mounted::new(device, at, is_read_only) {
        Ok(mounted) => mounted,
        Err(Errno::EUCLEAN | Errno::EINVAL) => return Ok(false),
        Err(error) => return Err(format!("mount: {error}")),
    };
    let describe = |(path, error): walk::Failure| format!("{}: {error}", path.display());
    let found = walk::read_all(at, has_bad_ranges).map_err(describe)?;

    if !is_read_only {
        walk::change(at, &found).map_err(describe)?;
    }
    mounted.end().map_err(|e| format!("umount: {e}"))?;
    Ok(true)
}

/// Describes the findings of `fsck.mendfs`.
fn describe(checked: &Result<Checked, String>) -> String {
    let findings = match checked {
        Ok(checked) => &checked.report.findings,
        Err(what) => return format!("fsck fails: {what}"),
    };

    if findings.is_empty() {
        return "fsck finds nothing".into();
    }

    let lines: Vec<_> = findings.iter().map(Finding::to_string).collect();

    format!("fsck finds\n  {}", lines.join("\n  "))
}
