// SPDX-License-Identifier: GPL-2.0

//! The trait that a filesystem implements.

use kernel::{
    prelude::*,
    sync::Arc,
    ModuleMetadata, //
};

use crate::{
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::{
        space,
        ByteRange, //
    },
};

use super::{
    Attributes,
    Entry,
    Inode,
    Label,
    Mapping,
    Purpose,
    Rename,
    RepairWork,
    Segment,
    SegmentStart,
    SuperBlock,
    Time,
    Volume, //
};

/// The size of the buffer of `FS_IOC_GETFSLABEL` in bytes: the longest label, and a terminating
/// zero.
pub const FSLABEL_MAX: usize = 256;

/// The space and the inodes of a filesystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of blocks for contents, of 4096 bytes each.
    pub blocks: u64,
    /// Number of free blocks, of 4096 bytes each.
    pub free_blocks: u64,
    /// The largest number of inodes that the filesystem can have.
    pub inodes: u64,
    /// Number of inodes that can still be created.
    pub free_inodes: u64,
    /// The identifier of the filesystem.
    pub uuid: [u8; 16],
}

/// A mounted filesystem.
///
/// Unless a method says otherwise, it is called in process context, can sleep, and can be called by
/// several threads at once. The VFS serializes changes of one directory, and changes of the size of
/// one file.
///
/// Each method that changes an inode increases the [change counter](Attributes::version) of the
/// inode.
///
/// Besides the errors that a method lists, each method that returns a `Result` can fail with `EIO`
/// if the filesystem is shut down or metadata is bad, and with `ENOMEM` if memory is short.
///
/// A change of names or attributes is one transaction: a crash leaves all of it or none, and a
/// method that fails leaves no visible change. [`unshare()`](Self::unshare),
/// [`resize()`](Self::resize), [`punch()`](Self::punch), [`allocate()`](Self::allocate) and
/// [`move_contents()`](Self::move_contents) can use several transactions, so a crash or an error
/// can leave a part done. The changes of a method are durable once [`sync()`](Self::sync) has been
/// called after it.
pub trait FileSystem: Send + Sync + Sized + 'static {
    /// The name of the filesystem type, as in `mount -t`.
    const NAME: &'static CStr;

    /// The magic number of the filesystem type in `statfs()`.
    const MAGIC: u32;

    /// The inode number of the root directory.
    const ROOT: u64;

    /// The length in bytes of the longest name.
    const NAME_MAX: usize;

    /// Whether the filesystem is also notified of found errors, which no process has consumed. See
    /// [`Holder::notify_found()`](crate::dax::Holder::notify_found()).
    const NOTIFY_FOUND: bool = false;

    /// The module that contains the filesystem: `LocalModule`.
    type OwnerModule: ModuleMetadata;

    /// Creates the filesystem of a volume, without reading the volume. From then on,
    /// [`notify_failure()`](Self::notify_failure) can be called, and the filesystem can schedule
    /// [`repair()`](Self::repair).
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn new(volume: Volume, repair_work: RepairWork) -> Result<Arc<Self>>;

    /// Reads the metadata that the filesystem needs before it can be used.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if there is no filesystem of this type on the volume.
    /// - `EUCLEAN` if the filesystem is damaged.
    fn load(&self) -> Result;

    /// Handles a memory failure of `range` of the volume.
    ///
    /// Called as [`Holder::notify_failure()`](crate::dax::Holder::notify_failure()) is, with the
    /// same limits. The kernel can call it at any time after [`new()`](Self::new), even before
    /// [`load()`](Self::load) has returned, but not after an unmount has begun to evict the inodes.
    ///
    /// The implementation first makes [`map()`](Self::map) return [`Place::Bad`](super::Place::Bad)
    /// for the range. Then it calls [`SuperBlock::notify_owners()`] for each owner. With
    /// [`Flags::MEM_PRE_REMOVE`], it first makes all methods fail that return a `Result`.
    fn notify_failure(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange<space::Volume>,
        flags: Flags,
    ) -> Outcome;

    /// Repairs memory that has failed. Called from a work item: once after [`load()`](Self::load),
    /// and within about one second after [`notify_failure()`](Self::notify_failure) and
    /// [`RepairWork::schedule()`]. While the filesystem is frozen, the call is delayed until it is
    /// thawed. The implementation does not repair a page within a second after its failure, see
    /// [`FailedAt::is_delay_over()`](super::FailedAt::is_delay_over). For such a page it schedules
    /// another call.
    fn repair(&self, super_block: &SuperBlock<Self>);

    /// Returns the space and the inodes of the filesystem.
    fn statistics(&self) -> Statistics;

    /// Makes all earlier changes durable.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn sync(&self) -> Result;

    /// Shuts the filesystem down (`FS_IOC_SHUTDOWN`). From then on, each method that returns a
    /// `Result` fails, and the filesystem writes nothing to the volume any more, as if the machine
    /// had stopped.
    fn shut_down(&self);

    /// Returns the label of the filesystem (`FS_IOC_GETFSLABEL`), padded with zeroes.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn label(&self) -> Result<[u8; FSLABEL_MAX]>;

    /// Sets the label of the filesystem (`FS_IOC_SETFSLABEL`). `label` contains no zero.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the label is too long.
    /// - `EIO` if the label cannot be written.
    fn set_label(&self, label: &[u8]) -> Result;

    /// Grows the filesystem to `blocks` blocks of 4096 bytes (`EXT4_IOC_RESIZE_FS`). The
    /// implementation calls [`Volume::grow()`] first, because the device can have grown. A
    /// filesystem that already has this length stays unchanged. The filesystem cannot be frozen
    /// during the call.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the filesystem would become shorter, or does not support this length.
    /// - `ENOSPC` if the device is shorter than `blocks` blocks.
    /// - `EIO` if the filesystem is shut down, or memory is bad.
    /// - `ENOMEM` if memory is short.
    fn grow(&self, blocks: u64) -> Result;

    /// Calls `emit` with the segments of the volume from `first` on, in the order of their
    /// positions, until `emit` returns false. Each byte of the filesystem is in a segment. If no
    /// file owns the byte of `first`, the first segment can begin at this byte.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    fn segments(&self, first: SegmentStart, emit: &mut dyn FnMut(Segment) -> bool) -> Result;

    // Inodes

    /// Reads the attributes of the inode of this number.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no such inode.
    fn read_inode(&self, number: u64) -> Result<Attributes>;

    /// Writes mode, user, group and times of the VFS inode to the filesystem, and its change
    /// counter if that is greater than the stored one. Other calls for the inode can run at the
    /// same time. So the implementation gets the [attributes](Inode::attributes) under its lock for
    /// changes: otherwise it could overwrite newer ones.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn write_inode(&self, inode: &Inode<Self>) -> Result;

    /// Sets the flags of an inode, a subset of [`Attributes::FLAGS`]. The caller has checked the
    /// permission to change them.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn set_flags(&self, inode: &Inode<Self>, flags: u32, now: Time) -> Result;

    /// Notifies the filesystem that the VFS has evicted the inode of this number from memory. If
    /// the inode has no link, the filesystem removes it.
    fn evict(&self, number: u64);

    // Names

    /// Finds a name in a directory. Returns the number of its inode.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn lookup(&self, directory: &Inode<Self>, name: &[u8]) -> Result<Option<u64>>;

    /// Calls `emit` with the names of a directory from `position` on, in the order of their
    /// positions, until `emit` returns false.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn read_directory(
        &self,
        directory: &Inode<Self>,
        position: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result;

    /// Returns the inode number of the parent of `directory`.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if `directory` was removed.
    fn parent(&self, directory: &Inode<Self>) -> Result<u64>;

    /// Creates an inode with a name, or without one (`O_TMPFILE`), and with `labels`, in one
    /// transaction. Returns its number.
    ///
    /// Mode, user, group, device and times are those of `attributes`. The filesystem chooses links,
    /// size, flags, generation and change counter. `target` is the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no free space.
    /// - `ENAMETOOLONG` if the target of a symbolic link is too long.
    fn create(
        &self,
        place: Option<(&Inode<Self>, &[u8])>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<u64>;

    /// Adds a name to an inode.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no free space.
    /// - `EMLINK` if the inode has too many links.
    fn link(&self, inode: &Inode<Self>, directory: &Inode<Self>, name: &[u8], now: Time) -> Result;

    /// Removes a name of an inode. A directory loses the link of its own `.`, too.
    ///
    /// # Errors
    ///
    /// - `ENOTEMPTY` if the inode is a directory with names.
    fn unlink(
        &self,
        directory: &Inode<Self>,
        name: &[u8],
        inode: &Inode<Self>,
        now: Time,
    ) -> Result;

    /// Renames an inode, see [`Rename`].
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no free space.
    /// - `ENOTEMPTY` if the replaced inode is a directory with names.
    fn rename(&self, rename: &Rename<'_, Self>) -> Result;

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn target(&self, number: u64) -> Result<KVec<u8>>;

    // Extended attributes. Names include their namespace, `user.…`.

    /// Returns the value of an extended attribute.
    ///
    /// # Errors
    ///
    /// - `ENODATA` if there is no attribute of this name.
    fn attribute(&self, inode: &Inode<Self>, name: &[u8]) -> Result<KVec<u8>>;

    /// Sets an extended attribute, or removes it if `value` is [`None`]. With `must_exist`, the
    /// attribute must exist (`Some(true)`) or must not exist (`Some(false)`).
    ///
    /// # Errors
    ///
    /// - `ENODATA` if the attribute must exist and does not.
    /// - `EEXIST` if the attribute exists and must not.
    /// - `ENOSPC` if there is no free space.
    fn set_attribute(
        &self,
        inode: &Inode<Self>,
        name: &[u8],
        value: Option<&[u8]>,
        must_exist: Option<bool>,
        now: Time,
    ) -> Result;

    /// Calls `emit` with the name of each extended attribute of an inode.
    ///
    /// # Errors
    ///
    /// - The errors of `emit`.
    fn attributes(&self, inode: &Inode<Self>, emit: &mut dyn FnMut(&[u8]) -> Result) -> Result;

    // Contents

    /// Finds or allocates the place of the first byte of `range`. Returns a piece of the file that
    /// contains this byte and has one place. The piece can end before `range` does, or after it.
    ///
    /// For [`Purpose::Write`] and [`Purpose::WriteFault`] the piece is never a hole. A write fault
    /// of a huge page passes the range of the whole huge page. The kernel maps a huge page only if
    /// the piece contains it, is aligned in memory as in the file, and is not shared.
    ///
    /// Two files, or two parts of a file, may have the same place only if it is shared. The crate
    /// does not check this. If it is wrong, the kernel warns, and a write to one file changes the
    /// other, but no memory outside the volume.
    ///
    /// Bad blocks are [`Place::Bad`](super::Place::Bad) for every purpose but [`Purpose::Rewrite`],
    /// which is passed for bad blocks only.
    ///
    /// On a synchronous device, the changes for [`Purpose::WriteFault`] must be durable when
    /// `map()` returns, and the changes of [`end_copy()`](Self::end_copy) when `end_copy()`
    /// returns: with `MAP_SYNC`, no call of [`sync()`](Self::sync) follows.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no free space.
    fn map(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<space::File>,
        purpose: Purpose,
    ) -> Result<Mapping>;

    /// Finds the place of the first byte of `range` for a caller that copies from there. The caller
    /// holds the inode's lock shared, and can sleep while it copies. Page faults do not take that
    /// lock, and can move the file to another place.
    ///
    /// Until [`end_read()`](Self::end_read), only writes to this file may change the contents of
    /// the place: the filesystem does not allocate the place to another file, and gives writes to
    /// other files that share the place another one. The caller calls `end_read()` if this returns
    /// a [`Place::Mapped`](super::Place::Mapped) that is shared, and only then.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn begin_read(&self, inode: &Inode<Self>, range: ByteRange<space::File>) -> Result<Mapping>;

    /// Ends a copy that [`begin_read()`](Self::begin_read) began. `range` of the file was copied
    /// from byte `start` of the volume on, the place that `begin_read()` returned.
    fn end_read(&self, inode: &Inode<Self>, range: ByteRange<space::File>, start: u64);

    /// Ends a write for which [`map()`](Self::map) has returned
    /// [`Place::Copied`](super::Place::Copied) or [`Place::Moved`](super::Place::Moved). If
    /// `is_done`, the new place has the contents of `range`, written back, and belongs to the file
    /// from now on; the filesystem calls [`Volume::fence()`] before it makes that durable.
    /// Otherwise the filesystem must not allocate the new place to another owner, because a page
    /// table entry can still point to it.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down, or if the new place is bad as well.
    fn end_copy(&self, inode: &Inode<Self>, range: ByteRange<space::File>, is_done: bool)
        -> Result;

    /// Replaces the shared blocks of `range` by copies that belong to this file alone. The caller
    /// holds the inode's lock and the `invalidate_lock` of its mapping, and has unmapped the range.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no free space.
    /// - `EIO` if a block to be copied is bad.
    fn unshare(&self, inode: &Inode<Self>, range: ByteRange<space::File>) -> Result;

    /// Sets the size of a file, and its times to `now` if the size changes. Unless the file grows,
    /// frees the blocks after the new end. The caller has unmapped them, and has zeroed the rest of
    /// the last block.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn resize(&self, inode: &Inode<Self>, size: u64, now: Time) -> Result;

    /// Makes `range`, whole blocks, a hole. The caller has unmapped it. The times of the file
    /// become `now`, if there is one.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no space for the metadata of the two remaining parts.
    fn punch(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<space::File>,
        now: Option<Time>,
    ) -> Result;

    /// Allocates blocks that hold zeroes for the holes in `range`, which is whole blocks.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no free space.
    fn allocate(&self, inode: &Inode<Self>, range: ByteRange<space::File>, now: Time) -> Result;

    /// Moves the contents of a file from byte `from` on to byte `to`, both multiples of 4096, and
    /// sets the size to `size`. If `to` is less than `from`, the bytes between the two are already
    /// a hole, and the implementation sets the size last. Otherwise the bytes between become a
    /// hole, and the implementation sets the size first. The caller has unmapped the bytes.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no space for the metadata of the two parts.
    /// - `EFBIG` if blocks allocated after the end of the file would move beyond the largest
    ///   offset.
    /// - `EIO` or `ENOMEM` as above. A part of the contents can have moved then.
    fn move_contents(
        &self,
        inode: &Inode<Self>,
        from: u64,
        to: u64,
        size: u64,
        now: Time,
    ) -> Result;

    /// Shares blocks `range` of `from` with `to`, from byte `start` of `to` on: as many as possible
    /// at once, and at least one. Returns the number of bytes shared. The blocks replace the former
    /// ones of `to`. The times of `to` become `now`, if there is one. The caller has locked both
    /// inodes, and has unmapped both ranges.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no space for the metadata.
    fn share(
        &self,
        from: &Inode<Self>,
        range: ByteRange<space::File>,
        to: &Inode<Self>,
        start: u64,
        now: Option<Time>,
    ) -> Result<u64>;
}
