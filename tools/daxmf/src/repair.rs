// SPDX-License-Identifier: GPL-2.0

//! `daxmf repair`: writes cached pages of files back over bad blocks.
//!
//! Without DAX, the page cache has a good copy of the pages that it read before the device failed.
//! The command marks such a page as dirty without a store, so that it undoes no store of another
//! process. Then it writes the page back, which clears the bad block.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clap::Args;
use cli::Unwritten;

use crate::bad::{merged, without, BadRanges};
use crate::files::{self, by_page, Attempt, Filesystem, Inode, Kind, Piece};
use crate::mounts;
use crate::privilege;
use crate::reverse_map::{self, Owner};
use crate::sys::page_cache::PAGE;
use crate::text::readable;
use crate::tree;

use report::{Finding, Report, State};

/// What to repair, and how.
#[derive(Args)]
pub struct Options {
    /// The mount point of a filesystem, or the block device that it is on.
    #[arg(value_name = "MOUNTPOINT|DEVICE")]
    target: PathBuf,
    /// Print what can be repaired, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The note for a range that belongs to an inode of XFS which is not in use by a file.
const NO_FILE: &str = "removed file, or inode of the filesystem itself";

/// Repairs a filesystem. Returns a line for each error, and whether data or metadata stays bad.
pub fn act(options: &Options) -> Result<(Vec<String>, bool), Unwritten> {
    match repair(options) {
        Err(error) => Ok((vec![error], false)),
        Ok((report, errors)) => {
            match options.json {
                true => cli::print(report.to_json())?,
                false => report.print()?,
            }
            let is_lossy = [State::Lost, State::Metadata, State::Unknown]
                .iter()
                .any(|state| report.bytes(*state) != 0);

            Ok((errors, is_lossy))
        }
    }
}

fn repair(options: &Options) -> Result<(Report, Vec<String>), String> {
    privilege::check("the command opens files by inode")?;

    let (mount, root) = mounts::find(&options.target)?;
    let name = readable(&options.target);

    if !matches!(mount.kind.as_str(), "xfs" | "ext4" | "ext3" | "ext2") {
        return Err(format!(
            "{name}: {} is not supported, only XFS and ext4",
            mount.kind
        ));
    }
    let mut errors = Vec::new();

    for option in mounts::OTHER_DEVICES {
        if mount.option(option).is_some() {
            errors.push(format!(
                "{name}: only the data device is repaired, not that of the mount option {option}"
            ));
        }
    }
    let mut repair = Repair {
        filesystem: Filesystem::new(mount, root),
        is_dry: options.dry_run,
        attempts: BTreeMap::new(),
        names: BTreeMap::new(),
        nameless: BTreeSet::new(),
        found: BTreeSet::new(),
        directories: Vec::new(),
        searched: Vec::new(),
        errors: BTreeSet::new(),
    };
    let survey = repair.run()?;
    let findings = repair.findings(survey);
    let Filesystem { mount, .. } = repair.filesystem;
    let mut report = Report {
        device: readable(&mount.source),
        mount_point: mount.point,
        kind: mount.kind,
        is_dry: options.dry_run,
        findings,
    };

    report.sort();
    errors.extend(repair.errors);
    Ok((report, errors))
}

/// A page of a file, by its number.
type Page = (Inode, u64);

/// The bad ranges at one time, with their owners.
#[derive(Default)]
struct Survey {
    /// Pages of files.
    pages: BTreeMap<Page, Piece>,
    /// All other ranges.
    others: Vec<Finding>,
    /// Whether there was a page that no earlier round has tried to write back.
    has_new_pages: bool,
    /// Whether pages were written back since, and the list of bad blocks could not be read again.
    is_before_repair: bool,
}

impl Survey {
    fn add(&mut self, state: State, device: Range<u64>, note: impl Into<String>) {
        self.others.push(Finding::of_device(state, device, note));
    }
}

/// The state of a repair.
struct Repair {
    filesystem: Filesystem,
    is_dry: bool,
    /// The result for each page, and where the page was bad.
    attempts: BTreeMap<Page, (Piece, Attempt)>,
    /// Names of files.
    names: BTreeMap<u64, PathBuf>,
    /// Files without a name that are still open.
    nameless: BTreeSet<u64>,
    /// Files that a search found, because the reverse map does not name the owners.
    found: BTreeSet<Inode>,
    /// Directories that a search found.
    directories: Vec<Finding>,
    /// Ranges whose owners were searched.
    searched: Vec<Range<u64>>,
    /// A line for each error.
    errors: BTreeSet<String>,
}

impl Repair {
    /// Repairs until there is no new bad page. Returns the ranges that are bad then.
    ///
    /// Another round is needed for two reasons. When blocks are cleared, the list of bad blocks can
    /// show further blocks. And a page that was written back can be on a bad block again.
    fn run(&mut self) -> Result<Survey, String> {
        let device = self.filesystem.mount.device;
        let mut bad = BadRanges::of_device(device)?;

        loop {
            let survey = self.survey(&bad);

            if self.is_dry || !survey.has_new_pages {
                if bad.is_cut {
                    self.errors.insert(format!(
                        "{}: sysfs does not list all bad blocks: overwrite the lost ranges, and \
                         repair again",
                        readable(&self.filesystem.mount.source)
                    ));
                }
                return Ok(survey);
            }
            bad = match BadRanges::of_device(device) {
                Ok(bad) => bad,
                Err(error) => {
                    // Report what was written back nevertheless.
                    self.errors.insert(error);
                    return Ok(Survey {
                        is_before_repair: true,
                        ..survey
                    });
                }
            };
        }
    }

    /// Finds the owners of the bad ranges, and tries to write back the pages that were not tried
    /// yet.
    fn survey(&mut self, bad: &BadRanges) -> Survey {
        let mut survey = Survey::default();
        let mut files: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
        let mut unknown = Vec::new();

        for range in &bad.ranges {
            for (part, owner) in reverse_map::owners(&self.filesystem, range, &mut self.errors) {
                match owner {
                    Owner::Free(note) => survey.add(State::Free, part, note),
                    Owner::Metadata(note) => survey.add(State::Metadata, part, note),
                    Owner::File { inode, offset } => {
                        files.entry(inode).or_default().push(Piece {
                            file: offset..offset.saturating_add(part.end - part.start),
                            at: part.start,
                            is_written: true,
                        });
                    }
                    Owner::Unknown => unknown.push(part),
                }
            }
        }
        for (number, pieces) in files {
            self.visit_owner(number, &pieces, bad, &mut survey);
        }
        self.visit_unknown(&merged(unknown), bad, &mut survey);
        survey
    }

    /// Handles the inode that the reverse map names as the owner of `pieces`.
    fn visit_owner(&mut self, number: u64, pieces: &[Piece], bad: &BadRanges, survey: &mut Survey) {
        let ranges = merged(pieces.iter().map(|piece| piece.file.clone()).collect());
        let result = self.filesystem.kind(number).and_then(|kind| {
            if let Kind::Regular(inode) = kind {
                self.visit(inode, &ranges, bad, survey)?;
            }
            Ok(kind)
        });
        let (state, note) = match result {
            Ok(Kind::Regular(_)) => return,
            Ok(Kind::Other) => (State::Metadata, "directory or symbolic link".into()),
            Ok(Kind::Elsewhere) => (
                State::Unknown,
                "the data of the file is on another device".into(),
            ),
            Ok(Kind::None) => (State::Unknown, NO_FILE.into()),
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => {
                (State::Unknown, NO_FILE.into())
            }
            Err(error) => (State::Failed, files::describe_open_error(&error)),
        };

        for piece in pieces {
            survey
                .others
                .push(finding(state, number, piece, note.clone()));
        }
    }

    /// Tries to write back the bad pages in `ranges` of a file that were not tried yet. Returns all
    /// bad pieces in the ranges.
    fn visit(
        &mut self,
        inode: Inode,
        ranges: &[Range<u64>],
        bad: &BadRanges,
        survey: &mut Survey,
    ) -> io::Result<Vec<Piece>> {
        let file = self.filesystem.open(inode, false)?;
        let meta = file.metadata()?;
        let mut pieces = Vec::new();

        for range in ranges {
            pieces.extend(files::pieces(&file, range, bad)?);
        }
        if pieces.is_empty() {
            return Ok(pieces);
        }
        if meta.nlink() == 0 {
            self.nameless.insert(inode.number);
        } else if let Some(name) = self.filesystem.name_of(&file, inode) {
            self.names.insert(inode.number, name);
        }
        let mut pages = by_page(&pieces);

        pages.retain(|page, piece| {
            let has_data = piece.is_written && page * PAGE < meta.len();

            if !has_data {
                let free = finding(State::Free, inode.number, piece, "allocated, not written");

                survey.others.push(free);
            }
            has_data
        });
        let new: Vec<_> = pages
            .keys()
            .filter(|page| !self.attempts.contains_key(&(inode, **page)))
            .copied()
            .collect();

        if !new.is_empty() {
            let attempts = self
                .filesystem
                .write_back(inode, &file, &new, self.is_dry)?;

            survey.has_new_pages = true;
            for (page, attempt) in attempts {
                if let Some(piece) = pages.get(&page) {
                    self.attempts
                        .insert((inode, page), (piece.clone(), attempt));
                }
            }
        }
        let pages = pages
            .into_iter()
            .map(|(page, piece)| ((inode, page), piece));

        survey.pages.extend(pages);
        Ok(pieces)
    }

    /// Repairs ranges whose owners the reverse map does not name. Searches for the owners of each
    /// range only once.
    fn visit_unknown(&mut self, unknown: &[Range<u64>], bad: &BadRanges, survey: &mut Survey) {
        let new = without(unknown, &self.searched);

        if !new.is_empty() {
            self.search(&new);
            self.searched = merged([mem::take(&mut self.searched), new].concat());
        }
        let mut owned = Vec::new();

        for inode in self.found.clone() {
            let all = 0..u64::MAX;

            match self.visit(inode, &[all], bad, survey) {
                Ok(pieces) => owned.extend(pieces.iter().map(Piece::place)),
                // The file was removed.
                Err(error) if error.raw_os_error() == Some(libc::ESTALE) => {}
                Err(error) => {
                    let name = match self.names.get(&inode.number) {
                        Some(path) => readable(path),
                        None => format!("inode {}", inode.number),
                    };

                    self.errors
                        .insert(format!("{name}: {}", files::describe_open_error(&error)));
                }
            }
        }
        for directory in &self.directories {
            for place in bad.within(&directory.device) {
                owned.push(place.clone());
                survey.others.push(Finding {
                    device: place,
                    ..directory.clone()
                });
            }
        }
        for part in without(unknown, &merged(owned)) {
            survey.add(State::Unknown, part, "no owner was found");
        }
    }

    /// Searches all files and directories of the filesystem for the owners of `ranges` of the
    /// device. Does not open files without blocks.
    fn search(&mut self, ranges: &[Range<u64>]) {
        self.errors
            .extend(self.filesystem.mount.check_whole().err());

        let mut wanted = BadRanges::from(ranges.to_vec());
        let filesystem = &self.filesystem;
        let all = 0..u64::MAX;
        let errors = tree::search(filesystem, |entry, file| {
            let pieces = files::pieces(file, &all, &wanted)?;

            if pieces.is_empty() {
                return Ok(true);
            }
            if file.metadata()?.is_dir() {
                let directory = |piece| finding(State::Metadata, entry.inode, piece, "directory");

                self.directories.extend(pieces.iter().map(directory));
            } else {
                self.found.extend(filesystem.inode_of(file)?);
            }
            self.names
                .insert(entry.inode, filesystem.mount.point.join(entry.path));
            if !filesystem.has_shared_blocks() {
                wanted.remove(pieces.iter().map(Piece::place).collect());
            }
            Ok(!wanted.ranges.is_empty())
        });

        self.errors.extend(errors);
        if !wanted.ranges.is_empty() {
            self.errors.extend(tree::nameless(filesystem, |file| {
                if !files::pieces(file, &all, &wanted)?.is_empty() {
                    self.found.extend(filesystem.inode_of(file)?);
                }
                Ok(())
            }));
        }
    }

    /// The ranges to report: those that are bad at the end, and those that were repaired.
    fn findings(&mut self, survey: Survey) -> Vec<Finding> {
        let mut findings = survey.others;

        for ((inode, page), (piece, attempt)) in &self.attempts {
            let current = survey.pages.get(&(*inode, *page));
            let (state, note) = match (attempt, current) {
                (Attempt::Written(_), None) => (State::Repaired, String::new()),
                // Another process truncated the page, or overwrote it.
                (_, None) => continue,
                (Attempt::Cached, _) => (State::Repairable, String::new()),
                (Attempt::Lost(note), _) => (State::Lost, (*note).into()),
                (Attempt::Failed(note), _) => (State::Failed, note.clone()),
                (Attempt::Written(None), _) if survey.is_before_repair => (
                    State::Failed,
                    "written back, but not checked: repair again".into(),
                ),
                (Attempt::Written(None), _) => (
                    State::Failed,
                    "written back, but bad again: check the memory (ndctl list -DH)".into(),
                ),
                (Attempt::Written(Some(error)), _) => (
                    State::Failed,
                    format!("{error}: if the device cannot clear errors, copy it to a new file"),
                ),
            };

            findings.push(finding(state, inode.number, current.unwrap_or(piece), note));
        }
        self.name(&mut findings);
        for finding in findings
            .iter()
            .filter(|finding| finding.state == State::Failed)
        {
            self.errors.insert(finding.failure());
        }
        findings
    }

    /// Finds the names of the files of findings.
    fn name(&mut self, findings: &mut [Finding]) {
        let mut wanted: BTreeSet<_> = findings
            .iter()
            .filter_map(|finding| Some(finding.owner.as_ref()?.inode))
            .filter(|inode| !self.names.contains_key(inode) && !self.nameless.contains(inode))
            .collect();

        if !wanted.is_empty() {
            let errors = tree::walk(&self.filesystem, |entry| {
                if wanted.remove(&entry.inode) {
                    let path = self.filesystem.mount.point.join(entry.path);

                    self.names.insert(entry.inode, path);
                }
                Ok(!wanted.is_empty())
            });

            self.errors.extend(errors);
        }
        for owner in findings
            .iter_mut()
            .filter_map(|finding| finding.owner.as_mut())
        {
            owner.path = self.names.get(&owner.inode).cloned();
        }
    }
}

/// A finding for a piece of a file. The name of the file is added later.
fn finding(state: State, inode: u64, piece: &Piece, note: impl Into<String>) -> Finding {
    Finding {
        state,
        device: piece.place(),
        owner: Some(report::Owner {
            inode,
            path: None,
            bytes: piece.file.clone(),
        }),
        note: note.into(),
    }
}
