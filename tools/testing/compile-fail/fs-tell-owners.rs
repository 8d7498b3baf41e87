// SPDX-License-Identifier: GPL-2.0

//! No operation of an inode tells owners: it holds locks that this takes.

use daxmf::fs::{
    FileSystem,
    Inode, //
};

fn map<T: FileSystem>(inode: &Inode<T>) {
    let _super_block = inode.super_block(); //~ E0624 method `super_block` is private
}
