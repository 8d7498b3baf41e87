// SPDX-License-Identifier: GPL-2.0

//! The graph of the attached devices: which device is directly above which.
//!
//! A device and all devices above it share their page frames. So one loop forwards a failure
//! through all levels, and searches each device above directly for the failed frames. The loop
//! follows a list of these devices, a [`Plan`], which is made when a device is attached.

use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::{
        atomic::Relaxed,
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        new_mutex,
        Arc,
        Mutex, //
    },
};

use crate::{
    node::{
        above,
        Edge,
        Node, //
    },
    plan::{
        Link,
        Plan,
        Step, //
    },
};

/// The maximum number of levels above the lowest device.
///
/// Device-mapper recurses on the kernel's stack to find the memory of the topmost device, see
/// `Documentation/daxmf_stack.rst`. More levels were not tested.
const MAX_LEVELS: usize = 64;

/// The graph of the attached devices.
#[pin_data]
pub(crate) struct Graph<D> {
    #[pin]
    attaching: Mutex<()>,
    /// Sorted by [`Edge::key()`].
    #[pin]
    edges: Mutex<KVVec<Edge<D>>>,
}

impl<D: PartialEq> Graph<D> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            attaching <- new_mutex!(()),
            edges <- new_mutex!(KVVec::new()),
        })
    }

    /// Takes the lock that is held while a device is attached, so that one is attached at a time.
    pub(crate) fn lock_attaching(&self) -> Guard<'_, (), MutexBackend> {
        self.attaching.lock()
    }

    /// Returns the node of a device, or a new node if the device has no edge.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn node(&self, device: Arc<D>) -> Result<Arc<Node<D>>> {
        let edges = self.edges.lock();
        let mut nodes = edges.iter().flat_map(|edge| [&edge.lower, &edge.upper]);

        match nodes.find(|node| *node.device == *device) {
            Some(node) => Ok(node.clone()),
            None => Node::new(device),
        }
    }

    /// Adds an edge, which is removed when the returned value is dropped.
    ///
    /// # Errors
    ///
    /// - `ELOOP` if the lower device is the upper one or is above it, or if there would be more
    ///   than [`MAX_LEVELS`] levels.
    /// - `EEXIST` if the graph already has this edge.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add(self: &Arc<Self>, edge: Edge<D>) -> Result<Attached<D>> {
        let (lower, key) = (edge.lower.clone(), edge.key());
        let mut edges = self.edges.lock();

        // The devices are compared, because a device without an edge can have two nodes.
        if *lower.device == *edge.upper.device || edge.upper.is_below(&lower) {
            return Err(ELOOP);
        }

        let place = edges.partition_point(|other| other.key() < key);

        if edges.get(place).is_some_and(|other| other.key() == key) {
            return Err(EEXIST);
        }
        edges.reserve(1, GFP_KERNEL)?;
        edges
            .insert_within_capacity(place, edge)
            .map_err(|_| ENOMEM)?;
        if let Err(error) = replan(&edges, &lower) {
            let _ = edges.remove(place);
            return Err(error);
        }
        Ok(Attached {
            graph: self.clone(),
            lower,
            key,
        })
    }
}

/// An edge of the graph. Dropping this value removes the edge.
pub(crate) struct Attached<D> {
    graph: Arc<Graph<D>>,
    lower: Arc<Node<D>>,
    key: (usize, usize),
}

impl<D> Drop for Attached<D> {
    fn drop(&mut self) {
        let mut edges = self.graph.edges.lock();

        edges.retain(|edge| edge.key() != self.key);
        // If memory is short, some plans keep the removed device until they are made again. The
        // plan of the lower device is removed in any case if no other device is above it.
        let _ = replan(&edges, &self.lower);
    }
}

/// Makes the plans of `node` and of all devices below it. Removes the plan of `node` if no device
/// is above it. If making a plan fails, no plan is replaced.
///
/// # Errors
///
/// - `ELOOP` if there are more than [`MAX_LEVELS`] levels.
/// - `ENOMEM` if memory is short.
fn replan<D>(edges: &[Edge<D>], node: &Arc<Node<D>>) -> Result {
    if above(edges, node).is_empty() {
        *node.plan.lock() = None;
    }

    let lowers = edges
        .chunk_by(|edge, next| Arc::ptr_eq(&edge.lower, &next.lower))
        .filter_map(|edges| Some(&edges.first()?.lower))
        .filter(|lower| Arc::ptr_eq(lower, node) || lower.is_below(node));
    let mut plans = KVVec::new();

    for lower in lowers {
        plans.push((lower, plan_of(edges, lower)?), GFP_KERNEL)?;
    }
    for (lower, plan) in plans {
        *lower.plan.lock() = Some(plan);
    }
    Ok(())
}

/// Makes the plan of a device.
///
/// # Errors
///
/// - `ELOOP` if there are more than [`MAX_LEVELS`] levels.
/// - `ENOMEM` if memory is short.
fn plan_of<D>(edges: &[Edge<D>], lower: &Arc<Node<D>>) -> Result<Arc<Plan<D>>> {
    let mut steps = KVVec::new();
    // The devices from `lower` up to the current one, each with the edges that are not followed
    // yet.
    let mut path = KVVec::new();

    path.push((lower, above(edges, lower).iter()), GFP_KERNEL)?;
    while let Some((node, rest)) = path.last_mut() {
        let node = *node;

        if let Some(edge) = rest.find(|edge| find_step(&steps, &edge.upper).is_none()) {
            let upper = &edge.upper;

            path.push((upper, above(edges, upper).iter()), GFP_KERNEL)?;
        } else {
            let step = step_of(&steps, node, above(edges, node))?;

            node.step.store(steps.len(), Relaxed);
            steps.push(step, GFP_KERNEL)?;
            path.pop();
        }
    }

    // The last step is that of `lower`.
    let lowest = steps.pop().ok_or(EINVAL)?;

    if lowest.levels > MAX_LEVELS {
        return Err(ELOOP);
    }
    Ok(Arc::new(Plan::new(steps, lowest), GFP_KERNEL)?)
}

/// Makes the step of a device with the edges `above`, whose upper devices have their steps in
/// `steps`.
///
/// # Errors
///
/// - `ENOMEM` if memory is short.
fn step_of<D>(steps: &[Step<D>], node: &Arc<Node<D>>, above: &[Edge<D>]) -> Result<Step<D>> {
    let mut links = KVVec::with_capacity(above.len(), GFP_KERNEL)?;
    let mut levels: usize = 0;

    for edge in above {
        let step = find_step(steps, &edge.upper).ok_or(EINVAL)?;

        levels = levels.max(steps.get(step).ok_or(EINVAL)?.levels.saturating_add(1));
        links.push(
            Link {
                step,
                counters: edge.upper_counters.clone(),
            },
            GFP_KERNEL,
        )?;
    }
    Ok(Step {
        device: node.device.clone(),
        levels,
        own_counters: above.first().map(|edge| edge.lower_counters.clone()),
        links,
    })
}

/// The index of a device in `steps`.
fn find_step<D>(steps: &[Step<D>], node: &Arc<Node<D>>) -> Option<usize> {
    let number = node.step.load(Relaxed);

    // The number can be from another plan.
    Arc::ptr_eq(&steps.get(number)?.device, &node.device).then_some(number)
}

#[kunit_tests(daxmf_stack_graph)]
mod tests {
    use daxmf::memory_failure::{
        Counters,
        Outcome,
        Reason, //
    };

    use super::*;

    fn edge(lower: &Arc<Node<u32>>, upper: &Arc<Node<u32>>) -> Result<Edge<u32>> {
        Ok(Edge {
            lower: lower.clone(),
            upper: upper.clone(),
            lower_counters: Arc::new(Counters::new(), GFP_KERNEL)?,
            upper_counters: Arc::new(Counters::new(), GFP_KERNEL)?,
        })
    }

    fn graph() -> Result<Arc<Graph<u32>>> {
        Arc::pin_init(Graph::new(), GFP_KERNEL)
    }

    fn nodes(count: u32) -> Result<KVec<Arc<Node<u32>>>> {
        let mut nodes = KVec::new();

        for number in 0..count {
            nodes.push(Node::new(Arc::new(number, GFP_KERNEL)?)?, GFP_KERNEL)?;
        }
        Ok(nodes)
    }

    /// The devices that are notified, in order, of a failure of `node` that is in all devices.
    fn notified(node: &Node<u32>) -> Result<(KVec<u32>, Outcome)> {
        let notified = core::cell::RefCell::new(KVec::new());
        let outcome = node.plan().ok_or(ENOENT)?.run(
            |device| {
                let pushed = notified.borrow_mut().push(*device, GFP_KERNEL);

                Some(pushed.map_or(Outcome::Failed(ENOMEM), |()| Outcome::Delivered))
            },
            |_| true,
            None,
        );

        Ok((notified.into_inner(), outcome.ok_or(ENXIO)?))
    }

    #[test]
    fn accepts_the_maximum_of_levels() -> Result {
        let graph = graph()?;
        let nodes = nodes(66)?;
        let mut attached = KVec::new();
        let mut pairs = nodes.iter().zip(nodes.iter().skip(1));

        for (lower, upper) in pairs.by_ref().take(MAX_LEVELS) {
            attached.push(graph.add(edge(lower, upper)?)?, GFP_KERNEL)?;
        }
        let bottom = nodes.first().ok_or(EINVAL)?;
        assert_eq!(notified(bottom)?.0, [64]);

        let (lower, upper) = pairs.next().ok_or(EINVAL)?;
        assert_eq!(graph.add(edge(lower, upper)?).err(), Some(ELOOP));
        assert_eq!(notified(bottom)?.0, [64]);
        assert!(upper.plan().is_none());
        Ok(())
    }

    #[test]
    fn refuses_too_many_levels_from_the_top_down() -> Result {
        let graph = graph()?;
        let nodes = nodes(66)?;
        let mut attached = KVec::new();
        let mut refused = 0;

        for (lower, upper) in nodes.iter().zip(nodes.iter().skip(1)).rev() {
            match graph.add(edge(lower, upper)?) {
                Ok(edge) => attached.push(edge, GFP_KERNEL)?,
                Err(error) => {
                    assert_eq!(error, ELOOP);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 1);
        Ok(())
    }

    #[test]
    fn notifies_a_device_once_over_several_paths() -> Result {
        let graph = graph()?;
        let nodes = nodes(4)?;
        let [bottom, left, right, top] = &nodes[..] else {
            return Err(EINVAL);
        };
        let pairs = [
            (bottom, top),
            (left, top),
            (bottom, left),
            (right, top),
            (bottom, right),
        ];
        let mut attached = KVec::new();
        let mut counters = KVec::new();

        for (lower, upper) in pairs {
            let edge = edge(lower, upper)?;

            counters.push(edge.upper_counters.clone(), GFP_KERNEL)?;
            attached.push(graph.add(edge)?, GFP_KERNEL)?;
        }
        let (devices, outcome) = notified(bottom)?;
        assert_eq!(devices, [3]);
        assert_eq!(outcome, Outcome::Delivered);
        for counters in &counters {
            assert_eq!((counters.received(), counters.delivered()), (1, 1));
        }

        // One path is left.
        let last = attached.pop();
        drop(attached);
        assert!(left.plan().is_none());
        assert_eq!(notified(bottom)?.0, [2]);
        drop(last);
        assert!(bottom.plan().is_none());
        Ok(())
    }

    #[test]
    fn counts_the_outcome_of_each_path() -> Result {
        let graph = graph()?;
        let nodes = nodes(5)?;
        // Two devices are directly above the bottom, each with a device above it.
        let [bottom, one, two, first, second] = &nodes[..] else {
            return Err(EINVAL);
        };
        let mut attached = KVec::new();
        let mut counters = KVec::new();

        for (lower, upper) in [(bottom, one), (bottom, two), (one, first), (two, second)] {
            let edge = edge(lower, upper)?;

            counters.push(edge.upper_counters.clone(), GFP_KERNEL)?;
            counters.push(edge.lower_counters.clone(), GFP_KERNEL)?;
            attached.push(graph.add(edge)?, GFP_KERNEL)?;
        }

        let outcome = bottom.plan().ok_or(ENOENT)?.run(
            |device| match device {
                3 => Some(Outcome::Failed(EIO)),
                _ => Some(Outcome::Delivered),
            },
            |_| true,
            None,
        );
        assert_eq!(outcome, Some(Outcome::Failed(EIO)));

        let [one, _, two, _, first, on_one, second, on_two] = &counters[..] else {
            return Err(EINVAL);
        };
        for counters in [one, first, on_one] {
            assert_eq!((counters.received(), counters.failed()), (1, 1));
        }
        for counters in [two, second, on_two] {
            assert_eq!((counters.received(), counters.delivered()), (1, 1));
        }
        Ok(())
    }

    #[test]
    fn counts_failures_without_a_notified_holder() -> Result {
        let unused = Outcome::Declined(Reason::Unused);
        let graph = graph()?;
        let nodes = nodes(4)?;
        // The top is above the middle. The middle and the other are directly above the bottom.
        let [bottom, middle, top, other] = &nodes[..] else {
            return Err(EINVAL);
        };
        let mut attached = KVec::new();
        let mut counters = KVec::new();

        for (lower, upper) in [(bottom, middle), (middle, top), (bottom, other)] {
            let edge = edge(lower, upper)?;

            counters.push(edge.lower_counters.clone(), GFP_KERNEL)?;
            counters.push(edge.upper_counters.clone(), GFP_KERNEL)?;
            attached.push(graph.add(edge)?, GFP_KERNEL)?;
        }
        let [_, on_middle, in_middle, on_top, _, on_other] = &counters[..] else {
            return Err(EINVAL);
        };
        let plan = bottom.plan().ok_or(ENOENT)?;

        assert_eq!(plan.run(|_| None, |_| true, None), None);
        for counters in [on_middle, in_middle, on_top, on_other] {
            assert_eq!(counters.received(), 0);
        }

        // The middle counts a failure even if no holder above it was notified.
        assert_eq!(plan.run(|_| None, |_| true, Some(unused)), Some(unused));
        assert_eq!(plan.run(|_| None, |_| false, Some(unused)), Some(unused));
        assert_eq!((in_middle.received(), in_middle.declined()), (1, 1));
        assert_eq!((on_middle.declined(), on_top.received()), (1, 0));

        let outcome = plan.run(
            |device| (*device == 3).then_some(Outcome::Delivered),
            |_| true,
            None,
        );
        assert_eq!(outcome, Some(Outcome::Delivered));
        assert_eq!((in_middle.received(), on_middle.received()), (1, 1));
        assert_eq!((on_other.received(), on_other.delivered()), (1, 1));
        Ok(())
    }

    #[test]
    fn refuses_loops_and_duplicates() -> Result {
        let graph = graph()?;
        let nodes = nodes(3)?;
        let [low, middle, high] = &nodes[..] else {
            return Err(EINVAL);
        };
        let _first = graph.add(edge(low, middle)?)?;
        let _second = graph.add(edge(middle, high)?)?;

        assert_eq!(graph.add(edge(high, low)?).err(), Some(ELOOP));
        assert_eq!(graph.add(edge(low, low)?).err(), Some(ELOOP));

        // Neither node has an edge.
        let first = graph.node(Arc::new(9, GFP_KERNEL)?)?;
        let second = graph.node(Arc::new(9, GFP_KERNEL)?)?;
        assert_eq!(graph.add(edge(&first, &second)?).err(), Some(ELOOP));

        assert_eq!(graph.add(edge(low, middle)?).err(), Some(EEXIST));
        assert!(Arc::ptr_eq(&graph.node(Arc::new(1, GFP_KERNEL)?)?, middle));
        Ok(())
    }
}
