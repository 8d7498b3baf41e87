// SPDX-License-Identifier: GPL-2.0

//! The owners of the segments of a volume: `FS_IOC_GETFSMAP`.
//!
//! C header: [`include/uapi/linux/fsmap.h`](srctree/include/uapi/linux/fsmap.h)

use core::marker::PhantomData;

use kernel::{
    alloc::KVVec,
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use crate::{
    bindings,
    wait::check_killed, //
};

use super::{
    FileSystem,
    Segment,
    SegmentOwner,
    SegmentPosition,
    SegmentStart,
    SuperBlock, //
};

/// C: `struct fsmap`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Record {
    device: u32,
    flags: u32,
    physical: u64,
    owner: u64,
    offset: u64,
    length: u64,
    reserved: [u64; 3],
}

// SAFETY: All fields are integers, so every bit pattern is valid. The structure has no padding.
unsafe impl FromBytes for Record {}

// SAFETY: The structure has no padding, and no interior mutability.
unsafe impl AsBytes for Record {}

const _: () = assert!(size_of::<Record>() == size_of::<bindings::fsmap>());

impl Record {
    const LAST: u32 = bindings::FMR_OF_LAST;
    const SHARED: u32 = bindings::FMR_OF_SHARED;
    const SPECIAL: u32 = bindings::FMR_OF_SPECIAL_OWNER;
    /// C: `FMR_OWN_FREE`
    const FREE: u64 = 1;
    /// C: `FMR_OWN_UNKNOWN`
    const UNKNOWN: u64 = 2;
    /// C: `FMR_OWN_METADATA`
    const METADATA: u64 = 3;

    fn new(device: u32, segment: &Segment) -> Self {
        let (flags, owner, offset) = match segment.owner {
            SegmentOwner::Free => (Self::SPECIAL, Self::FREE, 0),
            SegmentOwner::Metadata => (Self::SPECIAL, Self::METADATA, 0),
            SegmentOwner::Unused => (Self::SPECIAL, Self::UNKNOWN, 0),
            SegmentOwner::File {
                number,
                offset,
                is_shared,
            } => (if is_shared { Self::SHARED } else { 0 }, number, offset),
        };

        Self {
            device,
            flags,
            physical: segment.range.start(),
            owner,
            offset,
            length: segment.range.len(),
            reserved: [0; 3],
        }
    }

    /// The position of the segment.
    fn position(&self) -> SegmentPosition {
        let (number, offset) = match self.flags & Self::SPECIAL {
            0 => (self.owner, self.offset),
            _ => (0, 0),
        };

        SegmentPosition {
            start: self.physical,
            number,
            offset,
        }
    }

    /// The first segment of the query, if this is the low key. A key with a length is a record of
    /// an earlier call, and the query continues after that record.
    fn low(&self) -> SegmentStart {
        let position = self.position();

        if self.length == 0 {
            return SegmentStart::Byte(self.physical);
        }
        SegmentStart::Position(match self.flags & Self::SPECIAL {
            0 => SegmentPosition {
                offset: position.offset.saturating_add(self.length),
                ..position
            },
            _ => SegmentPosition {
                start: position.start.saturating_add(self.length),
                ..position
            },
        })
    }

    /// The position of the last segment of the query, if this is the high key.
    fn high(&self) -> SegmentPosition {
        match self.flags {
            u32::MAX => SegmentPosition {
                start: self.physical,
                number: self.owner,
                offset: self.offset,
            },
            _ => self.position(),
        }
    }
}

/// C: `struct fsmap_head`, without the records
#[repr(C)]
struct Head {
    in_flags: u32,
    out_flags: u32,
    count: u32,
    entries: u32,
    reserved: [u64; 6],
    keys: [Record; 2],
}

// SAFETY: All fields are integers, so every bit pattern is valid. The structure has no padding.
unsafe impl FromBytes for Head {}

// SAFETY: The structure has no padding, and no interior mutability.
unsafe impl AsBytes for Head {}

const _: () = assert!(size_of::<Head>() == size_of::<bindings::fsmap_head>());

impl Head {
    /// The first segment, and the position of the last one, that the query selects of `device`.
    /// Returns [`None`] if it selects none.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if a flag, a device or a reserved field is invalid, or if the keys are not in
    ///   order.
    fn limits(&self, device: u32) -> Result<Option<(SegmentStart, SegmentPosition)>> {
        const ANY: SegmentPosition = SegmentPosition {
            start: u64::MAX,
            number: u64::MAX,
            offset: u64::MAX,
        };

        let [low, high] = &self.keys;
        let is_known = |key: &Record| [0, u32::MAX, device].contains(&key.device);
        let is_clear =
            self.reserved == [0; 6] && [low, high].iter().all(|key| key.reserved == [0; 3]);
        let is_ordered = (low.device, low.position()) < (high.device, high.high());

        if self.in_flags != 0 || !is_clear || !is_known(low) || !is_known(high) || !is_ordered {
            return Err(EINVAL);
        }
        if low.device > device || high.device < device {
            return Ok(None);
        }

        let first = match low.device == device {
            true => low.low(),
            false => SegmentStart::Byte(0),
        };
        let last = match high.device == device {
            true => high.high(),
            false => ANY,
        };

        Ok(Some((first, last)))
    }
}

/// Segments of a volume. All of them are read from the filesystem before the first one is copied to
/// the user: the copy can cause a page fault of a file, which can need the locks that the
/// filesystem holds during the read.
struct Batch<T: FileSystem> {
    segments: KVVec<Segment>,
    has_more: bool,
    _type: PhantomData<T>,
}

impl<T: FileSystem> Batch<T> {
    const MAX: usize = 1024;

    fn new() -> Result<Self> {
        Ok(Self {
            segments: KVVec::with_capacity(Self::MAX, GFP_KERNEL)?,
            has_more: false,
            _type: PhantomData,
        })
    }

    /// Reads as many segments as fit, but not more than `count`.
    fn fill(&mut self, fs: &T, first: SegmentStart, last: SegmentPosition, count: usize) -> Result {
        self.segments.clear();
        self.has_more = false;
        fs.segments(first, &mut |segment| {
            if segment.position() > last {
                return false;
            }
            self.has_more = self.segments.len() >= count
                || self.segments.push_within_capacity(segment).is_err();
            !self.has_more
        })
    }
}

impl<T: FileSystem> SuperBlock<T> {
    /// The number of the block device, in the format of user space.
    fn device_number(&self) -> u32 {
        // SAFETY: `self` is a valid superblock by the type invariants of `SuperBlock`, and `s_dev`
        // does not change.
        unsafe { bindings::new_encode_dev((*self.as_raw()).s_dev) }
    }

    /// Processes the `struct fsmap_head` at the user address `argument`.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the query is invalid.
    /// - `EFAULT` if the head or a record cannot be read or written.
    /// - `EINTR` if the process is killed.
    /// - The errors of [`FileSystem::segments()`].
    pub(super) fn answer_fsmap(&self, argument: usize) -> Result {
        let device = self.device_number();
        let head = UserSlice::new(UserPtr::from_addr(argument), size_of::<Head>());
        let (mut reader, mut writer) = head.reader_writer();
        let mut head: Head = reader.read()?;
        let limits = head.limits(device)?;

        head.entries = 0;
        head.out_flags = bindings::FMH_OF_DEV_T;
        if let Some((first, last)) = limits {
            let records = argument.checked_add(size_of::<Head>()).ok_or(EFAULT)?;

            self.write_records(&mut head, first, last, device, records)?;
        }
        writer.write(&head)
    }

    /// Writes records of the segments from `first` to `last` to the user address `records`, as many
    /// as fit, and counts them. If `head.count` is 0, only counts them.
    fn write_records(
        &self,
        head: &mut Head,
        first: SegmentStart,
        last: SegmentPosition,
        device: u32,
        records: usize,
    ) -> Result {
        let is_counted_only = head.count == 0;
        let room = match is_counted_only {
            true => u32::MAX,
            false => head.count,
        };
        // CAST: A `u32` fits into a `usize`.
        let size = (head.count as usize).saturating_mul(size_of::<Record>());
        let mut writer = UserSlice::new(UserPtr::from_addr(records), size).writer();
        let mut batch = Batch::<T>::new()?;
        let mut first = first;

        loop {
            check_killed()?;

            // CAST: A `u32` fits into a `usize`.
            let left = room.saturating_sub(head.entries) as usize;

            batch.fill(self.fs(), first, last, left)?;
            for (index, segment) in batch.segments.iter().enumerate() {
                let is_last = !batch.has_more && index.saturating_add(1) == batch.segments.len();
                let mut record = Record::new(device, segment);

                if is_last {
                    record.flags |= Record::LAST;
                }
                if !is_counted_only {
                    writer.write(&record)?;
                }
                head.entries = head.entries.saturating_add(1);
                first = SegmentStart::Position(segment.next_position());
            }
            if !batch.has_more || head.entries >= room || batch.segments.is_empty() {
                return Ok(());
            }
        }
    }
}
