// SPDX-License-Identifier: GPL-2.0

//! Transactions of the journal are read as they were written.

use mendfs::format::{Transaction, UNIT_SIZE};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn transactions_are_read_as_written(
        units in vec((any::<u64>(), any::<[u8; UNIT_SIZE / 2]>()), 0..100),
        room in 0..UNIT_SIZE,
    ) {
        let size = Transaction::size(units.len());
        let mut slot = vec![0xff; size + room];
        let double = |half: &[u8; UNIT_SIZE / 2]| -> [u8; UNIT_SIZE] {
            std::array::from_fn(|at| half[at % half.len()])
        };

        Transaction::set_count(&mut slot, units.len() as u32);
        for (index, (address, half)) in units.iter().enumerate() {
            Transaction::set_unit(&mut slot, units.len(), index, *address, &double(half));
        }

        prop_assert_eq!(Transaction::count(&slot), Some((units.len(), size)));
        prop_assert_eq!(Transaction::count(&slot[..size - 1]), None);
        for (index, (address, half)) in units.iter().enumerate() {
            let (at, unit) = Transaction::unit(&slot, units.len(), index).expect("it is there");

            prop_assert_eq!((at, *unit), (*address, double(half)));
        }
    }
}
