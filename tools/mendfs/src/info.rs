// SPDX-License-Identifier: GPL-2.0

//! The contents of a superblock as text, as JSON and as properties for udev.

use std::fmt::Write;

use serde_json::{json, Value};
use uuid::Uuid;

use crate::format::{Superblock, BLOCK_SHIFT, VERSION};

/// A label, padded with zeroes.
#[derive(Clone)]
pub struct Label(pub [u8; 32]);

/// Parses a label in an argument of a program.
///
/// # Errors
///
/// - A message if it is longer than 32 bytes.
pub fn parse_label(text: &str) -> Result<Label, String> {
    Superblock::padded_label(text.as_bytes())
        .map(Label)
        .ok_or_else(|| "longer than 32 bytes".into())
}

/// The label without its padding.
pub fn label(superblock: &Superblock) -> String {
    label_text(&superblock.label)
}

/// The text of a label that is padded with zeroes.
pub fn label_text(padded: &[u8]) -> String {
    let label = padded.split(|byte| *byte == 0).next();

    String::from_utf8_lossy(label.unwrap_or_default()).into()
}

/// Describes the filesystem on a device in three lines.
pub fn text(device: &str, superblock: &Superblock) -> String {
    let geometry = &superblock.geometry;
    let data = geometry.data();

    format!(
        "{device}: {} blocks of 4 KiB, {} of them for data, from block {} on\n\
         two copies of {} blocks of metadata and {} blocks of journal\n\
         uuid {}, label \"{}\"",
        geometry.blocks(),
        data.end - data.start,
        data.start,
        geometry.metadata_blocks(),
        geometry.journal_blocks(),
        Uuid::from_bytes(superblock.mount_uuid),
        label(superblock),
    )
}

/// Describes the filesystem on a device as JSON.
pub fn json(device: &str, superblock: &Superblock) -> Value {
    let geometry = &superblock.geometry;
    let data = geometry.data();

    json!({
        "device": device,
        "uuid": Uuid::from_bytes(superblock.mount_uuid).to_string(),
        "label": label(superblock),
        "block_size": 1 << BLOCK_SHIFT,
        "blocks": geometry.blocks(),
        "metadata_blocks": geometry.metadata_blocks(),
        "journal_blocks": geometry.journal_blocks(),
        "data_start": data.start,
        "data_blocks": data.end - data.start,
    })
}

/// The properties that `blkid` would give udev if it recognized mendfs, one per line.
pub fn udev(superblock: &Superblock) -> String {
    let uuid = Uuid::from_bytes(superblock.mount_uuid);
    let label = label(superblock);
    let mut lines = format!(
        "ID_FS_TYPE=mendfs\n\
         ID_FS_USAGE=filesystem\n\
         ID_FS_VERSION={VERSION}\n\
         ID_FS_UUID={uuid}\n\
         ID_FS_UUID_ENC={uuid}"
    );

    if !label.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(
            lines,
            "\nID_FS_LABEL={}\nID_FS_LABEL_ENC={}",
            replaced(&label),
            encoded(&label)
        );
    }
    lines
}

/// Whether udev allows a character in the name of a link.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii() && !c.is_control()
}

/// Replaces each character that [`is_plain()`] refuses by an underscore. Such a character has a
/// meaning for a shell, or ends a line.
///
/// C: `blkid_safe_string()`
fn replaced(text: &str) -> String {
    text.chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect()
}

/// Replaces each character that [`is_plain()`] refuses by the codes of its bytes, such as `\x20`
/// for a space.
///
/// C: `blkid_encode_string()`
fn encoded(text: &str) -> String {
    let mut encoded = String::new();

    for c in text.chars() {
        if is_plain(c) {
            encoded.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a string does not fail.
            let _ = write!(encoded, "\\x{byte:02x}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_labels() {
        for (label, safe, escaped) in [
            ("data", "data", "data"),
            ("my data", "my_data", "my\\x20data"),
            (
                "a\nID_FS_TYPE=ext4",
                "a_ID_FS_TYPE=ext4",
                "a\\x0aID_FS_TYPE=ext4",
            ),
            ("../../sda", ".._.._sda", "..\\x2f..\\x2fsda"),
            (
                "$(reboot)`\\\"'",
                "__reboot_____",
                "\\x24\\x28reboot\\x29\\x60\\x5c\\x22\\x27",
            ),
            ("\u{85}é", "_é", "\\xc2\\x85é"),
        ] {
            assert_eq!(replaced(label), safe);
            assert_eq!(encoded(label), escaped);
        }
    }
}
