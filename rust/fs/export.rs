// SPDX-License-Identifier: GPL-2.0

//! Handles of inodes. A handle refers to an inode without a name: for `open_by_handle_at()`, and
//! for fanotify, which reports errors of filesystems with handles only.
//!
//! C header: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h)

use core::{
    marker::PhantomData,
    ptr, //
};

use kernel::prelude::*;

use crate::bindings;

use super::{
    inode_ref::InodeRef,
    FileSystem,
    Inode,
    SuperBlock, //
};

/// A handle: the number of an inode in two words, and its generation.
type Handle = [u32; 3];

/// Number of words of a handle.
// CAST: The value is 3.
const WORDS: c_int = size_of::<Handle>() as c_int / 4;

/// The type of a handle of an inode.
const TYPE: c_int = bindings::fid_type_FILEID_INO64_GEN as c_int;

/// The type of a handle of an inode, followed by the handle of its directory.
const TYPE_PARENT: c_int = bindings::fid_type_FILEID_INO64_GEN_PARENT as c_int;

/// Returns the handle of an inode.
///
/// # Safety
///
/// `inode` must be valid.
unsafe fn handle_of(inode: *const bindings::inode) -> Handle {
    // SAFETY: `inode` is valid by the safety requirements. Number and generation do not change.
    let (number, generation) = unsafe { ((*inode).i_ino, (*inode).i_generation) };

    // CAST: Each word takes one half of the number.
    [number as u32, (number >> 32) as u32, generation]
}

/// Converts an inode to a dentry, or an error to an error pointer.
fn dentry_of<T: FileSystem>(inode: Result<InodeRef<'_, T>>) -> *mut bindings::dentry {
    match inode {
        // SAFETY: `d_obtain_alias()` takes over the reference.
        Ok(inode) => unsafe { bindings::d_obtain_alias(inode.into_raw()) },
        Err(error) => error.to_ptr(),
    }
}

/// The operations table of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by `exportfs_encode_inode_fh()` only, for an inode of a superblock of type `T`. `fh`
    /// has room for `len` words. `parent` is the directory of the inode, or null.
    unsafe extern "C" fn encode_fh(
        inode: *mut bindings::inode,
        fh: *mut u32,
        len: *mut c_int,
        parent: *mut bindings::inode,
    ) -> c_int {
        let (kind, words) = match parent.is_null() {
            true => (TYPE, WORDS),
            false => (TYPE_PARENT, 2 * WORDS),
        };
        // SAFETY: `exportfs_encode_inode_fh()` passes a valid `len`.
        let room = unsafe { len.replace(words) };

        if room < words {
            return bindings::fid_type_FILEID_INVALID as c_int;
        }

        // SAFETY: `inode` is valid, `parent` is null or valid, and `fh` has room for `words` words.
        unsafe {
            fh.cast::<Handle>().write(handle_of(inode));
            if !parent.is_null() {
                fh.cast::<Handle>().add(1).write(handle_of(parent));
            }
        }
        kind
    }

    /// # Safety
    ///
    /// Called by `exportfs_decode_fh()` only, for a superblock of type `T`, with `len` words at
    /// `fid`.
    unsafe extern "C" fn fh_to_dentry(
        super_block: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        if !matches!(kind, TYPE | TYPE_PARENT) || len < WORDS {
            return ptr::null_mut();
        }

        // SAFETY: `exportfs_decode_fh()` passes a superblock of type `T`, and `len` words at `fid`,
        // which are enough for a handle.
        let (super_block, handle) = unsafe {
            (
                SuperBlock::<T>::from_raw(super_block),
                fid.cast::<Handle>().read(),
            )
        };

        dentry_of(super_block.find_handle(handle))
    }

    /// # Safety
    ///
    /// As for [`fh_to_dentry()`](Self::fh_to_dentry).
    unsafe extern "C" fn fh_to_parent(
        super_block: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        if kind != TYPE_PARENT || len < 2 * WORDS {
            return ptr::null_mut();
        }

        // SAFETY: `exportfs_decode_fh()` passes a superblock of type `T`, and `len` words at `fid`,
        // which are enough for two handles.
        let (super_block, handle) = unsafe {
            (
                SuperBlock::<T>::from_raw(super_block),
                fid.cast::<Handle>().add(1).read(),
            )
        };

        dentry_of(super_block.find_handle(handle))
    }

    /// # Safety
    ///
    /// Called by `exportfs_decode_fh()` only, for a directory of a superblock of type `T`.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: `exportfs_decode_fh()` passes a dentry of a directory of type `T`, which has an
        // inode.
        let directory = unsafe { Inode::<T>::from_raw((*child).d_inode) };
        let parent = directory
            .fs()
            .parent(directory)
            .and_then(|number| directory.super_block().inode(number));

        dentry_of(parent)
    }

    pub(super) const OPS: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(Self::encode_fh),
        fh_to_dentry: Some(Self::fh_to_dentry),
        get_parent: Some(Self::get_parent),
        fh_to_parent: Some(Self::fh_to_parent),
        get_name: None,
        commit_metadata: None,
        permission: None,
        open: None,
        flags: 0,
        #[cfg(CONFIG_EXPORTFS_BLOCK_OPS)]
        block_ops: ptr::null(),
    };
}

impl<T: FileSystem> SuperBlock<T> {
    /// Finds the inode of a handle.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if the inode was removed, also if its number is in use again.
    /// - The errors of [`inode()`](Self::inode).
    fn find_handle(&self, [low, high, generation]: Handle) -> Result<InodeRef<'_, T>> {
        let number = u64::from(high) << 32 | u64::from(low);
        let used = self.find(number);
        // An inode without a name is valid only while it is in use.
        let is_used = used.is_some();
        let inode = used.map_or_else(|| self.inode(number), Ok)?;
        let attributes = inode.attributes();

        match attributes.generation == generation && (is_used || attributes.links != 0) {
            true => Ok(inode),
            false => Err(ESTALE),
        }
    }
}
