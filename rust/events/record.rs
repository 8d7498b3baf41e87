// SPDX-License-Identifier: GPL-2.0

//! Events, and the text of them.

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

/// The length of a disk's name, with the byte that ends it.
const DISK_NAME_LEN: usize = bindings::DISK_NAME_LEN as usize;

/// Who has found an error that no process had hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The platform, by a scrub or a machine check that it has seen.
    Platform,
    /// A machine check in the kernel.
    MachineCheck,
    /// A read of the disk.
    Read,
    /// Root, by a write to the disk's list of bad blocks.
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

/// What happened to a range of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The memory failed, and the holder of the disk was notified.
    Failure(Flags, Outcome),
    /// Errors were found, and are listed as bad from now on.
    Found(Source),
    /// The holder of the disk was notified of errors that were found, or was not:
    /// it does not want to be, or there is none.
    Notified(Option<Outcome>),
    /// The memory was repaired and written, and is good.
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

    /// What the holder has answered, [`None`] if it was not asked.
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

    /// A positive number.
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
    /// The name, and zeroes: one at least.
    disk: [u8; DISK_NAME_LEN],
    range: ByteRange<space::Device>,
    event: Event,
}

impl Record {
    /// What of the disk's name is too long is left out; no disk has such a name.
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

    /// Hands the event to those who trace.
    pub(super) fn trace(&self) {
        let text = |name: Option<&'static CStr>| name.unwrap_or_default().as_char_ptr();

        // SAFETY: It is always okay to look at the static key of a tracepoint.
        if !unsafe { bindings::trace_daxmf_event_enabled() } {
            return;
        }

        // SAFETY: All strings end with a zero. The tracepoint copies them.
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

    /// The line that a reader gets of the event number `number`.
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
            // Whatever the driver calls its disk, the line stays one line of fields.
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

/// Writes a field, unless the event does not have it.
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
    fn an_event_is_a_line() -> Result {
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
    fn a_name_is_one_word() -> Result {
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
