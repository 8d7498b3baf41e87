// SPDX-License-Identifier: GPL-2.0

//! Attributes of inodes, between the VFS and the filesystem: `setattr()`, `getattr()`.
//!
//! Reference: [`fs/attr.c`](srctree/fs/attr.c), [`fs/stat.c`](srctree/fs/stat.c)

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use crate::bindings;

use super::{
    inode::{
        write_once,
        SECTORS_PER_BLOCK, //
    },
    lock::LockedInode,
    Attributes,
    FileSystem,
    Inode, //
};

/// What `statx()` says that direct I/O must be aligned to, in bytes. With DAX any bytes will do,
/// but programs take this for the alignment of their memory, and for the size of their transfers.
const DIRECT_IO_ALIGNMENT: u32 = 512;

impl<T: FileSystem> Inode<T> {
    /// What the filesystem says of the inode.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if it is not what an inode can be.
    /// - The errors of [`FileSystem::read_inode()`].
    pub(super) fn read(&self) -> Result<Attributes> {
        let attributes = self.fs().read_inode(self.number())?;

        match attributes.is_valid() {
            true => Ok(attributes),
            false => Err(EUCLEAN),
        }
    }

    /// Tells the filesystem the owners and times that the VFS has.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`].
    pub(super) fn write(&self) -> Result {
        self.fs().write_inode(self, &self.attributes())
    }

    /// Has the kernel write the inode again, as it would not by itself, unless the filesystem is at
    /// its end.
    pub(super) fn write_later(&self) {
        if self.read().is_ok() {
            self.mark_dirty();
        }
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Takes over what an operation of the filesystem has changed: links, size, blocks, and the
    /// times of the changes. An inode that cannot be [read](Inode::read) any more stays as it is.
    pub(super) fn refresh(&self) {
        let Ok(mut attributes) = self.read() else {
            return;
        };

        // Names are changed by the filesystem, contents by the VFS, which may not have told the
        // filesystem yet.
        if !self.is(bindings::S_IFDIR) {
            attributes.modified = self.modified();
            attributes.changed = attributes.changed.max(self.changed());
        }

        // SAFETY: The inode is valid, and locked by the type invariants.
        unsafe {
            bindings::set_nlink(self.as_raw(), attributes.links);
            self.set_size(&attributes);
            self.set_changes(&attributes);
        }
        self.refresh_version(attributes.version);
    }

    /// Counts a change for which the filesystem has the counter `version`. Whoever has the greater
    /// one, the other gets it.
    fn refresh_version(&self, version: u64) {
        self.count_change();
        match self.version() {
            known if known < version => {
                // SAFETY: The inode is valid.
                unsafe { bindings::inode_set_iversion_queried(self.as_raw(), version) };
            }
            known if known > version => self.mark_dirty(),
            _ => (),
        }
    }

    /// Changes mode, owners and times as `setattr()` is asked to, here and in the filesystem.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`]. Nothing has changed then.
    /// - Those of `posix_acl_chmod()`.
    ///
    /// # Safety
    ///
    /// `dentry` must be one of the inode, and `attr` have passed `setattr_prepare()` with it and
    /// `idmap`.
    pub(super) unsafe fn change(
        &self,
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *const bindings::iattr,
    ) -> Result {
        let before = self.attributes();

        // SAFETY: By the safety requirements, and the inode is locked by the type invariants.
        unsafe { bindings::setattr_copy(idmap, self.as_raw(), attr) };
        self.count_change();

        self.write().inspect_err(|_| {
            // SAFETY: The inode is locked by the type invariants.
            unsafe { self.set_owners_and_times(&before) }
        })?;

        // SAFETY: By the safety requirements. The list follows the mode.
        to_result(unsafe {
            match (*attr).ia_valid & bindings::ATTR_MODE {
                0 => 0,
                _ => bindings::posix_acl_chmod(idmap, dentry, (*self.as_raw()).i_mode),
            }
        })
    }

    /// Changes the mode, here and in the filesystem.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`]. Nothing has changed then.
    pub(super) fn change_mode(&self, mode: bindings::umode_t) -> Result {
        let before = self.attributes();

        // SAFETY: The inode is valid, and locked by the type invariants.
        unsafe { write_once(&raw mut (*self.as_raw()).i_mode, mode) };
        self.set_changed(self.now());
        self.count_change();

        self.write().inspect_err(|_| {
            // SAFETY: The inode is locked by the type invariants.
            unsafe { self.set_owners_and_times(&before) }
        })
    }
}

/// Sets attributes, after `set_first` has set those that [`LockedInode::change()`] does not.
///
/// # Errors
///
/// - The errors of `setattr_prepare()`, of `set_first`, and of [`LockedInode::change()`].
///
/// # Safety
///
/// - `idmap`, `dentry` and `attr` must be those that `notify_change()` calls `->setattr()` with,
///   and the inode must be locked.
/// - The dentry must be that of an inode of a superblock of type `T`.
pub(super) unsafe fn set_attributes<T: FileSystem>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
    set_first: impl FnOnce(&LockedInode<T>, &mut bindings::iattr) -> Result,
) -> Result {
    // SAFETY: By the safety requirements.
    to_result(unsafe { bindings::setattr_prepare(idmap, dentry, attr) })?;

    // SAFETY: By the safety requirements, and a dentry that is operated on has an inode.
    let inode = unsafe { LockedInode::assume(Inode::<T>::from_raw((*dentry).d_inode)) };

    // SAFETY: `attr` is valid, and ours.
    set_first(inode, unsafe { &mut *attr })?;
    // SAFETY: `setattr_prepare()` has succeeded.
    unsafe { inode.change(idmap, dentry, attr) }
}

/// The operations that all types of inodes have.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// - Called by `notify_change()` only, with the inode's lock held.
    /// - `dentry` is that of an inode of a superblock of type `T`.
    pub(super) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            unsafe { set_attributes::<T>(idmap, dentry, attr, |_, _| Ok(())) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_getattr_nosec()` only.
    /// - `path` is that of an inode of a superblock of type `T`.
    /// - `stat` is valid for writes.
    pub(super) unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `path` is valid by the safety requirements. Its reference to the dentry keeps
            // `d_delete()` from taking the inode away.
            let inode = unsafe { Inode::<T>::from_raw((*(*path).dentry).d_inode) };

            // SAFETY: The inode is valid, `stat` by the safety requirements.
            unsafe { bindings::generic_fillattr(idmap, request_mask, inode.as_raw(), stat) };

            // SAFETY: The inode is valid, `stat` by the safety requirements.
            unsafe {
                bindings::generic_fill_statx_attr(inode.as_raw(), stat);
                (*stat).attributes_mask |= u64::from(bindings::STATX_ATTR_NODUMP);
            }

            if request_mask & bindings::STATX_DIOALIGN != 0 && inode.is(bindings::S_IFREG) {
                // SAFETY: `stat` is valid by the safety requirements.
                unsafe {
                    (*stat).dio_mem_align = DIRECT_IO_ALIGNMENT;
                    (*stat).dio_offset_align = DIRECT_IO_ALIGNMENT;
                    (*stat).result_mask |= bindings::STATX_DIOALIGN;
                }
            }

            // Page faults change the number of blocks, and have no lock to tell the VFS under. The
            // VFS knows neither the time of creation nor all flags.
            let known = inode.read()?;

            // SAFETY: `stat` is valid by the safety requirements.
            unsafe {
                (*stat).blocks = known.blocks.saturating_mul(SECTORS_PER_BLOCK);
                (*stat).btime = known.born.into_raw();
                (*stat).result_mask |= bindings::STATX_BTIME;
                if known.flags & bindings::FS_NODUMP_FL != 0 {
                    (*stat).attributes |= u64::from(bindings::STATX_ATTR_NODUMP);
                }
            }
            Ok(0)
        })
    }

    /// With a change counter, the VFS takes it that to mark an inode as dirty may wait, and refuses
    /// writes that must not (`RWF_NOWAIT`). Without `dirty_inode()` it does not wait.
    ///
    /// # Safety
    ///
    /// Called by the VFS only, for an inode with this table.
    pub(super) unsafe extern "C" fn update_time(
        inode: *mut bindings::inode,
        kind: bindings::fs_update_time,
        flags: c_uint,
    ) -> c_int {
        // CAST: The flags are bits.
        let flags = flags & !(bindings::IOCB_NOWAIT as c_uint);

        // SAFETY: By the safety requirements.
        unsafe { bindings::generic_update_time(inode, kind, flags) }
    }
}
