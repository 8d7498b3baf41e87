// SPDX-License-Identifier: GPL-2.0

//! Mounting and unmounting.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)
//!
//! Reference: [`fs/super.c`](srctree/fs/super.c)

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    module::this_module,
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::Arc, //
};

use crate::{
    bindings,
    block::OpenDevice,
    dax::holder,
    range::PAGE_SIZE, //
};

use super::{
    delayed_iput::DelayedIputs,
    delayed_work::DelayedWork,
    export,
    failed_pages::FailedPages,
    fs_context::{
        parse,
        Context, //
    },
    holder::MountedHolder,
    notify,
    operations,
    shared_pages::SharedPages,
    super_block::Mount,
    super_operations,
    volume::Mounted,
    xattr,
    FileSystem,
    SuperBlock, //
};

/// The operations tables of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// The size of the largest file: whole blocks.
    const MAX_SIZE: bindings::loff_t = bindings::loff_t::MAX & !(PAGE_SIZE as bindings::loff_t - 1);

    /// # Safety
    ///
    /// Called by `alloc_fs_context()` only.
    unsafe extern "C" fn init_fs_context(fc: *mut kernel::bindings::fs_context) -> c_int {
        let fc: *mut bindings::fs_context = fc.cast();

        // SAFETY: The context is valid and being set up.
        unsafe { (*fc).ops = &Self::CONTEXT_OPERATIONS };
        0
    }

    /// # Safety
    ///
    /// Called by `vfs_parse_fs_param()` only.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `vfs_parse_fs_param()` passes a valid context, for the duration of the call.
            let context = unsafe { Context::from_raw(fc) }?;

            // SAFETY: `vfs_parse_fs_param()` passes a valid parameter.
            unsafe { parse(&context, param) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `vfs_get_tree()` only.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: `vfs_get_tree()` passes a valid context. `get_tree_bdev()` calls `fill_super()`
        // as that requires.
        unsafe { bindings::get_tree_bdev(fc, Some(Self::fill_super)) }
    }

    /// # Safety
    ///
    /// Called by `reconfigure_super()` only, with `s_umount` held.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: `reconfigure_super()` passes a valid context, for the duration of the call.
            let context = unsafe { Context::from_raw(fc) }?;
            // SAFETY: The context of a remount has a root, whose superblock is of type `T`.
            let (super_block, is_read_only) = unsafe {
                (
                    SuperBlock::<T>::from_raw((*(*fc).root).d_sb),
                    // CAST: `SB_RDONLY` is one bit, and not the sign bit.
                    (*fc).sb_flags & bindings::SB_RDONLY as c_uint != 0,
                )
            };

            let volume = super_block.volume();

            // `load()` could not write its repairs to a read-only device, and a remount does not
            // call it again.
            if !is_read_only && volume.is_read_only() {
                context.error(fmt!(
                    "{volume}: the device was read-only when it was mounted, unmount it first"
                ));
                return Err(EROFS);
            }

            // SAFETY: The superblock is valid, and `reconfigure_super()` holds its `s_umount`.
            to_result(unsafe { bindings::sync_filesystem(super_block.as_raw()) }).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `get_tree_bdev()` only, with a superblock that has no other user and that has a
    /// block device. `kill_sb()` is called afterwards, also if this fails.
    unsafe extern "C" fn fill_super(
        super_block: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `get_tree_bdev()` passes a valid context, for the duration of the call.
            let context = unsafe { Context::from_raw(fc) }?;
            let super_block = NonNull::new(super_block).ok_or(EINVAL)?;

            // SAFETY: `get_tree_bdev()` passes a superblock as `fill()` requires it.
            unsafe { Self::fill(super_block, &context) }.map(|()| 0)
        })
    }

    /// Creates the filesystem of a new superblock, registers its holder, and loads it.
    ///
    /// # Safety
    ///
    /// As for [`fill_super()`](Self::fill_super).
    unsafe fn fill(super_block: NonNull<bindings::super_block>, context: &Context) -> Result {
        let raw = super_block.as_ptr();

        // SAFETY: The superblock has no other user, and has a block device until `kill_sb()`.
        let bdev = unsafe {
            Self::set_up(raw)?;
            OpenDevice::from_raw((*raw).s_bdev)
        };
        // SAFETY: `s_id` is a C string in an array.
        let name = unsafe { CStr::from_char_ptr((&raw const (*raw).s_id).cast()) };

        // SAFETY: `kill_block_super()` closes the block device after `put_super()` or `kill_sb()`
        // has called `detach_devices()`.
        let volume = unsafe { Mounted::new(bdev) }.inspect_err(|error| match *error {
            EOPNOTSUPP => context.error(fmt!("{name}: the device does not support DAX")),
            EINVAL => context.error(fmt!(
                "{name}: start or size is not a multiple of 4096 bytes"
            )),
            _ => (),
        })?;
        // SAFETY: `load()` starts the work when the superblock is complete, and `kill_sb()`
        // finishes it.
        let (repair_work, failure_work) = unsafe {
            (
                DelayedWork::new(super_block, notify::repair::<T>)?,
                DelayedWork::new(super_block, notify::finish_failures::<T>)?,
            )
        };
        let fs = T::new(volume.volume().clone(), repair_work.handle())?;
        let mount = KBox::new(
            Mount {
                fs,
                operations_of: operations::VTable::<T>::of,
                volume,
                repair_work,
                failure_work,
                failed_pages: KBox::pin_init(FailedPages::new(), GFP_KERNEL)?,
                shared_pages: KBox::pin_init(SharedPages::new(), GFP_KERNEL)?,
                delayed_iputs: KBox::pin_init(DelayedIputs::new(), GFP_KERNEL)?,
                registration: None,
            },
            GFP_KERNEL,
        )?;

        // SAFETY: The superblock has no other user, by the safety requirements.
        unsafe { (*raw).s_fs_info = KBox::into_raw(mount).cast() };
        // SAFETY: `s_fs_info` was just set to a `Mount<T>`, which exists until the end of
        // `kill_sb()`.
        let super_block_ref = unsafe { SuperBlock::<T>::from_raw(raw) };

        // SAFETY: `kill_sb()` drops the registration before it evicts the inodes and frees the
        // `Mount`.
        let holder = unsafe {
            MountedHolder::new(super_block, notify::notify_failure::<T>, T::NOTIFY_FOUND)
        };
        let registration = holder::Registration::new(bdev, Arc::pin_init(holder, GFP_KERNEL)?)
            .inspect_err(|error| {
                if *error == EBUSY {
                    context.error(fmt!(
                        "{name}: the DAX device is busy, it has a holder already"
                    ));
                }
            })?;

        // SAFETY: Only `fill()` and `kill_sb()` access the field, and `kill_sb()` comes later.
        unsafe { (*super_block_ref.mount()).registration = Some(registration) };

        Self::load(super_block_ref)
    }

    /// Sets the fields of a new superblock.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the blocks of the device are larger than 4096 bytes.
    ///
    /// # Safety
    ///
    /// The superblock must have no other user, and must have a block device.
    unsafe fn set_up(super_block: *mut bindings::super_block) -> Result {
        // SAFETY: The superblock has a block device by the safety requirements.
        if unsafe {
            bindings::sb_set_blocksize(super_block, super_operations::VTable::<T>::BLOCK_SIZE)
        } == 0
        {
            return Err(EINVAL);
        }

        // SAFETY: The superblock has no other user by the safety requirements. The tables are
        // static.
        unsafe {
            (*super_block).s_magic = T::MAGIC as c_ulong;
            (*super_block).s_maxbytes = Self::MAX_SIZE;
            (*super_block).s_time_gran = 1;
            (*super_block).s_flags |= bindings::SB_POSIXACL | bindings::SB_I_VERSION;
            (*super_block).s_iflags |= bindings::SB_I_EVM_HMAC_UNSUPPORTED as c_ulong;
            (*super_block).s_op = &super_operations::VTable::<T>::SUPER_OPERATIONS;
            (*super_block).s_export_op = ptr::from_ref(&export::VTable::<T>::OPS).cast();
            (*super_block).s_xattr = xattr::VTable::<T>::HANDLERS.as_ptr();
        }
        Ok(())
    }

    /// Loads the filesystem, and sets the root of the superblock.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if there is no root, or the root is not a directory.
    /// - The errors of [`FileSystem::load()`] and [`SuperBlock::inode()`].
    fn load(super_block: &SuperBlock<T>) -> Result {
        let fs = super_block.fs();

        fs.load()?;
        super_block.failure_work().start();
        super_block.repair_work().start();

        let uuid = fs.statistics().uuid;
        let root = match super_block.inode(T::ROOT) {
            // `ESTALE` is the error for a handle of a caller. Here the filesystem is damaged.
            Err(ESTALE) => Err(EUCLEAN),
            root => root,
        }?;

        if !root.is(bindings::S_IFDIR) {
            return Err(EUCLEAN);
        }

        // SAFETY: The superblock is valid, and has no user until `SB_BORN` is set. `d_make_root()`
        // takes over the reference to the inode.
        unsafe {
            let raw = super_block.as_raw();

            bindings::super_set_uuid(raw, uuid.as_ptr(), uuid.len() as c_uint);
            (*raw).s_root = bindings::d_make_root(root.into_raw());

            match (*raw).s_root.is_null() {
                true => Err(ENOMEM),
                false => Ok(()),
            }
        }
    }

    /// # Safety
    ///
    /// Called by `deactivate_locked_super()` only, also if `fill_super()` failed or was not called.
    unsafe extern "C" fn kill_sb(super_block: *mut bindings::super_block) {
        // SAFETY: The superblock is valid, and `s_fs_info` is null or was set by `fill()`.
        let mount = unsafe { (*super_block).s_fs_info }.cast::<Mount<T>>();

        if !mount.is_null() {
            // The callback of the holder uses the inodes, so drop the registration before
            // `kill_block_super()` evicts them.
            // SAFETY: Only `kill_sb()` and `fill()` access the field, and `fill()` has returned.
            drop(unsafe { (*mount).registration.take() });
            // Without the registration, no new failure queues the work.
            // SAFETY: `mount` is from `KBox::into_raw()`, and is freed below only.
            unsafe {
                (*mount).failure_work.finish();
                (*mount).repair_work.finish();
                // No work runs any more, so no code adds a reference to `delayed_iputs`.
                (*mount).delayed_iputs.run();
            }
            // SAFETY: The superblock is valid, and `mount` is freed below only.
            unsafe {
                // Without a root, there are no inodes, and `generic_shutdown_super()` does not call
                // `put_super()`.
                if (*super_block).s_root.is_null() {
                    (*mount).volume.detach_devices();
                }
            }
        }

        // SAFETY: `get_tree_bdev()` has created the superblock, and the superblock has no user any
        // more.
        unsafe { bindings::kill_block_super(super_block) };

        if !mount.is_null() {
            // SAFETY: `mount` is from `KBox::into_raw()`. The inodes, which refer to it, are
            // evicted.
            drop(unsafe { KBox::from_raw(mount) });
        }
    }

    const CONTEXT_OPERATIONS: bindings::fs_context_operations = bindings::fs_context_operations {
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        free: None,
        dup: None,
        parse_monolithic: None,
    };

    pub(super) const TYPE: bindings::file_system_type = bindings::file_system_type {
        name: as_char_ptr_in_const_context(T::NAME),
        // CAST: The flags are single bits, and none is the sign bit.
        fs_flags: (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP) as c_int,
        init_fs_context: Some(Self::init_fs_context),
        kill_sb: Some(Self::kill_sb),
        owner: this_module::<T::OwnerModule>().as_ptr(),
        ..pin_init::zeroed()
    };
}
