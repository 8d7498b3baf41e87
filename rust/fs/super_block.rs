// SPDX-License-Identifier: GPL-2.0

//! Superblocks, and the types of filesystems.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)

use core::{
    fmt,
    marker::PhantomData,
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
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::as_char_ptr_in_const_context,
    sync::{
        new_mutex,
        rcu::rcu_barrier,
        Arc,
        Mutex, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    block::OpenDevice,
    dax::{
        holder::{
            self,
            Recipients, //
        },
        Holder, //
    },
    memory_failure::{
        Flags,
        Outcome,
        Reason, //
    },
    range::{
        space,
        ByteRange,
        PAGE_SIZE, //
    },
};

use super::{
    contents,
    delayed_iput::LastRefs,
    export,
    lock::InternalWrite,
    losses::Losses,
    mender::Mender,
    volume::{
        Devices,
        Mounted, //
    },
    xattr,
    FileSystem,
    Inode,
    Volume, //
};

/// The registration of a type of filesystem: as long as it exists, one can be mounted.
///
/// It belongs in the module's own data, pinned, until the module goes: what is mounted refers to
/// it, and to the module.
///
/// # Invariants
///
/// `inner` is a `struct file_system_type` that is registered.
///
/// # Examples
///
/// ```
/// use daxmf::fs::{FileSystem, Registration};
///
/// #[pin_data]
/// struct Module<T: FileSystem> {
///     #[pin]
///     registration: Registration<T>,
/// }
///
/// impl<T: FileSystem> Module<T> {
///     fn new() -> impl PinInit<Self, Error> {
///         try_pin_init!(Self {
///             registration <- Registration::new(),
///         })
///     }
/// }
/// ```
#[pin_data(PinnedDrop)]
pub struct Registration<T: FileSystem> {
    #[pin]
    inner: Opaque<bindings::file_system_type>,
    _type: PhantomData<T>,
}

// SAFETY: `unregister_filesystem()` may be called from any thread.
unsafe impl<T: FileSystem> Send for Registration<T> {}

// SAFETY: A shared `Registration` gives access to nothing.
unsafe impl<T: FileSystem> Sync for Registration<T> {}

impl<T: FileSystem> Registration<T> {
    /// Registers the type of filesystem `T`.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if there is a type of this name.
    /// - `EINVAL` if the name has a dot, which separates a type from a subtype.
    pub fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: The type is registered, or there is no `Self`.
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|slot: *mut bindings::file_system_type| {
                // `register_filesystem()` takes it for a bug.
                if T::NAME.to_bytes().contains(&b'.') {
                    return Err(EINVAL);
                }

                // SAFETY: `slot` is valid for a write.
                unsafe { slot.write(VTable::<T>::TYPE) };

                // SAFETY: The type was just set up. It is pinned, and unregistered before it goes.
                to_result(unsafe { bindings::register_filesystem(slot) })
            }),
            _type: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. It fails if the type is not registered only.
        unsafe { bindings::unregister_filesystem(self.inner.get()) };

        // Inodes that were evicted go by `free_inode()`, which is the module's, after a grace
        // period. Nothing that is mounted pins the module any more, and `unregister_filesystem()`
        // waits for readers only.
        rcu_barrier();
    }
}

/// A mounted filesystem.
///
/// A [`FileSystem`] gets it for the duration of a call, where it may tell owners.
///
/// # Invariants
///
/// A `SuperBlock` is a valid `struct super_block` of type `T`, whose `s_fs_info` is a `Mount<T>`.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem>(Opaque<bindings::super_block>, PhantomData<T>);

// SAFETY: All methods do their own synchronization, and `T` is `Sync`.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

impl<T: FileSystem> SuperBlock<T> {
    /// # Safety
    ///
    /// `super_block` must be a valid superblock of type `T` for the duration of `'a`, and its
    /// filesystem must exist meanwhile.
    pub(super) unsafe fn from_raw<'a>(super_block: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By the safety requirements. `SuperBlock` is a transparent wrapper.
        unsafe { &*super_block.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    fn mount(&self) -> *mut Mount<T> {
        // SAFETY: By the type invariants.
        unsafe { (*self.as_raw()).s_fs_info }.cast()
    }

    /// The filesystem.
    pub fn fs(&self) -> &T {
        // SAFETY: By the type invariants. The field does not change.
        unsafe { &(*self.mount()).fs }
    }

    /// The memory that the filesystem lies in.
    pub fn volume(&self) -> &Volume {
        // SAFETY: By the type invariants. The field does not change.
        unsafe { &(*self.mount()).volume }.volume()
    }

    /// The devices that this memory is.
    pub(super) fn devices(&self) -> &Devices {
        // SAFETY: By the type invariants. The field does not change.
        unsafe { &(*self.mount()).volume }.devices()
    }

    /// Who calls [`FileSystem::mend()`].
    pub(super) fn mender(&self) -> &Mender {
        // SAFETY: By the type invariants. The field does not change.
        unsafe { &(*self.mount()).mender }
    }

    /// Who calls [`settle()`](Self::settle).
    pub(super) fn settler(&self) -> &Mender {
        // SAFETY: By the type invariants. The field does not change.
        unsafe { &(*self.mount()).settler }
    }

    pub(super) fn losses(&self) -> &Losses {
        // SAFETY: By the type invariants. The field does not change.
        unsafe { &(*self.mount()).losses }
    }

    pub(super) fn last_refs(&self) -> &LastRefs {
        // SAFETY: By the type invariants. The field does not change.
        unsafe { &(*self.mount()).last_refs }
    }
}

/// What belongs to a mounted filesystem.
struct Mount<T: FileSystem> {
    fs: Arc<T>,
    volume: Mounted,
    mender: Mender,
    settler: Mender,
    losses: Pin<KBox<Losses>>,
    last_refs: Pin<KBox<LastRefs>>,
    /// Belongs to who mounts and who unmounts; nobody else looks at it.
    registration: Option<holder::Registration<Notified<T>>>,
}

/// The holder of the DAX device on behalf of a mounted filesystem.
///
/// # Invariants
///
/// `super_block` is a superblock of type `T`. Its filesystem exists longer than the registration of
/// this holder.
#[pin_data]
struct Notified<T: FileSystem> {
    super_block: NonNull<bindings::super_block>,
    /// One failure is marked and handled at a time: what one has marked is not for another to take
    /// back.
    #[pin]
    handling: Mutex<()>,
    _type: PhantomData<T>,
}

// SAFETY: The superblock may be used on any thread.
unsafe impl<T: FileSystem> Send for Notified<T> {}

// SAFETY: A `SuperBlock` is `Sync`.
unsafe impl<T: FileSystem> Sync for Notified<T> {}

impl<T: FileSystem> Holder for Notified<T> {
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
        // SAFETY: By the type invariants. The registration waits for us before it goes.
        let super_block = unsafe { SuperBlock::<T>::from_raw(self.super_block.as_ptr()) };

        // The block device may have grown, the volume does not.
        let Some(range) = range.clip(super_block.volume().window().inner()) else {
            return Outcome::Declined(Reason::Unused);
        };

        if flags.contains(Flags::MEM_PRE_REMOVE) {
            let outcome = super_block.fs().notify_failure(super_block, range, flags);

            super_block.revoke();
            return outcome;
        }

        // What is hit comes under `mf_mutex`, what is found does not.
        let _handling = self.handling.lock();
        // SAFETY: `dax_srcu` is held while a holder is told.
        let _marks = unsafe { super_block.volume().mark(range) };
        let outcome = super_block.fs().notify_failure(super_block, range, flags);

        super_block.settler().ask();
        super_block.mender().ask();
        outcome
    }

    fn notify_found(
        &self,
        range: ByteRange<space::Volume>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        (T::WANTS_FOUND || recipients == Recipients::All)
            .then(|| self.notify_failure(range, Flags::NONE))
    }
}

/// A mount that is being prepared.
///
/// # Invariants
///
/// `self.0` is a valid `struct fs_context`.
struct Context(NonNull<bindings::fs_context>);

impl Context {
    /// Tells who mounts what went wrong.
    ///
    /// C: `errorfc()`
    fn error(&self, what: fmt::Arguments<'_>) {
        // SAFETY: By the type invariants. `%pA` takes a pointer to `fmt::Arguments`, and `%s` a C
        // string.
        unsafe {
            let log = &raw const (*self.0.as_ptr()).log;

            bindings::logfc(
                (*log).log,
                (*log).prefix,
                b'e' as c_char,
                c"%pA".as_char_ptr(),
                ptr::from_ref(&what).cast::<c_void>(),
            );
        }
    }
}

/// The options that XFS and ext4 have for DAX, and that go without saying here.
///
/// # Errors
///
/// - `ENOPARAM` if it is another option.
/// - `EINVAL` if it says that there should be no DAX.
///
/// # Safety
///
/// `param` must be valid.
unsafe fn parse(context: &Context, param: *const bindings::fs_parameter) -> Result {
    // SAFETY: By the safety requirements. A parameter has a key, see `vfs_parse_fs_param()`.
    let key = unsafe { CStr::from_char_ptr((*param).key) };

    if key.to_bytes() != b"dax" {
        return Err(ENOPARAM);
    }

    // SAFETY: By the safety requirements. The type tells whether there is a string.
    let is_always = unsafe {
        match (*param).type_() {
            bindings::fs_value_type_fs_value_is_flag => true,
            bindings::fs_value_type_fs_value_is_string => {
                CStr::from_char_ptr((*param).__bindgen_anon_1.string).to_bytes() == b"always"
            }
            _ => false,
        }
    };

    if !is_always {
        context.error(fmt!("dax is always, and cannot be otherwise"));
        return Err(EINVAL);
    }
    Ok(())
}

/// The operations tables of `T`.
struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    // CAST: It is 4096.
    const BLOCK_SIZE: c_int = PAGE_SIZE as c_int;

    /// The size of the largest file: whole blocks.
    const MAX_SIZE: bindings::loff_t = bindings::loff_t::MAX & !(PAGE_SIZE as bindings::loff_t - 1);

    /// # Safety
    ///
    /// Called by `alloc_fs_context()` only.
    unsafe extern "C" fn init_fs_context(fc: *mut kernel::bindings::fs_context) -> c_int {
        let fc: *mut bindings::fs_context = fc.cast();

        // SAFETY: The context is valid and being set up.
        unsafe { (*fc).ops = &Self::CONTEXT_OPERATIONS };
        0
    }

    /// # Safety
    ///
    /// Called by `vfs_parse_fs_param()` only.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        from_result(|| {
            let context = Context(NonNull::new(fc).ok_or(EINVAL)?);

            // SAFETY: By the safety requirements.
            unsafe { parse(&context, param) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `vfs_get_tree()` only.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: By the safety requirements.
        unsafe { bindings::get_tree_bdev(fc, Some(Self::fill_super)) }
    }

    /// # Safety
    ///
    /// Called by `reconfigure_super()` only, with `s_umount` held.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            let context = Context(NonNull::new(fc).ok_or(EINVAL)?);
            // SAFETY: A context of something that is mounted has a root, whose superblock is of
            // type `T`.
            let (super_block, is_read_only) = unsafe {
                (
                    SuperBlock::<T>::from_raw((*(*fc).root).d_sb),
                    // CAST: The flag is a bit of them.
                    (*fc).sb_flags & bindings::SB_RDONLY as c_uint != 0,
                )
            };

            // What the filesystem could not put right when it was read is still to be put right.
            if !is_read_only && super_block.volume().is_read_only() {
                context.error(fmt!("the device was read-only when it was mounted"));
                return Err(EROFS);
            }

            // SAFETY: The superblock is valid, and the caller holds its lock.
            to_result(unsafe { bindings::sync_filesystem(super_block.as_raw()) }).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `get_tree_bdev()` only, with a superblock that nobody else uses and that has a
    /// block device. Whether this succeeds or not, `kill_sb()` is called afterwards.
    unsafe extern "C" fn fill_super(
        super_block: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            let context = Context(NonNull::new(fc).ok_or(EINVAL)?);
            let super_block = NonNull::new(super_block).ok_or(EINVAL)?;

            // SAFETY: By the safety requirements.
            unsafe { Self::fill(super_block, &context) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// As [`fill_super()`](Self::fill_super).
    unsafe fn fill(super_block: NonNull<bindings::super_block>, context: &Context) -> Result {
        let raw = super_block.as_ptr();

        // SAFETY: Nobody else uses the superblock. It has a block device until `kill_sb()`.
        let bdev = unsafe {
            Self::set_up(raw)?;
            OpenDevice::from_raw((*raw).s_bdev)
        };
        // SAFETY: It is a C string, of the length of the array at most.
        let name = unsafe { CStr::from_char_ptr((&raw const (*raw).s_id).cast()) };

        // SAFETY: `kill_sb()` sees to it that the volume is at its end before its block device is
        // closed.
        let volume = unsafe { Mounted::new(bdev) }.inspect_err(|error| match *error {
            EOPNOTSUPP => context.error(fmt!("{name} has no DAX")),
            EINVAL => context.error(fmt!("{name} does not lie on whole pages")),
            _ => (),
        })?;
        // SAFETY: The superblock is complete when it is loaded, and stays so until `kill_sb()`.
        let (mender, settler) = unsafe {
            (
                Mender::mend::<T>(super_block)?,
                Mender::settle::<T>(super_block)?,
            )
        };
        let fs = T::new(volume.volume().clone(), mender.mending())?;
        let mount = KBox::new(
            Mount {
                fs,
                volume,
                mender,
                settler,
                losses: KBox::pin_init(Losses::new(), GFP_KERNEL)?,
                last_refs: KBox::pin_init(LastRefs::new(), GFP_KERNEL)?,
                registration: None,
            },
            GFP_KERNEL,
        )?;

        // SAFETY: Nobody else uses the superblock.
        unsafe { (*raw).s_fs_info = KBox::into_raw(mount).cast() };
        // SAFETY: The superblock is complete as far as the type invariants go, and stays so until
        // `kill_sb()`.
        let super_block_ref = unsafe { SuperBlock::<T>::from_raw(raw) };

        // INVARIANT: `kill_sb()` drops the registration first.
        let holder = pin_init!(Notified {
            super_block,
            handling <- new_mutex!(()),
            _type: PhantomData,
        });
        let registration = holder::Registration::new(bdev, Arc::pin_init(holder, GFP_KERNEL)?)
            .inspect_err(|error| {
                if *error == EBUSY {
                    context.error(fmt!("{name} has a DAX holder already"));
                }
            })?;

        // SAFETY: Only we and `kill_sb()` look at the field.
        unsafe { (*super_block_ref.mount()).registration = Some(registration) };

        Self::load(super_block_ref)
    }

    /// # Errors
    ///
    /// - `EINVAL` if the device has larger blocks than we.
    ///
    /// # Safety
    ///
    /// Nobody else may use the superblock. It must have a block device.
    unsafe fn set_up(super_block: *mut bindings::super_block) -> Result {
        // SAFETY: By the safety requirements.
        if unsafe { bindings::sb_set_blocksize(super_block, Self::BLOCK_SIZE) } == 0 {
            return Err(EINVAL);
        }

        // SAFETY: By the safety requirements. The tables are static.
        unsafe {
            (*super_block).s_magic = T::MAGIC as c_ulong;
            (*super_block).s_maxbytes = Self::MAX_SIZE;
            (*super_block).s_time_gran = 1;
            (*super_block).s_flags |= bindings::SB_POSIXACL | bindings::SB_I_VERSION;
            (*super_block).s_iflags |= bindings::SB_I_EVM_HMAC_UNSUPPORTED as c_ulong;
            (*super_block).s_op = &Self::SUPER_OPERATIONS;
            (*super_block).s_export_op = ptr::from_ref(&export::VTable::<T>::OPS).cast();
            (*super_block).s_xattr = xattr::VTable::<T>::HANDLERS.as_ptr();
        }
        Ok(())
    }

    /// Loads the filesystem, and gives the superblock its root.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if there is no root, or it is no directory.
    /// - The errors of [`FileSystem::load()`] and [`SuperBlock::inode()`].
    fn load(super_block: &SuperBlock<T>) -> Result {
        let fs = super_block.fs();

        fs.load()?;
        super_block.settler().start();
        super_block.mender().start();

        let uuid = fs.statistics().uuid;
        let root = match super_block.inode(T::ROOT) {
            // It is the filesystem that is not as it should be, not the caller's handle.
            Err(ESTALE) => Err(EUCLEAN),
            root => root,
        }?;

        if !root.is(bindings::S_IFDIR) {
            return Err(EUCLEAN);
        }

        // SAFETY: The superblock is valid, and not yet born. The reference to the inode is the
        // function's from now on.
        unsafe {
            let raw = super_block.as_raw();

            bindings::super_set_uuid(raw, uuid.as_ptr(), uuid.len() as c_uint);
            (*raw).s_root = bindings::d_make_root(root.into_raw());

            match (*raw).s_root.is_null() {
                true => Err(ENOMEM),
                false => Ok(()),
            }
        }
    }

    /// # Safety
    ///
    /// Called by `deactivate_locked_super()` only, also if the superblock was not filled, or not to
    /// the end.
    unsafe extern "C" fn kill_sb(super_block: *mut bindings::super_block) {
        // SAFETY: By the safety requirements.
        let mount = unsafe { (*super_block).s_fs_info }.cast::<Mount<T>>();

        if !mount.is_null() {
            // First of all, and without the inodes going: the callback uses them.
            // SAFETY: Only we and `fill()` look at the field.
            drop(unsafe { (*mount).registration.take() });
            // From now on nobody asks for more.
            // SAFETY: The fields do not change.
            unsafe {
                (*mount).settler.finish();
                (*mount).mender.finish();
                // And nobody leaves a reference for later.
                (*mount).last_refs.give_up();
            }
            // SAFETY: By the safety requirements. The field does not change.
            unsafe {
                // `put_super()` is not called for it, and it has no inodes.
                if (*super_block).s_root.is_null() {
                    (*mount).volume.end();
                }
            }
        }

        // SAFETY: The superblock has no more users.
        unsafe { bindings::kill_block_super(super_block) };

        if !mount.is_null() {
            // SAFETY: It is from `KBox::into_raw()`. The inodes, which refer to it, are gone.
            drop(unsafe { KBox::from_raw(mount) });
        }
    }

    /// # Safety
    ///
    /// Called by `generic_shutdown_super()` only, for a superblock of type `T` whose inodes are
    /// gone. Its block device is closed afterwards.
    unsafe extern "C" fn put_super(super_block: *mut bindings::super_block) {
        // SAFETY: By the safety requirements.
        unsafe { &(*SuperBlock::<T>::from_raw(super_block).mount()).volume }.end();
    }

    /// # Safety
    ///
    /// Called by the VFS only, for a superblock of type `T`.
    unsafe extern "C" fn sync_fs(super_block: *mut bindings::super_block, wait: c_int) -> c_int {
        // The first of two rounds is for those who can do something without waiting.
        if wait == 0 {
            return 0;
        }

        // SAFETY: By the safety requirements.
        let super_block = unsafe { SuperBlock::<T>::from_raw(super_block) };

        from_result(|| super_block.fs().sync().map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by `freeze_super()` only, for a superblock of type `T`.
    unsafe extern "C" fn freeze_fs(super_block: *mut bindings::super_block) -> c_int {
        // SAFETY: By the safety requirements.
        unsafe { Self::sync_fs(super_block, 1) }
    }

    /// Has `/proc/mounts` say that there is DAX, as XFS and ext4 do: who needs it looks there.
    ///
    /// # Safety
    ///
    /// Called by the VFS only, with a valid `file`.
    unsafe extern "C" fn show_options(
        file: *mut bindings::seq_file,
        _root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        seq_print!(unsafe { SeqFile::from_raw(file) }, ",dax=always");
        0
    }

    /// # Safety
    ///
    /// - Called by the VFS only, for a dentry of a superblock of type `T`.
    /// - `statfs` is valid for writes.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        statfs: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (super_block, statfs) = unsafe {
            (
                SuperBlock::<T>::from_raw((*dentry).d_sb),
                &mut *statfs.cast::<bindings::kstatfs>(),
            )
        };
        let statistics = super_block.fs().statistics();

        // CAST: All of these fit into 63 bits.
        statfs.f_type = T::MAGIC as c_long;
        statfs.f_bsize = Self::BLOCK_SIZE as c_long;
        statfs.f_frsize = Self::BLOCK_SIZE as c_long;
        statfs.f_blocks = statistics.blocks;
        statfs.f_bfree = statistics.free_blocks;
        statfs.f_bavail = statistics.free_blocks;
        statfs.f_files = statistics.inodes;
        statfs.f_ffree = statistics.free_inodes;
        statfs.f_fsid.val = fsid(statistics.uuid);
        statfs.f_namelen = T::NAME_MAX as c_long;
        0
    }

    /// # Safety
    ///
    /// Called by the writeback of inodes only, for an inode of a superblock of type `T`.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        _control: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let inode = unsafe { Inode::<T>::from_raw(inode) };

        from_result(|| {
            inode
                .write()
                .inspect_err(|_| inode.write_later())
                .map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `evict()` only, for an inode of a superblock of type `T` that has no user.
    unsafe extern "C" fn evict_inode(raw: *mut bindings::inode) {
        // SAFETY: By the safety requirements.
        unsafe { contents::evict(raw) };

        // SAFETY: By the safety requirements.
        let (inode, is_bad) = unsafe { (Inode::<T>::from_raw(raw), bindings::is_bad_inode(raw)) };

        // An inode that could not be read, or was not created, was never in use.
        if is_bad {
            return;
        }

        // SAFETY: By the safety requirements.
        let is_removed = unsafe { (*raw).__bindgen_anon_1.i_nlink } == 0;
        let _write = is_removed.then(|| InternalWrite::new(inode.super_block()));

        inode.fs().evict(inode.number());
    }

    /// # Safety
    ///
    /// Called for an inode of a superblock of type `T` that is not used any more, after a grace
    /// period of RCU.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        // SAFETY: By the safety requirements nobody else reads or writes the inode. The target of a
        // link is memory of a `KVec`, see `Link`, or null.
        unsafe {
            if u32::from((*inode).i_mode) & bindings::S_IFMT == bindings::S_IFLNK {
                bindings::kfree((*inode).__bindgen_anon_5.i_link.cast());
            }
            bindings::free_inode_nonrcu(inode);
        }
    }

    const SUPER_OPERATIONS: bindings::super_operations = bindings::super_operations {
        free_inode: Some(Self::free_inode),
        write_inode: Some(Self::write_inode),
        evict_inode: Some(Self::evict_inode),
        put_super: Some(Self::put_super),
        freeze_fs: Some(Self::freeze_fs),
        sync_fs: Some(Self::sync_fs),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        ..pin_init::zeroed()
    };

    const CONTEXT_OPERATIONS: bindings::fs_context_operations = bindings::fs_context_operations {
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        free: None,
        dup: None,
        parse_monolithic: None,
    };

    const TYPE: bindings::file_system_type = bindings::file_system_type {
        name: as_char_ptr_in_const_context(T::NAME),
        // CAST: The flags are bits.
        fs_flags: bindings::FS_REQUIRES_DEV as c_int,
        init_fs_context: Some(Self::init_fs_context),
        kill_sb: Some(Self::kill_sb),
        owner: this_module::<T::OwnerModule>().as_ptr(),
        ..pin_init::zeroed()
    };
}

/// The identifier of a filesystem in `statfs()`.
///
/// C: `uuid_to_fsid()`
fn fsid(uuid: [u8; 16]) -> [c_int; 2] {
    let folded = u128::from_le_bytes(uuid);
    // CAST: The two halves are meant.
    let folded = (folded as u64) ^ (folded >> 64) as u64;

    // CAST: The two halves are meant.
    [folded as c_int, (folded >> 32) as c_int]
}
