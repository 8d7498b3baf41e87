// SPDX-License-Identifier: GPL-2.0

//! Many small writes.

use kernel::prelude::*;

use crate::{
    dax::{
        Memory,
        ReadLock, //
    },
    range::{
        space,
        ByteRange,
        Window, //
    },
};

use super::Devices;

/// A writer to a volume, see [`Volume::with_writer()`](super::Volume::with_writer).
pub struct Writer<'a> {
    window: Window<space::Device, space::Volume>,
    devices: &'a Devices,
    lock: &'a ReadLock,
    /// The memory of the last write and around it, and the range of this memory.
    known: Option<(ByteRange<space::Device>, Memory<'a>)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        window: Window<space::Device, space::Volume>,
        devices: &'a Devices,
        lock: &'a ReadLock,
    ) -> Self {
        Self {
            window,
            devices,
            lock,
            known: None,
        }
    }

    /// Writes `from` to the bytes from `start` on, past the CPU caches. The bytes are durable after
    /// a [`Volume::fence()`](super::Volume::fence).
    ///
    /// # Errors
    ///
    /// - The errors of [`Volume::write()`](super::Volume::write) except `EROFS`.
    pub fn write(&mut self, start: u64, from: &[u8]) -> Result {
        let mut rest = from;
        let mut next = match ByteRange::new(start, from.len() as u64) {
            Some(range) => Some(self.window.outward(range).ok_or(ERANGE)?),
            None if from.is_empty() => None,
            None => return Err(ERANGE),
        };

        while let Some(range) = next {
            let (known, memory) = self.memory(range)?;
            // CAST: A `u64` is a `usize` here.
            let at = range.start().saturating_sub(known.start()) as usize;
            let len = memory.len().saturating_sub(at).min(rest.len());
            let (part, after) = rest.split_at_checked(len).ok_or(ERANGE)?;

            memory.write(at, part)?;
            rest = after;
            next = range.skip(len as u64);
        }
        Ok(())
    }

    /// The memory of the first piece of `range`, and the range of this memory. Both can include
    /// memory around the piece.
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
            // `around()` fails if memory before the byte is bad.
            self.known = match self.around(first) {
                Some(known) => Some(known),
                None => Some(self.find(range)?),
            };
        }
        self.known.as_ref().ok_or(EIO)
    }

    /// The memory of a byte and around it, if no memory before the byte is bad.
    fn around(
        &self,
        byte: ByteRange<space::Device>,
    ) -> Option<(ByteRange<space::Device>, Memory<'a>)> {
        let start = byte
            .start()
            .checked_sub(byte.start() % Devices::MAX_PIECE)?;
        let around = ByteRange::new(start, Devices::MAX_PIECE)?.clip(self.window.outer())?;

        self.find(around)
            .ok()
            .filter(|(known, _)| known.contains(byte))
    }

    /// The memory of the first piece of `range`, and its range.
    fn find(
        &self,
        range: ByteRange<space::Device>,
    ) -> Result<(ByteRange<space::Device>, Memory<'a>)> {
        let memory = self.devices.memory(range, self.lock)?;
        let known = ByteRange::new(range.start(), memory.len() as u64).ok_or(ERANGE)?;

        Ok((known, memory))
    }
}
