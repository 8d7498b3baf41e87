// SPDX-License-Identifier: GPL-2.0

//! The size of a regular file: `truncate()`, and growth by writes.

use core::{
    marker::PhantomData,
    ptr, //
};

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
        ByteRange,
        PAGE_SIZE, //
    },
};

use super::{
    attr::set_attributes,
    blocks::{
        block_rest,
        loff,
        MAX_SIZE, //
    },
    invalidate::Dirty,
    iomap,
    lock::{
        InvalidateLock,
        LockedInode, //
    },
    FileSystem,
    Time, //
};

impl<T: FileSystem> LockedInode<T> {
    /// Zeroes `range`. Skips holes, and blocks that [`FileSystem::map()`] returns as bad.
    ///
    /// # Errors
    ///
    /// - `EIO` if the device finds bad memory that the filesystem does not know.
    /// - The errors of [`unshare()`](Self::unshare).
    pub(super) fn zero(
        &self,
        range: ByteRange<space::File>,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        self.unshare(range, invalidate_lock)?;

        let start = loff(range.start())?;
        let len = loff(range.len())?;

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, and the operations are
        // static. `did_zero` can be null.
        to_result(unsafe {
            bindings::dax_zero_range(
                self.as_raw(),
                start,
                len,
                ptr::null_mut(),
                &iomap::VTable::<T>::OPS,
            )
        })
    }

    /// Zeroes the bytes from the end of the file to `end`, before the file grows. These bytes can
    /// have data that a process stored through a mapping after the end, or that a write stored
    /// before a crash.
    ///
    /// # Errors
    ///
    /// - The errors of [`zero()`](Self::zero).
    pub(super) fn zero_up_to(&self, end: u64, invalidate_lock: &mut InvalidateLock<'_>) -> Result {
        match ByteRange::between(self.size(), end) {
            Some(range) => self.zero(range, invalidate_lock),
            None => Ok(()),
        }
    }

    /// Grows the file to `size` bytes. Does nothing if the file is already as long.
    ///
    /// The caller has zeroed the bytes between.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::resize()`].
    pub(super) fn grow(&self, size: u64, now: Time) -> Result {
        if size <= self.size() {
            return Ok(());
        }

        let raw_size = loff(size)?;

        self.fs().resize(self, size, now)?;
        // SAFETY: By the type invariants of `LockedInode`, the inode is valid, and this thread
        // holds its lock.
        unsafe { bindings::i_size_write(self.as_raw(), raw_size) };
        Ok(())
    }

    /// Sets the size of the file. Unless the file grows, frees the blocks after the new end. It
    /// does so even if the size does not change, because `fallocate()` can have allocated blocks
    /// after the end.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap), [`zero()`](Self::zero) and
    ///   [`FileSystem::resize()`].
    pub(super) fn resize(&self, size: u64, now: Time) -> Result {
        let mut invalidate_lock = InvalidateLock::new(self);

        if size > self.size() {
            self.zero_up_to(size, &mut invalidate_lock)?;
            return self.grow(size, now);
        }

        let raw_size = loff(size)?;
        let after_end = size
            .checked_next_multiple_of(PAGE_SIZE)
            .and_then(|start| ByteRange::between(start, MAX_SIZE));

        loop {
            if let Some(tail) = block_rest(size) {
                self.zero(tail, &mut invalidate_lock)?;
            }
            // `zero()` and `wait()` can release the lock, and page faults then map pages again. So
            // the unmap comes last: no page after the new end may be mapped when its block is
            // freed.
            match after_end {
                Some(after_end)
                    if !self.try_unmap(after_end, Dirty::Discard, &invalidate_lock)? =>
                {
                    invalidate_lock.wait()?
                }
                _ => break,
            }
        }
        self.fs().resize(self, size, now).inspect_err(|_| {
            // Blocks that stay in the file are not recorded as dirty any more.
            if let Some(after_end) = after_end {
                self.write_back_unmapped(after_end, &invalidate_lock);
            }
            // A part of it can have been done, and set the size.
            self.refresh();
        })?;

        // SAFETY: By the type invariants of `LockedInode`, the inode is valid, and this thread
        // holds its lock. `invalidate_lock` blocks its page faults.
        unsafe { bindings::truncate_setsize(self.as_raw(), raw_size) };
        Ok(())
    }
}

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for an inode with this table, which is locked.
    pub(super) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `notify_change()` passes a locked inode with this table, so it is of type
            // `T`.
            unsafe { set_attributes::<T>(idmap, dentry, attr, Self::set_size) }.map(|()| 0)
        })
    }

    /// Sets the size if `attr` has `ATTR_SIZE`.
    fn set_size(inode: &LockedInode<T>, attr: &mut bindings::iattr) -> Result {
        if attr.ia_valid & bindings::ATTR_SIZE == 0 {
            return Ok(());
        }

        let size = u64::try_from(attr.ia_size).map_err(|_| EINVAL)?;
        let now = inode.now();
        let is_changed = size != inode.size();

        inode.resize(size, now)?;

        // A change of the size updates the times, whether it comes from `truncate()`, `ftruncate()`
        // or `O_TRUNC`.
        if is_changed {
            attr.ia_mtime = now.into_raw();
            attr.ia_ctime = now.into_raw();
            attr.ia_valid |= bindings::ATTR_MTIME | bindings::ATTR_CTIME;
        }
        Ok(())
    }
}
