// SPDX-License-Identifier: GPL-2.0

//! Renaming.
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
    /// - Called by `vfs_rename()` only, with the locks of both directories held, and of the inodes
    ///   that it says it locks.
    /// - `old_dir` and `new_dir` are directories of one superblock of type `T`; `old` is a name
    ///   with an inode in the first, `new` one in the second.
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
            // The VFS has checked that there is nothing to be replaced, and that nothing is both
            // exchanged and whited out.
            if flags & !FLAGS != 0 {
                return Err(EINVAL);
            }
            let whiteout = (flags & bindings::RENAME_WHITEOUT != 0)
                // SAFETY: By the safety requirements.
                .then(|| unsafe { Self::whiteout(idmap, Inode::from_raw(old_dir), qstr(old)) })
                .transpose()?;

            // SAFETY: By the safety requirements.
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
            // SAFETY: By the safety requirements.
            unsafe { rename.refresh() };
            Ok(0)
        })
    }

    /// What takes a name of a directory that is renamed with `RENAME_WHITEOUT`. The VFS looks the
    /// name up again, so it gets no inode.
    ///
    /// # Errors
    ///
    /// - The errors of [`NewInode::new()`] and [`NewInode::labels()`].
    ///
    /// # Safety
    ///
    /// `idmap` must be the mapping of a mount, as the VFS passes it.
    unsafe fn whiteout(
        idmap: *mut bindings::mnt_idmap,
        directory: &Inode<T>,
        name: &bindings::qstr,
    ) -> Result<Whiteout> {
        const MODE: u32 = bindings::S_IFCHR | bindings::WHITEOUT_MODE;

        let mode = bindings::umode_t::try_from(MODE)?;
        // SAFETY: By the safety requirements.
        let inode = unsafe { NewInode::new(idmap, directory, mode) }?;

        let labels = inode.labels(directory, Some(name))?;

        Ok(Whiteout {
            attributes: inode.attributes(bindings::WHITEOUT_DEV, directory.now()),
            labels,
        })
    }
}

impl<T: FileSystem> Rename<'_, T> {
    /// Refreshes all who took part.
    ///
    /// # Safety
    ///
    /// `vfs_rename()` must have called us for this.
    unsafe fn refresh(&self) {
        // SAFETY: `vfs_rename()` has locked both directories.
        unsafe {
            LockedInode::assume(self.from).refresh();
            if !ptr::eq(self.from, self.to) {
                LockedInode::assume(self.to).refresh();
            }
        }
        for inode in [Some(self.inode), self.replaced].into_iter().flatten() {
            match self.stays(inode) {
                true => {
                    inode.set_changed(inode.changed().max(self.now));
                    inode.count_change();
                }
                // SAFETY: `vfs_rename()` has locked it.
                false => unsafe { LockedInode::assume(inode) }.refresh(),
            }
        }
    }

    /// Whether an inode that has another name now is a directory that stays where it is.
    ///
    /// `vfs_rename()` does not lock such. Somebody may create a name in it at this moment, and
    /// refresh its links after they were read here.
    fn stays(&self, inode: &Inode<T>) -> bool {
        let is_replaced = self.replaced.is_some_and(|other| ptr::eq(other, inode));

        ptr::eq(self.from, self.to)
            && inode.is(bindings::S_IFDIR)
            && (self.exchange || !is_replaced)
    }
}
