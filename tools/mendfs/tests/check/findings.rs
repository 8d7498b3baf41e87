// SPDX-License-Identifier: GPL-2.0

//! What a check says of an image that was damaged in a known way.

use mendfs::report::Class;
use mfmend::image::Image;

/// Damages a populated image, checks that exactly the findings `expected` come, and that the image
/// is clean once it is repaired.
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
        assert!(what.contains(expected), "\"{what}\", not \"{expected}\"");
    }
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    image
}
