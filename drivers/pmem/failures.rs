// SPDX-License-Identifier: GPL-2.0

//! Memory failures of a namespace, on their way from page frames to the holder.

use daxmf::{
    badblocks::Badblocks,
    dax::device::Control,
    memory_failure::{
        Counters,
        Flags,
        Outcome, //
    },
    nvdimm::Namespace,
    pagemap::{
        self,
        Frames, //
    },
    range::ByteRange, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Receives the memory failures of a namespace.
///
/// It exists before the namespace's pages do, and outlives them: there is no time at which a
/// failure would find nobody.
pub(crate) struct Failures {
    namespace: Arc<Namespace>,
    control: Control,
    badblocks: Arc<Badblocks>,
    counters: Counters,
}

impl Failures {
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        control: Control,
        badblocks: Arc<Badblocks>,
    ) -> Self {
        Self {
            namespace,
            control,
            badblocks,
            counters: Counters::new(),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn badblocks(&self) -> &Arc<Badblocks> {
        &self.badblocks
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Marks what failed, then tells the holder.
    fn handle(&self, frames: Frames<'_>, range: ByteRange, flags: Flags) -> Outcome {
        // The machine check handler takes the frame from the linear map when we are done. The mark
        // is what brings it back when the driver is unbound before the memory has been mended.
        frames.set_poisoned();

        // The platform enters it, too, but only after it has told us.
        if let Err(error) = self.badblocks.mark(range) {
            dev_warn!(
                self.namespace.device(),
                "badblocks is full, {:#x}..{:#x} is not in it: {error:?}\n",
                range.start(),
                range.end()
            );
        }

        self.control.notify_failure(range, flags)
    }
}

impl pagemap::Operations for Failures {
    fn memory_failure(&self, frames: Frames<'_>, flags: Flags) -> Outcome {
        let range = frames
            .range()
            .bytes()
            .and_then(|bytes| bytes.relative_to(self.namespace.range()));

        let Some(range) = range else {
            return self.counters.count(|| Outcome::Failed(ENXIO));
        };

        let outcome = self.counters.count(|| self.handle(frames, range, flags));

        if outcome != Outcome::Delivered {
            dev_warn!(
                self.namespace.device(),
                "memory failure at offset {:#x} length {:#x}: {outcome}\n",
                range.start(),
                range.len()
            );
        }
        outcome
    }
}
