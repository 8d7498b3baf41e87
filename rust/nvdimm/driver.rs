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
        Unbind, //
    },
    btt::Btt,
    Event,
    Namespace, //
};

/// A driver for namespaces. The value is the driver's data for one of them, and is dropped when
/// the driver is unbound.
///
/// A namespace with a block translation table is bound, too, but not handed to the driver: all of
/// it is what `nd_btt` makes a disk of.
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
    /// Binds the driver to a namespace.
    fn probe(namespace: Arc<Namespace>) -> impl PinInit<Self, Error>;

    /// Tells that something happened to the namespace.
    fn notify(&self, _event: Event) {}

    /// Called before the driver's data is dropped, and when the machine shuts down.
    fn quiesce(&self) {}
}

/// The private data of a device that is bound to a driver.
pub enum DriverData<T> {
    /// A namespace with the data of the driver for it.
    Namespace(Pin<KBox<Binding<T>>>),
    /// The disk of `nd_btt`.
    Btt(Btt),
}

/// An adapter for the registration of namespace drivers.
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

/// A `struct nd_device_driver` that starts out zeroed.
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

// SAFETY: `driver_unregister()` undoes what `__nd_driver_register()` did.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<Raw>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        const TYPES: bindings::nd_driver_flags = bindings::nd_driver_flags_ND_DRIVER_NAMESPACE_IO
            | bindings::nd_driver_flags_ND_DRIVER_NAMESPACE_PMEM;

        let driver = driver.get().cast::<bindings::nd_device_driver>();

        // SAFETY: The driver is valid, and not registered yet.
        unsafe {
            (*driver).drv.name = name.as_char_ptr();
            (*driver).type_ = TYPES as c_ulong;
            (*driver).probe = Some(Self::probe_callback);
            (*driver).remove = Some(Self::quiesce_callback);
            (*driver).shutdown = Some(Self::quiesce_callback);
            (*driver).notify = Some(Self::notify_callback);
        }

        // SAFETY: The driver is set up, and stays in place until it is unregistered.
        to_result(unsafe {
            bindings::__nd_driver_register(driver, module.as_ptr(), name.as_char_ptr())
        })
    }

    unsafe fn unregister(driver: &Opaque<Raw>) {
        // SAFETY: The driver was registered.
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
        // SAFETY: `dev` is a valid device.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(dev) };

        // SAFETY: A bound device has the data that `probe_callback()` has set.
        unsafe { dev.drvdata_borrow::<DriverData<T>>() }.get_ref()
    }

    /// # Safety
    ///
    /// Called by the nd bus only, for a device that is to be bound to this driver.
    unsafe extern "C" fn probe_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: The bus passes a valid device.
        let is_btt = unsafe { bindings::is_nd_btt(dev) };
        // SAFETY: The bus passes a valid device, with its lock held.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(dev) };

        from_result(|| {
            let data = if is_btt {
                // SAFETY: The device is being bound. If that fails, this is dropped on the way out;
                // else it is a part of the device's data, which go when it is unbound.
                DriverData::Btt(unsafe { Btt::attach(dev) }?)
            } else {
                let namespace = Namespace::probe(dev)?;
                // SAFETY: As above.
                let unbind = unsafe { Unbind::new(namespace.clone()) };
                let binding = Binding::new(unbind, T::probe(namespace));

                DriverData::Namespace(KBox::pin_init(binding, GFP_KERNEL)?)
            };

            dev.set_drvdata(Ok(data))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the nd bus only, for a device that is bound to this driver.
    unsafe extern "C" fn quiesce_callback(dev: *mut bindings::device) {
        // SAFETY: The bus holds the device's lock, so it stays bound.
        match unsafe { Self::data(dev) } {
            DriverData::Namespace(binding) => binding.data().quiesce(),
            DriverData::Btt(btt) => btt.flush(),
        }
    }

    /// # Safety
    ///
    /// Called by the nd bus only, for a device that is bound to this driver.
    unsafe extern "C" fn notify_callback(
        dev: *mut bindings::device,
        event: bindings::nvdimm_event,
    ) {
        let Ok(event) = Event::try_from(event) else {
            return;
        };

        // SAFETY: The bus holds the device's lock, so it stays bound.
        match unsafe { Self::data(dev) } {
            DriverData::Namespace(binding) => binding.data().notify(event),
            DriverData::Btt(btt) => btt.notify(event),
        }
    }
}

/// Declares a kernel module that exposes a single namespace driver.
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
