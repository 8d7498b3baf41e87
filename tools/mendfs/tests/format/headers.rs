// SPDX-License-Identifier: GPL-2.0

//! Headers of blocks and their checksums.

use mendfs::checksum;
use mendfs::format::{Fault, Header, Magic, LAST_SEQUENCE, UNIT_SIZE};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn headers_are_read_as_written(
        mut bytes in vec(any::<u8>(), UNIT_SIZE..5000),
        (uuid, address) in any::<([u8; 16], u64)>(),
        sequence in 0..=LAST_SEQUENCE,
        flipped in any::<proptest::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let header = Header { magic: Magic::Journal, uuid, address, sequence };
        let other = address.wrapping_add(1);

        header.seal(&mut bytes, checksum);
        prop_assert_eq!(Header::open(&bytes, Magic::Journal, address, checksum), Ok(header));
        prop_assert_eq!(
            Header::open(&bytes, Magic::Super, address, checksum),
            Err(Fault::Foreign)
        );
        prop_assert_eq!(
            Header::open(&bytes, Magic::Journal, other, checksum),
            Err(Fault::Address)
        );

        let mut late = bytes.clone();
        let sequence = LAST_SEQUENCE + 1;

        Header { sequence, ..header }.seal(&mut late, checksum);
        prop_assert_eq!(
            Header::open(&late, Magic::Journal, address, checksum),
            Err(Fault::Value)
        );

        let at = flipped.index(bytes.len());

        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Header::open(&bytes, Magic::Journal, address, checksum).is_err());
    }
}

#[test]
fn checksum_is_crc32c() {
    assert_eq!(checksum(b"123456789"), 0xe306_9283);
}
