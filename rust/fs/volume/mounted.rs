// SPDX-License-Identifier: GPL-2.0

//! The volume as long as the filesystem is mounted.

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

/// The volume of a filesystem that is mounted.
///
/// # Invariants
///
/// `volume.shared` points to `devices`, or has been set to null.
pub(in crate::fs) struct Mounted {
    volume: Volume,
    devices: KBox<Devices>,
}

impl Mounted {
    /// # Errors
    ///
    /// - `EINVAL` if the start or the size of the block device is not a multiple of the page size,
    ///   or if it is empty.
    /// - `ENOMEM` if memory is short.
    /// - The errors of [`dax::Device::of()`].
    ///
    /// # Safety
    ///
    /// The block device must stay open until [`end()`](Self::end) was called or this is dropped.
    pub(in crate::fs) unsafe fn new(block: &OpenDevice) -> Result<Self> {
        let dax = dax::Device::of(block)?;
        let block = NonNull::new(block.as_raw()).ok_or(ENXIO)?;
        // SAFETY: The block device is open.
        let (window, is_read_only, name) = unsafe {
            (
                window_of(block.as_ptr()).ok_or(EINVAL)?,
                bindings::bdev_read_only(block.as_ptr()),
                // It does not change.
                CStr::from_char_ptr((*block.as_ptr()).bd_device.kobj.name),
            )
        };

        let place = window.outer();

        if !place.is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }

        let name = CString::try_from(name)?;
        let is_synchronous = dax.is_synchronous();
        // INVARIANT: By the safety requirements.
        let devices = KBox::new(Devices { dax, block }, GFP_KERNEL)?;
        let pointer = ptr::from_ref(&*devices);
        // INVARIANT: `Mounted` owns them from now on. The place was checked above.
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

    /// From now on the volume is of no use to anybody, wherever a handle of it was kept. Waits for
    /// those who use it.
    pub(in crate::fs) fn end(&self) {
        let shared = &self.volume.shared;

        shared.devices.store(ptr::null(), Release);
        shared.users.synchronize();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.end();
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
    fn kept_beyond_unmount() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let block = disk.open();

        // SAFETY: Nobody else uses the disk. `kobject_cleanup()` frees the name.
        unsafe {
            (*block.as_raw()).bd_device.kobj.name =
                bindings::kstrdup(c"kept".as_char_ptr(), bindings::GFP_KERNEL);
        }

        // SAFETY: It is dropped before the disk.
        let mounted = unsafe { Mounted::new(block) }?;
        let volume = mounted.volume().clone();
        let page = ByteRange::new(0, PAGE_SIZE).ok_or(EINVAL)?;
        let mut bytes = [0; 8];

        // What it grows by is taken when somebody asks for it, and stays.
        for (pages, known, taken) in [(20, 16, 20), (18, 20, 20), (24, 20, 24)] {
            disk.resize(pages);
            assert_eq!(volume.len(), known * PAGE_SIZE);
            assert_eq!(volume.grow(), Ok(()));
            assert_eq!(volume.len(), taken * PAGE_SIZE);
        }

        // This device has no memory.
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
        assert!(volume.frames(page).is_none());

        // What does not need the device is still known.
        assert_eq!(volume.len(), 24 * PAGE_SIZE);
        Ok(())
    }
}
