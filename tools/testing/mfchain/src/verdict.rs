// SPDX-License-Identifier: GPL-2.0

//! Checks the signal of each process, and prints the result.

use std::fmt::Write as _;

use crate::child::{code_name, describe, Answer};
use crate::device::{Device, Filesystem};
use crate::report::{Phase, Report};
use crate::source::Source;
use crate::spec::{Expect, Spec};

/// The `si_code` that a process must get, and the phase in which the signal must come.
///
/// `poisoner` is true for the process that called `madvise(MADV_HWPOISON)`. After the removal of a
/// device, the signal comes at once, even to a late process.
pub fn due(source: Source, late: bool, poisoner: bool) -> (i32, Phase) {
    match (source, late, poisoner) {
        (Source::Unbind, _, _) => (libc::BUS_MCEERR_AO, Phase::Waiting),
        (_, _, true) => (libc::BUS_MCEERR_AR, Phase::Poisoning),
        (_, true, _) => (libc::BUS_MCEERR_AR, Phase::Touching),
        _ => (libc::BUS_MCEERR_AO, Phase::Waiting),
    }
}

/// One process and its answer.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it mapped and what it must receive.
    pub spec: Spec,
    /// Process id.
    pub pid: u32,
    /// Virtual address of the page in its address space.
    pub vaddr: u64,
    /// The `si_code` that it must get, and the phase in which the signal must come.
    pub due: (i32, Phase),
    /// Its answer.
    pub answer: Answer,
}

impl Outcome {
    /// Whether the process was signalled at all.
    fn signalled(&self) -> bool {
        matches!(self.answer, Answer::Report(Report::Signalled(_)))
    }

    /// Describes what is wrong with the answer. `None` if it is right.
    fn fault(&self) -> Option<String> {
        let (code, phase) = self.due;
        let right = match (self.spec.expect, self.answer) {
            (Expect::Nothing, Answer::Report(Report::Quiet)) => true,
            (Expect::Signal, Answer::Report(Report::Signalled(s))) => {
                (s.code, s.addr, s.lsb, s.phase) == (code, self.vaddr, self.spec.lsb, phase)
            }
            _ => false,
        };
        if right {
            return None;
        }
        let expected = match self.spec.expect {
            Expect::Nothing => "no signal".into(),
            Expect::Signal => format!(
                "{} at {:#x}, lsb {}, while {phase:?}",
                code_name(code),
                self.vaddr,
                self.spec.lsb
            ),
        };
        Some(format!(
            "pid {}, {}: expected {expected}; got {}",
            self.pid,
            self.spec.file.display(),
            describe(self.answer)
        ))
    }

    fn row(&self, injected_ns: u64) -> [String; 7] {
        let mut row = [
            self.spec.file.display().to_string(),
            format!("{:#x}", self.spec.offset),
            self.pid.to_string(),
            "none".into(),
            "-".into(),
            "-".into(),
            "-".into(),
        ];
        match self.answer {
            Answer::Report(Report::Signalled(s)) => {
                let after_us = s.time_ns.saturating_sub(injected_ns) / 1000;
                row[3] = code_name(s.code);
                row[4] = format!("{:#x}", s.addr);
                row[5] = s.lsb.to_string();
                row[6] = format!("{}.{:03} ms", after_us / 1000, after_us % 1000);
            }
            Answer::Report(Report::Quiet) if self.spec.expect == Expect::Nothing => {
                row[3] = "none expected".into();
            }
            Answer::Report(Report::Quiet) => {}
            other => row[3] = describe(other),
        }
        row
    }
}

/// One failure, and the answers of all processes.
pub struct Verdict {
    /// The source of the failure.
    pub source: Source,
    /// The device that failed.
    pub device: Device,
    /// The filesystem that the processes' files are on.
    pub filesystem: Filesystem,
    /// The failed range of the device: offset and length.
    pub range: (u64, u64),
    /// The result of the recovery in the kernel log.
    pub recovery: String,
    /// Time of the failure, `CLOCK_MONOTONIC` in nanoseconds.
    pub injected_ns: u64,
    /// The processes.
    pub outcomes: Vec<Outcome>,
}

impl Verdict {
    /// A line for each wrong answer.
    pub fn faults(&self) -> Vec<String> {
        self.outcomes.iter().filter_map(Outcome::fault).collect()
    }

    /// The verdict line.
    pub fn summary(&self) -> String {
        let processes = self
            .outcomes
            .iter()
            .filter(|o| o.spec.expect == Expect::Signal);
        let (total, signalled) = processes.fold((0, 0), |(total, signalled), o| {
            (total + 1, signalled + u32::from(o.signalled()))
        });
        format!(
            "{total} processes, {signalled} signalled, {} missed",
            total - signalled
        )
    }

    /// The failure and the processes as a table.
    pub fn table(&self) -> String {
        let device = &self.device;
        let mut text = format!(
            "source    {}\n\
             device    /dev/{} ({}, {}), offset {:#x}, length {:#x}\n\
             consumer  {} on {} (/dev/{})\n\
             recovery  {}\n\n",
            self.source,
            device.disk,
            device.namespace,
            device.driver,
            self.range.0,
            self.range.1,
            self.filesystem.kind,
            self.filesystem.mount_point.display(),
            self.filesystem.device,
            self.recovery
        );
        let head = ["file", "offset", "pid", "signal", "si_addr", "lsb", "after"];
        let rows: Vec<_> = [head.map(String::from)]
            .into_iter()
            .chain(self.outcomes.iter().map(|o| o.row(self.injected_ns)))
            .collect();
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let width = rows.iter().map(|r| r[column].len()).max().unwrap_or(0);
                // Writing to a string cannot fail.
                let _ = write!(text, "{cell:<width$}  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Sigbus;

    const VADDR: u64 = 0x7f00_0000_0000;

    fn outcome(spec: &str, answer: Answer) -> Outcome {
        let spec: Spec = spec.parse().unwrap();
        Outcome {
            due: due(Source::Mce, spec.late, false),
            spec,
            pid: 1,
            vaddr: VADDR,
            answer,
        }
    }

    fn sigbus(code: i32, addr: u64, lsb: u32, phase: Phase) -> Answer {
        Answer::Report(Report::Signalled(Sigbus {
            code,
            addr,
            lsb,
            time_ns: 0,
            phase,
        }))
    }

    #[test]
    fn right_answers_have_no_fault() {
        let early = sigbus(libc::BUS_MCEERR_AO, VADDR, 12, Phase::Waiting);
        let late = sigbus(libc::BUS_MCEERR_AR, VADDR, 12, Phase::Touching);
        assert_eq!(outcome("/a", early).fault(), None);
        assert_eq!(outcome("/a,late", late).fault(), None);
        let quiet = Answer::Report(Report::Quiet);
        assert_eq!(outcome("/a,quiet", quiet).fault(), None);
    }

    #[test]
    fn each_wrong_answer_is_a_fault() {
        let ao = libc::BUS_MCEERR_AO;
        for answer in [
            sigbus(libc::BUS_ADRERR, VADDR, 12, Phase::Waiting),
            sigbus(ao, VADDR + 4096, 12, Phase::Waiting),
            sigbus(ao, VADDR, 21, Phase::Waiting),
            sigbus(ao, VADDR, 12, Phase::Touching),
            Answer::Report(Report::Quiet),
            Answer::Died(libc::SIGKILL),
        ] {
            assert!(outcome("/a", answer).fault().is_some(), "{answer:?}");
        }
        let signalled = sigbus(ao, VADDR, 12, Phase::Waiting);
        assert!(outcome("/a,quiet", signalled).fault().is_some());
    }

    #[test]
    fn what_is_due_depends_on_the_source() {
        let ar = libc::BUS_MCEERR_AR;
        assert_eq!(due(Source::Madvise, false, true), (ar, Phase::Poisoning));
        assert_eq!(due(Source::CorruptPfn, true, false), (ar, Phase::Touching));
        let at_once = (libc::BUS_MCEERR_AO, Phase::Waiting);
        assert_eq!(due(Source::Madvise, false, false), at_once);
        assert_eq!(due(Source::Unbind, true, false), at_once);
    }
}
