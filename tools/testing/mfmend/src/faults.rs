// SPDX-License-Identifier: GPL-2.0

//! Repeats operations while one allocation of the kernel fails. In the first attempt, the first
//! allocation fails; in the second attempt, the second allocation; and so on, until an attempt
//! makes fewer allocations.
//!
//! If an operation fails, the error must be `ENOMEM`, a second attempt must succeed, and fsck must
//! find no damage. The kernel injects the failure into one thread, see
//! `Documentation/fault-injection/fault-injection.rst` of the kernel.

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

/// The limit of allocations, which is more than any operation makes.
const MAX_ALLOCATIONS: u32 = 2000;

/// The open file `/proc/thread-self/fail-nth`, which selects the failing allocation of this thread.
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

    /// Calls `act` while allocation number `nth` fails. Returns the result of `act`, and whether it
    /// made that many allocations.
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

/// Runs operations with failing allocations on a filesystem.
pub struct Faults<'a> {
    device: &'a Path,
    mount_point: &'a Path,
    injector: Injector,
    log: KernelLog,
}

/// The numbers of free blocks and inodes.
type FreeSpace = (u64, u64);

impl<'a> Faults<'a> {
    /// Prepares the injection.
    ///
    /// # Errors
    ///
    /// - A message if the kernel cannot inject failures.
    pub fn new(device: &'a Path, mount_point: &'a Path) -> Result<Self, String> {
        reserve_memory();
        Ok(Self {
            device,
            mount_point,
            injector: Injector::new().map_err(|e| format!("fault injection: {e}"))?,
            log: KernelLog::open().map_err(|e| format!("/dev/kmsg: {e}"))?,
        })
    }

    /// Tries all operations whose names contain `filter`. Returns whether all passed.
    ///
    /// # Errors
    ///
    /// - [`Unwritten`] if standard output cannot be written.
    pub fn run(&mut self, filter: &str) -> Result<bool, Unwritten> {
        let mut is_good = true;

        if "mount".contains(filter) {
            is_good &= self.print_result("mount", |this| this.try_mount())?;
        }
        for operation in OPERATIONS.iter().filter(|o| o.name.contains(filter)) {
            is_good &= self.print_result(operation.name, |this| this.try_operation(operation))?;
        }
        Ok(is_good)
    }

    /// Runs an attempt, checks the filesystem, and prints the result. Returns whether both passed.
    fn print_result(
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

    /// Checks the unmounted filesystem and the new lines of the kernel log.
    fn check(&mut self) -> Result<(), String> {
        let lines = self.log.lines().map_err(|e| format!("/dev/kmsg: {e}"))?;

        if lines.iter().any(|line| is_complaint(line)) {
            return Err(format!("the kernel warns\n{}", lines.join("\n")));
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

        for nth in 1..MAX_ALLOCATIONS {
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
        Err("it makes too many allocations".into())
    }

    fn inject<T>(&self, nth: u32, act: impl FnOnce() -> T) -> Result<(T, bool), String> {
        self.injector
            .inject(nth, act)
            .map_err(|e| format!("fault injection: {e}"))
    }

    fn try_operation(&self, operation: &Operation) -> Result<u32, String> {
        let mounted = Mounted::new(self.device, self.mount_point, false)
            .map_err(|e| format!("mount: {e}"))?;

        // A failed operation leaves its folder.
        if self.folder().exists() {
            fs::remove_dir_all(self.folder()).map_err(|e| format!("remove: {e}"))?;
        }

        let empty = self.free_space()?;

        for nth in 1..MAX_ALLOCATIONS {
            let is_injected = self
                .try_nth(operation, nth)
                .map_err(|what| format!("allocation {nth}: {what}"))?;

            if !is_injected {
                mounted.end().map_err(|e| format!("umount: {e}"))?;
                self.expect_free_space(empty)?;
                return Ok(nth - 1);
            }
        }
        Err("it makes too many allocations".into())
    }

    /// Runs an operation in an empty directory while allocation number `nth` fails. Returns whether
    /// it made that many allocations.
    fn try_nth(&self, operation: &Operation, nth: u32) -> Result<bool, String> {
        let folder = self.folder();
        let describe = |what: &str, error: io::Error| format!("{what}: {error}");

        fs::create_dir(&folder).map_err(|e| describe("mkdir", e))?;
        (operation.prepare)(&folder).map_err(|e| describe("preparation", e))?;

        let before = self.free_space()?;
        let (result, is_injected) = self.inject(nth, || (operation.act)(&folder))?;

        match result {
            Ok(()) => {}
            Err(error) if is_injected && error.raw_os_error() == Some(libc::ENOMEM) => {
                let after = self.free_space()?;

                if operation.is_atomic && before != after {
                    return Err(format!(
                        "it failed, but changed the free space from {before:?} to {after:?}"
                    ));
                }
                (operation.act)(&folder).map_err(|e| describe("second attempt", e))?;
            }
            Err(error) => return Err(error.to_string()),
        }
        fs::remove_dir_all(&folder).map_err(|e| describe("remove", e))?;
        Ok(is_injected)
    }

    fn folder(&self) -> PathBuf {
        self.mount_point.join("folder")
    }

    fn free_space(&self) -> Result<FreeSpace, String> {
        // mendfs frees the blocks of a failed operation at the start of the next operation. So run
        // an operation: set the time of the root directory.
        let describe = |e: io::Error| format!("{}: {e}", self.mount_point.display());

        File::open(self.mount_point)
            .and_then(|root| root.set_modified(std::time::SystemTime::now()))
            .map_err(describe)?;

        let found = statvfs(self.mount_point).map_err(|e| describe(e.into()))?;

        Ok((found.blocks_free(), found.files_free()))
    }

    /// Checks the free space after a new mount. The mount evicts inodes that could not be evicted
    /// earlier because an allocation failed.
    fn expect_free_space(&self, wanted: FreeSpace) -> Result<(), String> {
        let mounted = Mounted::new(self.device, self.mount_point, false)
            .map_err(|e| format!("mount: {e}"))?;
        let found = self.free_space()?;

        mounted.end().map_err(|e| format!("umount: {e}"))?;
        match found == wanted {
            true => Ok(()),
            false => Err(format!("the free space is {found:?} instead of {wanted:?}")),
        }
    }
}

/// Makes the C library allocate all memory now, and keep it. Otherwise the C library would call the
/// kernel during an operation, and this allocation would fail.
fn reserve_memory() {
    /// More bytes than the program needs.
    const SIZE: libc::c_int = 64 << 20;

    // SAFETY: `mallopt()` takes no pointers.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SIZE);
        libc::mallopt(libc::M_TOP_PAD, SIZE);
    }
    drop(vec![1_u8; SIZE as usize / 2]);
}
