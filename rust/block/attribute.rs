// SPDX-License-Identifier: GPL-2.0

//! The sysfs attributes of a disk: `/sys/block/DISK/NAME` and `/sys/block/DISK/GROUP/NAME`.
//!
//! C headers: [`include/linux/device.h`](srctree/include/linux/device.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use core::{
    iter,
    ptr, //
};

use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

use crate::{
    badblocks::Badblocks,
    bindings,
    range::{
        space,
        ByteRange,
        PAGE_SIZE,
        SECTOR_SHIFT, //
    },
};

use super::window_of;

/// The type of an attribute's value, with the callbacks that get and set the value.
enum Kind<T> {
    Number(fn(&T) -> u64),
    Flag(fn(&T) -> bool, fn(&T, bool)),
    Choice(&'static [&'static CStr], fn(&T) -> usize, fn(&T, usize)),
    Badblocks(fn(&T) -> &Badblocks, fn(&T, ByteRange<space::Device>)),
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
///         Attribute::choice(c"mode", &[c"slow", c"fast"], |_disk| 0, |_disk, _index| {}),
///     ]
/// }
/// ```
///
/// # Invariants
///
/// `raw` is the first field. Its callbacks are `show_callback()` and `store_callback()` of this
/// [`Attribute<T>`].
#[repr(C)]
pub struct Attribute<T> {
    raw: bindings::device_attribute,
    kind: Kind<T>,
}

// SAFETY: `raw` has a pointer to a static name and pointers to functions, which are valid on any
// thread. `kind` has static data and pointers to functions.
unsafe impl<T> Send for Attribute<T> {}

// SAFETY: No method modifies an attribute after `new()`.
unsafe impl<T> Sync for Attribute<T> {}

impl<T> Attribute<T> {
    /// An attribute that shows a number and cannot be written.
    pub const fn number(name: &'static CStr, show: fn(&T) -> u64) -> Self {
        Self::new(name, 0o444, Kind::Number(show))
    }

    /// An attribute that shows 0 or 1, and that root can write as a boolean.
    pub const fn flag(name: &'static CStr, show: fn(&T) -> bool, store: fn(&T, bool)) -> Self {
        Self::new(name, 0o644, Kind::Flag(show, store))
    }

    /// An attribute that shows a list of words, with the current one in brackets. Root selects a
    /// word by writing it. `show` returns the index of the current word, and `store` takes the
    /// index of the new one.
    pub const fn choice(
        name: &'static CStr,
        words: &'static [&'static CStr],
        show: fn(&T) -> usize,
        store: fn(&T, usize),
    ) -> Self {
        Self::new(name, 0o644, Kind::Choice(words, show, store))
    }

    /// The attribute `badblocks`. It shows a list of bad ranges. Root adds a range by writing its
    /// first sector and its number of sectors, of 512 bytes each.
    ///
    /// In [`Operations::ATTRIBUTES`](super::Operations::ATTRIBUTES) it replaces the kernel's
    /// attribute, which adds a range without calling the driver, even if the range is not on the
    /// disk. `store` gets only ranges that lie on the disk. A write of another range fails with
    /// `EINVAL`.
    pub const fn badblocks(
        list: fn(&T) -> &Badblocks,
        store: fn(&T, ByteRange<space::Device>),
    ) -> Self {
        Self::new(BADBLOCKS, 0o644, Kind::Badblocks(list, store))
    }

    pub(super) fn is_badblocks(&self) -> bool {
        matches!(self.kind, Kind::Badblocks(..))
    }

    #[allow(clippy::needless_update, reason = "lockdep adds fields")]
    const fn new(name: &'static CStr, mode: bindings::umode_t, kind: Kind<T>) -> Self {
        // INVARIANT: The callbacks are those of this type. `raw` is the first field.
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

    /// The block device of the whole disk.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a disk.
    unsafe fn block_device(dev: *mut bindings::device) -> *mut bindings::block_device {
        // SAFETY: By the safety requirements, `dev` is the `bd_device` of a disk's `part0`.
        unsafe { container_of!(dev, bindings::block_device, bd_device) }
    }

    /// Parses a range of the disk, such as `800 8`: the first sector and the number of sectors.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the text has another form, or if the range does not lie on the disk.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a disk.
    unsafe fn parse_range(
        dev: *mut bindings::device,
        text: &CStr,
    ) -> Result<ByteRange<space::Device>> {
        let range = parse_sectors(text)?;
        // SAFETY: By the safety requirements, `dev` is the device of a disk, so its block device is
        // valid.
        let disk = unsafe { window_of(Self::block_device(dev)) }.ok_or(EINVAL)?;

        match disk.outer().contains(range) {
            true => Ok(range),
            false => Err(EINVAL),
        }
    }

    /// Borrows the driver's data.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a disk that was registered with a `T`, and must stay so for
    /// `'a`.
    unsafe fn data<'a>(dev: *mut bindings::device) -> &'a T {
        // SAFETY: The disk was registered with a `T` by the safety requirements, so `private_data`
        // points to that `T` by the type invariants of `super::Registration`.
        unsafe {
            &*(*(*Self::block_device(dev)).bd_disk)
                .private_data
                .cast::<T>()
        }
    }

    /// # Safety
    ///
    /// Called by sysfs only, for an attribute of a disk that was registered with a `T`.
    unsafe extern "C" fn show_callback(
        dev: *mut bindings::device,
        attr: *mut bindings::device_attribute,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: `attr` is `raw` of an `Attribute<T>`, and its first field, by the type
        // invariants.
        let kind = unsafe { &(*attr.cast::<Self>()).kind };
        // SAFETY: The disk was registered with a `T` by the safety requirements. When the
        // `super::Registration` is dropped, `del_gendisk()` removes the attribute and waits for
        // this callback before the data is dropped.
        let data = unsafe { Self::data(dev) };

        let len = match kind {
            // SAFETY: `buf` is the page that sysfs passes to `show()`.
            Kind::Number(show) => unsafe { emit_number(buf, show(data)) },
            // SAFETY: `buf` is the page that sysfs passes to `show()`.
            Kind::Flag(show, _) => unsafe { emit_number(buf, show(data).into()) },
            // SAFETY: `buf` is the page that sysfs passes to `show()`.
            Kind::Choice(words, show, _) => unsafe { emit_words(buf, words, show(data)) },
            // SAFETY: `buf` is the page that sysfs passes to `show()`.
            Kind::Badblocks(list, _) => unsafe { emit_badblocks(buf, list(data)) },
        };

        // CAST: The length is at most a page, 4096 bytes.
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
        // SAFETY: `attr` is `raw` of an `Attribute<T>`, and its first field, by the type
        // invariants.
        let kind = unsafe { &(*attr.cast::<Self>()).kind };
        // SAFETY: The disk was registered with a `T` by the safety requirements. When the
        // `super::Registration` is dropped, `del_gendisk()` removes the attribute and waits for
        // this callback before the data is dropped.
        let data = unsafe { Self::data(dev) };

        // SAFETY: `buf` is a C string by the safety requirements.
        let text = unsafe { CStr::from_char_ptr(buf) };

        let result = match kind {
            Kind::Number(_) => Err(EPERM),
            Kind::Flag(_, store) => parse_bool(text).map(|value| store(data, value)),
            Kind::Choice(words, _, store) => {
                parse_word(text, words).map(|index| store(data, index))
            }
            Kind::Badblocks(_, store) => {
                // SAFETY: `dev` is the device of a disk by the safety requirements.
                unsafe { Self::parse_range(dev, text) }.map(|range| store(data, range))
            }
        };

        match result {
            // CAST: sysfs passes at most a page, 4096 bytes.
            Ok(()) => len as isize,
            // CAST: An errno is in -4095..=-1.
            Err(error) => error.to_errno() as isize,
        }
    }
}

/// Prints a number. Returns the length of the line in bytes.
///
/// # Safety
///
/// `buf` must be a buffer of a page from sysfs.
unsafe fn emit_number(buf: *mut c_char, number: u64) -> c_int {
    // SAFETY: `buf` is a buffer of a page from sysfs by the safety requirements. The format takes
    // one `u64`.
    unsafe { bindings::sysfs_emit(buf, c"%llu\n".as_char_ptr(), number) }
}

/// Prints `words`, the word with the index `chosen` in brackets. Returns the length of the line in
/// bytes.
///
/// # Safety
///
/// `buf` must be a buffer of a page from sysfs.
unsafe fn emit_words(buf: *mut c_char, words: &[&CStr], chosen: usize) -> c_int {
    let mut len = 0;

    for (index, word) in words.iter().enumerate() {
        let format = match index == chosen {
            false => c"%s ",
            true => c"[%s] ",
        };

        // SAFETY: `buf` is a buffer of a page from sysfs by the safety requirements. The format
        // takes one C string.
        let added =
            unsafe { bindings::sysfs_emit_at(buf, len, format.as_char_ptr(), word.as_char_ptr()) };

        len = len.saturating_add(added);
    }

    // The newline replaces the blank after the last word.
    let end = len.saturating_sub(1).max(0);

    // SAFETY: `buf` is a buffer of a page from sysfs by the safety requirements.
    end.saturating_add(unsafe { bindings::sysfs_emit_at(buf, end, c"\n".as_char_ptr()) })
}

/// Prints the ranges that fit in a page. Returns the length of the text in bytes.
///
/// # Safety
///
/// `buf` must be a buffer of a page from sysfs.
unsafe fn emit_badblocks(buf: *mut c_char, list: &Badblocks) -> c_int {
    // CAST: A page has 4096 bytes.
    const LAST: usize = PAGE_SIZE as usize - 1;

    // SAFETY: `list` is valid by the type invariants of `Badblocks`. `buf` is a page by the safety
    // requirements, and `badblocks_show()` writes at most a page.
    let len = unsafe { bindings::badblocks_show(list.as_raw(), buf, 0) };
    let len = usize::try_from(len).unwrap_or(0);

    if len <= LAST {
        // CAST: The length is less than a page, 4096 bytes.
        return len as c_int;
    }

    // The text does not fit in the page: `badblocks_show()` has truncated the last line, but counts
    // the whole line. sysfs expects less than a page, and a truncated number would be wrong. So
    // this function drops the last line.
    //
    // SAFETY: `buf` is a page by the safety requirements, and `badblocks_show()` has filled it.
    let text = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), LAST) };
    let end = text.iter().rposition(|byte| *byte == b'\n');

    // CAST: The length is less than a page, 4096 bytes.
    end.map_or(0, |end| end.saturating_add(1)) as c_int
}

/// Parses a range: the first sector and the number of sectors, of 512 bytes each.
///
/// # Errors
///
/// - `EINVAL` if the text has another form, or if the range is empty or ends beyond the last byte
///   of a [`ByteRange`].
fn parse_sectors(text: &CStr) -> Result<ByteRange<space::Device>> {
    let mut numbers = text
        .to_str()?
        .split_ascii_whitespace()
        .map(str::parse::<u64>);
    let (Some(Ok(first)), Some(Ok(count)), None) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(EINVAL);
    };
    let bytes = |sectors: u64| sectors.checked_mul(1 << SECTOR_SHIFT).ok_or(EINVAL);

    ByteRange::new(bytes(first)?, bytes(count)?).ok_or(EINVAL)
}

/// Parses a boolean, as `kstrtobool()` does.
///
/// # Errors
///
/// - `EINVAL` if the text is not a boolean.
fn parse_bool(text: &CStr) -> Result<bool> {
    let mut value = false;

    // SAFETY: `text` is a C string, and `value` is valid for writes.
    to_result(unsafe { bindings::kstrtobool(text.as_char_ptr(), &mut value) })?;
    Ok(value)
}

/// Returns the index of the word that `text` is, with or without a newline.
///
/// # Errors
///
/// - `EINVAL` if `text` is none of `words`.
fn parse_word(text: &CStr, words: &[&CStr]) -> Result<usize> {
    let index = words.iter().position(|word| {
        // SAFETY: `text` and `word` are C strings by the type invariants of `CStr`.
        unsafe { bindings::sysfs_streq(text.as_char_ptr(), word.as_char_ptr()) }
    });

    index.ok_or(EINVAL)
}

/// The name of the attribute that lists bad blocks.
pub(super) const BADBLOCKS: &CStr = c"badblocks";

/// A named group of attributes.
pub struct Group<T: 'static> {
    /// The name of the group's directory.
    pub name: &'static CStr,
    /// The attributes in it.
    pub attributes: &'static [Attribute<T>],
}

/// The attribute groups of one disk, as arrays that the driver core takes.
///
/// # Invariants
///
/// `pointers` ends with a null pointer, and its other elements point to the elements of `_groups`.
/// The attributes of each group are an element of `_attributes`, which ends with a null pointer,
/// too.
pub(super) struct Table {
    pointers: KVec<*const bindings::attribute_group>,
    _groups: KVec<bindings::attribute_group>,
    _attributes: KVec<KVec<*const bindings::attribute>>,
}

impl Table {
    /// Makes the arrays for the attributes in the disk's directory, and for those in its groups.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn new<T>(
        attributes: &'static [Attribute<T>],
        groups: &'static [Group<T>],
    ) -> Result<Self> {
        // sysfs puts the attributes of a group without a name in the disk's own directory.
        let unnamed = (ptr::null(), attributes);
        let named = groups
            .iter()
            .map(|group| (group.name.as_char_ptr(), group.attributes));
        let mut attributes = KVec::new();
        let mut groups = KVec::new();
        let mut pointers = KVec::new();

        for (name, list) in Iterator::chain(iter::once(unnamed), named) {
            let mut array = KVec::new();

            for attribute in list {
                array.push(&raw const attribute.raw.attr, GFP_KERNEL)?;
            }
            array.push(ptr::null(), GFP_KERNEL)?;

            groups.push(
                bindings::attribute_group {
                    name,
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

        // INVARIANT: Each array ends with the null pointer that was pushed last.
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

#[kunit_tests(daxmf_block_attribute)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_parsed_as_the_kernel_does() {
        let range =
            |first: u64, count: u64| ByteRange::new(first << SECTOR_SHIFT, count << SECTOR_SHIFT);

        for (text, want) in [
            (c"800 8\n", range(800, 8)),
            (c"0 1", range(0, 1)),
            (c" 7\t3\n", range(7, 3)),
            (c"7 0\n", None),
            (c"7 -1\n", None),
            (c"7\n", None),
            (c"7 3 1\n", None),
            (c"7 3x\n", None),
            (c"seven 3\n", None),
            (c"", None),
            (c"36028797018963968 1\n", None),
            (c"36028797018963967 1\n", None),
            (c"36028797018963966 1\n", range(36028797018963966, 1)),
            (c"18446744073709551616 1\n", None),
        ] {
            assert_eq!(parse_sectors(text).ok(), want);
        }
    }
}
