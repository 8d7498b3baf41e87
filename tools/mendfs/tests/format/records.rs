// SPDX-License-Identifier: GPL-2.0

//! Records are read as they were written, and reading arbitrary bytes does not panic.

use mendfs::checksum;
use mendfs::format::{Fault, Header, Magic, Record, Transaction, UNIT_SIZE};
use proptest::collection::vec;
use proptest::prelude::*;

use super::strategies::record;

proptest! {
    #[test]
    fn records_are_read_as_written(record in record(), inode: u64, junk in vec(any::<u8>(), 4096)) {
        let record = record.record();
        let len = record.unit_count() as usize * UNIT_SIZE;
        let mut bytes = junk;

        record.write(inode, &mut bytes[..len]);

        prop_assert_eq!(Record::units(&bytes), Ok(Some(record.unit_count())));
        prop_assert_eq!(Record::units(&bytes[..len - 1]), Err(Fault::Length));
        prop_assert_eq!(Record::read(&bytes[..len]), Ok((inode, record)));
    }

    #[test]
    fn any_bytes_are_read(mut bytes in vec(any::<u8>(), 0..4096), kind in 0..10_u8, units: u8) {
        if let [first, second, ..] = bytes.as_mut_slice() {
            (*first, *second) = (kind, units);
        }

        let units = Record::units(&bytes);
        let len = units.ok().flatten().unwrap_or(0) as usize * UNIT_SIZE;

        let _ = Record::read(&bytes);
        if let Ok((owner, record)) = Record::read(&bytes[..len]) {
            let mut again = vec![0; len];

            record.write(owner, &mut again);
            prop_assert_eq!(Record::read(&again), Ok((owner, record)));
        }
        let _ = Header::open(&bytes, Magic::Metadata, 0, checksum);
        let _ = Transaction::count(&bytes);
        let _ = Transaction::unit(&bytes, usize::MAX, usize::MAX);
        let _ = Transaction::unit(&bytes, 0, usize::MAX / 2);
    }
}

#[test]
fn records_have_one_shape() {
    let record = Record::Target(b"target");
    let mut bytes = [0; 2 * UNIT_SIZE];

    record.write(7, &mut bytes[..UNIT_SIZE]);
    assert_eq!(Record::read(&bytes[..UNIT_SIZE]), Ok((7, record)));
    assert_eq!(Record::read(&bytes), Err(Fault::Length));
    bytes[4] = 0;
    assert_eq!(Record::read(&bytes[..UNIT_SIZE]), Err(Fault::Value));
    bytes[0] = 8;
    assert_eq!(Record::read(&bytes[..UNIT_SIZE]), Err(Fault::Kind));
}
