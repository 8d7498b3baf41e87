// SPDX-License-Identifier: GPL-2.0

//! Reads directories.
//!
//! Reference: [`fs/readdir.c`](srctree/fs/readdir.c)

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use crate::bindings;

use super::{
    Entry,
    FileSystem,
    Inode, //
};

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// - Called by `iterate_dir()` only, with the lock of the directory held at least for reading.
    /// - `file` is an open directory of a superblock of type `T`.
    pub(super) unsafe extern "C" fn iterate(
        file: *mut bindings::file,
        context: *mut bindings::dir_context,
    ) -> c_int {
        // SAFETY: `iterate_dir()` passes an open directory, and a `context` without other users.
        if !unsafe { bindings::dir_emit_dots(file, context) } {
            return 0;
        }

        // SAFETY: `iterate_dir()` passes an open directory of type `T`, and a `context` without
        // other users.
        let (directory, context) =
            unsafe { (Inode::<T>::from_raw((*file).f_inode), &mut *context) };

        from_result(|| emit_all(directory, context).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by `vfs_fsync_range()` only, for an open directory of a superblock of type `T`.
    pub(super) unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        _start: bindings::loff_t,
        _end: bindings::loff_t,
        _datasync: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `vfs_fsync_range()` passes an open directory of type `T`.
            let directory = unsafe { Inode::<T>::from_raw((*file).f_inode) };

            // SAFETY: `directory` is valid by the type invariants of `Inode`.
            // `sync_inode_metadata()` writes the inode if it is dirty.
            to_result(unsafe { bindings::sync_inode_metadata(directory.as_raw(), 1) })?;
            directory.fs().sync().map(|()| 0)
        })
    }
}

/// Entries of a directory. All of them are read from the filesystem before the first one is copied
/// to the user: the copy can cause a page fault of a file, which can need the locks that the
/// filesystem holds during the read.
struct Batch {
    names: KVec<u8>,
    entries: KVec<BatchEntry>,
    is_full: bool,
}

/// An entry of a [`Batch`]. Its name follows the name of the previous entry.
struct BatchEntry {
    name_len: usize,
    number: u64,
    mode: u32,
    next: u64,
}

impl Batch {
    const NAMES: usize = 2048;
    const ENTRIES: usize = 64;

    fn new() -> Result<Self> {
        Ok(Self {
            names: KVec::with_capacity(Self::NAMES, GFP_KERNEL)?,
            entries: KVec::with_capacity(Self::ENTRIES, GFP_KERNEL)?,
            is_full: false,
        })
    }

    /// Reads as many entries as fit.
    fn fill<T: FileSystem>(&mut self, directory: &Inode<T>, position: u64) -> Result {
        self.names.clear();
        self.entries.clear();
        self.is_full = false;

        directory
            .fs()
            .read_directory(directory, position, &mut |entry| {
                // After an entry that does not fit, drop all later entries: the next read continues
                // at that entry.
                self.is_full = self.is_full || !self.push(&entry);
                !self.is_full
            })
    }

    /// Copies an entry. Returns false if it does not fit. Does not allocate memory.
    fn push(&mut self, entry: &Entry<'_>) -> bool {
        let room = self.names.capacity().saturating_sub(self.names.len());

        if entry.name.len() > room {
            return false;
        }

        let copied = BatchEntry {
            name_len: entry.name.len(),
            number: entry.number,
            mode: entry.mode,
            next: entry.next,
        };

        self.entries.push_within_capacity(copied).is_ok()
            && self.names.extend_from_slice(entry.name, GFP_KERNEL).is_ok()
    }

    /// Passes the entries to the reader. Returns false if the reader has no more space.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the positions do not increase.
    fn emit(&self, context: &mut bindings::dir_context) -> Result<bool> {
        let mut names = self.names.as_slice();

        for entry in &self.entries {
            let (name, rest) = names.split_at_checked(entry.name_len).ok_or(EUCLEAN)?;
            let next = bindings::loff_t::try_from(entry.next).map_err(|_| EUCLEAN)?;

            // Without this check, a reader could loop for ever.
            if next <= context.pos {
                return Err(EUCLEAN);
            }

            // SAFETY: `context` and the name are valid for the duration of the call.
            let goes_on = unsafe {
                bindings::dir_emit(
                    context,
                    name.as_ptr().cast(),
                    c_int::try_from(name.len())?,
                    entry.number,
                    kind(entry.mode),
                )
            };

            if !goes_on {
                return Ok(false);
            }
            context.pos = next;
            names = rest;
        }
        Ok(true)
    }
}

/// Passes the entries of a directory to the reader, from the position of `context` on.
fn emit_all<T: FileSystem>(directory: &Inode<T>, context: &mut bindings::dir_context) -> Result {
    let mut batch = Batch::new()?;

    loop {
        batch.fill(directory, u64::try_from(context.pos)?)?;

        if !batch.emit(context)? || !batch.is_full {
            return Ok(());
        }
        if batch.entries.is_empty() {
            return Err(EUCLEAN);
        }
    }
}

/// The type of a directory entry, `DT_…`.
///
/// C: `fs_umode_to_dtype()`
const fn kind(mode: u32) -> c_uint {
    (mode & bindings::S_IFMT) >> 12
}
