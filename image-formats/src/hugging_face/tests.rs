use std::sync::Arc;

use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;
use crate::mutation::{for_each_mutant, make_pipe};

const SCHEMA: &str = "message m {
    optional group image { optional binary bytes; optional binary path (utf8); }
    optional int64 label;
}";

const NAMES: &str = r#"{"info": {"features": {"image": {"_type": "Image"},
    "label": {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}}}}"#;

type Row = (Option<Vec<u8>>, Option<i64>);

/// A Parquet file of one or more row groups.
struct Writer {
    schema: &'static str,
    metadata: Option<&'static str>,
    statistics: bool,
    compression: Compression,
}

const PLAIN: Writer =
    Writer { schema: SCHEMA, metadata: None, statistics: true, compression: Compression::UNCOMPRESSED };

impl Writer {
    fn bytes(&self, groups: &[&[Row]]) -> Vec<u8> {
        let metadata = self.metadata.map(|json| vec![KeyValue::new("huggingface".to_owned(), json.to_owned())]);
        let statistics = if self.statistics { EnabledStatistics::Chunk } else { EnabledStatistics::None };
        let properties = WriterProperties::builder()
            .set_key_value_metadata(metadata)
            .set_statistics_enabled(statistics)
            .set_compression(self.compression)
            .build();
        let schema = Arc::new(parse_message_type(self.schema).expect("a schema"));
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).expect("a writer");
        for rows in groups {
            let mut group = writer.next_row_group().expect("a group");
            while let Some(mut column) = group.next_column().expect("a column") {
                match column.untyped() {
                    parquet::column::writer::ColumnWriter::ByteArrayColumnWriter(_) => {
                        let images: Vec<ByteArray> =
                            rows.iter().filter_map(|row| row.0.clone()).map(ByteArray::from).collect();
                        let levels: Vec<i16> = rows.iter().map(|row| if row.0.is_some() { 2 } else { 1 }).collect();
                        column.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).expect("images");
                    }
                    parquet::column::writer::ColumnWriter::Int64ColumnWriter(_) => {
                        let labels: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
                        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.1.is_some())).collect();
                        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).expect("labels");
                    }
                    parquet::column::writer::ColumnWriter::Int32ColumnWriter(_) => {
                        let labels: Vec<i32> = rows.iter().filter_map(|row| row.1).map(|label| label as i32).collect();
                        column.typed::<Int32Type>().write_batch(&labels, None, None).expect("labels");
                    }
                    _ => panic!("the tests write no such column"),
                }
                column.close().expect("a column");
            }
            group.close().expect("a group");
        }
        writer.into_inner().expect("a file")
    }

    fn read(&self, groups: &[&[Row]]) -> Result<RawImages, String> {
        read_bytes(&self.bytes(groups))
    }
}

fn read_bytes(bytes: &[u8]) -> Result<RawImages, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a file");
    let _ = header(file.path(), &Selection::of("test"));
    read(file.path(), &Selection::of("test")).map_err(|error| error.to_string())
}

/// An image whose pixels tell their channel, row and column.
fn picture(height: u32, width: u32, mark: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([mark, (10 * y) as u8, (100 + 10 * x) as u8]))
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).expect("an encoded image");
    bytes.into_inner()
}

fn png(mark: u8) -> Option<Vec<u8>> {
    Some(encoded(picture(2, 3, mark), ImageFormat::Png))
}

/// What `png` holds.
fn planes(mark: u8) -> Vec<u8> {
    let green = [0, 0, 0, 10, 10, 10];
    let blue = [100, 110, 120, 100, 110, 120];
    [[mark; 6], green, blue].concat()
}

#[test]
fn rows_of_all_groups_and_shards_in_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, groups: &[&[Row]]| {
        let bytes = Writer { metadata: Some(NAMES), ..PLAIN }.bytes(groups);
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    };
    write("test-00000-of-00002.parquet", &[&[(png(1), Some(2)), (png(2), Some(0))], &[(png(3), Some(1))]]);
    write("test-00001-of-00002.parquet", &[&[(png(4), Some(1))]]);
    let images = read(folder.path(), &Selection::of("test")).expect("a dataset");
    assert_eq!(images.labels, [2, 0, 1, 1]);
    assert_eq!(images.pixels, [planes(1), planes(2), planes(3), planes(4)].concat());
    assert_eq!((images.channels, images.height, images.width), (3, 2, 3));
    assert_eq!(images.classes, 3);
    assert_eq!(header(folder.path(), &Selection::of("test")), Ok(images.header()));
}

#[test]
fn shards_that_name_their_classes_otherwise_are_refused() {
    const OTHERS: &str = r#"{"info": {"features": {"label": {"names": ["dog", "cat", "owl"]}}}}"#;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, metadata) in [("test-00000-of-00002.parquet", NAMES), ("test-00001-of-00002.parquet", OTHERS)] {
        let bytes = Writer { metadata: Some(metadata), ..PLAIN }.bytes(&[&[(png(1), Some(2))]]);
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    }
    let error = read(folder.path(), &Selection::of("test")).expect_err("other names").to_string();
    assert!(error.contains("test-00001-of-00002.parquet: its class names are not those of"), "{error}");
}

#[test]
fn without_names_that_can_be_read_the_largest_label_counts_with_and_without_statistics() {
    let schemas = [SCHEMA, "message m { optional group img { optional binary bytes; } required int32 fine_label; }"];
    let metadata = [
        None,
        Some("names: cat, dog"),
        Some(r#"{"info": {"features": {"label": {"names": [1, 2]}, "fine_label": {"names": "cat"}}}}"#),
    ];
    for (schema, metadata) in schemas.into_iter().flat_map(|schema| metadata.map(|metadata| (schema, metadata))) {
        for statistics in [true, false] {
            let writer = Writer { schema, statistics, metadata, ..PLAIN };
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), writer.bytes(&[&[(png(1), Some(6))], &[(png(1), Some(3))]])).expect("a file");
            let images = read(file.path(), &Selection::of("test")).expect("a dataset");
            assert_eq!(images.classes, 7);
            assert_eq!(header(file.path(), &Selection::of("test")), Ok(images.header()));
        }
    }
}

#[test]
fn grey_images_among_coloured_ones_become_rgb_and_a_grey_set_stays_grey() {
    let grey = || Some(encoded(GrayImage::from_fn(19, 21, |x, y| image::Luma([(x + 3 * y) as u8])), ImageFormat::Png));
    let jpeg = || Some(include_bytes!("../../tests/fixtures/colours.jpg").to_vec());
    let size = 3 * 21 * 19;
    let ramp: Vec<u8> = (0..21).flat_map(|y| (0..19).map(move |x| x + 3 * y)).collect();
    let coloured = PLAIN.read(&[&[(jpeg(), Some(0)), (grey(), Some(1))]]).expect("a dataset");
    let layout = Layout::of(
        &jpeg().expect("a JPEG"),
        Wanted { channels: None, resizing: Resizing::default(), exif: Exif::Applied },
    )
    .expect("a JPEG");
    let mut planes = vec![0; size];
    layout.decode(&jpeg().expect("a JPEG"), &mut planes).expect("a JPEG");
    assert_eq!((coloured.channels, &coloured.pixels), (3, &[planes, ramp.repeat(3)].concat()));
    let rows: &[Row] = &[(grey(), Some(0)), (grey(), Some(1))];
    let grey_set = PLAIN.read(&[rows]).expect("a dataset");
    assert_eq!((grey_set.channels, grey_set.pixels), (1, ramp.repeat(2)));
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), PLAIN.bytes(&[rows])).expect("a file");
    let wanted = Selection { channels: Some(3), ..Selection::of("test") };
    let rgb = read(file.path(), &wanted).expect("a dataset");
    assert_eq!((rgb.channels, &rgb.pixels), (3, &ramp.repeat(6)));
    assert_eq!(header(file.path(), &wanted), Ok(rgb.header()));
    let mixed = PLAIN.read(&[&[(grey(), Some(0)), (jpeg(), Some(1))]]).expect_err("colours among grey");
    assert!(mixed.contains("row 1: the image has colours, but the first one is grey; with `channels: 3`"), "{mixed}");
}

#[test]
fn a_split_need_not_have_an_image_of_each_class() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let classes = |metadata, classes| {
        std::fs::write(file.path(), Writer { metadata, ..PLAIN }.bytes(&[&[(png(1), Some(1))]])).expect("a file");
        let selection = Selection { classes, ..Selection::of("test") };
        let found = read(file.path(), &selection).map_err(|error| error.to_string());
        assert_eq!(
            header(file.path(), &selection).map_err(|error| error.to_string()),
            found.clone().map(|it| it.header())
        );
        found.map(|images| images.classes)
    };
    assert_eq!([classes(None, None), classes(Some(NAMES), None), classes(None, Some(10))], [Ok(2), Ok(3), Ok(10)]);
    let few = classes(None, Some(1)).expect_err("too few");
    assert!(few.contains("1 classes are too few: a label is 1"), "{few}");
}

#[test]
fn images_alone_need_no_labels() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let wanted = Selection { labelled: false, ..Selection::of("test") };
    let without = Writer { schema: "message m { optional group image { optional binary bytes; } }", ..PLAIN };
    // Nor are those looked at that there are, hidden or missing.
    for (writer, labels) in [(without, [None, None]), (PLAIN, [Some(-1), None])] {
        std::fs::write(file.path(), writer.bytes(&[&[(png(1), labels[0])], &[(png(2), labels[1])]])).expect("a file");
        let images = read(file.path(), &wanted).expect("images");
        assert_eq!(images.pixels, [planes(1), planes(2)].concat());
        assert_eq!((&images.labels[..], images.classes), (&[0, 0][..], 1));
        assert_eq!(header(file.path(), &wanted), Ok(images.header()));
        assert!(read(file.path(), &Selection::of("test")).is_err(), "labels are wanted");
    }
}

#[test]
fn images_of_all_sizes_become_one() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let other = || Some(encoded(RgbImage::from_pixel(5, 4, Rgb([9, 8, 7])), ImageFormat::Png));
    std::fs::write(file.path(), PLAIN.bytes(&[&[(png(1), Some(0)), (other(), Some(1))]])).expect("a file");
    let error = header(file.path(), &Selection::of("test")).expect_err("two sizes");
    assert!(error.message().contains("row 1: the image is 5×4, but the first one is 3×2"), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("`resize: 2, center_crop: 2`")), "{error}");
    let resizing = Resizing { resize: Some(2), center_crop: Some(2) };
    let wanted = Selection { resizing, ..Selection::of("test") };
    let images = read(file.path(), &wanted).expect("a dataset");
    assert_eq!((images.height, images.width, &images.pixels[12..]), (2, 2, &[9, 9, 9, 9, 8, 8, 8, 8, 7, 7, 7, 7][..]));
    assert_eq!(header(file.path(), &wanted), Ok(images.header()));
}

#[test]
fn a_bad_row_is_named() {
    let good = || (png(1), Some(0));
    let error = |bad: Row| PLAIN.read(&[&[good(), good()], &[good(), bad]]).expect_err("a bad row");
    let other_size = encoded(picture(3, 2, 0), ImageFormat::Png);
    for (bad, expected) in [
        ((None, Some(0)), "row 3: `image.bytes` is null"),
        ((png(1), None), "row 3: `label` is null"),
        ((png(1), Some(-1)), "row 3: the label is -1, which stands for a hidden one"),
        ((png(1), Some(1 << 40)), "row 3: the label is 1099511627776"),
        ((Some(other_size), Some(0)), "row 3: the image is 2×3, but the first one is 3×2"),
        ((Some(b"RIFF1234WEBP".to_vec()), Some(0)), "row 3: neither PNG nor JPEG: 12 bytes that begin with 52 49"),
        ((png(1).map(|png| png[..60].to_vec()), Some(0)), "row 3: the image cannot be decoded"),
    ] {
        let error = error(bad);
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
    let named = Writer { metadata: Some(NAMES), ..PLAIN }.read(&[&[(png(1), Some(3))]]).expect_err("three classes");
    assert!(named.contains("row 0: the label is 3, but the file names 3 classes: 0 to 2"), "{named}");
    let huge = encoded(GrayImage::new(5000, 1), ImageFormat::Png);
    let huge = PLAIN.read(&[&[(Some(huge), Some(0))]]).expect_err("too large");
    assert!(huge.contains("row 0: the image is 5000×1"), "{huge}");
}

#[test]
fn a_file_of_another_kind_says_what_it_holds() {
    let error = |schema| Writer { schema, ..PLAIN }.read(&[]).expect_err("another kind of file");
    let text = error("message m { optional binary text (utf8); optional int64 label; }");
    assert!(text.contains("no column of images") && text.contains("the file has text, label"), "{text}");
    let unlabelled = error("message m { optional group image { optional binary bytes; } optional int64 id; }");
    assert!(unlabelled.contains("no column of labels") && unlabelled.contains("image.bytes, id"), "{unlabelled}");
    let words = error("message m { optional binary image; optional binary label (utf8); }");
    assert!(words.contains("the column `label` is BYTE_ARRAY, expected an integer"), "{words}");
    let empty = error(SCHEMA);
    assert!(empty.contains("holds no rows"), "{empty}");
}

#[test]
fn damage_anywhere_is_an_error_or_a_dataset_but_never_a_panic() {
    let rows: Vec<Row> = (0..12u8).map(|i| (png(i), Some(i64::from(i % 10)))).collect();
    let file = PLAIN.bytes(&[&rows[..6], &rows[6..]]);
    for end in (0..file.len()).step_by(53) {
        assert!(read_bytes(&file[..end]).is_err(), "cut at {end}");
    }
    for at in (0..file.len()).step_by(5) {
        let mut changed = file.clone();
        changed[at] ^= 0x55;
        let _ = read_bytes(&changed);
    }
}

#[test]
fn a_page_that_claims_to_unpack_too_far_is_refused() {
    let zstd = Writer { compression: Compression::ZSTD(ZstdLevel::default()), ..PLAIN };
    assert_eq!(zstd.read(&[&[(png(1), Some(2))]]).expect("a dataset").labels, [2]);
    // One image of zeros, in a file of a few kilobytes.
    let bomb = zstd.bytes(&[&[(Some(vec![0; 24 << 20]), Some(0))]]);
    assert!(bomb.len() < 10_000);
    let error = read_bytes(&bomb).expect_err("a bomb");
    assert!(
        error.contains("column image.bytes: a page of ") && error.contains(" claims to unpack to 25,16"),
        "{error}"
    );
}

#[test]
fn images_that_their_bytes_cannot_hold_are_refused() {
    // The same image in every row is written once.
    let image = Some(encoded(picture(64, 64, 1), ImageFormat::Png));
    let rows: Vec<Row> = vec![(image, Some(0)); 5_000];
    let error = PLAIN.read(&[&rows]).expect_err("too many");
    assert!(error.contains("its 5,000 images of 64×64 would take more than 1100 times the "), "{error}");
    let images = PLAIN.read(&[&rows[..100]]).expect("a dataset");
    assert_eq!(images.len(), 100);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_unopened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    make_pipe(&folder.path().join("test.parquet"));
    for path in [folder.path(), &folder.path().join("test.parquet"), Path::new("/dev/zero")] {
        let error = read(path, &Selection::of("test")).expect_err("a pipe").to_string();
        assert!(error.contains("it is a device or a pipe, not a file"), "{error}");
    }
}

/// What pandas, polars, DuckDB and Spark can be told to write.
fn compressions() -> [Compression; 7] {
    [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ]
}

#[test]
fn every_compression_is_read() {
    for compression in compressions() {
        let rows: Vec<Row> = (0..9).map(|mark| (png(mark), Some(i64::from(mark)))).collect();
        let images = Writer { compression, ..PLAIN }.read(&[&rows]).expect("a dataset");
        assert_eq!(images.pixels, (0..9).flat_map(planes).collect::<Vec<u8>>(), "{compression}");
    }
}

#[test]
fn mutants_are_read_or_refused() {
    let rows: Vec<Row> = (0..20).map(|mark| (png(mark), Some(i64::from(mark)))).collect();
    for compression in compressions() {
        let writer =
            Writer { compression, metadata: Some(NAMES), statistics: compression == Compression::SNAPPY, ..PLAIN };
        for_each_mutant(&writer.bytes(&[&rows[..12], &rows[12..]]), |bytes| drop(read_bytes(&bytes)));
    }
}
