// SPDX-License-Identifier: GPL-2.0

//! The memory of a filesystem.

mod devices;
mod mounted;
mod poison;
mod writer;

pub(super) use self::{
    devices::Devices,
    mounted::Mounted, //
};

pub use self::writer::Writer;

use core::{
    mem,
    ops::Deref,
    str, //
};

use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        srcu,
        Arc,
        Srcu, //
    },
};

use crate::{
    bindings,
    block::window_of,
    dax::{
        device::AccessMode,
        Memory,
        ReadLock, //
    },
    range::{
        space,
        ByteRange,
        Window,
        PAGE_SIZE, //
    },
};

/// The block device of a filesystem, which is persistent memory. Positions are in bytes from its
/// start.
///
/// A `Volume` can outlive the mount of the filesystem. After the unmount, all methods that access
/// the device fail with `ENXIO`. They also fail with `ENXIO` once the DAX device is dead, which
/// happens before its memory is removed. All methods that access the device can sleep.
///
/// # Invariants
///
/// The length is a multiple of the page size.
#[derive(Clone)]
pub struct Volume {
    shared: Arc<Shared>,
    is_read_only: bool,
    is_synchronous: bool,
}

/// The part of a volume that all clones share.
///
/// # Invariants
///
/// - `devices` is null, or points to the [`Devices`] that [`Mounted`] owns. `Mounted` sets it to
///   null, and then waits for all readers in a section of `users`.
/// - `place` is the range of the block device in the DAX device at the time of the mount. `end` is
///   the end of that range now, after it has [grown](Volume::grow). The start and the end of
///   `place`, and `end`, are multiples of the page size.
#[pin_data]
struct Shared {
    #[pin]
    users: Srcu,
    devices: Atomic<*const Devices>,
    place: ByteRange<space::Device>,
    end: Atomic<u64>,
    name: CString,
}

/// The devices of a volume that is in use. An unmount waits until this value is dropped.
struct InUse<'a> {
    devices: &'a Devices,
    _guard: srcu::Guard<'a>,
}

impl Deref for InUse<'_> {
    type Target = Devices;

    fn deref(&self) -> &Devices {
        self.devices
    }
}

impl Volume {
    /// The length in bytes: a multiple of the page size, and not 0.
    #[allow(clippy::len_without_is_empty, reason = "a volume is never empty")]
    pub fn len(&self) -> u64 {
        self.window().outer().len()
    }

    /// Grows the volume to the present size of the block device, rounded down to whole pages. From
    /// then on, the filesystem is notified of memory failures in the new part. It is not notified
    /// of earlier failures, so the caller [checks](Self::check) the new part.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the filesystem is unmounted, or the device is being removed.
    ///
    /// C: `bdev_nr_bytes()`
    pub fn grow(&self) -> Result {
        let devices = self.devices()?;
        // SAFETY: `block()` is a valid block device by the type invariants of `Devices`.
        let end = unsafe { window_of(devices.block()) }
            .ok_or(ENXIO)?
            .outer()
            .end();
        let end = end & !(PAGE_SIZE - 1);
        let mut known = self.shared.end.load(Relaxed);

        // INVARIANT: `end` only increases, and was rounded to a multiple of the page size.
        while known < end {
            match self.shared.end.cmpxchg(known, end, Relaxed) {
                Ok(_) => break,
                Err(other) => known = other,
            }
        }
        Ok(())
    }

    /// Whether the block device was read-only when the filesystem was mounted. The volume stays
    /// read-only until it is unmounted.
    ///
    /// C: `bdev_read_only()`
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Checks that the volume is writable.
    ///
    /// # Errors
    ///
    /// - `EROFS` if the volume is read-only.
    fn check_writable(&self) -> Result {
        match self.is_read_only {
            true => Err(EROFS),
            false => Ok(()),
        }
    }

    /// The range of the volume in the DAX device.
    pub(super) fn window(&self) -> Window<space::Device, space::Volume> {
        let Shared { place, end, .. } = &*self.shared;
        // `Relaxed` is enough, because the filesystem uses the new part only after `grow()` has
        // returned.
        let now = ByteRange::between(place.start(), end.load(Relaxed));

        Window::at(now.unwrap_or(*place))
    }

    /// Returns the devices, and keeps them in use.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the filesystem is unmounted.
    fn devices(&self) -> Result<InUse<'_>> {
        let guard = self.shared.users.read_lock();
        // SAFETY: By the type invariants of `Shared`, `devices` is null or valid, and `Mounted`
        // waits for `guard` before it frees the devices.
        let devices = unsafe { self.shared.devices.load(Acquire).as_ref() }.ok_or(ENXIO)?;

        Ok(InUse {
            devices,
            _guard: guard,
        })
    }

    /// Converts `range` of the volume to the bytes of the DAX device.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of `range` lies outside the volume.
    pub(super) fn locate(
        &self,
        range: ByteRange<space::Volume>,
    ) -> Result<ByteRange<space::Device>> {
        self.window().outward(range).ok_or(ERANGE)
    }

    /// Reads the bytes from `start` on into `to`.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte is bad. The contents of `to` are undefined then.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead, or if the filesystem is unmounted.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::fs::Volume;
    ///
    /// /// Reads the first block of a volume. Returns false if the block is bad.
    /// fn first_block(volume: &Volume, block: &mut [u8; 4096]) -> Result<bool> {
    ///     match volume.read(0, block) {
    ///         Ok(()) => Ok(true),
    ///         Err(EIO) => Ok(false),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    /// ```
    pub fn read(&self, start: u64, to: &mut [u8]) -> Result {
        let mut rest = to;

        self.for_each_piece(start, rest.len(), |memory| {
            let (to, after) = mem::take(&mut rest)
                .split_at_mut_checked(memory.len())
                .ok_or(ERANGE)?;

            rest = after;
            memory.read(to)
        })
    }

    /// Writes `from` to the bytes from `start` on, past the CPU caches. The bytes are durable after
    /// a [`fence()`](Self::fence).
    ///
    /// # Errors
    ///
    /// - `EIO` if the memory is known to be bad. The bytes that precede the bad memory are written.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `EROFS` if the volume is read-only.
    /// - `ENXIO` if the device is dead, or if the filesystem is unmounted.
    pub fn write(&self, start: u64, from: &[u8]) -> Result {
        self.with_writer(|writer| writer.write(start, from))?
    }

    /// Calls `f` with a [`Writer`], which makes many small writes fast. An unmount and the removal
    /// of the device wait until `f` returns.
    ///
    /// # Errors
    ///
    /// - `EROFS` if the volume is read-only.
    /// - `ENXIO` if the filesystem is unmounted.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::fs::Volume;
    ///
    /// /// Writes both copies of a record. Returns how many were written.
    /// fn write_twice(volume: &Volume, places: [u64; 2], record: &[u8]) -> Result<usize> {
    ///     let count = volume.with_writer(|writer| {
    ///         places
    ///             .into_iter()
    ///             .filter(|start| writer.write(*start, record).is_ok())
    ///             .count()
    ///     })?;
    ///
    ///     volume.fence().map(|()| count)
    /// }
    /// ```
    pub fn with_writer<R>(&self, f: impl FnOnce(&mut Writer<'_>) -> R) -> Result<R> {
        self.check_writable()?;

        let devices = self.devices()?;
        let lock = ReadLock::new();

        Ok(f(&mut Writer::new(self.window(), &devices, &lock)))
    }

    /// Zeroes whole pages, and clears bad pages if the device can.
    ///
    /// # Errors
    ///
    /// - `EIO` if a page is bad and cannot be cleared.
    /// - `EINVAL` if `range` is not whole pages.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `EROFS` if the volume is read-only.
    /// - `ENXIO` if the device is dead, or if the filesystem is unmounted.
    pub fn zero(&self, range: ByteRange<space::Volume>) -> Result {
        self.check_writable()?;
        if !range.is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }
        let pages = self.locate(range)?.pages();
        let devices = self.devices()?;

        // `dax_zero_page_range()` accepts only one page at a time.
        for page in pages.start()..pages.end() {
            devices.dax().zero_page(page, &ReadLock::new())?;
        }
        Ok(())
    }

    /// Checks that the device does not know `range` as bad. Memory can have an error that the
    /// device has not found.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte is known to be bad.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead, or if the filesystem is unmounted.
    pub fn check(&self, range: ByteRange<space::Volume>) -> Result {
        let mut rest = Some(self.locate(range)?);
        let devices = self.devices()?;

        while let Some(range) = rest {
            let lock = ReadLock::new();
            let len = range.len().min(Devices::MAX_CHECK);
            let first = ByteRange::new(range.start(), len).ok_or(ERANGE)?;
            let memory = devices.dax().memory(first, AccessMode::Normal, &lock)?;

            rest = range.skip(memory.len() as u64);
        }
        Ok(())
    }

    /// Copies the bytes from `from` on to `to`, and writes them back. If the two ranges overlap,
    /// the result is undefined. The bytes are durable after a [`fence()`](Self::fence).
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte of the source or of `to` is bad.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `EROFS` if the volume is read-only.
    /// - `ENXIO` if the device is dead, or if the filesystem is unmounted.
    pub fn copy(&self, from: u64, to: ByteRange<space::Volume>) -> Result {
        self.check_writable()?;

        let mut from = self.locate(ByteRange::new(from, to.len()).ok_or(ERANGE)?)?;
        let mut to = self.locate(to)?;
        let devices = self.devices()?;

        loop {
            let copied = devices.copy_piece(from, to)?;

            match (from.skip(copied), to.skip(copied)) {
                (Some(rest), Some(rest_of_to)) => (from, to) = (rest, rest_of_to),
                _ => return Ok(()),
            }
        }
    }

    /// Writes back the CPU caches for `range`. The range is durable after a
    /// [`fence()`](Self::fence).
    ///
    /// # Errors
    ///
    /// - `EIO` if the memory is known to be bad.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead, or if the filesystem is unmounted.
    pub fn write_back(&self, range: ByteRange<space::Volume>) -> Result {
        // CAST: A `u64` is a `usize` here.
        self.for_each_piece(range.start(), range.len() as usize, |memory| {
            memory.flush();
            Ok(())
        })
    }

    /// Writes a page to memory that can be bad, and clears the error if the device can. Reads the
    /// page back and compares it.
    ///
    /// # Errors
    ///
    /// - `EIO` if the page is bad and cannot be cleared, or differs when it is read back.
    /// - `EINVAL` if `start` is not a multiple of the page size.
    /// - `ERANGE` if the page lies outside the volume.
    /// - `EROFS` if the volume is read-only.
    /// - `ENXIO` if the device is dead, or if the filesystem is unmounted.
    pub fn repair(&self, start: u64, page: &[u8; PAGE_SIZE as usize]) -> Result {
        let range = ByteRange::new(start, PAGE_SIZE).ok_or(ERANGE)?;

        self.check_writable()?;
        if !range.is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }
        let located = self.locate(range)?;
        let devices = self.devices()?;

        devices.make_present(located);
        devices.recovery_write(located, page)?;
        self.verify(start, page)
    }

    /// Checks that the bytes from `start` on are equal to `expected`.
    fn verify(&self, mut start: u64, expected: &[u8]) -> Result {
        let mut buffer = [0; 256];

        for part in expected.chunks(buffer.len()) {
            let found = buffer.get_mut(..part.len()).ok_or(ERANGE)?;

            self.read(start, found)?;
            if found != part {
                return Err(EIO);
            }
            start = start.saturating_add(part.len() as u64);
        }
        Ok(())
    }

    /// Makes all earlier writes durable before all later ones. On a synchronous device, this costs
    /// little more than a memory barrier of the CPU.
    ///
    /// # Errors
    ///
    /// - `EIO` if the device cannot be flushed.
    /// - `ENXIO` if the filesystem is unmounted, and the device is not synchronous.
    pub fn fence(&self) -> Result {
        if !self.is_synchronous {
            return self.flush();
        }

        // SAFETY: `pmem_wmb()` is a memory barrier, which has no preconditions.
        unsafe { bindings::pmem_wmb() };
        Ok(())
    }

    /// Flushes the cache of the device.
    ///
    /// # Errors
    ///
    /// - `EIO` if the device cannot be flushed.
    /// - `ENXIO` if the filesystem is unmounted.
    ///
    /// C: `blkdev_issue_flush()`
    pub fn flush(&self) -> Result {
        let devices = self.devices()?;

        // SAFETY: `block()` is an open block device by the type invariants of `Devices`.
        to_result(unsafe { bindings::blkdev_issue_flush(devices.block()) })
    }

    /// Calls `f` with each piece of the memory of the `len` bytes from `start` on, in order.
    fn for_each_piece(
        &self,
        start: u64,
        len: usize,
        mut f: impl FnMut(&Memory<'_>) -> Result,
    ) -> Result {
        let mut rest = match ByteRange::new(start, len as u64) {
            Some(range) => Some(self.locate(range)?),
            None if len == 0 => None,
            None => return Err(ERANGE),
        };
        let devices = self.devices()?;

        while let Some(range) = rest {
            let lock = ReadLock::new();
            let memory = devices.memory(range, &lock)?;

            f(&memory)?;
            rest = range.skip(memory.len() as u64);
        }
        Ok(())
    }
}

/// Formats the name of the block device.
impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.shared.name.to_bytes()).unwrap_or("?"))
    }
}
