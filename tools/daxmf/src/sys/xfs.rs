// SPDX-License-Identifier: GPL-2.0

//! ioctls of XFS: opening inodes by their numbers, and the verification of media.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;

use nix::fcntl::OFlag;

/// `struct xfs_bulkstat_req` for one inode.
#[repr(C)]
pub struct BulkStat {
    inode: u64,
    flags: u32,
    in_count: u32,
    out_count: u32,
    group: u32,
    reserved: [u64; 5],
    pub(super) found: XfsInode,
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
    /// XFS changes the generation when it uses the inode for another file.
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
pub(super) struct XfsHandle {
    filesystem: u64,
    length: u16,
    pad: u16,
    generation: u32,
    inode: u64,
}

/// `struct xfs_verify_media`.
#[repr(C)]
#[derive(Default)]
pub struct XfsVerifyMedia {
    device: u32,
    flags: u32,
    /// In sectors. XFS sets this to the end of the part that it could read.
    start: u64,
    end: u64,
    error: u32,
    max_io_size: u32,
    rest: u32,
    pad: u32,
}

/// `XFS_DEV_DATA`.
const DATA: u32 = 1;
/// `XFS_VERIFY_MEDIA_REPORT`.
const REPORT: u32 = 1;

mod ioctls {
    use super::{BulkStat, XfsOpen, XfsVerifyMedia};

    // The number of the ioctl encodes the size of the structure without its array: 64 bytes.
    nix::ioctl_readwrite_bad!(bulkstat, nix::request_code_read!(b'X', 127, 64), BulkStat);
    nix::ioctl_readwrite!(xfs_open_by_handle, b'X', 107, XfsOpen);
    nix::ioctl_readwrite!(xfs_verify_media, b'X', 70, XfsVerifyMedia);
}

/// Reads an inode of XFS by its number. [`None`] if it is free, or one of XFS itself.
pub fn xfs_inode(root: &File, number: u64) -> io::Result<Option<XfsInode>> {
    // SAFETY: All fields of `BulkStat` are integers, for which zero is a valid value.
    let mut request: BulkStat = unsafe { mem::zeroed() };

    request.inode = number;
    request.in_count = 1;
    // SAFETY: XFS_IOC_BULKSTAT writes at most `in_count` inodes after the header, and `found` has
    // room for one.
    unsafe { ioctls::bulkstat(root.as_raw_fd(), &mut request) }?;
    // For a free inode, XFS returns the next one in use.
    Ok((request.out_count == 1 && request.found.number == number).then_some(request.found))
}

/// Opens an inode of XFS. Reads and writes of this file do not change its times.
pub fn open_xfs(root: &File, number: u64, generation: u32, flags: OFlag) -> io::Result<File> {
    let handle = XfsHandle {
        // XFS ignores this field, because `root` names the filesystem.
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

    // SAFETY: XFS_IOC_OPEN_BY_HANDLE reads `handle`, which outlives the call, and no other pointer.
    let fd = unsafe { ioctls::xfs_open_by_handle(root.as_raw_fd(), &mut request) }?;
    // SAFETY: XFS_IOC_OPEN_BY_HANDLE has just opened the descriptor, and nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes XFS read a range of its data device, in sectors. XFS reports the files whose data it
/// cannot read to listeners of fanotify and of its health monitor.
pub fn verify_media(root: &File, sectors: &Range<u64>) -> io::Result<()> {
    /// Length of one read, in sectors: a page, the shortest buffer that XFS allocates. XFS reports
    /// an error for the whole read.
    const STEP: u64 = 8;

    let mut start = sectors.start;

    while start < sectors.end {
        let mut request = XfsVerifyMedia {
            device: DATA,
            flags: REPORT,
            start,
            end: sectors.end,
            max_io_size: (STEP << 9) as u32,
            ..XfsVerifyMedia::default()
        };

        // SAFETY: XFS_IOC_VERIFY_MEDIA reads and writes only the request, which has no pointers.
        unsafe { ioctls::xfs_verify_media(root.as_raw_fd(), &mut request) }?;
        // XFS stops at an error. It sets `error` only if its first read failed: then skip this
        // read. Otherwise continue at the place where XFS stopped.
        start = match request.error {
            0 => request.start.max(start.saturating_add(STEP)),
            _ => start.saturating_add(STEP),
        };
    }
    Ok(())
}
