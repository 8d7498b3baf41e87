// SPDX-License-Identifier: GPL-2.0

//! Interval trees: values with ranges of numbers. The ranges may overlap.
//!
//! C header: [`include/linux/interval_tree.h`](srctree/include/linux/interval_tree.h)

use core::{
    cmp::Ordering,
    iter::FusedIterator,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Range,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    alloc::Flags,
    prelude::*, //
};

use crate::bindings;

/// A value with its range.
#[repr(C)]
struct Node<V> {
    links: bindings::interval_tree_node,
    value: V,
}

impl<V: Ord> Node<V> {
    /// The key that orders the nodes.
    fn key(&self) -> (c_ulong, c_ulong, &V) {
        (self.links.start, self.links.last, &self.value)
    }
}

/// Memory for one value of an [`IntervalTree`]. Because it is allocated in advance, an insertion
/// cannot fail.
pub struct Vacant<V>(KBox<MaybeUninit<Node<V>>>);

// SAFETY: The memory contains no value.
unsafe impl<V> Send for Vacant<V> {}

// SAFETY: `&Vacant` has no methods.
unsafe impl<V> Sync for Vacant<V> {}

impl<V> Vacant<V> {
    /// Allocates the memory.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn new(flags: Flags) -> Result<Self> {
        Ok(Self(KBox::new_uninit(flags)?))
    }
}

/// Values with ranges of numbers. A search for the values whose ranges overlap a range takes
/// logarithmic time for each value that it finds.
///
/// The tree may contain a value several times, with different ranges or with the same range. The
/// order is by the start of the range, then by its end, then by the value. So
/// [`remove()`](Self::remove) takes logarithmic time even if many values have the same range.
///
/// # Examples
///
/// ```
/// use daxmf::interval_tree::{IntervalTree, Vacant};
///
/// let mut tree = IntervalTree::new();
///
/// tree.insert(Vacant::new(GFP_KERNEL)?, 0..8, 'a');
/// tree.insert(Vacant::new(GFP_KERNEL)?, 4..12, 'b');
///
/// assert!(tree.overlaps(6..7).map(|(_, value)| *value).eq(['a', 'b']));
/// assert!(tree.overlaps(8..20).eq([(4..12, &'b')]));
///
/// // `remove()` needs exactly the range and the value of an insertion.
/// assert!(tree.remove(4..8, &'b').is_none());
/// let vacant = tree.remove(4..12, &'b').ok_or(EINVAL)?;
///
/// // The memory of the removed value can be used again.
/// tree.insert(vacant, 1..2, 'c');
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// - `root` links nodes that `KBox::into_raw()` returned, each of them once.
/// - `rb_leftmost` is the first of these nodes. The `__subtree_last` of each node is the greatest
///   `last` of the node and of all nodes below it.
///
/// C: `struct rb_root_cached`, with the `interval_tree_*()` functions
pub struct IntervalTree<V> {
    root: bindings::rb_root_cached,
    _values: PhantomData<Node<V>>,
}

// SAFETY: A tree owns its nodes. Its methods follow the links only with a reference to the tree.
unsafe impl<V: Send> Send for IntervalTree<V> {}

// SAFETY: `&IntervalTree` gives shared references to values only.
unsafe impl<V: Sync> Sync for IntervalTree<V> {}

impl<V> Default for IntervalTree<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> IntervalTree<V> {
    /// Size of a node in bytes: a value with its range. The allocator may round it up.
    pub const NODE_SIZE: usize = size_of::<Node<V>>();

    /// Creates an empty tree.
    pub const fn new() -> Self {
        // INVARIANT: The tree has no nodes.
        Self {
            root: bindings::rb_root_cached {
                rb_root: bindings::rb_root {
                    rb_node: core::ptr::null_mut(),
                },
                rb_leftmost: core::ptr::null_mut(),
            },
            _values: PhantomData,
        }
    }

    /// Whether the tree has no value.
    pub fn is_empty(&self) -> bool {
        self.root.rb_root.rb_node.is_null()
    }

    /// Adds a value with a range. An empty range is extended to one number.
    ///
    /// C: `interval_tree_insert()`, which does not order ranges that have the same start
    pub fn insert(&mut self, vacant: Vacant<V>, range: Range<u64>, value: V)
    where
        V: Ord,
    {
        let last = last(&range) as c_ulong;
        let links = bindings::interval_tree_node {
            start: range.start as c_ulong,
            last,
            __subtree_last: last,
            ..Default::default()
        };
        let node = KBox::into_raw(KBox::write(vacant.0, Node { links, value }));
        // SAFETY: `KBox::into_raw()` has just returned the node, and it is not in the tree yet.
        let new = unsafe { &*node };
        let mut link = &raw mut self.root.rb_root.rb_node;
        let mut parent = ptr::null_mut();
        let mut is_first = true;

        // SAFETY: `link` points into the root or into a node of the tree. Both stay in place.
        while let Some(links) = links_at(unsafe { *link }) {
            let at = links.as_ptr();

            // SAFETY: `links` belongs to a node that `KBox::into_raw()` returned, by the type
            // invariants. `&mut self` gives exclusive access to it.
            unsafe {
                parent = &raw mut (*at).rb;
                // INVARIANT: The new node is inserted below this one.
                (*at).__subtree_last = (*at).__subtree_last.max(last);
                link = match new.key().cmp(&container::<V>(links).as_ref().key()) {
                    Ordering::Less => &raw mut (*parent).rb_left,
                    Ordering::Equal | Ordering::Greater => {
                        is_first = false;
                        &raw mut (*parent).rb_right
                    }
                };
            }
        }

        // INVARIANT: `KBox::into_raw()` has returned the node, and this links the node once. The
        // node is the first one if the search never went right.
        // SAFETY: `link` is a null link of `parent`, or of the root. The node stays in place until
        // it is removed. `&mut self` gives exclusive access to the tree.
        unsafe {
            bindings::interval_tree_link(
                &raw mut (*node).links,
                parent,
                link,
                is_first,
                &raw mut self.root,
            )
        };
    }

    /// Returns the values whose ranges overlap `range`, in order. No range overlaps an empty
    /// `range`.
    pub fn overlaps(&self, range: Range<u64>) -> Overlaps<'_, V> {
        let last = last(&range);
        // SAFETY: `interval_tree_iter_first()` only reads the tree, and `&self` excludes changes.
        let next = unsafe {
            bindings::interval_tree_iter_first(
                (&raw const self.root).cast_mut(),
                range.start as c_ulong,
                last as c_ulong,
            )
        };

        // INVARIANT: `interval_tree_iter_first()` returns null or a node of the tree. `&self` is
        // borrowed for the lifetime of the result, so the tree does not change.
        Overlaps {
            next: if range.is_empty() {
                None
            } else {
                NonNull::new(next)
            },
            start: range.start,
            last,
            _tree: PhantomData,
        }
    }

    /// Removes a value that has exactly this range, and returns its memory. Returns [`None`] if the
    /// tree does not have the value with this range.
    pub fn remove(&mut self, range: Range<u64>, value: &V) -> Option<Vacant<V>>
    where
        V: Ord,
    {
        let wanted = (range.start as c_ulong, last(&range) as c_ulong, value);
        let mut link = self.root.rb_root.rb_node;

        let node = loop {
            let links = links_at(link)?;
            // SAFETY: `links` belongs to a node that `KBox::into_raw()` returned, by the type
            // invariants. This loop does not change it.
            let node = unsafe { container::<V>(links).as_ref() };

            link = match wanted.cmp(&node.key()) {
                Ordering::Less => node.links.rb.rb_left,
                Ordering::Greater => node.links.rb.rb_right,
                Ordering::Equal => break links,
            };
        };

        // SAFETY: The search found `node` in the tree, and this function does not use `node`
        // afterwards.
        Some(unsafe { self.take(node) })
    }

    /// Removes a node from the tree, and drops its value.
    ///
    /// # Safety
    ///
    /// `node` must be a node of the tree.
    unsafe fn take(&mut self, node: NonNull<bindings::interval_tree_node>) -> Vacant<V> {
        // SAFETY: `node` is in the tree by the safety requirements. `&mut self` gives exclusive
        // access to the tree.
        unsafe { bindings::interval_tree_remove(node.as_ptr(), &mut self.root) };

        // SAFETY: `KBox::into_raw()` returned the node by the type invariants, and the tree does
        // not link it any more.
        let node = unsafe { KBox::from_raw(container(node).as_ptr()) };

        Vacant(KBox::drop_contents(node))
    }
}

impl<V> Drop for IntervalTree<V> {
    fn drop(&mut self) {
        while let Some(node) = links_at(self.root.rb_leftmost) {
            // SAFETY: `rb_leftmost` is a node of the tree by the type invariants.
            drop(unsafe { self.take(node) });
        }
    }
}

/// The last number of a range.
fn last(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(1).max(range.start)
}

/// Returns the links that contain a node of the red-black tree, or [`None`] if it is null.
fn links_at(rb: *mut bindings::rb_node) -> Option<NonNull<bindings::interval_tree_node>> {
    // `rb` is the first field of a `struct interval_tree_node`.
    NonNull::new(rb.cast())
}

/// Returns the node that contains the links.
fn container<V>(links: NonNull<bindings::interval_tree_node>) -> NonNull<Node<V>> {
    // The links are the first field.
    links.cast()
}

/// Returns the range and the value of a node.
///
/// # Safety
///
/// `links` must belong to a node of an [`IntervalTree<V>`] that does not change for the duration of
/// `'a`.
unsafe fn entry<'a, V>(links: NonNull<bindings::interval_tree_node>) -> (Range<u64>, &'a V) {
    // SAFETY: `links` belongs to a `Node<V>` that does not change, by the safety requirements.
    let node = unsafe { container::<V>(links).as_ref() };

    (
        node.links.start as u64..(node.links.last as u64).saturating_add(1),
        &node.value,
    )
}

/// The values of an [`IntervalTree`] whose ranges overlap a range.
///
/// # Invariants
///
/// `next` is [`None`], or a node of an [`IntervalTree<V>`] that does not change for the duration of
/// `'a`.
pub struct Overlaps<'a, V> {
    next: Option<NonNull<bindings::interval_tree_node>>,
    start: u64,
    last: u64,
    _tree: PhantomData<&'a IntervalTree<V>>,
}

impl<V> Overlaps<'_, V> {
    fn next_node(&mut self) -> Option<NonNull<bindings::interval_tree_node>> {
        let node = self.next?;

        // INVARIANT: `interval_tree_iter_next()` returns null or a node of the same tree.
        // SAFETY: `node` is in a tree that does not change, by the type invariants.
        self.next = NonNull::new(unsafe {
            bindings::interval_tree_iter_next(
                node.as_ptr(),
                self.start as c_ulong,
                self.last as c_ulong,
            )
        });
        Some(node)
    }
}

impl<'a, V> Iterator for Overlaps<'a, V> {
    type Item = (Range<u64>, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: The node is in an `IntervalTree<V>` that does not change for the duration of
        // `'a`, by the type invariants.
        self.next_node().map(|node| unsafe { entry(node) })
    }
}

impl<V> FusedIterator for Overlaps<'_, V> {}

#[kunit_tests(daxmf_interval_tree)]
mod tests {
    use super::*;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    /// The owner of a device block: the number of a file, and an offset in the file.
    type Owner = (u64, u64);

    fn tree(of: &[(Range<u64>, Owner)]) -> Result<IntervalTree<Owner>> {
        let mut tree = IntervalTree::new();

        for (range, owner) in of {
            tree.insert(Vacant::new(GFP_KERNEL)?, range.clone(), *owner);
        }
        Ok(tree)
    }

    #[test]
    fn overlaps_at_the_edges() -> Result {
        let tree = tree(&[(10..20, (1, 0)), (20..30, (2, 0))])?;

        assert!(tree.overlaps(0..10).next().is_none());
        assert!(tree.overlaps(9..11).eq([(10..20, &(1, 0))]));
        assert!(tree.overlaps(19..20).eq([(10..20, &(1, 0))]));
        assert!(tree.overlaps(20..21).eq([(20..30, &(2, 0))]));
        assert!(tree.overlaps(30..u64::MAX).next().is_none());
        assert!(tree.overlaps(15..15).next().is_none());
        assert_eq!(tree.overlaps(0..u64::MAX).count(), 2);
        Ok(())
    }

    #[test]
    fn the_same_range_several_times() -> Result {
        let mut tree = tree(&[(0..4, (1, 0)), (0..4, (2, 0)), (0..4, (2, 8))])?;

        assert_eq!(tree.overlaps(3..4).count(), 3);
        assert!(tree.remove(0..4, &(2, 0)).is_some());
        assert!(tree.remove(0..4, &(2, 0)).is_none());
        assert!(tree.remove(0..3, &(1, 0)).is_none());
        assert_eq!(tree.overlaps(3..4).count(), 2);
        Ok(())
    }

    #[test]
    fn one_of_many_is_found() -> Result {
        const COUNT: u64 = 1000;
        // Each number once, in no order.
        let numbers = || (0..COUNT).map(|number| number * 7 % COUNT);
        let mut tree = IntervalTree::new();

        for number in numbers() {
            tree.insert(Vacant::new(GFP_KERNEL)?, 4..8, (number, 0));
            tree.insert(Vacant::new(GFP_KERNEL)?, 4..9 + number, (number, 1));
        }
        assert!(tree
            .overlaps(7..8)
            .take(1000)
            .map(|(_, of)| *of)
            .eq((0..COUNT).map(|n| (n, 0))));
        assert_eq!(tree.overlaps(8 + COUNT - 1..u64::MAX).count(), 1);
        for number in numbers() {
            assert!(tree.remove(4..8, &(number, 0)).is_some());
            assert!(tree.remove(4..8, &(number, 0)).is_none());
            assert_eq!(
                tree.overlaps(8 + number..9 + number).count() as u64,
                COUNT - number
            );
        }
        assert_eq!(tree.overlaps(4..5).count() as u64, COUNT);
        Ok(())
    }

    #[test]
    fn memory_is_used_again() -> Result {
        let mut tree = tree(&[(0..4, (1, 0))])?;
        let vacant = tree.remove(0..4, &(1, 0)).ok_or(EINVAL)?;

        assert!(tree.is_empty());
        tree.insert(vacant, 7..9, (3, 0));
        assert!(tree.overlaps(8..9).eq([(7..9, &(3, 0))]));
        Ok(())
    }

    /// Counts the drops of its values.
    static DROPPED: Atomic<u32> = Atomic::new(0);

    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Counted;

    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.add(1, Relaxed);
        }
    }

    #[test]
    fn every_value_is_dropped() -> Result {
        let mut tree = IntervalTree::new();
        let before = DROPPED.load(Relaxed);

        for start in [0, u64::MAX - 1, u64::MAX] {
            tree.insert(Vacant::new(GFP_KERNEL)?, start..u64::MAX, Counted);
        }
        drop(tree);
        assert_eq!(DROPPED.load(Relaxed) - before, 3);
        Ok(())
    }
}
