// SPDX-License-Identifier: GPL-2.0

//! The system calls that have no safe form elsewhere.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Error};
use std::mem;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::fcntl::{openat2, OFlag, OpenHow, ResolveFlag};
use nix::sys::mman::{self, MapFlags, MsFlags, ProtFlags};

/// Size of a page of memory, in bytes. This is amd64.
pub const PAGE: u64 = 4096;

/// `cachestat()` on amd64.
const SYS_CACHESTAT: libc::c_long = 451;

/// A record of `FS_IOC_GETFSMAP`: `struct fsmap` of linux/fsmap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FsMapRecord {
    /// Number of the device.
    pub device: u32,
    /// `FMR_OF_*`.
    pub flags: u32,
    /// Offset on the device, in bytes.
    pub physical: u64,
    /// Inode number, or a special owner.
    pub owner: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

/// A flag of the last record.
const FMR_OF_LAST: u32 = 0x20;

/// Records that one call of `FS_IOC_GETFSMAP` returns at most.
const FSMAP_RECORDS: usize = 128;

/// `struct fsmap_head` with room for records.
#[repr(C)]
pub struct FsMapQuery {
    in_flags: u32,
    out_flags: u32,
    count: u32,
    entries: u32,
    reserved: [u64; 6],
    keys: [FsMapRecord; 2],
    records: [FsMapRecord; FSMAP_RECORDS],
}

/// `struct fiemap_extent` of linux/fiemap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Extent {
    /// Offset in the file, in bytes.
    pub logical: u64,
    /// Offset on the device, in bytes.
    pub physical: u64,
    /// In bytes.
    pub length: u64,
    /// Zero.
    pub reserved: [u64; 2],
    /// `FIEMAP_EXTENT_*`.
    pub flags: u32,
    /// Zero.
    pub reserved_too: [u32; 3],
}

/// Extents that one call of `FS_IOC_FIEMAP` returns at most.
const EXTENTS: usize = 128;

/// `struct fiemap` with room for extents.
#[repr(C)]
pub struct FieMap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// `struct xfs_bulkstat_req` for one inode.
#[repr(C)]
pub struct BulkStat {
    inode: u64,
    flags: u32,
    in_count: u32,
    out_count: u32,
    group: u32,
    reserved: [u64; 5],
    found: XfsInode,
}

/// `struct xfs_bulkstat`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct XfsInode {
    number: u64,
    size: u64,
    blocks: u64,
    /// `FS_XFLAG_*`.
    pub xflags: u64,
    times: [i64; 4],
    /// Changes when the number is used for another file.
    pub generation: u32,
    ids: [u32; 3],
    nanoseconds: [u32; 4],
    sizes: [u32; 4],
    links: u32,
    extents: [u32; 2],
    version_and_fork: [u16; 2],
    health: [u16; 2],
    /// `S_IF*` and permissions.
    pub mode: u16,
    pad: u16,
    more_extents: u64,
    more_pad: [u64; 6],
}

/// `struct xfs_fsop_handlereq`.
#[repr(C)]
pub struct XfsOpen {
    fd: u32,
    path: *const c_void,
    flags: u32,
    handle: *const XfsHandle,
    handle_length: u32,
    out_handle: *mut c_void,
    out_length: *mut u32,
}

/// `struct xfs_handle`.
#[repr(C)]
struct XfsHandle {
    filesystem: u64,
    length: u16,
    pad: u16,
    generation: u32,
    inode: u64,
}

/// `struct file_handle` with a `FILEID_INO32_GEN`.
#[repr(C)]
struct FileHandle {
    length: u32,
    kind: i32,
    inode: u32,
    generation: u32,
}

const FILEID_INO32_GEN: i32 = 1;

mod ioctls {
    use nix::request_code_readwrite;

    use super::{BulkStat, FieMap, FsMapQuery, XfsOpen};

    // The numbers have the sizes of the structures without their arrays.
    nix::ioctl_readwrite_bad!(getfsmap, request_code_readwrite!(b'X', 59, 192), FsMapQuery);
    nix::ioctl_readwrite_bad!(fiemap, request_code_readwrite!(b'f', 11, 32), FieMap);
    nix::ioctl_readwrite_bad!(bulkstat, nix::request_code_read!(b'X', 127, 64), BulkStat);
    nix::ioctl_readwrite!(xfs_open_by_handle, b'X', 107, XfsOpen);
    nix::ioctl_readwrite_bad!(table_status, request_code_readwrite!(0xfd, 12, 312), u8);
    nix::ioctl_read!(get_version, b'v', 1, libc::c_long);
}

/// `new_encode_dev()` of linux/kdev_t.h.
fn encoded(major: u64, minor: u64) -> u32 {
    ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) as u32
}

/// Who owns a range of a filesystem's device, in order of the places. Records may reach beyond it.
///
/// # Errors
///
/// - `EOPNOTSUPP` or `ENOTTY`: the filesystem does not know.
pub fn fsmap(
    root: &File,
    (major, minor): (u64, u64),
    range: &Range<u64>,
) -> io::Result<Vec<FsMapRecord>> {
    let device = encoded(major, minor);
    let mut all = Vec::new();
    let mut query = FsMapQuery {
        in_flags: 0,
        out_flags: 0,
        count: FSMAP_RECORDS as u32,
        entries: 0,
        reserved: [0; 6],
        keys: [
            FsMapRecord {
                device,
                physical: range.start,
                ..FsMapRecord::default()
            },
            FsMapRecord {
                device,
                flags: u32::MAX,
                physical: range.end - 1,
                owner: u64::MAX,
                offset: u64::MAX,
                ..FsMapRecord::default()
            },
        ],
        records: [FsMapRecord::default(); FSMAP_RECORDS],
    };

    loop {
        // SAFETY: The query has room for as many records as it says.
        unsafe { ioctls::getfsmap(root.as_raw_fd(), &mut query) }?;
        let found = query.records.iter().take(query.entries as usize);

        all.extend(found.clone());
        match found.last() {
            Some(last) if last.flags & FMR_OF_LAST == 0 => query.keys[0] = *last,
            _ => return Ok(all),
        }
    }
}

/// Where a range of a file lies. Nothing is written back for that.
pub fn extents(file: &File, range: Range<u64>) -> io::Result<Vec<Extent>> {
    let mut all = Vec::new();
    let mut start = range.start;

    while start < range.end {
        let mut map = FieMap {
            start,
            length: range.end - start,
            flags: 0,
            mapped: 0,
            count: EXTENTS as u32,
            reserved: 0,
            extents: [Extent::default(); EXTENTS],
        };

        // SAFETY: The map has room for as many extents as it says.
        unsafe { ioctls::fiemap(file.as_raw_fd(), &mut map) }?;
        let found = map.extents.iter().take(map.mapped as usize);

        all.extend(found.clone());
        match found.last() {
            Some(last) if map.mapped == map.count => {
                start = last.logical.saturating_add(last.length).max(start + 1);
            }
            _ => break,
        }
    }
    Ok(all)
}

/// An inode of XFS, by its number; [`None`] if it is free, or XFS's own.
pub fn xfs_inode(root: &File, number: u64) -> io::Result<Option<XfsInode>> {
    // SAFETY: All of it are integers, for which zero is a value.
    let mut request: BulkStat = unsafe { mem::zeroed() };

    request.inode = number;
    request.in_count = 1;
    // SAFETY: The request has room for one inode, as it says.
    unsafe { ioctls::bulkstat(root.as_raw_fd(), &mut request) }?;
    // If the inode cannot be shown, the next one is.
    Ok((request.out_count == 1 && request.found.number == number).then_some(request.found))
}

/// Opens an inode of XFS. What is done with the file does not change its times.
pub fn open_xfs(root: &File, number: u64, generation: u32, flags: OFlag) -> io::Result<File> {
    let handle = XfsHandle {
        // XFS does not look at it: the root says which filesystem is meant.
        filesystem: 0,
        length: (mem::size_of::<XfsHandle>() - mem::offset_of!(XfsHandle, pad)) as u16,
        pad: 0,
        generation,
        inode: number,
    };
    let mut request = XfsOpen {
        fd: 0,
        path: ptr::null(),
        flags: flags.bits() as u32,
        handle: &handle,
        handle_length: mem::size_of::<XfsHandle>() as u32,
        out_handle: ptr::null_mut(),
        out_length: ptr::null_mut(),
    };

    // SAFETY: XFS_IOC_OPEN_BY_HANDLE reads the handle, which lives as long, and no other pointer.
    let fd = unsafe { ioctls::xfs_open_by_handle(root.as_raw_fd(), &mut request) }?;
    // SAFETY: The descriptor is new, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Opens an inode whose handle is a number and a generation, as ext4's is.
pub fn open_inode(root: &File, number: u64, generation: u32, flags: OFlag) -> io::Result<File> {
    let handle = FileHandle {
        length: 8,
        kind: FILEID_INO32_GEN,
        inode: number.try_into().map_err(|_| Errno::ESTALE)?,
        generation,
    };

    // SAFETY: open_by_handle_at() reads the handle, which has the length that it says.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            root.as_raw_fd(),
            &handle,
            flags.bits(),
        )
    };

    // SAFETY: The descriptor is new, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(Errno::result(fd)? as i32) })
}

/// The generation of a file's inode.
pub fn generation(file: &File) -> io::Result<u32> {
    let mut generation = 0;

    // SAFETY: FS_IOC_GETVERSION writes an int, whatever its number says, and there is room for a
    // long.
    unsafe { ioctls::get_version(file.as_raw_fd(), &mut generation) }?;
    Ok(generation as u32)
}

/// The table of a mapped device, as `DM_TABLE_STATUS` of linux/dm-ioctl.h returns it: the number of
/// targets, and their `struct dm_target_spec` with their parameters.
pub fn table((major, minor): (u64, u64)) -> io::Result<(u32, Vec<u8>)> {
    /// Size of `struct dm_ioctl`.
    const HEAD: usize = 312;
    const SIZE_AT: usize = 12;
    const START_AT: usize = 16;
    const COUNT_AT: usize = 20;
    const FLAGS_AT: usize = 28;
    const DEVICE_AT: usize = 40;
    const STATUS_TABLE: u32 = 1 << 4;
    const BUFFER_FULL: u32 = 1 << 8;
    const NO_FLUSH: u32 = 1 << 11;

    let control = File::open("/dev/mapper/control")?;
    let mut size = 1 << 14;

    loop {
        let mut request = vec![0; size];
        let mut set =
            |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);

        // The version of the interface: 4.0.0.
        set(0, &4_u32.to_ne_bytes());
        set(SIZE_AT, &(size as u32).to_ne_bytes());
        set(START_AT, &(HEAD as u32).to_ne_bytes());
        set(FLAGS_AT, &(STATUS_TABLE | NO_FLUSH).to_ne_bytes());
        set(DEVICE_AT, &u64::from(encoded(major, minor)).to_ne_bytes());
        // SAFETY: The request has the size that it says, which is more than its head.
        unsafe { ioctls::table_status(control.as_raw_fd(), request.as_mut_ptr()) }?;
        let get = |at: usize| {
            let bytes = request
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());

            bytes.map_or(0, u32::from_ne_bytes)
        };

        if get(FLAGS_AT) & BUFFER_FULL == 0 {
            let targets = request.get(get(START_AT) as usize..).unwrap_or_default();

            return Ok((get(COUNT_AT), targets.into()));
        }
        size *= 2;
    }
}

/// Opens what is below a directory, past no symbolic link and in no other filesystem.
pub fn open_below(root: &File, path: &Path, flags: OFlag) -> io::Result<File> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    let fd = openat2(root.as_raw_fd(), path, how)?;

    // SAFETY: The descriptor is new, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Whether a file has DAX, and so no pages in the page cache.
pub fn has_dax(file: &File) -> io::Result<bool> {
    // SAFETY: All of it are integers, for which zero is a value.
    let mut status: libc::statx = unsafe { mem::zeroed() };

    // SAFETY: The path is empty, and there is room for the status.
    let answer = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            0,
            &mut status,
        )
    };

    Errno::result(answer)?;
    Ok(status.stx_attributes & libc::STATX_ATTR_DAX as u64 != 0)
}

/// Whether the page cache has the page at an offset, which may not have been read yet.
fn has_page(file: &File, offset: u64) -> io::Result<bool> {
    let range = [offset, PAGE];
    let mut counts = [0_u64; 5];

    // SAFETY: The kernel reads a `struct cachestat_range`, two u64, and writes a `struct
    // cachestat`, five.
    let answer = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &range, &mut counts, 0) };

    Errno::result(answer)?;
    Ok(counts[0] != 0)
}

/// A shared mapping of pages of a file. Nothing is read or stored through it.
///
/// # Invariants
///
/// `start` is what `mmap()` returned for `length` bytes.
pub struct Mapping<'a> {
    file: &'a File,
    offset: u64,
    start: NonNull<c_void>,
    length: usize,
}

impl<'a> Mapping<'a> {
    /// Maps `pages` of a file, by their numbers; for writing, if it is open for that.
    pub fn new(file: &'a File, pages: &Range<u64>, is_writable: bool) -> io::Result<Self> {
        let bytes = (pages.end - pages.start) * PAGE;
        let offset = pages.start * PAGE;
        let length = usize::try_from(bytes)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(Errno::EINVAL)?;
        let protection = match is_writable {
            true => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            false => ProtFlags::PROT_READ,
        };
        let at = offset.try_into().map_err(|_| Errno::EOVERFLOW)?;
        let flags = MapFlags::MAP_SHARED;
        // SAFETY: mmap() chooses the place.
        let start = unsafe { mman::mmap(None, length, protection, flags, file, at) }?;

        // INVARIANT: This is what mmap() returned.
        Ok(Self {
            file,
            offset,
            start,
            length: length.get(),
        })
    }

    /// Whether a page, counted from the first, is in the page cache, and has been read. If so, it
    /// is mapped now. It is not read from the device, unless it leaves the page cache at this
    /// moment.
    pub fn is_cached(&self, page: u64) -> io::Result<bool> {
        Ok(has_page(self.file, self.offset + page * PAGE)?
            && self.advise(page, libc::MADV_POPULATE_READ).is_ok())
    }

    /// Has a page written back, as a store would, but without a store.
    ///
    /// The filesystem is asked for leave as with a store, which it can refuse.
    pub fn dirty(&self, page: u64) -> io::Result<()> {
        self.advise(page, libc::MADV_POPULATE_WRITE)
    }

    /// Has the kernel split the folio that a page is in. It may have reasons not to.
    ///
    /// A filesystem that is asked for leave to change a page allocates all of the folio.
    pub fn split(&self, page: u64) {
        let _ = self.advise(page, libc::MADV_COLD);
    }

    fn advise(&self, page: u64, advice: i32) -> io::Result<()> {
        let at = (page * PAGE) as usize;

        if at >= self.length {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: By the invariant the page is mapped, and none of the advices takes it away.
        let answer =
            unsafe { libc::madvise(self.start.as_ptr().byte_add(at), PAGE as usize, advice) };

        Errno::result(answer)?;
        Ok(())
    }

    /// Writes back what is dirty, and waits until the device has it.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: By the invariant all of it is mapped.
        unsafe { mman::msync(self.start, self.length, MsFlags::MS_SYNC) }.map_err(Error::from)
    }
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        // SAFETY: By the invariant all of it is mapped, and no reference to it was ever made.
        let _ = unsafe { mman::munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(mem::size_of::<FsMapRecord>(), 64);
        assert_eq!(mem::offset_of!(FsMapQuery, records), 192);
        assert_eq!(mem::size_of::<Extent>(), 56);
        assert_eq!(mem::offset_of!(FieMap, extents), 32);
        assert_eq!(mem::offset_of!(BulkStat, found), 64);
        assert_eq!(mem::size_of::<XfsInode>(), 192);
        assert_eq!(mem::offset_of!(XfsInode, generation), 64);
        assert_eq!(mem::offset_of!(XfsInode, mode), 132);
        assert_eq!(mem::size_of::<XfsHandle>(), 24);
        assert_eq!(mem::size_of::<XfsOpen>(), 56);
    }

    #[test]
    fn devices_are_encoded_as_the_kernel_does() {
        assert_eq!(encoded(259, 0), 0x10300);
        assert_eq!(encoded(253, 1), 0xfd01);
        assert_eq!(encoded(253, 0x1ff), 0x10_fdff);
    }
}
