// SPDX-License-Identifier: GPL-2.0

//! Prints paths of any bytes as text and as JSON, and parses numbers of the command line.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{json, Value};

/// A path as JSON: a string, or an array of its bytes if it is not UTF-8.
pub fn path_as_json(path: &Path) -> Value {
    match path.to_str() {
        Some(text) => json!(text),
        None => json!(path.as_os_str().as_bytes()),
    }
}

/// A path as one line of text. Control characters are escaped, so that they have no effect on a
/// terminal.
pub fn readable(path: &Path) -> String {
    let mut text = String::new();

    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Parses a number: decimal, or hexadecimal with 0x.
pub fn number(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };

    number.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use proptest::prelude::*;

    fn path(bytes: &[u8]) -> &Path {
        Path::new(OsStr::from_bytes(bytes))
    }

    #[test]
    fn hostile_names_are_one_line() {
        assert_eq!(readable(path(b"a\nb\x1b[2J")), "a\\nb\\u{1b}[2J");
        assert_eq!(
            readable(path(b"\xff\\\"'\xc3\xa4\xc3")),
            "\\xff\\\\\"'\u{e4}\\xc3"
        );
        assert_eq!(path_as_json(path(b"a\nb")), json!("a\nb"));
        assert_eq!(path_as_json(path(b"a\xff")), json!([97, 255]));
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("4096"), Ok(4096));
        assert_eq!(number("0x1000"), Ok(4096));
        for text in ["", "0x", "-1", "4k", "0x1ffffffffffffffff"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_one_line(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text = readable(path(&bytes));

            prop_assert!(!text.chars().any(char::is_control));
            let is_text = path(&bytes).to_str().is_some();

            prop_assert_eq!(path_as_json(path(&bytes)).is_string(), is_text);
        }
    }
}
