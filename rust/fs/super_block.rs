// SPDX-License-Identifier: GPL-2.0

//! Superblocks of the VFS, and the data of a mounted filesystem.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use crate::{
    bindings,
    dax::holder::Registration, //
};

use super::{
    delayed_iput::DelayedIputs,
    delayed_work::DelayedWork,
    failed_pages::FailedPages,
    holder::MountedHolder,
    shared_pages::SharedPages,
    volume::{
        Devices,
        Mounted, //
    },
    Volume, //
};

/// A mounted filesystem.
///
/// A [`FileSystem`](super::FileSystem) receives a superblock for the duration of a call in which it
/// can notify owners.
///
/// # Invariants
///
/// A `SuperBlock` is a valid `struct super_block` of type `T`, whose `s_fs_info` is a `Mount<T>`.
#[repr(transparent)]
pub struct SuperBlock<T>(Opaque<bindings::super_block>, PhantomData<T>);

// SAFETY: The methods give shared references to a `T` and to other fields of the `Mount<T>`. `T`
// and the types of these fields are `Sync`.
unsafe impl<T: Sync> Sync for SuperBlock<T> {}

impl<T> SuperBlock<T> {
    /// Borrows a superblock from C.
    ///
    /// # Safety
    ///
    /// `super_block` must be a valid superblock of type `T` for the duration of `'a`, and its
    /// filesystem must exist meanwhile.
    pub(super) unsafe fn from_raw<'a>(super_block: *mut bindings::super_block) -> &'a Self {
        // SAFETY: The superblock is valid for `'a` by the safety requirements. `SuperBlock` is a
        // transparent wrapper of `struct super_block`.
        unsafe { &*super_block.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    pub(super) fn mount(&self) -> *mut Mount<T> {
        // SAFETY: `self` is a valid `struct super_block` by the type invariants.
        unsafe { (*self.as_raw()).s_fs_info }.cast()
    }

    /// The filesystem.
    pub fn fs(&self) -> &T {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).fs }
    }

    /// Returns the operations of inodes of a type, one of the `S_IF…` numbers.
    pub(super) fn operations_of(&self, format: u32) -> &'static Operations {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { ((*self.mount()).operations_of)(format) }
    }

    /// The volume of the filesystem.
    pub fn volume(&self) -> &Volume {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).volume }.volume()
    }

    /// The DAX device and the block device of the volume.
    pub(super) fn devices(&self) -> &Devices {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).volume }.devices()
    }

    /// The work that calls [`FileSystem::repair()`](super::FileSystem::repair).
    pub(super) fn repair_work(&self) -> &DelayedWork {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).repair_work }
    }

    /// The work that calls [`finish_failures()`](Self::finish_failures).
    pub(super) fn failure_work(&self) -> &DelayedWork {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).failure_work }
    }

    pub(super) fn failed_pages(&self) -> &FailedPages {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).failed_pages }
    }

    pub(super) fn shared_pages(&self) -> &SharedPages {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).shared_pages }
    }

    pub(super) fn delayed_iputs(&self) -> &DelayedIputs {
        // SAFETY: `s_fs_info` is a `Mount<T>` by the type invariants. The field does not change.
        unsafe { &(*self.mount()).delayed_iputs }
    }
}

/// The operations of inodes of one type.
pub(super) struct Operations {
    pub(super) inode: &'static bindings::inode_operations,
    pub(super) file: Option<&'static bindings::file_operations>,
    /// The operations of the address space of the contents.
    pub(super) mapping: Option<&'static bindings::address_space_operations>,
}

/// The data of a mounted filesystem.
pub(super) struct Mount<T> {
    pub(super) fs: Arc<T>,
    /// Returns the operations of inodes of a type, one of the `S_IF…` numbers.
    pub(super) operations_of: fn(format: u32) -> &'static Operations,
    pub(super) volume: Mounted,
    pub(super) repair_work: DelayedWork,
    pub(super) failure_work: DelayedWork,
    pub(super) failed_pages: Pin<KBox<FailedPages>>,
    pub(super) shared_pages: Pin<KBox<SharedPages>>,
    pub(super) delayed_iputs: Pin<KBox<DelayedIputs>>,
    /// Only mount and unmount access this field.
    pub(super) registration: Option<Registration<MountedHolder>>,
}
