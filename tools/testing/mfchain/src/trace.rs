// SPDX-License-Identifier: GPL-2.0

//! The time of a machine check.
//!
//! The injection of a machine check from the host takes much longer than its handling. So the time
//! of the machine check is the time of its trace event, from a trace instance with the clock
//! `CLOCK_MONOTONIC`.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A trace instance with the event `mce:mce_record`. Dropping it removes the instance.
pub struct MceTrace(PathBuf);

impl MceTrace {
    /// Starts the trace.
    pub fn start() -> io::Result<Self> {
        let dir = format!(
            "/sys/kernel/tracing/instances/mfchain-{}",
            std::process::id()
        );
        fs::create_dir(&dir)?;
        let trace = Self(dir.into());
        fs::write(trace.0.join("trace_clock"), "mono")?;
        fs::write(trace.0.join("events/mce/mce_record/enable"), "1")?;
        Ok(trace)
    }

    /// The time of the first machine check since the start, in nanoseconds.
    pub fn first_ns(&self) -> Option<u64> {
        parse(&fs::read_to_string(self.0.join("trace")).ok()?)
    }
}

impl Drop for MceTrace {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("events/mce/mce_record/enable"), "0");
        let _ = fs::remove_dir(&self.0);
    }
}

/// Finds the time of the first event, `SECONDS.MICROSECONDS`, and returns nanoseconds.
fn parse(trace: &str) -> Option<u64> {
    let line = trace.lines().find(|line| line.contains(": mce_record: "))?;
    let (head, _) = line.split_once(": mce_record: ")?;
    let (seconds, micros) = head.rsplit(' ').next()?.split_once('.')?;
    let micros: u64 =
        seconds.parse::<u64>().ok()?.checked_mul(1_000_000)? + micros.parse::<u64>().ok()?;
    micros.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_counts() {
        let trace = "# tracer: nop\n\
                     #\n\
                     \x20    kworker/0:1-11  [000] .....    10.224167: mce_record: CPU: 0\n\
                     \x20    kworker/0:1-11  [000] .....    11.000000: mce_record: CPU: 0\n";
        assert_eq!(parse(trace), Some(10_224_167_000));
        assert_eq!(parse("# tracer: nop\n"), None);
    }
}
