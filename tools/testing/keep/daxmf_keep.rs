// SPDX-License-Identifier: GPL-2.0

//! A driver that keeps the memory of a namespace in a static, for tests. So the memory outlives the
//! driver's data. Safe code can do this. The module drops the memory when it is unloaded.

use daxmf::{
    memory_failure::{
        Flags,
        Outcome, //
    },
    nvdimm::{
        self,
        Namespace, //
    },
    pagemap::{
        self,
        Frames,
        PageMap, //
    },
};
use kernel::{
    driver,
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex,
        SetOnce, //
    },
};

module! {
    type: Module,
    name: "daxmf_keep",
    authors: ["The daxmf developers"],
    description: "Driver that keeps memory, for tests",
    license: "GPL",
}

type Kept = Mutex<Option<Arc<PageMap<Failures>>>>;

static KEPT: SetOnce<Pin<KBox<Kept>>> = SetOnce::new();

struct Failures;

impl pagemap::Operations for Failures {
    fn memory_failure(&self, _frames: Frames<'_>, _flags: Flags) -> Outcome {
        Outcome::Delivered
    }
}

struct Keeper;

impl nvdimm::Driver for Keeper {
    fn probe(namespace: Arc<Namespace>) -> impl PinInit<Self, Error> {
        Self::new(namespace)
    }
}

impl Keeper {
    fn new(namespace: Arc<Namespace>) -> Result<Self> {
        let bound = namespace.bound().ok_or(ENODEV)?;
        let map = PageMap::new(bound.claim()?, bound.node(), Failures);
        let map = Arc::pin_init(map, GFP_KERNEL)?;

        *KEPT.as_ref().ok_or(ENODEV)?.lock() = Some(map);
        Ok(Self)
    }
}

#[pin_data(PinnedDrop)]
struct Module {
    #[pin]
    _driver: driver::Registration<nvdimm::Adapter<Keeper>>,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: {
                KEPT.populate(KBox::pin_init(new_mutex!(None), GFP_KERNEL)?);
            },
            _driver <- driver::Registration::new(c"daxmf_keep", module),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Module {
    fn drop(self: Pin<&mut Self>) {
        if let Some(kept) = KEPT.as_ref() {
            *kept.lock() = None;
        }
    }
}
