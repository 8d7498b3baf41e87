// SPDX-License-Identifier: GPL-2.0

//! The volume of a mounted filesystem.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    new_srcu,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Release, //
        },
        Arc, //
    },
};

use crate::{
    bindings,
    block::{
        window_of,
        OpenDevice, //
    },
    dax,
    range::PAGE_SIZE,
};

use super::{
    Devices,
    Shared,
    Volume, //
};

/// The volume of a mounted filesystem.
///
/// # Invariants
///
/// `volume.shared.devices` points to `devices`, or was set to null.
pub(in crate::fs) struct Mounted {
    volume: Volume,
    devices: KBox<Devices>,
}

impl Mounted {
    /// Creates the volume of an open block device.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the start or the size of the block device is not a multiple of the page size,
    ///   or if the block device is empty.
    /// - `ENOMEM` if memory is short.
    /// - The errors of [`dax::Device::of()`].
    ///
    /// # Safety
    ///
    /// The block device must stay open until [`detach_devices()`](Self::detach_devices) was called
    /// or the returned value is dropped.
    pub(in crate::fs) unsafe fn new(block: &OpenDevice) -> Result<Self> {
        let dax = dax::Device::of(block)?;
        let block = NonNull::new(block.as_raw()).ok_or(ENXIO)?;
        // SAFETY: `OpenDevice` is an open block device.
        let (window, is_read_only, name) = unsafe {
            (
                window_of(block.as_ptr()).ok_or(EINVAL)?,
                bindings::bdev_read_only(block.as_ptr()),
                // The name of a block device does not change while it is open.
                CStr::from_char_ptr((*block.as_ptr()).bd_device.kobj.name),
            )
        };

        let place = window.outer();

        if !place.is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }

        let name = CString::try_from(name)?;
        let is_synchronous = dax.is_synchronous();
        // INVARIANT: The block device stays open by the safety requirements.
        let devices = KBox::new(Devices { dax, block }, GFP_KERNEL)?;
        let pointer = ptr::from_ref(&*devices);
        // INVARIANT: `Mounted` owns the devices from now on. The alignment of `place` was checked
        // above.
        let shared = try_pin_init!(Shared {
            users <- new_srcu!("Volume::users"),
            devices: Atomic::new(pointer),
            place,
            end: Atomic::new(place.end()),
            name,
        });

        Ok(Self {
            volume: Volume {
                shared: Arc::pin_init(shared, GFP_KERNEL)?,
                is_read_only,
                is_synchronous,
            },
            devices,
        })
    }

    pub(in crate::fs) fn volume(&self) -> &Volume {
        &self.volume
    }

    pub(in crate::fs) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Detaches the devices from all clones of the volume. Later accesses fail with `ENXIO`. Waits
    /// for running accesses.
    pub(in crate::fs) fn detach_devices(&self) {
        let shared = &self.volume.shared;

        shared.devices.store(ptr::null(), Release);
        shared.users.synchronize();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.detach_devices();
    }
}

#[kunit_tests(daxmf_fs_volume)]
mod tests {
    use crate::{
        dax::holder::test_disk::TestDisk,
        range::ByteRange, //
    };

    use super::*;

    #[test]
    fn volume_fails_after_unmount() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let block = disk.open();

        // SAFETY: The test disk has no other user. `kobject_cleanup()` frees the name.
        unsafe {
            (*block.as_raw()).bd_device.kobj.name =
                bindings::kstrdup(c"kept".as_char_ptr(), bindings::GFP_KERNEL);
        }

        // SAFETY: `mounted` is dropped before `disk`, which has the block device.
        let mounted = unsafe { Mounted::new(block) }?;
        let volume = mounted.volume().clone();
        let page = ByteRange::new(0, PAGE_SIZE).ok_or(EINVAL)?;
        let mut bytes = [0; 8];

        // The volume grows by `grow()` only, and never shrinks.
        for (pages, known, taken) in [(20, 16, 20), (18, 20, 20), (24, 20, 24)] {
            disk.resize(pages);
            assert_eq!(volume.len(), known * PAGE_SIZE);
            assert_eq!(volume.grow(), Ok(()));
            assert_eq!(volume.len(), taken * PAGE_SIZE);
        }

        // The test disk has no memory.
        assert_eq!(volume.read(0, &mut bytes), Err(EOPNOTSUPP));
        assert_eq!(volume.write(0, &bytes), Err(EOPNOTSUPP));
        assert_eq!(volume.flush(), Ok(()));

        drop(mounted);
        assert_eq!(volume.read(0, &mut bytes), Err(ENXIO));
        assert_eq!(volume.write(0, &bytes), Err(ENXIO));
        assert_eq!(volume.zero(page), Err(ENXIO));
        assert_eq!(volume.check(page), Err(ENXIO));
        assert_eq!(volume.copy(0, page), Err(ENXIO));
        assert_eq!(volume.write_back(page), Err(ENXIO));
        assert_eq!(volume.repair(0, &[0; PAGE_SIZE as usize]), Err(ENXIO));
        assert_eq!(volume.flush(), Err(ENXIO));
        assert_eq!(volume.grow(), Err(ENXIO));

        // The length does not need the device.
        assert_eq!(volume.len(), 24 * PAGE_SIZE);
        Ok(())
    }
}
