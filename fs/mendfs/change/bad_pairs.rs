// SPDX-License-Identifier: GPL-2.0

//! Blocks whose copies are both bad, and how long changes wait for their repair.

use kernel::{
    prelude::*,
    time::{
        Delta,
        Instant, //
    },
};

use crate::{
    change::state::State,
    format::Place, //
};

/// How long changes wait for repairs, at most. A repair usually takes two seconds. By default, the
/// hung task detector of the kernel reports a wait of 120 seconds.
const MAX_WAIT: Delta = Delta::from_secs(30);

impl State {
    /// Whether changes must wait for repairs: a change could write a block of the journal or of the
    /// metadata whose copies are both bad, and repairs of copies are pending.
    pub(crate) fn must_repair_first(&self) -> bool {
        !self.repairs.is_empty()
            && (self.metadata.has_bad_pair() || self.bad_pair_of_chunk().is_some())
            && self.repairs.has_copies(&self.metadata.bad)
    }

    /// How long a change must wait for repairs, at most; [`None`] if it need not wait.
    ///
    /// # Errors
    ///
    /// - `EIO` if changes have waited for [`MAX_WAIT`] already.
    pub(crate) fn time_to_wait(&mut self) -> Result<Option<Delta>> {
        if !self.must_repair_first() {
            self.waiting_since = None;
            return Ok(None);
        }

        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let rest = MAX_WAIT - since.elapsed();

        match rest > Delta::ZERO {
            true => Ok(Some(rest)),
            false => Err(EIO),
        }
    }

    /// The use of a block of the volume.
    pub(crate) fn place(&self, block: u64) -> Place {
        let one = block..block.saturating_add(1);
        let (start, owner) = match self.view.owners.metadata_run(&one) {
            (run, Some(owner)) => (run.start, owner),
            _ => return self.metadata.geometry().place(block),
        };
        let number = owner.chunk().and_then(|(chunk, copy)| {
            let number = self.metadata.block_at(chunk, copy, start)?;

            Some(Place::Metadata(copy, number))
        });

        number.unwrap_or(Place::Data)
    }

    /// A bad block whose other copy is bad, too.
    pub(crate) fn bad_pair(&self) -> Option<u64> {
        self.metadata
            .bad_pair()
            .or_else(|| self.bad_pair_of_chunk())
    }

    /// A bad block of a chunk other than chunk 0 whose other copy is bad, too.
    pub(crate) fn bad_pair_of_chunk(&self) -> Option<u64> {
        let bad = &self.metadata.bad;
        let mut rest = self.metadata.geometry().data();

        while let Some(blocks) = bad.first_in(&rest) {
            for block in blocks.clone() {
                let other = match self.place(block) {
                    Place::Metadata(copy, number) => self.metadata.place(copy ^ 1, number),
                    _ => None,
                };

                if let Some(other) = other.filter(|other| bad.contains(*other)) {
                    return Some(other);
                }
            }
            rest.start = blocks.end;
        }
        None
    }
}
