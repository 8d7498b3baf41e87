// SPDX-License-Identifier: GPL-2.0

//! Builds the inodes in memory from the records.

use core::ops::Range;

use daxmf::interval_tree::Vacant;
use kernel::{
    alloc::KVVec,
    prelude::*,
    rbtree::RBTreeNode, //
};

use crate::{
    damage::report_damage,
    format::{
        Inode,
        Record,
        ROOT, //
    },
    incore::{
        inode::{
            Name,
            Node,
            Piece, //
        },
        view::View, //
    },
    store::metadata::Metadata, //
};

/// Adds all inodes to the view.
pub(super) fn read_inodes(view: &mut View) -> Result {
    let View {
        table,
        nodes,
        volume,
        ..
    } = view;

    table.for_each(|address, number, record| {
        if let Record::Inode(inode) = record {
            if number != address {
                return Err(report_damage(volume, address, "inode of another number"));
            }
            if inode != inode.normalized() {
                return Err(report_damage(
                    volume,
                    address,
                    "inode with a size, device number or parent that its type does not have",
                ));
            }
            nodes.insert(
                number,
                RBTreeNode::new(number, Node::new(inode), GFP_KERNEL)?,
            );
        }
        Ok(())
    })?;

    match nodes.get(ROOT) {
        Some(root) if root.inode.is_directory() => Ok(()),
        _ => Err(report_damage(volume, ROOT, "root directory is missing")),
    }
}

/// The part of an inode that a record describes, without the text of the record.
enum Part {
    Piece(Piece),
    Name(Name),
    Attribute,
    Target(usize),
}

/// A part, with the inode that it belongs to and the address of its record.
struct Owned {
    address: u64,
    number: u64,
    part: Part,
}

/// Adds extents, names, attributes and targets to the inodes, and bad ranges to the view.
pub(super) fn read_records(view: &mut View, metadata: &Metadata) -> Result {
    let mut parts = KVVec::new();
    let mut bad_ranges = KVVec::new();

    view.table.for_each(|address, number, record| {
        let part = match record {
            Record::Inode(_) => return Ok(()),
            Record::Extent(extent) => Part::Piece(Piece { extent, address }),
            Record::Name { target, kind, .. } => Part::Name(Name { target, kind }),
            Record::Attribute { .. } => Part::Attribute,
            Record::Target(target) => Part::Target(target.len()),
            Record::Bad { block, count } => {
                let range = block..block.saturating_add(count);

                return Ok(bad_ranges.push((address, number, range), GFP_KERNEL)?);
            }
            // `read_chunks()` has read the record already.
            Record::Chunk(_) if metadata.is_link(address) => return Ok(()),
            Record::Chunk(_) => {
                let what = "record of a chunk that is not in the last unit of one";

                return Err(report_damage(&view.volume, address, what));
            }
        };

        let owned = Owned {
            address,
            number,
            part,
        };

        Ok(parts.push(owned, GFP_KERNEL)?)
    })?;

    // Add the bad ranges before the extents, while only chunks are in the reverse map: a bad range
    // must not overlap a chunk, but can overlap extents.
    for (address, number, range) in bad_ranges {
        view.load_bad_range(address, number, range)?;
    }
    for Owned {
        address,
        number,
        part,
    } in parts
    {
        view.load_part(address, number, part)?;
    }
    Ok(())
}

impl View {
    fn load_part(&mut self, address: u64, number: u64, part: Part) -> Result {
        let Some(node) = self.nodes.get_mut(number) else {
            return Err(self.report_damage(address, "record of an inode that does not exist"));
        };
        let kind = node.inode.kind();

        match part {
            Part::Piece(_) if kind != Inode::REGULAR => {
                Err(self.report_damage(address, "extent of an inode that is not a regular file"))
            }
            Part::Piece(piece) => self.load_piece(number, piece).map_err(|error| match error {
                EUCLEAN => {
                    self.report_damage(address, "extent outside the data, or over another extent")
                }
                error => error,
            }),
            Part::Name(_) if kind != Inode::DIRECTORY => {
                Err(self.report_damage(address, "name in an inode that is not a directory"))
            }
            Part::Name(name) => self.load_name(number, address, name),
            Part::Attribute => self.load_attribute(number, address),
            Part::Target(len) => {
                // CAST: A `usize` has 64 bits.
                if kind != Inode::SYMLINK || node.inode.size != len as u64 {
                    return Err(self.report_damage(
                        address,
                        "target of another length than its inode, or not of a symbolic link",
                    ));
                }
                if node.target.replace(address).is_some() {
                    return Err(self.report_damage(address, "second target of a symbolic link"));
                }
                Ok(())
            }
        }
    }

    /// Adds a name to a directory.
    fn load_name(&mut self, directory: u64, address: u64, name: Name) -> Result {
        let position = self.position_of(address)?;
        let is_directory = name.kind == Inode::DIRECTORY;
        let Some(target) = self.nodes.get_mut(name.target) else {
            return Err(self.report_damage(address, "name of an inode that does not exist"));
        };

        if target.inode.kind() != name.kind {
            return Err(self.report_damage(address, "name of another type than its inode"));
        }
        if is_directory && (name.target == ROOT || target.inode.parent != directory) {
            return Err(self.report_damage(address, "name of a directory with another parent"));
        }
        target.link_counts.names = target.link_counts.names.saturating_add(1);

        let entry = RBTreeNode::new(position, name, GFP_KERNEL)?;
        let node = self.node_mut(directory)?;

        node.names.insert(entry);
        if is_directory {
            node.link_counts.directories = node.link_counts.directories.saturating_add(1);
        }
        Ok(())
    }

    fn load_attribute(&mut self, number: u64, address: u64) -> Result {
        let entry = RBTreeNode::new(self.position_of(address)?, (), GFP_KERNEL)?;

        self.node_mut(number)?.attributes.insert(entry);
        Ok(())
    }

    fn load_bad_range(&mut self, address: u64, number: u64, range: Range<u64>) -> Result {
        let data = self.superblock.geometry.data();
        let overlaps =
            self.bad.count_ranges(&range) != 0 || self.owners.of(range.clone()).next().is_some();

        if number != 0 || range.start < data.start || range.end > data.end || overlaps {
            return Err(self.report_damage(
                address,
                "bad range of an inode, outside the data, or over another bad range or a chunk",
            ));
        }
        self.bad.add(&range, Some(address))
    }

    /// Adds an extent from the media.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the extent is outside the data, or overlaps another extent of the file.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn load_piece(&mut self, number: u64, piece: Piece) -> Result {
        let extent = piece.extent;
        let data = self.superblock.geometry.data();

        if extent.block < data.start || extent.end() > data.end {
            return Err(EUCLEAN);
        }

        let node = self.nodes.get_mut(number).ok_or(EUCLEAN)?;
        let is_overlapping = node
            .piece_from(extent.file_block)
            .is_some_and(|other| other.extent.file_block < extent.file_end());

        if is_overlapping {
            return Err(EUCLEAN);
        }

        node.pieces
            .insert(RBTreeNode::new(extent.file_end(), piece, GFP_KERNEL)?);
        node.blocks = node.blocks.saturating_add(extent.count);

        self.owners.add(
            Vacant::new(GFP_KERNEL)?,
            extent.blocks(),
            extent.owner(number),
        );
        Ok(())
    }
}
