// SPDX-License-Identifier: GPL-2.0

//! Events, and their text.

use kernel::{
    fmt,
    prelude::*, //
};

use crate::{
    bindings,
    memory_failure::{
        Flags,
        Outcome,
        Reason, //
    },
    range::{
        space,
        ByteRange, //
    },
};

/// The maximum length of a disk's name in bytes, with the NUL.
const DISK_NAME_LEN: usize = bindings::DISK_NAME_LEN as usize;

/// The source of a found error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The platform, by a scrub or a machine check.
    Platform,
    /// A machine check in the kernel.
    MachineCheck,
    /// A read of the disk.
    Read,
    /// Root, by a write to the disk's `badblocks` file.
    User,
}

impl Source {
    fn name(self) -> &'static CStr {
        match self {
            Self::Platform => c"platform",
            Self::MachineCheck => c"machine_check",
            Self::Read => c"read",
            Self::User => c"user",
        }
    }
}

/// An event of a range of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The memory failed, and the holder of the disk was notified.
    Failure(Flags, Outcome),
    /// Errors were found. The range is now in the disk's list of bad blocks.
    Found(Source),
    /// The holder of the disk was notified of found errors. [`None`] if no holder was notified, for
    /// example because the disk has none.
    Notified(Option<Outcome>),
    /// A write cleared the errors. The memory is good.
    Cleared,
}

impl Event {
    fn name(self) -> &'static CStr {
        match self {
            Self::Failure(..) => c"failure",
            Self::Found(_) => c"found",
            Self::Notified(_) => c"notified",
            Self::Cleared => c"cleared",
        }
    }

    fn source(self) -> Option<Source> {
        match self {
            Self::Found(source) => Some(source),
            _ => None,
        }
    }

    fn flags(self) -> Option<Flags> {
        match self {
            Self::Failure(flags, _) => Some(flags),
            _ => None,
        }
    }

    /// The holder's outcome, [`None`] if no holder was notified.
    fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Failure(_, outcome) => Some(outcome),
            Self::Notified(outcome) => outcome,
            _ => None,
        }
    }

    fn outcome_name(self) -> Option<&'static CStr> {
        match (self, self.outcome()) {
            (_, Some(Outcome::Delivered)) => Some(c"delivered"),
            (_, Some(Outcome::Declined(_))) => Some(c"declined"),
            (_, Some(Outcome::Failed(_))) => Some(c"failed"),
            (Self::Notified(None), None) => Some(c"not_notified"),
            _ => None,
        }
    }

    fn reason(self) -> Option<Reason> {
        match self.outcome() {
            Some(Outcome::Declined(reason)) => Some(reason),
            _ => None,
        }
    }

    /// The errno of a failed outcome, as a positive number.
    fn errno(self) -> Option<c_int> {
        match self.outcome() {
            Some(Outcome::Failed(error)) => error.to_errno().checked_neg(),
            _ => None,
        }
    }
}

/// An event of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Record {
    /// Nanoseconds since 1970.
    time: i64,
    /// The name, filled up with NULs: at least one.
    disk: [u8; DISK_NAME_LEN],
    range: ByteRange<space::Device>,
    event: Event,
}

impl Record {
    /// Creates a record. `time` is in nanoseconds since 1970. A disk name of `DISK_NAME_LEN` bytes
    /// or more is truncated; no disk has one.
    pub(super) fn new(
        time: i64,
        disk: &CStr,
        range: ByteRange<space::Device>,
        event: Event,
    ) -> Self {
        let mut name = [0; DISK_NAME_LEN];

        let disk = disk.to_bytes();
        let len = disk.len().min(DISK_NAME_LEN - 1);

        if let (Some(to), Some(from)) = (name.get_mut(..len), disk.get(..len)) {
            to.copy_from_slice(from);
        }
        Self {
            time,
            disk: name,
            range,
            event,
        }
    }

    fn disk(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.disk).unwrap_or_default()
    }

    /// Passes the event to the tracepoint, if tracing is on.
    pub(super) fn trace(&self) {
        let text = |name: Option<&'static CStr>| name.unwrap_or_default().as_char_ptr();

        // SAFETY: `trace_daxmf_event_enabled()` only reads the static key of the tracepoint.
        if !unsafe { bindings::trace_daxmf_event_enabled() } {
            return;
        }

        // SAFETY: All strings end with a NUL. The tracepoint copies them.
        unsafe {
            bindings::trace_daxmf_event(
                self.event.name().as_char_ptr(),
                self.disk().as_char_ptr(),
                self.range.start(),
                self.range.len(),
                text(self.event.source().map(Source::name)),
                self.event.flags().map_or(0, Flags::as_raw),
                text(self.event.outcome_name()),
                text(self.event.reason().map(Reason::name)),
                self.event.errno().unwrap_or(0),
            )
        };
    }

    /// Returns the line that a reader gets for the event number `number`.
    pub(super) fn line(&self, number: u64) -> impl fmt::Display + '_ {
        Line {
            number,
            record: self,
        }
    }
}

struct Line<'a> {
    number: u64,
    record: &'a Record,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record {
            time, range, event, ..
        } = self.record;

        write!(
            f,
            "sequence={} time={}.{:09}",
            self.number,
            time.div_euclid(1_000_000_000),
            time.rem_euclid(1_000_000_000),
        )?;
        write_name(f, " event=", Some(event.name()))?;
        f.write_str(" disk=")?;
        for byte in self.record.disk().to_bytes() {
            // Escape spaces and line ends, because they separate fields and lines.
            match byte {
                b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        write!(f, " offset={} length={}", range.start(), range.len())?;
        write_name(f, " source=", event.source().map(Source::name))?;
        if let Some(flags) = event.flags() {
            f.write_str(" flags=")?;
            fmt::Display::fmt(&flags, f)?;
        }
        write_name(f, " outcome=", event.outcome_name())?;
        write_name(f, " reason=", event.reason().map(Reason::name))?;
        match event.errno() {
            Some(errno) => write!(f, " errno={errno}"),
            None => Ok(()),
        }
    }
}

/// Writes a field, if the event has it.
fn write_name(f: &mut fmt::Formatter<'_>, field: &str, name: Option<&'static CStr>) -> fmt::Result {
    match name {
        Some(name) => {
            f.write_str(field)?;
            f.write_str(name.to_str().unwrap_or_default())
        }
        None => Ok(()),
    }
}

#[kunit_tests(daxmf_event_record)]
mod tests {
    use kernel::str::CString;

    use super::*;

    fn line(disk: &CStr, event: Event) -> Result<CString> {
        let range = ByteRange::new(0x2000, 0x1000).ok_or(EINVAL)?;
        let record = Record::new(1_700_000_000_000_000_042, disk, range, event);

        let line = CString::try_from_fmt(fmt!("{}", record.line(7)))?;

        Ok(line)
    }

    const HEAD: &str = "sequence=7 time=1700000000.000000042 event=";

    #[test]
    fn writes_one_line_per_event() -> Result {
        let flags = Flags::ACTION_REQUIRED | Flags::SW_SIMULATED;
        let events = [
            (
                Event::Failure(flags, Outcome::Delivered),
                "failure disk=pmem0 offset=8192 length=4096 flags=action_required,sw_simulated \
                 outcome=delivered",
            ),
            (
                Event::Failure(Flags::NONE, Outcome::Declined(Reason::NoHolder)),
                "failure disk=pmem0 offset=8192 length=4096 flags=none outcome=declined \
                 reason=no_holder",
            ),
            (
                Event::Found(Source::Read),
                "found disk=pmem0 offset=8192 length=4096 source=read",
            ),
            (
                Event::Notified(Some(Outcome::Failed(EIO))),
                "notified disk=pmem0 offset=8192 length=4096 outcome=failed errno=5",
            ),
            (
                Event::Notified(None),
                "notified disk=pmem0 offset=8192 length=4096 outcome=not_notified",
            ),
            (Event::Cleared, "cleared disk=pmem0 offset=8192 length=4096"),
        ];

        for (event, text) in events {
            let line = line(c"pmem0", event)?;

            assert_eq!(line.to_str()?.strip_prefix(HEAD), Some(text));
        }
        Ok(())
    }

    #[test]
    fn escapes_and_truncates_the_disk_name() -> Result {
        let line = line(
            c"a b=\n0123456789012345678901234567890123456789",
            Event::Cleared,
        )?;

        assert_eq!(
            line.to_str()?.strip_prefix(HEAD),
            Some(
                "cleared disk=a\\x20b=\\x0a01234567890123456789012345 offset=8192 \
                 length=4096"
            )
        );
        Ok(())
    }
}
