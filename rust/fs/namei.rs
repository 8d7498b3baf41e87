// SPDX-License-Identifier: GPL-2.0

//! Names in directories: looking them up, creating, linking, removing them.
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
    /// - `ENAMETOOLONG` if there can be no such name.
    /// - `EUCLEAN` if there is the name but no inode.
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
            // It is the name that is not as it should be, not the caller's handle.
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
        // SAFETY: By the safety requirements.
        let (directory, name) = unsafe { (Inode::<T>::from_raw(dir), name(dentry)) };

        let inode = match Self::find(directory, name) {
            Ok(Some(inode)) => inode.into_raw(),
            Ok(None) => ptr::null_mut(),
            Err(error) => return error.to_ptr(),
        };

        // SAFETY: The dentry has no inode yet. The reference to the inode, if there is one, is the
        // function's from now on.
        unsafe { bindings::d_splice_alias(inode, dentry) }
    }

    /// Creates an inode, with the name of a dentry or without one. Returns it with a reference and
    /// still new (`I_NEW`), as [`NewInode::insert()`] does.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::create()`], [`NewInode::new()`], [`NewInode::labels()`] and
    ///   [`NewInode::insert()`].
    ///
    /// # Safety
    ///
    /// - The dentry must be one that has a [`name()`].
    /// - `idmap` must be the mapping of a mount, as the VFS passes it.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        directory: &LockedInode<T>,
        dentry: Option<*const bindings::dentry>,
        mode: bindings::umode_t,
        device: bindings::dev_t,
        target: Option<&[u8]>,
    ) -> Result<*mut bindings::inode> {
        // SAFETY: By the safety requirements.
        let name = dentry.map(|dentry| unsafe { (qstr(dentry), name(dentry)) });
        // All that can fail for lack of memory comes before the inode is there.
        // SAFETY: By the safety requirements.
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

    /// # Safety
    ///
    /// - The caller must hold the lock of `dir`, a directory of a superblock of type `T`.
    /// - `dentry` must be a name in it that has no inode.
    /// - `idmap` must be the mapping of a mount, as the VFS passes it.
    unsafe fn make_at(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u32,
        device: bindings::dev_t,
        target: Option<&[u8]>,
    ) -> Result {
        // SAFETY: By the safety requirements.
        let directory = unsafe { locked(dir) };
        let mode = bindings::umode_t::try_from(mode)?;

        // SAFETY: By the safety requirements.
        let inode = unsafe { Self::make(idmap, directory, Some(dentry), mode, device, target) }?;

        // SAFETY: The dentry has no inode, the inode is new. Its reference is the dentry's now.
        unsafe { bindings::d_instantiate_new(dentry, inode) };
        Ok(())
    }

    /// # Safety
    ///
    /// Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    pub(super) unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        device: bindings::dev_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: As the VFS calls us.
            unsafe { Self::make_at(idmap, dir, dentry, mode.into(), device, None) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    pub(super) unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        let mode = bindings::S_IFDIR | u32::from(mode);

        // SAFETY: As the VFS calls us.
        match unsafe { Self::make_at(idmap, dir, dentry, mode, 0, None) } {
            // The VFS goes on with its own dentry.
            Ok(()) => ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// - Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    /// - `target` is a valid C string.
    pub(super) unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        const MODE: u32 = bindings::S_IFLNK | 0o777;

        // SAFETY: By the safety requirements.
        let target = unsafe { CStr::from_char_ptr(target) }.to_bytes();

        from_result(|| {
            // SAFETY: As the VFS calls us.
            unsafe { Self::make_at(idmap, dir, dentry, MODE, 0, Some(target)) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_tmpfile()` only, with the lock of `dir` held.
    /// - `dir` is a directory of a superblock of type `T`, `file` a file that is being opened, with
    ///   a dentry of its own that has no inode.
    pub(super) unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let directory = unsafe { locked::<T>(dir) };
            // SAFETY: There is no dentry, and the mapping is the VFS's.
            let inode = unsafe { Self::make(idmap, directory, None, mode, 0, None) }?;

            // SAFETY: The inode is new, so its links can be set. `d_tmpfile()` takes the one link
            // from it and hands its reference to the dentry, which the file has.
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
    /// - `dir` is a directory of a superblock of type `T`, `old` a name with an inode of it, and
    ///   `dentry` a name in `dir` that has none.
    pub(super) unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let (directory, name) = unsafe { (locked::<T>(dir), name(dentry)) };
            // SAFETY: By the safety requirements.
            let inode = unsafe { LockedInode::assume(inode_of::<T>(old).ok_or(ENOENT)?) };

            directory
                .fs()
                .link(inode, directory, name, directory.now())?;
            directory.refresh();
            inode.refresh();

            // SAFETY: `old` has a reference to the inode. The dentry has no inode, and gets the
            // reference that is taken here.
            unsafe {
                bindings::ihold(inode.as_raw());
                bindings::d_instantiate(dentry, inode.as_raw());
            }
            Ok(0)
        })
    }

    /// Takes a name from an inode, directory or not.
    ///
    /// # Safety
    ///
    /// - Called by `vfs_unlink()` and `vfs_rmdir()` only, with the locks of `dir` and of the inode
    ///   of `dentry` held.
    /// - `dir` is a directory of a superblock of type `T`, `dentry` a name in it with an inode.
    pub(super) unsafe extern "C" fn unlink(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let (directory, name) = unsafe { (locked::<T>(dir), name(dentry)) };
            // SAFETY: By the safety requirements.
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
    /// Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        let mode = bindings::S_IFREG | u32::from(mode);

        // SAFETY: As the VFS calls us.
        from_result(|| unsafe { Self::make_at(idmap, dir, dentry, mode, 0, None) }.map(|()| 0))
    }
}
