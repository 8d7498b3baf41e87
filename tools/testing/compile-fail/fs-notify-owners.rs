// SPDX-License-Identifier: GPL-2.0

//! An inode operation cannot notify owners, because it holds locks that the notification takes.

use daxmf::fs::{
    FileSystem,
    Inode, //
};

fn map<T: FileSystem>(inode: &Inode<T>) {
    let _super_block = inode.super_block(); //~ E0624 method `super_block` is private
}
