// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of system calls that no crate wraps.

mod device_number;
pub mod fiemap;
pub mod fsmap;
pub mod handle;
pub mod local_time;
pub mod lookup;
pub mod mapper;
pub mod page_cache;
pub mod xfs;

#[cfg(test)]
mod tests {
    use std::mem;

    use super::fiemap::{Extent, FieMap};
    use super::fsmap::{FsMapQuery, FsMapRecord};
    use super::xfs::{BulkStat, XfsHandle, XfsInode, XfsOpen, XfsVerifyMedia};

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        assert_eq!(mem::size_of::<FsMapRecord>(), 64);
        assert_eq!(mem::offset_of!(FsMapQuery, records), 192);
        assert_eq!(mem::size_of::<Extent>(), 56);
        assert_eq!(mem::offset_of!(FieMap, extents), 32);
        assert_eq!(mem::offset_of!(BulkStat, found), 64);
        assert_eq!(mem::size_of::<XfsInode>(), 192);
        assert_eq!(mem::offset_of!(XfsInode, generation), 64);
        assert_eq!(mem::offset_of!(XfsInode, mode), 132);
        assert_eq!(mem::size_of::<XfsHandle>(), 24);
        assert_eq!(mem::size_of::<XfsOpen>(), 56);
        assert_eq!(mem::size_of::<XfsVerifyMedia>(), 40);
    }
}
