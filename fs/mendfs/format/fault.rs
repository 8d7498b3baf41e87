// SPDX-License-Identifier: GPL-2.0

//! The faults that a structure can have.

use core::fmt;

use super::sizes::VERSION;

/// A violation of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The magic, the UUID or the secret does not match: the structure is of another kind, or of
    /// another filesystem.
    Foreign,
    /// The checksum is wrong.
    Checksum,
    /// The structure was written for another address.
    Address,
    /// A version that this code does not support.
    Version(u32),
    /// Features that this code does not support, one bit each.
    Features(u64),
    /// Sizes that do not fit the volume, or each other.
    Geometry,
    /// A record of an unknown kind.
    Kind,
    /// A record whose number of units does not match its contents.
    Length,
    /// A field with an invalid value.
    Value,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a structure of this filesystem"),
            Self::Checksum => f.write_str("wrong checksum"),
            Self::Address => f.write_str("written for another address"),
            Self::Version(version) => write!(
                f,
                "format version {version}, and only {VERSION} is known: copy the files with the \
                 mendfs of that version, and make the filesystem anew"
            ),
            Self::Features(features) => write!(
                f,
                "features {features:#x} are not known: a newer mendfs is needed"
            ),
            Self::Geometry => f.write_str("sizes that do not fit the device"),
            Self::Kind => f.write_str("unknown kind of record"),
            Self::Length => f.write_str("wrong length"),
            Self::Value => f.write_str("value out of range"),
        }
    }
}
