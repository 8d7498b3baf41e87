// SPDX-License-Identifier: GPL-2.0

//! The `ioctl()` commands of all files and directories of a filesystem.
//!
//! C header: [`include/uapi/linux/fs.h`](srctree/include/uapi/linux/fs.h)

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ioctl::{
        _IOR,
        _IOW,
        _IOWR, //
    },
    prelude::*,
    types::NotThreadSafe, //
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use crate::bindings;

use super::{
    FileSystem,
    Inode,
    SuperBlock,
    FSLABEL_MAX, //
};

/// C: `FS_IOC_SHUTDOWN`, the same as `XFS_IOC_GOINGDOWN` of XFS
const SHUTDOWN: u32 = _IOR::<u32>(b'X' as u32, 125);

/// C: `FS_IOC_GETFSLABEL`
const GET_LABEL: u32 = _IOR::<[u8; FSLABEL_MAX]>(0x94, 49);

/// C: `FS_IOC_SETFSLABEL`
const SET_LABEL: u32 = _IOW::<[u8; FSLABEL_MAX]>(0x94, 50);

/// C: `EXT4_IOC_RESIZE_FS`
const RESIZE: u32 = _IOW::<u64>(b'f' as u32, 16);

/// C: `FS_IOC_GETFSMAP`
const GET_FSMAP: u32 = _IOWR::<bindings::fsmap_head>(b'X' as u32, 59);

/// Checks that the caller has `CAP_SYS_ADMIN`.
///
/// # Errors
///
/// - `EPERM` if the caller does not have `CAP_SYS_ADMIN`.
fn check_admin() -> Result {
    // CAST: `CAP_SYS_ADMIN` is below 64.
    // SAFETY: `current` has credentials.
    match unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
        true => Ok(()),
        false => Err(EPERM),
    }
}

/// A frozen filesystem: all writes are durable, and no new write begins. The drop thaws the
/// filesystem.
///
/// # Invariants
///
/// `bdev` is valid for the duration of `'a`, and `self` has frozen it.
struct FrozenDevice<'a> {
    bdev: *mut bindings::block_device,
    _super_block: PhantomData<&'a ()>,
}

impl<'a> FrozenDevice<'a> {
    /// Freezes the block device of a superblock.
    ///
    /// # Errors
    ///
    /// - The errors of `bdev_freeze()`.
    fn new<T: FileSystem>(super_block: &'a SuperBlock<T>) -> Result<Self> {
        // SAFETY: `super_block` is valid by the type invariants of `SuperBlock`, and has its block
        // device while it is mounted.
        let bdev = unsafe { (*super_block.as_raw()).s_bdev };

        // SAFETY: The superblock keeps its block device open while it is mounted, so `bdev` is
        // valid.
        to_result(unsafe { bindings::bdev_freeze(bdev) })?;
        // INVARIANT: `bdev_freeze()` has succeeded.
        Ok(Self {
            bdev,
            _super_block: PhantomData,
        })
    }
}

impl Drop for FrozenDevice<'_> {
    fn drop(&mut self) {
        // SAFETY: `bdev` is valid, and was frozen by `self`, by the type invariants.
        unsafe { bindings::bdev_thaw(self.bdev) };
    }
}

/// Write access to the mount of a file. While it exists, the filesystem cannot be frozen or
/// remounted read-only.
///
/// # Invariants
///
/// `file` is open for the duration of `'a`, and this thread has called `mnt_want_write_file()` for
/// it.
///
/// C: `mnt_want_write_file()`
struct WriteAccess<'a> {
    file: *mut bindings::file,
    _file: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl WriteAccess<'_> {
    /// Takes write access.
    ///
    /// # Errors
    ///
    /// - `EROFS` if the filesystem is read-only.
    ///
    /// # Safety
    ///
    /// `file` must be open for as long as the returned value exists.
    unsafe fn new(file: *mut bindings::file) -> Result<Self> {
        // SAFETY: `file` is open by the safety requirements.
        to_result(unsafe { bindings::mnt_want_write_file(file) })?;
        // INVARIANT: `mnt_want_write_file()` has succeeded.
        Ok(Self {
            file,
            _file: PhantomData,
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for WriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: `file` is open, and this thread has called `mnt_want_write_file()`, by the type
        // invariants.
        unsafe { bindings::mnt_drop_write_file(self.file) };
    }
}

impl<T: FileSystem> SuperBlock<T> {
    /// Sets the label to the bytes of `label` before the first zero.
    ///
    /// # Errors
    ///
    /// - `EPERM` if the caller does not have `CAP_SYS_ADMIN`.
    /// - The errors of [`FileSystem::set_label()`] and [`FileSystem::sync()`].
    fn set_label(&self, label: &[u8], _access: &WriteAccess<'_>) -> Result {
        let label = label.split(|byte| *byte == 0).next().unwrap_or(label);

        check_admin()?;
        self.fs().set_label(label)?;
        self.fs().sync()
    }

    /// Grows the filesystem to `blocks` blocks of 4096 bytes. The caller has checked
    /// `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::grow()`] and [`FileSystem::sync()`].
    fn grow(&self, blocks: u64, _access: &WriteAccess<'_>) -> Result {
        self.fs().grow(blocks)?;
        self.fs().sync()
    }

    /// Shuts the filesystem down. `how` says what is made durable first: all data and metadata
    /// (`FS_SHUTDOWN_FLAGS_DEFAULT`), metadata (`…_LOGFLUSH`), or nothing.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `how` is not one of these.
    /// - `EPERM` if the caller does not have `CAP_SYS_ADMIN`.
    /// - The errors of [`FrozenDevice::new()`] but `EIO`.
    fn shut_down(&self, how: u32) -> Result {
        check_admin()?;

        // A freeze fails with `EIO` if data cannot be written, or if the filesystem is already shut
        // down. Shut it down in both cases.
        let _frozen = match how {
            bindings::FS_SHUTDOWN_FLAGS_DEFAULT => match FrozenDevice::new(self) {
                Err(EIO) => None,
                frozen => Some(frozen?),
            },
            bindings::FS_SHUTDOWN_FLAGS_LOGFLUSH => {
                let _ = self.fs().sync();
                None
            }
            bindings::FS_SHUTDOWN_FLAGS_NOLOGFLUSH => None,
            _ => return Err(EINVAL),
        };

        self.fs().shut_down();
        Ok(())
    }
}

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for an open file or directory of a superblock of type `T`.
    pub(super) unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: The VFS passes an open file of type `T`.
        let inode = unsafe { Inode::<T>::from_raw(bindings::file_inode(file)) };
        let super_block = inode.super_block();
        let slice = |len| UserSlice::new(UserPtr::from_addr(argument), len);

        from_result(|| {
            match command {
                SHUTDOWN => super_block.shut_down(slice(size_of::<u32>()).reader().read()?)?,
                GET_FSMAP => {
                    check_admin()?;
                    super_block.answer_fsmap(argument)?;
                }
                GET_LABEL => {
                    let label = super_block.fs().label()?;

                    slice(FSLABEL_MAX).writer().write(&label)?;
                }
                SET_LABEL => {
                    let label: [u8; FSLABEL_MAX] = slice(FSLABEL_MAX).reader().read()?;
                    // SAFETY: The VFS keeps `file` open for the whole call.
                    let access = unsafe { WriteAccess::new(file) }?;

                    super_block.set_label(&label, &access)?;
                }
                RESIZE => {
                    check_admin()?;

                    let blocks = slice(size_of::<u64>()).reader().read()?;
                    // SAFETY: The VFS keeps `file` open for the whole call.
                    let access = unsafe { WriteAccess::new(file) }?;

                    super_block.grow(blocks, &access)?;
                }
                _ => return Err(ENOTTY),
            }
            Ok(0)
        })
    }
}
