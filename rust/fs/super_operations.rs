// SPDX-License-Identifier: GPL-2.0

//! The operations of a superblock.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::{
    bindings,
    range::PAGE_SIZE, //
};

use super::{
    invalidate::{
        has_entries,
        remove_entries,
        unmap_idle, //
    },
    lock::InternalWrite,
    shared_pages::SharedPages,
    FileSystem,
    Inode,
    SuperBlock, //
};

/// The operations table of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    // CAST: `PAGE_SIZE` is 4096.
    pub(super) const BLOCK_SIZE: c_int = PAGE_SIZE as c_int;

    /// # Safety
    ///
    /// Called by `generic_shutdown_super()` only, for a superblock of type `T` whose inodes are
    /// evicted. Its block device is closed afterwards.
    unsafe extern "C" fn put_super(super_block: *mut bindings::super_block) {
        // SAFETY: The superblock is of type `T` by the safety requirements, so it has a `Mount<T>`.
        unsafe { &(*SuperBlock::<T>::from_raw(super_block).mount()).volume }.detach_devices();
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a superblock of type `T`.
    unsafe extern "C" fn sync_fs(super_block: *mut bindings::super_block, wait: c_int) -> c_int {
        // `sync_filesystem()` calls this twice. The first call need not wait.
        if wait == 0 {
            return 0;
        }

        // SAFETY: The VFS passes a valid superblock of type `T`.
        let super_block = unsafe { SuperBlock::<T>::from_raw(super_block) };

        from_result(|| super_block.fs().sync().map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by `freeze_super()` only, for a superblock of type `T`.
    unsafe extern "C" fn freeze_fs(super_block: *mut bindings::super_block) -> c_int {
        // SAFETY: `freeze_super()` passes a valid superblock of type `T`, as `sync_fs()` requires.
        unsafe { Self::sync_fs(super_block, 1) }
    }

    /// Shows `dax=always` in `/proc/mounts`, where programs look for it, as XFS and ext4 do.
    ///
    /// # Safety
    ///
    /// Called by the VFS only, with a valid `file`.
    unsafe extern "C" fn show_options(
        file: *mut bindings::seq_file,
        _root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: The VFS passes a valid `file`.
        seq_print!(unsafe { SeqFile::from_raw(file) }, ",dax=always");
        0
    }

    /// # Safety
    ///
    /// - Called by the VFS only, for a dentry of a superblock of type `T`.
    /// - `statfs` is valid for writes.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        statfs: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        // SAFETY: The VFS passes a dentry of a superblock of type `T`, and a `statfs` that is valid
        // for writes.
        let (super_block, statfs) = unsafe {
            (
                SuperBlock::<T>::from_raw((*dentry).d_sb),
                &mut *statfs.cast::<bindings::kstatfs>(),
            )
        };
        let statistics = super_block.fs().statistics();

        // CAST: The constants fit into 63 bits.
        statfs.f_type = T::MAGIC as c_long;
        statfs.f_bsize = Self::BLOCK_SIZE as c_long;
        statfs.f_frsize = Self::BLOCK_SIZE as c_long;
        statfs.f_blocks = statistics.blocks;
        statfs.f_bfree = statistics.free_blocks;
        statfs.f_bavail = statistics.free_blocks;
        statfs.f_files = statistics.inodes;
        statfs.f_ffree = statistics.free_inodes;
        statfs.f_fsid.val = fsid(statistics.uuid);
        statfs.f_namelen = T::NAME_MAX as c_long;
        0
    }

    /// # Safety
    ///
    /// Called by the writeback of inodes only, for an inode of a superblock of type `T`.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        _control: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: The writeback passes a valid inode of a superblock of type `T`.
        let inode = unsafe { Inode::<T>::from_raw(inode) };

        from_result(|| {
            inode
                .write()
                .inspect_err(|_| inode.write_later())
                .map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `evict()` only, for an inode of a superblock of type `T` that has no user.
    unsafe extern "C" fn evict_inode(raw: *mut bindings::inode) {
        // SAFETY: `evict()` passes a valid inode of a superblock of type `T`, which has no user.
        unsafe {
            let super_block = SuperBlock::<T>::from_raw((*raw).i_sb);

            evict(raw, super_block.shared_pages());
        }

        // SAFETY: `evict()` passes a valid inode of a superblock of type `T`.
        let (inode, is_bad) = unsafe { (Inode::<T>::from_raw(raw), bindings::is_bad_inode(raw)) };

        // A bad inode could not be read or created, so the filesystem never used it.
        if is_bad {
            return;
        }

        // SAFETY: `evict()` passes a valid inode that has no other user.
        let is_removed = unsafe { (*raw).__bindgen_anon_1.i_nlink } == 0;
        let _write = is_removed.then(|| InternalWrite::new(inode.super_block()));

        inode.fs().evict(inode.number());
    }

    /// # Safety
    ///
    /// Called by `i_callback()` only, for an inode of a superblock of type `T` that has no user any
    /// more, after a grace period of RCU.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        // SAFETY: By the safety requirements, the inode has no other user. `i_link` of a symbolic
        // link is memory of a `KVec`, see `Link`, or null.
        unsafe {
            if u32::from((*inode).i_mode) & bindings::S_IFMT == bindings::S_IFLNK {
                bindings::kfree((*inode).__bindgen_anon_5.i_link.cast());
            }
            bindings::free_inode_nonrcu(inode);
        }
    }

    pub(super) const SUPER_OPERATIONS: bindings::super_operations = bindings::super_operations {
        free_inode: Some(Self::free_inode),
        write_inode: Some(Self::write_inode),
        evict_inode: Some(Self::evict_inode),
        put_super: Some(Self::put_super),
        freeze_fs: Some(Self::freeze_fs),
        sync_fs: Some(Self::sync_fs),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        ..pin_init::zeroed()
    };
}

/// The identifier of a filesystem in `statfs()`.
///
/// C: `uuid_to_fsid()`
fn fsid(uuid: [u8; 16]) -> [c_int; 2] {
    let folded = u128::from_le_bytes(uuid);
    // CAST: The cast takes one half of the number on purpose.
    let folded = (folded as u64) ^ (folded >> 64) as u64;

    // CAST: The cast takes one half of the number on purpose.
    [folded as c_int, (folded >> 32) as c_int]
}

/// Discards the pages and the mapping of an inode that is being evicted, of any type.
///
/// # Safety
///
/// Called by `evict_inode()` only, with its inode.
unsafe fn evict(inode: *mut bindings::inode, shared_pages: &SharedPages) {
    const LAST: bindings::loff_t = bindings::loff_t::MAX;

    // SAFETY: By the safety requirements, the inode is valid and has no user, so no page fault of
    // it can begin.
    if unsafe { has_entries(inode) } {
        // SAFETY: As above.
        while !unsafe { unmap_idle(inode, 0, LAST) } {
            fsleep(Delta::from_millis(1));
        }
        // SAFETY: By the safety requirements, the inode is valid, and no page is mapped any more.
        unsafe { remove_entries(inode, 0, LAST, shared_pages) };
    }

    // SAFETY: By the safety requirements, the inode is valid and is being evicted.
    unsafe {
        bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
        bindings::clear_inode(inode);
    }
}
