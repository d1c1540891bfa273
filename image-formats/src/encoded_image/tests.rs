//! The fixtures were written by Pillow 13 (libjpeg-turbo 3.2): `colours.jpg` has 4:2:0 chroma and sides that are no
//! multiples of its blocks; each `.png` holds the pixels that Pillow gives for the `.jpg` of its name.

use super::*;
use crate::mutation::for_each_mutant;

const COLOURS: &[u8] = include_bytes!("../../tests/fixtures/colours.jpg");
const COLOURS_IN_PILLOW: &[u8] = include_bytes!("../../tests/fixtures/colours.png");
const GREY: &[u8] = include_bytes!("../../tests/fixtures/grey.jpg");
const GREY_IN_PILLOW: &[u8] = include_bytes!("../../tests/fixtures/grey.png");
const COLOURS_GREY_IN_PILLOW: &[u8] = include_bytes!("../../tests/fixtures/colours_grey.png");
const TURNED: &[u8] = include_bytes!("../../tests/fixtures/turned_6.jpg");
const TURNED_IN_PILLOW: &[u8] = include_bytes!("../../tests/fixtures/turned_6.png");
const CMYK: &[u8] = include_bytes!("../../tests/fixtures/cmyk.jpg");

/// What is asked of images that keep their size.
fn wanted(channels: Option<usize>, exif: Exif) -> Wanted {
    Wanted { channels, resizing: Resizing::default(), exif }
}

fn planes(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let layout = Layout::of(encoded, wanted(Some(3), Exif::Applied)).map_err(|error| error.to_string())?;
    decoded(encoded, &layout)
}

fn decoded(encoded: &[u8], layout: &Layout) -> Result<Vec<u8>, String> {
    let mut planes = vec![0; layout.size()];
    layout.decode(encoded, &mut planes).map_err(|error| error.to_string())?;
    Ok(planes)
}

fn layout(height: usize, width: usize) -> Layout {
    Layout { channels: 3, height, width, resizing: Resizing::default(), converts: true, exif: Exif::Applied }
}

#[test]
fn jpegs_have_the_pixels_that_pillow_gives() {
    assert_eq!(Layout::of(COLOURS, wanted(Some(3), Exif::Applied)), Ok(layout(21, 19)));
    for (jpeg, in_pillow) in [(COLOURS, COLOURS_IN_PILLOW), (GREY, GREY_IN_PILLOW)] {
        assert_eq!(planes(jpeg).expect("a JPEG"), planes(in_pillow).expect("a PNG"));
    }
}

/// `turned_6.jpg` is `colours.jpg` with a note to turn it by 90°, `turned_6.png` the pixels of `ImageOps.exif_transpose`.
#[test]
fn images_are_turned_as_pillow_turns_them() {
    let turned = Layout::of(TURNED, wanted(None, Exif::Applied)).expect("a JPEG");
    assert_eq!((turned.height, turned.width), (19, 21));
    assert_eq!(decoded(TURNED, &turned), planes(TURNED_IN_PILLOW));
    let ignored = Layout::of(TURNED, wanted(None, Exif::Ignored)).expect("a JPEG");
    assert_eq!(decoded(TURNED, &ignored), planes(COLOURS));
    // Every orientation, big-endian and little-endian, in both formats: the places of the corners tell.
    for (orientation, expected) in [
        (1, [1, 2, 3, 4]),
        (2, [2, 1, 4, 3]),
        (3, [4, 3, 2, 1]),
        (4, [3, 4, 1, 2]),
        (5, [1, 3, 2, 4]),
        (6, [3, 1, 4, 2]),
        (7, [4, 2, 3, 1]),
        (8, [2, 4, 1, 3]),
        (0, [1, 2, 3, 4]),
        (9, [1, 2, 3, 4]),
    ] {
        let exif = [&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation, 0, 0, 0, 0, 0, 0]].concat();
        let mut png = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
        image::ImageEncoder::set_exif_metadata(&mut encoder, exif).expect("a PNG has them");
        let corners = [1, 2, 3, 4];
        image::ImageEncoder::write_image(encoder, &corners, 2, 2, image::ExtendedColorType::L8).expect("a PNG");
        let layout = Layout::of(&png, wanted(None, Exif::Applied)).expect("a PNG");
        assert_eq!(decoded(&png, &layout), Ok(expected.to_vec()), "orientation {orientation}");
    }
}

#[test]
fn grey_images_stay_grey_unless_they_are_wanted_otherwise() {
    let grey = Layout::of(GREY, wanted(None, Exif::Applied)).expect("a JPEG");
    assert_eq!(grey.channels, 1);
    let stored = decoded(GREY, &grey).expect("a JPEG");
    assert_eq!(planes(GREY), Ok(stored.repeat(3)));
    // Colours are lost only where that was asked for, and then as Pillow's `convert("L")` does it.
    let other = Layout { height: 21, width: 19, ..grey };
    let error = decoded(COLOURS, &other).expect_err("colours");
    assert!(error.contains("the image has colours, but the first one is grey"), "{error}");
    let grey = Layout::of(COLOURS, wanted(Some(1), Exif::Applied)).expect("a JPEG");
    assert_eq!(decoded(COLOURS, &grey), planes(COLOURS_GREY_IN_PILLOW).map(|planes| planes[..21 * 19].to_vec()));
}

/// The image is turned first, and becomes grey first.
#[test]
fn images_are_resized_as_they_are_seen() {
    let resizing = Resizing { resize: Some(16), center_crop: Some(12) };
    for channels in [Some(1), Some(3)] {
        let of = |encoded, exif| {
            let layout = Layout::of(encoded, Wanted { resizing, ..wanted(channels, exif) }).expect("an image");
            assert_eq!((layout.height, layout.width), (12, 12));
            decoded(encoded, &layout)
        };
        assert_eq!(of(TURNED, Exif::Applied), of(TURNED_IN_PILLOW, Exif::Applied));
        assert_ne!(of(TURNED, Exif::Applied), of(COLOURS, Exif::Applied));
        let stored = decoded(COLOURS, &Layout::of(COLOURS, wanted(channels, Exif::Ignored)).expect("a JPEG"));
        let mut expected = vec![0; channels.unwrap_or(0) * 144];
        resizing.apply(&stored.expect("a JPEG"), channels.unwrap_or(0), (21, 19), &mut expected).expect("an image");
        assert_eq!(of(COLOURS, Exif::Ignored), Ok(expected));
    }
    // What is to become smaller may be larger than what is not.
    let mut wide = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut wide);
    image::ImageEncoder::write_image(encoder, &[7; 5000], 5000, 1, image::ExtendedColorType::L8).expect("a PNG");
    let error = Layout::of(&wide, wanted(None, Exif::Applied)).expect_err("5000 pixels");
    assert!(error.help().is_some_and(|help| help.contains("with `resize` in the dataset")), "{error}");
    let resizing = Resizing { resize: Some(1), center_crop: Some(1) };
    let layout = Layout::of(&wide, Wanted { resizing, ..wanted(None, Exif::Applied) }).expect("a PNG");
    assert_eq!(decoded(&wide, &layout), Ok(vec![7]));
}

#[test]
fn a_jpeg_that_breaks_off_anywhere_is_an_error() {
    for length in 3..COLOURS.len() - 2 {
        let error = planes(&COLOURS[..length]).expect_err("a JPEG that breaks off");
        assert!(error.contains("the image cannot be decoded: "), "{length} bytes: {error}");
    }
}

#[test]
fn a_jpeg_in_other_colours_is_refused() {
    let error = planes(CMYK).expect_err("CMYK");
    assert!(error.contains("the JPEG has 4 colour components, that is CMYK, of 8 bits; only grey and RGB"), "{error}");
}

#[test]
fn a_jpeg_that_claims_to_be_huge_is_refused() {
    let mut huge = COLOURS.to_vec();
    let frame = huge.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a frame");
    huge[frame + 5..frame + 9].fill(0xff);
    let error = planes(&huge).expect_err("too large");
    assert!(error.contains("the image is 65535×65535; each side must be from 1 to 4096 pixels"), "{error}");
    let error = layout(21, 19).decode(&huge, &mut []).expect_err("too large").to_string();
    assert!(error.contains("the image is 65535×65535, but the first one is 19×21"), "{error}");
}

#[test]
fn an_image_with_more_pixels_than_its_bytes_can_hold_is_refused() {
    let mut large = COLOURS.to_vec();
    let frame = large.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a frame");
    large[frame + 5..frame + 9].copy_from_slice(&[0x10, 0, 0x10, 0]);
    let error = planes(&large).expect_err("too large");
    assert_eq!(error, format!("the image claims to be 4096×4096 in {} bytes", large.len()));
    let error = layout(4096, 4096).decode(&large, &mut []).expect_err("too large").to_string();
    assert!(error.contains("claims to be 4096×4096"), "{error}");
}

#[test]
fn mutants_are_decoded_or_refused() {
    for image in [COLOURS, COLOURS_IN_PILLOW, GREY, GREY_IN_PILLOW, CMYK] {
        for_each_mutant(image, |bytes| {
            for channels in [None, Some(1), Some(3)] {
                if let Ok(layout) = Layout::of(&bytes, wanted(channels, Exif::Applied)) {
                    drop(decoded(&bytes, &layout));
                }
            }
        });
    }
}
