//! The numbers were made by Pillow, by `Image.resize(…, BILINEAR)` and `Image.crop` at the places that torchvision computes: 11.3 and 13.0
//! give the same.

use super::{ResizeError, Resizing};

/// Pixels that no interpolation makes smooth.
fn plane(height: usize, width: usize) -> Vec<u8> {
    let pixel = |y: usize, x: usize| ((x * x * 7 + y * 31 + x * y * 13) % 256) as u8;
    (0..height).flat_map(|y| (0..width).map(move |x| pixel(y, x))).collect()
}

fn applied(resizing: Resizing, (height, width): (usize, usize)) -> ((usize, usize), Vec<u8>) {
    let size = resizing.size(height, width).expect("a size");
    let mut out = vec![0; size.0 * size.1];
    resizing.apply(&plane(height, width), 1, (height, width), &mut out).expect("an image");
    (size, out)
}

fn resized(size: (usize, usize), short: usize) -> ((usize, usize), Vec<u8>) {
    applied(Resizing { resize: Some(short), center_crop: None }, size)
}

fn cropped(size: (usize, usize), crop: usize) -> Vec<u8> {
    applied(Resizing { resize: None, center_crop: Some(crop) }, size).1
}

#[test]
fn the_shorter_side_is_resized_as_pillow_does() {
    let smaller = [
        25, 69, 123, 154, 138, 136, 86, 133, 103, 139, 145, 175, 142, 93, 114, 117, 144, 135, 139, 123, 127, 122, 141,
        143,
    ];
    assert_eq!(resized((7, 11), 4), ((4, 6), smaller.to_vec()));
    assert_eq!(resized((11, 7), 3), ((4, 3), vec![57, 109, 129, 127, 107, 120, 135, 124, 139, 120, 133, 111]));
    assert_eq!(resized((40, 30), 2), ((2, 2), vec![128, 131, 128, 130]));
    let larger = [
        0, 2, 5, 12, 23, 37, 54, 75, 100, 112, 8, 11, 15, 24, 37, 52, 71, 94, 120, 133, 23, 28, 36, 48, 64, 82, 104,
        131, 160, 174, 39, 45, 56, 72, 90, 112, 138, 151, 152, 152, 54, 62, 77, 95, 117, 142, 171, 156, 95, 65, 62, 70,
        87, 107, 130, 157, 188, 158, 67, 22,
    ];
    assert_eq!(resized((3, 5), 6), ((6, 10), larger.to_vec()));
    assert_eq!(resized((6, 9), 6), ((6, 9), plane(6, 9)));
}

#[test]
fn a_photograph_becomes_what_networks_for_imagenet_are_measured_on() {
    // A sum in which each pixel has another weight than those around it.
    let sum =
        |pixels: &[u8]| pixels.iter().enumerate().map(|(i, pixel)| (i as u64 % 251 + 1) * u64::from(*pixel)).sum();
    for (size, short, expected, first) in
        [((375, 500), 256, 814_595_377_u64, [120, 176, 171, 109]), ((50, 37), 224, 803_654_502, [187, 187, 187, 174])]
    {
        let (found, pixels) = applied(Resizing { resize: Some(short), center_crop: Some(224) }, size);
        assert_eq!((found, &pixels[..4], sum(&pixels)), ((224, 224), &first[..], expected), "{size:?}");
    }
}

#[test]
fn the_middle_is_where_torchvision_has_it() {
    // Of 3 pixels too many 2 are before it, of 5 also.
    assert_eq!(cropped((7, 9), 4), [142, 203, 22, 111, 199, 17, 105, 207, 0, 87, 188, 47, 57, 157, 15, 143]);
    assert_eq!(cropped((5, 6), 3), [85, 133, 195, 142, 203, 22, 199, 17, 105]);
    assert_eq!(cropped((9, 4), 2), [183, 0, 227, 57]);
}

#[test]
fn each_channel_is_resized_on_its_own() {
    let (resizing, size) = (Resizing { resize: Some(2), center_crop: Some(2) }, (40, 30));
    let planes = [plane(40, 30), vec![9; 1200], plane(40, 30)].concat();
    let mut out = [0; 12];
    resizing.apply(&planes, 3, size, &mut out).expect("an image");
    assert_eq!(out, [128, 131, 128, 130, 9, 9, 9, 9, 128, 131, 128, 130]);
}

#[test]
fn what_has_no_size_is_refused() {
    let of = |resize, center_crop| Resizing { resize, center_crop };
    let error = of(None, Some(5)).size(4, 9).expect_err("too small");
    assert_eq!(error, ResizeError::CropTooLarge { crop: 5, height: 4, width: 9 });
    assert_eq!(of(Some(5), Some(5)).size(4, 9), Ok((5, 5)));
    let error = of(Some(4096), Some(224)).size(1, 4096).expect_err("too long");
    assert_eq!(error, ResizeError::TooLong { height: 4096, width: 4096 * 4096 });
}
