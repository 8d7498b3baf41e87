// SPDX-License-Identifier: GPL-2.0

//! A process that maps a page, as its parent sees it.

use std::env::current_exe;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};

use crate::process::Command;
use crate::report::{Report, REPORT_LEN};
use crate::spec::Spec;

/// The answer of a process to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The process sent this report.
    Report(Report),
    /// The process ended without a report. The number is that of the signal that killed it, or 0.
    Died(i32),
}

/// A running process that maps a page, killed if it is dropped early.
pub struct Process {
    /// What it maps.
    pub spec: Spec,
    /// Virtual address of the page in its address space.
    pub vaddr: u64,
    /// Physical address of the page.
    pub phys: u64,
    child: Child,
    commands: ChildStdin,
    reports: ChildStdout,
}

impl Process {
    /// Starts a process and waits until it has mapped its page.
    ///
    /// # Errors
    ///
    /// Fails if the process cannot be started, or if it cannot map its page. In the second case,
    /// the message has the process's answer.
    pub fn start(spec: Spec) -> Result<Self, String> {
        let mut child =
            Program::new(current_exe().map_err(|e| format!("cannot find this program: {e}"))?)
                .arg("process")
                .arg(spec.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|e| format!("cannot start a process: {e}"))?;
        let (Some(commands), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process has no pipes".into());
        };
        let mut process = Self {
            spec,
            vaddr: 0,
            phys: 0,
            child,
            commands,
            reports,
        };
        match process.answer() {
            Answer::Report(Report::Ready { vaddr, phys }) => {
                process.vaddr = vaddr;
                process.phys = phys;
                Ok(process)
            }
            other => Err(format!(
                "{}: {}",
                process.spec.file.display(),
                describe(other)
            )),
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command and waits for the answer.
    ///
    /// A process that was signalled in the meantime answers with the signal. No signal is missed,
    /// because the kernel delivers a pending signal before the process can read the command.
    pub fn request(&mut self, command: Command) -> Answer {
        // The write fails if the process has exited. Its last report is still in the pipe.
        let _ = self.commands.write_all(&[command as u8]);
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let mut bytes = [0; REPORT_LEN];
        match self.reports.read_exact(&mut bytes) {
            Ok(()) => Report::decode(&bytes).map_or(Answer::Died(0), Answer::Report),
            Err(_) => Answer::Died(self.exit_signal().unwrap_or(0)),
        }
    }

    fn exit_signal(&mut self) -> io::Result<i32> {
        Ok(self.child.wait()?.signal().unwrap_or(0))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Describes an answer in words.
pub fn describe(answer: Answer) -> String {
    match answer {
        Answer::Report(Report::Ready { .. }) => "ready again".into(),
        Answer::Report(Report::Quiet) => "no signal".into(),
        Answer::Report(Report::Errno(errno)) => io::Error::from_raw_os_error(errno).to_string(),
        Answer::Report(Report::Signalled(s)) => format!(
            "{} at {:#x}, lsb {}, while {:?}",
            code_name(s.code),
            s.addr,
            s.lsb,
            s.phase
        ),
        Answer::Died(0) => "ended without an answer".into(),
        Answer::Died(signal) => format!("killed by signal {signal}"),
    }
}

/// Name of a SIGBUS `si_code`.
pub fn code_name(code: i32) -> String {
    match code {
        libc::BUS_ADRALN => "BUS_ADRALN".into(),
        libc::BUS_ADRERR => "BUS_ADRERR".into(),
        libc::BUS_OBJERR => "BUS_OBJERR".into(),
        libc::BUS_MCEERR_AR => "BUS_MCEERR_AR".into(),
        libc::BUS_MCEERR_AO => "BUS_MCEERR_AO".into(),
        other => format!("si_code {other}"),
    }
}
