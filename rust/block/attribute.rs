// SPDX-License-Identifier: GPL-2.0

//! Attributes of a disk in sysfs: `/sys/block/DISK/NAME` and `/sys/block/DISK/GROUP/NAME`.
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

/// What an attribute shows, and what a write to it does.
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

impl<T> Attribute<T> {
    /// An attribute that shows a number and cannot be written.
    pub const fn number(name: &'static CStr, show: fn(&T) -> u64) -> Self {
        Self::new(name, 0o444, Kind::Number(show))
    }

    /// An attribute that shows 0 or 1, and that root can write as a boolean.
    pub const fn flag(name: &'static CStr, show: fn(&T) -> bool, store: fn(&T, bool)) -> Self {
        Self::new(name, 0o644, Kind::Flag(show, store))
    }

    /// An attribute that shows some words, the chosen one in brackets, and that root can write one
    /// of them to. `show` and `store` take the index of the word.
    pub const fn choice(
        name: &'static CStr,
        words: &'static [&'static CStr],
        show: fn(&T) -> usize,
        store: fn(&T, usize),
    ) -> Self {
        Self::new(name, 0o644, Kind::Choice(words, show, store))
    }

    /// The attribute `badblocks`, which shows a list, and which root can write a range to: its
    /// first sector and their number. In [`Operations::ATTRIBUTES`](super::Operations::ATTRIBUTES)
    /// it takes the place of the kernel's, which enters the range without the driver, and wherever
    /// it lies. `store` gets ranges that lie on the disk; what does not is refused with `EINVAL`.
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

    /// The block device of the whole disk.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a disk.
    unsafe fn block_device(dev: *mut bindings::device) -> *mut bindings::block_device {
        // SAFETY: `dev` is embedded in the block device of the whole disk.
        unsafe { container_of!(dev, bindings::block_device, bd_device) }
    }

    /// The range of the disk that a text such as `800 8` is about: its first sector and their
    /// number.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it is something else, or does not lie on the disk.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a disk.
    unsafe fn parse_range(
        dev: *mut bindings::device,
        text: &CStr,
    ) -> Result<ByteRange<space::Device>> {
        let range = parse_sectors(text)?;
        // SAFETY: The block device is valid, as the disk is.
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
        // SAFETY: By the type invariants of `super::Registration`, this is its data.
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
        // SAFETY: `attr` is the first field of an `Attribute<T>`, by the type invariants.
        let kind = unsafe { &(*attr.cast::<Self>()).kind };
        // SAFETY: An attribute is gone before the disk's registration is.
        let data = unsafe { Self::data(dev) };

        let len = match kind {
            // SAFETY: sysfs passes a buffer of a page.
            Kind::Number(show) => unsafe { emit_number(buf, show(data)) },
            // SAFETY: sysfs passes a buffer of a page.
            Kind::Flag(show, _) => unsafe { emit_number(buf, show(data).into()) },
            // SAFETY: sysfs passes a buffer of a page.
            Kind::Choice(words, show, _) => unsafe { emit_words(buf, words, show(data)) },
            // SAFETY: sysfs passes a buffer of a page.
            Kind::Badblocks(list, _) => unsafe { emit_badblocks(buf, list(data)) },
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

        // SAFETY: `buf` is a C string by the safety requirements.
        let text = unsafe { CStr::from_char_ptr(buf) };

        let result = match kind {
            Kind::Number(_) => Err(EPERM),
            Kind::Flag(_, store) => parse_bool(text).map(|value| store(data, value)),
            Kind::Choice(words, _, store) => {
                parse_word(text, words).map(|index| store(data, index))
            }
            Kind::Badblocks(_, store) => {
                // SAFETY: By the safety requirements.
                unsafe { Self::parse_range(dev, text) }.map(|range| store(data, range))
            }
        };

        match result {
            // CAST: sysfs writes at most a page.
            Ok(()) => len as isize,
            // CAST: An errno fits every integer.
            Err(error) => error.to_errno() as isize,
        }
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

/// Prints words, the one that is chosen in brackets, and returns the length of the line.
///
/// # Safety
///
/// `buf` must be a buffer of a page that sysfs has passed.
unsafe fn emit_words(buf: *mut c_char, words: &[&CStr], chosen: usize) -> c_int {
    let mut len = 0;

    for (index, word) in words.iter().enumerate() {
        let format = match index == chosen {
            false => c"%s ",
            true => c"[%s] ",
        };

        // SAFETY: By the safety requirements. The format takes a C string.
        let added =
            unsafe { bindings::sysfs_emit_at(buf, len, format.as_char_ptr(), word.as_char_ptr()) };

        len = len.saturating_add(added);
    }

    // The end of the line takes the place of the last blank.
    let end = len.saturating_sub(1);

    // SAFETY: By the safety requirements.
    end.saturating_add(unsafe { bindings::sysfs_emit_at(buf, end, c"\n".as_char_ptr()) })
}

/// Prints as many ranges as there is room for, and returns their length.
///
/// # Safety
///
/// `buf` must be a buffer of a page that sysfs has passed.
unsafe fn emit_badblocks(buf: *mut c_char, list: &Badblocks) -> c_int {
    // CAST: A page has a small number of bytes.
    const LAST: usize = PAGE_SIZE as usize - 1;

    // SAFETY: The list is valid. The function writes a page at most.
    let len = unsafe { bindings::badblocks_show(list.as_raw(), buf, 0) };
    let len = usize::try_from(len).unwrap_or(0);

    if len <= LAST {
        // CAST: It is less than a page.
        return len as c_int;
    }

    // The function returns the length that the text would have had, which sysfs does not expect;
    // and a number that is cut off is another number.
    //
    // SAFETY: By the safety requirements, and the function has written a page.
    let text = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), LAST) };
    let end = text.iter().rposition(|byte| *byte == b'\n');

    // CAST: It is less than a page.
    end.map_or(0, |end| end.saturating_add(1)) as c_int
}

/// The sectors that a text is about: the first one and their number.
///
/// # Errors
///
/// - `EINVAL` if it is something else, or more than a range has.
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

/// # Errors
///
/// - `EINVAL` if it is not a boolean.
fn parse_bool(text: &CStr) -> Result<bool> {
    let mut value = false;

    // SAFETY: `text` is a C string.
    to_result(unsafe { bindings::kstrtobool(text.as_char_ptr(), &mut value) })?;
    Ok(value)
}

/// Which of the words it is.
///
/// # Errors
///
/// - `EINVAL` if it is none.
fn parse_word(text: &CStr, words: &[&CStr]) -> Result<usize> {
    let index = words.iter().position(|word| {
        // SAFETY: Both are C strings.
        unsafe { bindings::sysfs_streq(text.as_char_ptr(), word.as_char_ptr()) }
    });

    index.ok_or(EINVAL)
}

/// The name of the attribute that lists bad blocks.
pub(super) const BADBLOCKS: &CStr = c"badblocks";

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
    pub(super) fn new<T>(
        attributes: &'static [Attribute<T>],
        groups: &'static [Group<T>],
    ) -> Result<Self> {
        // Attributes of a group without a name are in the disk's folder itself.
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
