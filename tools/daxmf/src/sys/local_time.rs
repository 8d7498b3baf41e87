// SPDX-License-Identifier: GPL-2.0

//! `localtime_r()`.

use std::fmt::{self, Display};
use std::mem::MaybeUninit;

/// A time in the local time zone.
pub struct LocalTime(libc::tm);

impl LocalTime {
    /// Converts seconds since 1970. [`None`] if the year does not fit into `tm_year`.
    pub fn of(seconds: i64) -> Option<Self> {
        let mut time = MaybeUninit::uninit();

        // SAFETY: `seconds` and `time` outlive the call. localtime_r() initializes all of `time`
        // unless it returns null.
        unsafe {
            match libc::localtime_r(&seconds, time.as_mut_ptr()).is_null() {
                true => None,
                false => Some(Self(time.assume_init())),
            }
        }
    }
}

impl Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = &self.0;

        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            i64::from(time.tm_year) + 1900,
            time.tm_mon + 1,
            time.tm_mday,
            time.tm_hour,
            time.tm_min,
            time.tm_sec
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_day() {
        // Noon in UTC is on the 29th in all time zones from -12 to +11 hours.
        let text = LocalTime::of(1_709_208_000).unwrap().to_string();

        assert!(text.starts_with("2024-02-29 "), "{text}");
        assert!(LocalTime::of(i64::MAX).is_none());
    }
}
