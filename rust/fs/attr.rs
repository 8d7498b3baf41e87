// SPDX-License-Identifier: GPL-2.0

//! Transfers the attributes of inodes between the VFS and the filesystem: `setattr()`, `getattr()`.
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

/// The alignment in bytes that `statx()` reports for direct I/O. DAX needs none, but programs use
/// this value to align their memory, and as the size of their transfers.
const DIRECT_IO_ALIGNMENT: u32 = 512;

impl<T: FileSystem> Inode<T> {
    /// Reads the attributes of the inode from the filesystem.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the attributes are invalid.
    /// - The errors of [`FileSystem::read_inode()`].
    pub(super) fn read(&self) -> Result<Attributes> {
        let attributes = self.fs().read_inode(self.number())?;

        match attributes.is_valid() {
            true => Ok(attributes),
            false => Err(EUCLEAN),
        }
    }

    /// Writes the mode, user, group and times of the VFS inode to the filesystem.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`].
    pub(super) fn write(&self) -> Result {
        self.fs().write_inode(self)
    }

    /// Marks the inode dirty after a failed write, so that the kernel writes the inode again. Does
    /// nothing if the attributes cannot be read, as after a shutdown of the filesystem.
    pub(super) fn write_later(&self) {
        if self.read().is_ok() {
            self.mark_dirty();
        }
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Updates the VFS inode after an operation of the filesystem: links, size, blocks, and the
    /// times of the changes. If the inode cannot be [read](Inode::read), the VFS inode stays
    /// unchanged.
    pub(super) fn refresh(&self) {
        let Ok(mut attributes) = self.read() else {
            return;
        };

        // The filesystem sets the times of directories. The VFS sets the times of other inodes, and
        // may not have written them to the filesystem yet.
        if !self.is(bindings::S_IFDIR) {
            attributes.modified = self.modified();
            attributes.changed = attributes.changed.max(self.changed());
        }

        // SAFETY: By the type invariants of `LockedInode`, the inode is valid, and this thread
        // holds its lock.
        unsafe {
            bindings::set_nlink(self.as_raw(), attributes.links);
            self.set_size(&attributes);
            self.set_changes(&attributes);
        }
        self.refresh_version(attributes.version);
    }

    /// Counts a change of the VFS inode. Then compares its change counter with `version`, the
    /// change counter in the filesystem. If `version` is greater, the VFS inode gets it. If
    /// `version` is smaller, marks the inode dirty, so that the kernel writes the counter.
    fn refresh_version(&self, version: u64) {
        self.count_change();
        match self.version() {
            known if known < version => {
                // SAFETY: `self` is a valid inode by the type invariants of `Inode`.
                unsafe { bindings::inode_set_iversion_queried(self.as_raw(), version) };
            }
            known if known > version => self.mark_dirty(),
            _ => (),
        }
    }

    /// Changes mode, user, group and times as `attr` says, in the VFS inode and in the filesystem.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`]. The VFS inode has its old attributes then.
    /// - The errors of `posix_acl_chmod()`.
    ///
    /// # Safety
    ///
    /// `dentry` must be a dentry of the inode. `attr` must have passed `setattr_prepare()` with
    /// `dentry` and `idmap`.
    pub(super) unsafe fn change(
        &self,
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *const bindings::iattr,
    ) -> Result {
        let before = self.attributes();

        // SAFETY: `idmap` and `attr` are valid by the safety requirements. This thread holds the
        // inode's lock by the type invariants.
        unsafe { bindings::setattr_copy(idmap, self.as_raw(), attr) };
        self.count_change();

        self.write().inspect_err(|_| {
            // SAFETY: This thread holds the inode's lock by the type invariants.
            unsafe { self.set_ids_and_times(&before) }
        })?;

        // SAFETY: `idmap`, `dentry` and `attr` are valid by the safety requirements. The ACL must
        // follow the mode.
        to_result(unsafe {
            match (*attr).ia_valid & bindings::ATTR_MODE {
                0 => 0,
                _ => bindings::posix_acl_chmod(idmap, dentry, (*self.as_raw()).i_mode),
            }
        })
    }

    /// Changes the mode, in the VFS inode and in the filesystem.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`]. The VFS inode has its old attributes then.
    pub(super) fn change_mode(&self, mode: bindings::umode_t) -> Result {
        let before = self.attributes();

        // SAFETY: By the type invariants of `LockedInode`, the inode is valid, and this thread
        // holds its lock.
        unsafe { write_once(&raw mut (*self.as_raw()).i_mode, mode) };
        self.set_changed(self.now());
        self.count_change();

        self.write().inspect_err(|_| {
            // SAFETY: This thread holds the inode's lock by the type invariants.
            unsafe { self.set_ids_and_times(&before) }
        })
    }
}

/// Sets attributes. Calls `set_first` first, for the attributes that [`LockedInode::change()`] does
/// not set.
///
/// # Errors
///
/// - The errors of `setattr_prepare()`, of `set_first`, and of [`LockedInode::change()`].
///
/// # Safety
///
/// - `idmap`, `dentry` and `attr` must be the arguments with which `notify_change()` calls
///   `->setattr()`, with the inode locked.
/// - `dentry` must belong to an inode of a superblock of type `T`.
pub(super) unsafe fn set_attributes<T: FileSystem>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
    set_first: impl FnOnce(&LockedInode<T>, &mut bindings::iattr) -> Result,
) -> Result {
    // SAFETY: `notify_change()` passes valid `idmap`, `dentry` and `attr`, by the safety
    // requirements.
    to_result(unsafe { bindings::setattr_prepare(idmap, dentry, attr) })?;

    // SAFETY: By the safety requirements, the dentry has an inode of type `T`, which is locked.
    let inode = unsafe { LockedInode::assume(Inode::<T>::from_raw((*dentry).d_inode)) };

    // SAFETY: `attr` is valid, and `->setattr()` may change it.
    set_first(inode, unsafe { &mut *attr })?;
    // SAFETY: `setattr_prepare()` has succeeded with these arguments.
    unsafe { inode.change(idmap, dentry, attr) }
}

/// The operations for inodes of all types.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// - Called by `notify_change()` only, with the inode's lock held.
    /// - `dentry` belongs to an inode of a superblock of type `T`.
    pub(super) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `notify_change()` passes these arguments with the inode locked. The inode is
            // of type `T` by the safety requirements.
            unsafe { set_attributes::<T>(idmap, dentry, attr, |_, _| Ok(())) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_getattr_nosec()` only.
    /// - `path` belongs to an inode of a superblock of type `T`.
    /// - `stat` is valid for writes.
    pub(super) unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `path` is valid by the safety requirements. It has a reference to the dentry,
            // which keeps `d_delete()` from removing the inode.
            let inode = unsafe { Inode::<T>::from_raw((*(*path).dentry).d_inode) };

            // SAFETY: `inode` is valid by the type invariants of `Inode`, and `stat` is valid for
            // writes by the safety requirements.
            unsafe { bindings::generic_fillattr(idmap, request_mask, inode.as_raw(), stat) };

            // SAFETY: `inode` is valid by the type invariants of `Inode`, and `stat` is valid for
            // writes by the safety requirements.
            unsafe {
                bindings::generic_fill_statx_attr(inode.as_raw(), stat);
                (*stat).attributes_mask |= u64::from(bindings::STATX_ATTR_NODUMP);
            }

            if request_mask & bindings::STATX_DIOALIGN != 0 && inode.is(bindings::S_IFREG) {
                // SAFETY: `stat` is valid for writes by the safety requirements.
                unsafe {
                    (*stat).dio_mem_align = DIRECT_IO_ALIGNMENT;
                    (*stat).dio_offset_align = DIRECT_IO_ALIGNMENT;
                    (*stat).result_mask |= bindings::STATX_DIOALIGN;
                }
            }

            // A page fault holds no lock that protects `i_blocks`, so it changes the number of
            // blocks in the filesystem only. The VFS inode has neither the time of creation nor
            // `FS_NODUMP_FL`.
            let known = inode.read()?;

            // SAFETY: `stat` is valid for writes by the safety requirements.
            unsafe {
                (*stat).blocks = known.blocks.saturating_mul(SECTORS_PER_BLOCK);
                (*stat).btime = known.created.into_raw();
                (*stat).result_mask |= bindings::STATX_BTIME;
                if known.flags & bindings::FS_NODUMP_FL != 0 {
                    (*stat).attributes |= u64::from(bindings::STATX_ATTR_NODUMP);
                }
            }
            Ok(0)
        })
    }

    /// Calls `generic_update_time()` without `IOCB_NOWAIT`. With the flag, `generic_update_time()`
    /// assumes that an update of the change counter can block, and makes writes with `RWF_NOWAIT`
    /// fail. Here the update does not block, because there is no `dirty_inode()` operation.
    ///
    /// # Safety
    ///
    /// Called by the VFS only, for an inode with this table.
    pub(super) unsafe extern "C" fn update_time(
        inode: *mut bindings::inode,
        kind: bindings::fs_update_time,
        flags: c_uint,
    ) -> c_int {
        // CAST: `IOCB_NOWAIT` is one bit, and not the sign bit.
        let flags = flags & !(bindings::IOCB_NOWAIT as c_uint);

        // SAFETY: The VFS passes a valid inode.
        unsafe { bindings::generic_update_time(inode, kind, flags) }
    }
}
