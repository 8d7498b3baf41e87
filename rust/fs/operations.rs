// SPDX-License-Identifier: GPL-2.0

//! The operations of each type of inode.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use core::marker::PhantomData;

use kernel::module::this_module;

use crate::{
    bindings,
    compat, //
};

use super::{
    acl,
    attr,
    fallocate,
    flags,
    ioctl,
    mmap,
    namei,
    read_write,
    readdir,
    remap_range,
    rename,
    seek,
    super_block::Operations,
    truncate,
    xattr,
    FileSystem, //
};

/// The operations tables of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// The operations that all types of inodes have.
    const ANY_INODE_OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(attr::VTable::<T>::setattr),
        getattr: Some(attr::VTable::<T>::getattr),
        fileattr_get: Some(flags::VTable::<T>::get),
        fileattr_set: Some(flags::VTable::<T>::set),
        listxattr: Some(xattr::VTable::<T>::listxattr),
        ..pin_init::zeroed()
    };

    /// The operations of the inode of a regular file.
    const REGULAR_INODE_OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(truncate::VTable::<T>::setattr),
        fiemap: Some(seek::VTable::<T>::fiemap),
        update_time: Some(attr::VTable::<T>::update_time),
        ..Self::SPECIAL_INODE_OPERATIONS
    };

    /// The operations of a regular file.
    const REGULAR_FILE_OPERATIONS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        fop_flags: bindings::FOP_MMAP_SYNC,
        open: Some(read_write::VTable::<T>::open),
        llseek: Some(seek::VTable::<T>::llseek),
        read_iter: Some(read_write::VTable::<T>::read_iter),
        write_iter: Some(read_write::VTable::<T>::write_iter),
        unlocked_ioctl: Some(ioctl::VTable::<T>::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        splice_read: Some(bindings::copy_splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        mmap_prepare: Some(mmap::VTable::<T>::mmap_prepare),
        get_unmapped_area: Some(bindings::thp_get_unmapped_area),
        fsync: Some(read_write::VTable::<T>::fsync),
        fallocate: Some(fallocate::VTable::<T>::fallocate),
        setlease: Some(bindings::generic_setlease),
        remap_file_range: Some(remap_range::VTable::<T>::remap_file_range),
        ..pin_init::zeroed()
    };

    /// The operations of the mapping of a regular file.
    const ADDRESS_SPACE_OPERATIONS: bindings::address_space_operations =
        bindings::address_space_operations {
            writepages: Some(mmap::VTable::<T>::writepages),
            direct_IO: Some(bindings::noop_direct_IO),
            dirty_folio: Some(bindings::noop_dirty_folio),
            ..pin_init::zeroed()
        };

    /// The operations of the inode of a directory.
    const DIRECTORY_INODE_OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(namei::VTable::<T>::lookup),
        create: Some(compat::create_callback::<namei::VTable<T>>()),
        link: Some(namei::VTable::<T>::link),
        unlink: Some(namei::VTable::<T>::unlink),
        symlink: Some(namei::VTable::<T>::symlink),
        mkdir: Some(namei::VTable::<T>::mkdir),
        rmdir: Some(namei::VTable::<T>::unlink),
        mknod: Some(namei::VTable::<T>::mknod),
        rename: Some(rename::VTable::<T>::rename),
        tmpfile: Some(namei::VTable::<T>::tmpfile),
        ..Self::SPECIAL_INODE_OPERATIONS
    };

    /// The operations of a directory.
    const DIRECTORY_FILE_OPERATIONS: bindings::file_operations = bindings::file_operations {
        llseek: Some(bindings::generic_file_llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(readdir::VTable::<T>::iterate),
        unlocked_ioctl: Some(ioctl::VTable::<T>::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        fsync: Some(readdir::VTable::<T>::fsync),
        setlease: Some(bindings::generic_setlease),
        ..pin_init::zeroed()
    };

    /// The operations of a symbolic link.
    const LINK_INODE_OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(bindings::simple_get_link),
        ..Self::ANY_INODE_OPERATIONS
    };

    /// The operations of a special file, which all types but symbolic links share.
    const SPECIAL_INODE_OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        get_inode_acl: Some(acl::VTable::<T>::get),
        set_acl: Some(acl::VTable::<T>::set),
        ..Self::ANY_INODE_OPERATIONS
    };

    const REGULAR: Operations = Operations {
        inode: &Self::REGULAR_INODE_OPERATIONS,
        file: Some(&Self::REGULAR_FILE_OPERATIONS),
        mapping: Some(&Self::ADDRESS_SPACE_OPERATIONS),
    };

    const DIRECTORY: Operations = Operations {
        inode: &Self::DIRECTORY_INODE_OPERATIONS,
        file: Some(&Self::DIRECTORY_FILE_OPERATIONS),
        mapping: None,
    };

    const LINK: Operations = Operations {
        inode: &Self::LINK_INODE_OPERATIONS,
        file: None,
        mapping: None,
    };

    /// The driver of a special file provides its file operations.
    const SPECIAL: Operations = Operations {
        inode: &Self::SPECIAL_INODE_OPERATIONS,
        file: None,
        mapping: None,
    };

    /// Returns the operations of inodes of a type, one of the `S_IF…` numbers.
    pub(super) fn of(format: u32) -> &'static Operations {
        match format {
            bindings::S_IFREG => &Self::REGULAR,
            bindings::S_IFDIR => &Self::DIRECTORY,
            bindings::S_IFLNK => &Self::LINK,
            _ => &Self::SPECIAL,
        }
    }
}
