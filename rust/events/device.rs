// SPDX-License-Identifier: GPL-2.0

//! The character device `/dev/daxmf`.
//!
//! Like `/dev/kmsg`, each read returns one record, and each reader starts with the oldest stored
//! record. `kernel::miscdevice` does not support `poll()`, so this file has its own operations
//! table.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use kernel::{
    error::to_result,
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollTable,
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use super::{
    Log,
    Next,
    LOG, //
};
use crate::bindings;

/// Only root can read the device.
const MODE: bindings::umode_t = 0o600;

/// The registered device.
///
/// # Invariants
///
/// `self.0.misc` is registered, with the table `self.0.operations`.
pub(crate) struct LogDevice(Pin<KBox<Inner>>);

struct Inner {
    operations: bindings::file_operations,
    misc: Opaque<bindings::miscdevice>,
}

// SAFETY: `misc_deregister()` may be called on any thread.
unsafe impl Send for LogDevice {}

// SAFETY: `&LogDevice` has no methods.
unsafe impl Sync for LogDevice {}

impl LogDevice {
    /// Registers the device. `module` stays loaded while the device is open.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EEXIST` if there is another device of this name.
    pub(super) fn new(module: &'static ThisModule) -> Result<Self> {
        let operations = bindings::file_operations {
            owner: module.as_ptr(),
            open: Some(open),
            release: Some(release),
            read: Some(read),
            poll: Some(poll),
            ..pin_init::zeroed()
        };
        let inner = KBox::pin(
            Inner {
                operations,
                misc: Opaque::zeroed(),
            },
            GFP_KERNEL,
        )?;

        // SAFETY: `inner` is not shared yet, so `misc` is valid for a write.
        unsafe {
            inner.misc.get().write(bindings::miscdevice {
                // CAST: `MISC_DYNAMIC_MINOR` is a small positive number.
                minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                name: c"daxmf".as_char_ptr(),
                fops: &inner.operations,
                mode: MODE,
                ..pin_init::zeroed()
            })
        };
        // SAFETY: The structure is initialized and pinned. The drop deregisters it before it is
        // freed.
        to_result(unsafe { bindings::misc_register(inner.misc.get()) })?;
        // INVARIANT: `misc_register()` has registered it with `inner.operations`.
        Ok(Self(inner))
    }
}

impl Drop for LogDevice {
    fn drop(&mut self) {
        // SAFETY: `misc` is registered by the type invariants. No file is open, because an open
        // file has a reference to the module.
        unsafe { bindings::misc_deregister(self.0.misc.get()) };
    }
}

/// An open file of the device.
struct Reader {
    log: Arc<Log>,
    /// The number of the event that the next read returns.
    next: Atomic<u64>,
}

impl Reader {
    fn new(log: Arc<Log>) -> Self {
        log.readers.fetch_add(1, Relaxed);
        Self {
            log,
            next: Atomic::new(0),
        }
    }

    /// Reads the next record. A record that does not fit `to` stays the next one.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is no record and `is_blocking` is not set.
    /// - `ERESTARTSYS` if a signal arrived before a record.
    /// - `EINVAL` if `to` is too short for the record.
    /// - `EFAULT` if `to` cannot be written. The reader does not get this record again.
    /// - `ENOMEM` if memory is short.
    fn read(&self, to: UserSlice, is_blocking: bool) -> Result<usize> {
        let mut to = to.writer();

        loop {
            let number = self.next.load(Relaxed);
            let (line, after) = match self.wait(number, is_blocking)? {
                Next::Record(record) => (
                    CString::try_from_fmt(fmt!("{}\n", record.line(number)))?,
                    number.wrapping_add(1),
                ),
                Next::Missed(count) => (
                    CString::try_from_fmt(fmt!("sequence={number} event=missed count={count}\n"))?,
                    number.wrapping_add(count),
                ),
            };
            let line = line.to_bytes();

            if line.len() > to.len() {
                return Err(EINVAL);
            }
            // Another thread can have read this record from the same file. If so, read the next
            // one.
            if self.next.cmpxchg(number, after, Relaxed).is_ok() {
                return to.write_slice(line).map(|()| line.len());
            }
        }
    }

    /// Waits until there is an event `number`, or a later one.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is none and `is_blocking` is not set.
    /// - `ERESTARTSYS` if a signal arrived before an event.
    fn wait(&self, number: u64, is_blocking: bool) -> Result<Next> {
        let mut ring = self.log.ring.lock();

        loop {
            match ring.at(number) {
                Some(next) => return Ok(next),
                None if !is_blocking => return Err(EAGAIN),
                None => {}
            }
            if self.log.changed.wait_interruptible(&mut ring) {
                return Err(ERESTARTSYS);
            }
        }
    }

    /// Whether a read would not block.
    fn is_ready(&self) -> bool {
        self.log.ring.lock().at(self.next.load(Relaxed)).is_some()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.readers.fetch_sub(1, Relaxed);
    }
}

/// Borrows the reader of an open file.
///
/// # Safety
///
/// [`open()`] must have opened `file`, and [`release()`] must not have run for it during `'a`.
unsafe fn reader<'a>(file: *mut bindings::file) -> &'a Reader {
    // SAFETY: `open()` has stored the reader in `private_data`, and only `release()` drops it.
    unsafe { <KBox<Reader> as ForeignOwnable>::borrow((*file).private_data) }
}

/// # Safety
///
/// Only `misc_open()` may call this.
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    let Some(log) = LOG.as_ref() else {
        return ENODEV.to_errno();
    };

    match KBox::new(Reader::new(log.clone()), GFP_KERNEL) {
        Ok(reader) => {
            // SAFETY: `misc_open()` passes a valid inode and a file that no other code uses yet.
            // The reader replaces the pointer to the misc device in `private_data`, which is not
            // needed.
            unsafe {
                (*file).private_data = reader.into_foreign();
                bindings::stream_open(inode, file)
            }
        }
        Err(_) => ENOMEM.to_errno(),
    }
}

/// # Safety
///
/// Only the VFS may call this, once for each file that [`open()`] has opened.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `open()` has stored the reader in `private_data`. The VFS calls `release()` after the
    // last use of the file.
    drop(unsafe { <KBox<Reader> as ForeignOwnable>::from_foreign((*file).private_data) });
    0
}

/// # Safety
///
/// Only the VFS may call this, for a file that [`open()`] has opened.
unsafe extern "C" fn read(
    file: *mut bindings::file,
    to: *mut c_char,
    len: usize,
    _position: *mut bindings::loff_t,
) -> isize {
    // SAFETY: `open()` has opened the file, and the VFS does not release it during a read.
    let reader = unsafe { reader(file) };
    // SAFETY: The VFS passes a valid file. `stream_open()` has made the file a stream
    // (`FMODE_STREAM`), so no code uses the position that `f_pos_lock` protects.
    let is_blocking = unsafe { File::from_raw_file(file) }.flags() & O_NONBLOCK == 0;
    let to = UserSlice::new(UserPtr::from_ptr(to.cast()), len);

    // CAST: A line is less than 1 KiB long, and an errno is at most 4095.
    match reader.read(to, is_blocking) {
        Ok(len) => len as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Only the kernel's poll code may call this, for a file that [`open()`] has opened, with a valid
/// or null table.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: `open()` has opened the file, and the VFS does not release it during a poll.
    let reader = unsafe { reader(file) };
    // SAFETY: The file is valid, and the table is valid or null, by the safety requirements.
    // `stream_open()` has made the file a stream (`FMODE_STREAM`), so no code uses the position
    // that `f_pos_lock` protects.
    let (table, file) = unsafe { (PollTable::from_raw(table), File::from_raw_file(file)) };

    table.register_wait(file, &reader.log.changed);
    match reader.is_ready() {
        true => bindings::EPOLLIN | bindings::EPOLLRDNORM,
        false => 0,
    }
}
