// SPDX-License-Identifier: GPL-2.0

//! Opens inodes by their handles: a number, and a generation that distinguishes the inode from
//! earlier ones with the same number.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

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
    nix::ioctl_read!(get_version, b'v', 1, libc::c_long);
}

/// Opens an inode whose handle is a number and a generation, as on ext4.
pub fn open_inode(root: &File, number: u64, generation: u32, flags: OFlag) -> io::Result<File> {
    let handle = FileHandle {
        length: 8,
        kind: FILEID_INO32_GEN,
        inode: number.try_into().map_err(|_| Errno::ESTALE)?,
        generation,
    };

    // SAFETY: open_by_handle_at() reads `length` bytes after the header of the handle: the inode
    // and the generation.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            root.as_raw_fd(),
            &handle,
            flags.bits(),
        )
    };

    // SAFETY: open_by_handle_at() has just opened the descriptor, and nothing else owns it.
    Ok(unsafe { File::from_raw_fd(Errno::result(fd)? as i32) })
}

/// The generation of a file's inode.
pub fn generation(file: &File) -> io::Result<u32> {
    let mut generation = 0;

    // SAFETY: FS_IOC_GETVERSION writes an int, although its number encodes a long, and `generation`
    // has room for a long.
    unsafe { ioctls::get_version(file.as_raw_fd(), &mut generation) }?;
    Ok(generation as u32)
}
