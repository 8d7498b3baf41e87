// SPDX-License-Identifier: GPL-2.0

//! Registration of namespace drivers.
//!
//! Reference: [`drivers/nvdimm/bus.c`](srctree/drivers/nvdimm/bus.c)

use core::mem::offset_of;

use kernel::{
    device::{
        CoreInternal,
        Device, //
    },
    driver,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use crate::bindings;

use super::{
    binding::{
        Binding,
        UnbindGuard, //
    },
    btt::Btt,
    Event,
    Namespace, //
};

/// A driver for namespaces. A value of the type is the driver's data for one namespace. The crate
/// drops the value when the driver is unbound from the namespace.
///
/// The kernel calls the methods in process context, with the lock of the namespace's device held.
/// They may sleep.
///
/// The adapter also binds to a namespace with a block translation table, but does not call the
/// driver for it: `nd_btt` makes the disk.
///
/// # Examples
///
/// ```
/// use daxmf::nvdimm::{Driver, Namespace};
/// use kernel::sync::Arc;
///
/// struct Idle;
///
/// impl Driver for Idle {
///     fn probe(namespace: Arc<Namespace>) -> impl PinInit<Self, Error> {
///         dev_info!(namespace.device(), "size {}\n", namespace.window().inner().len());
///         Ok(Self)
///     }
/// }
/// ```
pub trait Driver: Send + Sync + Sized + 'static {
    /// Binds the driver to a namespace, and returns the driver's data for it.
    ///
    /// # Errors
    ///
    /// - Any errno. The kernel then does not bind the driver to the namespace.
    fn probe(namespace: Arc<Namespace>) -> impl PinInit<Self, Error>;

    /// Handles an event of the namespace.
    fn notify(&self, _event: Event) {}

    /// Makes completed writes durable. The kernel calls this before the crate drops the driver's
    /// data, and when the machine shuts down.
    fn quiesce(&self) {}
}

/// The private data of a device that is bound to a driver.
pub enum DriverData<T> {
    /// A namespace, with the driver's data for it.
    Namespace(Pin<KBox<Binding<T>>>),
    /// A namespace with a block translation table, whose disk `nd_btt` makes.
    Btt(Btt),
}

/// The adapter that registers a [`Driver`] with the nd bus.
/// [`module_nvdimm_driver!`](crate::module_nvdimm_driver) uses it.
pub struct Adapter<T: Driver>(T);

// SAFETY:
// - `bindings::nd_device_driver` is a C type declared as `repr(C)`.
// - `DriverData<T>` is the type of the driver's device private data.
// - `struct nd_device_driver` embeds a `struct device_driver` at the offset of `drv`.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = Raw;
    type DriverData<'bound> = DriverData<T>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::nd_device_driver, drv);
}

/// A `struct nd_device_driver`. The default has no callbacks.
#[repr(transparent)]
pub struct Raw(bindings::nd_device_driver);

impl Default for Raw {
    fn default() -> Self {
        Self(bindings::nd_device_driver {
            drv: pin_init::zeroed(),
            type_: 0,
            probe: None,
            remove: None,
            shutdown: None,
            notify: None,
        })
    }
}

// SAFETY: `driver_unregister()` reverts `__nd_driver_register()`.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<Raw>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        const TYPES: bindings::nd_driver_flags = bindings::nd_driver_flags_ND_DRIVER_NAMESPACE_IO
            | bindings::nd_driver_flags_ND_DRIVER_NAMESPACE_PMEM;

        let driver = driver.get().cast::<bindings::nd_device_driver>();

        // SAFETY: `driver` is valid, and is not registered yet, so no other code uses it.
        unsafe {
            (*driver).drv.name = name.as_char_ptr();
            (*driver).type_ = TYPES as c_ulong;
            (*driver).probe = Some(Self::probe_callback);
            (*driver).remove = Some(Self::quiesce_callback);
            (*driver).shutdown = Some(Self::quiesce_callback);
            (*driver).notify = Some(Self::notify_callback);
        }

        // SAFETY: The driver is initialized, and stays in place until `unregister()`.
        to_result(unsafe {
            bindings::__nd_driver_register(driver, module.as_ptr(), name.as_char_ptr())
        })
    }

    unsafe fn unregister(driver: &Opaque<Raw>) {
        // SAFETY: `register()` has registered the driver.
        unsafe { bindings::driver_unregister(driver.get().cast()) };
    }
}

impl<T: Driver> Adapter<T> {
    /// Borrows the device's private data.
    ///
    /// # Safety
    ///
    /// `dev` must be bound to this driver for the duration of `'a`.
    unsafe fn data<'a>(dev: *mut bindings::device) -> &'a DriverData<T> {
        // SAFETY: `dev` is bound by the safety requirements, so it is a valid device.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(dev) };

        // SAFETY: `probe_callback()` has set private data of this type for each bound device.
        unsafe { dev.drvdata_borrow::<DriverData<T>>() }.get_ref()
    }

    /// # Safety
    ///
    /// Only the nd bus may call this, for a device that it binds to this driver.
    unsafe extern "C" fn probe_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: `nvdimm_bus_probe()` passes a valid device.
        let is_btt = unsafe { bindings::is_nd_btt(dev) };
        // SAFETY: `nvdimm_bus_probe()` passes a valid device, and the driver core holds the lock of
        // the device.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(dev) };

        from_result(|| {
            let data = if is_btt {
                // SAFETY: `is_nd_btt()` has checked the type of the device. The device is being
                // bound. If that fails, the `Btt` is dropped before this function returns.
                // Otherwise it is part of the device's data, which the driver core drops at the
                // unbind.
                DriverData::Btt(unsafe { Btt::attach(dev) }?)
            } else {
                let namespace = Namespace::probe(dev)?;
                // SAFETY: The device is being bound. If that fails, the guard is dropped before
                // this function returns. Otherwise it is part of the device's data, which the
                // driver core drops at the unbind.
                let unbind = unsafe { UnbindGuard::new(namespace.clone()) };
                let binding = Binding::new(unbind, T::probe(namespace));

                DriverData::Namespace(KBox::pin_init(binding, GFP_KERNEL)?)
            };

            dev.set_drvdata(Ok(data))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only the nd bus may call this, for a device that is bound to this driver.
    unsafe extern "C" fn quiesce_callback(dev: *mut bindings::device) {
        // SAFETY: The device is bound to this driver by the safety requirements. The caller holds
        // the lock of the device, so the device stays bound.
        match unsafe { Self::data(dev) } {
            DriverData::Namespace(binding) => binding.data().quiesce(),
            DriverData::Btt(btt) => btt.flush(),
        }
    }

    /// # Safety
    ///
    /// Only the nd bus may call this, for a device that is bound to this driver.
    unsafe extern "C" fn notify_callback(
        dev: *mut bindings::device,
        event: bindings::nvdimm_event,
    ) {
        let Ok(event) = Event::try_from(event) else {
            return;
        };

        // SAFETY: The device is bound to this driver by the safety requirements. The caller holds
        // the lock of the device, so the device stays bound.
        match unsafe { Self::data(dev) } {
            DriverData::Namespace(binding) => binding.data().notify(event),
            DriverData::Btt(btt) => btt.notify(event),
        }
    }
}

/// Declares a kernel module that registers a single namespace driver.
///
/// # Examples
///
/// ```ignore
/// daxmf::module_nvdimm_driver! {
///     type: MyDriver,
///     name: "my_driver",
///     authors: ["Author name"],
///     description: "Description",
///     license: "GPL",
/// }
/// ```
#[macro_export]
macro_rules! module_nvdimm_driver {
    ($($f:tt)*) => {
        ::kernel::module_driver!(<T>, $crate::nvdimm::Adapter<T>, { $($f)* });
    };
}
