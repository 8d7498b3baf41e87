// SPDX-License-Identifier: GPL-2.0

//! What a filesystem implements.

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

/// The most bytes of a label that programs can ask for, and a zero.
pub const FSLABEL_MAX: usize = 256;

/// How full a filesystem is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of blocks of 4 KiB for contents.
    pub blocks: u64,
    /// How many of them are free.
    pub free_blocks: u64,
    /// Number of inodes that there can be.
    pub inodes: u64,
    /// How many more there can be.
    pub free_inodes: u64,
    /// The identifier of the filesystem.
    pub uuid: [u8; 16],
}

/// A filesystem, as it is mounted once.
///
/// Unless said otherwise, methods are called in process context and may sleep, several at once; the
/// VFS sees to it that a directory is changed by one at a time, and a file's size.
///
/// Each method that changes an inode makes its [change counter](Attributes::version) greater.
///
/// What a method changes is durable, as a whole, once [`sync()`](Self::sync) was called after it,
/// and is never found half done. Where a method has failed, it has changed nothing that one can
/// see.
pub trait FileSystem: Send + Sync + Sized + 'static {
    /// The name of the type, as in `mount -t`.
    const NAME: &'static CStr;

    /// The number of the type in `statfs()`.
    const MAGIC: u32;

    /// The number of the root directory.
    const ROOT: u64;

    /// The length in bytes of the longest name.
    const NAME_MAX: usize;

    /// Whether errors that were found, and that no process has hit, are failures for it, too. See
    /// [`Holder::notify_found()`](crate::dax::Holder::notify_found()).
    const WANTS_FOUND: bool = false;

    /// The module that the filesystem is in: `LocalModule`.
    type OwnerModule: ModuleMetadata;

    /// Creates the filesystem of a volume, before anything is read. From then on it may be told of
    /// failures, and [`mend()`](Self::mend) can be asked for.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn new(volume: Volume, repair_work: RepairWork) -> Result<Arc<Self>>;

    /// Reads what there is to read before the filesystem can be used.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if there is no filesystem of this type on the volume.
    /// - `EUCLEAN` if it is damaged.
    fn load(&self) -> Result;

    /// Deals with a memory failure of `range` of the volume.
    ///
    /// Called as [`Holder::notify_failure()`](crate::dax::Holder::notify_failure()) is, with the
    /// same limits. It may come at any time after [`new()`](Self::new), also before the filesystem
    /// is loaded, and not any more when the last inode goes.
    ///
    /// First [`map()`](Self::map) must say that the range is bad, then
    /// [`SuperBlock::notify_owners()`] is called for each owner. With [`Flags::MEM_PRE_REMOVE`] all
    /// methods fail from before that on.
    fn notify_failure(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange<space::Volume>,
        flags: Flags,
    ) -> Outcome;

    /// Mends memory that has failed. Called from a work item within about a second after
    /// [`notify_failure()`](Self::notify_failure) and [`RepairWork::schedule()`], and after
    /// [`load()`](Self::load). A page whose failure is not [over](super::FailedAt::is_over)
    /// must wait for another call, which is to be asked for.
    fn repair(&self, super_block: &SuperBlock<Self>);

    /// How full the filesystem is.
    fn statistics(&self) -> Statistics;

    /// Makes all that was done so far durable.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn sync(&self) -> Result;

    /// Shuts the filesystem down (`FS_IOC_SHUTDOWN`): from now on all methods fail that can, and
    /// nothing is written any more, as if the machine had stopped.
    fn shut_down(&self);

    /// What the owner calls the filesystem (`FS_IOC_GETFSLABEL`), padded with zeroes.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn label(&self) -> Result<[u8; FSLABEL_MAX]>;

    /// Calls it something else (`FS_IOC_SETFSLABEL`). There is no zero in `label`.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it is too long.
    /// - `EIO` if it cannot be written.
    fn set_label(&self, label: &[u8]) -> Result;

    /// Makes the filesystem as long as so many blocks of 4 KiB of its device
    /// (`EXT4_IOC_RESIZE_FS`), which [may have grown](Volume::grow). If it is that already, there
    /// is nothing to do. Nobody has frozen it.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it would become shorter, or cannot be as long as that.
    /// - `ENOSPC` if the device is shorter than that.
    /// - `EIO` if the filesystem is shut down, or memory is bad.
    /// - `ENOMEM` if memory is short.
    fn grow(&self, blocks: u64) -> Result;

    /// Calls `emit` with the segments of the volume from `first` on, in the order of their
    /// positions, until it returns false. Each byte of the filesystem is in one; a segment that no
    /// file owns may begin with the byte that `first` says.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    fn segments(&self, first: SegmentStart, emit: &mut dyn FnMut(Segment) -> bool) -> Result;

    // Inodes

    /// What is known of the inode of this number.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no such inode.
    fn read_inode(&self, number: u64) -> Result<Attributes>;

    /// Changes what is known of an inode: mode, owners and times, and the change counter if it is
    /// greater. Other attributes are not looked at.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn write_inode(&self, inode: &Inode<Self>, attributes: &Attributes) -> Result;

    /// Sets the flags of an inode, some of [`Attributes::FLAGS`]. The caller has checked who may
    /// change them.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn set_flags(&self, inode: &Inode<Self>, flags: u32, now: Time) -> Result;

    /// Says that nobody uses the inode of this number any more. If it has no link, it goes.
    fn evict(&self, number: u64);

    // Names

    /// Finds a name in a directory.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn lookup(&self, directory: &Inode<Self>, name: &[u8]) -> Result<Option<u64>>;

    /// Calls `emit` with the names of a directory from a position on, in the order of their
    /// positions, until it returns false.
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

    /// The number of the directory that `directory` is in.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if it was removed.
    fn parent(&self, directory: &Inode<Self>) -> Result<u64>;

    /// Creates an inode, with a name or without one (`O_TMPFILE`), and with `labels`: it is never
    /// found without them. Returns its number.
    ///
    /// Of `attributes`, mode, owners, device and times count; links, size, flags, generation
    /// and change counter are the filesystem's. `target` is that of a symbolic link.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    /// - `ENAMETOOLONG` if the target of a symbolic link is too long.
    fn create(
        &self,
        place: Option<(&Inode<Self>, &[u8])>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<u64>;

    /// Gives an inode another name.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    /// - `EMLINK` if it has too many.
    fn link(&self, inode: &Inode<Self>, directory: &Inode<Self>, name: &[u8], now: Time) -> Result;

    /// Takes a name from an inode. A directory loses its own link to itself, too.
    ///
    /// # Errors
    ///
    /// - `ENOTEMPTY` if it is a directory with names.
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
    /// - `ENOSPC` if there is no room.
    /// - `ENOTEMPTY` if what is replaced is a directory with names.
    fn rename(&self, rename: &Rename<'_, Self>) -> Result;

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn target(&self, number: u64) -> Result<KVec<u8>>;

    // Extended attributes. Names have their namespace, `user.…`.

    /// The value of an extended attribute.
    ///
    /// # Errors
    ///
    /// - `ENODATA` if there is none of this name.
    fn attribute(&self, inode: &Inode<Self>, name: &[u8]) -> Result<KVec<u8>>;

    /// Sets an extended attribute, or removes it if there is no value. It must (`Some(true)`) or
    /// must not (`Some(false)`) be there before, or may be.
    ///
    /// # Errors
    ///
    /// - `ENODATA` or `EEXIST` if it is not so.
    /// - `ENOSPC` if there is no room.
    fn set_attribute(
        &self,
        inode: &Inode<Self>,
        name: &[u8],
        value: Option<&[u8]>,
        is_there: Option<bool>,
        now: Time,
    ) -> Result;

    /// Calls `emit` with the name of each extended attribute of an inode.
    ///
    /// # Errors
    ///
    /// - What `emit` returns.
    fn attributes(&self, inode: &Inode<Self>, emit: &mut dyn FnMut(&[u8]) -> Result) -> Result;

    // Contents

    /// Finds, or makes, the piece of a file that the first byte of `range` lies in, as far as it
    /// can be accessed in one go; what lies behind `range` need not be in it.
    ///
    /// For [`Purpose::Write`] and [`Purpose::WriteFault`] it is no hole. A write fault of a huge
    /// page asks for all of it; it is only of use if it lies in one place, aligned as the page is,
    /// that is not shared.
    /// What is bad is [`Place::Bad`](super::Place::Bad), whatever the purpose, but for
    /// [`Purpose::Rewrite`], which comes for what is bad only.
    ///
    /// Where the device is synchronous, what it says to a write fault is durable when it returns,
    /// and what [`end_copy()`](Self::end_copy) does: with `MAP_SYNC` nobody calls
    /// [`sync()`](Self::sync) any more.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    fn map(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<space::File>,
        purpose: Purpose,
    ) -> Result<Mapping>;

    /// Finds the piece of a file that the first byte of `range` lies in, for somebody who copies it
    /// from there with the inode's lock shared, and may sleep meanwhile. Page faults do not take
    /// that lock, and may give the file another place.
    ///
    /// What lies there stays as it is until [`end_read()`](Self::end_read), but for what is written
    /// to this file: the place is not given to another one, and other files that share it now write
    /// elsewhere. Where [`Place::Mapped`](super::Place::Mapped) says that it is shared,
    /// `end_read()` will be called, else not.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn begin_read(&self, inode: &Inode<Self>, range: ByteRange<space::File>) -> Result<Mapping>;

    /// Says that nobody copies any more from what [`begin_read()`](Self::begin_read) has found:
    /// `range` of the file, which is where its mapping said, from byte `start` of the volume on.
    fn end_read(&self, inode: &Inode<Self>, range: ByteRange<space::File>, start: u64);

    /// Ends a write for which [`map()`](Self::map) has said
    /// [`Place::Copied`](super::Place::Copied) or [`Place::Moved`](super::Place::Moved). If
    /// `is_done`, the new place has the contents of `range`, written back, and belongs to the file
    /// from now on; a [fence](Volume::fence) is for the filesystem, before it makes that durable.
    /// If not, it stays reserved: a page table entry may still point to it.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down, or the new place has become bad, too.
    fn end_copy(&self, inode: &Inode<Self>, range: ByteRange<space::File>, is_done: bool)
        -> Result;

    /// Gives the file a copy of its own of what is shared in `range`. Nobody writes to it or has it
    /// mapped: the caller holds the inode's lock and that of its mapping, and has unmapped it.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    /// - `EIO` if what is to be copied is bad.
    fn unshare(&self, inode: &Inode<Self>, range: ByteRange<space::File>) -> Result;

    /// Sets the size of a file, at time `now` if it is another one. Unless it grows, what lies
    /// beyond goes; the last block has been zeroed behind the end. Nobody has it mapped.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    fn resize(&self, inode: &Inode<Self>, size: u64, now: Time) -> Result;

    /// Makes `range`, whole blocks, a hole. Nobody has it mapped.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room for what is known of the two parts.
    fn punch(&self, inode: &Inode<Self>, range: ByteRange<space::File>, now: Time) -> Result;

    /// Makes `range`, whole blocks, a part of the file that holds zeroes where it was a hole.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    fn allocate(&self, inode: &Inode<Self>, range: ByteRange<space::File>, now: Time) -> Result;

    /// Moves all of a file that lies from byte `from` on to `to`, both the start of a block, and
    /// sets its size. If it is moved down, what lies between is a hole before, and the size comes
    /// last; else it is one afterwards, and the size comes first. Nobody has it mapped.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room for what is known of the two parts.
    /// - `EFBIG` if what was allocated behind the end of the file would be too far away.
    /// - `EIO` and `ENOMEM`. A part may be moved then.
    fn move_contents(
        &self,
        inode: &Inode<Self>,
        from: u64,
        to: u64,
        size: u64,
        now: Time,
    ) -> Result;

    /// Makes the whole blocks of `to` from byte `start` on share the place of the blocks `range` of
    /// `from`, as many as it can at once, and at least one. Returns how many bytes they are. What
    /// was there before goes. Nobody has it mapped; both inodes are locked.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room for what is known of it.
    fn share(
        &self,
        from: &Inode<Self>,
        range: ByteRange<space::File>,
        to: &Inode<Self>,
        start: u64,
        now: Time,
    ) -> Result<u64>;
}
