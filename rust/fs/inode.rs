// SPDX-License-Identifier: GPL-2.0

//! Inodes.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        new_mutex,
        Mutex, //
    },
    types::Opaque, //
};

use crate::bindings;

use super::{
    acl,
    contents,
    flags,
    lock::LockedInode,
    names,
    xattr,
    Attributes,
    FileSystem,
    SuperBlock,
    Time, //
};

/// Sectors of a block, as `i_blocks` counts.
const SECTORS_PER_BLOCK: u64 = 8;

/// Reads a field that C may write at this moment.
///
/// C: `READ_ONCE()`
///
/// # Safety
///
/// `field` must be valid for reads, and C must read and write it as a whole.
unsafe fn read_once<F: Copy>(field: *const F) -> F {
    const { assert!(size_of::<F>() <= size_of::<usize>()) };

    // SAFETY: By the safety requirements.
    unsafe { field.read_volatile() }
}

/// Writes a field that C may read at this moment.
///
/// C: `WRITE_ONCE()`
///
/// # Safety
///
/// `field` must be valid for writes, and C must read and write it as a whole. Nobody else may write
/// it at this moment.
unsafe fn write_once<F: Copy>(field: *mut F, value: F) {
    const { assert!(size_of::<F>() <= size_of::<usize>()) };

    // SAFETY: By the safety requirements.
    unsafe { field.write_volatile(value) };
}

/// An inode of a mounted filesystem.
///
/// A filesystem gets it for the duration of a call, and knows it by its [number](Self::number)
/// otherwise. No reference to it can be taken: one that is kept is a busy inode when the filesystem
/// is unmounted, and the last one evicts the inode wherever it is dropped.
///
/// # Invariants
///
/// An `Inode` is a valid `struct inode` of a superblock of type `T`.
#[repr(transparent)]
pub struct Inode<T>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: All methods do their own synchronization, and `T` is `Sync`.
unsafe impl<T: Sync> Sync for Inode<T> {}

/// A reference to an inode, which exists no longer than its superblock.
///
/// Where the last one is dropped the inode is evicted. That sleeps, takes the lock of the
/// filesystem, and waits for those who use a page.
///
/// # Invariants
///
/// `self.0` is an inode of a superblock of type `T` that is valid for the duration of `'a`. `self`
/// owns a reference to it.
pub(super) struct InodeRef<'a, T: FileSystem>(
    NonNull<bindings::inode>,
    PhantomData<&'a SuperBlock<T>>,
);

impl<'a, T: FileSystem> InodeRef<'a, T> {
    /// Takes over the caller's reference to an inode, [`None`] if the pointer is null.
    ///
    /// # Safety
    ///
    /// `inode` must be null, or an inode with a reference that the caller owns, of a superblock of
    /// type `T` that is valid as long as what is returned.
    pub(super) unsafe fn from_raw(inode: *mut bindings::inode) -> Option<Self> {
        // INVARIANT: By the safety requirements.
        NonNull::new(inode).map(|inode| Self(inode, PhantomData))
    }

    /// Hands the reference on to the caller.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Gives it up where the inode may be evicted, and not where it is dropped.
    pub(super) fn deferred(self) -> DeferredRef<'a, T> {
        DeferredRef(ManuallyDrop::new(self))
    }
}

impl<T: FileSystem> Deref for InodeRef<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: By the type invariants.
        unsafe { Inode::from_raw(self.0.as_ptr()) }
    }
}

impl<T: FileSystem> Drop for InodeRef<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the inode is not used afterwards.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// A reference to an inode that a callback of a memory failure may drop: if it is the last one, it
/// is given up from a work item. An eviction waits while the filesystem is frozen, and with it the
/// failures of the whole machine would.
pub(super) struct DeferredRef<'a, T: FileSystem>(ManuallyDrop<InodeRef<'a, T>>);

impl<T: FileSystem> Deref for DeferredRef<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        &self.0
    }
}

impl<T: FileSystem> Drop for DeferredRef<'_, T> {
    fn drop(&mut self) {
        let inode = self.0 .0;

        // SAFETY: The reference is ours, and it is not used afterwards if it was dropped.
        if unsafe { bindings::iput_if_not_last(inode.as_ptr()) } {
            return;
        }

        // SAFETY: The superblock exists longer than the reference.
        let super_block = unsafe { SuperBlock::<T>::from_raw((*inode.as_ptr()).i_sb) };

        // SAFETY: The reference is ours, and not used afterwards.
        unsafe { super_block.last_refs().add(inode) };
        super_block.settler().ask();
    }
}

/// The last references to inodes, which are still to be given up. That needs no memory: they are
/// linked by `i_private`.
#[pin_data]
pub(super) struct LastRefs {
    #[pin]
    first: Mutex<First>,
}

/// # Invariants
///
/// It is null, or the first of a list of inodes, each of which the list owns a reference to.
struct First(*mut bindings::inode);

// SAFETY: `iput()` may be called on any thread.
unsafe impl Send for First {}

impl LastRefs {
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: It is null.
        pin_init!(Self {
            first <- new_mutex!(First(ptr::null_mut())),
        })
    }

    /// # Safety
    ///
    /// The caller must own a reference to `inode`, of a filesystem of this crate. It is the list's
    /// from now on.
    unsafe fn add(&self, inode: NonNull<bindings::inode>) {
        let mut first = self.first.lock();

        // INVARIANT: It was not in the list: it would have two references then, of which ours was
        // not the last one.
        // SAFETY: By the safety requirements. Nobody else uses the field of our inodes.
        unsafe { (*inode.as_ptr()).i_private = first.0.cast() };
        first.0 = inode.as_ptr();
    }

    /// Takes a reference from the list, which is the caller's then.
    fn take(&self) -> Option<NonNull<bindings::inode>> {
        let mut first = self.first.lock();
        let inode = NonNull::new(first.0)?;

        // INVARIANT: The next one takes its place.
        // SAFETY: By the type invariants.
        unsafe {
            first.0 = (*inode.as_ptr()).i_private.cast();
            (*inode.as_ptr()).i_private = ptr::null_mut();
        }
        Some(inode)
    }

    /// Gives up all of them. Inodes are evicted then, which sleeps, takes the locks of the
    /// filesystem, and waits while that is frozen.
    pub(super) fn give_up(&self) {
        while let Some(inode) = self.take() {
            // SAFETY: The reference is ours, and not used afterwards.
            unsafe { bindings::iput(inode.as_ptr()) };
        }
    }
}

impl<T: FileSystem> Inode<T> {
    /// # Safety
    ///
    /// `inode` must be a valid inode of a superblock of type `T` for the duration of `'a`.
    pub(super) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: By the safety requirements. `Inode` is a transparent wrapper.
        unsafe { &*inode.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The number of the inode.
    pub fn number(&self) -> u64 {
        // SAFETY: By the type invariants. The number is written once, when the inode is created.
        unsafe { read_once(&raw const (*self.as_raw()).i_ino) }
    }

    /// The superblock that the inode belongs to.
    pub(super) fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: By the type invariants. The superblock outlives its inodes.
        unsafe { SuperBlock::from_raw((*self.as_raw()).i_sb) }
    }

    /// The filesystem that the inode belongs to.
    pub(super) fn fs(&self) -> &T {
        self.super_block().fs()
    }

    /// Type and permissions, as `st_mode`.
    pub fn mode(&self) -> u32 {
        // SAFETY: By the type invariants. `setattr_copy()` may write the mode at this moment.
        unsafe { read_once(&raw const (*self.as_raw()).i_mode) }.into()
    }

    /// Whether the inode is of the type `format`, one of the `S_IF…` numbers.
    pub(super) fn is(&self, format: u32) -> bool {
        self.mode() & bindings::S_IFMT == format
    }

    /// What the VFS knows of the inode at this moment, which may be newer than what
    /// [`FileSystem::read_inode()`] says. It does not know flags and the time of creation, which
    /// are 0.
    pub fn attributes(&self) -> Attributes {
        // SAFETY: By the type invariants. As everywhere in the VFS, what somebody changes at this
        // moment is found either way: `setattr_copy()` and `set_nlink()` take no lock that a reader
        // has. Device and generation do not change.
        unsafe {
            let inode = self.as_raw();

            Attributes {
                mode: self.mode(),
                uid: read_once(&raw const (*inode).i_uid.val),
                gid: read_once(&raw const (*inode).i_gid.val),
                links: read_once(&raw const (*inode).__bindgen_anon_1.i_nlink),
                size: self.size(),
                blocks: read_once(&raw const (*inode).i_blocks) / SECTORS_PER_BLOCK,
                device: bindings::huge_encode_dev((*inode).i_rdev),
                generation: (*inode).i_generation,
                flags: 0,
                version: self.version(),
                accessed: self.accessed(),
                modified: self.modified(),
                changed: self.changed(),
                born: Time::default(),
            }
        }
    }

    /// The size in bytes.
    pub(super) fn size(&self) -> u64 {
        // SAFETY: By the type invariants.
        let size = unsafe { bindings::i_size_read(self.as_raw()) };

        u64::try_from(size).unwrap_or(0)
    }

    /// The time of the last access, as the VFS knows it.
    fn accessed(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_atime(self.as_raw()) })
    }

    /// The time of the last change to the contents, as the VFS knows it.
    fn modified(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_mtime(self.as_raw()) })
    }

    /// The time of the last change, as the VFS knows it.
    pub(super) fn changed(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::inode_get_ctime(self.as_raw()) })
    }

    /// Sets the time of the last change. That takes no lock.
    pub(super) fn set_changed(&self, time: Time) {
        // SAFETY: By the type invariants. `inode_set_ctime_to_ts()` writes what others may read at
        // this moment as it is to be.
        unsafe { bindings::inode_set_ctime_to_ts(self.as_raw(), time.into_raw()) };
    }

    /// The change counter, as the VFS knows it.
    fn version(&self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { bindings::inode_peek_iversion(self.as_raw()) }
    }

    /// Makes the change counter greater. That takes no lock.
    pub(super) fn count_change(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::inode_maybe_inc_iversion(self.as_raw(), true) };
    }

    /// The time, as precise as the inode keeps it.
    pub(super) fn now(&self) -> Time {
        // SAFETY: By the type invariants.
        Time::from_raw(unsafe { bindings::current_time(self.as_raw()) })
    }

    /// C: `inode_state_read_once()`
    pub(super) fn state(&self) -> bindings::inode_state_flags_enum {
        // SAFETY: By the type invariants. Others change the flags under `i_lock`.
        unsafe { read_once(&raw const (*self.as_raw()).i_state.__state) }
    }

    /// # Safety
    ///
    /// The caller must hold the inode's lock, or nobody else uses the inode.
    unsafe fn set_size(&self, attributes: &Attributes) {
        // CAST: `read()` checks the size. The number of blocks of a file that fits into 64 bits is
        // far from overflowing.
        // SAFETY: By the safety requirements.
        unsafe {
            let inode = self.as_raw();
            let sectors = attributes.blocks.saturating_mul(SECTORS_PER_BLOCK);

            bindings::i_size_write(inode, attributes.size as bindings::loff_t);
            write_once(&raw mut (*inode).i_blocks, sectors);
        }
    }

    /// # Safety
    ///
    /// The caller must hold the inode's lock, or nobody else uses the inode.
    unsafe fn set_changes(&self, attributes: &Attributes) {
        // SAFETY: By the safety requirements.
        unsafe {
            let inode = self.as_raw();

            bindings::inode_set_mtime_to_ts(inode, attributes.modified.into_raw());
            self.set_changed(attributes.changed);
        }
    }

    /// Sets what [`FileSystem::write_inode()`] is told.
    ///
    /// # Safety
    ///
    /// The caller must hold the inode's lock, or nobody else uses the inode.
    unsafe fn set_owners_and_times(&self, attributes: &Attributes) {
        // SAFETY: By the safety requirements.
        unsafe {
            let inode = self.as_raw();

            // CAST: The upper half of a mode is not used.
            write_once(
                &raw mut (*inode).i_mode,
                attributes.mode as bindings::umode_t,
            );
            write_once(&raw mut (*inode).i_uid.val, attributes.uid);
            write_once(&raw mut (*inode).i_gid.val, attributes.gid);
            bindings::inode_set_atime_to_ts(inode, attributes.accessed.into_raw());
            self.set_changes(attributes);
        }
    }

    /// What the filesystem says of the inode.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if it is not what an inode can be.
    /// - The errors of [`FileSystem::read_inode()`].
    pub(super) fn read(&self) -> Result<Attributes> {
        let attributes = self.fs().read_inode(self.number())?;

        match attributes.is_valid() {
            true => Ok(attributes),
            false => Err(EUCLEAN),
        }
    }

    /// Tells the filesystem the owners and times that the VFS has.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`].
    pub(super) fn write(&self) -> Result {
        self.fs().write_inode(self, &self.attributes())
    }

    /// Has the kernel write the inode again, as it would not by itself, unless the filesystem is at
    /// its end.
    pub(super) fn write_later(&self) {
        if self.read().is_ok() {
            self.mark_dirty();
        }
    }

    /// Has the kernel write the inode.
    ///
    /// C: `mark_inode_dirty_sync()`
    fn mark_dirty(&self) {
        // CAST: The flags are small.
        let flags = bindings::inode_state_flags_enum_I_DIRTY_SYNC as c_int;

        // SAFETY: By the type invariants.
        unsafe { bindings::__mark_inode_dirty(self.as_raw(), flags) };
    }

    /// Sets up an inode that nobody uses yet from what the filesystem says of it. The target of a
    /// symbolic link is asked for if there is no `link`.
    ///
    /// # Errors
    ///
    /// - The errors of [`read()`](Self::read) and [`FileSystem::target()`].
    ///
    /// # Safety
    ///
    /// The inode must be new (`I_NEW`), with a reference that the caller owns.
    unsafe fn fill(&self, link: Option<Link>) -> Result {
        let attributes = self.read()?;
        let link = match (attributes.mode & bindings::S_IFMT, link) {
            (bindings::S_IFLNK, None) => Some(Link::new(self.fs().target(self.number())?)?),
            (bindings::S_IFLNK, link) => link,
            _ => None,
        };

        // SAFETY: Nobody uses the inode yet.
        unsafe {
            bindings::set_nlink(self.as_raw(), attributes.links);
            (*self.as_raw()).i_generation = attributes.generation;
            bindings::inode_set_iversion_queried(self.as_raw(), attributes.version);
            self.set_size(&attributes);
            self.set_owners_and_times(&attributes);
            self.show_flags(attributes.flags);
            self.set_operations(&attributes, link);
        }
        Ok(())
    }

    /// # Safety
    ///
    /// Nobody may use the inode yet. The mode of `attributes` must be valid, and there must be a
    /// link if it is that of a symbolic link.
    unsafe fn set_operations(&self, attributes: &Attributes, link: Option<Link>) {
        // SAFETY: Nobody uses the inode yet. The tables of operations are static.
        unsafe {
            let inode = self.as_raw();

            match attributes.mode & bindings::S_IFMT {
                bindings::S_IFREG => {
                    (*inode).i_op = &contents::VTable::<T>::INODE_OPERATIONS;
                    (*inode).__bindgen_anon_3.i_fop = &contents::VTable::<T>::FILE_OPERATIONS;
                    (*(*inode).i_mapping).a_ops = &contents::VTable::<T>::ADDRESS_SPACE_OPERATIONS;
                    (*inode).i_flags |= bindings::S_DAX;
                }
                bindings::S_IFDIR => {
                    (*inode).i_op = &names::VTable::<T>::DIRECTORY_INODE_OPERATIONS;
                    (*inode).__bindgen_anon_3.i_fop = &names::VTable::<T>::FILE_OPERATIONS;
                }
                bindings::S_IFLNK => {
                    (*inode).i_op = &names::VTable::<T>::LINK_INODE_OPERATIONS;
                    (*inode).__bindgen_anon_5.i_link = link.map_or(ptr::null_mut(), Link::into_raw);
                }
                _ => {
                    (*inode).i_op = &VTable::<T>::SPECIAL_INODE_OPERATIONS;
                    bindings::init_special_inode(
                        inode,
                        (*inode).i_mode,
                        bindings::huge_decode_dev(attributes.device),
                    );
                }
            }
        }
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Takes over what an operation of the filesystem has changed: links, size, blocks, and the
    /// times of the changes. An inode that cannot be [read](Inode::read) any more stays as it is.
    pub(super) fn refresh(&self) {
        let Ok(mut attributes) = self.read() else {
            return;
        };

        // Names are changed by the filesystem, contents by the VFS, which may not have told the
        // filesystem yet.
        if !self.is(bindings::S_IFDIR) {
            attributes.modified = self.modified();
            attributes.changed = attributes.changed.max(self.changed());
        }

        // SAFETY: The inode is valid, and locked by the type invariants.
        unsafe {
            bindings::set_nlink(self.as_raw(), attributes.links);
            self.set_size(&attributes);
            self.set_changes(&attributes);
        }
        self.refresh_version(attributes.version);
    }

    /// Counts a change for which the filesystem has the counter `version`. Whoever has the greater
    /// one, the other gets it.
    fn refresh_version(&self, version: u64) {
        self.count_change();
        match self.version() {
            known if known < version => {
                // SAFETY: The inode is valid.
                unsafe { bindings::inode_set_iversion_queried(self.as_raw(), version) };
            }
            known if known > version => self.mark_dirty(),
            _ => (),
        }
    }

    /// Changes mode, owners and times as `setattr()` is asked to, here and in the filesystem.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`]. Nothing has changed then.
    /// - Those of `posix_acl_chmod()`.
    ///
    /// # Safety
    ///
    /// `dentry` must be one of the inode, and `attr` have passed `setattr_prepare()` with it and
    /// `idmap`.
    pub(super) unsafe fn change(
        &self,
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *const bindings::iattr,
    ) -> Result {
        let before = self.attributes();

        // SAFETY: By the safety requirements, and the inode is locked by the type invariants.
        unsafe { bindings::setattr_copy(idmap, self.as_raw(), attr) };
        self.count_change();

        self.write().inspect_err(|_| {
            // SAFETY: The inode is locked by the type invariants.
            unsafe { self.set_owners_and_times(&before) }
        })?;

        // SAFETY: By the safety requirements. The list follows the mode.
        to_result(unsafe {
            match (*attr).ia_valid & bindings::ATTR_MODE {
                0 => 0,
                _ => bindings::posix_acl_chmod(idmap, dentry, (*self.as_raw()).i_mode),
            }
        })
    }

    /// Changes the mode, here and in the filesystem.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::write_inode()`]. Nothing has changed then.
    pub(super) fn change_mode(&self, mode: bindings::umode_t) -> Result {
        let before = self.attributes();

        // SAFETY: The inode is valid, and locked by the type invariants.
        unsafe { write_once(&raw mut (*self.as_raw()).i_mode, mode) };
        self.set_changed(self.now());
        self.count_change();

        self.write().inspect_err(|_| {
            // SAFETY: The inode is locked by the type invariants.
            unsafe { self.set_owners_and_times(&before) }
        })
    }
}

/// The target of a symbolic link, as a C string.
pub(super) struct Link(KVec<u8>);

impl Link {
    /// # Errors
    ///
    /// - As [`new()`](Self::new).
    pub(super) fn copy(target: &[u8]) -> Result<Self> {
        let mut copy = KVec::with_capacity(target.len().saturating_add(1), GFP_KERNEL)?;

        copy.extend_from_slice(target, GFP_KERNEL)?;
        Self::new(copy)
    }

    /// # Errors
    ///
    /// - `EUCLEAN` if it cannot be a target.
    /// - `ENOMEM` if memory is short.
    fn new(mut target: KVec<u8>) -> Result<Self> {
        // CAST: It is 4096.
        if target.is_empty() || target.len() >= bindings::PATH_MAX as usize || target.contains(&0) {
            return Err(EUCLEAN);
        }

        target.push(0, GFP_KERNEL)?;
        Ok(Self(target))
    }

    /// Returns memory that is to be freed by `kfree()`.
    fn into_raw(self) -> *mut c_char {
        self.0.into_raw_parts().0.cast()
    }
}

impl<T: FileSystem> SuperBlock<T> {
    /// The inode of this number, if it is in memory and not about to go. Does not sleep.
    pub(super) fn find(&self, number: u64) -> Option<InodeRef<'_, T>> {
        // SAFETY: The superblock is valid by its type invariants. The callback has taken the
        // reference that is taken over here.
        unsafe {
            InodeRef::from_raw(bindings::find_inode_nowait(
                self.as_raw(),
                number,
                Some(take_if_in_use),
                ptr::null_mut(),
            ))
        }
    }

    /// The inode of this number, read if it is not in memory.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EUCLEAN` if it is not what an inode can be.
    /// - The errors of [`FileSystem::read_inode()`] and [`FileSystem::target()`].
    pub(super) fn inode(&self, number: u64) -> Result<InodeRef<'_, T>> {
        // SAFETY: The superblock is valid by its type invariants. `iget_locked()` returns null or
        // an inode with a reference.
        let inode = unsafe { InodeRef::from_raw(bindings::iget_locked(self.as_raw(), number)) };
        let inode = inode.ok_or(ENOMEM)?;

        if inode.state() & bindings::inode_state_flags_enum_I_NEW == 0 {
            return Ok(inode);
        }

        // SAFETY: The flag is set as long as nobody but us can use the inode.
        match unsafe { inode.fill(None) } {
            Ok(()) => {
                // SAFETY: The inode is new and was set up.
                unsafe { bindings::unlock_new_inode(inode.as_raw()) };
                Ok(inode)
            }
            Err(error) => {
                // SAFETY: The inode is new. The reference is the function's from now on.
                unsafe { bindings::iget_failed(inode.into_raw()) };
                Err(error)
            }
        }
    }
}

/// Takes a reference to an inode if it has the number `number`, and if it can be used.
///
/// # Safety
///
/// Called by `find_inode_nowait()` only, which keeps the inode from being freed.
unsafe extern "C" fn take_if_in_use(
    inode: *mut bindings::inode,
    number: u64,
    _data: *mut c_void,
) -> c_int {
    const STOP: c_int = -1;

    // SAFETY: The inode is valid by the safety requirements. The number was set before the inode
    // was hashed. Others change the flags under `i_lock`, but an inode that is not new any more
    // does not become so again.
    let (found, state) = unsafe {
        (
            (*inode).i_ino,
            read_once(&raw const (*inode).i_state.__state),
        )
    };

    if found != number {
        return 0;
    }
    if state & bindings::inode_state_flags_enum_I_NEW != 0 {
        return STOP;
    }

    // SAFETY: The inode is valid. `igrab()` takes no reference to one that is being freed.
    match unsafe { bindings::igrab(inode) }.is_null() {
        true => 0,
        false => 1,
    }
}

/// An inode in the making, which nobody else knows. It is discarded when dropped.
///
/// # Invariants
///
/// `self.0` is an inode that is not hashed, of which `self` owns the one reference.
pub(super) struct NewInode<T: FileSystem>(NonNull<bindings::inode>, PhantomData<T>);

impl<T: FileSystem> NewInode<T> {
    /// Allocates an inode with mode and owners as one has that is created in `directory`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn new(directory: &Inode<T>, mode: bindings::umode_t) -> Result<Self> {
        // SAFETY: The superblock is valid by its type invariants.
        let inode = unsafe { bindings::new_inode(directory.super_block().as_raw()) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;

        // SAFETY: Both inodes are valid, and mounts with a mapping of owners are not supported.
        unsafe {
            bindings::inode_init_owner(
                &raw mut bindings::nop_mnt_idmap,
                inode.as_ptr(),
                directory.as_raw(),
                mode,
            )
        };

        // INVARIANT: The inode was just allocated.
        Ok(Self(inode, PhantomData))
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.as_ptr()
    }

    /// What the filesystem is to create.
    pub(super) fn attributes(&self, device: bindings::dev_t, now: Time) -> Attributes {
        // SAFETY: By the type invariants.
        let (inode, device) = unsafe {
            (
                Inode::<T>::from_raw(self.0.as_ptr()),
                bindings::huge_encode_dev(device),
            )
        };

        Attributes {
            mode: inode.mode(),
            // SAFETY: By the type invariants nobody else knows the inode.
            uid: unsafe { (*inode.as_raw()).i_uid.val },
            // SAFETY: By the type invariants nobody else knows the inode.
            gid: unsafe { (*inode.as_raw()).i_gid.val },
            links: 0,
            size: 0,
            blocks: 0,
            device,
            generation: 0,
            flags: 0,
            version: 0,
            accessed: now,
            modified: now,
            changed: now,
            born: now,
        }
    }

    /// Makes it the inode of the number `number`, set up from what the filesystem says.
    ///
    /// Returns it with a reference, and still new (`I_NEW`): others wait until it has a name.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the number is in use.
    /// - The errors of [`SuperBlock::inode()`]. With the `link` of a symbolic link, it allocates
    ///   nothing: the filesystem has the inode already.
    pub(super) fn insert(self, number: u64, link: Option<Link>) -> Result<*mut bindings::inode> {
        let inode = self.0.as_ptr();

        // SAFETY: By the type invariants. Who goes through the list of all inodes may read the
        // number at this moment.
        to_result(unsafe {
            write_once(&raw mut (*inode).i_ino, number);
            bindings::insert_inode_locked(inode)
        })?;

        // Now that it is hashed, it has to be let go in another way.
        let _ = ManuallyDrop::new(self);

        // SAFETY: `insert_inode_locked()` has made it new. `iget_failed()` drops the reference.
        unsafe {
            Inode::<T>::from_raw(inode)
                .fill(link)
                .inspect_err(|_| bindings::iget_failed(inode))?;
        }
        Ok(inode)
    }
}

impl<T: FileSystem> Drop for NewInode<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. The filesystem is not told when a bad inode goes.
        unsafe {
            bindings::make_bad_inode(self.0.as_ptr());
            bindings::iput(self.0.as_ptr());
        }
    }
}

/// The operations that all types of inodes have, and those of special files.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// - Called by `notify_change()` only, with the inode's lock held.
    /// - `dentry` is that of an inode of a superblock of type `T`.
    pub(super) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: As the VFS calls us.
            to_result(unsafe { bindings::setattr_prepare(idmap, dentry, attr) })?;

            // SAFETY: `notify_change()` wants the inode to be locked.
            let inode = unsafe { LockedInode::assume(Inode::<T>::from_raw((*dentry).d_inode)) };

            // SAFETY: `attr` has just passed `setattr_prepare()`.
            unsafe { inode.change(idmap, dentry, attr) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_getattr_nosec()` only.
    /// - `path` is that of an inode of a superblock of type `T`.
    /// - `stat` is valid for writes.
    pub(super) unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `path` is valid by the safety requirements. Its reference to the dentry keeps
            // `d_delete()` from taking the inode away.
            let inode = unsafe { Inode::<T>::from_raw((*(*path).dentry).d_inode) };

            // SAFETY: The inode is valid, `stat` by the safety requirements.
            unsafe { bindings::generic_fillattr(idmap, request_mask, inode.as_raw(), stat) };

            // SAFETY: The inode is valid, `stat` by the safety requirements.
            unsafe {
                bindings::generic_fill_statx_attr(inode.as_raw(), stat);
                (*stat).attributes_mask |= u64::from(bindings::STATX_ATTR_NODUMP);
            }

            if request_mask & bindings::STATX_DIOALIGN != 0 && inode.is(bindings::S_IFREG) {
                // SAFETY: `stat` is valid by the safety requirements.
                unsafe {
                    // The processor copies.
                    (*stat).dio_mem_align = 1;
                    (*stat).dio_offset_align = 1;
                    (*stat).result_mask |= bindings::STATX_DIOALIGN;
                }
            }

            // Page faults change the number of blocks, and have no lock to tell the VFS under. The
            // VFS knows neither the time of creation nor all flags.
            let known = inode.read()?;

            // SAFETY: `stat` is valid by the safety requirements.
            unsafe {
                (*stat).blocks = known.blocks.saturating_mul(SECTORS_PER_BLOCK);
                (*stat).btime = known.born.into_raw();
                (*stat).result_mask |= bindings::STATX_BTIME;
                if known.flags & bindings::FS_NODUMP_FL != 0 {
                    (*stat).attributes |= u64::from(bindings::STATX_ATTR_NODUMP);
                }
            }
            Ok(0)
        })
    }

    const SPECIAL_INODE_OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
        get_inode_acl: Some(acl::VTable::<T>::get),
        set_acl: Some(acl::VTable::<T>::set),
        fileattr_get: Some(flags::VTable::<T>::get),
        fileattr_set: Some(flags::VTable::<T>::set),
        listxattr: Some(xattr::VTable::<T>::listxattr),
        ..pin_init::zeroed()
    };
}
