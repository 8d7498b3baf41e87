// SPDX-License-Identifier: GPL-2.0

//! The memory that a filesystem lies in.

use core::{
    mem,
    ptr::NonNull,
    str, //
};

use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    bindings,
    block::window_of,
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
/// All methods fail with `ENXIO` once the DAX device is dead, which it is before its memory goes,
/// and those that write with `EROFS` if the volume [is read-only](Self::is_read_only). They may
/// sleep.
///
/// # Invariants
///
/// `window` is where the block device lies in the DAX device. It is whole pages.
#[derive(Clone)]
pub struct Volume {
    device: ARef<dax::Device>,
    window: Window<space::Device, space::Volume>,
    block_device: BlockDevice,
    is_read_only: bool,
}

impl Volume {
    /// As much is done in one section of `dax_srcu`: whoever waits for all readers should not wait
    /// long.
    const MAX_PIECE: u64 = 2 << 20;

    /// What `block_device` is of `device`.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the start or the size of the block device is not a multiple of the page size,
    ///   or if it is empty.
    ///
    /// # Safety
    ///
    /// - `block_device` must be valid.
    /// - `device` must be the DAX device of its disk.
    pub(crate) unsafe fn new(
        device: ARef<dax::Device>,
        block_device: NonNull<bindings::block_device>,
    ) -> Result<Self> {
        // SAFETY: By the safety requirements.
        let window = unsafe { window_of(block_device.as_ptr()) }.ok_or(EINVAL)?;

        if !window.outer().is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }

        // INVARIANT: The window was just checked.
        Ok(Self {
            device,
            window,
            // SAFETY: By the safety requirements.
            block_device: unsafe { BlockDevice::get(block_device) },
            // SAFETY: By the safety requirements.
            is_read_only: unsafe { bindings::bdev_read_only(block_device.as_ptr()) },
        })
    }

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

    /// The DAX device that the volume lies in.
    pub(crate) fn device(&self) -> &ARef<dax::Device> {
        &self.device
    }

    /// The block device, valid as long as the volume exists.
    pub(crate) fn block_device(&self) -> *mut bindings::block_device {
        self.block_device.0.as_ptr()
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
        let mut rest = from;

        self.check_writable()?;
        self.for_each_piece(start, rest.len(), |memory| {
            let (from, behind) = rest.split_at_checked(memory.len()).ok_or(ERANGE)?;

            rest = behind;
            memory.write(from)
        })
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

        // One by one: `dax_zero_page_range()` does not take more.
        for page in pages.start()..pages.end() {
            self.device.zero_page(page, &ReadLock::new())?;
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
        // CAST: A `u64` is a `usize` here.
        self.for_each_piece(range.start(), range.len() as usize, |_| Ok(()))
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

        loop {
            let copied = self.copy_piece(from, to)?;

            match (from.skip(copied), to.skip(copied)) {
                (Some(rest), Some(rest_of_to)) => (from, to) = (rest, rest_of_to),
                _ => return Ok(()),
            }
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

        self.make_present(located);
        self.recovery_write(located, page)?;
        self.verify(start, page)
    }

    /// Makes a page present in the kernel's linear map, unless the driver knows that it is bad.
    /// Then it does so itself.
    fn make_present(&self, page: ByteRange<space::Device>) {
        let lock = ReadLock::new();

        if self.device.memory(page, AccessMode::Normal, &lock).is_err() {
            return;
        }
        if let Ok(place) = self.device.locate(page.pages(), &lock) {
            // SAFETY: The memory of a filesystem has pages and a place in the linear map, which
            // stay as long as `dax_srcu` is held.
            unsafe {
                let frame = place.outer().start() as c_ulong;

                bindings::TestClearPageHWPoison(bindings::pfn_to_page(frame));
                bindings::clear_mce_nospec(frame);
            }
        }
    }

    /// The page frames of `range`, as many from the first one on as lie in a row, if there are
    /// such.
    pub(super) fn frames(
        &self,
        range: ByteRange<space::Volume>,
    ) -> Option<PageRange<space::Physical>> {
        let pages = self.locate(range).ok()?.pages();

        Some(self.device.locate(pages, &ReadLock::new()).ok()?.outer())
    }

    /// Marks the page frames of `range`, which have failed, as far as there are such.
    ///
    /// # Safety
    ///
    /// The caller must hold `dax_srcu` until the marks are dropped.
    pub(super) unsafe fn mark(&self, range: ByteRange<space::Volume>) -> KVec<Marks> {
        let mut all = KVec::new();
        let mut rest = self.locate(range).ok().map(ByteRange::pages);

        while let Some(pages) = rest {
            let Ok(place) = self.device.locate(pages, &ReadLock::new()) else {
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

    /// Writes a page over memory that may be bad.
    fn recovery_write(&self, range: ByteRange<space::Device>, page: &[u8]) -> Result {
        let lock = ReadLock::new();
        let memory = self
            .device
            .memory(range, AccessMode::RecoveryWrite, &lock)?;

        if memory.recovery_write(page) == page.len() {
            Ok(())
        } else {
            Err(EIO)
        }
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
        if !self.device.is_synchronous() {
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
    ///
    /// C: `blkdev_issue_flush()`
    pub fn flush(&self) -> Result {
        // SAFETY: The block device is valid.
        to_result(unsafe { bindings::blkdev_issue_flush(self.block_device()) })
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

        while let Some(range) = rest {
            let lock = ReadLock::new();
            let memory = self.memory(range, &lock)?;

            f(&memory)?;
            rest = range.skip(memory.len() as u64);
        }
        Ok(())
    }

    /// The memory of a first piece of `range`.
    fn memory<'a>(
        &'a self,
        range: ByteRange<space::Device>,
        lock: &'a ReadLock,
    ) -> Result<Memory<'a>> {
        let first =
            ByteRange::new(range.start(), range.len().min(Self::MAX_PIECE)).ok_or(ERANGE)?;

        self.device.memory(first, AccessMode::Normal, lock)
    }
}

/// The name of the block device.
impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: The block device is valid, and its name a C string that does not change.
        let name = unsafe { CStr::from_char_ptr((*self.block_device()).bd_device.kobj.name) };

        f.write_str(str::from_utf8(name.to_bytes()).unwrap_or("?"))
    }
}

/// A block device that can be referred to. The reference keeps nobody from removing it.
///
/// # Invariants
///
/// `self.0` is a valid block device, of which `self` owns a reference.
struct BlockDevice(NonNull<bindings::block_device>);

// SAFETY: The reference count of a device is atomic.
unsafe impl Send for BlockDevice {}

// SAFETY: A shared `BlockDevice` gives access to nothing but its address, within the crate.
unsafe impl Sync for BlockDevice {}

impl BlockDevice {
    /// # Safety
    ///
    /// `block_device` must be valid.
    unsafe fn get(block_device: NonNull<bindings::block_device>) -> Self {
        // INVARIANT: The reference is taken here.
        // SAFETY: By the safety requirements.
        unsafe { bindings::get_device(&raw mut (*block_device.as_ptr()).bd_device) };
        Self(block_device)
    }
}

impl Clone for BlockDevice {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariants.
        unsafe { Self::get(self.0) }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the block device is not used afterwards.
        unsafe { bindings::put_device(&raw mut (*self.0.as_ptr()).bd_device) };
    }
}
