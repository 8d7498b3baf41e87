// SPDX-License-Identifier: GPL-2.0

//! The contents of regular files.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Reference: [`fs/dax.c`](srctree/fs/dax.c)

mod fault;
mod remap;
mod space;

pub(super) use self::space::{
    evict,
    Dirty, //
};

use self::remap::Remap;

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    module::this_module,
    prelude::*, //
};

use crate::{
    bindings,
    range::{
        self,
        ByteRange, //
    },
};

use super::{
    acl,
    attr,
    flags,
    ioctl,
    iomap,
    lock::{
        AnyLock,
        Frozen,
        Locked,
        LockedInode,
        SharedLocked, //
    },
    xattr,
    FileSystem,
    Inode, //
};

/// The inode of a file.
///
/// # Safety
///
/// `file` must be open for the duration of `'a`, and of a superblock of type `T`.
unsafe fn inode_of<'a, T: FileSystem>(file: *mut bindings::file) -> &'a Inode<T> {
    // SAFETY: By the safety requirements.
    unsafe { Inode::from_raw(bindings::file_inode(file)) }
}

/// A number of bytes, or an errno.
fn to_count(answer: isize) -> Result<u64> {
    match u64::try_from(answer) {
        Ok(count) => Ok(count),
        // CAST: What is negative is an errno.
        Err(_) => Err(to_result(answer as c_int).err().unwrap_or(EIO)),
    }
}

/// A number of bytes, or an errno, as C returns them.
fn from_count(answer: Result<u64>) -> i64 {
    match answer {
        Ok(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Err(error) => error.to_errno().into(),
    }
}

/// A request to read or to write.
///
/// # Invariants
///
/// Both pointers are valid for as long as `self` exists, and the file of `iocb` is one of type `T`.
struct Request<T: FileSystem> {
    iocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
    _inode: PhantomData<T>,
}

impl<T: FileSystem> Request<T> {
    fn file(&self) -> *mut bindings::file {
        // SAFETY: By the type invariants.
        unsafe { (*self.iocb).ki_filp }
    }

    fn inode(&self) -> &Inode<T> {
        // SAFETY: By the type invariants.
        unsafe { inode_of(self.file()) }
    }

    /// Where it goes on in the file.
    fn position(&self) -> u64 {
        // SAFETY: By the type invariants.
        u64::try_from(unsafe { (*self.iocb).ki_pos }).unwrap_or(0)
    }

    /// Whether it must not wait for a lock.
    fn is_impatient(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { (*self.iocb).ki_flags & bindings::IOCB_NOWAIT != 0 }
    }

    /// Reads or writes as much as possible.
    fn run(&self, _locked: &impl AnyLock) -> isize {
        // SAFETY: By the type invariants. The operations are static.
        unsafe { bindings::dax_iomap_rw(self.iocb, self.iter, &iomap::VTable::<T>::OPS) }
    }

    fn read(&self) -> Result<u64> {
        let locked = match self.is_impatient() {
            true => SharedLocked::try_new(self.inode()).ok_or(EAGAIN)?,
            false => SharedLocked::new(self.inode()),
        };
        let count = self.run(&locked);

        drop(locked);
        // SAFETY: The file is open.
        unsafe { bindings::file_accessed(self.file()) };
        to_count(count)
    }

    fn write(&self) -> Result<u64> {
        let count = {
            let locked = match self.is_impatient() {
                true => Locked::try_new(self.inode()).ok_or(EAGAIN)?,
                false => Locked::new(self.inode()),
            };

            self.write_locked(&locked)?
        };

        match isize::try_from(count) {
            // SAFETY: By the type invariants.
            Ok(count @ 1..) => to_count(unsafe { bindings::generic_write_sync(self.iocb, count) }),
            _ => Ok(count),
        }
    }

    /// Writes. `inode` is that of the file.
    fn write_locked(&self, inode: &LockedInode<T>) -> Result<u64> {
        // SAFETY: By the type invariants.
        let len = to_count(unsafe { bindings::generic_write_checks(self.iocb, self.iter) })?;
        let Some(range) = ByteRange::<range::space::File>::new(self.position(), len) else {
            return Ok(0);
        };

        // SAFETY: By the type invariants, and the inode is locked.
        to_result(unsafe { bindings::kiocb_modified(self.iocb) })?;
        self.zero_up_to(inode, range.start())?;

        let written = to_count(self.run(inode))?;

        inode.grow(self.position(), inode.changed())?;
        Ok(written)
    }

    /// Zeroes what lies between the end of the file and `start`.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if there is something and it must not wait.
    /// - The errors of [`LockedInode::zero_up_to()`].
    fn zero_up_to(&self, inode: &LockedInode<T>, start: u64) -> Result {
        // The lock of the mapping keeps page faults away: only who needs it takes it.
        match (start > inode.size(), self.is_impatient()) {
            (true, false) => inode.zero_up_to(start, &mut Frozen::new(inode)),
            (true, true) => Err(EAGAIN),
            (false, _) => Ok(()),
        }
    }
}

/// The operations tables of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

// Operations of a file
// -------------------------------------------------------------------------------------------------

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the safety requirements; nobody else knows the file yet.
        unsafe {
            (*file).f_mode |= bindings::FMODE_CAN_ODIRECT | bindings::FMODE_NOWAIT;
            bindings::generic_file_open(inode, file)
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // INVARIANT: By the safety requirements.
        let request = Request::<T> {
            iocb,
            iter,
            _inode: PhantomData,
        };

        // CAST: An `i64` is an `isize` here.
        from_count(request.read()) as isize
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // INVARIANT: By the safety requirements.
        let request = Request::<T> {
            iocb,
            iter,
            _inode: PhantomData,
        };

        // CAST: An `i64` is an `isize` here.
        from_count(request.write()) as isize
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        const HOLE: c_int = bindings::SEEK_HOLE as c_int;
        const DATA: c_int = bindings::SEEK_DATA as c_int;

        let seek = match whence {
            HOLE => bindings::iomap_seek_hole,
            DATA => bindings::iomap_seek_data,
            // SAFETY: By the safety requirements.
            _ => return unsafe { bindings::generic_file_llseek(file, offset, whence) },
        };

        // SAFETY: By the safety requirements.
        let inode = unsafe { inode_of::<T>(file) };
        let locked = SharedLocked::new(inode);
        // SAFETY: The inode is valid, the operations are static.
        let found = unsafe { seek(inode.as_raw(), offset, &iomap::VTable::<T>::OPS) };

        drop(locked);
        if found < 0 {
            return found;
        }
        // SAFETY: The file is open, and its superblock valid.
        unsafe { bindings::vfs_setpos(file, found, (*inode.super_block().as_raw()).s_maxbytes) }
    }

    /// # Safety
    ///
    /// Called by the VFS only, to map a file with this table.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let file = unsafe { (*desc).file };
            // SAFETY: By the safety requirements.
            let inode = unsafe { inode_of::<T>(file) };
            let device = inode.super_block().devices().dax();

            // SAFETY: All are valid.
            if !unsafe { bindings::daxdev_mapping_supported(desc, inode.as_raw(), device.as_raw()) }
            {
                return Err(EOPNOTSUPP);
            }

            // SAFETY: The file is open. `desc` is ours to fill in, and the operations are static.
            unsafe {
                bindings::file_accessed(file);
                (*desc).vm_ops = &fault::VTable::<T>::OPS;
                bindings::vma_desc_set_hugepage(desc);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: bindings::loff_t,
        end: bindings::loff_t,
        datasync: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            to_result(unsafe { bindings::simple_fsync_noflush(file, start, end, datasync) })?;

            // SAFETY: By the safety requirements.
            unsafe { inode_of::<T>(file) }.fs().sync().map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        from_result(|| {
            let start = u64::try_from(offset).map_err(|_| EINVAL)?;
            let len = u64::try_from(len).map_err(|_| EINVAL)?;
            let range = ByteRange::new(start, len).ok_or(EINVAL)?;

            // SAFETY: By the safety requirements.
            unsafe { Self::reserve(file, mode as u32, range) }.map(|()| 0)
        })
    }

    /// # Errors
    ///
    /// - `EOPNOTSUPP` if there is no such mode.
    /// - `EFBIG` if the file must not become so large.
    /// - The errors of [`LockedInode::zero_up_to()`], [`LockedInode::punch()`],
    ///   [`LockedInode::unshare()`], [`LockedInode::allocate()`] and [`LockedInode::grow()`].
    ///
    /// # Safety
    ///
    /// `file` must be open, and of a superblock of type `T`.
    unsafe fn reserve(
        file: *mut bindings::file,
        mode: u32,
        range: ByteRange<range::space::File>,
    ) -> Result {
        const ALLOCATE: u32 = bindings::FALLOC_FL_ALLOCATE_RANGE;
        const PUNCH: u32 = bindings::FALLOC_FL_PUNCH_HOLE;
        const ZERO: u32 = bindings::FALLOC_FL_ZERO_RANGE;
        const UNSHARE: u32 = bindings::FALLOC_FL_UNSHARE_RANGE;
        const COLLAPSE: u32 = bindings::FALLOC_FL_COLLAPSE_RANGE;
        const INSERT: u32 = bindings::FALLOC_FL_INSERT_RANGE;

        if matches!(mode, COLLAPSE | INSERT) {
            // SAFETY: By the safety requirements.
            return unsafe { Self::shift(file, mode == INSERT, range) };
        }
        let kind = mode & !bindings::FALLOC_FL_KEEP_SIZE;

        if !matches!(kind, ALLOCATE | PUNCH | ZERO | UNSHARE) {
            return Err(EOPNOTSUPP);
        }

        // SAFETY: By the safety requirements.
        let inode = Locked::new(unsafe { inode_of::<T>(file) });
        let size = match mode & bindings::FALLOC_FL_KEEP_SIZE {
            0 => inode.checked_size(range.end())?,
            _ => inode.size(),
        };

        // SAFETY: By the safety requirements, and the inode is locked.
        to_result(unsafe { bindings::file_modified(file) })?;

        let now = inode.changed();
        let mut frozen = Frozen::new(&inode);

        inode.zero_up_to(size, &mut frozen)?;
        match kind {
            PUNCH | ZERO => inode.punch(range, now, &mut frozen)?,
            UNSHARE => inode.unshare(range, &mut frozen)?,
            _ => (),
        }
        if kind != PUNCH {
            inode.allocate(range, now, &mut frozen)?;
        }
        inode.grow(size, now)
    }

    /// Takes `range` out of a file, or inserts a hole there.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `range` is not whole blocks, or reaches to the end of the file.
    /// - `EFBIG` if the file must not become so large.
    /// - The errors of [`LockedInode::collapse()`] and [`LockedInode::insert()`].
    ///
    /// # Safety
    ///
    /// `file` must be open, and of a superblock of type `T`.
    unsafe fn shift(
        file: *mut bindings::file,
        is_inserted: bool,
        range: ByteRange<range::space::File>,
    ) -> Result {
        // SAFETY: By the safety requirements.
        let inode = Locked::new(unsafe { inode_of::<T>(file) });
        let size = inode.size();
        let is_inside = match is_inserted {
            true => range.start() < size,
            false => range.end() < size,
        };

        if !range.is_aligned(range::PAGE_SIZE) || !is_inside {
            return Err(EINVAL);
        }
        if is_inserted {
            inode.checked_size(size.checked_add(range.len()).ok_or(EFBIG)?)?;
        }

        // SAFETY: By the safety requirements, and the inode is locked.
        to_result(unsafe { bindings::file_modified(file) })?;

        let now = inode.changed();
        let mut frozen = Frozen::new(&inode);

        match is_inserted {
            true => inode.insert(range, now, &mut frozen),
            false => inode.collapse(range, now, &mut frozen),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only, for two files with this table and of the same superblock.
    unsafe extern "C" fn remap_file_range(
        from: *mut bindings::file,
        start: bindings::loff_t,
        to: *mut bindings::file,
        to_start: bindings::loff_t,
        len: bindings::loff_t,
        flags: c_uint,
    ) -> bindings::loff_t {
        // INVARIANT: By the safety requirements.
        let remap = Remap {
            from,
            start,
            to,
            to_start,
            len,
            flags,
        };

        from_count(remap.run::<T>())
    }

    /// The operations of a regular file.
    pub(super) const FILE_OPERATIONS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        fop_flags: bindings::FOP_MMAP_SYNC,
        open: Some(Self::open),
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: Some(Self::write_iter),
        unlocked_ioctl: Some(ioctl::VTable::<T>::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        splice_read: Some(bindings::copy_splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        mmap_prepare: Some(Self::mmap_prepare),
        get_unmapped_area: Some(bindings::thp_get_unmapped_area),
        fsync: Some(Self::fsync),
        fallocate: Some(Self::fallocate),
        setlease: Some(bindings::generic_setlease),
        remap_file_range: Some(Self::remap_file_range),
        ..pin_init::zeroed()
    };
}

impl<T: FileSystem> Inode<T> {
    /// The size that the file has if it reaches up to `end` at least.
    ///
    /// # Errors
    ///
    /// - `EFBIG` if it must not become so large.
    fn checked_size(&self, end: u64) -> Result<u64> {
        if end <= self.size() {
            return Ok(self.size());
        }

        let raw_end = bindings::loff_t::try_from(end).map_err(|_| EFBIG)?;

        // SAFETY: The inode is valid.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_raw(), raw_end) })?;
        Ok(end)
    }
}

// Operations of an inode
// -------------------------------------------------------------------------------------------------

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for an inode with this table, which is locked.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            to_result(unsafe { bindings::setattr_prepare(idmap, dentry, attr) })?;

            // SAFETY: By the safety requirements, and a dentry that is operated on has an inode.
            let inode = unsafe { LockedInode::assume(Inode::<T>::from_raw((*dentry).d_inode)) };

            // SAFETY: `attr` is valid, and ours.
            unsafe { Self::set_size(inode, &mut *attr) }?;
            // SAFETY: `setattr_prepare()` has succeeded.
            unsafe { inode.change(idmap, dentry, attr) }.map(|()| 0)
        })
    }

    /// Sets the size, if that is asked for.
    fn set_size(inode: &LockedInode<T>, attr: &mut bindings::iattr) -> Result {
        if attr.ia_valid & bindings::ATTR_SIZE == 0 {
            return Ok(());
        }

        let size = u64::try_from(attr.ia_size).map_err(|_| EINVAL)?;
        let now = inode.now();
        let is_changed = size != inode.size();

        inode.resize(size, now)?;

        // A file whose size has changed has been modified, whoever has changed it and how.
        if is_changed {
            attr.ia_mtime = now.into_raw();
            attr.ia_ctime = now.into_raw();
            attr.ia_valid |= bindings::ATTR_MTIME | bindings::ATTR_CTIME;
        }
        Ok(())
    }

    /// # Safety
    ///
    /// Called by the VFS only, for an inode with this table.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let _locked = SharedLocked::new(unsafe { Inode::<T>::from_raw(inode) });

        // SAFETY: By the safety requirements. The operations are static.
        unsafe { bindings::iomap_fiemap(inode, info, start, len, &iomap::VTable::<T>::OPS) }
    }

    /// The operations of the inode of a regular file.
    /// With a change counter, the VFS takes it that to mark an inode as dirty may wait, and refuses
    /// writes that must not (`RWF_NOWAIT`). Without `dirty_inode()` it does not wait.
    ///
    /// # Safety
    ///
    /// Called by the VFS only, for an inode with this table.
    unsafe extern "C" fn update_time(
        inode: *mut bindings::inode,
        kind: bindings::fs_update_time,
        flags: c_uint,
    ) -> c_int {
        // CAST: The flags are bits.
        let flags = flags & !(bindings::IOCB_NOWAIT as c_uint);

        // SAFETY: By the safety requirements.
        unsafe { bindings::generic_update_time(inode, kind, flags) }
    }

    pub(super) const INODE_OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(Self::setattr),
        getattr: Some(attr::VTable::<T>::getattr),
        get_inode_acl: Some(acl::VTable::<T>::get),
        set_acl: Some(acl::VTable::<T>::set),
        fileattr_get: Some(flags::VTable::<T>::get),
        fileattr_set: Some(flags::VTable::<T>::set),
        listxattr: Some(xattr::VTable::<T>::listxattr),
        fiemap: Some(Self::fiemap),
        update_time: Some(Self::update_time),
        ..pin_init::zeroed()
    };
}

// Operations of a mapping
// -------------------------------------------------------------------------------------------------

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the kernel's writeback only, for the mapping of an inode of type `T`.
    unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        control: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let inode = unsafe { Inode::<T>::from_raw((*mapping).host) };
        let device = inode.super_block().devices().dax();

        // A page may have failed that is still known to be written back. That would be an access to
        // memory that a machine check has taken from the kernel's linear map.
        if inode.is_unsettled()
            && !Frozen::try_new(inode).is_some_and(|frozen| inode.settle(&frozen))
        {
            return EIO.to_errno();
        }

        // SAFETY: By the safety requirements, and the device is valid.
        unsafe { bindings::dax_writeback_mapping_range(mapping, device.as_raw(), control) }
    }

    /// The operations of the mapping of a regular file.
    pub(super) const ADDRESS_SPACE_OPERATIONS: bindings::address_space_operations =
        bindings::address_space_operations {
            writepages: Some(Self::writepages),
            direct_IO: Some(bindings::noop_direct_IO),
            dirty_folio: Some(bindings::noop_dirty_folio),
            ..pin_init::zeroed()
        };
}
