// SPDX-License-Identifier: GPL-2.0

//! Names: directories, and symbolic links.

use core::{
    marker::PhantomData,
    ptr,
    slice, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use crate::bindings;

use super::{
    acl,
    attr,
    flags,
    inode_ref::InodeRef,
    ioctl,
    lock::LockedInode,
    new_inode::NewInode,
    symlink::Link,
    xattr,
    Entry,
    FileSystem,
    Inode,
    Rename,
    Whiteout, //
};

/// # Safety
///
/// - `dentry` must be valid and keep its name for the duration of `'a`, as it does while the inode
///   of its directory is locked.
unsafe fn qstr<'a>(dentry: *const bindings::dentry) -> &'a bindings::qstr {
    // SAFETY: By the safety requirements.
    unsafe { &(*dentry).__bindgen_anon_1.d_name }
}

/// # Safety
///
/// As [`qstr()`].
unsafe fn name<'a>(dentry: *const bindings::dentry) -> &'a [u8] {
    // SAFETY: By the safety requirements. A name has as many bytes as it says.
    unsafe {
        let name = qstr(dentry);
        let len = name.__bindgen_anon_1.__bindgen_anon_1.len;

        // CAST: A length in memory is a `usize`.
        slice::from_raw_parts(name.name, len as usize)
    }
}

/// # Safety
///
/// `dentry` must be valid for the duration of `'a`, and of a superblock of type `T`. It must not
/// get or lose its inode meanwhile.
unsafe fn inode_of<'a, T: FileSystem>(dentry: *const bindings::dentry) -> Option<&'a Inode<T>> {
    // SAFETY: By the safety requirements. A dentry has a reference to its inode, and keeps it while
    // the lock of its directory is held.
    unsafe {
        let inode = (*dentry).d_inode;

        (!inode.is_null()).then(|| Inode::from_raw(inode))
    }
}

/// # Safety
///
/// `inode` must be valid for the duration of `'a`, of a superblock of type `T`, and locked.
unsafe fn locked<'a, T: FileSystem>(inode: *mut bindings::inode) -> &'a LockedInode<T> {
    // SAFETY: By the safety requirements.
    unsafe { LockedInode::assume(Inode::from_raw(inode)) }
}

/// The operations tables of directories and symbolic links.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// Finds the inode that has a name.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG` if there can be no such name.
    /// - `EUCLEAN` if there is the name but no inode.
    /// - The errors of [`FileSystem::lookup()`] and
    ///   [`SuperBlock::inode()`](super::SuperBlock::inode).
    fn find<'a>(directory: &'a Inode<T>, name: &[u8]) -> Result<Option<InodeRef<'a, T>>> {
        if name.len() > T::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let Some(number) = directory.fs().lookup(directory, name)? else {
            return Ok(None);
        };

        match directory.super_block().inode(number) {
            // It is the name that is not as it should be, not the caller's handle.
            Err(ESTALE) => Err(EUCLEAN),
            inode => inode.map(Some),
        }
    }

    /// # Safety
    ///
    /// - Called by the VFS only, with the lock of `dir` held at least for reading.
    /// - `dir` is a directory of a superblock of type `T`, `dentry` a new name in it.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: By the safety requirements.
        let (directory, name) = unsafe { (Inode::<T>::from_raw(dir), name(dentry)) };

        let inode = match Self::find(directory, name) {
            Ok(Some(inode)) => inode.into_raw(),
            Ok(None) => ptr::null_mut(),
            Err(error) => return error.to_ptr(),
        };

        // SAFETY: The dentry has no inode yet. The reference to the inode, if there is one, is the
        // function's from now on.
        unsafe { bindings::d_splice_alias(inode, dentry) }
    }

    /// Creates an inode, with the name of a dentry or without one. Returns it with a reference and
    /// still new (`I_NEW`), as [`NewInode::insert()`] does.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::create()`], [`NewInode::new()`], [`NewInode::labels()`] and
    ///   [`NewInode::insert()`].
    ///
    /// # Safety
    ///
    /// The dentry must be one that has a [`name()`].
    unsafe fn make(
        directory: &LockedInode<T>,
        dentry: Option<*const bindings::dentry>,
        mode: bindings::umode_t,
        device: bindings::dev_t,
        target: Option<&[u8]>,
    ) -> Result<*mut bindings::inode> {
        // SAFETY: By the safety requirements.
        let name = dentry.map(|dentry| unsafe { (qstr(dentry), name(dentry)) });
        // All that can fail for lack of memory comes before the inode is there.
        let inode = NewInode::new(directory, mode)?;
        let link = target.map(Link::copy).transpose()?;
        let labels = inode.labels(directory, name.map(|(qstr, _)| qstr))?;
        let attributes = inode.attributes(device, directory.now());
        let place = name.map(|(_, name)| (&**directory, name));

        let number = directory.fs().create(place, &attributes, target, &labels)?;

        if place.is_some() {
            directory.refresh();
        }
        inode.insert(number, link)
    }

    /// # Safety
    ///
    /// - The caller must hold the lock of `dir`, a directory of a superblock of type `T`.
    /// - `dentry` must be a name in it that has no inode.
    unsafe fn make_at(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u32,
        device: bindings::dev_t,
        target: Option<&[u8]>,
    ) -> Result {
        // SAFETY: By the safety requirements.
        let directory = unsafe { locked(dir) };
        let mode = bindings::umode_t::try_from(mode)?;

        // SAFETY: By the safety requirements.
        let inode = unsafe { Self::make(directory, Some(dentry), mode, device, target) }?;

        // SAFETY: The dentry has no inode, the inode is new. Its reference is the dentry's now.
        unsafe { bindings::d_instantiate_new(dentry, inode) };
        Ok(())
    }

    /// # Safety
    ///
    /// Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    unsafe extern "C" fn create(
        _idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        let mode = bindings::S_IFREG | u32::from(mode);

        // SAFETY: As the VFS calls us.
        from_result(|| unsafe { Self::make_at(dir, dentry, mode, 0, None) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    unsafe extern "C" fn mknod(
        _idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        device: bindings::dev_t,
    ) -> c_int {
        // SAFETY: As the VFS calls us.
        from_result(|| unsafe { Self::make_at(dir, dentry, mode.into(), device, None) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    unsafe extern "C" fn mkdir(
        _idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        let mode = bindings::S_IFDIR | u32::from(mode);

        // SAFETY: As the VFS calls us.
        match unsafe { Self::make_at(dir, dentry, mode, 0, None) } {
            // The VFS goes on with its own dentry.
            Ok(()) => ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// - Called by the VFS only, as [`make_at()`](Self::make_at) requires.
    /// - `target` is a valid C string.
    unsafe extern "C" fn symlink(
        _idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        const MODE: u32 = bindings::S_IFLNK | 0o777;

        // SAFETY: By the safety requirements.
        let target = unsafe { CStr::from_char_ptr(target) }.to_bytes();

        // SAFETY: As the VFS calls us.
        from_result(|| unsafe { Self::make_at(dir, dentry, MODE, 0, Some(target)) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// - Called by `vfs_tmpfile()` only, with the lock of `dir` held.
    /// - `dir` is a directory of a superblock of type `T`, `file` a file that is being opened, with
    ///   a dentry of its own that has no inode.
    unsafe extern "C" fn tmpfile(
        _idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let directory = unsafe { locked::<T>(dir) };
            // SAFETY: There is no dentry.
            let inode = unsafe { Self::make(directory, None, mode, 0, None) }?;

            // SAFETY: The inode is new, so its links can be set. `d_tmpfile()` takes the one link
            // from it and hands its reference to the dentry, which the file has.
            to_result(unsafe {
                bindings::set_nlink(inode, 1);
                bindings::d_tmpfile(file, inode);
                bindings::unlock_new_inode(inode);
                bindings::finish_open(file, (*file).__bindgen_anon_1.f_path.dentry, None)
            })
            .map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_link()` only, with the locks of `dir` and of the inode of `old` held.
    /// - `dir` is a directory of a superblock of type `T`, `old` a name with an inode of it, and
    ///   `dentry` a name in `dir` that has none.
    unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let (directory, name) = unsafe { (locked::<T>(dir), name(dentry)) };
            // SAFETY: By the safety requirements.
            let inode = unsafe { LockedInode::assume(inode_of::<T>(old).ok_or(ENOENT)?) };

            directory
                .fs()
                .link(inode, directory, name, directory.now())?;
            directory.refresh();
            inode.refresh();

            // SAFETY: `old` has a reference to the inode. The dentry has no inode, and gets the
            // reference that is taken here.
            unsafe {
                bindings::ihold(inode.as_raw());
                bindings::d_instantiate(dentry, inode.as_raw());
            }
            Ok(0)
        })
    }

    /// Takes a name from an inode, directory or not.
    ///
    /// # Safety
    ///
    /// - Called by `vfs_unlink()` and `vfs_rmdir()` only, with the locks of `dir` and of the inode
    ///   of `dentry` held.
    /// - `dir` is a directory of a superblock of type `T`, `dentry` a name in it with an inode.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let (directory, name) = unsafe { (locked::<T>(dir), name(dentry)) };
            // SAFETY: By the safety requirements.
            let inode = unsafe { LockedInode::assume(inode_of::<T>(dentry).ok_or(ENOENT)?) };

            directory
                .fs()
                .unlink(directory, name, inode, directory.now())?;
            directory.refresh();
            inode.refresh();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_rename()` only, with the locks of both directories held, and of the inodes
    ///   that it says it locks.
    /// - `old_dir` and `new_dir` are directories of one superblock of type `T`; `old` is a name
    ///   with an inode in the first, `new` one in the second.
    unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        const FLAGS: u32 =
            bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;

        from_result(|| {
            // The VFS has checked that there is nothing to be replaced, and that nothing is both
            // exchanged and whited out.
            if flags & !FLAGS != 0 {
                return Err(EINVAL);
            }
            let whiteout = (flags & bindings::RENAME_WHITEOUT != 0)
                // SAFETY: By the safety requirements.
                .then(|| unsafe { Self::whiteout(Inode::from_raw(old_dir), qstr(old)) })
                .transpose()?;

            // SAFETY: By the safety requirements.
            let rename = unsafe {
                let from = Inode::<T>::from_raw(old_dir);

                Rename {
                    from,
                    name: name(old),
                    inode: inode_of(old).ok_or(ENOENT)?,
                    to: Inode::from_raw(new_dir),
                    new_name: name(new),
                    replaced: inode_of(new),
                    exchange: flags & bindings::RENAME_EXCHANGE != 0,
                    whiteout,
                    now: from.now(),
                }
            };

            rename.from.fs().rename(&rename)?;
            // SAFETY: By the safety requirements.
            unsafe { rename.refresh() };
            Ok(0)
        })
    }

    /// What takes a name of a directory that is renamed with `RENAME_WHITEOUT`. The VFS looks the
    /// name up again, so it gets no inode.
    ///
    /// # Errors
    ///
    /// - The errors of [`NewInode::new()`] and [`NewInode::labels()`].
    fn whiteout(directory: &Inode<T>, name: &bindings::qstr) -> Result<Whiteout> {
        const MODE: u32 = bindings::S_IFCHR | bindings::WHITEOUT_MODE;

        let inode = NewInode::new(directory, bindings::umode_t::try_from(MODE)?)?;

        let labels = inode.labels(directory, Some(name))?;

        Ok(Whiteout {
            attributes: inode.attributes(bindings::WHITEOUT_DEV, directory.now()),
            labels,
        })
    }

    /// # Safety
    ///
    /// - Called by `iterate_dir()` only, with the lock of the directory held at least for reading.
    /// - `file` is an open directory of a superblock of type `T`.
    unsafe extern "C" fn iterate(
        file: *mut bindings::file,
        context: *mut bindings::dir_context,
    ) -> c_int {
        // SAFETY: By the safety requirements, `context` is valid for us alone during the call.
        if !unsafe { bindings::dir_emit_dots(file, context) } {
            return 0;
        }

        // SAFETY: By the safety requirements.
        let (directory, context) =
            unsafe { (Inode::<T>::from_raw((*file).f_inode), &mut *context) };

        from_result(|| emit_all(directory, context).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by `vfs_fsync_range()` only, for an open directory of a superblock of type `T`.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        _start: bindings::loff_t,
        _end: bindings::loff_t,
        _datasync: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let directory = unsafe { Inode::<T>::from_raw((*file).f_inode) };

            // SAFETY: The inode is valid. It is written if it is dirty.
            to_result(unsafe { bindings::sync_inode_metadata(directory.as_raw(), 1) })?;
            directory.fs().sync().map(|()| 0)
        })
    }

    pub(super) const DIRECTORY_INODE_OPERATIONS: bindings::inode_operations =
        bindings::inode_operations {
            lookup: Some(Self::lookup),
            create: Some(Self::create),
            link: Some(Self::link),
            unlink: Some(Self::unlink),
            symlink: Some(Self::symlink),
            mkdir: Some(Self::mkdir),
            rmdir: Some(Self::unlink),
            mknod: Some(Self::mknod),
            rename: Some(Self::rename),
            tmpfile: Some(Self::tmpfile),
            setattr: Some(attr::VTable::<T>::setattr),
            getattr: Some(attr::VTable::<T>::getattr),
            get_inode_acl: Some(acl::VTable::<T>::get),
            set_acl: Some(acl::VTable::<T>::set),
            fileattr_get: Some(flags::VTable::<T>::get),
            fileattr_set: Some(flags::VTable::<T>::set),
            listxattr: Some(xattr::VTable::<T>::listxattr),
            ..pin_init::zeroed()
        };

    pub(super) const FILE_OPERATIONS: bindings::file_operations = bindings::file_operations {
        llseek: Some(bindings::generic_file_llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate),
        unlocked_ioctl: Some(ioctl::VTable::<T>::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        fsync: Some(Self::fsync),
        setlease: Some(bindings::generic_setlease),
        ..pin_init::zeroed()
    };

    pub(super) const LINK_INODE_OPERATIONS: bindings::inode_operations =
        bindings::inode_operations {
            get_link: Some(bindings::simple_get_link),
            setattr: Some(attr::VTable::<T>::setattr),
            getattr: Some(attr::VTable::<T>::getattr),
            fileattr_get: Some(flags::VTable::<T>::get),
            fileattr_set: Some(flags::VTable::<T>::set),
            listxattr: Some(xattr::VTable::<T>::listxattr),
            ..pin_init::zeroed()
        };
}

impl<T: FileSystem> Rename<'_, T> {
    /// Refreshes all who took part.
    ///
    /// # Safety
    ///
    /// `vfs_rename()` must have called us for this.
    unsafe fn refresh(&self) {
        // SAFETY: `vfs_rename()` has locked both directories.
        unsafe {
            LockedInode::assume(self.from).refresh();
            if !ptr::eq(self.from, self.to) {
                LockedInode::assume(self.to).refresh();
            }
        }
        for inode in [Some(self.inode), self.replaced].into_iter().flatten() {
            match self.stays(inode) {
                true => {
                    inode.set_changed(inode.changed().max(self.now));
                    inode.count_change();
                }
                // SAFETY: `vfs_rename()` has locked it.
                false => unsafe { LockedInode::assume(inode) }.refresh(),
            }
        }
    }

    /// Whether an inode that has another name now is a directory that stays where it is.
    ///
    /// `vfs_rename()` does not lock such. Somebody may create a name in it at this moment, and
    /// refresh its links after they were read here.
    fn stays(&self, inode: &Inode<T>) -> bool {
        let is_replaced = self.replaced.is_some_and(|other| ptr::eq(other, inode));

        ptr::eq(self.from, self.to)
            && inode.is(bindings::S_IFDIR)
            && (self.exchange || !is_replaced)
    }
}

/// Some names of a directory, read from the filesystem before any is handed on: to hand one on
/// may fault in a page of a file, for which the filesystem may need the locks that it holds while
/// it reads.
struct Batch {
    names: KVec<u8>,
    entries: KVec<Copied>,
    is_full: bool,
}

/// An entry, whose name lies in a [`Batch`] behind that of the entry before.
struct Copied {
    name_len: usize,
    number: u64,
    mode: u32,
    next: u64,
}

impl Batch {
    const NAMES: usize = 2048;
    const ENTRIES: usize = 64;

    fn new() -> Result<Self> {
        Ok(Self {
            names: KVec::with_capacity(Self::NAMES, GFP_KERNEL)?,
            entries: KVec::with_capacity(Self::ENTRIES, GFP_KERNEL)?,
            is_full: false,
        })
    }

    /// Reads as many entries as there is room for.
    fn fill<T: FileSystem>(&mut self, directory: &Inode<T>, position: u64) -> Result {
        self.names.clear();
        self.entries.clear();
        self.is_full = false;

        directory
            .fs()
            .read_directory(directory, position, &mut |entry| {
                // It may go on, but no name may be left out.
                self.is_full = self.is_full || !self.push(&entry);
                !self.is_full
            })
    }

    /// Copies an entry. Returns false if there is no room for it. Does not allocate.
    fn push(&mut self, entry: &Entry<'_>) -> bool {
        let room = self.names.capacity().saturating_sub(self.names.len());

        if entry.name.len() > room {
            return false;
        }

        let copied = Copied {
            name_len: entry.name.len(),
            number: entry.number,
            mode: entry.mode,
            next: entry.next,
        };

        self.entries.push_within_capacity(copied).is_ok()
            && self.names.extend_from_slice(entry.name, GFP_KERNEL).is_ok()
    }

    /// Hands the entries on. Returns false once the reader wants no more.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the positions do not go up.
    fn emit(&self, context: &mut bindings::dir_context) -> Result<bool> {
        let mut names = self.names.as_slice();

        for entry in &self.entries {
            let (name, rest) = names.split_at_checked(entry.name_len).ok_or(EUCLEAN)?;
            let next = bindings::loff_t::try_from(entry.next).map_err(|_| EUCLEAN)?;

            // A reader would never come to the end.
            if next <= context.pos {
                return Err(EUCLEAN);
            }

            // SAFETY: `context` and the name are valid during the call.
            let goes_on = unsafe {
                bindings::dir_emit(
                    context,
                    name.as_ptr().cast(),
                    c_int::try_from(name.len())?,
                    entry.number,
                    kind(entry.mode),
                )
            };

            if !goes_on {
                return Ok(false);
            }
            context.pos = next;
            names = rest;
        }
        Ok(true)
    }
}

/// Hands the names of a directory on, from the position of `context` on.
fn emit_all<T: FileSystem>(directory: &Inode<T>, context: &mut bindings::dir_context) -> Result {
    let mut batch = Batch::new()?;

    loop {
        batch.fill(directory, u64::try_from(context.pos)?)?;

        if !batch.emit(context)? || !batch.is_full {
            return Ok(());
        }
        if batch.entries.is_empty() {
            return Err(EUCLEAN);
        }
    }
}

/// The type in a directory entry, `DT_…`.
///
/// C: `fs_umode_to_dtype()`
const fn kind(mode: u32) -> c_uint {
    (mode & bindings::S_IFMT) >> 12
}
