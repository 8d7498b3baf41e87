// SPDX-License-Identifier: GPL-2.0

//! Records of machine checks.
//!
//! A machine check in the kernel, such as in a read of a DAX file, fails the read and does not
//! reach `memory_failure()`. All that is left of it is a record, which the kernel hands to a chain
//! of decoders.
//!
//! C header: [`arch/x86/include/asm/mce.h`](srctree/arch/x86/include/asm/mce.h)
//!
//! Reference: [`drivers/acpi/nfit/mce.c`](srctree/drivers/acpi/nfit/mce.c)

use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        PAGE_SHIFT, //
    },
};

/// Whoever handles machine checks in some memory.
///
/// # Examples
///
/// ```
/// use daxmf::{
///     mce::{Handler, Registration},
///     range::{space, ByteRange},
/// };
/// use kernel::sync::Arc;
///
/// struct Log;
///
/// impl Handler for Log {
///     fn memory_error(&self, range: ByteRange<space::Physical>) {
///         pr_warn!("{:#x} cannot be read\n", range.start());
///     }
/// }
///
/// let memory = ByteRange::new(0x1_0000_0000, 0x2000_0000).ok_or(EINVAL)?;
/// let _registration = Registration::new(memory, Arc::new(Log, GFP_KERNEL)?)?;
/// # Ok::<(), Error>(())
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Handles an uncorrected error in `range`, which `memory_failure()` is not called for, or has
    /// failed to handle.
    ///
    /// `range` is as much as the processor has reported, a page at most, and lies in the memory
    /// that was registered.
    ///
    /// Called in process context by the kernel's chain of decoders, with the lock of all handlers
    /// held: it may sleep, but must not wait for other machine checks, nor register or drop a
    /// [`Registration`].
    fn memory_error(&self, range: ByteRange<space::Physical>);
}

struct Entry {
    range: ByteRange<space::Physical>,
    handler: Arc<dyn Handler>,
}

global_lock! {
    // Held while handlers run. It is a leaf of what drivers hold when they are unbound: to
    // unregister from the chain there would wait for decoders that wait for the same locks.
    // SAFETY: `init()` is called before any handler can be registered.
    unsafe(uninit) static HANDLERS: Mutex<KVec<Arc<Entry>>> = KVec::new();
}

/// The registration of a handler. When dropped, the handler is not running and never will.
pub struct Registration(Arc<Entry>);

impl Registration {
    /// Registers a handler for machine checks in `range`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn new(range: ByteRange<space::Physical>, handler: Arc<dyn Handler>) -> Result<Self> {
        let entry = Arc::new(Entry { range, handler }, GFP_KERNEL)?;

        HANDLERS.lock().push(entry.clone(), GFP_KERNEL)?;
        Ok(Self(entry))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        HANDLERS.lock().retain(|entry| !Arc::ptr_eq(entry, &self.0));
    }
}

/// Our place in the chain of decoders, until this is dropped.
///
/// # Invariants
///
/// The block is registered.
pub(crate) struct Decoder(Pin<KBox<Opaque<bindings::notifier_block>>>);

// SAFETY: The block belongs to the chain, which has a lock of its own.
unsafe impl Send for Decoder {}

// SAFETY: A shared decoder gives access to nothing.
unsafe impl Sync for Decoder {}

impl Decoder {
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// Must be called once, before any other function of this module.
    pub(crate) unsafe fn new() -> Result<Self> {
        let block = KBox::pin(
            Opaque::new(bindings::notifier_block {
                notifier_call: Some(decode),
                next: core::ptr::null_mut(),
                // CAST: A small positive number. Those of this priority know what was handled.
                priority: bindings::mce_notifier_prios_MCE_PRIO_NFIT as c_int,
            }),
            GFP_KERNEL,
        )?;

        // SAFETY: By the safety requirements.
        unsafe { HANDLERS.init() };
        // INVARIANT: By the call.
        // SAFETY: The block stays in place until it is unregistered.
        unsafe { bindings::mce_register_decode_chain(block.get()) };
        Ok(Self(block))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. This waits until the chain is not running.
        unsafe { bindings::mce_unregister_decode_chain(self.0.get()) };
        // A static is not dropped.
        *HANDLERS.lock() = KVec::new();
    }
}

/// # Safety
///
/// Called by the chain of decoders only, with a `struct mce`.
unsafe extern "C" fn decode(
    _block: *mut bindings::notifier_block,
    _action: c_ulong,
    mce: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    if let Some(error) = unsafe { memory_error_of(mce.cast()) } {
        for entry in HANDLERS.lock().iter() {
            if let Some(range) = error.clip(entry.range) {
                entry.handler.memory_error(range);
            }
        }
    }

    // CAST: It is 0. The record is not handled for others.
    bindings::NOTIFY_DONE as c_int
}

/// The memory whose uncorrected error a record is of, [`None`] if it is of something else, or a
/// memory failure.
///
/// # Safety
///
/// `mce` must be valid.
unsafe fn memory_error_of(mce: *mut bindings::mce) -> Option<ByteRange<space::Physical>> {
    // `memory_failure()` was called, or will be when the process returns that has run into it.
    const IS_HIT: u64 = bindings::MCE_HANDLED_UC | bindings::MCE_IN_KERNEL_COPYIN;
    // The privilege level of the code segment: 3 is user space.
    const USER: u8 = 3;

    // SAFETY: By the safety requirements. The functions only read the record.
    let is_ours = unsafe {
        (*mce).kflags & IS_HIT == 0
            && (*mce).cs & USER != USER
            && bindings::mce_is_memory_error(mce)
            && !bindings::mce_is_correctable(mce)
            && bindings::mce_usable_address(mce)
    };

    // SAFETY: By the safety requirements.
    let (address, misc) = unsafe { ((*mce).addr, (*mce).misc) };
    // SAFETY: The macros have no preconditions.
    let (address, shift) = unsafe {
        (
            address & bindings::MCI_ADDR_PHYSADDR(),
            bindings::MCI_MISC_ADDR_LSB(misc),
        )
    };

    is_ours.then(|| aligned(address, shift))?
}

/// The memory around an address of which `shift` bits are not known. It is a page at most: only
/// Intel says that the register has this number.
fn aligned(address: u64, shift: u32) -> Option<ByteRange<space::Physical>> {
    let len = 1_u64 << shift.min(PAGE_SHIFT);

    ByteRange::new(address & !(len - 1), len)
}

#[kunit_tests(daxmf_mce)]
mod tests {
    use super::*;

    // Bits of a bank's status, and a memory error by a read.
    const VALID: u64 = 1 << 63;
    const UNCORRECTED: u64 = 1 << 61;
    const HAS_MISC: u64 = 1 << 59;
    const HAS_ADDRESS: u64 = 1 << 58;
    const READ: u64 = 0x9f;

    // A cache line, by its physical address.
    const LINE: u64 = 2 << 6 | 6;

    fn error_of(mce: bindings::mce) -> Option<(u64, u64)> {
        let mut mce = mce;

        // SAFETY: The record is valid.
        unsafe { memory_error_of(&mut mce) }.map(|range| (range.start(), range.len()))
    }

    /// A record of an Intel processor, whose number is 0.
    fn record() -> bindings::mce {
        bindings::mce {
            status: VALID | UNCORRECTED | HAS_MISC | HAS_ADDRESS | READ,
            misc: LINE,
            addr: 0x1234_5678,
            // SAFETY: All fields are integers.
            ..unsafe { core::mem::zeroed() }
        }
    }

    #[test]
    fn uncorrected_errors_of_memory() {
        let status = record().status;

        assert_eq!(error_of(record()), Some((0x1234_5640, 64)));
        for status in [
            status & !UNCORRECTED,
            status & !HAS_ADDRESS,
            status & !HAS_MISC,
            // Of the bus.
            status & !READ | 0xe0f,
        ] {
            assert_eq!(error_of(bindings::mce { status, ..record() }), None);
        }
        // Not a physical address.
        let misc = 1 << 6 | 6;
        assert_eq!(error_of(bindings::mce { misc, ..record() }), None);
    }

    #[test]
    fn memory_failures_are_not_ours() {
        for kflags in [bindings::MCE_HANDLED_UC, bindings::MCE_IN_KERNEL_COPYIN] {
            assert_eq!(error_of(bindings::mce { kflags, ..record() }), None);
        }
        // In user space, and in the kernel.
        assert_eq!(
            error_of(bindings::mce {
                cs: 0x33,
                ..record()
            }),
            None
        );
        assert!(error_of(bindings::mce {
            cs: 0x10,
            ..record()
        })
        .is_some());
    }

    #[test]
    fn address_is_aligned() {
        let at = |address, shift| aligned(address, shift).map(|range| (range.start(), range.len()));

        assert_eq!(at(0x1fff, 0), Some((0x1fff, 1)));
        assert_eq!(at(0x1fff, 12), Some((0x1000, 0x1000)));
        assert_eq!(at(0x1fff, 63), Some((0x1000, 0x1000)));
        assert_eq!(at(u64::MAX, 12), None);
    }
}
