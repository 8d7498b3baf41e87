// SPDX-License-Identifier: GPL-2.0

//! Names in directories: lookup, creation, links, removal.
//!
//! Reference: [`fs/namei.c`](srctree/fs/namei.c)

use core::{
    marker::PhantomData,
    ptr, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use crate::{
    bindings,
    compat, //
};

use super::{
    dentry::{
        inode_of,
        locked,
        name,
        qstr, //
    },
    inode_ref::InodeRef,
    lock::LockedInode,
    new_inode::NewInode,
    symlink::Link,
    FileSystem,
    Inode, //
};

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// Finds the inode that has a name.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG` if the name is longer than the longest name.
    /// - `EUCLEAN` if the name exists, but its inode does not.
    /// - The errors of [`FileSystem::lookup()`] and
    ///   [`SuperBlock::inode()`](super::SuperBlock::inode).
    fn find<'a>(directory: &'a Inode<T>, name: &[u8]) -> Result<Option<InodeRef<'a, T>>> {
        if name.len() > T::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let Some(number) = directory.fs().lookup(directory, name)? else {
            return Ok(None);
        };

        match directory.super_block().inode(number) {
            // `ESTALE` is the error for a handle of a caller. Here the directory is damaged.
            Err(ESTALE) => Err(EUCLEAN),
            inode => inode.map(Some),
        }
    }

    /// # Safety
    ///
    /// - Called by the VFS only, with the lock of `dir` held at least for reading.
    /// - `dir` is a directory of a superblock of type `T`, `dentry` a new name in it.
    pub(super) unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: The VFS passes a valid directory of type `T`, locked, and a dentry in it.
        let (directory, name) = unsafe { (Inode::<T>::from_raw(dir), name(dentry)) };

        let inode = match Self::find(directory, name) {
            Ok(Some(inode)) => inode.into_raw(),
            Ok(None) => ptr::null_mut(),
            Err(error) => return error.to_ptr(),
        };

        // SAFETY: The dentry has no inode yet. `d_splice_alias()` takes over the reference to the
        // inode, if there is one.
        unsafe { bindings::d_splice_alias(inode, dentry) }
    }

    /// Creates an inode with the name of a dentry, or without one. Returns the inode with a
    /// reference and still new (`I_NEW`), as [`NewInode::insert()`] does.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::create()`], [`NewInode::new()`], [`NewInode::labels()`] and
    ///   [`NewInode::insert()`].
    ///
    /// # Safety
    ///
    /// - `dentry` must be valid, and must keep its name, as [`name()`] requires.
    /// - `idmap` must be the ID mapping of a mount, as the VFS passes it.
    unsafe fn new_inode(
        idmap: *mut bindings::mnt_idmap,
        directory: &LockedInode<T>,
        dentry: Option<*const bindings::dentry>,
        mode: bindings::umode_t,
        device: bindings::dev_t,
        target: Option<&[u8]>,
    ) -> Result<*mut bindings::inode> {
        // SAFETY: `dentry` is valid and keeps its name by the safety requirements.
        let name = dentry.map(|dentry| unsafe { (qstr(dentry), name(dentry)) });
        // All allocations come before `create()`, because this function cannot undo `create()`.
        // SAFETY: `idmap` is the ID mapping of a mount by the safety requirements.
        let inode = unsafe { NewInode::new(idmap, directory, mode) }?;
        let link = target.map(Link::copy).transpose()?;
        let labels = inode.labels(directory, name.map(|(qstr, _)| qstr))?;
        let attributes = inode.attributes(device, directory.now());
        let place = name.map(|(_, name)| (&**directory, name));

        let number = directory.fs().create(place, &attributes, target, &labels)?;

        if place.is_some() {
            directory.refresh();
        }
        inode.insert(number, link)
    }

    /// Creates an inode with the name of a dentry, and connects it to the dentry.
    ///
    /// # Errors
    ///
    /// - The errors of [`new_inode()`](Self::new_inode).
    ///
    /// # Safety
    ///
    /// - The caller must hold the lock of `dir`, a directory of a superblock of type `T`.
    /// - `dentry` must be a name in `dir`, and must have no inode.
    /// - `idmap` must be the ID mapping of a mount, as the VFS passes it.
    unsafe fn create_at(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u32,
        device: bindings::dev_t,
        target: Option<&[u8]>,
    ) -> Result {
        // SAFETY: The caller holds the lock of `dir`, which is of type `T`, by the safety
        // requirements.
        let directory = unsafe { locked(dir) };
        let mode = bindings::umode_t::try_from(mode)?;

        // SAFETY: `dir` is locked, so `dentry` keeps its name. `idmap` is valid by the safety
        // requirements.
        let new = unsafe { Self::new_inode(idmap, directory, Some(dentry), mode, device, target) }?;

        // SAFETY: The dentry has no inode, and the inode is new. The dentry takes over the
        // reference.
        unsafe { bindings::d_instantiate_new(dentry, new) };
        Ok(())
    }

    /// # Safety
    ///
    /// Called by the VFS only, as [`create_at()`](Self::create_at) requires.
    pub(super) unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        device: bindings::dev_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS passes the arguments that `create_at()` requires.
            unsafe { Self::create_at(idmap, dir, dentry, mode.into(), device, None) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS only, as [`create_at()`](Self::create_at) requires.
    pub(super) unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        let mode = bindings::S_IFDIR | u32::from(mode);

        // SAFETY: The VFS passes the arguments that `create_at()` requires.
        match unsafe { Self::create_at(idmap, dir, dentry, mode, 0, None) } {
            // Null means that the VFS uses its own dentry.
            Ok(()) => ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// - Called by the VFS only, as [`create_at()`](Self::create_at) requires.
    /// - `target` is a valid C string.
    pub(super) unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        const MODE: u32 = bindings::S_IFLNK | 0o777;

        // SAFETY: `target` is a valid C string by the safety requirements.
        let target = unsafe { CStr::from_char_ptr(target) }.to_bytes();

        from_result(|| {
            // SAFETY: The VFS passes the arguments that `create_at()` requires.
            unsafe { Self::create_at(idmap, dir, dentry, MODE, 0, Some(target)) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_tmpfile()` only, with the lock of `dir` held.
    /// - `dir` is a directory of a superblock of type `T`. `file` is being opened, and has a dentry
    ///   of its own without an inode.
    pub(super) unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `vfs_tmpfile()` passes a locked directory of type `T`.
            let directory = unsafe { locked::<T>(dir) };
            // SAFETY: `dentry` is `None`, and `vfs_tmpfile()` passes the ID mapping of a mount.
            let inode = unsafe { Self::new_inode(idmap, directory, None, mode, 0, None) }?;

            // SAFETY: The inode is new, so its links can be set. `d_tmpfile()` sets the links to 0
            // again, and passes the reference to the dentry of `file`.
            to_result(unsafe {
                bindings::set_nlink(inode, 1);
                bindings::d_tmpfile(file, inode);
                bindings::unlock_new_inode(inode);
                bindings::finish_open(file, (*file).__bindgen_anon_1.f_path.dentry, None)
            })
            .map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_link()` only, with the locks of `dir` and of the inode of `old` held.
    /// - `dir` is a directory of a superblock of type `T`. `old` has an inode of this superblock.
    ///   `dentry` is a name in `dir` without an inode.
    pub(super) unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `vfs_link()` passes a locked directory of type `T`, and a dentry in it.
            let (directory, name) = unsafe { (locked::<T>(dir), name(dentry)) };
            // SAFETY: `vfs_link()` has locked the inode of `old`, which is of type `T`.
            let inode = unsafe { LockedInode::assume(inode_of::<T>(old).ok_or(ENOENT)?) };

            directory
                .fs()
                .link(inode, directory, name, directory.now())?;
            directory.refresh();
            inode.refresh();

            // SAFETY: `old` keeps the inode valid. `dentry` has no inode, and takes over the
            // reference of `ihold()`.
            unsafe {
                bindings::ihold(inode.as_raw());
                bindings::d_instantiate(dentry, inode.as_raw());
            }
            Ok(0)
        })
    }

    /// Removes a name of an inode of any type.
    ///
    /// # Safety
    ///
    /// - Called by `vfs_unlink()` and `vfs_rmdir()` only, with the locks of `dir` and of the inode
    ///   of `dentry` held.
    /// - `dir` is a directory of a superblock of type `T`. `dentry` is a name in it with an inode.
    pub(super) unsafe extern "C" fn unlink(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS passes a locked directory of type `T`, and a dentry in it.
            let (directory, name) = unsafe { (locked::<T>(dir), name(dentry)) };
            // SAFETY: The VFS has locked the inode of `dentry`, which is of type `T`.
            let inode = unsafe { LockedInode::assume(inode_of::<T>(dentry).ok_or(ENOENT)?) };

            directory
                .fs()
                .unlink(directory, name, inode, directory.now())?;
            directory.refresh();
            inode.refresh();
            Ok(0)
        })
    }
}

impl<T: FileSystem> compat::Create for VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, as [`create_at()`](Self::create_at) requires.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        let mode = bindings::S_IFREG | u32::from(mode);

        // SAFETY: The VFS passes the arguments that `create_at()` requires.
        from_result(|| unsafe { Self::create_at(idmap, dir, dentry, mode, 0, None) }.map(|()| 0))
    }
}
