// SPDX-License-Identifier: GPL-2.0

//! Tests that randomly damaged images are repaired, and that none crashes the check.

use mendfs::check::{self, Checked};
use mfmend::image::{Image, BLOCKS, NOW};
use mfmend::mutation::mutate;
use mfmend::random::Random;

#[test]
fn mutated_images_are_repaired() {
    repair_mutated(10_000);
}

#[test]
#[ignore = "takes minutes"]
fn many_mutated_images_are_repaired() {
    repair_mutated(1_000_000);
}

fn repair_mutated(count: u64) {
    let mut random = Random::new(0);
    let populated = Image::populated();

    let mut lossy = 0;

    for number in 0..count {
        let mut image = populated.clone();

        for _ in 0..=random.below(6) {
            mutate(&mut image, &mut random);
        }
        if random.below(50) == 0 {
            image.media.blocks = random.below(BLOCKS + 10);
        }

        let Ok(Checked { report, repair }) = check::check(&image.media, NOW) else {
            continue;
        };

        lossy += u64::from(report.losses > 0);
        repair.write(&mut image.media).expect("memory is good");
        assert_eq!(
            report.unrepairable, 0,
            "image {number}: {:#?}",
            report.findings
        );

        let again = image.check().report;

        assert!(
            again.findings.is_empty(),
            "image {number}: {:#?} after {:#?}",
            again.findings,
            report.findings
        );
    }
    // If less than a tenth of the images had a loss, the mutations do too little damage.
    assert!(lossy > count / 10, "{lossy}");
}
