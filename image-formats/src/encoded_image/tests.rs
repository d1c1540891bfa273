//! The fixtures were written by Pillow 13 (libjpeg-turbo 3.2): `colours.jpg` has 4:2:0 chroma and sides that are no
//! multiples of its blocks; each `.png` holds the pixels that Pillow gives for the `.jpg` of its name.

use super::*;
use crate::mutation::for_each_mutant;

const COLOURS: &[u8] = include_bytes!("../../tests/fixtures/colours.jpg");
const COLOURS_IN_PILLOW: &[u8] = include_bytes!("../../tests/fixtures/colours.png");
const GREY: &[u8] = include_bytes!("../../tests/fixtures/grey.jpg");
const GREY_IN_PILLOW: &[u8] = include_bytes!("../../tests/fixtures/grey.png");
const CMYK: &[u8] = include_bytes!("../../tests/fixtures/cmyk.jpg");

fn planes(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let (height, width) = dimensions(encoded).map_err(|error| error.to_string())?;
    let mut planes = vec![0; 3 * height * width];
    decode(encoded, height, width, &mut planes).map_err(|error| error.to_string())?;
    Ok(planes)
}

#[test]
fn jpegs_have_the_pixels_that_pillow_gives() {
    assert_eq!(dimensions(COLOURS), Ok((21, 19)));
    for (jpeg, in_pillow) in [(COLOURS, COLOURS_IN_PILLOW), (GREY, GREY_IN_PILLOW)] {
        assert_eq!(planes(jpeg).expect("a JPEG"), planes(in_pillow).expect("a PNG"));
    }
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
    let error = decode(&huge, 21, 19, &mut []).expect_err("too large").to_string();
    assert!(error.contains("the image is 65535×65535, but the first one is 19×21"), "{error}");
}

#[test]
fn an_image_with_more_pixels_than_its_bytes_can_hold_is_refused() {
    let mut large = COLOURS.to_vec();
    let frame = large.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a frame");
    large[frame + 5..frame + 9].copy_from_slice(&[0x10, 0, 0x10, 0]);
    let error = planes(&large).expect_err("too large");
    assert_eq!(error, format!("the image claims to be 4096×4096 in {} bytes", large.len()));
    let error = decode(&large, 4096, 4096, &mut []).expect_err("too large").to_string();
    assert!(error.contains("claims to be 4096×4096"), "{error}");
}

#[test]
fn mutants_are_decoded_or_refused() {
    for image in [COLOURS, COLOURS_IN_PILLOW, GREY, GREY_IN_PILLOW, CMYK] {
        for_each_mutant(image, |bytes| {
            if let Ok((height, width)) = dimensions(&bytes) {
                drop(decode(&bytes, height, width, &mut vec![0; 3 * height * width]));
            }
        });
    }
}
