// SPDX-License-Identifier: GPL-2.0

//! Inodes in memory, by their numbers.
//!
//! Reference: [`fs/inode.c`](srctree/fs/inode.c)

use core::ptr;

use kernel::prelude::*;

use crate::bindings;

use super::{
    inode::read_once,
    inode_ref::InodeRef,
    symlink::Link,
    Attributes,
    FileSystem,
    Inode,
    SuperBlock, //
};

impl<T: FileSystem> SuperBlock<T> {
    /// The inode of this number, if it is in memory and is not being evicted. Does not sleep.
    pub(super) fn find(&self, number: u64) -> Option<InodeRef<'_, T>> {
        // SAFETY: `self` is a valid superblock by the type invariants of `SuperBlock`.
        // `take_if_in_use()` has taken the reference that is passed to `from_raw()`.
        unsafe {
            InodeRef::from_raw(bindings::find_inode_nowait(
                self.as_raw(),
                number,
                Some(take_if_in_use),
                ptr::null_mut(),
            ))
        }
    }

    /// The inode of this number. Reads it if it is not in memory.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EUCLEAN` if its attributes or its target are invalid.
    /// - The errors of [`FileSystem::read_inode()`] and [`FileSystem::target()`].
    pub(super) fn inode(&self, number: u64) -> Result<InodeRef<'_, T>> {
        // SAFETY: `self` is a valid superblock by the type invariants of `SuperBlock`.
        // `iget_locked()` returns null or an inode with a reference.
        let inode = unsafe { InodeRef::from_raw(bindings::iget_locked(self.as_raw(), number)) };
        let inode = inode.ok_or(ENOMEM)?;

        if inode.state() & bindings::inode_state_flags_enum_I_NEW == 0 {
            return Ok(inode);
        }

        // SAFETY: While `I_NEW` is set, no other thread can use the inode.
        match unsafe { inode.fill(None) } {
            Ok(()) => {
                // SAFETY: The inode is new, and `fill()` has set it up.
                unsafe { bindings::unlock_new_inode(inode.as_raw()) };
                Ok(inode)
            }
            Err(error) => {
                // SAFETY: The inode is new. `iget_failed()` takes over the reference.
                unsafe { bindings::iget_failed(inode.into_raw()) };
                Err(error)
            }
        }
    }
}

/// Takes a reference to an inode if it has the number `number` and is in use.
///
/// # Safety
///
/// Called by `find_inode_nowait()` only, which holds `inode_hash_lock`, so the inode is valid.
unsafe extern "C" fn take_if_in_use(
    inode: *mut bindings::inode,
    number: u64,
    _data: *mut c_void,
) -> c_int {
    const STOP: c_int = -1;

    // SAFETY: The inode is valid by the safety requirements. `i_ino` was set before the inode was
    // hashed. Other threads change the flags under `i_lock`, but `I_NEW` is never set again once it
    // is cleared.
    let (found, state) = unsafe {
        (
            (*inode).i_ino,
            read_once(&raw const (*inode).i_state.__state),
        )
    };

    if found != number {
        return 0;
    }
    if state & bindings::inode_state_flags_enum_I_NEW != 0 {
        return STOP;
    }

    // SAFETY: The inode is valid by the safety requirements. `igrab()` returns null for an inode
    // that is being freed.
    match unsafe { bindings::igrab(inode) }.is_null() {
        true => 0,
        false => 1,
    }
}

impl<T: FileSystem> Inode<T> {
    /// Sets up a new inode from the attributes in the filesystem. Reads the target of a symbolic
    /// link if `link` is [`None`].
    ///
    /// # Errors
    ///
    /// - The errors of [`read()`](Self::read) and [`FileSystem::target()`].
    ///
    /// # Safety
    ///
    /// The inode must be new (`I_NEW`), with a reference that the caller owns.
    pub(super) unsafe fn fill(&self, link: Option<Link>) -> Result {
        let attributes = self.read()?;
        let link = match (attributes.mode & bindings::S_IFMT, link) {
            (bindings::S_IFLNK, None) => Some(Link::new(self.fs().target(self.number())?)?),
            (bindings::S_IFLNK, link) => link,
            _ => None,
        };

        // SAFETY: The inode is new, so it has no other user.
        unsafe {
            bindings::set_nlink(self.as_raw(), attributes.links);
            (*self.as_raw()).i_generation = attributes.generation;
            bindings::inode_set_iversion_queried(self.as_raw(), attributes.version);
            self.set_size(&attributes);
            self.set_ids_and_times(&attributes);
            self.set_vfs_flags(attributes.flags);
            self.set_operations(&attributes, link);
        }
        Ok(())
    }

    /// Sets the operations of the inode, and the fields that only its type has.
    ///
    /// # Safety
    ///
    /// The inode must be new. The mode of `attributes` must be valid, and `link` must be set for a
    /// symbolic link.
    unsafe fn set_operations(&self, attributes: &Attributes, link: Option<Link>) {
        let format = attributes.mode & bindings::S_IFMT;
        let operations = self.super_block().operations_of(format);

        // SAFETY: The inode is new, so it has no other user. The tables of operations are static.
        unsafe {
            let inode = self.as_raw();

            (*inode).i_op = operations.inode;
            if let Some(file) = operations.file {
                (*inode).__bindgen_anon_3.i_fop = file;
            }
            if let Some(mapping) = operations.mapping {
                (*(*inode).i_mapping).a_ops = mapping;
            }

            match format {
                bindings::S_IFREG => (*inode).i_flags |= bindings::S_DAX,
                bindings::S_IFDIR => (),
                bindings::S_IFLNK => {
                    (*inode).__bindgen_anon_5.i_link = link.map_or(ptr::null_mut(), Link::into_raw);
                }
                _ => bindings::init_special_inode(
                    inode,
                    (*inode).i_mode,
                    bindings::huge_decode_dev(attributes.device),
                ),
            }
        }
    }
}
