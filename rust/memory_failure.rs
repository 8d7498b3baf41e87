// SPDX-License-Identifier: GPL-2.0

//! Memory failures: their flags and outcomes, and signals to the affected processes.
//!
//! A memory failure starts with a page frame, in `memory_failure()`. It ends in exactly one
//! [`Outcome`], which [`Counters`] count.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)
//!
//! Reference: `memory_failure()`, `mf_dax_kill_procs()` in
//! [`mm/memory-failure.c`](srctree/mm/memory-failure.c)

use core::ops::{
    BitAnd,
    BitOr, //
};

use kernel::{
    error::to_result,
    fmt,
    fs::File,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use crate::{
    bindings,
    range::{
        space,
        PageRange,
        PAGE_SIZE, //
    },
};

/// Flags of a memory failure, as the caller passed them to `memory_failure()`.
///
/// The chain forwards them unchanged. Combine them with `|`.
///
/// C: `enum mf_flags`
///
/// # Examples
///
/// ```
/// use daxmf::memory_failure::Flags;
///
/// let flags = Flags::ACTION_REQUIRED | Flags::SW_SIMULATED;
/// assert!(flags.contains(Flags::ACTION_REQUIRED));
/// assert!(!flags.contains(Flags::MEM_PRE_REMOVE));
/// assert_eq!(Flags::from_raw(flags.as_raw()), flags);
/// ```
// Not by `impl_flags!`: the kernel also passes flags that have no name here, such as
// `MF_NO_RETRY`, and a type made by the macro has no value for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(c_int);

impl Flags {
    /// No flag: no process has consumed the poison yet, as for a found error.
    pub const NONE: Self = Self(0);

    /// The caller of `memory_failure()` held a page reference, which `memory_failure()` has
    /// dropped.
    pub const COUNT_INCREASED: Self = Self::of(bindings::mf_flags_MF_COUNT_INCREASED);

    /// The current process consumed the poison, and cannot continue.
    pub const ACTION_REQUIRED: Self = Self::of(bindings::mf_flags_MF_ACTION_REQUIRED);

    /// The kernel must signal the process, because the processor cannot resume it.
    pub const MUST_KILL: Self = Self::of(bindings::mf_flags_MF_MUST_KILL);

    /// The failure is simulated, and the memory is good.
    pub const SW_SIMULATED: Self = Self::of(bindings::mf_flags_MF_SW_SIMULATED);

    /// The memory is about to be removed, and is still good.
    pub const MEM_PRE_REMOVE: Self = Self::of(bindings::mf_flags_MF_MEM_PRE_REMOVE);

    // CAST: Each flag is one of the lower bits of an `int`.
    const fn of(flag: bindings::mf_flags) -> Self {
        Self(flag as c_int)
    }

    /// Creates the flags from the bits that C passes.
    #[inline]
    pub const fn from_raw(raw: c_int) -> Self {
        Self(raw)
    }

    /// The bits of the flags, for C.
    #[inline]
    pub const fn as_raw(self) -> c_int {
        self.0
    }

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// The names of the flags that are set, as in C, but in lower case.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 5] = [
            (Flags::COUNT_INCREASED, "count_increased"),
            (Flags::ACTION_REQUIRED, "action_required"),
            (Flags::MUST_KILL, "must_kill"),
            (Flags::SW_SIMULATED, "sw_simulated"),
            (Flags::MEM_PRE_REMOVE, "mem_pre_remove"),
        ];
        let mut rest = self.0;
        let mut separator = "";

        for (flag, name) in NAMES.iter().filter(|(flag, _)| self.contains(*flag)) {
            write!(f, "{separator}{name}")?;
            rest &= !flag.0;
            separator = ",";
        }
        match (rest, separator) {
            (0, "") => f.write_str("none"),
            (0, _) => Ok(()),
            // Flags that have no name here.
            _ => write!(f, "{separator}{rest:#x}"),
        }
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The reason why no consumer handled a memory failure.
///
/// The kernel continues with its generic path, which needs no filesystem. It finds and signals the
/// processes that map the page, if exactly one file has the page mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The device has no holder.
    NoHolder,
    /// The holder declined, for example because it cannot find the owners of the range.
    NotSupported,
    /// The device is being removed.
    Removed,
    /// No device above uses the memory, or the holder's partition does not include it.
    Unused,
}

impl Reason {
    /// The name in the event log.
    pub(crate) fn name(self) -> &'static CStr {
        match self {
            Self::NoHolder => c"no_holder",
            Self::NotSupported => c"not_supported",
            Self::Removed => c"removed",
            Self::Unused => c"unused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHolder => "no holder",
            Self::NotSupported => "not supported by the holder",
            Self::Removed => "device is being removed",
            Self::Unused => "not used by a device above",
        })
    }
}

/// How a memory failure ended for a consumer.
#[must_use = "an outcome must be counted and returned to the kernel"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The consumer handled the failure.
    Delivered,
    /// No consumer handled the failure.
    Declined(Reason),
    /// The consumer accepted the failure, but could not handle it.
    Failed(Error),
}

impl Outcome {
    /// Combines the outcomes of two consumers of one failure: failed if one of them failed,
    /// declined if both declined, else delivered.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::memory_failure::{Outcome, Reason};
    ///
    /// let declined = Outcome::Declined(Reason::NotSupported);
    ///
    /// assert_eq!(declined.and(Outcome::Delivered), Outcome::Delivered);
    /// assert_eq!(Outcome::Delivered.and(Outcome::Failed(EIO)), Outcome::Failed(EIO));
    /// ```
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed(error), _) | (_, Self::Failed(error)) => Self::Failed(error),
            (Self::Delivered, _) | (_, Self::Delivered) => Self::Delivered,
            // Keep the later reason: `daxmf_stack` starts with `Reason::Unused`, which the reason
            // of a consumer replaces.
            (Self::Declined(_), Self::Declined(reason)) => Self::Declined(reason),
        }
    }

    /// The result that `memory_failure()` and `dax_holder_notify_failure()` expect.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the failure was declined. With this errno, and no other, the kernel
    ///   continues with its generic path.
    /// - `EIO` if the consumer failed with `EOPNOTSUPP` or `EHWPOISON`. The kernel takes
    ///   `EHWPOISON` to mean that the current process has been signalled.
    /// - The consumer's errno if it failed with another one.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::memory_failure::{Outcome, Reason};
    ///
    /// let declined = Outcome::Declined(Reason::NotSupported);
    ///
    /// assert_eq!(declined.into_result(), Err(EOPNOTSUPP));
    /// assert_eq!(Outcome::Failed(EOPNOTSUPP).into_result(), Err(EIO));
    /// ```
    pub fn into_result(self) -> Result {
        match self {
            Self::Delivered => Ok(()),
            Self::Declined(_) => Err(EOPNOTSUPP),
            Self::Failed(EOPNOTSUPP | EHWPOISON) => Err(EIO),
            Self::Failed(error) => Err(error),
        }
    }
}

/// The outcome of a failure that the consumer accepted: delivered, or failed with any errno.
impl From<Result> for Outcome {
    fn from(result: Result) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Delivered)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Declined(reason) => {
                f.write_str("declined: ")?;
                fmt::Display::fmt(reason, f)
            }
            Self::Failed(error) => write!(f, "failed: {error:?}"),
        }
    }
}

/// Counts of the memory failures of one device.
///
/// [`count()`](Self::count) counts a failure as received before it is handled, and as delivered,
/// declined or failed afterwards. So received is the sum of the three while no failure is being
/// handled.
///
/// # Examples
///
/// ```
/// use daxmf::memory_failure::{Counters, Outcome, Reason};
///
/// let counters = Counters::new();
///
/// let outcome = counters.count(|| Outcome::Declined(Reason::NoHolder));
/// assert_eq!(outcome.into_result(), Err(EOPNOTSUPP));
/// assert_eq!((counters.received(), counters.declined()), (1, 1));
/// ```
pub struct Counters {
    received: Atomic<u64>,
    delivered: Atomic<u64>,
    declined: Atomic<u64>,
    failed: Atomic<u64>,
}

impl Counters {
    /// Creates counters that are 0.
    pub const fn new() -> Self {
        Self {
            received: Atomic::new(0),
            delivered: Atomic::new(0),
            declined: Atomic::new(0),
            failed: Atomic::new(0),
        }
    }

    /// Calls `handle` for one memory failure, and counts the failure and its outcome.
    pub fn count(&self, handle: impl FnOnce() -> Outcome) -> Outcome {
        self.received.fetch_add(1, Relaxed);

        let outcome = handle();

        match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Declined(_) => &self.declined,
            Outcome::Failed(_) => &self.failed,
        }
        .fetch_add(1, Relaxed);

        outcome
    }

    /// The number of memory failures that were received.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// The number of memory failures that a consumer handled.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// The number of memory failures that no consumer handled, see [`Reason`].
    pub fn declined(&self) -> u64 {
        self.declined.load(Relaxed)
    }

    /// The number of memory failures that a consumer failed to handle.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// Signals processes that map pages of a DAX file, and marks the pages as poisoned.
///
/// For each page that a process has accessed through a mapping of the file, the kernel
///
/// 1. marks the page as poisoned,
/// 2. finds the processes to signal: of those that map the page, the current process and each
///    process that has early kill set (`PR_MCE_KILL`, `vm.memory_failure_early_kill`),
/// 3. unmaps the page from all mappings of the file, unless it has found no process to signal,
/// 4. sends SIGBUS, with the address and the size of the mapping, to the processes that it has
///    found.
///
/// With [`Flags::MEM_PRE_REMOVE`] the kernel signals every process that maps a page, and marks no
/// page.
///
/// May sleep. The caller must hold no lock that a page fault on the file takes. The kernel visits
/// each page of the range, up to the end of the file, and no signal ends this.
///
/// # Errors
///
/// - `EBUSY` if the file does not use DAX and has a page in the range.
///
/// # Examples
///
/// ```
/// use daxmf::{
///     memory_failure::{kill_procs, Flags},
///     range::PageRange,
/// };
/// use kernel::fs::File;
///
/// /// Signals the processes that map the first page of `file`.
/// fn kill_procs_of_first_page(file: &File) -> Result {
///     kill_procs(file, PageRange::new(0, 1).ok_or(EINVAL)?, Flags::NONE)
/// }
/// ```
///
/// C: `mf_dax_kill_procs()`
pub fn kill_procs(file: &File, pages: PageRange<space::File>, flags: Flags) -> Result {
    // SAFETY: `file` is a valid `struct file`. The VFS sets its `f_mapping` when it opens the file,
    // and the mapping stays valid as long as the file does.
    let mapping = unsafe { (*file.as_ptr()).f_mapping };

    // SAFETY: `mapping` is valid, because `file` has a reference to its inode.
    unsafe { kill_procs_of(mapping, pages, flags) }
}

/// [`kill_procs()`] for a mapping instead of a file.
///
/// # Errors
///
/// - `EBUSY` if the file does not use DAX.
///
/// # Safety
///
/// `mapping` must be valid.
pub(crate) unsafe fn kill_procs_of(
    mapping: *mut bindings::address_space,
    pages: PageRange<space::File>,
    flags: Flags,
) -> Result {
    // SAFETY: `mapping` is valid by the safety requirements, and its inode as long as `mapping` is.
    let size = unsafe { bindings::i_size_read((*mapping).host) };
    // `mf_dax_kill_procs()` visits each page of the range, and cannot be interrupted. No page after
    // the end of the file is mapped.
    let file = PageRange::new(0, size.max(0).unsigned_abs().div_ceil(PAGE_SIZE));
    let Some(pages) = file.and_then(|file| pages.clip(file)) else {
        return Ok(());
    };

    // SAFETY: `mapping` is valid by the safety requirements. `mf_dax_kill_procs()` takes the locks
    // that it needs itself.
    to_result(unsafe {
        bindings::mf_dax_kill_procs(
            mapping,
            pages.start() as c_ulong,
            pages.len() as c_ulong,
            flags.as_raw(),
        )
    })
}

#[kunit_tests(daxmf_memory_failure)]
mod tests {
    use super::*;

    #[test]
    fn outcome_becomes_errno() {
        let declined = Outcome::Declined(Reason::Removed);

        assert_eq!(Outcome::Delivered.into_result(), Ok(()));
        assert_eq!(declined.into_result(), Err(EOPNOTSUPP));
        assert_eq!(Outcome::Failed(ENXIO).into_result(), Err(ENXIO));
    }

    #[test]
    fn failed_never_becomes_a_special_errno() {
        assert_eq!(Outcome::Failed(EOPNOTSUPP).into_result(), Err(EIO));
        assert_eq!(Outcome::Failed(EHWPOISON).into_result(), Err(EIO));
        assert_eq!(Outcome::from(Err(EOPNOTSUPP)), Outcome::Failed(EOPNOTSUPP));
        assert_eq!(Outcome::from(Ok(())), Outcome::Delivered);
    }

    #[test]
    fn counters_add_up() {
        let counters = Counters::new();
        let outcomes = [
            Outcome::Delivered,
            Outcome::Delivered,
            Outcome::Delivered,
            Outcome::Declined(Reason::NoHolder),
            Outcome::Declined(Reason::NotSupported),
            Outcome::Failed(EIO),
        ];

        for outcome in outcomes {
            assert_eq!(counters.count(|| outcome), outcome);
        }

        assert_eq!(counters.received(), 6);
        assert_eq!(counters.delivered(), 3);
        assert_eq!(counters.declined(), 2);
        assert_eq!(counters.failed(), 1);
    }

    #[test]
    fn counts_received_before_handling() {
        let counters = Counters::new();

        let outcome = counters.count(|| {
            assert_eq!(counters.received(), 1);
            assert_eq!(counters.delivered(), 0);
            Outcome::Delivered
        });

        assert_eq!(outcome, Outcome::Delivered);
        assert_eq!(counters.delivered(), 1);
    }
}
