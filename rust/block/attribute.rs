// SPDX-License-Identifier: GPL-2.0

//! Attributes of a disk in sysfs: `/sys/block/DISK/GROUP/NAME`.
//!
//! C headers: [`include/linux/device.h`](srctree/include/linux/device.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use core::ptr;

use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

use crate::bindings;

use super::Operations;

/// What an attribute shows, and what a write to it does.
enum Kind<T> {
    Number(fn(&T) -> u64),
    Flag(fn(&T) -> bool, fn(&T, bool)),
    Choice([&'static CStr; 2], fn(&T) -> bool, fn(&T, bool)),
}

/// An attribute of a disk whose driver data is a `T`.
///
/// # Examples
///
/// ```
/// use daxmf::block::{Attribute, Operations};
///
/// fn attributes<T: Operations>() -> [Attribute<T>; 3] {
///     [
///         Attribute::number(c"answer", |_disk| 42),
///         Attribute::flag(c"write_cache", |_disk| true, |_disk, _enabled| {}),
///         Attribute::choice(c"mode", [c"slow", c"fast"], |_disk| false, |_disk, _is_fast| {}),
///     ]
/// }
/// ```
///
/// # Invariants
///
/// The callbacks of `raw` are those of [`Attribute<T>`], which `raw` is the first field of.
#[repr(C)]
pub struct Attribute<T> {
    raw: bindings::device_attribute,
    kind: Kind<T>,
}

// SAFETY: The pointers in `raw` are to static data and to functions.
unsafe impl<T> Send for Attribute<T> {}

// SAFETY: An attribute does not change once it was made.
unsafe impl<T> Sync for Attribute<T> {}

impl<T: Operations> Attribute<T> {
    /// An attribute that shows a number and cannot be written.
    pub const fn number(name: &'static CStr, show: fn(&T) -> u64) -> Self {
        Self::new(name, 0o444, Kind::Number(show))
    }

    /// An attribute that shows 0 or 1, and that root can write as a boolean.
    pub const fn flag(name: &'static CStr, show: fn(&T) -> bool, store: fn(&T, bool)) -> Self {
        Self::new(name, 0o644, Kind::Flag(show, store))
    }

    /// An attribute that shows two words, the chosen one in brackets, and that root can write one
    /// of them to. The second word stands for `true`.
    pub const fn choice(
        name: &'static CStr,
        words: [&'static CStr; 2],
        show: fn(&T) -> bool,
        store: fn(&T, bool),
    ) -> Self {
        Self::new(name, 0o644, Kind::Choice(words, show, store))
    }

    #[allow(clippy::needless_update, reason = "lockdep adds fields")]
    const fn new(name: &'static CStr, mode: bindings::umode_t, kind: Kind<T>) -> Self {
        // INVARIANT: The callbacks are ours.
        Self {
            raw: bindings::device_attribute {
                attr: bindings::attribute {
                    name: as_char_ptr_in_const_context(name),
                    mode,
                    ..pin_init::zeroed()
                },
                __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
                    show: Some(Self::show_callback),
                },
                __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 {
                    store: Some(Self::store_callback),
                },
            },
            kind,
        }
    }

    /// Borrows the driver's data.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a disk that was registered with a `T`, and must stay so for
    /// `'a`.
    unsafe fn data<'a>(dev: *mut bindings::device) -> &'a T {
        // SAFETY: `dev` is embedded in the block device of the whole disk.
        let bdev = unsafe { container_of!(dev, bindings::block_device, bd_device) };

        // SAFETY: By the type invariants of `super::Registration`, this is its data.
        unsafe { &*(*(*bdev).bd_disk).private_data.cast::<T>() }
    }

    /// # Safety
    ///
    /// Called by sysfs only, for an attribute of a disk that was registered with a `T`.
    unsafe extern "C" fn show_callback(
        dev: *mut bindings::device,
        attr: *mut bindings::device_attribute,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: `attr` is the first field of an `Attribute<T>`, by the type invariants.
        let kind = unsafe { &(*attr.cast::<Self>()).kind };
        // SAFETY: An attribute is gone before the disk's registration is.
        let data = unsafe { Self::data(dev) };

        let len = match kind {
            // SAFETY: sysfs passes a buffer of a page.
            Kind::Number(show) => unsafe { emit_number(buf, show(data)) },
            // SAFETY: sysfs passes a buffer of a page.
            Kind::Flag(show, _) => unsafe { emit_number(buf, show(data).into()) },
            Kind::Choice([first, second], show, _) => {
                let format = match show(data) {
                    false => c"[%s] %s\n",
                    true => c"%s [%s]\n",
                };

                // SAFETY: sysfs passes a buffer of a page. The format takes two C strings.
                unsafe {
                    bindings::sysfs_emit(
                        buf,
                        format.as_char_ptr(),
                        first.as_char_ptr(),
                        second.as_char_ptr(),
                    )
                }
            }
        };

        // CAST: The length of a line fits every integer.
        len as isize
    }

    /// # Safety
    ///
    /// Called by sysfs only, for an attribute of a disk that was registered with a `T`, with a
    /// C string of `len` bytes.
    unsafe extern "C" fn store_callback(
        dev: *mut bindings::device,
        attr: *mut bindings::device_attribute,
        buf: *const c_char,
        len: usize,
    ) -> isize {
        // SAFETY: `attr` is the first field of an `Attribute<T>`, by the type invariants.
        let kind = unsafe { &(*attr.cast::<Self>()).kind };
        // SAFETY: An attribute is gone before the disk's registration is.
        let data = unsafe { Self::data(dev) };

        let (store, value) = match kind {
            // CAST: An errno fits every integer.
            Kind::Number(_) => return EPERM.to_errno() as isize,
            // SAFETY: `buf` is a C string by the safety requirements.
            Kind::Flag(_, store) => (store, unsafe { parse_bool(buf) }),
            // SAFETY: `buf` is a C string by the safety requirements.
            Kind::Choice(words, _, store) => (store, unsafe { parse_word(buf, words) }),
        };

        match value {
            Ok(value) => store(data, value),
            // CAST: An errno fits every integer.
            Err(error) => return error.to_errno() as isize,
        }
        // CAST: sysfs writes at most a page.
        len as isize
    }
}

/// Prints a number, and returns the length of the line.
///
/// # Safety
///
/// `buf` must be a buffer of a page that sysfs has passed.
unsafe fn emit_number(buf: *mut c_char, number: u64) -> c_int {
    // SAFETY: By the safety requirements. The format takes one `u64`.
    unsafe { bindings::sysfs_emit(buf, c"%llu\n".as_char_ptr(), number) }
}

/// # Errors
///
/// - `EINVAL` if it is not a boolean.
///
/// # Safety
///
/// `buf` must be a C string.
unsafe fn parse_bool(buf: *const c_char) -> Result<bool> {
    let mut value = false;

    // SAFETY: By the safety requirements.
    to_result(unsafe { bindings::kstrtobool(buf, &mut value) })?;
    Ok(value)
}

/// Whether it is the second of two words.
///
/// # Errors
///
/// - `EINVAL` if it is neither.
///
/// # Safety
///
/// `buf` must be a C string.
unsafe fn parse_word(buf: *const c_char, words: &[&CStr; 2]) -> Result<bool> {
    let index = words.iter().position(|word| {
        // SAFETY: Both are C strings.
        unsafe { bindings::sysfs_streq(buf, word.as_char_ptr()) }
    });

    Ok(index.ok_or(EINVAL)? == 1)
}

/// A named group of attributes.
pub struct Group<T: 'static> {
    /// The name of the folder.
    pub name: &'static CStr,
    /// The attributes in it.
    pub attributes: &'static [Attribute<T>],
}

/// The groups of one disk, in the form that the driver core takes.
///
/// # Invariants
///
/// `pointers` ends with a null pointer, and the others are to the elements of `groups`. The same
/// holds for the attributes of each group and its element of `attributes`.
pub(super) struct Table {
    pointers: KVec<*const bindings::attribute_group>,
    _groups: KVec<bindings::attribute_group>,
    _attributes: KVec<KVec<*const bindings::attribute>>,
}

impl Table {
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn new<T: Operations>(list: &[Group<T>]) -> Result<Self> {
        let mut attributes = KVec::with_capacity(list.len(), GFP_KERNEL)?;
        let mut groups = KVec::with_capacity(list.len(), GFP_KERNEL)?;
        let mut pointers = KVec::new();

        for group in list {
            let mut array = KVec::new();

            for attribute in group.attributes {
                array.push(&raw const attribute.raw.attr, GFP_KERNEL)?;
            }
            array.push(ptr::null(), GFP_KERNEL)?;

            groups.push(
                bindings::attribute_group {
                    name: group.name.as_char_ptr(),
                    __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
                        attrs_const: array.as_ptr(),
                    },
                    ..pin_init::zeroed()
                },
                GFP_KERNEL,
            )?;
            attributes.push(array, GFP_KERNEL)?;
        }

        for group in &groups {
            pointers.push(ptr::from_ref(group), GFP_KERNEL)?;
        }
        pointers.push(ptr::null(), GFP_KERNEL)?;

        Ok(Self {
            pointers,
            _groups: groups,
            _attributes: attributes,
        })
    }

    pub(super) fn as_ptr(&mut self) -> *mut *const bindings::attribute_group {
        self.pointers.as_mut_ptr()
    }
}
