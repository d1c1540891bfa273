use image::{DynamicImage, GrayImage, ImageFormat, Luma};

use super::*;

const AS_THEY_ARE: Resizing = Resizing { resize: None, center_crop: None };

fn grey_png(mark: u8, width: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = DynamicImage::ImageLuma8(GrayImage::from_pixel(width, 2, Luma([mark])));
    image.write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        std::fs::write(file, bytes).expect("a file");
    }
    folder
}

fn error(files: &[(&str, Vec<u8>)], split: Split) -> String {
    read(folder(files).path(), split, None, AS_THEY_ARE).expect_err("no dataset").to_string()
}

#[test]
fn classes_are_the_sorted_folders_and_files_come_in_the_order_of_their_names() {
    let folder = folder(&[
        ("dog/b.PNG", grey_png(4, 3)),
        ("dog/a.png", grey_png(3, 3)),
        ("cat/more/9.png", grey_png(2, 3)),
        ("cat/1.png", grey_png(1, 3)),
        ("cat/notes.txt", Vec::new()),
        (".cache/5.png", Vec::new()),
        ("readme.md", Vec::new()),
    ]);
    let images = read(folder.path(), Split::Train, None, AS_THEY_ARE).expect("a dataset");
    assert_eq!((images.channels, images.height, images.width, images.classes), (1, 2, 3, 2));
    assert_eq!(images.labels, [0, 0, 1, 1]);
    assert_eq!(images.pixels, [[1; 6], [2; 6], [3; 6], [4; 6]].concat());
    assert_eq!(header(folder.path(), Split::Train, None, AS_THEY_ARE), Ok(images.header()));
    let rgb = read(folder.path(), Split::Train, Some(3), AS_THEY_ARE).expect("a dataset");
    assert_eq!((rgb.channels, rgb.pixels.len()), (3, 4 * 18));
}

#[test]
fn a_split_without_a_class_keeps_the_numbers_of_the_others() {
    let all = ["train/ant/1.png", "train/bee/1.png", "train/cat/1.png", "val/cat/1.png", "val/ant/1.png"];
    let folder = folder(&all.map(|name| (name, grey_png(1, 3))));
    for split in [Split::Validation, Split::Test] {
        let images = read(folder.path(), split, None, AS_THEY_ARE).expect("a dataset");
        assert_eq!((images.labels, images.classes), (vec![0, 2], 3));
        assert_eq!(super::folder(folder.path(), split), Ok(folder.path().join("val")));
    }
    // A folder of classes is taken as it is.
    let images = read(&folder.path().join("val"), Split::Train, None, AS_THEY_ARE).expect("a dataset");
    assert_eq!((images.labels, images.classes), (vec![0, 1], 2));
}

#[test]
fn a_class_may_be_called_like_a_split() {
    let classes = folder(&["bus/1.png", "train/1.png", "val/1.png"].map(|name| (name, grey_png(1, 3))));
    for split in [Split::Train, Split::Test] {
        let images = read(classes.path(), split, None, AS_THEY_ARE).expect("a dataset");
        assert_eq!((images.labels, images.classes), (vec![0, 1, 2], 3));
    }
    // What else lies beside splits is no class.
    let splits = folder(&["train/ant/1.png", "masks/1.png", "val/ant/1.png"].map(|name| (name, grey_png(1, 3))));
    let images = read(splits.path(), Split::Test, None, AS_THEY_ARE).expect("a dataset");
    assert_eq!((images.labels, images.classes), (vec![0], 1));
}

#[test]
fn images_of_all_sizes_become_one() {
    let folder = folder(&[("cat/1.png", grey_png(1, 3)), ("cat/2.png", grey_png(2, 5)), ("dog/1.png", grey_png(3, 2))]);
    let of = |resize, center_crop| {
        let resizing = Resizing { resize, center_crop };
        let found = read(folder.path(), Split::Test, None, resizing);
        assert_eq!(header(folder.path(), Split::Test, None, resizing), found.clone().map(|it| it.header()));
        found
    };
    let images = of(Some(4), Some(4)).expect("a dataset");
    assert_eq!((images.channels, images.height, images.width), (1, 4, 4));
    assert_eq!(images.pixels, [[1; 16], [2; 16], [3; 16]].concat());
    // Each way out that is told leads further.
    let error = of(None, None).expect_err("three sizes");
    assert!(error.message().contains("cat/2.png: the image is 5×2, but the first one is 3×2"), "{error}");
    assert!(
        error.help().is_some_and(|help| help.starts_with("`resize: 2, center_crop: 2` makes all of them 2×2")),
        "{error}"
    );
    assert!(of(Some(2), Some(2)).is_ok());
    let error = of(Some(4), None).expect_err("three forms");
    assert!(error.message().contains("cat/2.png: the image becomes 10×4, but the first one becomes 6×4"), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("with `center_crop: 4` behind it")), "{error}");
    let error = of(None, Some(3)).expect_err("too small");
    assert!(
        error.message().contains("cat/1.png: there are no 3×3 pixels for `center_crop` in an image of 3×2"),
        "{error}"
    );
    assert!(error.help().is_some_and(|help| help.contains("with `resize: 3` before it")), "{error}");
    assert!(of(Some(3), Some(3)).is_ok());
}

#[test]
fn other_sizes_are_found_without_looking_at_all_images() {
    let names: Vec<String> = (0..500).map(|i| format!("cat/{i:03}.png")).collect();
    let (small, large) = (grey_png(1, 3), grey_png(1, 4));
    let files: Vec<_> =
        names.iter().enumerate().map(|(i, name)| (&**name, if i < 400 { &small } else { &large }.clone())).collect();
    let error = header(folder(&files).path(), Split::Test, None, AS_THEY_ARE).expect_err("two sizes").to_string();
    assert!(error.contains("the image is 4×2, but the first one is 3×2"), "{error}");
}

#[test]
fn what_is_wrong_is_named() {
    let png = || grey_png(1, 3);
    for (files, split, expected) in [
        (
            vec![("cat/1.png", png()), ("dog/1.png", grey_png(1, 4))],
            Split::Test,
            "dog/1.png: the image is 4×2, but the first one is 3×2",
        ),
        (
            vec![("cat/1.png", png()), ("cat/2.webp", png())],
            Split::Test,
            "cat/2.webp: 1 images of a format that is not read",
        ),
        (vec![("1.png", png())], Split::Test, "no folder of a class with PNGs or JPEGs"),
        (
            vec![("train/cat/1.png", png())],
            Split::Test,
            "there is no folder test or val or valid or validation, only train",
        ),
        (vec![("cat/1.png", png()[..40].to_vec())], Split::Test, "cat/1.png: the image cannot be decoded"),
        (
            vec![("cat/1.png", b"RIFF".to_vec())],
            Split::Test,
            "cat/1.png: neither PNG nor JPEG: 4 bytes that begin with 52 49",
        ),
    ] {
        let error = error(&files, split);
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_end() {
    let folder = folder(&[("cat/1.png", grey_png(1, 3))]);
    std::os::unix::fs::symlink(folder.path().join("cat"), folder.path().join("cat/again")).expect("a link");
    let error = read(folder.path(), Split::Test, None, AS_THEY_ARE).expect_err("a circle").to_string();
    assert!(error.contains("cat/again: a link leads to a folder that is part of the class already"), "{error}");
}
