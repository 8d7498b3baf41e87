// SPDX-License-Identifier: GPL-2.0

//! The files of a filesystem, by their inodes: their extents, and their pages in the page cache.

mod pieces;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor, SFlag};

use crate::mounts::Mount;
use crate::sys::fiemap::{self, UNWRITTEN};
use crate::sys::page_cache::{self, Mapping, PAGE};
use crate::sys::{handle, xfs};

pub use pieces::{by_page, pieces, Piece};

const FS_XFLAG_REALTIME: u64 = 0x1;

/// Number of pages that are mapped at once, at most.
const WINDOW: u64 = 1024;

/// An inode. The generation distinguishes it from earlier inodes with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inode {
    pub number: u64,
    pub generation: u32,
}

/// The kind of an inode.
pub enum Kind {
    /// A regular file with data on this device.
    Regular(Inode),
    /// A directory or a symbolic link, for example: its contents are metadata.
    Other,
    /// A file whose data is on another device.
    Elsewhere,
    /// A free inode, or one of the filesystem itself.
    None,
}

/// The result of an attempt to write back a page that is bad on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The page cache has the page, and nothing was written.
    Cached,
    /// The page was written back. The string is the error, if the write to the device failed.
    Written(Option<String>),
    /// The page cache does not have the page, for this reason.
    Lost(&'static str),
    /// The page cache has the page, but the page cannot be written back, for this reason.
    Failed(String),
}

/// A mounted filesystem.
pub struct Filesystem {
    pub mount: Mount,
    pub root: File,
    is_xfs: bool,
}

impl Filesystem {
    pub fn new(mount: Mount, root: File) -> Self {
        Self {
            is_xfs: mount.kind == "xfs",
            mount,
            root,
        }
    }

    /// Whether several files can own a block.
    pub fn has_shared_blocks(&self) -> bool {
        self.is_xfs
    }

    /// The kind of an inode that the reverse map of XFS names as an owner. Uses calls of XFS.
    pub fn kind(&self, number: u64) -> io::Result<Kind> {
        let regular = SFlag::S_IFREG.bits();

        Ok(match xfs::xfs_inode(&self.root, number)? {
            None => Kind::None,
            Some(found) if u32::from(found.mode) & SFlag::S_IFMT.bits() != regular => Kind::Other,
            Some(found) if found.xflags & FS_XFLAG_REALTIME != 0 => Kind::Elsewhere,
            Some(found) => Kind::Regular(Inode {
                number,
                generation: found.generation,
            }),
        })
    }

    /// The inode of an open file. [`None`] if its data is not on this device.
    pub fn inode_of(&self, file: &File) -> io::Result<Option<Inode>> {
        let number = file.metadata()?.ino();

        if !self.is_xfs {
            let generation = handle::generation(file)?;

            return Ok(Some(Inode { number, generation }));
        }
        Ok(match self.kind(number)? {
            Kind::Regular(inode) => Some(inode),
            _ => None,
        })
    }

    /// Opens a file by its inode, also if it was renamed, or removed while it is open. Fails with
    /// `ESTALE` if it was removed and is not open.
    pub fn open(&self, inode: Inode, is_writable: bool) -> io::Result<File> {
        let access = match is_writable {
            true => OFlag::O_RDWR,
            false => OFlag::O_RDONLY,
        };
        // O_NONBLOCK: do not wait for a process that has a lease on the file.
        let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOATIME | OFlag::O_CLOEXEC;

        match self.is_xfs {
            true => xfs::open_xfs(&self.root, inode.number, inode.generation, flags),
            false => handle::open_inode(&self.root, inode.number, inode.generation, flags),
        }
    }

    /// The name that the kernel has for an open file, if the file still has this name.
    pub fn name_of(&self, file: &File, inode: Inode) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        let meta = fs::symlink_metadata(&path).ok()?;

        (self.has(&meta) && meta.ino() == inode.number).then_some(path)
    }

    /// Whether a file with this metadata is on the filesystem.
    pub fn has(&self, meta: &fs::Metadata) -> bool {
        (major(meta.dev()), minor(meta.dev())) == self.mount.device
    }

    /// Writes bad pages of a file back, and returns the result for each. `pages` are page numbers,
    /// sorted. With `is_dry`, only checks which pages can be written back.
    pub fn write_back(
        &self,
        inode: Inode,
        file: &File,
        pages: &[u64],
        is_dry: bool,
    ) -> io::Result<BTreeMap<u64, Attempt>> {
        if page_cache::has_dax(file)? {
            let lost = Attempt::Lost("a file with DAX is not in the page cache");

            return Ok(pages.iter().map(|page| (*page, lost.clone())).collect());
        }
        let mut attempts = BTreeMap::new();

        for (range, pages) in windows(pages) {
            let mapping = Mapping::new(file, &range, false)?;

            for page in pages {
                attempts.insert(*page, check_cached(&mapping, page - range.start)?);
            }
        }
        if is_dry {
            return Ok(attempts);
        }
        let cached: Vec<_> = attempts
            .iter()
            .filter(|(_, attempt)| **attempt == Attempt::Cached)
            .map(|(page, _)| *page)
            .collect();

        if cached.is_empty() {
            return Ok(attempts);
        }
        match self.open(inode, true) {
            Ok(file) => {
                for (range, pages) in windows(&cached) {
                    attempts.extend(write_back_window(&file, range, pages)?);
                }
            }
            Err(error) => {
                let failed = Attempt::Failed(describe_open_error(&error));

                attempts.extend(cached.iter().map(|page| (*page, failed.clone())));
            }
        }
        Ok(attempts)
    }
}

/// Splits `pages` into windows that are mapped at once, each with the range from its first to its
/// last page.
fn windows(pages: &[u64]) -> impl Iterator<Item = (Range<u64>, &[u64])> {
    pages
        .chunk_by(|a, b| a / WINDOW == b / WINDOW)
        .filter_map(|window| Some((*window.first()?..window.last()? + 1, window)))
}

fn check_cached(mapping: &Mapping<'_>, page: u64) -> io::Result<Attempt> {
    Ok(match mapping.is_cached(page)? {
        true => Attempt::Cached,
        false => Attempt::Lost("not in the page cache"),
    })
}

/// Writes back the pages that are still in the page cache.
fn write_back_window(
    file: &File,
    range: Range<u64>,
    pages: &[u64],
) -> io::Result<BTreeMap<u64, Attempt>> {
    let meta = file.metadata()?;
    let has_holes = meta.blocks().saturating_mul(512) < meta.len();
    let mapping = Mapping::new(file, &range, true)?;
    let mut attempts = BTreeMap::new();

    for page in pages {
        let index = page - range.start;
        let mut attempt = check_cached(&mapping, index)?;

        if attempt == Attempt::Cached {
            attempt = match dirty(file, &mapping, *page, index, has_holes) {
                Ok(()) => Attempt::Written(None),
                Err(why) => Attempt::Failed(why),
            };
        }
        attempts.insert(*page, attempt);
    }
    if let Err(error) = mapping.sync() {
        for attempt in attempts.values_mut() {
            if let Attempt::Written(failed) = attempt {
                *failed = Some(error.to_string());
            }
        }
    }
    Ok(attempts)
}

/// Marks a cached page as dirty, so that the next sync writes it back.
fn dirty(
    file: &File,
    mapping: &Mapping<'_>,
    page: u64,
    index: u64,
    has_holes: bool,
) -> Result<(), String> {
    if has_holes {
        // Without the split, the filesystem would allocate blocks for all holes in the folio.
        mapping.split(index);
    }
    match is_allocated(file, page) {
        Ok(true) => {}
        Ok(false) => return Err("the page is now a hole: repair again".into()),
        Err(error) => return Err(error.to_string()),
    }
    mapping
        .dirty(index)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EFAULT) => {
                "the filesystem refused the write: check free space (df) and quotas".into()
            }
            _ => error.to_string(),
        })
}

fn is_allocated(file: &File, page: u64) -> io::Result<bool> {
    let start = page * PAGE;
    let extents = fiemap::extents(file, start..start + PAGE)?;

    Ok(extents.iter().any(|extent| extent.flags & UNWRITTEN == 0))
}

/// Describes why a file cannot be opened or mapped, and what to do.
pub fn describe_open_error(error: &io::Error) -> String {
    let errno = error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw);

    match errno {
        Errno::EROFS => "mounted read-only: remount it read-write, and repair again",
        Errno::EPERM => {
            "the file is immutable, append-only or has fs-verity: copy it to a new file"
        }
        Errno::ETXTBSY => "the file is executed or used for swap: copy it to a new file",
        Errno::EAGAIN => {
            "a process has a lease on the file, and must release it: run the command again"
        }
        Errno::EIO | Errno::EUCLEAN | Errno::EBADMSG => {
            return format!("{error}: check the filesystem")
        }
        _ => return error.to_string(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_contain_all_pages(mut pages in prop::collection::vec(0_u64..5000, 0..50)) {
            pages.sort();
            pages.dedup();
            let mut all = Vec::new();

            for (range, window) in windows(&pages) {
                prop_assert!(range.end - range.start <= WINDOW);
                prop_assert!(window.iter().all(|page| range.contains(page)));
                all.extend_from_slice(window);
            }
            prop_assert_eq!(all, pages);
        }
    }
}
