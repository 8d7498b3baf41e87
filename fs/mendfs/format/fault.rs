// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a structure.

use core::fmt;

use super::sizes::VERSION;

/// Something that is not as the format demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not this structure, or of another filesystem.
    Foreign,
    /// The checksum is wrong.
    Checksum,
    /// The structure was written for another place.
    Address,
    /// A version that this code does not know.
    Version(u32),
    /// Features that this code does not know, a bit each.
    Features(u64),
    /// Sizes that do not fit the device, or each other.
    Geometry,
    /// A record of no known kind.
    Kind,
    /// A record that is longer or shorter than its contents.
    Length,
    /// A field that has no meaning.
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
