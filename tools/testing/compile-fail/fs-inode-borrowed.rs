// SPDX-License-Identifier: GPL-2.0

//! A filesystem cannot keep an inode or a superblock after the call that it gets them in.

use daxmf::fs::{
    FileSystem,
    Inode,
    SuperBlock, //
};
use kernel::sync::Mutex;

type Kept<T> = Mutex<Option<&'static T>>;

fn lookup<T: FileSystem>(kept: &Kept<Inode<T>>, directory: &Inode<T>) {
    *kept.lock() = Some(directory); //~ E0521 borrowed data escapes outside of function
}

fn repair<T: FileSystem>(kept: &Kept<SuperBlock<T>>, super_block: &SuperBlock<T>) {
    *kept.lock() = Some(super_block); //~ E0521 borrowed data escapes outside of function
}
