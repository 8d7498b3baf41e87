// SPDX-License-Identifier: GPL-2.0

//! Disks.
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

/// What a disk can do. Combine with `|`.
#[derive(Clone, Copy)]
pub struct Features(bindings::blk_features_t);

impl Features {
    /// Writes may stay in a cache until a flush.
    pub const WRITE_CACHE: Self = Self(bindings::BLK_FEAT_WRITE_CACHE);
    /// A single write can be made durable.
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

/// A disk that nobody can see yet, see [`Registration::new()`].
///
/// # Invariants
///
/// `self.0` points to a valid `struct gendisk`, of which `self` owns a reference.
pub struct Disk(NonNull<bindings::gendisk>);

// SAFETY: `put_disk()` may be called from any thread.
unsafe impl Send for Disk {}

// SAFETY: A shared `Disk` gives access to nothing but its address, within the crate.
unsafe impl Sync for Disk {}

impl Disk {
    /// Allocates a disk that nobody can see.
    ///
    /// `block_size` is the size of a logical block in bytes, `node` the NUMA node of the memory
    /// that is allocated for it.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the block size is not a power of two from 512 on.
    /// - `ENOMEM` if memory is short.
    pub fn new(block_size: u32, features: Features, node: Node) -> Result<Self> {
        let mut limits = bindings::queue_limits {
            logical_block_size: block_size,
            // CAST: The size of a page fits.
            physical_block_size: PAGE_SIZE as u32,
            max_hw_sectors: u32::MAX,
            features: features.0,
            ..pin_init::zeroed()
        };

        // SAFETY: `limits` is valid for the duration of the call, the lock class is static.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_alloc_disk(&mut limits, node.as_raw(), static_lock_class!().as_ptr())
        })?;

        // INVARIANT: `__blk_alloc_disk()` returned a disk with a reference.
        Ok(Self(NonNull::new(disk).ok_or(ENOMEM)?))
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        self.0.as_ptr()
    }

    /// A reference that may outlive `self`.
    pub(crate) fn reference(&self) -> DiskRef {
        // SAFETY: The disk is valid by the type invariants.
        unsafe { DiskRef::get(self.0) }
    }

    fn set_name(&self, name: &CStr) -> Result {
        // SAFETY: By the type invariants. Nobody else uses the name before the disk is added.
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

/// What a driver does with the bios of a disk, and what it shows of the disk in sysfs.
pub trait Operations: Send + Sync + Sized + 'static {
    /// The module that the driver is in: `LocalModule`.
    type OwnerModule: ModuleMetadata;

    /// Attributes in the disk's folder in sysfs.
    const ATTRIBUTES: &'static [Attribute<Self>] = &[];

    /// Groups of attributes in that folder.
    const GROUPS: &'static [Group<Self>] = &[];

    /// Deals with a bio. Called in the context that submitted it; may sleep.
    fn submit_bio(&self, bio: Bio);
}

/// What a disk is registered as.
pub struct Config<'a> {
    /// The name of the block device, for example `pmem0`.
    pub name: &'a CStr,
    /// The size in bytes; what does not fill a sector is left out.
    pub capacity: u64,
    /// What is shown, and can be changed, as the disk's `badblocks`: by the kernel, or by an
    /// attribute of the driver, see [`Attribute::badblocks()`].
    pub badblocks: Arc<Badblocks>,
}

/// A visible disk.
///
/// When dropped, the disk goes and bios that are being submitted are waited for. Later bios fail
/// without the driver's help.
///
/// # Invariants
///
/// The disk was added, its private data is `data`.
pub struct Registration<T: Operations> {
    disk: Disk,
    data: Arc<T>,
    _badblocks: Arc<Badblocks>,
    _groups: Table,
}

// SAFETY: A registration may be dropped on any thread if its data may, which it does by the bounds
// of `Operations`. The table of groups is not touched by us any more.
unsafe impl<T: Operations> Send for Registration<T> {}

// SAFETY: A shared registration gives access to `data`, which is `Sync`, and to the disk.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Makes `disk` visible below `parent`, scans its partitions, and tells udev.
    ///
    /// Bios and opens come from now on.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the name is too long.
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

        // SAFETY: The disk is valid, and nobody else uses it before it is added. `data`, the list
        // of bad blocks and the table of operations stay until it was removed.
        unsafe {
            let disk = disk.as_raw();

            (*disk).fops = &VTable::<T>::OPS;
            (*disk).private_data = Arc::as_ptr(&data).cast_mut().cast();
            // Without a list, the kernel has no attribute for it.
            if !has_own_badblocks {
                (*disk).bb = config.badblocks.as_raw().cast();
            }
            bindings::set_capacity(disk, config.capacity >> SECTOR_SHIFT);
        }

        // SAFETY: `parent` is bound, the disk is set up. A `Device` is a transparent wrapper.
        to_result(unsafe {
            bindings::device_add_disk(
                ptr::from_ref(parent).cast_mut().cast(),
                disk.as_raw(),
                groups.as_ptr(),
            )
        })?;

        // SAFETY: The disk was added, and so was its device.
        let file =
            unsafe { SysfsFile::of(&raw mut (*(*disk.as_raw()).part0).bd_device, BADBLOCKS) };

        if let Some(file) = file {
            config.badblocks.show_in(file);
        }

        // INVARIANT: The disk was just added.
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

    /// The device that the disk is below.
    pub(crate) fn parent(&self) -> *mut bindings::device {
        // SAFETY: The disk was added, so it has a device, and that its parent.
        unsafe { (*(*self.as_raw()).part0).bd_device.parent }
    }

    /// A reference to the disk.
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
        // SAFETY: By the type invariants, the disk was added.
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

        // SAFETY: The bio is valid. By the type invariants of `Registration` the private data is a
        // `T`; its drop waits for us in `del_gendisk()`.
        let data = unsafe {
            &*(*(*(*bio.as_ptr()).bi_bdev).bd_disk)
                .private_data
                .cast::<T>()
        };

        // SAFETY: The block layer leaves the completion to us.
        data.submit_bio(unsafe { Bio::from_raw(bio) });
    }

    const OPS: bindings::block_device_operations = bindings::block_device_operations {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        submit_bio: Some(Self::submit_bio),
        ..pin_init::zeroed()
    };
}
