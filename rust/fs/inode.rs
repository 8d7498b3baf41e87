// SPDX-License-Identifier: GPL-2.0

//! Inodes, as the VFS has them.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

use super::{
    Attributes,
    SuperBlock,
    Time, //
};

/// Sectors of a block, as `i_blocks` counts.
pub(super) const SECTORS_PER_BLOCK: u64 = 8;

/// Reads a field that C may write at this moment.
///
/// C: `READ_ONCE()`
///
/// # Safety
///
/// `field` must be valid for reads, and C must read and write it as a whole.
pub(super) unsafe fn read_once<F: Copy>(field: *const F) -> F {
    const { assert!(size_of::<F>() <= size_of::<usize>()) };

    // SAFETY: By the safety requirements.
    unsafe { field.read_volatile() }
}

/// Writes a field that C may read at this moment.
///
/// C: `WRITE_ONCE()`
///
/// # Safety
///
/// `field` must be valid for writes, and C must read and write it as a whole. Nobody else may write
/// it at this moment.
pub(super) unsafe fn write_once<F: Copy>(field: *mut F, value: F) {
    const { assert!(size_of::<F>() <= size_of::<usize>()) };

    // SAFETY: By the safety requirements.
    unsafe { field.write_volatile(value) };
}

/// An inode of a mounted filesystem.
///
/// A filesystem gets it for the duration of a call, and knows it by its [number](Self::number)
/// otherwise. No reference to it can be taken: one that is kept is a busy inode when the filesystem
/// is unmounted, and the last one evicts the inode wherever it is dropped.
///
/// # Invariants
///
/// An `Inode` is a valid `struct inode` of a superblock of type `T`.
#[repr(transparent)]
pub struct Inode<T>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: All methods do their own synchronization, and `T` is `Sync`.
unsafe impl<T: Sync> Sync for Inode<T> {}

impl<T> Inode<T> {
    /// # Safety
    ///
    /// `inode` must be a valid inode of a superblock of type `T` for the duration of `'a`.
    pub(super) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: By the safety requirements. `Inode` is a transparent wrapper.
        unsafe { &*inode.cast() }
    }

    /// The inode of a file.
    ///
    /// # Safety
    ///
    /// `file` must be open for the duration of `'a`, and of a superblock of type `T`.
    pub(super) unsafe fn of_file<'a>(file: *mut bindings::file) -> &'a Self {
        // SAFETY: By the safety requirements.
        unsafe { Self::from_raw(bindings::file_inode(file)) }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The number of the inode.
    pub fn number(&self) -> u64 {
        // SAFETY: By the type invariants. The number is written once, when the inode is created.
        unsafe { read_once(&raw const (*self.as_raw()).i_ino) }
    }

    /// The superblock that the inode belongs to.
    pub(super) fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: By the type invariants. The superblock outlives its inodes.
        unsafe { SuperBlock::from_raw((*self.as_raw()).i_sb) }
    }

    /// The filesystem that the inode belongs to.
    pub(super) fn fs(&self) -> &T {
        self.super_block().fs()
    }

    /// Type and permissions, as `st_mode`.
    pub fn mode(&self) -> u32 {
        // SAFETY: By the type invariants. `setattr_copy()` may write the mode at this moment.
        unsafe { read_once(&raw const (*self.as_raw()).i_mode) }.into()
    }

    /// Whether the inode is of the type `format`, one of the `S_IF…` numbers.
    pub(super) fn is(&self, format: u32) -> bool {
        self.mode() & bindings::S_IFMT == format
    }

    /// What the VFS knows of the inode at this moment, which may be newer than what
    /// [`FileSystem::read_inode()`](super::FileSystem::read_inode) says. It does not know flags and
    /// the time of creation, which are 0.
    pub fn attributes(&self) -> Attributes {
        // SAFETY: By the type invariants. As everywhere in the VFS, what somebody changes at this
        // moment is found either way: `setattr_copy()` and `set_nlink()` take no lock that a reader
        // has. Device and generation do not change.
        unsafe {
            let inode = self.as_raw();

            Attributes {
                mode: self.mode(),
                uid: read_once(&raw const (*inode).i_uid.val),
                gid: read_once(&raw const (*inode).i_gid.val),
                links: read_once(&raw const (*inode).__bindgen_anon_1.i_nlink),
                size: self.size(),
                blocks: read_once(&raw const (*inode).i_blocks) / SECTORS_PER_BLOCK,
                device: bindings::huge_encode_dev((*inode).i_rdev),
                generation: (*inode).i_generation,
                flags: 0,
                version: self.version(),
                accessed: self.accessed(),
                modified: self.modified(),
                changed: self.changed(),
                born: Time::default(),
            }
        }
    }

    /// The size in bytes.
    pub(super) fn size(&self) -> u64 {
        // SAFETY: By the type invariants.
        let size = unsafe { bindings::i_size_read(self.as_raw()) };

        u64::try_from(size).unwrap_or(0)
    }

    /// The time of the last access, as the VFS knows it.
    fn accessed(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_atime(self.as_raw()) })
    }

    /// The time of the last change to the contents, as the VFS knows it.
    pub(super) fn modified(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_mtime(self.as_raw()) })
    }

    /// The time of the last change, as the VFS knows it.
    pub(super) fn changed(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_ctime(self.as_raw()) })
    }

    /// Sets the time of the last change. That takes no lock.
    pub(super) fn set_changed(&self, time: Time) {
        // SAFETY: By the type invariants. `inode_set_ctime_to_ts()` writes what others may read at
        // this moment as it is to be.
        unsafe { bindings::inode_set_ctime_to_ts(self.as_raw(), time.into_raw()) };
    }

    /// The change counter, as the VFS knows it.
    pub(super) fn version(&self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { bindings::inode_peek_iversion(self.as_raw()) }
    }

    /// Makes the change counter greater. That takes no lock.
    pub(super) fn count_change(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::inode_maybe_inc_iversion(self.as_raw(), true) };
    }

    /// The time, as precise as the inode keeps it.
    pub(super) fn now(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::current_time(self.as_raw()) })
    }

    /// C: `inode_state_read_once()`
    pub(super) fn state(&self) -> bindings::inode_state_flags_enum {
        // SAFETY: By the type invariants. Others change the flags under `i_lock`.
        unsafe { read_once(&raw const (*self.as_raw()).i_state.__state) }
    }

    /// # Safety
    ///
    /// The caller must hold the inode's lock, or nobody else uses the inode.
    pub(super) unsafe fn set_size(&self, attributes: &Attributes) {
        // CAST: `read()` checks the size. The number of blocks of a file that fits into 64 bits is
        // far from overflowing.
        // SAFETY: By the safety requirements.
        unsafe {
            let inode = self.as_raw();
            let sectors = attributes.blocks.saturating_mul(SECTORS_PER_BLOCK);

            bindings::i_size_write(inode, attributes.size as bindings::loff_t);
            write_once(&raw mut (*inode).i_blocks, sectors);
        }
    }

    /// # Safety
    ///
    /// The caller must hold the inode's lock, or nobody else uses the inode.
    pub(super) unsafe fn set_changes(&self, attributes: &Attributes) {
        // SAFETY: By the safety requirements.
        unsafe {
            let inode = self.as_raw();

            bindings::inode_set_mtime_to_ts(inode, attributes.modified.into_raw());
            self.set_changed(attributes.changed);
        }
    }

    /// Sets what [`FileSystem::write_inode()`](super::FileSystem::write_inode) is told.
    ///
    /// # Safety
    ///
    /// The caller must hold the inode's lock, or nobody else uses the inode.
    pub(super) unsafe fn set_owners_and_times(&self, attributes: &Attributes) {
        // SAFETY: By the safety requirements.
        unsafe {
            let inode = self.as_raw();

            // CAST: The upper half of a mode is not used.
            write_once(
                &raw mut (*inode).i_mode,
                attributes.mode as bindings::umode_t,
            );
            write_once(&raw mut (*inode).i_uid.val, attributes.uid);
            write_once(&raw mut (*inode).i_gid.val, attributes.gid);
            bindings::inode_set_atime_to_ts(inode, attributes.accessed.into_raw());
            self.set_changes(attributes);
        }
    }

    /// Has the kernel write the inode.
    ///
    /// C: `mark_inode_dirty_sync()`
    pub(super) fn mark_dirty(&self) {
        // CAST: The flags are small.
        let flags = bindings::inode_state_flags_enum_I_DIRTY_SYNC as c_int;

        // SAFETY: By the type invariants.
        unsafe { bindings::__mark_inode_dirty(self.as_raw(), flags) };
    }

    /// The mapping of the contents.
    pub(super) fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: The inode is valid by its type invariants. The field does not change.
        unsafe { (*self.as_raw()).i_mapping }
    }
}
