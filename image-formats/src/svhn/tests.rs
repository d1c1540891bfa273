use std::io::Write;

use flate2::write::ZlibEncoder;

use super::*;
use crate::mutation::{for_each_mutant, make_pipe};

/// Writes MAT-files in either byte order.
#[derive(Clone, Copy)]
struct Writer {
    big: bool,
    compress: bool,
}

impl Writer {
    fn number(self, number: u32) -> [u8; 4] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn element(self, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = if (1..=4).contains(&data.len()) {
            self.number((data.len() as u32) << 16 | kind).to_vec()
        } else {
            [self.number(kind), self.number(data.len() as u32)].concat()
        };
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn array(self, name: &str, dimensions: &[u32], class: u32, storage: u32, data: &[u8]) -> Vec<u8> {
        let flags = [self.number(class), self.number(0)].concat();
        let sizes: Vec<u8> = dimensions.iter().flat_map(|&size| self.number(size)).collect();
        let body = [
            self.element(6, &flags),
            self.element(5, &sizes),
            self.element(1, name.as_bytes()),
            self.element(storage, data),
        ]
        .concat();
        let matrix = self.element(14, &body);
        if !self.compress {
            return matrix;
        }
        let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&matrix).expect("compressed");
        let zlib = zlib.finish().expect("compressed");
        [self.number(15).to_vec(), self.number(zlib.len() as u32).to_vec(), zlib].concat()
    }

    fn file(self, arrays: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".to_vec();
        bytes.resize(124, b' ');
        bytes.extend(if self.big { *b"\x01\x00MI" } else { *b"\x00\x01IM" });
        bytes.extend(arrays.iter().flatten());
        bytes
    }
}

const LITTLE: Writer = Writer { big: false, compress: false };
const SIZE: usize = 3 * 32 * 32;

/// The pixel of an image at channel, row, column: no two of them swapped give the same image.
fn pixel(image: usize, channel: usize, row: usize, column: usize) -> u8 {
    (image * 101 + channel * 53 + row * 7 + column) as u8
}

/// `X` as MATLAB stores it.
fn column_major(images: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for image in 0..images {
        for channel in 0..3 {
            for column in 0..32 {
                bytes.extend((0..32).map(|row| pixel(image, channel, row, column)));
            }
        }
    }
    bytes
}

fn x(writer: Writer, images: u32) -> Vec<u8> {
    writer.array("X", &[32, 32, 3, images], 9, 2, &column_major(images as usize))
}

fn read_file(bytes: &[u8]) -> Result<RawImages, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("test_32x32.mat"), bytes).expect("a file");
    let images = read(folder.path(), Split::Test).map_err(|error| error.to_string())?;
    let header = header(folder.path(), Split::Test).map_err(|error| error.to_string())?;
    assert_eq!(header, images.header());
    Ok(images)
}

#[test]
fn rows_vary_fastest_and_ten_is_zero_in_every_kind_of_file() {
    for (big, compress) in [(false, false), (false, true), (true, false), (true, true)] {
        let writer = Writer { big, compress };
        let doubles: Vec<u8> =
            [10.0f64, 1.0, 9.0].iter().flat_map(|y| if big { y.to_be_bytes() } else { y.to_le_bytes() }).collect();
        let text = writer.array("note", &[1, 2], 4, 16, b"hi");
        let file = writer.file(&[text, x(writer, 3), writer.array("y", &[3, 1], 6, 9, &doubles)]);
        let images = read_file(&file).unwrap_or_else(|error| panic!("big {big}, compressed {compress}: {error}"));
        assert_eq!(images.labels, [0, 1, 9]);
        for (i, &found) in images.pixels.iter().enumerate() {
            let (channel, row, column) = (i % SIZE / 1024, i % 1024 / 32, i % 32);
            assert_eq!(found, pixel(i / SIZE, channel, row, column), "at {i}");
        }
        // Labels before images, as bytes in a small element.
        let file = writer.file(&[writer.array("y", &[3, 1], 9, 2, &[10, 1, 9]), x(writer, 3)]);
        assert_eq!(read_file(&file), Ok(images));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let file = |arrays: &[Vec<u8>]| read_file(&LITTLE.file(arrays)).expect_err("a bad file");
    let y = |digits: &[u8]| LITTLE.array("y", &[digits.len() as u32, 1], 9, 2, digits);

    assert!(file(&[x(LITTLE, 2)]).contains("no variable `y`"));
    assert!(file(&[y(&[1])]).contains("no variable `X`"));
    assert!(file(&[x(LITTLE, 2), y(&[1, 2, 3])]).contains("`X` holds 2 images, `y` 3 digits"));
    assert!(file(&[x(LITTLE, 2), y(&[1, 11])]).contains("variable `y`: number 1 is 11"));
    let grey = LITTLE.array("X", &[32, 32, 1], 9, 2, &[0; 1024]);
    assert!(file(&[grey]).contains("found uint8 [32, 32, 1]"));
    let wide = LITTLE.array("X", &[1, 1, 3], 11, 4, &[0; 6]);
    assert!(file(&[wide]).contains("found uint16 [1, 1, 3]"));
    let mut hdf5 = LITTLE.file(&[]);
    hdf5[..19].copy_from_slice(b"MATLAB 7.3 MAT-file");
    assert!(read_file(&hdf5).expect_err("HDF5").contains("save -v7"));
    assert!(read_file(b"\x89PNG").expect_err("no MAT-file").contains("not a MATLAB file"));
}

#[test]
fn claimed_sizes_are_not_believed() {
    let error = |bytes: &[u8]| read_file(bytes).expect_err("a bad file");
    // Dimensions whose product overflows, or is not what is there.
    let overflow = LITTLE.array("X", &[u32::MAX, u32::MAX, 3, u32::MAX], 9, 2, &[0; 16]);
    assert!(error(&LITTLE.file(&[overflow])).contains("do not fit its 16 bytes"));
    // An element that claims four gigabytes, in the file and in a compressed stream.
    let mut claim = LITTLE.file(&[x(LITTLE, 1)]);
    claim[132..136].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(error(&claim).contains("byte 128: an element of 4,294,967,295 bytes"));
    let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&[LITTLE.number(14), LITTLE.number(u32::MAX)].concat()).expect("compressed");
    let zlib = zlib.finish().expect("compressed");
    let element = [LITTLE.number(15).to_vec(), LITTLE.number(zlib.len() as u32).to_vec(), zlib].concat();
    assert!(error(&LITTLE.file(&[element])).contains("claims to be 4,294,967,295 bytes"));
}

#[test]
fn a_damaged_file_is_an_error_or_the_same_dataset_and_never_a_panic() {
    for compress in [false, true] {
        let writer = Writer { big: false, compress };
        let file = writer.file(&[writer.array("y", &[1, 1], 9, 2, &[1]), x(writer, 1)]);
        for end in (0..file.len()).step_by(if compress { 1 } else { 37 }) {
            assert!(read_file(&file[..end]).is_err(), "cut at {end}");
        }
        let whole = read_file(&file);
        for at in 124..file.len().min(700) {
            let mut changed = file.clone();
            changed[at] ^= 1 << (at % 8);
            let found = read_file(&changed);
            // Compressed data carry a checksum: no change of theirs may pass for other pixels.
            assert!(!compress || found.is_err() || found == whole, "changed at {at}");
        }
    }
}

#[test]
fn compressed_data_unpack_to_a_hundred_times_their_size_at_most() {
    let writer = Writer { big: false, compress: true };
    let images = 20_000;
    let bomb = writer.file(&[writer.array("X", &[32, 32, 3, images], 9, 2, &vec![0; images as usize * SIZE])]);
    assert!(bomb.len() < 400_000);
    let error = read_file(&bomb).expect_err("a bomb");
    assert!(error.contains("compressed data that claims to be 61,44"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_unopened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    make_pipe(&folder.path().join("test_32x32.mat"));
    for path in [folder.path(), &folder.path().join("test_32x32.mat"), Path::new("/dev/zero")] {
        let error = read(path, Split::Test).expect_err("a pipe").to_string();
        assert!(error.contains("it is a device or a pipe, not a file"), "{error}");
    }
}

#[test]
fn mutants_are_read_or_refused() {
    for compress in [false, true] {
        let writer = Writer { big: compress, compress };
        let file = writer.file(&[writer.array("y", &[2, 1], 9, 2, &[1, 10]), x(writer, 2)]);
        for_each_mutant(&file, |bytes| drop(read_file(&bytes)));
    }
    // Damaged before it is compressed, so that no sum tells.
    let [plain, packed] = [false, true].map(|compress| Writer { big: false, compress });
    for_each_mutant(&x(plain, 2)[8..], |body| {
        let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&[&x(plain, 2)[..8], &body].concat()).expect("compressed");
        let zlib = zlib.finish().expect("compressed");
        let element = [packed.number(15).to_vec(), packed.number(zlib.len() as u32).to_vec(), zlib].concat();
        drop(read_file(&packed.file(&[packed.array("y", &[2, 1], 9, 2, &[1, 10]), element])));
    });
}
