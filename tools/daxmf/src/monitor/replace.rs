// SPDX-License-Identifier: GPL-2.0

//! Replaces files that other accounts may be able to replace, too.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The mode of a new file. Other accounts read the metrics.
const MODE: u32 = 0o644;

/// Replaces a file atomically, so that no reader gets only a part of the text. If this fails, the
/// old file stays.
pub fn replace(file: &Path, text: &str) -> Result<(), String> {
    let temporary = temporary(file);

    remove(&temporary)
        .and_then(|()| create(&temporary, text))
        .and_then(|()| fs::rename(&temporary, file))
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("{}: no such directory", file.display()),
            _ => format!("{}: {error}", file.display()),
        })
}

fn temporary(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);

    name.push(".new");
    name.into()
}

/// Removes the rest of an earlier replacement, if there is one.
fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Creates a file. The name can be guessed, and another account may be able to create files in the
/// directory. So an existing file, such as a link to a file of root, must not be opened.
fn create(file: &Path, text: &str) -> io::Result<()> {
    let mut open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(file)?;

    open.write_all(text.as_bytes()).inspect_err(|_| {
        // The error of the write is the one to report.
        let _ = fs::remove_file(file);
    })
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::fs::{symlink, PermissionsExt};
    use std::process;

    use super::*;

    /// A directory that is removed at the end of a test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = env::temp_dir().join(format!("daxmf-{name}-{}", process::id()));

            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = Folder::new("link");
        let (file, victim) = (folder.0.join("file"), folder.0.join("victim"));

        fs::write(&victim, "old").unwrap();
        symlink(&victim, temporary(&file)).unwrap();
        replace(&file, "new").unwrap();

        assert_eq!(fs::read_to_string(&victim).unwrap(), "old");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let meta = fs::symlink_metadata(&file).unwrap();

        assert!(meta.is_file());
        assert_eq!(meta.permissions().mode() & 0o133, 0);
        assert!(!temporary(&file).exists());

        symlink(&victim, temporary(&file)).unwrap();
        let error = create(&temporary(&file), "new").unwrap_err();

        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "old");
    }

    #[test]
    fn errors_name_the_file() {
        let folder = Folder::new("errors");
        let file = folder.0.join("none/file");
        let error = replace(&file, "new").unwrap_err();

        assert_eq!(error, format!("{}: no such directory", file.display()));

        let file = folder.0.join("file");

        fs::create_dir(temporary(&file)).unwrap();
        let error = replace(&file, "new").unwrap_err();

        assert!(
            error.starts_with(&format!("{}: ", file.display())),
            "{error}"
        );
    }
}
