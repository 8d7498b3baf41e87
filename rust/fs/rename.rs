// SPDX-License-Identifier: GPL-2.0

//! Renames inodes.
//!
//! Reference: [`fs/namei.c`](srctree/fs/namei.c)

use core::{
    marker::PhantomData,
    ptr, //
};

use kernel::{
    error::from_result,
    prelude::*, //
};

use crate::bindings;

use super::{
    dentry::{
        inode_of,
        name,
        qstr, //
    },
    lock::LockedInode,
    new_inode::NewInode,
    FileSystem,
    Inode,
    Rename,
    Whiteout, //
};

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// - Called by `vfs_rename()` only, with both directories locked, and the inodes that its
    ///   documentation names.
    /// - `old_dir` and `new_dir` are directories of one superblock of type `T`. `old` is a name in
    ///   `old_dir` with an inode. `new` is a name in `new_dir`.
    pub(super) unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        const FLAGS: u32 =
            bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;

        from_result(|| {
            // The VFS has checked `RENAME_NOREPLACE`, and that `RENAME_EXCHANGE` and
            // `RENAME_WHITEOUT` are not set together.
            if flags & !FLAGS != 0 {
                return Err(EINVAL);
            }
            let whiteout = (flags & bindings::RENAME_WHITEOUT != 0)
                // SAFETY: `vfs_rename()` passes a valid `idmap` and locked directories, so `old`
                // keeps its name.
                .then(|| unsafe { Self::whiteout(idmap, Inode::from_raw(old_dir), qstr(old)) })
                .transpose()?;

            // SAFETY: `vfs_rename()` has locked both directories, which are of type `T`, so the
            // dentries keep their names and inodes.
            let rename = unsafe {
                let from = Inode::<T>::from_raw(old_dir);

                Rename {
                    from,
                    name: name(old),
                    inode: inode_of(old).ok_or(ENOENT)?,
                    to: Inode::from_raw(new_dir),
                    new_name: name(new),
                    replaced: inode_of(new),
                    exchange: flags & bindings::RENAME_EXCHANGE != 0,
                    whiteout,
                    now: from.now(),
                }
            };

            rename.from.fs().rename(&rename)?;
            // SAFETY: `vfs_rename()` has called this function, and still holds its locks.
            unsafe { rename.refresh() };
            Ok(0)
        })
    }

    /// The whiteout that takes the old name with `RENAME_WHITEOUT`. It has no VFS inode, because
    /// the VFS looks the name up again.
    ///
    /// # Errors
    ///
    /// - The errors of [`NewInode::new()`] and [`NewInode::labels()`].
    ///
    /// # Safety
    ///
    /// `idmap` must be the ID mapping of a mount, as the VFS passes it.
    unsafe fn whiteout(
        idmap: *mut bindings::mnt_idmap,
        directory: &Inode<T>,
        name: &bindings::qstr,
    ) -> Result<Whiteout> {
        const MODE: u32 = bindings::S_IFCHR | bindings::WHITEOUT_MODE;

        let mode = bindings::umode_t::try_from(MODE)?;
        // SAFETY: `idmap` is the ID mapping of a mount by the safety requirements.
        let inode = unsafe { NewInode::new(idmap, directory, mode) }?;

        let labels = inode.labels(directory, Some(name))?;

        Ok(Whiteout {
            attributes: inode.attributes(bindings::WHITEOUT_DEV, directory.now()),
            labels,
        })
    }
}

impl<T: FileSystem> Rename<'_, T> {
    /// Updates the VFS inodes that the rename has changed.
    ///
    /// # Safety
    ///
    /// `vfs_rename()` must have called `->rename()` for this rename, and must still hold its locks.
    unsafe fn refresh(&self) {
        // SAFETY: `vfs_rename()` has locked both directories.
        unsafe {
            LockedInode::assume(self.from).refresh();
            if !ptr::eq(self.from, self.to) {
                LockedInode::assume(self.to).refresh();
            }
        }
        for inode in [Some(self.inode), self.replaced].into_iter().flatten() {
            match self.is_unlocked_directory(inode) {
                true => {
                    inode.set_changed(inode.changed().max(self.now));
                    inode.count_change();
                }
                // SAFETY: `vfs_rename()` has locked the inode, because `is_unlocked_directory()` is
                // false.
                false => unsafe { LockedInode::assume(inode) }.refresh(),
            }
        }
    }

    /// Whether a renamed inode is a directory that keeps its parent.
    ///
    /// `vfs_rename()` does not lock such a directory. So another thread can create a name in the
    /// directory at the same time, and change the number of its links after this thread has read
    /// the number.
    fn is_unlocked_directory(&self, inode: &Inode<T>) -> bool {
        let is_replaced = self.replaced.is_some_and(|other| ptr::eq(other, inode));

        ptr::eq(self.from, self.to)
            && inode.is(bindings::S_IFDIR)
            && (self.exchange || !is_replaced)
    }
}
