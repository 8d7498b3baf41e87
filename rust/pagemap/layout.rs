// SPDX-License-Identifier: GPL-2.0

//! The layout of a range of physical memory: data, and memory that is reserved for other uses.

use kernel::prelude::*;

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        Window,
        PAGE_SIZE, //
    },
};

/// Size of a `struct page` in bytes.
// CAST: A `usize` has 64 bits here.
const STRUCT_PAGE_SIZE: u64 = size_of::<bindings::page>() as u64;

/// The layout of a range of physical memory.
///
/// # Invariants
///
/// - `mapped` lies in `memory`, and `data` is the last part of `mapped`.
/// - `data` starts at a page boundary if `mapped` does.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(super) memory: ByteRange<space::Physical>,
    pub(super) mapped: ByteRange<space::Physical>,
    data: Window<space::Physical, space::Device>,
    pub(super) altmap: Option<bindings::vmem_altmap>,
}

impl Layout {
    /// The layout of memory that consists of data only.
    pub(crate) fn raw(memory: ByteRange<space::Physical>) -> Self {
        // INVARIANT: `memory`, `mapped` and `data` are the same range.
        Self {
            memory,
            mapped: memory,
            data: Window::at(memory),
            altmap: None,
        }
    }

    /// The layout of memory of which `mapped` has page frames. The first `reserved` bytes of
    /// `mapped` are not data. `altmap` is the place of the `struct page`s in the reserved bytes;
    /// without an altmap they are in system RAM.
    ///
    /// Returns [`None`] if `mapped` does not lie in `memory`, if no data are left, if the data do
    /// not start at a page boundary, or if `altmap` reaches into the data or is too small for the
    /// `struct page`s. `memremap_pages()` does not check an altmap: it would overwrite the data. If
    /// the altmap is too small, it warns and leaves a part of the memory mapped.
    pub(crate) fn new(
        memory: ByteRange<space::Physical>,
        mapped: ByteRange<space::Physical>,
        reserved: u64,
        altmap: Option<bindings::vmem_altmap>,
    ) -> Option<Self> {
        let data = mapped.skip(reserved)?;

        if let Some(altmap) = &altmap {
            let end = altmap.base_pfn.checked_add(altmap.reserve)?;
            let end = end.checked_add(altmap.free)?;
            let room = altmap.free.checked_mul(PAGE_SIZE as usize)?;
            let taken = mapped.pages().len().checked_mul(STRUCT_PAGE_SIZE)?;

            // CAST: An `unsigned long` has 64 bits here.
            if end as u64 > data.pages().start() || (room as u64) < taken {
                return None;
            }
        }

        // INVARIANT: `skip()` returns the last part of `mapped`. The other conditions are checked
        // here.
        (memory.contains(mapped) && data.start() % PAGE_SIZE == 0).then_some(Self {
            memory,
            mapped,
            data: Window::at(data),
            altmap,
        })
    }

    /// The position of the device in physical memory. The device consists of the data.
    pub(crate) fn data(&self) -> Window<space::Physical, space::Device> {
        self.data
    }

    /// Whether there is padding before the mapped range.
    pub(crate) fn is_padded(&self) -> bool {
        self.mapped.start() != self.memory.start()
    }

    /// The mapped range in front of the data, which is not data.
    pub(super) fn reserved(&self) -> Option<ByteRange<space::Physical>> {
        ByteRange::between(self.mapped.start(), self.data.outer().start())
    }
}

impl From<ByteRange<space::Physical>> for bindings::range {
    fn from(range: ByteRange<space::Physical>) -> Self {
        Self {
            start: range.start(),
            // `end` of a `struct range` is inclusive.
            end: range.end().saturating_sub(1),
        }
    }
}

#[kunit_tests(daxmf_pagemap)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Result<ByteRange<space::Physical>> {
        ByteRange::between(start, end).ok_or(EINVAL)
    }

    #[test]
    fn layouts() -> Result {
        const START: u64 = 1 << 32;
        const END: u64 = 2 << 32;
        let memory = range(START, END)?;

        // The mapped range, its reserved bytes, and the start of the data if the layout is valid.
        for (mapped, reserved, data) in [
            (memory, 0, Some(START)),
            (memory, 0x20_0000, Some(START + 0x20_0000)),
            (memory, (1 << 32) - PAGE_SIZE, Some(END - PAGE_SIZE)),
            (memory, 1 << 32, None),
            (memory, u64::MAX, None),
            (memory, PAGE_SIZE / 2, None),
            (
                range(START + PAGE_SIZE, END)?,
                PAGE_SIZE,
                Some(START + 2 * PAGE_SIZE),
            ),
            (range(START - PAGE_SIZE, END)?, PAGE_SIZE, None),
            (range(START, END + PAGE_SIZE)?, 0, None),
        ] {
            let layout = Layout::new(memory, mapped, reserved, None);

            assert_eq!(layout.map(|layout| layout.data().outer().start()), data);
            if let Some(layout) = layout {
                assert_eq!(layout.data().outer().end(), mapped.end());
                assert_eq!(layout.data().inner().start(), 0);
                assert_eq!(layout.reserved().map_or(0, ByteRange::len), reserved);
                assert_eq!(layout.is_padded(), mapped.start() != START);
            }
        }
        assert!(!Layout::raw(memory).is_padded());
        Ok(())
    }

    #[test]
    fn altmaps() -> Result {
        const START: u64 = 1 << 32;
        const RESERVE: u64 = 2;
        const STRUCT_PAGES: u64 = (1 << 30) / PAGE_SIZE * STRUCT_PAGE_SIZE;
        let memory = range(START, START + (1 << 30))?;

        // The reserved bytes, the free pages of the altmap, and whether the layout is valid.
        for (reserved, free, is_valid) in [
            (
                STRUCT_PAGES + (2 << 20),
                STRUCT_PAGES / PAGE_SIZE + 510,
                true,
            ),
            (STRUCT_PAGES + (2 << 20), STRUCT_PAGES / PAGE_SIZE, true),
            (
                STRUCT_PAGES + (2 << 20),
                STRUCT_PAGES / PAGE_SIZE + 511,
                false,
            ),
            (
                STRUCT_PAGES + (2 << 20),
                STRUCT_PAGES / PAGE_SIZE - 1,
                false,
            ),
            (2 << 20, 510, false),
            // The altmap of `__nvdimm_setup_pfn()` for data that start inside the info block.
            (0, 0_u64.wrapping_sub(RESERVE), false),
        ] {
            let altmap = bindings::vmem_altmap {
                base_pfn: (START / PAGE_SIZE) as c_ulong,
                end_pfn: ((START + (1 << 30)) / PAGE_SIZE - 1) as c_ulong,
                reserve: RESERVE as c_ulong,
                free: free as c_ulong,
                ..pin_init::zeroed()
            };

            assert_eq!(
                Layout::new(memory, memory, reserved, Some(altmap)).is_some(),
                is_valid
            );
        }
        Ok(())
    }
}
