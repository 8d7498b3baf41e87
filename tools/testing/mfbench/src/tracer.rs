// SPDX-License-Identifier: GPL-2.0

//! Counts the instructions of a kernel function with the function graph tracer.

use std::fs;
use std::io;

use crate::clock;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Writes a line with a line break. Without the line break, the kernel can delay parsing until
/// close(), which cannot return an error.
fn set(file: &str, value: &str) -> io::Result<()> {
    fs::write(format!("{TRACEFS}/{file}"), format!("{value}\n"))
        .map_err(|error| io::Error::new(error.kind(), format!("{file}: {value:?}: {error}")))
}

fn stop() -> io::Result<()> {
    set("current_tracer", "nop")?;
    set("set_ftrace_filter", "")?;
    set("trace_clock", "local")
}

fn start(function: &str) -> io::Result<()> {
    stop()?;
    set("trace_clock", "x86-tsc")?;
    set("set_ftrace_filter", function)?;
    set("current_tracer", "function_graph")
}

fn trace() -> io::Result<String> {
    fs::read_to_string(format!("{TRACEFS}/trace"))
}

/// The function of a removed system call. It does nothing, so the duration of a call is the
/// overhead of the tracer.
const NOTHING: &str = "__do_sys_ni_syscall";

/// Number of calls of [`NOTHING`].
const CALLS: usize = 100;

/// Counts the instructions of the calls of one function, and of the functions that it calls.
pub struct Tracer {
    /// Instructions that the tracer adds to a call.
    overhead: u64,
}

impl Tracer {
    pub fn new(function: &str) -> io::Result<Self> {
        start(NOTHING)?;
        for _ in 0..CALLS {
            // SAFETY: The system call has no arguments, and does nothing.
            unsafe { libc::syscall(libc::SYS_nfsservctl) };
        }

        let calls = durations(&trace()?);
        if calls.len() != CALLS {
            return Err(io::Error::other(format!(
                "the tracer recorded {} of {CALLS} calls",
                calls.len()
            )));
        }
        let tracer = Self {
            overhead: clock::median(calls),
        };

        start(function)?;
        Ok(tracer)
    }

    /// Clears the trace.
    pub fn clear(&self) -> io::Result<()> {
        set("trace", "")
    }

    /// The instructions of all calls in the trace.
    pub fn count(&self) -> io::Result<u64> {
        sum(&trace()?, self.overhead)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = stop();
    }
}

/// The sum of all durations in a trace, each without `overhead`.
fn sum(trace: &str, overhead: u64) -> io::Result<u64> {
    durations(trace)
        .into_iter()
        .map(|duration| duration.saturating_sub(overhead))
        .reduce(u64::saturating_add)
        .ok_or_else(|| io::Error::other("the tracer recorded no call"))
}

/// All durations in a trace, in ticks of the clock.
fn durations(trace: &str) -> Vec<u64> {
    trace.lines().filter_map(duration).collect()
}

/// The duration in a line. The tracer prints ticks of the clock as if they were nanoseconds.
fn duration(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" us ")?;
    let micros: f64 = before.rsplit(' ').next()?.parse().ok()?;

    Some((micros * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_added() {
        let trace = "\
# tracer: function_graph
#
# CPU  DURATION                  FUNCTION CALLS
# |     |   |                     |   |   |   |
 0)   0.964 us    |  mf_dax_kill_procs();
 0) + 11.036 us   |  mf_dax_kill_procs();
 0) ! 12440.12 us |  } /* mf_dax_kill_procs */
";

        assert_eq!(sum(trace, 100).unwrap(), 864 + 10_936 + 12_440_020);
    }

    #[test]
    fn no_call_is_an_error() {
        assert!(sum("# tracer: function_graph\n", 0).is_err());
    }
}
