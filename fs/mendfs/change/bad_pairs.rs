// SPDX-License-Identifier: GPL-2.0

//! What of the metadata is bad in both copies, and how long changes wait for its repair.

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

/// How long changes wait for what must be repaired before them: many times as long as that takes,
/// and much less than the kernel takes for a hang.
const MAX_WAIT: Delta = Delta::from_secs(30);

impl State {
    /// Whether nothing may be changed before what is bad was repaired: a transaction or metadata
    /// would be in bad memory only.
    pub(crate) fn must_repair_first(&self) -> bool {
        !self.repairs.is_empty()
            && (self.metadata.has_bad_pair() || self.bad_pair_of_chunk().is_some())
            && self.repairs.has_copies(&self.metadata.bad)
    }

    /// How long a change has to wait at most for what must be repaired before it, if at all.
    ///
    /// # Errors
    ///
    /// - `EIO` if changes have been waiting for long enough.
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

    /// What a block is for.
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

    /// The first bad block whose other copy is bad, too.
    pub(crate) fn bad_pair(&self) -> Option<u64> {
        self.metadata
            .bad_pair()
            .or_else(|| self.bad_pair_of_chunk())
    }

    /// The same for the chunks of the metadata among the data.
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
