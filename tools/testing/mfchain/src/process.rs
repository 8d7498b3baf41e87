// SPDX-License-Identifier: GPL-2.0

//! A process that maps one page of a file, and waits for a signal or a command.
//!
//! The process runs this program, with the `process` subcommand. It sends [`Report`]s
//! on its standard output and executes one-byte [`Command`]s from its standard input. Each side
//! waits for the other, so no timeouts are needed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::mman::{mmap, MapFlags, ProtFlags};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};

use crate::report::{Phase, Report, Sigbus};
use crate::spec::{Spec, PAGE_SIZE};

/// A command for a process that has reported [`Report::Ready`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Call `madvise(MADV_HWPOISON)` on the page.
    Poison = b'p' as isize,
    /// Touch the page again.
    Touch = b't' as isize,
    /// Exit.
    Finish = b'f' as isize,
}

impl Command {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Poison, Self::Touch, Self::Finish]
            .into_iter()
            .find(|c| *c as u8 == byte)
    }
}

static PHASE: AtomicU8 = AtomicU8::new(Phase::Mapping as u8);

fn set_phase(phase: Phase) {
    PHASE.store(phase as u8, Ordering::SeqCst);
}

fn phase() -> Phase {
    match PHASE.load(Ordering::SeqCst) {
        0 => Phase::Mapping,
        1 => Phase::Waiting,
        2 => Phase::Poisoning,
        _ => Phase::Touching,
    }
}

/// The start of `siginfo_t` for SIGBUS; the libc crate has no accessor for `si_addr_lsb`.
#[repr(C)]
struct SigbusInfo {
    signo: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    addr: *const libc::c_void,
    addr_lsb: libc::c_short,
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is valid for writes for the duration of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Reports the signal and exits, because returning would repeat a faulting access.
extern "C" fn on_sigbus(
    _signo: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    let time_ns = monotonic_ns();
    // SAFETY: The kernel passes a valid `siginfo_t` to a SA_SIGINFO handler, and `SigbusInfo` has
    // the layout of its start for SIGBUS.
    let info = unsafe { &*info.cast::<SigbusInfo>() };
    let bytes = Report::Signalled(Sigbus {
        code: info.code,
        addr: info.addr as u64,
        lsb: info.addr_lsb as u32,
        time_ns,
        phase: phase(),
    })
    .encode();
    // SAFETY: write() and _exit() are async-signal-safe, and `bytes` outlives the call.
    unsafe {
        libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(0);
    }
}

fn catch_sigbus() -> nix::Result<()> {
    let action = SigAction::new(
        SigHandler::SigAction(on_sigbus),
        SaFlags::SA_SIGINFO,
        SigSet::empty(),
    );
    // SAFETY: `on_sigbus()` only calls async-signal-safe functions.
    unsafe { sigaction(Signal::SIGBUS, &action) }?;
    Ok(())
}

/// Sets when the kernel signals this process: at once, or only when the process touches the page.
fn set_early_kill(early: bool) -> io::Result<()> {
    let policy = if early {
        libc::PR_MCE_KILL_EARLY
    } else {
        libc::PR_MCE_KILL_LATE
    };
    // SAFETY: PR_MCE_KILL takes integers only.
    let ret = unsafe { libc::prctl(libc::PR_MCE_KILL, libc::PR_MCE_KILL_SET, policy, 0, 0) };
    if ret == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A mapping that lasts as long as the process.
struct Mapping {
    start: NonNull<libc::c_void>,
    write: bool,
}

impl Mapping {
    fn new(spec: &Spec) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(spec.write)
            .open(&spec.file)?;
        let length = usize::try_from(spec.length)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let offset = i64::try_from(spec.offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut prot = ProtFlags::PROT_READ;
        prot.set(ProtFlags::PROT_WRITE, spec.write);
        let flags = if spec.private {
            MapFlags::MAP_PRIVATE
        } else {
            MapFlags::MAP_SHARED
        };
        // SAFETY: mmap() chooses the address, so it replaces no other mapping.
        let start = unsafe { mmap(None, length, prot, flags, &file, offset) }?;
        Ok(Self {
            start,
            write: spec.write,
        })
    }

    fn addr(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Reads or rewrites the first byte.
    fn touch(&self) {
        let byte = self.start.as_ptr().cast::<u8>();
        // SAFETY: The mapping is at least one byte long, is never unmapped, and is writable if
        // `self.write`. A failing access raises SIGBUS, whose handler does not return.
        unsafe {
            let value = byte.read_volatile();
            if self.write {
                byte.write_volatile(value);
            }
        }
    }

    /// Injects a failure into the first page.
    fn poison(&self) -> io::Result<()> {
        // SAFETY: The page belongs to this mapping, and no reference points into it.
        let ret =
            unsafe { libc::madvise(self.start.as_ptr(), PAGE_SIZE as usize, libc::MADV_HWPOISON) };
        if ret == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Looks up the physical address of the first page.
    fn phys(&self) -> io::Result<u64> {
        const PRESENT: u64 = 1 << 63;
        const PFN_MASK: u64 = (1 << 55) - 1;

        let mut entry = [0; 8];
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, self.addr() / PAGE_SIZE * 8)?;
        let entry = u64::from_le_bytes(entry);
        match (entry & PRESENT, entry & PFN_MASK) {
            (0, _) => Err(io::Error::from_raw_os_error(libc::ENXIO)),
            (_, 0) => Err(io::Error::from_raw_os_error(libc::EPERM)),
            (_, pfn) => Ok(pfn * PAGE_SIZE),
        }
    }
}

fn send(report: Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&report.encode())?;
    out.flush()
}

fn receive() -> io::Result<Option<Command>> {
    let mut byte = [0];
    loop {
        match io::stdin().lock().read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Command::from_byte(byte[0])),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn map_and_serve(spec: &Spec) -> io::Result<()> {
    catch_sigbus()?;
    set_early_kill(!spec.late)?;
    let mapping = Mapping::new(spec)?;
    mapping.touch();
    set_phase(Phase::Waiting);
    send(Report::Ready {
        vaddr: mapping.addr(),
        phys: mapping.phys()?,
    })?;

    while let Some(command) = receive()? {
        match command {
            Command::Poison => {
                set_phase(Phase::Poisoning);
                mapping.poison()?;
                set_phase(Phase::Waiting);
            }
            Command::Touch => {
                set_phase(Phase::Touching);
                mapping.touch();
                set_phase(Phase::Waiting);
            }
            Command::Finish => return send(Report::Quiet),
        }
        send(Report::Quiet)?;
    }
    Ok(())
}

/// Maps the page that `spec` names, reports, and executes commands until [`Command::Finish`].
pub fn run(spec: &Spec) -> io::Result<()> {
    map_and_serve(spec).or_else(|e| send(Report::Errno(e.raw_os_error().unwrap_or(libc::EIO))))
}
