// SPDX-License-Identifier: GPL-2.0

//! The clock of the guest, which counts instructions.

use std::arch::x86_64::_rdtsc;
use std::io;
use std::thread;
use std::time::Duration;

/// Gives this thread a real-time priority, so that no ordinary thread, such as the kernel thread
/// that prints messages, takes its processor during a count.
pub fn run_alone() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };

    // SAFETY: `param` is valid for reads.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sleeps, so that ordinary threads run now. Otherwise the kernel would run them in the middle of a
/// count, in the part of the processor time that it reserves for ordinary threads.
pub fn let_others_run() {
    thread::sleep(Duration::from_millis(10));
}

/// The number of instructions that the machine has executed: the time stamp counter under QEMU with
/// `-icount shift=0`.
pub fn now() -> u64 {
    // SAFETY: Every x86-64 processor has `rdtsc`, and Linux allows it in user space by default.
    unsafe { _rdtsc() }
}

/// Counts the instructions of `operation`.
pub fn count<T>(operation: impl FnOnce() -> T) -> (u64, T) {
    let start = now();
    let value = operation();
    (now().saturating_sub(start), value)
}

/// The median of counts. A timer interrupt during a few operations does not change the median.
pub fn median(mut counts: Vec<u64>) -> u64 {
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or_default()
}
