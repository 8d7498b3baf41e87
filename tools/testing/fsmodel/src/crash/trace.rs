// SPDX-License-Identifier: GPL-2.0

//! Reads the trace of the plugin of QEMU, `lines.c`.

use crate::sequences::Mark;

/// An event in the guest.
#[derive(Debug)]
pub enum Event<'a> {
    /// A program or the kernel has stored bytes at an address, in the cache or bypassing it.
    Store {
        at: usize,
        bytes: &'a [u8],
        bypasses: bool,
        is_program: bool,
    },
    /// The line at an address was written back.
    WriteBack { at: usize },
    /// A program or the kernel has executed a fence.
    Fence { is_program: bool },
    /// A program has marked its progress.
    Mark(Mark),
}

/// The events of a trace, in order.
pub struct Trace<'a>(&'a [u8]);

impl<'a> Trace<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes `len` bytes.
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;

        self.0 = rest;
        Some(taken)
    }

    fn number<const LEN: usize>(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];

        bytes[..LEN].copy_from_slice(self.take(LEN)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// Reads the next event. Returns [`None`] if it is truncated or of an unknown kind.
    fn read(&mut self) -> Option<Event<'a>> {
        let place = self.number::<8>()?;
        let kind = self.number::<2>()?;
        let is_program = self.number::<2>()? != 0;
        let len = self.number::<2>()? as usize;
        let at = place as usize;

        self.number::<2>()?;

        let bytes = self.take(len)?;

        match kind {
            0 | 1 => Some(Event::Store {
                at,
                bytes,
                bypasses: kind == 1,
                is_program,
            }),
            2 => Some(Event::WriteBack { at }),
            3 => Some(Event::Fence { is_program }),
            4 => Some(Event::Mark(Mark::new(place))),
            _ => None,
        }
    }
}

impl<'a> Iterator for Trace<'a> {
    type Item = Result<Event<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }

        let event = self.read();

        if event.is_none() {
            self.0 = &[];
        }
        Some(event.ok_or_else(|| "the trace is damaged".into()))
    }
}
