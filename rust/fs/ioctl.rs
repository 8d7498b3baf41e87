// SPDX-License-Identifier: GPL-2.0

//! What can be asked of a filesystem through any of its files and directories, by `ioctl()`.
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

/// C: `FS_IOC_SHUTDOWN`, which is XFS's `XFS_IOC_GOINGDOWN`
const SHUTDOWN: u32 = _IOR::<u32>(b'X' as u32, 125);

/// C: `FS_IOC_GETFSLABEL`
const GET_LABEL: u32 = _IOR::<[u8; FSLABEL_MAX]>(0x94, 49);

/// C: `FS_IOC_SETFSLABEL`
const SET_LABEL: u32 = _IOW::<[u8; FSLABEL_MAX]>(0x94, 50);

/// C: `EXT4_IOC_RESIZE_FS`
const RESIZE: u32 = _IOW::<u64>(b'f' as u32, 16);

/// C: `FS_IOC_GETFSMAP`
const GET_FSMAP: u32 = _IOWR::<bindings::fsmap_head>(b'X' as u32, 59);

/// # Errors
///
/// - `EPERM` if the caller is no administrator.
fn check_admin() -> Result {
    // CAST: Numbers of capabilities are small.
    // SAFETY: `current` has credentials.
    match unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
        true => Ok(()),
        false => Err(EPERM),
    }
}

/// A filesystem that is frozen: all that was written is durable, and nobody writes.
///
/// # Invariants
///
/// `bdev` is valid for the duration of `'a`, and was frozen by us.
struct FrozenDevice<'a> {
    bdev: *mut bindings::block_device,
    _super_block: PhantomData<&'a ()>,
}

impl<'a> FrozenDevice<'a> {
    /// # Errors
    ///
    /// - Those of `bdev_freeze()`.
    fn new<T: FileSystem>(super_block: &'a SuperBlock<T>) -> Result<Self> {
        // SAFETY: The superblock is valid by its type invariants, and has its block device as long
        // as it is mounted.
        let bdev = unsafe { (*super_block.as_raw()).s_bdev };

        // SAFETY: The block device is valid.
        to_result(unsafe { bindings::bdev_freeze(bdev) })?;
        // INVARIANT: It was just frozen.
        Ok(Self {
            bdev,
            _super_block: PhantomData,
        })
    }
}

impl Drop for FrozenDevice<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::bdev_thaw(self.bdev) };
    }
}

/// The right to change the filesystem that a file is of. It is neither frozen nor made read-only
/// meanwhile.
///
/// # Invariants
///
/// `file` is open for the duration of `'a`, and this thread has the right by it.
///
/// C: `mnt_want_write_file()`
struct WriteAccess<'a> {
    file: *mut bindings::file,
    _file: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl WriteAccess<'_> {
    /// # Errors
    ///
    /// - `EROFS` if the filesystem is read-only.
    ///
    /// # Safety
    ///
    /// `file` must be open for as long as what is returned exists.
    unsafe fn new(file: *mut bindings::file) -> Result<Self> {
        // SAFETY: By the safety requirements.
        to_result(unsafe { bindings::mnt_want_write_file(file) })?;
        // INVARIANT: It was just given.
        Ok(Self {
            file,
            _file: PhantomData,
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for WriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::mnt_drop_write_file(self.file) };
    }
}

impl<T: FileSystem> SuperBlock<T> {
    /// Sets the label to what comes before the first zero.
    ///
    /// # Errors
    ///
    /// - `EPERM` if the caller is no administrator.
    /// - The errors of [`FileSystem::set_label()`] and [`FileSystem::sync()`].
    fn set_label(&self, label: &[u8], _access: &WriteAccess<'_>) -> Result {
        let label = label.split(|byte| *byte == 0).next().unwrap_or(label);

        check_admin()?;
        self.fs().set_label(label)?;
        self.fs().sync()
    }

    /// Makes the filesystem as long as so many blocks of 4 KiB. The caller is an administrator.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::grow()`] and [`FileSystem::sync()`].
    fn grow(&self, blocks: u64, _access: &WriteAccess<'_>) -> Result {
        self.fs().grow(blocks)?;
        self.fs().sync()
    }

    /// Shuts the filesystem down, and makes durable before what `how` says: all that was written
    /// and done (`FS_SHUTDOWN_FLAGS_DEFAULT`), what was done (`…_LOGFLUSH`), or nothing.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if there is no such way.
    /// - `EPERM` if the caller is no administrator.
    /// - Those of freezing.
    fn shut_down(&self, how: u32) -> Result {
        check_admin()?;

        // What cannot be written, also as it is shut down already, is no reason to go on.
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
        // SAFETY: By the safety requirements.
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
                    // SAFETY: By the safety requirements.
                    let access = unsafe { WriteAccess::new(file) }?;

                    super_block.set_label(&label, &access)?;
                }
                RESIZE => {
                    check_admin()?;

                    let blocks = slice(size_of::<u64>()).reader().read()?;
                    // SAFETY: By the safety requirements, `file` is open for the whole call.
                    let access = unsafe { WriteAccess::new(file) }?;

                    super_block.grow(blocks, &access)?;
                }
                _ => return Err(ENOTTY),
            }
            Ok(0)
        })
    }
}
