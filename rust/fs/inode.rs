// SPDX-License-Identifier: GPL-2.0

//! Inodes of the VFS.
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

/// Sectors of 512 bytes in a block of 4096 bytes: `i_blocks` counts sectors.
pub(super) const SECTORS_PER_BLOCK: u64 = 8;

/// Reads a field that C can write at the same time.
///
/// C: `READ_ONCE()`
///
/// # Safety
///
/// `field` must be valid for reads, and C must read and write it as a whole.
pub(super) unsafe fn read_once<F: Copy>(field: *const F) -> F {
    const { assert!(size_of::<F>() <= size_of::<usize>()) };

    // SAFETY: `field` is valid for reads by the safety requirements. It fits into a word, so the
    // volatile read does not tear.
    unsafe { field.read_volatile() }
}

/// Writes a field that C can read at the same time.
///
/// C: `WRITE_ONCE()`
///
/// # Safety
///
/// `field` must be valid for writes, and C must read and write it as a whole. There must be no
/// other writer at the same time.
pub(super) unsafe fn write_once<F: Copy>(field: *mut F, value: F) {
    const { assert!(size_of::<F>() <= size_of::<usize>()) };

    // SAFETY: `field` is valid for writes by the safety requirements. It fits into a word, so the
    // volatile write does not tear.
    unsafe { field.write_volatile(value) };
}

/// An inode of a mounted filesystem.
///
/// A filesystem receives an inode for the duration of a call, and otherwise refers to it by its
/// [number](Self::number). A filesystem cannot take a reference: the inode would be busy at an
/// unmount, and the drop of the last reference would evict the inode, whatever locks the filesystem
/// holds then.
///
/// # Invariants
///
/// `self.0` is a valid `struct inode` of a superblock of type `T`.
#[repr(transparent)]
pub struct Inode<T>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: The methods use `read_once()` for fields that other threads can write, or call C
// functions for concurrent use. The methods that need exclusive access are unsafe, and require the
// inode's lock. `T` is `Sync`.
unsafe impl<T: Sync> Sync for Inode<T> {}

impl<T> Inode<T> {
    /// Borrows an inode from C.
    ///
    /// # Safety
    ///
    /// `inode` must be a valid inode of a superblock of type `T` for the duration of `'a`.
    pub(super) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: The inode is valid for `'a` by the safety requirements. `Inode` is a transparent
        // wrapper of `struct inode`.
        unsafe { &*inode.cast() }
    }

    /// The inode of a file.
    ///
    /// # Safety
    ///
    /// `file` must be open for the duration of `'a`, and belong to a superblock of type `T`.
    pub(super) unsafe fn of_file<'a>(file: *mut bindings::file) -> &'a Self {
        // SAFETY: An open file keeps its inode valid.
        unsafe { Self::from_raw(bindings::file_inode(file)) }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The number of the inode.
    pub fn number(&self) -> u64 {
        // SAFETY: `self.0` is valid by the type invariants. `i_ino` is written once, when the inode
        // is created.
        unsafe { read_once(&raw const (*self.as_raw()).i_ino) }
    }

    /// The superblock that the inode belongs to.
    pub(super) fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: `self.0` is valid by the type invariants. The superblock outlives its inodes.
        unsafe { SuperBlock::from_raw((*self.as_raw()).i_sb) }
    }

    /// The filesystem that the inode belongs to.
    pub(super) fn fs(&self) -> &T {
        self.super_block().fs()
    }

    /// Type and permissions, as in `st_mode`.
    pub fn mode(&self) -> u32 {
        // SAFETY: `self.0` is valid by the type invariants. `setattr_copy()` can write `i_mode` at
        // the same time.
        unsafe { read_once(&raw const (*self.as_raw()).i_mode) }.into()
    }

    /// Whether the inode is of the type `format`, one of the `S_IF…` numbers.
    pub(super) fn is(&self, format: u32) -> bool {
        self.mode() & bindings::S_IFMT == format
    }

    /// The attributes in the VFS inode. They can be newer than those of
    /// [`FileSystem::read_inode()`](super::FileSystem::read_inode). The VFS inode has no flags and
    /// no time of creation, which are 0 here.
    pub fn attributes(&self) -> Attributes {
        // SAFETY: `self.0` is valid by the type invariants. `setattr_copy()` and `set_nlink()` take
        // no lock that readers take, so each field is read before or after a concurrent change, as
        // elsewhere in the VFS. `i_rdev` and `i_generation` do not change.
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
                created: Time::default(),
            }
        }
    }

    /// The size in bytes.
    pub(super) fn size(&self) -> u64 {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        let size = unsafe { bindings::i_size_read(self.as_raw()) };

        u64::try_from(size).unwrap_or(0)
    }

    /// The time of the last access in the VFS inode.
    fn accessed(&self) -> Time {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_atime(self.as_raw()) })
    }

    /// The time of the last change of the contents in the VFS inode.
    pub(super) fn modified(&self) -> Time {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_mtime(self.as_raw()) })
    }

    /// The time of the last change in the VFS inode.
    pub(super) fn changed(&self) -> Time {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_ctime(self.as_raw()) })
    }

    /// Sets the time of the last change. The caller needs no lock.
    pub(super) fn set_changed(&self, time: Time) {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        // `inode_set_ctime_to_ts()` writes fields that other threads can read at the same time.
        unsafe { bindings::inode_set_ctime_to_ts(self.as_raw(), time.into_raw()) };
    }

    /// The change counter in the VFS inode.
    pub(super) fn version(&self) -> u64 {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        unsafe { bindings::inode_peek_iversion(self.as_raw()) }
    }

    /// Increases the change counter. The caller needs no lock.
    pub(super) fn count_change(&self) {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        unsafe { bindings::inode_maybe_inc_iversion(self.as_raw(), true) };
    }

    /// The current time, in the granularity of the times of the inode.
    pub(super) fn now(&self) -> Time {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        Time::from_raw(unsafe { bindings::current_time(self.as_raw()) })
    }

    /// C: `inode_state_read_once()`
    pub(super) fn state(&self) -> bindings::inode_state_flags_enum {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants. Other threads change
        // the flags under `i_lock`.
        unsafe { read_once(&raw const (*self.as_raw()).i_state.__state) }
    }

    /// Sets the size in bytes and the number of blocks.
    ///
    /// # Safety
    ///
    /// The caller must hold the inode's lock, or the inode must have no other user.
    pub(super) unsafe fn set_size(&self, attributes: &Attributes) {
        // CAST: `read()` has checked that the size fits into an `i64`.
        // SAFETY: The caller holds the inode's lock, or is the only user, by the safety
        // requirements.
        unsafe {
            let inode = self.as_raw();
            let sectors = attributes.blocks.saturating_mul(SECTORS_PER_BLOCK);

            bindings::i_size_write(inode, attributes.size as bindings::loff_t);
            write_once(&raw mut (*inode).i_blocks, sectors);
        }
    }

    /// Sets the times of the last changes.
    ///
    /// # Safety
    ///
    /// The caller must hold the inode's lock, or the inode must have no other user.
    pub(super) unsafe fn set_changes(&self, attributes: &Attributes) {
        // SAFETY: The caller holds the inode's lock, or is the only user, by the safety
        // requirements.
        unsafe {
            let inode = self.as_raw();

            bindings::inode_set_mtime_to_ts(inode, attributes.modified.into_raw());
            self.set_changed(attributes.changed);
        }
    }

    /// Sets the attributes that [`FileSystem::write_inode()`](super::FileSystem::write_inode)
    /// writes.
    ///
    /// # Safety
    ///
    /// The caller must hold the inode's lock, or the inode must have no other user.
    pub(super) unsafe fn set_ids_and_times(&self, attributes: &Attributes) {
        // SAFETY: The caller holds the inode's lock, or is the only user, by the safety
        // requirements.
        unsafe {
            let inode = self.as_raw();

            // CAST: A mode has 16 bits.
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

    /// Marks the inode dirty, so that the writeback writes the inode to the filesystem.
    ///
    /// C: `mark_inode_dirty_sync()`
    pub(super) fn mark_dirty(&self) {
        // CAST: `I_DIRTY_SYNC` is a low bit.
        let flags = bindings::inode_state_flags_enum_I_DIRTY_SYNC as c_int;

        // SAFETY: `self.0` is a valid `struct inode` by the type invariants.
        unsafe { bindings::__mark_inode_dirty(self.as_raw(), flags) };
    }

    /// The mapping of the contents.
    pub(super) fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: `self.0` is a valid `struct inode` by the type invariants. The field does not
        // change.
        unsafe { (*self.as_raw()).i_mapping }
    }
}
