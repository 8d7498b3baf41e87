// SPDX-License-Identifier: GPL-2.0

//! A filesystem cannot get an inode by number: a forgotten guard would keep it in use at unmount.

use core::mem::forget;

use daxmf::fs::{
    FileSystem,
    SuperBlock, //
};

fn repair<T: FileSystem>(super_block: &SuperBlock<T>) {
    forget(super_block.inode(T::ROOT)); //~ E0624 method `inode` is private
    forget(super_block.find(T::ROOT)); //~ E0624 method `find` is private
}
