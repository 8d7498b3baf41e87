// SPDX-License-Identifier: GPL-2.0

//! Filesystems that store the contents of their files in DAX memory.
//!
//! A filesystem provides its names and inodes, and the location of the contents of each file. The
//! kernel (`fs/dax.c`) reads, writes and maps the contents, and handles page faults. A mounted
//! filesystem is the holder of its DAX device, and is notified of memory failures as ranges of its
//! [`Volume`].
//!
//! To write a filesystem:
//!
//! 1. Implement [`FileSystem`]. Its methods receive an [`Inode`], or the number of one.
//! 2. Keep a [`Registration`] in the module.
//!
//! Unsupported: files in the page cache, several devices, quotas.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/iomap.h`](srctree/include/linux/iomap.h)
//!
//! Reference: [`Documentation/filesystems/vfs.rst`](srctree/Documentation/filesystems/vfs.rst)

mod acl;
mod attr;
mod attributes;
mod blocks;
mod delayed_iput;
mod delayed_work;
mod dentry;
mod directory;
mod export;
mod extents;
mod failed_pages;
mod fallocate;
mod file_system;
mod flags;
mod fs_context;
mod fsmap;
mod holder;
mod icache;
mod inode;
mod inode_list;
mod inode_ref;
mod invalidate;
mod ioctl;
mod iomap;
mod lock;
mod mapping;
mod mmap;
mod mount;
mod namei;
mod new_inode;
mod no_reclaim;
mod notify;
mod operations;
mod owners;
mod read_write;
mod readdir;
mod registration;
mod remap_range;
mod rename;
mod revoke;
mod security;
mod seek;
mod segment;
mod shared_pages;
mod super_block;
mod super_operations;
mod symlink;
mod truncate;
mod volume;
mod write_begin;
mod xattr;

pub use self::{
    attributes::{
        Attributes,
        Time, //
    },
    delayed_work::{
        FailedAt,
        RepairWork, //
    },
    directory::{
        Entry,
        Label,
        Rename,
        Whiteout,
        FIRST_POSITION, //
    },
    file_system::{
        FileSystem,
        Statistics,
        FSLABEL_MAX, //
    },
    inode::Inode,
    mapping::{
        Mapping,
        Place,
        Purpose, //
    },
    no_reclaim::without_reclaim,
    registration::Registration,
    segment::{
        Segment,
        SegmentOwner,
        SegmentPosition,
        SegmentStart, //
    },
    super_block::SuperBlock,
    volume::{
        Volume,
        Writer, //
    },
};
