// SPDX-License-Identifier: GPL-2.0

//! Regular files: `open()`, `read()`, `write()`, `fsync()`.
//!
//! Reference: [`fs/dax.c`](srctree/fs/dax.c), [`fs/read_write.c`](srctree/fs/read_write.c)

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange, //
    },
};

use super::{
    iomap,
    lock::{
        AnyLock,
        InvalidateLock,
        Locked,
        LockedInode,
        SharedLocked, //
    },
    FileSystem,
    Inode, //
};

/// Converts the return value of a C function: a number of bytes, or an errno.
fn to_count(answer: isize) -> Result<u64> {
    match u64::try_from(answer) {
        Ok(count) => Ok(count),
        // CAST: A negative value is an errno, which fits a `c_int`.
        Err(_) => Err(to_result(answer as c_int).err().unwrap_or(EIO)),
    }
}

/// Converts a number of bytes or an error to the return value of C.
pub(super) fn from_count(answer: Result<u64>) -> i64 {
    match answer {
        Ok(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Err(error) => error.to_errno().into(),
    }
}

/// A request to read or to write.
///
/// # Invariants
///
/// `iocb` and `iter` are valid for as long as `self` exists. The file of `iocb` is open, and its
/// inode is of type `T`.
struct Request<T: FileSystem> {
    iocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
    _inode: PhantomData<T>,
}

impl<T: FileSystem> Request<T> {
    fn file(&self) -> *mut bindings::file {
        // SAFETY: `iocb` is valid by the type invariants.
        unsafe { (*self.iocb).ki_filp }
    }

    fn inode(&self) -> &Inode<T> {
        // SAFETY: The file of `iocb` is open, and its inode is of type `T`, by the type invariants.
        unsafe { Inode::of_file(self.file()) }
    }

    /// The current position in the file in bytes.
    fn position(&self) -> u64 {
        // SAFETY: `iocb` is valid by the type invariants.
        u64::try_from(unsafe { (*self.iocb).ki_pos }).unwrap_or(0)
    }

    /// Whether the request must not wait for a lock.
    fn is_nowait(&self) -> bool {
        // SAFETY: `iocb` is valid by the type invariants.
        unsafe { (*self.iocb).ki_flags & bindings::IOCB_NOWAIT != 0 }
    }

    /// Reads or writes as many bytes as possible. Returns their number, or an errno.
    fn run(&self, _locked: &impl AnyLock) -> isize {
        // SAFETY: `iocb` and `iter` are valid by the type invariants. The operations are static.
        unsafe { bindings::dax_iomap_rw(self.iocb, self.iter, &iomap::VTable::<T>::OPS) }
    }

    /// Reads from the file. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if the request must not wait, and the inode's lock is not free.
    /// - The errors of `dax_iomap_rw()`.
    fn read(&self) -> Result<u64> {
        let locked = match self.is_nowait() {
            true => SharedLocked::try_new(self.inode()).ok_or(EAGAIN)?,
            false => SharedLocked::new(self.inode()),
        };
        let count = self.run(&locked);

        drop(locked);
        // SAFETY: The file of `iocb` is open by the type invariants.
        unsafe { bindings::file_accessed(self.file()) };
        to_count(count)
    }

    /// Writes to the file. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if the request must not wait, and the inode's lock is not free.
    /// - The errors of [`write_locked()`](Self::write_locked) and `generic_write_sync()`.
    fn write(&self) -> Result<u64> {
        let count = {
            let locked = match self.is_nowait() {
                true => Locked::try_new(self.inode()).ok_or(EAGAIN)?,
                false => Locked::new(self.inode()),
            };

            self.write_locked(&locked)?
        };

        match isize::try_from(count) {
            // SAFETY: `iocb` is valid by the type invariants.
            Ok(count @ 1..) => to_count(unsafe { bindings::generic_write_sync(self.iocb, count) }),
            _ => Ok(count),
        }
    }

    /// Writes to the file, whose inode is `inode`.
    ///
    /// # Errors
    ///
    /// - `EIO` if a bad block could not be replaced.
    /// - The errors of `generic_write_checks()`, `kiocb_modified()`, `dax_iomap_rw()`,
    ///   [`zero_up_to()`](Self::zero_up_to) and [`LockedInode::grow()`].
    fn write_locked(&self, inode: &LockedInode<T>) -> Result<u64> {
        // SAFETY: `iocb` and `iter` are valid by the type invariants.
        let len = to_count(unsafe { bindings::generic_write_checks(self.iocb, self.iter) })?;
        let Some(range) = ByteRange::<space::File>::new(self.position(), len) else {
            return Ok(0);
        };

        // SAFETY: `iocb` is valid by the type invariants, and `inode` is locked.
        to_result(unsafe { bindings::kiocb_modified(self.iocb) })?;
        self.zero_up_to(inode, range.start())?;

        let lost_writes = || inode.super_block().shared_pages().lost_writes();
        let lost_before = lost_writes();
        let written = to_count(self.run(inode))?;

        if lost_writes() != lost_before {
            inode.check_good(ByteRange::new(range.start(), written).ok_or(EIO)?)?;
        }
        inode.grow(self.position(), inode.changed())?;
        Ok(written)
    }

    /// Zeroes the bytes between the end of the file and `start`.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there are such bytes and the request must not wait.
    /// - The errors of [`LockedInode::zero_up_to()`].
    fn zero_up_to(&self, inode: &LockedInode<T>, start: u64) -> Result {
        // `invalidate_lock` blocks page faults, so take it only if there are bytes to zero.
        match (start > inode.size(), self.is_nowait()) {
            (true, false) => inode.zero_up_to(start, &mut InvalidateLock::new(inode)),
            (true, true) => Err(EAGAIN),
            (false, _) => Ok(()),
        }
    }
}

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    pub(super) unsafe extern "C" fn open(
        inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> c_int {
        // SAFETY: The VFS passes a valid inode, and a file that has no other user yet.
        unsafe {
            (*file).f_mode |= bindings::FMODE_CAN_ODIRECT | bindings::FMODE_NOWAIT;
            bindings::generic_file_open(inode, file)
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    pub(super) unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // INVARIANT: The VFS passes a valid `iocb` and `iter`. Only files of type `T` have this
        // table.
        let request = Request::<T> {
            iocb,
            iter,
            _inode: PhantomData,
        };

        // CAST: An `i64` is an `isize` here.
        from_count(request.read()) as isize
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    pub(super) unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // INVARIANT: The VFS passes a valid `iocb` and `iter`. Only files of type `T` have this
        // table.
        let request = Request::<T> {
            iocb,
            iter,
            _inode: PhantomData,
        };

        // CAST: An `i64` is an `isize` here.
        from_count(request.write()) as isize
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    pub(super) unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: bindings::loff_t,
        end: bindings::loff_t,
        datasync: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS passes an open file.
            to_result(unsafe { bindings::simple_fsync_noflush(file, start, end, datasync) })?;

            // SAFETY: The VFS passes an open file. Only files of type `T` have this table.
            unsafe { Inode::<T>::of_file(file) }.fs().sync().map(|()| 0)
        })
    }
}
