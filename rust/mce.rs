// SPDX-License-Identifier: GPL-2.0

//! Records of machine checks.
//!
//! A machine check in the kernel, such as in a read of a DAX file, fails the read. The kernel does
//! not call `memory_failure()` for such a machine check, but only passes a record to a chain of
//! decoders.
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

/// A handler of machine checks in a range of memory.
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
    /// Handles an uncorrected error in `range`. The kernel does not call `memory_failure()` for the
    /// error, or `memory_failure()` failed to handle it.
    ///
    /// `range` is the range that the processor reported, a page at most. It lies in the registered
    /// memory.
    ///
    /// The kernel's chain of decoders calls this in process context, under the lock of all
    /// handlers. The handler may sleep. The handler must not wait for other machine checks, and
    /// must not create or drop a [`Registration`].
    fn memory_error(&self, range: ByteRange<space::Physical>);
}

/// A registered handler, and the memory it is registered for.
struct Entry {
    range: ByteRange<space::Physical>,
    handler: Arc<dyn Handler>,
}

global_lock! {
    // This lock is held while handlers run. The unbind of a driver takes the lock to drop a
    // `Registration`, and takes no other lock while it holds this one. A driver must not register a
    // decoder of its own: unregistering it would wait for the running decoders, and these can wait
    // for locks that the unbind holds.
    // SAFETY: `Decoder::new()` initializes the lock before another module can register a handler.
    unsafe(uninit) static HANDLERS: Mutex<KVec<Arc<Entry>>> = KVec::new();
}

/// The registration of a handler. Once the registration is dropped, the handler is not running, and
/// never runs again.
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

/// The crate's decoder in the kernel's chain. The drop unregisters it.
///
/// # Invariants
///
/// The notifier block `self.0` is registered with the chain of decoders.
pub(crate) struct Decoder(Pin<KBox<Opaque<bindings::notifier_block>>>);

// SAFETY: Only the functions of the chain access the block, under the lock of the chain.
unsafe impl Send for Decoder {}

// SAFETY: `&Decoder` has no methods.
unsafe impl Sync for Decoder {}

impl Decoder {
    /// Registers the decoder with the chain.
    ///
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
                // At this priority, the decoders that call `memory_failure()` have already run and
                // set their bit in `kflags`.
                // CAST: The priorities are small positive numbers.
                priority: bindings::mce_notifier_prios_MCE_PRIO_NFIT as c_int,
            }),
            GFP_KERNEL,
        )?;

        // SAFETY: `Decoder::new()` is called once, before `HANDLERS` is used, by the safety
        // requirements.
        unsafe { HANDLERS.init() };
        // INVARIANT: `mce_register_decode_chain()` registers the block.
        // SAFETY: The block is pinned, and the drop of `Decoder` unregisters it before it is freed.
        unsafe { bindings::mce_register_decode_chain(block.get()) };
        Ok(Self(block))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: The block is registered by the type invariants. `mce_unregister_decode_chain()`
        // waits until the chain is not running.
        unsafe { bindings::mce_unregister_decode_chain(self.0.get()) };
        // The kernel does not drop statics, so free the vector here.
        *HANDLERS.lock() = KVec::new();
    }
}

/// # Safety
///
/// Only the chain of decoders may call this, with a valid `struct mce`.
unsafe extern "C" fn decode(
    _block: *mut bindings::notifier_block,
    _action: c_ulong,
    mce: *mut c_void,
) -> c_int {
    // SAFETY: The chain passes a valid `struct mce` by the safety requirements.
    if let Some(error) = unsafe { memory_error_of(mce.cast()) } {
        for entry in HANDLERS.lock().iter() {
            if let Some(range) = error.clip(entry.range) {
                entry.handler.memory_error(range);
            }
        }
    }

    // `NOTIFY_DONE` lets the other decoders handle the record, too.
    // CAST: `NOTIFY_DONE` is 0.
    bindings::NOTIFY_DONE as c_int
}

/// Returns the memory in which a record reports an uncorrected error. Returns [`None`] if the
/// record is of another kind, or if the kernel calls `memory_failure()` for it.
///
/// # Safety
///
/// `mce` must be valid.
unsafe fn memory_error_of(mce: *mut bindings::mce) -> Option<ByteRange<space::Physical>> {
    // The kernel has called `memory_failure()` (`MCE_HANDLED_UC`), or calls it when the process
    // returns to user space (`MCE_IN_KERNEL_COPYIN`).
    const IS_MEMORY_FAILURE: u64 = bindings::MCE_HANDLED_UC | bindings::MCE_IN_KERNEL_COPYIN;
    // The privilege level of the code segment: 3 is user space.
    const USER: u8 = 3;

    // SAFETY: `mce` is valid by the safety requirements, and the three `mce_…()` functions only
    // read the record.
    let is_kernel_error = unsafe {
        (*mce).kflags & IS_MEMORY_FAILURE == 0
            && (*mce).cs & USER != USER
            && bindings::mce_is_memory_error(mce)
            && !bindings::mce_is_correctable(mce)
            && bindings::mce_usable_address(mce)
    };

    // SAFETY: `mce` is valid by the safety requirements.
    let (address, misc) = unsafe { ((*mce).addr, (*mce).misc) };
    // SAFETY: `MCI_ADDR_PHYSADDR` is a number, and `MCI_MISC_ADDR_LSB()` only computes.
    let (address, shift) = unsafe {
        (
            address & bindings::MCI_ADDR_PHYSADDR(),
            bindings::MCI_MISC_ADDR_LSB(misc),
        )
    };

    is_kernel_error.then(|| aligned(address, shift))?
}

/// Returns the memory around an address whose lower `shift` bits are not valid. The result is a
/// page at most, because only Intel documents that the register contains `shift`.
fn aligned(address: u64, shift: u32) -> Option<ByteRange<space::Physical>> {
    let len = 1_u64 << shift.min(PAGE_SHIFT);

    ByteRange::new(address & !(len - 1), len)
}

#[kunit_tests(daxmf_mce)]
mod tests {
    use super::*;

    // Bits of a bank's status, and the code of a memory error in a read.
    const VALID: u64 = 1 << 63;
    const UNCORRECTED: u64 = 1 << 61;
    const HAS_MISC: u64 = 1 << 59;
    const HAS_ADDRESS: u64 = 1 << 58;
    const READ: u64 = 0x9f;

    // The error is a cache line (6 bits are not valid), and the address is physical (mode 2).
    const LINE: u64 = 2 << 6 | 6;

    fn error_of(mce: bindings::mce) -> Option<(u64, u64)> {
        let mut mce = mce;

        // SAFETY: `mce` is a valid record on the stack.
        unsafe { memory_error_of(&mut mce) }.map(|range| (range.start(), range.len()))
    }

    /// A record of an Intel processor: vendor 0.
    fn record() -> bindings::mce {
        bindings::mce {
            status: VALID | UNCORRECTED | HAS_MISC | HAS_ADDRESS | READ,
            misc: LINE,
            addr: 0x1234_5678,
            // SAFETY: All fields of a `struct mce` are integers, so they may be zero.
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
            // An error of the bus.
            status & !READ | 0xe0f,
        ] {
            assert_eq!(error_of(bindings::mce { status, ..record() }), None);
        }
        // The address is not physical (mode 1).
        let misc = 1 << 6 | 6;
        assert_eq!(error_of(bindings::mce { misc, ..record() }), None);
    }

    #[test]
    fn memory_failures_are_ignored() {
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
