// SPDX-License-Identifier: GPL-2.0

//! Checks the records that belong to inodes (extents, attributes, and targets of symbolic links),
//! and the bad ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::mem;
use std::ops::Range;

use crate::format::{Extent, Inode, Record, CHUNK_BLOCKS, COPIES};

use super::model::{BadRange, Owned};
use super::Checker;

impl Checker<'_, '_> {
    /// Checks that each symbolic link has one target, whose length is the size of the link.
    pub fn check_targets(&mut self) {
        self.check_links_have_targets();

        let mut seen = BTreeSet::new();

        for target in mem::take(&mut self.model.targets) {
            let size = self
                .model
                .inodes
                .get(&target.owner)
                .filter(|inode| inode.kind() == Inode::SYMLINK)
                .map(|inode| inode.size);
            let why = match size {
                None => "which is not a symbolic link",
                Some(size) if size != target.record || !seen.insert(target.owner) => {
                    "which has another target"
                }
                Some(_) => {
                    self.model.targets.push(target);
                    continue;
                }
            };

            self.remove_owned(&target, "target", why);
        }
    }

    fn check_links_have_targets(&mut self) {
        let mut lens: BTreeMap<u64, Vec<u64>> = BTreeMap::new();

        for target in &self.model.targets {
            lens.entry(target.owner).or_default().push(target.record);
        }

        let links: Vec<(u64, u64)> = self
            .model
            .inodes
            .iter()
            .filter(|(_, inode)| inode.kind() == Inode::SYMLINK)
            .map(|(number, inode)| (*number, inode.size))
            .collect();

        for (number, size) in links {
            let Some(lens) = lens.get(&number) else {
                self.loss(number, format!("symbolic link {number} has no target"));
                self.remove_inode(number);
                continue;
            };

            if !lens.contains(&size) {
                let len = lens[0];
                let what =
                    format!("symbolic link {number} has size {size}, but a target of {len} bytes");

                self.damage(number, what);
                self.change_inode(number, |inode| inode.size = len);
            }
        }
    }

    /// Checks that the owner of each extent and attribute exists and has the right type.
    pub fn check_owners(&mut self) {
        for extent in mem::take(&mut self.model.extents) {
            match self.model.inodes.get(&extent.owner).map(Inode::kind) {
                Some(Inode::REGULAR) => self.model.extents.push(extent),
                Some(_) => self.remove_owned(&extent, "extent", "which is not a regular file"),
                None => self.remove_owned(&extent, "extent", "which does not exist"),
            }
        }
        for attribute in mem::take(&mut self.model.attributes) {
            match self.model.inodes.contains_key(&attribute.owner) {
                true => self.model.attributes.push(attribute),
                false => self.remove_owned(&attribute, "attribute", "which does not exist"),
            }
        }
    }

    /// Frees the units of a record that was already removed from the model.
    fn remove_owned<T>(&mut self, owned: &Owned<T>, what: &str, why: &str) {
        let what = format!("{what} of inode {}, {why}", owned.owner);

        self.loss(owned.address, what);
        self.table.free(owned.address, owned.units);
    }

    /// Checks that the attributes of an inode have different names.
    pub fn check_attributes(&mut self) {
        let mut seen = BTreeSet::new();

        for attribute in mem::take(&mut self.model.attributes) {
            if seen.insert((attribute.owner, attribute.record.clone())) {
                self.model.attributes.push(attribute);
            } else {
                let what = format!("attribute \"{}\"", attribute.record.escape_ascii());

                self.remove_owned(&attribute, &what, "which has another one of this name");
            }
        }
    }

    /// Checks that extents are in the data area but not in chunks of the metadata, and that the
    /// extents of a file do not overlap in the file. They can share blocks of the device, because
    /// of reflinks.
    pub fn check_extents(&mut self) {
        let data = self.table.superblock().geometry.data();
        let mut extents = mem::take(&mut self.model.extents);
        let mut last = (0, 0);

        extents.sort_by_key(|x| (x.owner, x.record.file_block, x.address));
        for extent in extents {
            let (owner, record) = (extent.owner, extent.record);
            let previous_end = if last.0 == owner { last.1 } else { 0 };
            let part = inside(&record, &data).and_then(|part| self.without_chunks(&part));
            let kept = part.and_then(|part| cut_start(&part, previous_end));

            if let Some(kept) = kept {
                last = (owner, kept.file_end());
            }
            if kept == Some(record) {
                self.model.extents.push(extent);
                continue;
            }

            let why = match part == Some(record) {
                true => "overlaps the previous extent",
                false => "is not only in data blocks",
            };
            let what = format!(
                "extent of inode {owner}, file blocks {}..{} at blocks {}..{}, {why}",
                record.file_block,
                record.file_end(),
                record.block,
                record.end()
            );

            self.loss(extent.address, what);
            match kept {
                Some(record) => {
                    let to = Record::Extent(record);

                    self.table.write(extent.address, owner, &to);
                    self.model.extents.push(Owned { record, ..extent });
                }
                None => self.table.free(extent.address, extent.units),
            }
        }
    }

    /// The first part of an extent in the data area that is not in chunks of the metadata.
    fn without_chunks(&self, extent: &Extent) -> Option<Extent> {
        let part = self.table.chunks().without(&(extent.block..extent.end()));

        inside(extent, &part)
    }

    /// Checks that bad ranges are in the data area but not in chunks of the metadata, and do not
    /// overlap.
    pub fn check_bad_ranges(&mut self) {
        let data = self.table.superblock().geometry.data();
        let mut ranges = mem::take(&mut self.model.bad_ranges);
        let mut previous_end = data.start;

        ranges.sort_by_key(|x| (x.record.block, x.address));
        for range in ranges {
            let BadRange { block, count } = range.record;
            let whole = block.max(previous_end)..(block + count).min(data.end);
            let Range { start, end } = self.table.chunks().without(&whole);

            previous_end = previous_end.max(end);
            if (start, end) == (block, block + count) {
                self.model.bad_ranges.push(range);
                continue;
            }

            let what = format!(
                "bad blocks {block}..{} overlap another bad range, or are not only data blocks",
                block + count
            );

            self.damage(range.address, what);
            if start < end {
                let (block, count) = (start, end - start);
                let record = BadRange { block, count };

                self.table
                    .write(range.address, 0, &Record::Bad { block, count });
                self.model.bad_ranges.push(Owned { record, ..range });
            } else {
                self.table.free(range.address, range.units);
            }
        }
    }
}

impl Checker<'_, '_> {
    /// Adds a record that belongs to `owner`, or to itself if `owner` is [`None`]. If the metadata
    /// is full, makes a new chunk. Returns the address of the record, or [`None`] if there is no
    /// space for a chunk.
    pub fn add(&mut self, owner: Option<u64>, record: &Record<'_>) -> Option<u64> {
        self.table.add(owner, record).or_else(|| {
            self.table.grow(self.free_for_chunk()?)?;
            self.table.add(owner, record)
        })
    }

    /// Returns free blocks for both copies of a chunk: the first and the last that are possible.
    fn free_for_chunk(&self) -> Option<[u64; COPIES as usize]> {
        let data = self.table.superblock().geometry.data();
        let extents = self.model.extents.iter().map(|x| x.record);
        let bad = self.model.bad_ranges.iter().map(|x| x.record);
        let mut used: Vec<Range<u64>> = extents
            .map(|extent| extent.block..extent.end())
            .chain(bad.map(|bad| bad.block..bad.block + bad.count))
            .chain(self.table.chunks().copies())
            .chain(iter::once(data.end..data.end))
            .collect();
        let mut used_end = data.start;
        let (mut first, mut last) = (None, None);

        used.sort_unstable_by_key(|range| range.start);
        for range in used {
            let start = used_end.next_multiple_of(CHUNK_BLOCKS);

            if start + CHUNK_BLOCKS <= range.start {
                first = first.or(Some(start));
                last = Some(range.start / CHUNK_BLOCKS * CHUNK_BLOCKS - CHUNK_BLOCKS);
            }
            used_end = used_end.max(range.end);
        }
        (first < last).then_some([first?, last?])
    }
}

/// The part of an extent whose blocks are in `data`.
fn inside(extent: &Extent, data: &Range<u64>) -> Option<Extent> {
    let start = extent.block.max(data.start);
    let end = extent.end().min(data.end);

    (start < end).then(|| Extent {
        file_block: extent.file_block + (start - extent.block),
        block: start,
        count: end - start,
    })
}

/// The part of an extent that starts at block `start` of the file or later.
fn cut_start(extent: &Extent, start: u64) -> Option<Extent> {
    let cut = start.saturating_sub(extent.file_block);

    (cut < extent.count).then(|| Extent {
        file_block: extent.file_block + cut,
        block: extent.block + cut,
        count: extent.count - cut,
    })
}
