// SPDX-License-Identifier: GPL-2.0

//! The data and the holes of a regular file: `SEEK_DATA`, `SEEK_HOLE`, `FS_IOC_FIEMAP`.
//!
//! C header: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use core::marker::PhantomData;

use kernel::prelude::*;

use crate::bindings;

use super::{
    iomap,
    lock::SharedLocked,
    FileSystem,
    Inode, //
};

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    pub(super) unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        const HOLE: c_int = bindings::SEEK_HOLE as c_int;
        const DATA: c_int = bindings::SEEK_DATA as c_int;

        let seek = match whence {
            HOLE => bindings::iomap_seek_hole,
            DATA => bindings::iomap_seek_data,
            // SAFETY: The VFS passes an open file.
            _ => return unsafe { bindings::generic_file_llseek(file, offset, whence) },
        };

        // SAFETY: The VFS passes an open file. Only files of type `T` have this table.
        let inode = unsafe { Inode::<T>::of_file(file) };
        let locked = SharedLocked::new(inode);
        // SAFETY: `inode` is valid by the type invariants of `Inode`, and the operations are
        // static.
        let found = unsafe { seek(inode.as_raw(), offset, &iomap::VTable::<T>::OPS) };

        drop(locked);
        if found < 0 {
            return found;
        }
        // SAFETY: The VFS passes an open file, so its superblock is valid.
        unsafe { bindings::vfs_setpos(file, found, (*inode.super_block().as_raw()).s_maxbytes) }
    }

    /// # Safety
    ///
    /// Called by the VFS only, for an inode with this table.
    pub(super) unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        // SAFETY: The VFS passes a valid inode. Only inodes of type `T` have this table.
        let _locked = SharedLocked::new(unsafe { Inode::<T>::from_raw(inode) });

        // SAFETY: The VFS passes a valid inode and `info`. The operations are static.
        unsafe { bindings::iomap_fiemap(inode, info, start, len, &iomap::VTable::<T>::OPS) }
    }
}
