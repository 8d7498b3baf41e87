// SPDX-License-Identifier: GPL-2.0

//! The memory of a namespace, as a DAX device and as a disk.

use core::ops::Deref;

use daxmf::{
    block::{
        self,
        attribute::Group,
        bio::{
            Destination,
            Segment,
            Source,
            Transfer, //
        },
        Attribute,
        Bio, //
    },
    dax::{
        self,
        device::AccessMode, //
    },
    events::{
        self,
        Event, //
    },
    mapped::{
        Mapped,
        Remapped, //
    },
    nvdimm::Namespace,
    pagemap::{
        Access,
        PageMap, //
    },
    range::{
        space,
        ByteRange,
        PageRange,
        PAGE_SIZE, //
    },
};
use kernel::{
    iov::IovIterSource,
    prelude::*,
    sync::Arc, //
};

use crate::{
    bad::BadMemory,
    failures::Failures,
    found::{
        self,
        Found, //
    },
    LocalModule, //
};

/// The memory of a disk, with or without page frames.
pub(crate) trait Memory: Deref<Target = Mapped> + Send + Sync + Sized + 'static {
    /// The groups of attributes of the disk in sysfs.
    const GROUPS: &'static [Group<Media<Self>>];

    /// Puts the frames of `pages` back into the linear map. Called after the platform has cleared
    /// `pages`, before they are written.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if none of `pages` lies in the page map.
    fn make_present(&self, pages: PageRange<space::Device>) -> Result;

    /// Removes the poison mark of `page`. Called after a write of `page`, when the page has no bad
    /// sector any more.
    fn unmark(&self, page: PageRange<space::Device>);

    /// Adds `range` of the disk, in which errors were found, to the bad ranges, and notifies the
    /// holder if the memory has one.
    fn add_found(media: &Media<Self>, range: ByteRange<space::Device>, source: events::Source);
}

/// Memory with page frames, which receives memory failures.
pub(crate) type Pages = PageMap<Failures>;

impl Memory for Pages {
    const GROUPS: &'static [Group<Media<Self>>] = &[
        Group {
            name: c"dax",
            attributes: &[Attribute::flag(
                c"write_cache",
                |media: &Media<Self>| media.failures().control().write_cache(),
                |media: &Media<Self>, on| media.failures().control().set_write_cache(on),
            )],
        },
        Group {
            name: c"memory_failure",
            attributes: &[
                Attribute::number(c"received", |media: &Media<Self>| {
                    media.failures().counters().received()
                }),
                Attribute::number(c"delivered", |media: &Media<Self>| {
                    media.failures().counters().delivered()
                }),
                Attribute::number(c"declined", |media: &Media<Self>| {
                    media.failures().counters().declined()
                }),
                Attribute::number(c"failed", |media: &Media<Self>| {
                    media.failures().counters().failed()
                }),
                Attribute::choice(
                    c"simulated",
                    &[c"tell", c"list"],
                    |media: &Media<Self>| media.failures().lists_simulated().into(),
                    |media: &Media<Self>, index| media.failures().set_lists_simulated(index == 1),
                ),
                Attribute::choice(
                    c"found",
                    Found::POLICIES,
                    |media: &Media<Self>| media.failures().found().policy(),
                    |media: &Media<Self>, index| media.failures().found().set_policy(index),
                ),
                Attribute::number(c"found_unnotified", |media: &Media<Self>| {
                    media.failures().found().unnotified()
                }),
            ],
        },
    ];

    fn make_present(&self, pages: PageRange<space::Device>) -> Result {
        PageMap::make_present(self, pages)
    }

    fn unmark(&self, page: PageRange<space::Device>) {
        let _ = self.clear_poisoned(page);
        self.operations().found().remove_pending(page);
    }

    fn add_found(media: &Media<Self>, range: ByteRange<space::Device>, source: events::Source) {
        media.failures().found().add(range, source);
    }
}

// Without page frames, no frame is removed from the linear map or marked as poisoned. Without a DAX
// device, there is no holder.
impl Memory for Remapped {
    const GROUPS: &'static [Group<Media<Self>>] = &[];

    fn make_present(&self, _pages: PageRange<space::Device>) -> Result {
        Ok(())
    }

    fn unmark(&self, _page: PageRange<space::Device>) {}

    fn add_found(media: &Media<Self>, range: ByteRange<space::Device>, source: events::Source) {
        let is_listed = media.bad.add_found(range, |pages| {
            found::record_found(&media.namespace, pages, source);
        });

        found::warn_if_unlisted(&media.namespace, is_listed, range);
    }
}

/// The memory of a namespace, with its bad ranges.
#[pin_data]
pub(crate) struct Media<M: Memory> {
    #[pin]
    memory: M,
    bad: Arc<BadMemory>,
    namespace: Arc<Namespace>,
}

impl Media<Pages> {
    fn failures(&self) -> &Failures {
        self.memory.operations()
    }
}

impl<M: Memory> Media<M> {
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        bad: Arc<BadMemory>,
        memory: impl PinInit<M, Error>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            memory <- memory,
            bad,
            namespace,
        })
    }

    /// Makes the platform clear all of `range`. The contents are undefined afterwards.
    ///
    /// # Errors
    ///
    /// - `EIO` if the platform cannot clear all of it, or if the driver was unbound.
    /// - The errors of [`Memory::make_present()`] and [`Mapped::invalidate()`].
    fn clear_poison(&self, range: ByteRange<space::Device>) -> Result {
        let bound = self.namespace.bound().ok_or(EIO)?;

        if bound.clear_poison(range).map_err(|_| EIO)? < range.len() {
            return Err(EIO);
        }

        self.memory.make_present(range.pages())?;
        self.memory.invalidate(range)
    }

    /// Calls `write`, which writes all of `range`. If a part of the range is bad, this is a repair:
    /// the platform clears the range first, and `write` is called again if the range fails
    /// meanwhile. `write` must not wait for another thread then, because that thread can wait for
    /// the end of the repair.
    ///
    /// # Errors
    ///
    /// - `EIO` if the platform cannot clear all of the range. Nothing is written then.
    /// - The other errors of [`BadMemory::repair()`].
    #[inline]
    fn write(&self, range: ByteRange<space::Device>, write: impl Fn() -> Result) -> Result {
        if self.bad.first_in(range).is_none() {
            return write();
        }

        self.write_bad(range, write)
    }

    fn write_bad(&self, range: ByteRange<space::Device>, write: impl Fn() -> Result) -> Result {
        let write_good = || {
            self.clear_poison(range)?;
            write()
        };

        let unmark = |page| self.memory.unmark(page);

        match self.bad.repair(range, write_good, unmark)? {
            true => {
                events::record(self.namespace.disk_name(), range, Event::Cleared);
                Ok(())
            }
            // Another thread has repaired the range.
            false => write(),
        }
    }

    /// Writes `range`, a part of which is bad, with data from an iterator. Returns the number of
    /// bytes written: the whole pages that could be read from the source.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - The errors of [`write()`](Self::write).
    fn write_over(
        &self,
        range: ByteRange<space::Device>,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        // An unprivileged user can make the read of the source take any time, for example with a
        // file of a FUSE filesystem. So read the source before the repair, because other writes
        // wait for the repair.
        //
        // CAST: A `usize` has 64 bits on the supported architecture.
        let mut data = KVVec::from_elem(0, range.len() as usize, GFP_KERNEL)?;
        let copied = from.copy_from_iter(&mut data);
        let len = copied & !(PAGE_SIZE as usize - 1);

        data.truncate(len);
        // CAST: As above.
        if let Some(written) = ByteRange::new(range.start(), len as u64) {
            self.write(written, || self.memory.write_bytes(written, &data))?;
        }
        Ok(len)
    }

    fn read_segment(&self, segment: &Segment<'_, Destination>) -> Result {
        if self.bad.first_in(segment.range()).is_some() {
            return Err(EIO);
        }

        self.memory.read(segment, |page| self.read_failed(page))
    }

    /// Adds a page that could not be read to the bad ranges. The kernel does not call
    /// `memory_failure()` for such a page.
    fn read_failed(&self, page: ByteRange<space::Device>) {
        dev_warn!(
            self.namespace.device(),
            "read failed at offset {:#x} length {:#x}, the range is bad now\n",
            page.start(),
            page.len()
        );
        // The frame stays in the linear map, so it needs no poison mark.
        M::add_found(self, page, events::Source::Read);
    }

    fn write_segment(&self, segment: &Segment<'_, Source>) -> Result {
        let range = segment.range();

        self.write(range, || self.memory.write(segment))
    }

    /// Transfers the data of a bio, if it has any.
    fn transfer(&self, bio: &Bio) -> Result {
        let Some(transfer) = bio.transfer()? else {
            return Ok(());
        };
        let _accounting = bio.account();

        match transfer {
            Transfer::Read(mut to) => to.try_for_each(|segment| self.read_segment(&segment)),
            Transfer::Write(mut from) => from.try_for_each(|segment| self.write_segment(&segment)),
        }
    }

    /// The pages at the start of `pages` that can be accessed.
    ///
    /// # Errors
    ///
    /// - `EHWPOISON` if the first page is bad, and `mode` is not a recovery write.
    /// - `ERANGE` if the end of `pages` is beyond the last byte of a [`ByteRange`].
    fn good_pages(
        &self,
        pages: PageRange<space::Device>,
        mode: AccessMode,
    ) -> Result<PageRange<space::Device>> {
        let range = pages.bytes().ok_or(ERANGE)?;

        let Some(bad) = self.bad.first_in(range) else {
            return Ok(pages);
        };

        let count = match (bad.saturating_sub(range.start()) / PAGE_SIZE, mode) {
            (0, AccessMode::Normal) => return Err(EHWPOISON),
            // One page at a time, as in `nd_pmem`: drivers and firmware do not clear poison in
            // large ranges reliably.
            (0, AccessMode::RecoveryWrite) => 1,
            (good, _) => good,
        };

        PageRange::new(pages.start(), count).ok_or(ERANGE)
    }
}

impl<M: Memory> block::Operations for Media<M> {
    type OwnerModule = LocalModule;

    const ATTRIBUTES: &'static [Attribute<Self>] = &[Attribute::badblocks(
        |media: &Self| media.bad.list(),
        |media: &Self, range| M::add_found(media, range, events::Source::User),
    )];

    const GROUPS: &'static [Group<Self>] = M::GROUPS;

    fn submit_bio(&self, bio: Bio) {
        if bio.is_preflush() {
            if let Err(error) = self.namespace.flush() {
                return bio.end(Err(error));
            }
        }

        if let Err(error) = self.transfer(&bio) {
            return bio.end(Err(error));
        }

        if !bio.is_fua() {
            return bio.end(Ok(()));
        }

        match self.namespace.bound() {
            Some(bound) => bound.flush_bio(bio),
            None => bio.end(Err(ENXIO)),
        }
    }
}

impl dax::Operations for Media<Pages> {
    #[inline]
    fn direct_access(
        &self,
        pages: PageRange<space::Device>,
        mode: AccessMode,
    ) -> Result<Access<'_>> {
        // A recovery write of a single page is possible, whether the page is good or bad.
        let is_repairable = mode == AccessMode::RecoveryWrite && pages.len() == 1;

        if is_repairable || self.bad.is_empty() {
            return self.memory.access(pages);
        }

        self.memory.access(self.good_pages(pages, mode)?)
    }

    fn zero_page_range(&self, pages: PageRange<space::Device>) -> Result {
        let range = pages.bytes().ok_or(ERANGE)?;

        self.write(range, || self.memory.write_zeroes(pages))
    }

    fn recovery_write(
        &self,
        range: ByteRange<space::Device>,
        from: &mut IovIterSource<'_>,
    ) -> usize {
        if self.bad.first_in(range).is_none() {
            return self.memory.write_from_iter(range, from).unwrap_or(0);
        }

        // Bad memory is written in whole pages only: after a write of a part, the rest of the page
        // would have no valid contents.
        if !range.is_aligned(PAGE_SIZE) {
            return 0;
        }

        self.write_over(range, from).unwrap_or(0)
    }
}
