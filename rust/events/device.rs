// SPDX-License-Identifier: GPL-2.0

//! The character device `/dev/daxmf`.
//!
//! As `/dev/kmsg` does, it gives a record for each read, to each reader from the oldest one that is
//! kept. `kernel::miscdevice` cannot be polled.
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

/// Only root reads it.
const MODE: bindings::umode_t = 0o600;

/// The registered device.
///
/// # Invariants
///
/// `self.0.misc` is registered, with the operations of `self.0`.
pub(crate) struct LogDevice(Pin<KBox<Inner>>);

struct Inner {
    operations: bindings::file_operations,
    misc: Opaque<bindings::miscdevice>,
}

// SAFETY: A device may be deregistered on any thread.
unsafe impl Send for LogDevice {}

// SAFETY: A shared device gives access to nothing.
unsafe impl Sync for LogDevice {}

impl LogDevice {
    /// Registers the device. `module` stays loaded while it is open.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EEXIST` if there is another device of the name.
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

        // SAFETY: Nobody else has the structure yet.
        unsafe {
            inner.misc.get().write(bindings::miscdevice {
                // CAST: A small positive number.
                minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                name: c"daxmf".as_char_ptr(),
                fops: &inner.operations,
                mode: MODE,
                ..pin_init::zeroed()
            })
        };
        // SAFETY: The structure is set up, and stays where it is until it is deregistered.
        to_result(unsafe { bindings::misc_register(inner.misc.get()) })?;
        // INVARIANT: It is registered.
        Ok(Self(inner))
    }
}

impl Drop for LogDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. No file is open, for an open one keeps the module.
        unsafe { bindings::misc_deregister(self.0.misc.get()) };
    }
}

/// An open file of the device.
struct Reader {
    log: Arc<Log>,
    /// The number of the event that is read next.
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

    /// Reads the next record, which is left in the log if it does not fit.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is none and `is_blocking` is not set.
    /// - `ERESTARTSYS` if a signal came before one did.
    /// - `EINVAL` if `to` is too short for it.
    /// - `EFAULT` if `to` cannot be written.
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
            // Another thread may read the same file.
            if self.next.cmpxchg(number, after, Relaxed).is_ok() {
                return to.write_slice(line).map(|()| line.len());
            }
        }
    }

    /// Waits until there is something after the events before `number`.
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

    /// Whether there is something to be read.
    fn is_ready(&self) -> bool {
        self.log.ring.lock().at(self.next.load(Relaxed)).is_some()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.readers.fetch_sub(1, Relaxed);
    }
}

/// # Safety
///
/// Called by the kernel only, for a file of the device that was opened and not released.
unsafe fn reader<'a>(file: *mut bindings::file) -> &'a Reader {
    // SAFETY: By the safety requirements, `open()` has put the reader there.
    unsafe { <KBox<Reader> as ForeignOwnable>::borrow((*file).private_data) }
}

/// # Safety
///
/// Called by `misc_open()` only.
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    let Some(log) = LOG.as_ref() else {
        return ENODEV.to_errno();
    };

    match KBox::new(Reader::new(log.clone()), GFP_KERNEL) {
        Ok(reader) => {
            // SAFETY: A file that is being opened belongs to its `open()`. What `misc_open()` has
            // put there is of no use to us.
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
/// Called by the kernel only, for a file that [`open()`] has opened, once.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: By the safety requirements. Nobody uses the file any more.
    drop(unsafe { <KBox<Reader> as ForeignOwnable>::from_foreign((*file).private_data) });
    0
}

/// # Safety
///
/// Called by the kernel only, for a file that [`open()`] has opened.
unsafe extern "C" fn read(
    file: *mut bindings::file,
    to: *mut c_char,
    len: usize,
    _position: *mut bindings::loff_t,
) -> isize {
    // SAFETY: By the safety requirements.
    let reader = unsafe { reader(file) };
    // SAFETY: By the safety requirements. The file has no position.
    let is_blocking = unsafe { File::from_raw_file(file) }.flags() & O_NONBLOCK == 0;
    let to = UserSlice::new(UserPtr::from_ptr(to.cast()), len);

    // CAST: A line is short, and an errno is a small number.
    match reader.read(to, is_blocking) {
        Ok(len) => len as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Called by the kernel only, for a file that [`open()`] has opened, with a valid or null table.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: By the safety requirements.
    let reader = unsafe { reader(file) };
    // SAFETY: By the safety requirements. The file has no position.
    let (table, file) = unsafe { (PollTable::from_raw(table), File::from_raw_file(file)) };

    table.register_wait(file, &reader.log.changed);
    match reader.is_ready() {
        true => bindings::EPOLLIN | bindings::EPOLLRDNORM,
        false => 0,
    }
}
