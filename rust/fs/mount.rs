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
            // SAFETY: By the safety requirements.
            let context = unsafe { Context::from_raw(fc) }?;

            // SAFETY: By the safety requirements.
            unsafe { parse(&context, param) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `vfs_get_tree()` only.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: By the safety requirements.
        unsafe { bindings::get_tree_bdev(fc, Some(Self::fill_super)) }
    }

    /// # Safety
    ///
    /// Called by `reconfigure_super()` only, with `s_umount` held.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let context = unsafe { Context::from_raw(fc) }?;
            // SAFETY: A context of something that is mounted has a root, whose superblock is of
            // type `T`.
            let (super_block, is_read_only) = unsafe {
                (
                    SuperBlock::<T>::from_raw((*(*fc).root).d_sb),
                    // CAST: The flag is a bit of them.
                    (*fc).sb_flags & bindings::SB_RDONLY as c_uint != 0,
                )
            };

            // What the filesystem could not put right when it was read is still to be put right.
            if !is_read_only && super_block.volume().is_read_only() {
                context.error(fmt!("the device was read-only when it was mounted"));
                return Err(EROFS);
            }

            // SAFETY: The superblock is valid, and the caller holds its lock.
            to_result(unsafe { bindings::sync_filesystem(super_block.as_raw()) }).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `get_tree_bdev()` only, with a superblock that nobody else uses and that has a
    /// block device. Whether this succeeds or not, `kill_sb()` is called afterwards.
    unsafe extern "C" fn fill_super(
        super_block: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let context = unsafe { Context::from_raw(fc) }?;
            let super_block = NonNull::new(super_block).ok_or(EINVAL)?;

            // SAFETY: By the safety requirements.
            unsafe { Self::fill(super_block, &context) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// As [`fill_super()`](Self::fill_super).
    unsafe fn fill(super_block: NonNull<bindings::super_block>, context: &Context) -> Result {
        let raw = super_block.as_ptr();

        // SAFETY: Nobody else uses the superblock. It has a block device until `kill_sb()`.
        let bdev = unsafe {
            Self::set_up(raw)?;
            OpenDevice::from_raw((*raw).s_bdev)
        };
        // SAFETY: It is a C string, of the length of the array at most.
        let name = unsafe { CStr::from_char_ptr((&raw const (*raw).s_id).cast()) };

        // SAFETY: `kill_sb()` sees to it that the volume is at its end before its block device is
        // closed.
        let volume = unsafe { Mounted::new(bdev) }.inspect_err(|error| match *error {
            EOPNOTSUPP => context.error(fmt!("{name} has no DAX")),
            EINVAL => context.error(fmt!("{name} does not lie on whole pages")),
            _ => (),
        })?;
        // SAFETY: The superblock is complete when it is loaded, and stays so until `kill_sb()`.
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

        // SAFETY: Nobody else uses the superblock.
        unsafe { (*raw).s_fs_info = KBox::into_raw(mount).cast() };
        // SAFETY: The superblock is complete as far as the type invariants go, and stays so until
        // `kill_sb()`.
        let super_block_ref = unsafe { SuperBlock::<T>::from_raw(raw) };

        // SAFETY: `kill_sb()` drops the registration first.
        let holder =
            unsafe { MountedHolder::new(super_block, notify::notify_failure::<T>, T::WANTS_FOUND) };
        let registration = holder::Registration::new(bdev, Arc::pin_init(holder, GFP_KERNEL)?)
            .inspect_err(|error| {
                if *error == EBUSY {
                    context.error(fmt!("{name} has a DAX holder already"));
                }
            })?;

        // SAFETY: Only we and `kill_sb()` look at the field.
        unsafe { (*super_block_ref.mount()).registration = Some(registration) };

        Self::load(super_block_ref)
    }

    /// # Errors
    ///
    /// - `EINVAL` if the device has larger blocks than we.
    ///
    /// # Safety
    ///
    /// Nobody else may use the superblock. It must have a block device.
    unsafe fn set_up(super_block: *mut bindings::super_block) -> Result {
        // SAFETY: By the safety requirements.
        if unsafe {
            bindings::sb_set_blocksize(super_block, super_operations::VTable::<T>::BLOCK_SIZE)
        } == 0
        {
            return Err(EINVAL);
        }

        // SAFETY: By the safety requirements. The tables are static.
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

    /// Loads the filesystem, and gives the superblock its root.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if there is no root, or it is no directory.
    /// - The errors of [`FileSystem::load()`] and [`SuperBlock::inode()`].
    fn load(super_block: &SuperBlock<T>) -> Result {
        let fs = super_block.fs();

        fs.load()?;
        super_block.failure_work().start();
        super_block.repair_work().start();

        let uuid = fs.statistics().uuid;
        let root = match super_block.inode(T::ROOT) {
            // It is the filesystem that is not as it should be, not the caller's handle.
            Err(ESTALE) => Err(EUCLEAN),
            root => root,
        }?;

        if !root.is(bindings::S_IFDIR) {
            return Err(EUCLEAN);
        }

        // SAFETY: The superblock is valid, and not yet born. The reference to the inode is the
        // function's from now on.
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
    /// Called by `deactivate_locked_super()` only, also if the superblock was not filled, or not to
    /// the end.
    unsafe extern "C" fn kill_sb(super_block: *mut bindings::super_block) {
        // SAFETY: By the safety requirements.
        let mount = unsafe { (*super_block).s_fs_info }.cast::<Mount<T>>();

        if !mount.is_null() {
            // First of all, and without the inodes going: the callback uses them.
            // SAFETY: Only we and `fill()` look at the field.
            drop(unsafe { (*mount).registration.take() });
            // From now on nobody asks for more.
            // SAFETY: The fields do not change.
            unsafe {
                (*mount).failure_work.finish();
                (*mount).repair_work.finish();
                // And nobody leaves a reference for later.
                (*mount).delayed_iputs.run();
            }
            // SAFETY: By the safety requirements. The field does not change.
            unsafe {
                // `put_super()` is not called for it, and it has no inodes.
                if (*super_block).s_root.is_null() {
                    (*mount).volume.end();
                }
            }
        }

        // SAFETY: The superblock has no more users.
        unsafe { bindings::kill_block_super(super_block) };

        if !mount.is_null() {
            // SAFETY: It is from `KBox::into_raw()`. The inodes, which refer to it, are gone.
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
        // CAST: The flags are bits.
        fs_flags: (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP) as c_int,
        init_fs_context: Some(Self::init_fs_context),
        kill_sb: Some(Self::kill_sb),
        owner: this_module::<T::OwnerModule>().as_ptr(),
        ..pin_init::zeroed()
    };
}
