// SPDX-License-Identifier: GPL-2.0

//! `daxmf owners`: lists the files, directories and metadata that own ranges of a device, and the
//! processes that map them.
//!
//! The ranges are those that the device lists as bad, or a range that the user names. The command
//! searches the filesystems on the device, on its partitions and on mapped devices above it.

mod processes;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use cli::Unwritten;

use crate::bad::{self, merged, BadRanges};
use crate::block;
use crate::files::{self, Filesystem, Kind, Piece};
use crate::mounts::{self, Mount};
use crate::physical::{self, PAGE};
use crate::privilege;
use crate::reverse_map::{self, Owner};
use crate::text::{number, readable};
use crate::tree;

use report::{Finding, OnFilesystem, OwnerKind, Report};

/// What to look for, and how to print it.
#[derive(Args)]
pub struct Options {
    /// A disk, a partition or a mapped device: a path, or a name in the kernel, such as pmem0.
    #[arg(required_unless_present = "pfn")]
    device: Option<String>,
    /// First byte of the device, decimal or 0x…. Default: all ranges that the device lists as
    /// bad.
    #[arg(value_parser = number, requires = "length")]
    offset: Option<u64>,
    /// Number of bytes.
    #[arg(value_parser = number)]
    length: Option<u64>,
    /// Number of a page frame (PFN), decimal or 0x…, in place of a device and a range.
    #[arg(long, value_parser = number, conflicts_with = "device")]
    pfn: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists the owners. Returns a line for each error.
pub fn act(options: &Options) -> Result<Vec<String>, Unwritten> {
    match find(options) {
        Err(error) => Ok(vec![error]),
        Ok((report, errors)) => {
            match options.json {
                true => cli::print(report.to_json())?,
                false => report.print()?,
            }
            Ok(errors)
        }
    }
}

fn find(options: &Options) -> Result<(Report, Vec<String>), String> {
    privilege::check("the command opens files by inode")?;

    let (name, range) = wanted(options)?;
    let device = block::number_of(&name)?;
    let BadRanges { ranges, is_cut } = match range {
        Some((offset, length)) => {
            let range = bad::range_of(&name, &block::sysfs(device), offset, length)?;

            vec![range].into()
        }
        None => BadRanges::of_device(device)?,
    };
    let mut report = Report {
        device: name,
        ranges,
        filesystems: Vec::new(),
        has_errors: false,
    };
    let mut errors = Vec::new();

    if is_cut {
        errors.push(format!(
            "{}: sysfs cannot list all bad ranges: only the first ones are shown",
            report.device
        ));
    }
    if !report.ranges.is_empty() {
        report.filesystems = on_all_filesystems(device, &report.ranges, &mut errors)?;
        processes::add(&mut report.filesystems, &mut errors);
    }
    report.has_errors = !errors.is_empty();
    Ok((report, errors))
}

/// The device that the user named, and the offset and the length of the range, if there is one.
fn wanted(options: &Options) -> Result<(String, Option<(u64, u64)>), String> {
    if let Some(pfn) = options.pfn {
        return physical::disk_of(pfn).map(|(disk, offset)| (disk, Some((offset, PAGE))));
    }
    let device = options.device.clone().unwrap_or_default();

    Ok((device, options.offset.zip(options.length)))
}

/// Finds the owners of ranges of a device on all mounted filesystems.
fn on_all_filesystems(
    device: (u64, u64),
    ranges: &[Range<u64>],
    errors: &mut Vec<String>,
) -> Result<Vec<OnFilesystem>, String> {
    let mut filesystems = Vec::new();

    for (mount, root) in mounts::on(device, errors)? {
        match on_filesystem(mount, root, device, ranges, errors) {
            Ok(found) => filesystems.extend(found),
            Err(error) => errors.push(error),
        }
    }
    match mounts::beside(device, ranges) {
        Ok(lines) => errors.extend(lines),
        Err(error) => errors.push(error),
    }
    Ok(filesystems)
}

/// Finds the owners of ranges of the device `below` on a filesystem. [`None`] if no range is on the
/// filesystem.
fn on_filesystem(
    mount: Mount,
    root: File,
    below: (u64, u64),
    ranges: &[Range<u64>],
    errors: &mut Vec<String>,
) -> Result<Option<OnFilesystem>, String> {
    let source = readable(&mount.source);
    let ranges =
        BadRanges::above(mount.device, below, ranges).map_err(|e| format!("{source}: {e}"))?;

    if ranges.is_empty() {
        return Ok(None);
    }
    let mut search = Search {
        filesystem: Filesystem::new(mount, root),
        found: Vec::new(),
        errors: BTreeSet::new(),
    };

    search.run(&ranges);
    errors.extend(search.errors);

    let Filesystem { mount, .. } = search.filesystem;

    Ok(Some(OnFilesystem {
        number: mount.device,
        device: source,
        mount_point: mount.point,
        kind: mount.kind,
        found: report::sorted(search.found),
    }))
}

/// The search for owners on one filesystem.
struct Search {
    filesystem: Filesystem,
    found: Vec<Finding>,
    errors: BTreeSet<String>,
}

impl Search {
    fn run(&mut self, ranges: &[Range<u64>]) {
        let mut unknown = Vec::new();

        for range in ranges {
            for (part, owner) in reverse_map::owners(&self.filesystem, range, &mut self.errors) {
                match owner {
                    Owner::Free(note) => {
                        self.found
                            .push(Finding::of_device(OwnerKind::Free, part, note))
                    }
                    Owner::Metadata(note) => {
                        self.found
                            .push(Finding::of_device(OwnerKind::Metadata, part, note));
                    }
                    Owner::File { inode, offset } => {
                        let bytes = offset..offset.saturating_add(part.end - part.start);

                        self.found.push(Finding::of_file(part, inode, bytes));
                    }
                    Owner::Unknown => unknown.push(part),
                }
            }
        }
        self.name();
        if !unknown.is_empty() {
            self.search_files(&merged(unknown));
        }
    }

    /// Finds the names of the files that own a range.
    fn name(&mut self) {
        let mut names: BTreeMap<u64, (OwnerKind, PathBuf)> = BTreeMap::new();
        let mut wanted: BTreeSet<u64> = self.found.iter().filter_map(|found| found.inode).collect();

        // First find the names that need no walk over all names.
        wanted.retain(|inode| match self.name_of(*inode) {
            Some(name) => {
                names.insert(*inode, (OwnerKind::File, name));
                false
            }
            None => true,
        });
        if !wanted.is_empty() {
            let point = &self.filesystem.mount.point;

            self.errors.extend(tree::walk(&self.filesystem, |entry| {
                if wanted.remove(&entry.inode) {
                    let kind = match entry.kind {
                        Some(nix::dir::Type::Directory) => OwnerKind::Directory,
                        _ => OwnerKind::File,
                    };

                    names.insert(entry.inode, (kind, point.join(entry.path)));
                }
                Ok(!wanted.is_empty())
            }));
        }
        for found in &mut self.found {
            if let Some((kind, path)) = found.inode.and_then(|inode| names.get(&inode)) {
                found.kind = *kind;
                found.path = Some(path.clone());
            }
        }
    }

    /// The name that the kernel has for a regular file. [`None`] on other filesystems than XFS,
    /// because only XFS can open a file by its number alone.
    fn name_of(&self, number: u64) -> Option<PathBuf> {
        let filesystem = &self.filesystem;

        if filesystem.mount.kind != "xfs" {
            return None;
        }
        let Kind::Regular(inode) = filesystem.kind(number).ok()? else {
            return None;
        };

        filesystem.name_of(&filesystem.open(inode, false).ok()?, inode)
    }

    /// Searches all files for the owners that the reverse map does not name. The reverse map of
    /// ext4 names no owners of data.
    fn search_files(&mut self, ranges: &[Range<u64>]) {
        self.errors
            .extend(self.filesystem.mount.check_whole().err());

        let filesystem = &self.filesystem;
        let all_ranges = BadRanges::from(ranges.to_vec());
        let mut unowned = BadRanges::from(ranges.to_vec());
        let point = &filesystem.mount.point;
        let all = 0..u64::MAX;
        let mut found = Vec::new();
        // A file can have several names.
        let mut owners = BTreeSet::new();
        let mut add_pieces =
            |file: &File, inode, path: Option<PathBuf>, kind, unowned: &mut BadRanges| {
                // A block that has an owner can have another owner only if files share blocks.
                let wanted = match filesystem.has_shared_blocks() {
                    true => &all_ranges,
                    false => &*unowned,
                };
                let pieces = files::pieces(file, &all, wanted)?;

                if !pieces.is_empty() && !owners.insert(inode) {
                    return Ok(true);
                }
                for piece in &pieces {
                    found.push(Finding {
                        kind,
                        path: path.clone(),
                        ..Finding::of_file(piece.place(), inode, piece.file.clone())
                    });
                }
                unowned.remove(pieces.iter().map(Piece::place).collect());
                Ok(filesystem.has_shared_blocks() || !unowned.ranges.is_empty())
            };
        let errors = tree::search(filesystem, |entry, file| {
            let kind = match file.metadata()?.is_dir() {
                true => OwnerKind::Directory,
                false => OwnerKind::File,
            };

            add_pieces(
                file,
                entry.inode,
                Some(point.join(entry.path)),
                kind,
                &mut unowned,
            )
        });

        self.errors.extend(errors);
        if filesystem.has_shared_blocks() || !unowned.ranges.is_empty() {
            self.errors.extend(tree::nameless(filesystem, |file| {
                if let Some(inode) = filesystem.inode_of(file)? {
                    add_pieces(file, inode.number, None, OwnerKind::File, &mut unowned)?;
                }
                Ok(())
            }));
        }
        self.found.extend(found);
        for part in unowned.ranges {
            let unknown = Finding::of_device(OwnerKind::Unknown, part, "no owner was found");

            self.found.push(unknown);
        }
    }
}
