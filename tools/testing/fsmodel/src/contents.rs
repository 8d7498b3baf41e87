// SPDX-License-Identifier: GPL-2.0

//! Reads and compares the contents of files, some pages of which can be bad.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

use crate::model::file::File;
use crate::span::PAGE;

/// Whether this is the error of reading a bad page: `EIO`.
pub fn is_failure(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// Reads from offset `at` of the file into `bytes`, up to the end of the file. Returns the number
/// of bytes.
pub fn read_at(file: &fs::File, bytes: &mut [u8], at: usize) -> io::Result<usize> {
    let mut done = 0;

    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], (at + done) as u64)? {
            0 => break,
            len => done += len,
        }
    }
    Ok(done)
}

/// Reads at most `len` bytes of a file. If the read of a bad page fails, the page is filled from
/// `expected`.
fn read_file(
    file: &fs::File,
    len: usize,
    is_bad: impl Fn(usize) -> bool,
    expected: &[u8],
) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len() as usize;
    let mut found = vec![0; size.min(len)];

    for (page, bytes) in (0..).zip(found.chunks_mut(PAGE)) {
        let at = page * PAGE;

        match read_at(file, bytes, at) {
            Err(error) if is_failure(&error) && is_bad(page) => {
                for (to, from) in bytes.iter_mut().zip(&expected[at.min(expected.len())..]) {
                    *to = *from;
                }
            }
            done => {
                done?;
            }
        }
    }
    Ok(found)
}

/// Compares the contents of a file: each byte, and the size, must be as in `before` or in `after`.
/// The size can also be in between.
pub fn compare_file(file: &fs::File, before: &File, after: &File) -> Result<(), String> {
    let (old, new) = (&before.data, &after.data);
    let sizes = old.len().min(new.len())..=old.len().max(new.len());
    let is_bad = |page| before.bad.contains(&page) || after.bad.contains(&page);
    // Read one byte more than the maximum, to detect a file that is too long.
    let found = read_file(file, sizes.end() + 1, is_bad, new).map_err(|e| e.to_string())?;

    if !sizes.contains(&found.len()) {
        return Err(format!("{} bytes instead of {sizes:?}", found.len()));
    }
    if found == *old || found == *new {
        return Ok(());
    }

    let byte = |data: &[u8], at: usize| data.get(at).copied().unwrap_or(0);
    let is_wrong = |at: &usize| found[*at] != byte(old, *at) && found[*at] != byte(new, *at);
    let wrong: Vec<_> = (0..found.len()).filter(is_wrong).collect();

    match (wrong.first(), wrong.last()) {
        (Some(first), Some(last)) => Err(format!(
            "{} bytes are wrong from {first:#x} to {last:#x}, the first is {:#04x} instead of \
             {:#04x} or {:#04x}",
            wrong.len(),
            found[*first],
            byte(old, *first),
            byte(new, *first)
        )),
        _ => Ok(()),
    }
}

/// Compares bytes from offset `at` of a file with the expected ones.
pub fn compare(expected: &[u8], found: &[u8], at: usize) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    if expected.len() != found.len() {
        return Err(format!(
            "{} bytes instead of {}",
            found.len(),
            expected.len()
        ));
    }

    let differ: Vec<_> = (0..found.len())
        .filter(|i| expected[*i] != found[*i])
        .collect();
    let (first, last) = (differ[0], differ[differ.len() - 1]);

    Err(format!(
        "{} bytes differ from {:#x} to {:#x}, the first is {:#04x} instead of {:#04x}",
        differ.len(),
        at + first,
        at + last,
        found[first],
        expected[first]
    ))
}
