// SPDX-License-Identifier: GPL-2.0

//! A filesystem cannot take a reference to an inode that it gets as an argument of a call.

use daxmf::fs::{
    FileSystem,
    Inode, //
};
use kernel::sync::aref::ARef;

fn lookup<T: FileSystem>(directory: &Inode<T>) {
    let _kept = ARef::from(directory); //~ E0277 `Inode<T>: AlwaysRefCounted` is not satisfied
}
