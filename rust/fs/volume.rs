// SPDX-License-Identifier: GPL-2.0

//! The memory that a filesystem lies in.

use core::{
    mem,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
    str, //
};

use kernel::{
    error::to_result,
    fmt, new_srcu,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        srcu,
        Arc,
        Srcu, //
    },
};

use crate::{
    bindings,
    block::{
        window_of,
        OpenDevice, //
    },
    dax::{
        self,
        device::AccessMode,
        Memory,
        ReadLock, //
    },
    range::{
        space,
        ByteRange,
        PageRange,
        Window,
        PAGE_SIZE, //
    },
};

use super::failure::Marks;

/// What a filesystem sees of its block device: persistent memory, in bytes from its start.
///
/// A volume can be kept when the filesystem is unmounted, and is of no use then: all methods that
/// access the device fail with `ENXIO`. So they do once the DAX device is dead, which it is before
/// its memory goes. Those that write fail with `EROFS` if the volume
/// [is read-only](Self::is_read_only). They may sleep.
///
/// # Invariants
///
/// `window` is where the block device lies in the DAX device. It is whole pages.
#[derive(Clone)]
pub struct Volume {
    shared: Arc<Shared>,
    window: Window<space::Device, space::Volume>,
    is_read_only: bool,
    is_synchronous: bool,
}

/// What all handles of a volume share.
///
/// # Invariants
///
/// `devices` is null, or points to what [`Mounted`] owns: that sets it to null, and then waits for
/// those who read it in a section of `users`.
#[pin_data]
struct Shared {
    #[pin]
    users: Srcu,
    devices: Atomic<*const Devices>,
    name: CString,
}

/// The devices of a filesystem that is mounted.
///
/// # Invariants
///
/// `block` is valid, and open until the filesystem is unmounted.
pub(super) struct Devices {
    dax: ARef<dax::Device>,
    block: NonNull<bindings::block_device>,
}

// SAFETY: A block device may be used on any thread.
unsafe impl Send for Devices {}

// SAFETY: A shared `Devices` gives access to nothing of the block device but its address.
unsafe impl Sync for Devices {}

impl Devices {
    /// As much is done in one section of `dax_srcu`: whoever waits for all readers should not wait
    /// long.
    const MAX_PIECE: u64 = 2 << 20;

    /// The same where nothing is accessed. Drivers count sectors in 32 bits.
    const MAX_CHECK: u64 = 1 << 30;

    /// The DAX device that the volume lies in.
    pub(super) fn dax(&self) -> &dax::Device {
        &self.dax
    }

    /// The block device that is the volume.
    pub(super) fn block(&self) -> *mut bindings::block_device {
        self.block.as_ptr()
    }

    /// Makes a page present in the kernel's linear map, unless the driver knows that it is bad.
    /// Then it does so itself.
    fn make_present(&self, page: ByteRange<space::Device>) {
        let lock = ReadLock::new();

        if self.dax.memory(page, AccessMode::Normal, &lock).is_err() {
            return;
        }
        if let Ok(place) = self.dax.locate(page.pages(), &lock) {
            // SAFETY: The memory of a filesystem has pages and a place in the linear map, which
            // stay as long as `dax_srcu` is held.
            unsafe {
                let frame = place.outer().start() as c_ulong;

                bindings::TestClearPageHWPoison(bindings::pfn_to_page(frame));
                bindings::clear_mce_nospec(frame);
            }
        }
    }

    /// Writes a page over memory that may be bad.
    fn recovery_write(&self, range: ByteRange<space::Device>, page: &[u8]) -> Result {
        let lock = ReadLock::new();
        let memory = self.dax.memory(range, AccessMode::RecoveryWrite, &lock)?;

        if memory.recovery_write(page) == page.len() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Copies a first piece of `from` to `to`. Returns its length.
    fn copy_piece(
        &self,
        from: ByteRange<space::Device>,
        to: ByteRange<space::Device>,
    ) -> Result<u64> {
        let lock = ReadLock::new();
        let source = self.memory(from, &lock)?;
        let to = ByteRange::new(to.start(), source.len() as u64).ok_or(ERANGE)?;
        let target = self.memory(to, &lock)?;

        target.fill_from(&source)?;
        target.flush();
        Ok(target.len() as u64)
    }

    /// The memory of a first piece of `range`.
    fn memory<'a>(
        &'a self,
        range: ByteRange<space::Device>,
        lock: &'a ReadLock,
    ) -> Result<Memory<'a>> {
        let first =
            ByteRange::new(range.start(), range.len().min(Self::MAX_PIECE)).ok_or(ERANGE)?;

        self.dax.memory(first, AccessMode::Normal, lock)
    }
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

/// The volume of a filesystem that is mounted.
///
/// # Invariants
///
/// `volume.shared` points to `devices`, or has been set to null.
pub(super) struct Mounted {
    volume: Volume,
    devices: KBox<Devices>,
}

impl Mounted {
    /// # Errors
    ///
    /// - `EINVAL` if the start or the size of the block device is not a multiple of the page size,
    ///   or if it is empty.
    /// - `ENOMEM` if memory is short.
    /// - The errors of [`dax::Device::of()`].
    ///
    /// # Safety
    ///
    /// The block device must stay open until [`end()`](Self::end) was called or this is dropped.
    pub(super) unsafe fn new(block: &OpenDevice) -> Result<Self> {
        let dax = dax::Device::of(block)?;
        let block = NonNull::new(block.as_raw()).ok_or(ENXIO)?;
        // SAFETY: The block device is open.
        let (window, is_read_only, name) = unsafe {
            (
                window_of(block.as_ptr()).ok_or(EINVAL)?,
                bindings::bdev_read_only(block.as_ptr()),
                // It does not change.
                CStr::from_char_ptr((*block.as_ptr()).bd_device.kobj.name),
            )
        };

        if !window.outer().is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }

        let name = CString::try_from(name)?;
        let is_synchronous = dax.is_synchronous();
        // INVARIANT: By the safety requirements.
        let devices = KBox::new(Devices { dax, block }, GFP_KERNEL)?;
        let pointer = ptr::from_ref(&*devices);
        // INVARIANT: `Mounted` owns them from now on.
        let shared = try_pin_init!(Shared {
            users <- new_srcu!("Volume::users"),
            devices: Atomic::new(pointer),
            name,
        });

        // INVARIANT: The window was checked above.
        Ok(Self {
            volume: Volume {
                shared: Arc::pin_init(shared, GFP_KERNEL)?,
                window,
                is_read_only,
                is_synchronous,
            },
            devices,
        })
    }

    pub(super) fn volume(&self) -> &Volume {
        &self.volume
    }

    pub(super) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// From now on the volume is of no use to anybody, wherever a handle of it was kept. Waits for
    /// those who use it.
    pub(super) fn end(&self) {
        let shared = &self.volume.shared;

        shared.devices.store(ptr::null(), Release);
        shared.users.synchronize();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.end();
    }
}

impl Volume {
    /// The number of bytes, a multiple of the size of a page, and not 0.
    #[allow(clippy::len_without_is_empty, reason = "a volume is never empty")]
    pub fn len(&self) -> u64 {
        self.window.outer().len()
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
        self.window
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
        self.window.outward(range).ok_or(ERANGE)
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

        Ok(f(&mut Writer {
            volume: self,
            devices: &devices,
            lock: &lock,
            known: None,
        }))
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
            devices.dax.zero_page(page, &ReadLock::new())?;
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
            let memory = devices.dax.memory(first, AccessMode::Normal, &lock)?;

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
    pub fn mend(&self, start: u64, page: &[u8; PAGE_SIZE as usize]) -> Result {
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

    /// The page frames of `range`, as many from the first one on as lie in a row, if there are
    /// such.
    pub(super) fn frames(
        &self,
        range: ByteRange<space::Volume>,
    ) -> Option<PageRange<space::Physical>> {
        let pages = self.locate(range).ok()?.pages();

        let devices = self.devices().ok()?;
        let place = devices.dax.locate(pages, &ReadLock::new()).ok()?;

        Some(place.outer())
    }

    /// Marks the page frames of `range`, which have failed, as far as there are such.
    ///
    /// # Safety
    ///
    /// The caller must hold `dax_srcu` until the marks are dropped.
    pub(super) unsafe fn mark(&self, range: ByteRange<space::Volume>) -> KVec<Marks> {
        let mut all = KVec::new();
        let mut rest = self.locate(range).ok().map(ByteRange::pages);
        let Ok(devices) = self.devices() else {
            return all;
        };

        while let Some(pages) = rest {
            let Ok(place) = devices.dax.locate(pages, &ReadLock::new()) else {
                break;
            };
            let frames = place.outer();

            // SAFETY: The memory of a filesystem has pages, and the driver sees to it that these
            // are aligned as huge pages are. They stay as long as `dax_srcu` is held.
            let marks = unsafe { Marks::new(frames) };

            // Without memory the mark of the other frame is taken back too early, and stays.
            let _ = all.push(marks, GFP_KERNEL);
            rest = pages.skip(frames.len());
        }
        all
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

/// What writes to a volume, see [`Volume::with_writer()`].
pub struct Writer<'a> {
    volume: &'a Volume,
    devices: &'a Devices,
    lock: &'a ReadLock,
    /// Where the memory of the last write lies, and what is around it.
    known: Option<(ByteRange<space::Device>, Memory<'a>)>,
}

impl<'a> Writer<'a> {
    /// Writes the bytes from `start` on, past the CPU caches. They are durable after a
    /// [`Volume::fence()`].
    ///
    /// # Errors
    ///
    /// - As [`Volume::write()`].
    pub fn write(&mut self, start: u64, from: &[u8]) -> Result {
        let mut rest = from;
        let mut next = match ByteRange::new(start, from.len() as u64) {
            Some(range) => Some(self.volume.locate(range)?),
            None if from.is_empty() => None,
            None => return Err(ERANGE),
        };

        while let Some(range) = next {
            let (known, memory) = self.memory(range)?;
            // CAST: A `u64` is a `usize` here.
            let at = range.start().saturating_sub(known.start()) as usize;
            let len = memory.len().saturating_sub(at).min(rest.len());
            let (part, behind) = rest.split_at_checked(len).ok_or(ERANGE)?;

            memory.write(at, part)?;
            rest = behind;
            next = range.skip(len as u64);
        }
        Ok(())
    }

    /// The memory of a first piece of `range`, and where it lies: what is around may be with it.
    fn memory(
        &mut self,
        range: ByteRange<space::Device>,
    ) -> Result<&(ByteRange<space::Device>, Memory<'a>)> {
        let first = ByteRange::new(range.start(), 1).ok_or(ERANGE)?;

        if self
            .known
            .as_ref()
            .is_none_or(|(known, _)| !known.contains(first))
        {
            // Something of what is around may be bad.
            self.known = match self.around(first) {
                Some(known) => Some(known),
                None => Some(self.find(range)?),
            };
        }
        self.known.as_ref().ok_or(EIO)
    }

    /// The memory of a byte and of what is around, if all before it is good.
    fn around(
        &self,
        byte: ByteRange<space::Device>,
    ) -> Option<(ByteRange<space::Device>, Memory<'a>)> {
        let start = byte
            .start()
            .checked_sub(byte.start() % Devices::MAX_PIECE)?;
        let around =
            ByteRange::new(start, Devices::MAX_PIECE)?.clip(self.volume.window().outer())?;

        self.find(around)
            .ok()
            .filter(|(known, _)| known.contains(byte))
    }

    /// The memory of a first piece of `range`, and where that lies.
    fn find(
        &self,
        range: ByteRange<space::Device>,
    ) -> Result<(ByteRange<space::Device>, Memory<'a>)> {
        let memory = self.devices.memory(range, self.lock)?;
        let known = ByteRange::new(range.start(), memory.len() as u64).ok_or(ERANGE)?;

        Ok((known, memory))
    }
}

/// The name of the block device.
impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.shared.name.to_bytes()).unwrap_or("?"))
    }
}

#[kunit_tests(daxmf_fs_volume)]
mod tests {
    use crate::dax::holder::tests::TestDisk;

    use super::*;

    #[test]
    fn kept_beyond_unmount() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let block = disk.open();

        // SAFETY: Nobody else uses the disk. `kobject_cleanup()` frees the name.
        unsafe {
            (*block.as_raw()).bd_device.kobj.name =
                bindings::kstrdup(c"kept".as_char_ptr(), bindings::GFP_KERNEL);
        }

        // SAFETY: It is dropped before the disk.
        let mounted = unsafe { Mounted::new(block) }?;
        let volume = mounted.volume().clone();
        let page = ByteRange::new(0, PAGE_SIZE).ok_or(EINVAL)?;
        let mut bytes = [0; 8];

        // This device has no memory.
        assert_eq!(volume.read(0, &mut bytes), Err(EOPNOTSUPP));
        assert_eq!(volume.write(0, &bytes), Err(EOPNOTSUPP));
        assert_eq!(volume.flush(), Ok(()));

        drop(mounted);
        assert_eq!(volume.read(0, &mut bytes), Err(ENXIO));
        assert_eq!(volume.write(0, &bytes), Err(ENXIO));
        assert_eq!(volume.zero(page), Err(ENXIO));
        assert_eq!(volume.check(page), Err(ENXIO));
        assert_eq!(volume.copy(0, page), Err(ENXIO));
        assert_eq!(volume.write_back(page), Err(ENXIO));
        assert_eq!(volume.mend(0, &[0; PAGE_SIZE as usize]), Err(ENXIO));
        assert_eq!(volume.flush(), Err(ENXIO));
        assert!(volume.frames(page).is_none());

        // What does not need the device is still known.
        assert_eq!(volume.len(), 16 * PAGE_SIZE);
        Ok(())
    }
}
