// SPDX-License-Identifier: GPL-2.0

//! What a function of the kernel takes, as the kernel's own tracer counts it.

use std::fs;
use std::io;

use crate::clock;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Writes a line: without its end, the kernel may look at a value when the file is closed, and has
/// nobody to tell that it is wrong.
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

/// The function of a system call that is not there any more. It does nothing: what a call of it
/// seems to take is the tracer's own part.
const NOTHING: &str = "__do_sys_ni_syscall";

/// Calls of that function.
const CALLS: usize = 100;

/// Counts what the calls of one function take, with what they call.
pub struct Tracer {
    own: u64,
}

impl Tracer {
    pub fn new(function: &str) -> io::Result<Self> {
        start(NOTHING)?;
        for _ in 0..CALLS {
            // SAFETY: it takes nothing, and does nothing.
            unsafe { libc::syscall(libc::SYS_nfsservctl) };
        }

        let calls = durations(&trace()?);
        if calls.len() != CALLS {
            return Err(io::Error::other(format!(
                "the tracer has seen {} of {CALLS} calls",
                calls.len()
            )));
        }
        let tracer = Self {
            own: clock::median(calls),
        };

        start(function)?;
        Ok(tracer)
    }

    /// Forgets what there was.
    pub fn clear(&self) -> io::Result<()> {
        set("trace", "")
    }

    /// What all calls have taken.
    pub fn count(&self) -> io::Result<u64> {
        sum(&trace()?, self.own)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = stop();
    }
}

/// The sum of all durations in a trace, without the tracer's own part of each.
fn sum(trace: &str, own: u64) -> io::Result<u64> {
    durations(trace)
        .into_iter()
        .map(|duration| duration.saturating_sub(own))
        .reduce(u64::saturating_add)
        .ok_or_else(|| io::Error::other("the tracer has seen no call"))
}

/// All durations in a trace, in counts of the clock.
fn durations(trace: &str) -> Vec<u64> {
    trace.lines().filter_map(duration).collect()
}

/// The duration in a line: the tracer takes the clock's counts for nanoseconds.
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
