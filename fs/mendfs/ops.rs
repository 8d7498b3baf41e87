// SPDX-License-Identifier: GPL-2.0

//! Operations on files and directories, and growth.

pub(crate) mod allocate;
pub(crate) mod attributes;
pub(crate) mod cow;
pub(crate) mod create;
pub(crate) mod directory;
pub(crate) mod evict;
pub(crate) mod extents;
pub(crate) mod grow;
pub(crate) mod map;
pub(crate) mod read;
pub(crate) mod rename;
pub(crate) mod resize;
pub(crate) mod segments;
pub(crate) mod share;
pub(crate) mod shift;
pub(crate) mod symlink;
pub(crate) mod xattr;
