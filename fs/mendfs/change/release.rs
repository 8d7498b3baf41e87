// SPDX-License-Identifier: GPL-2.0

//! Frees blocks whose last owner is gone.

use core::ops::Range;

use kernel::prelude::*;

use crate::change::state::State;

impl State {
    /// The maximum number of repairs that [`release()`](Self::release) of `blocks` can queue.
    pub(crate) fn max_repairs(&self, blocks: &Range<u64>) -> usize {
        let mut rest = blocks.clone();
        let mut count = 0_usize;

        while let Some(bad) = self.view.bad.first_in(&rest) {
            count = count
                .saturating_add(self.view.owners.max_gaps(&bad))
                .saturating_add(self.view.readers.count(&bad));
            rest.start = bad.end;
        }
        count
    }

    /// Frees the blocks that have neither an owner nor a reader. Queues a repair of the bad blocks
    /// among them, which become free after the repair. The caller has reserved memory for
    /// [`max_repairs()`](Self::max_repairs) repairs.
    pub(crate) fn release(&mut self, blocks: Range<u64>) {
        let (view, space) = (&*self.view, &mut self.space);
        let (repairs, repair_work) = (&mut self.repairs, &self.repair_work);

        view.for_each_gap(blocks, |mut gap| {
            while !gap.is_empty() {
                let (run, is_bad) = view.bad.run(&gap);

                gap.start = run.end;
                match is_bad {
                    true => {
                        repairs.add(run);
                        repair_work.schedule();
                    }
                    false => space.free(run),
                }
            }
        });
    }

    /// Frees reserved blocks that no file owns.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Then the blocks stay reserved until the next mount.
    pub(crate) fn try_release(&mut self, blocks: Range<u64>) -> Result {
        self.repairs.reserve(self.max_repairs(&blocks))?;
        self.release(blocks);
        Ok(())
    }
}
