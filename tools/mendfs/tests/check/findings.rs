// SPDX-License-Identifier: GPL-2.0

//! Compares the findings in a damaged image with the expected ones.

use mendfs::report::Class;
use mfmend::image::Image;

/// Damages a populated image, and checks that fsck finds exactly `expected`, in this order, and
/// that the image is clean after the repair. Each string must be part of the finding. Returns the
/// repaired image.
pub fn found(damage: impl FnOnce(&mut Image), expected: &[(Class, &str)]) -> Image {
    let mut image = Image::populated();

    image.expect_clean();
    damage(&mut image);

    let report = image.repair();
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.class, finding.to_string()))
        .collect();

    for ((class, what), (expected_class, expected)) in findings.iter().zip(expected) {
        assert_eq!(class, expected_class, "{what}");
        assert!(
            what.contains(expected),
            "\"{what}\" instead of \"{expected}\""
        );
    }
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    image
}
