// SPDX-License-Identifier: GPL-2.0

//! Disks: allocation, registration and operations.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::{
    marker::PhantomData,
    ops::BitOr,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    device::{
        Bound,
        Device, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    module::this_module,
    prelude::*,
    static_lock_class,
    sync::Arc,
    ModuleMetadata, //
};

use crate::{
    badblocks::Badblocks,
    bindings,
    numa::Node,
    range::{
        PAGE_SIZE,
        SECTOR_SHIFT, //
    },
    sysfs::SysfsFile, //
};

use super::{
    attribute::{
        Attribute,
        Group,
        Table,
        BADBLOCKS, //
    },
    Bio,
    DiskRef, //
};

/// What a disk can do. Combine features with `|`.
#[derive(Clone, Copy)]
pub struct Features(bindings::blk_features_t);

impl Features {
    /// Writes can stay in a cache until a flush.
    pub const WRITE_CACHE: Self = Self(bindings::BLK_FEAT_WRITE_CACHE);
    /// A write with `REQ_FUA` is durable when its bio ends, see [`Bio::is_fua()`].
    pub const FUA: Self = Self(bindings::BLK_FEAT_FUA);
    /// Bios are completed in the context that submits them.
    pub const SYNCHRONOUS: Self = Self(bindings::BLK_FEAT_SYNCHRONOUS);
    /// The disk has a DAX device.
    pub const DAX: Self = Self(bindings::BLK_FEAT_DAX);
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An allocated disk. [`Registration::new()`] makes it visible.
///
/// # Invariants
///
/// `self.0` points to a valid `struct gendisk`, and `self` owns a reference to it.
pub struct Disk(NonNull<bindings::gendisk>);

// SAFETY: `put_disk()` may be called from any thread.
unsafe impl Send for Disk {}

// SAFETY: A shared `Disk` gives this crate the address of the disk and references to it, which any
// thread may take. `Registration::new()`, which owns the disk, is the only caller of `set_name()`.
unsafe impl Sync for Disk {}

impl Disk {
    /// Allocates a disk, which is not visible yet.
    ///
    /// `block_size` is the size of a logical block in bytes. The memory of the disk's structures is
    /// allocated on NUMA node `node`.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the block size is not a power of two from 512 to `BLK_MAX_BLOCK_SIZE`.
    /// - `ENOMEM` if memory is short.
    pub fn new(block_size: u32, features: Features, node: Node) -> Result<Self> {
        let mut limits = bindings::queue_limits {
            logical_block_size: block_size,
            // CAST: The size of a page is 4096 bytes.
            physical_block_size: PAGE_SIZE as u32,
            max_hw_sectors: u32::MAX,
            features: features.0,
            ..pin_init::zeroed()
        };

        // SAFETY: `limits` is valid for the duration of the call, and the lock class is static.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_alloc_disk(&mut limits, node.as_raw(), static_lock_class!().as_ptr())
        })?;

        // INVARIANT: `__blk_alloc_disk()` returned a valid disk with one reference.
        Ok(Self(NonNull::new(disk).ok_or(ENOMEM)?))
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        self.0.as_ptr()
    }

    /// Takes a reference to the disk, which may outlive `self`.
    pub(crate) fn reference(&self) -> DiskRef {
        // SAFETY: `self.0` points to a valid disk by the type invariants.
        unsafe { DiskRef::get(self.0) }
    }

    /// Sets the name of a disk that is not added yet.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the name is longer than 31 bytes.
    fn set_name(&self, name: &CStr) -> Result {
        // SAFETY: `self.0` points to a valid disk by the type invariants. No other code uses the
        // name before the disk is added.
        let field = unsafe { &mut (*self.as_raw()).disk_name };

        field
            .get_mut(..name.to_bytes_with_nul().len())
            .ok_or(EINVAL)?
            .copy_from_slice(name.to_bytes_with_nul());
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, `self` owns a reference.
        unsafe { bindings::put_disk(self.as_raw()) };
    }
}

/// The driver's side of a disk: it handles the bios, and provides attributes in sysfs.
pub trait Operations: Send + Sync + Sized + 'static {
    /// The module of the driver: `LocalModule`.
    type OwnerModule: ModuleMetadata;

    /// Attributes in the disk's directory in sysfs.
    const ATTRIBUTES: &'static [Attribute<Self>] = &[];

    /// Groups of attributes, each a subdirectory of the disk's directory in sysfs.
    const GROUPS: &'static [Group<Self>] = &[];

    /// Handles a bio. Called in the context that submitted the bio. May sleep.
    fn submit_bio(&self, bio: Bio);
}

/// The parameters of a disk's registration.
pub struct Config<'a> {
    /// The name of the block device, for example `pmem0`.
    pub name: &'a CStr,
    /// The size in bytes, rounded down to a whole sector of 512 bytes.
    pub capacity: u64,
    /// The list that the disk's `badblocks` in sysfs shows and changes. The file is the kernel's
    /// attribute, or the driver's own, see [`Attribute::badblocks()`].
    pub badblocks: Arc<Badblocks>,
}

/// A visible disk.
///
/// The drop removes the disk, and waits for running calls of [`Operations::submit_bio()`]. The
/// block layer fails later bios without calling the driver. Do not drop a registration in
/// `submit_bio()`: the drop would wait for this call.
///
/// # Invariants
///
/// `device_add_disk()` has added the disk, and its `private_data` points to `data`.
pub struct Registration<T: Operations> {
    disk: Disk,
    data: Arc<T>,
    _badblocks: Arc<Badblocks>,
    _groups: Table,
}

// SAFETY: `del_gendisk()` may be called on any thread. `data` may be dropped on any thread, because
// `Operations` requires `Send` and `Sync`. This crate does not access `_groups` after `new()`, and
// the driver core only reads it.
unsafe impl<T: Operations> Send for Registration<T> {}

// SAFETY: A shared registration gives access to `data`, which is `Sync`, and to `disk`, which is
// `Sync`, too.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Makes `disk` visible below `parent`, scans its partitions, and sends a uevent.
    ///
    /// Others can open the disk and submit bios before this returns.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the name is longer than 31 bytes.
    /// - `EEXIST` if there is a disk of this name.
    /// - `ENOMEM` if memory is short.
    pub fn new(
        parent: &Device<Bound>,
        disk: Disk,
        config: Config<'_>,
        data: Arc<T>,
    ) -> Result<Self> {
        let mut groups = Table::new(T::ATTRIBUTES, T::GROUPS)?;
        let has_own_badblocks = T::ATTRIBUTES.iter().any(Attribute::is_badblocks);

        disk.set_name(config.name)?;

        // SAFETY: `disk` points to a valid disk by the type invariants of `Disk`, and no other code
        // uses these fields before `device_add_disk()`. The new `Registration` keeps `data` and the
        // list of bad blocks until the disk is removed. The table of operations is static.
        unsafe {
            let disk = disk.as_raw();

            (*disk).fops = &VTable::<T>::OPS;
            (*disk).private_data = Arc::as_ptr(&data).cast_mut().cast();
            // The kernel hides its own attribute `badblocks` if the disk has no list.
            if !has_own_badblocks {
                (*disk).bb = config.badblocks.as_raw().cast();
            }
            bindings::set_capacity(disk, config.capacity >> SECTOR_SHIFT);
        }

        // SAFETY: `parent` is a bound device, and `Device` is a transparent wrapper of `struct
        // device`. The disk is set up. The new `Registration` keeps `groups` until the disk is
        // removed.
        to_result(unsafe {
            bindings::device_add_disk(
                ptr::from_ref(parent).cast_mut().cast(),
                disk.as_raw(),
                groups.as_ptr(),
            )
        })?;

        // SAFETY: `device_add_disk()` has added the disk and its device.
        let file =
            unsafe { SysfsFile::of(&raw mut (*(*disk.as_raw()).part0).bd_device, BADBLOCKS) };

        if let Some(file) = file {
            config.badblocks.show_in(file);
        }

        // INVARIANT: `device_add_disk()` has added the disk. `private_data` was set to `data`
        // above.
        Ok(Self {
            disk,
            data,
            _badblocks: config.badblocks,
            _groups: groups,
        })
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        self.disk.as_raw()
    }

    /// The parent of the disk's device.
    pub(crate) fn parent(&self) -> *mut bindings::device {
        // SAFETY: The disk was added by the type invariants, so its device has a parent.
        unsafe { (*(*self.as_raw()).part0).bd_device.parent }
    }

    /// Takes a reference to the disk.
    pub fn reference(&self) -> DiskRef {
        self.disk.reference()
    }

    /// The driver's data.
    pub fn data(&self) -> &Arc<T> {
        &self.data
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: The disk was added by the type invariants.
        unsafe { bindings::del_gendisk(self.disk.as_raw()) };
    }
}

/// The operations table of `T`.
struct VTable<T: Operations>(PhantomData<T>);

impl<T: Operations> VTable<T> {
    /// # Safety
    ///
    /// Called by the block layer only, with a bio for a disk that was registered with a `T`.
    unsafe extern "C" fn submit_bio(bio: *mut bindings::bio) {
        let Some(bio) = NonNull::new(bio) else {
            return;
        };

        // SAFETY: `bio` is valid, and its disk was registered with a `T` by the safety
        // requirements. So `private_data` points to that `T` by the type invariants of
        // `Registration`, whose drop waits for this call in `del_gendisk()`.
        let data = unsafe {
            &*(*(*(*bio.as_ptr()).bi_bdev).bd_disk)
                .private_data
                .cast::<T>()
        };

        // SAFETY: `bio` is valid and was submitted to a disk by the safety requirements. The block
        // layer leaves its completion to the driver.
        data.submit_bio(unsafe { Bio::from_raw(bio) });
    }

    const OPS: bindings::block_device_operations = bindings::block_device_operations {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        submit_bio: Some(Self::submit_bio),
        ..pin_init::zeroed()
    };
}
