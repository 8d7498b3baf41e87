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

/// A number of bytes, or an errno.
fn to_count(answer: isize) -> Result<u64> {
    match u64::try_from(answer) {
        Ok(count) => Ok(count),
        // CAST: What is negative is an errno.
        Err(_) => Err(to_result(answer as c_int).err().unwrap_or(EIO)),
    }
}

/// A number of bytes, or an errno, as C returns them.
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
/// Both pointers are valid for as long as `self` exists, and the file of `iocb` is one of type `T`.
struct Request<T: FileSystem> {
    iocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
    _inode: PhantomData<T>,
}

impl<T: FileSystem> Request<T> {
    fn file(&self) -> *mut bindings::file {
        // SAFETY: By the type invariants.
        unsafe { (*self.iocb).ki_filp }
    }

    fn inode(&self) -> &Inode<T> {
        // SAFETY: By the type invariants.
        unsafe { Inode::of_file(self.file()) }
    }

    /// Where it goes on in the file.
    fn position(&self) -> u64 {
        // SAFETY: By the type invariants.
        u64::try_from(unsafe { (*self.iocb).ki_pos }).unwrap_or(0)
    }

    /// Whether it must not wait for a lock.
    fn is_nowait(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { (*self.iocb).ki_flags & bindings::IOCB_NOWAIT != 0 }
    }

    /// Reads or writes as much as possible.
    fn run(&self, _locked: &impl AnyLock) -> isize {
        // SAFETY: By the type invariants. The operations are static.
        unsafe { bindings::dax_iomap_rw(self.iocb, self.iter, &iomap::VTable::<T>::OPS) }
    }

    fn read(&self) -> Result<u64> {
        let locked = match self.is_nowait() {
            true => SharedLocked::try_new(self.inode()).ok_or(EAGAIN)?,
            false => SharedLocked::new(self.inode()),
        };
        let count = self.run(&locked);

        drop(locked);
        // SAFETY: The file is open.
        unsafe { bindings::file_accessed(self.file()) };
        to_count(count)
    }

    fn write(&self) -> Result<u64> {
        let count = {
            let locked = match self.is_nowait() {
                true => Locked::try_new(self.inode()).ok_or(EAGAIN)?,
                false => Locked::new(self.inode()),
            };

            self.write_locked(&locked)?
        };

        match isize::try_from(count) {
            // SAFETY: By the type invariants.
            Ok(count @ 1..) => to_count(unsafe { bindings::generic_write_sync(self.iocb, count) }),
            _ => Ok(count),
        }
    }

    /// Writes. `inode` is that of the file.
    fn write_locked(&self, inode: &LockedInode<T>) -> Result<u64> {
        // SAFETY: By the type invariants.
        let len = to_count(unsafe { bindings::generic_write_checks(self.iocb, self.iter) })?;
        let Some(range) = ByteRange::<space::File>::new(self.position(), len) else {
            return Ok(0);
        };

        // SAFETY: By the type invariants, and the inode is locked.
        to_result(unsafe { bindings::kiocb_modified(self.iocb) })?;
        self.zero_up_to(inode, range.start())?;

        let written = to_count(self.run(inode))?;

        inode.grow(self.position(), inode.changed())?;
        Ok(written)
    }

    /// Zeroes what lies between the end of the file and `start`.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is something and it must not wait.
    /// - The errors of [`LockedInode::zero_up_to()`].
    fn zero_up_to(&self, inode: &LockedInode<T>, start: u64) -> Result {
        // The lock of the mapping keeps page faults away: only who needs it takes it.
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
        // SAFETY: By the safety requirements; nobody else knows the file yet.
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
        // INVARIANT: By the safety requirements.
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
        // INVARIANT: By the safety requirements.
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
            // SAFETY: By the safety requirements.
            to_result(unsafe { bindings::simple_fsync_noflush(file, start, end, datasync) })?;

            // SAFETY: By the safety requirements.
            unsafe { Inode::<T>::of_file(file) }.fs().sync().map(|()| 0)
        })
    }
}
