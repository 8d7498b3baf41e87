// SPDX-License-Identifier: GPL-2.0

//! The files and directories that a walk could not search.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::files;
use crate::text::readable;

/// Number of lines, at most: a user decides how many files cannot be searched.
const LINES: usize = 100;

/// A line for each file or directory that could not be searched.
pub struct Skipped<'a> {
    /// The mount point.
    point: &'a Path,
    lines: BTreeSet<String>,
    /// Number of further errors.
    more: u64,
}

impl<'a> Skipped<'a> {
    pub fn new(point: &'a Path) -> Self {
        Self {
            point,
            lines: BTreeSet::new(),
            more: 0,
        }
    }

    /// Adds a path below the mount point, or an absolute path, unless there is nothing to search
    /// any more.
    pub fn add(&mut self, path: &Path, error: &io::Error) {
        if is_gone(error) {
            return;
        }
        let name = match path.as_os_str().is_empty() {
            true => readable(self.point),
            false => readable(&self.point.join(path)),
        };
        let line = format!(
            "{name}: not searched: {}",
            files::describe_open_error(error)
        );

        if self.lines.len() < LINES {
            self.lines.insert(line);
        } else if !self.lines.contains(&line) {
            self.more = self.more.saturating_add(1);
        }
    }

    pub fn into_lines(self) -> Vec<String> {
        let mut lines: Vec<_> = self.lines.into_iter().collect();

        if self.more != 0 {
            let point = readable(self.point);

            lines.push(format!("{point}: and {} more errors like these", self.more));
        }
        lines
    }
}

/// Whether the file or directory was removed or replaced meanwhile, or another filesystem is
/// mounted there.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTDIR | libc::ENOENT | libc::ESTALE | libc::EXDEV | libc::ELOOP)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(errors: &[(&str, i32)]) -> Vec<String> {
        let mut skipped = Skipped::new(Path::new("/mnt"));

        for (path, errno) in errors {
            skipped.add(Path::new(path), &io::Error::from_raw_os_error(*errno));
        }
        skipped.into_lines()
    }

    #[test]
    fn a_line_names_the_file_and_what_to_do() {
        assert_eq!(
            lines(&[("a\nb", libc::EAGAIN), ("", libc::EACCES)]),
            [
                "/mnt/a\\nb: not searched: a process has a lease on the file, and must release \
                 it: run the command again",
                "/mnt: not searched: Permission denied (os error 13)",
            ]
        );
        assert!(lines(&[("/x (deleted)", libc::EIO)])[0].starts_with("/x (deleted): not searched"));
    }

    #[test]
    fn files_that_are_gone_are_no_errors() {
        let gone = [
            libc::ENOENT,
            libc::ESTALE,
            libc::EXDEV,
            libc::ELOOP,
            libc::ENOTDIR,
        ];

        assert_eq!(lines(&gone.map(|errno| ("a", errno))), [""; 0]);
    }

    #[test]
    fn the_number_of_lines_is_limited() {
        let names: Vec<_> = (0..LINES + 7).map(|number| number.to_string()).collect();
        let mut errors: Vec<_> = names.iter().map(|name| (&name[..], libc::EIO)).collect();

        // The first file again.
        errors.push(errors[0]);
        let lines = lines(&errors);

        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines[LINES], "/mnt: and 7 more errors like these");
    }
}
