// SPDX-License-Identifier: GPL-2.0

//! Which device is above which, so that none is above itself.

use core::ptr;

use daxmf::dax::Device;
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        new_mutex,
        Arc,
        Mutex, //
    },
};

/// All pairs of a device and one above it.
#[pin_data]
pub(crate) struct Edges {
    #[pin]
    list: Mutex<KVec<Pair>>,
}

#[derive(Clone)]
struct Pair {
    lower: ARef<Device>,
    upper: ARef<Device>,
}

impl Pair {
    fn is(&self, other: &Self) -> bool {
        ptr::eq(&*self.lower, &*other.lower) && ptr::eq(&*self.upper, &*other.upper)
    }
}

impl Edges {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(KVec::new()),
        })
    }

    /// Adds a pair, until the edge is dropped.
    ///
    /// # Errors
    ///
    /// - `ELOOP` if `lower` is `upper`, or is above it.
    /// - `EEXIST` if the pair is there.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add(
        self: &Arc<Self>,
        lower: &ARef<Device>,
        upper: &ARef<Device>,
    ) -> Result<Edge> {
        let pair = Pair {
            lower: lower.clone(),
            upper: upper.clone(),
        };
        let mut list = self.list.lock();

        if is_above(&list, lower, upper) {
            return Err(ELOOP);
        }
        if list.iter().any(|other| other.is(&pair)) {
            return Err(EEXIST);
        }
        list.push(pair.clone(), GFP_KERNEL)?;
        Ok(Edge {
            edges: self.clone(),
            pair,
        })
    }
}

/// Whether `upper` is `lower`, or is above it over any number of steps.
fn is_above(pairs: &[Pair], upper: &Device, lower: &Device) -> bool {
    ptr::eq(upper, lower)
        || pairs
            .iter()
            .filter(|pair| ptr::eq(&*pair.lower, lower))
            .any(|pair| is_above(pairs, upper, &pair.upper))
}

/// A pair in the list, until it is dropped.
pub(crate) struct Edge {
    edges: Arc<Edges>,
    pair: Pair,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.edges.list.lock().retain(|pair| !pair.is(&self.pair));
    }
}
