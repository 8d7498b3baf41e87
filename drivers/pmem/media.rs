// SPDX-License-Identifier: GPL-2.0

//! The memory of a namespace, as a DAX device and as a disk.

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
    nvdimm::Namespace,
    pagemap::{
        Access,
        Claim,
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
    failures::Failures, //
};

/// The memory of a namespace.
#[pin_data]
pub(crate) struct Media {
    #[pin]
    map: PageMap<Failures>,
    bad: Arc<BadMemory>,
    namespace: Arc<Namespace>,
}

impl Media {
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        claim: Claim,
        node: i32,
        failures: Failures,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            bad: failures.bad().clone(),
            map <- PageMap::new(claim, node, failures),
            namespace,
        })
    }

    pub(crate) fn bad(&self) -> &BadMemory {
        &self.bad
    }

    /// Makes all that was written durable.
    pub(crate) fn flush(&self) -> Result {
        self.namespace.flush()
    }

    /// Asks the platform to repair all of `range`. The contents are undefined then.
    ///
    /// # Errors
    ///
    /// - `EIO` if the platform cannot repair all of it.
    fn clear_poison(&self, range: ByteRange<space::Device>) -> Result {
        let bound = self.namespace.bound().ok_or(EIO)?;

        if bound.clear_poison(range).map_err(|_| EIO)? < range.len() {
            return Err(EIO);
        }

        self.map.make_present(range.pages())?;
        self.map.invalidate(range)
    }

    /// Calls `write`, which writes to `range` and returns the number of bytes written. Repairs the
    /// range first if a part of it is bad. Bad memory that `write` does not reach stays bad.
    ///
    /// # Errors
    ///
    /// - `EIO` if the platform cannot repair all of the range, or if it fails again before it is
    ///   written. In the first case nothing is written.
    #[inline]
    fn write(
        &self,
        range: ByteRange<space::Device>,
        write: impl FnOnce() -> Result<usize>,
    ) -> Result<usize> {
        if self.bad.first_in(range).is_none() {
            return write();
        }

        self.write_bad(range, write)
    }

    fn write_bad(
        &self,
        range: ByteRange<space::Device>,
        write: impl FnOnce() -> Result<usize>,
    ) -> Result<usize> {
        let Some(repair) = self.bad.repair(range)? else {
            return write();
        };

        self.clear_poison(range)?;
        let len = write()? as u64;

        // The source may fault half-way. The contents of a page that was not written whole are
        // undefined.
        let len = match len == range.len() {
            true => len,
            false => len & !(PAGE_SIZE - 1),
        };

        if let Some(written) = ByteRange::new(range.start(), len) {
            repair.finish(written, |page| {
                let _ = self.map.clear_poisoned(page);
            })?;
        }
        Ok(len as usize)
    }

    fn read_segment(&self, segment: &Segment<'_, Destination>) -> Result {
        if self.bad.first_in(segment.range()).is_some() {
            return Err(EIO);
        }

        self.map.read(segment)
    }

    fn write_segment(&self, segment: &Segment<'_, Source>) -> Result {
        let range = segment.range();

        self.write(range, || {
            self.map.write(segment)?;
            Ok(range.len() as usize)
        })
        .map(|_| ())
    }

    /// Moves the data of a bio, if it has any.
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
            // A page at a time: what clears poison does not like more.
            (0, AccessMode::RecoveryWrite) => 1,
            (good, _) => good,
        };

        PageRange::new(pages.start(), count).ok_or(ERANGE)
    }
}

#[vtable]
impl block::Operations for Media {
    const GROUPS: &'static [Group<Self>] = &[
        Group {
            name: c"dax",
            attributes: &[Attribute::flag(
                c"write_cache",
                |media: &Media| media.map.operations().control().write_cache(),
                |media: &Media, enabled| media.map.operations().control().set_write_cache(enabled),
            )],
        },
        Group {
            name: c"memory_failure",
            attributes: &[
                Attribute::number(c"received", |media: &Media| {
                    media.map.operations().counters().received()
                }),
                Attribute::number(c"delivered", |media: &Media| {
                    media.map.operations().counters().delivered()
                }),
                Attribute::number(c"declined", |media: &Media| {
                    media.map.operations().counters().declined()
                }),
                Attribute::number(c"failed", |media: &Media| {
                    media.map.operations().counters().failed()
                }),
                Attribute::choice(
                    c"simulated",
                    [c"tell", c"list"],
                    |media: &Media| media.map.operations().lists_simulated(),
                    |media: &Media, lists| media.map.operations().list_simulated(lists),
                ),
            ],
        },
    ];

    fn submit_bio(&self, bio: Bio) {
        if bio.is_preflush() {
            if let Err(error) = self.flush() {
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

impl dax::Operations for Media {
    #[inline]
    fn direct_access(
        &self,
        pages: PageRange<space::Device>,
        mode: AccessMode,
    ) -> Result<Access<'_>> {
        // A single page can be mended, whether it is good or bad.
        let is_mendable = mode == AccessMode::RecoveryWrite && pages.len() == 1;

        if is_mendable || self.bad.is_empty() {
            return self.map.access(pages);
        }

        self.map.access(self.good_pages(pages, mode)?)
    }

    fn zero_page_range(&self, pages: PageRange<space::Device>) -> Result {
        let range = pages.bytes().ok_or(ERANGE)?;

        self.write(range, || {
            self.map.write_zeroes(pages)?;
            Ok(range.len() as usize)
        })
        .map(|_| ())
    }

    fn recovery_write(
        &self,
        range: ByteRange<space::Device>,
        from: &mut IovIterSource<'_>,
    ) -> usize {
        // A part of a page is written to good memory only: the rest of the page is lost, too.
        if !range.is_aligned(PAGE_SIZE) && self.bad.first_in(range).is_some() {
            return 0;
        }

        self.write(range, || self.map.write_from_iter(range, from))
            .unwrap_or(0)
    }
}
