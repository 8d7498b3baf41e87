// SPDX-License-Identifier: GPL-2.0

//! Operations in which an allocation of the kernel fails: the first one, then the second one, until
//! none is left.
//!
//! What fails must fail with `ENOMEM`, must succeed when it is tried again, and must leave the
//! filesystem as it should be. The kernel does that for one thread, see
//! `Documentation/fault-injection/fault-injection.rst`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cli::Unwritten;
use mendfs::check::{self, Checked};
use mendfs::device;
use mendfs::media::FileMedia;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use crate::kernel_log::{is_complaint, KernelLog};
use crate::mount::Mounted;
use crate::operations::{Operation, OPERATIONS};

/// More allocations than any operation makes.
const MOST: u32 = 2000;

/// The file that says which allocation of this thread fails.
struct Injector(File);

impl Injector {
    fn new() -> io::Result<Self> {
        for kind in ["failslab", "fail_page_alloc"] {
            for (name, value) in [("ignore-gfp-wait", "N"), ("verbose", "0")] {
                fs::write(format!("/sys/kernel/debug/{kind}/{name}"), value)?;
            }
        }

        let path = "/proc/thread-self/fail-nth";

        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(Self)
    }

    /// Has allocation number `nth` fail while `act` runs. Returns what came of that, and whether
    /// there was such an allocation.
    fn inject<T>(&self, nth: u32, act: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        let text = nth.to_string();
        let mut left = [0; 16];

        self.0.write_all_at(text.as_bytes(), 0)?;

        let result = act();
        let len = self.0.read_at(&mut left, 0)?;

        self.0.write_all_at(b"0", 0)?;
        Ok((result, left[..len].trim_ascii() == b"0"))
    }
}

/// Runs operations on a filesystem.
pub struct Faults<'a> {
    device: &'a Path,
    mount_point: &'a Path,
    injector: Injector,
    log: KernelLog,
}

/// Free blocks and inodes.
type Room = (u64, u64);

impl<'a> Faults<'a> {
    /// Prepares the injection.
    ///
    /// # Errors
    ///
    /// - A sentence if the kernel cannot do that.
    pub fn new(device: &'a Path, mount_point: &'a Path) -> Result<Self, String> {
        keep_memory();
        Ok(Self {
            device,
            mount_point,
            injector: Injector::new().map_err(|e| format!("fault injection: {e}"))?,
            log: KernelLog::open().map_err(|e| format!("/dev/kmsg: {e}"))?,
        })
    }

    /// Tries all operations whose names contain `filter`. Returns whether all went as it should.
    ///
    /// # Errors
    ///
    /// - [`Unwritten`] if nobody can be told.
    pub fn run(&mut self, filter: &str) -> Result<bool, Unwritten> {
        let mut is_good = true;

        if "mount".contains(filter) {
            is_good &= self.tell("mount", |this| this.try_mount())?;
        }
        for operation in OPERATIONS.iter().filter(|o| o.name.contains(filter)) {
            is_good &= self.tell(operation.name, |this| this.try_operation(operation))?;
        }
        Ok(is_good)
    }

    /// Says what came of an operation.
    fn tell(
        &mut self,
        name: &str,
        attempt: impl FnOnce(&mut Self) -> Result<u32, String>,
    ) -> Result<bool, Unwritten> {
        let result = attempt(self).and_then(|count| self.check().map(|()| count));

        match &result {
            Ok(count) => cli::print(format_args!("{name}: {count} allocations")),
            Err(what) => cli::print(format_args!("{name}: {what}")),
        }?;
        Ok(result.is_ok())
    }

    /// Checks the filesystem, which is not mounted, and what the kernel has said.
    fn check(&mut self) -> Result<(), String> {
        let lines = self.log.lines().map_err(|e| format!("/dev/kmsg: {e}"))?;

        if lines.iter().any(|line| is_complaint(line)) {
            return Err(format!("a complaint\n{}", lines.join("\n")));
        }

        let path = self.device.to_string_lossy();
        let file = device::open(&path, false)?;
        let media = FileMedia::new(file).map_err(|e| e.to_string())?;
        let Checked { report, .. } = check::check(&media, device::now())?;

        match report.errors {
            0 => Ok(()),
            _ => Err(format!("fsck finds {:?}", report.findings)),
        }
    }

    fn try_mount(&self) -> Result<u32, String> {
        let mount = || Mounted::new(self.device, self.mount_point, false);

        for nth in 1..MOST {
            let (result, is_injected) = self.inject(nth, mount)?;

            match result {
                Ok(mounted) => mounted.end().map_err(|e| format!("umount: {e}"))?,
                Err(Errno::ENOMEM) if is_injected => {}
                Err(error) => return Err(format!("allocation {nth}: {error}")),
            }
            if !is_injected {
                return Ok(nth - 1);
            }
        }
        Err("it never succeeds".into())
    }

    fn inject<T>(&self, nth: u32, act: impl FnOnce() -> T) -> Result<(T, bool), String> {
        self.injector
            .inject(nth, act)
            .map_err(|e| format!("fault injection: {e}"))
    }

    fn try_operation(&self, operation: &Operation) -> Result<u32, String> {
        let mounted = Mounted::new(self.device, self.mount_point, false)
            .map_err(|e| format!("mount: {e}"))?;

        // The last one may have failed.
        if self.folder().exists() {
            fs::remove_dir_all(self.folder()).map_err(|e| format!("remove: {e}"))?;
        }

        let empty = self.room()?;

        for nth in 1..MOST {
            let is_injected = self
                .try_nth(operation, nth)
                .map_err(|what| format!("allocation {nth}: {what}"))?;

            if !is_injected {
                mounted.end().map_err(|e| format!("umount: {e}"))?;
                self.expect_room(empty)?;
                return Ok(nth - 1);
            }
        }
        Err("it never succeeds".into())
    }

    /// Runs an operation in an empty directory. Returns whether there was such an allocation.
    fn try_nth(&self, operation: &Operation, nth: u32) -> Result<bool, String> {
        let folder = self.folder();
        let describe = |what: &str, error: io::Error| format!("{what}: {error}");

        fs::create_dir(&folder).map_err(|e| describe("mkdir", e))?;
        (operation.prepare)(&folder).map_err(|e| describe("before", e))?;

        let before = self.room()?;
        let (result, is_injected) = self.inject(nth, || (operation.act)(&folder))?;

        match result {
            Ok(()) => {}
            Err(error) if is_injected && error.raw_os_error() == Some(libc::ENOMEM) => {
                let after = self.room()?;

                if operation.is_atomic && before != after {
                    return Err(format!("it took {before:?} to {after:?}"));
                }
                (operation.act)(&folder).map_err(|e| describe("again", e))?;
            }
            Err(error) => return Err(error.to_string()),
        }
        fs::remove_dir_all(&folder).map_err(|e| describe("remove", e))?;
        Ok(is_injected)
    }

    fn folder(&self) -> PathBuf {
        self.mount_point.join("folder")
    }

    fn room(&self) -> Result<Room, String> {
        // What an operation that has failed has taken goes back when another one begins.
        let describe = |e: io::Error| format!("{}: {e}", self.mount_point.display());

        File::open(self.mount_point)
            .and_then(|root| root.set_modified(std::time::SystemTime::now()))
            .map_err(describe)?;

        let found = statvfs(self.mount_point).map_err(|e| describe(e.into()))?;

        Ok((found.blocks_free(), found.files_free()))
    }

    /// Checks that all room is back after a mount. What could not be removed for lack of memory is
    /// removed by that.
    fn expect_room(&self, wanted: Room) -> Result<(), String> {
        let mounted = Mounted::new(self.device, self.mount_point, false)
            .map_err(|e| format!("mount: {e}"))?;
        let found = self.room()?;

        mounted.end().map_err(|e| format!("umount: {e}"))?;
        match found == wanted {
            true => Ok(()),
            false => Err(format!("room for {found:?} is left of {wanted:?}")),
        }
    }
}

/// Has the C library ask the kernel for memory now, and never again: that would fail, too.
fn keep_memory() {
    const PLENTY: libc::c_int = 64 << 20;

    // SAFETY: These are options.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, PLENTY);
        libc::mallopt(libc::M_TOP_PAD, PLENTY);
    }
    drop(vec![1_u8; PLENTY as usize / 2]);
}
