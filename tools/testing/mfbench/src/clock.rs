// SPDX-License-Identifier: GPL-2.0

//! The guest's clock, which counts instructions.

use std::arch::x86_64::_rdtsc;
use std::io;
use std::thread;
use std::time::Duration;

/// Lets no other thread, such as the kernel's that prints messages, run in our place.
pub fn run_alone() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };

    // SAFETY: `param` is valid for reads.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets all other threads do what they have to. They get no processor otherwise, until the kernel
/// gives them one in the middle of what is being counted.
pub fn let_others_run() {
    thread::sleep(Duration::from_millis(10));
}

/// The number of instructions that the machine has executed.
///
/// That is what the time stamp counter gives under QEMU's `-icount shift=0`.
pub fn now() -> u64 {
    // SAFETY: `rdtsc` is there on every x86-64 processor, and Linux does not forbid it.
    unsafe { _rdtsc() }
}

/// What `operation` takes.
pub fn count<T>(operation: impl FnOnce() -> T) -> (u64, T) {
    let start = now();
    let value = operation();
    (now().saturating_sub(start), value)
}

/// The median, which a timer's tick in one operation of many does not change.
pub fn median(mut counts: Vec<u64>) -> u64 {
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or_default()
}
