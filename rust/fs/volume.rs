// SPDX-License-Identifier: GPL-2.0

//! The memory that a filesystem lies in.

mod devices;
mod mounted;
mod poison;
mod writer;

pub(super) use self::{
    devices::Devices,
    mounted::Mounted,
    poison::HUGE, //
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

/// What a filesystem sees of its block device: persistent memory, in bytes from its start.
///
/// A volume can be kept when the filesystem is unmounted, and is of no use then: all methods that
/// access the device fail with `ENXIO`. So they do once the DAX device is dead, which it is before
/// its memory goes. Those that write fail with `EROFS` if the volume
/// [is read-only](Self::is_read_only). They may sleep.
///
/// # Invariants
///
/// It is whole pages.
#[derive(Clone)]
pub struct Volume {
    shared: Arc<Shared>,
    is_read_only: bool,
    is_synchronous: bool,
}

/// What all handles of a volume share.
///
/// # Invariants
///
/// - `devices` is null, or points to what [`Mounted`] owns: that sets it to null, and then waits
///   for those who read it in a section of `users`.
/// - `place` is where the block device lay in the DAX device when it was mounted, and `end` where
///   it ends now, as far as it has [grown](Volume::grow). Both are whole pages.
#[pin_data]
struct Shared {
    #[pin]
    users: Srcu,
    devices: Atomic<*const Devices>,
    place: ByteRange<space::Device>,
    end: Atomic<u64>,
    name: CString,
}

/// The devices, in use: the filesystem is not unmounted before this is dropped.
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
    /// The number of bytes, a multiple of the size of a page, and not 0.
    #[allow(clippy::len_without_is_empty, reason = "a volume is never empty")]
    pub fn len(&self) -> u64 {
        self.window().outer().len()
    }

    /// Takes what the block device has grown by, in whole pages. Failures there come from now on.
    /// What has failed before is for the caller to [find](Self::check).
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the filesystem is unmounted, or the device is being removed.
    ///
    /// C: `bdev_nr_bytes()`
    pub fn grow(&self) -> Result {
        let devices = self.devices()?;
        // SAFETY: The block device is valid by the type invariants of `Devices`.
        let end = unsafe { window_of(devices.block()) }
            .ok_or(ENXIO)?
            .outer()
            .end();
        let end = end & !(PAGE_SIZE - 1);
        let mut known = self.shared.end.load(Relaxed);

        // INVARIANT: It becomes later only, and lies at the end of a page.
        while known < end {
            match self.shared.end.cmpxchg(known, end, Relaxed) {
                Ok(_) => break,
                Err(other) => known = other,
            }
        }
        Ok(())
    }

    /// Whether the block device could not be written when the filesystem was mounted. It cannot
    /// become writable then, as long as it is mounted.
    ///
    /// C: `bdev_read_only()`
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// # Errors
    ///
    /// - `EROFS` if nothing can be written.
    fn check_writable(&self) -> Result {
        match self.is_read_only {
            true => Err(EROFS),
            false => Ok(()),
        }
    }

    /// Where the volume lies in the DAX device.
    pub(super) fn window(&self) -> Window<space::Device, space::Volume> {
        let Shared { place, end, .. } = &*self.shared;
        // Nothing goes by the order of this and another access: who is given a place in what it
        // has grown by was given it after that.
        let now = ByteRange::between(place.start(), end.load(Relaxed));

        Window::at(now.unwrap_or(*place))
    }

    /// Uses the devices.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the filesystem is unmounted.
    fn devices(&self) -> Result<InUse<'_>> {
        let guard = self.shared.users.read_lock();
        // SAFETY: By the type invariants of `Shared`: `Mounted` waits for `guard`.
        let devices = unsafe { self.shared.devices.load(Acquire).as_ref() }.ok_or(ENXIO)?;

        Ok(InUse {
            devices,
            _guard: guard,
        })
    }

    /// The bytes of the DAX device that `range` of the volume are.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of it lies outside the volume.
    pub(super) fn locate(
        &self,
        range: ByteRange<space::Volume>,
    ) -> Result<ByteRange<space::Device>> {
        self.window().outward(range).ok_or(ERANGE)
    }

    /// Reads the bytes from `start` on.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte is bad. `to` may hold anything then.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::fs::Volume;
    ///
    /// /// The first block of a volume, [`None`] if it cannot be read.
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
            let (to, behind) = mem::take(&mut rest)
                .split_at_mut_checked(memory.len())
                .ok_or(ERANGE)?;

            rest = behind;
            memory.read(to)
        })
    }

    /// Writes the bytes from `start` on, past the CPU caches. They are durable after a
    /// [`fence()`](Self::fence).
    ///
    /// # Errors
    ///
    /// - `EIO` if the memory is known to be bad. What was written before it stays.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead.
    pub fn write(&self, start: u64, from: &[u8]) -> Result {
        self.with_writer(|writer| writer.write(start, from))?
    }

    /// Calls `f` with what writes several times as fast as can be. Nothing waits for the end of
    /// `f` but an unmount and the removal of the device.
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
    /// /// Writes a record in both of its places. Returns how many have it.
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

    /// Zeroes whole pages, and mends bad ones where the device can.
    ///
    /// # Errors
    ///
    /// - `EIO` if a page is bad and cannot be mended.
    /// - `EINVAL` if it is not whole pages.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead.
    pub fn zero(&self, range: ByteRange<space::Volume>) -> Result {
        self.check_writable()?;
        if !range.is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }
        let pages = self.locate(range)?.pages();
        let devices = self.devices()?;

        // One by one: `dax_zero_page_range()` does not take more.
        for page in pages.start()..pages.end() {
            devices.dax().zero_page(page, &ReadLock::new())?;
        }
        Ok(())
    }

    /// Checks that memory can be accessed. It may be bad without the device knowing it.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte is known to be bad.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead.
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

    /// Copies to `to` what lies from byte `from` on. The two do not overlap.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte to be copied is bad, or where it is to be copied to.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead.
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

    /// Writes back what the CPU caches hold of `range`. It is durable after a
    /// [`fence()`](Self::fence).
    ///
    /// # Errors
    ///
    /// - `EIO` if the memory is known to be bad.
    /// - `ERANGE` if a part lies outside the volume.
    /// - `ENXIO` if the device is dead.
    pub fn write_back(&self, range: ByteRange<space::Volume>) -> Result {
        // CAST: A `u64` is a `usize` here.
        self.for_each_piece(range.start(), range.len() as usize, |memory| {
            memory.flush();
            Ok(())
        })
    }

    /// Writes a page over memory that may be bad, and mends it where the device can. What was
    /// written is read back.
    ///
    /// # Errors
    ///
    /// - `EIO` if the page is bad and cannot be mended.
    /// - `EINVAL` if `start` is not that of a page.
    /// - `ERANGE` if it lies outside the volume.
    /// - `ENXIO` if the device is dead.
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

    /// Checks that the bytes from `start` on are `expected`.
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

    /// Sees to it that what was written before is durable before anything that is written from now
    /// on. On a synchronous device this costs little more than a barrier of the CPU.
    ///
    /// # Errors
    ///
    /// - `EIO` if the device cannot be flushed.
    pub fn fence(&self) -> Result {
        if !self.is_synchronous {
            return self.flush();
        }

        // SAFETY: A barrier may be anywhere.
        unsafe { bindings::pmem_wmb() };
        Ok(())
    }

    /// Flushes what the device itself may still hold of what was written.
    ///
    /// # Errors
    ///
    /// - `EIO` if the device cannot be flushed.
    /// - `ENXIO` if the filesystem is unmounted.
    ///
    /// C: `blkdev_issue_flush()`
    pub fn flush(&self) -> Result {
        let devices = self.devices()?;

        // SAFETY: The block device is open by the type invariants of `Devices`.
        to_result(unsafe { bindings::blkdev_issue_flush(devices.block()) })
    }

    /// Calls `f` with the memory of the `len` bytes from `start` on, piece by piece.
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

/// The name of the block device.
impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.shared.name.to_bytes()).unwrap_or("?"))
    }
}
