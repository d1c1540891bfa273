//! Writes images as a Parquet file that the library `datasets` opens, with its images decoded: `load_dataset("parquet",
//! data_files="images.parquet")`.

use std::io::{self, Write};
use std::sync::Arc;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use serde_json::json;

/// How many bytes of pixels a row group has at most, and so how many are there as PNGs at once.
const GROUP_BYTES: usize = 16 << 20;

/// How many images a row group has at most: who wants one of them unpacks a group.
const GROUP_ROWS: usize = 1000;

/// Images of one size that [`write_parquet`] can write.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    pixels: &'a [u8],
    labels: Option<&'a [u32]>,
    class_names: &'a [String],
    channels: usize,
    height: usize,
    width: usize,
}

/// Why images cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImages {
    /// PNGs have 1 or 3 channels here.
    #[error("the images have {0} channels; only grey ones, of 1, and red, green and blue ones, of 3, can be PNGs")]
    Channels(usize),
    /// No pixels, or more than a PNG can have.
    #[error("an image of {height}×{width} pixels cannot be a PNG")]
    Size {
        /// H.
        height: usize,
        /// W.
        width: usize,
    },
    /// Not a whole number of images.
    #[error("{bytes} bytes of pixels are not a whole number of images of {size} bytes")]
    Pixels {
        /// How many there are.
        bytes: usize,
        /// How many an image has.
        size: usize,
    },
    /// Labels for other images.
    #[error("there are {labels} labels for {images} images")]
    Labels {
        /// How many labels.
        labels: usize,
        /// How many images.
        images: usize,
    },
    /// A label without a name.
    #[error("image {image} has the label {label}, but {classes} classes have names")]
    Label {
        /// The number of the image.
        image: usize,
        /// Its label.
        label: u32,
        /// How many classes have names.
        classes: usize,
    },
}

impl<'a> Images<'a> {
    /// `pixels` are `[N, C, H, W]`, as [`RawImages`](crate::RawImages) has them, `[channels, height, width]` their last three sizes.
    ///
    /// # Errors
    /// When that is not what they are, or they have neither 1 nor 3 channels.
    pub fn new(pixels: &'a [u8], [channels, height, width]: [usize; 3]) -> Result<Self, InvalidImages> {
        if !matches!(channels, 1 | 3) {
            return Err(InvalidImages::Channels(channels));
        }
        /// A PNG's sides have 31 bits.
        const LONGEST: usize = (1 << 31) - 1;
        let size = channels.checked_mul(height).and_then(|size| size.checked_mul(width)).unwrap_or(0);
        if size == 0 || height > LONGEST || width > LONGEST {
            return Err(InvalidImages::Size { height, width });
        }
        if !pixels.len().is_multiple_of(size) {
            return Err(InvalidImages::Pixels { bytes: pixels.len(), size });
        }
        Ok(Self { pixels, labels: None, class_names: &[], channels, height, width })
    }

    /// Adds a column `label`: integers, or classes of these names where there are any.
    ///
    /// # Errors
    /// When there is not one label for each image, or one is not the number of a name.
    pub fn labelled(self, labels: &'a [u32], class_names: &'a [String]) -> Result<Self, InvalidImages> {
        let images = self.pixels.len() / self.size();
        if labels.len() != images {
            return Err(InvalidImages::Labels { labels: labels.len(), images });
        }
        let classes = class_names.len();
        let nameless = labels.iter().position(|&label| classes > 0 && label as usize >= classes);
        if let Some(image) = nameless {
            return Err(InvalidImages::Label { image, label: labels[image], classes });
        }
        Ok(Self { labels: Some(labels), class_names, ..self })
    }

    /// Bytes of one image.
    fn size(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// An image of planes as PNG.
    fn encode(&self, planes: &[u8]) -> io::Result<Vec<u8>> {
        let mut png = Vec::with_capacity(planes.len());
        let (height, width) = (self.height as u32, self.width as u32);
        let encoder = PngEncoder::new(&mut png);
        let written = if self.channels == 1 {
            encoder.write_image(planes, width, height, ExtendedColorType::L8)
        } else {
            let (red, others) = planes.split_at(planes.len() / 3);
            let (green, blue) = others.split_at(red.len());
            let pixels: Vec<u8> = red.iter().zip(green).zip(blue).flat_map(|((r, g), b)| [*r, *g, *b]).collect();
            encoder.write_image(&pixels, width, height, ExtendedColorType::Rgb8)
        };
        written.map_err(io::Error::other)?;
        Ok(png)
    }

    /// What `datasets` reads to know what the columns are.
    fn features(&self) -> String {
        let mut features = json!({ "image": { "_type": "Image" } });
        if self.labels.is_some() {
            features["label"] = if self.class_names.is_empty() {
                json!({ "dtype": "int64", "_type": "Value" })
            } else {
                json!({ "names": self.class_names, "_type": "ClassLabel" })
            };
        }
        json!({ "info": { "features": features } }).to_string()
    }
}

/// Writes `images` as Parquet: a column `image` of PNGs, which give back the very bytes, and `label` where they have labels. Only the PNGs
/// of one row group are in memory at once; all threads of rayon's pool make them.
///
/// # Errors
/// When `file` cannot be written.
pub fn write_parquet(file: impl Write + Send, images: &Images<'_>) -> io::Result<()> {
    // `datasets` knows a class by its name only in a column that may be null.
    let label = if images.labels.is_some() { "optional int64 label;" } else { "" };
    let schema = "optional group image { optional binary bytes; optional binary path (utf8); }";
    let schema = parse_message_type(&format!("message schema {{ {schema} {label} }}")).map_err(failed)?;
    let bytes = ColumnPath::from(vec!["image".to_owned(), "bytes".to_owned()]);
    // A PNG is compressed already. Compressed once more, or kept once for all rows that have it, images of one colour could take so
    // few bytes that a reader would not believe them.
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(bytes.clone(), false)
        .set_column_statistics_enabled(bytes, EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".to_owned(), images.features())]))
        .build();
    let mut file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
    let size = images.size();
    let rows = (GROUP_BYTES / size).clamp(1, GROUP_ROWS);
    for (number, group) in images.pixels.chunks(rows * size).enumerate() {
        let pngs: io::Result<Vec<_>> =
            group.par_chunks(size).map(|planes| images.encode(planes).map(ByteArray::from)).collect();
        let pngs = pngs?;
        let labels = images.labels.map(|labels| &labels[number * rows..][..pngs.len()]);
        let mut writer = file.next_row_group().map_err(failed)?;
        write_group(&mut writer, &pngs, labels).map_err(failed)?;
        writer.close().map_err(failed)?;
    }
    file.close().map_err(failed)?;
    Ok(())
}

fn write_group<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    pngs: &[ByteArray],
    labels: Option<&[u32]>,
) -> parquet::errors::Result<()> {
    // An image has a value at level 2; a path is null within an image, at level 1.
    for (values, level) in [(pngs, 2), (&[], 1)] {
        if let Some(mut column) = group.next_column()? {
            column.typed::<ByteArrayType>().write_batch(values, Some(&vec![level; pngs.len()]), None)?;
            column.close()?;
        }
    }
    if let (Some(labels), Some(mut column)) = (labels, group.next_column()?) {
        let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; labels.len()]), None)?;
        column.close()?;
    }
    Ok(())
}

/// The error of the file, where it is that: it says whether the disk is full.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => cause.downcast::<io::Error>().map_or_else(io::Error::other, |error| *error),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Selection, header, read};
    use super::{GROUP_ROWS, Images, InvalidImages, write_parquet};
    use crate::RawImages;

    fn written(images: &Images<'_>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        write_parquet(file.as_file(), images).expect("a file");
        file
    }

    /// More than a row group; every byte value, and neighbours that differ.
    fn made(channels: usize, classes: usize) -> RawImages {
        let (count, height, width) = (GROUP_ROWS + 7, 5, 3);
        let pixels = (0..count * channels * height * width).map(|i| (i * i / 3 % 256) as u8).collect();
        let labels = (0..count).map(|i| (i * 7 % classes) as u32).collect();
        RawImages { pixels, labels, channels, height, width, classes, class_names: Vec::new() }
    }

    #[test]
    fn images_come_back_bit_for_bit() {
        for channels in [1, 3] {
            let images = made(channels, 4);
            let shape = [channels, images.height, images.width];
            let names: Vec<String> = ["cat", "dog", "owl", "none of them"].map(str::to_owned).into();
            for names in [&names[..], &[]] {
                let labelled = Images::new(&images.pixels, shape).and_then(|it| it.labelled(&images.labels, names));
                let file = written(&labelled.expect("images"));
                let selection = Selection::of("train");
                assert_eq!(header(file.path(), &selection), Ok(images.header()));
                let expected = RawImages { class_names: names.into(), ..images.clone() };
                assert!(
                    read(file.path(), &selection).expect("a dataset") == expected,
                    "{channels} channels, {names:?}"
                );
            }
        }
    }

    /// As a generator makes that has collapsed.
    #[test]
    fn images_of_one_colour_are_believed() {
        let (pixels, labels) = (vec![127; 8000 * 3 * 32 * 32], vec![0; 8000]);
        let images = Images::new(&pixels, [3, 32, 32]).and_then(|it| it.labelled(&labels, &[]));
        let file = written(&images.expect("images"));
        assert!(read(file.path(), &Selection::of("train")).expect("a dataset").pixels == pixels);
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let pixels = [0; 24];
        let error = |shape| Images::new(&pixels, shape).err();
        assert_eq!(error([2, 3, 4]), Some(InvalidImages::Channels(2)));
        assert_eq!(error([3, 0, 4]), Some(InvalidImages::Size { height: 0, width: 4 }));
        assert_eq!(error([1, usize::MAX, 4]), Some(InvalidImages::Size { height: usize::MAX, width: 4 }));
        assert_eq!(error([1, 3, 3]), Some(InvalidImages::Pixels { bytes: 24, size: 9 }));
        let images = Images::new(&pixels, [3, 2, 4]).expect("one image");
        assert_eq!(images.labelled(&[1, 2], &[]).err(), Some(InvalidImages::Labels { labels: 2, images: 1 }));
        let names = ["cat".to_owned()];
        assert_eq!(images.labelled(&[1], &names).err(), Some(InvalidImages::Label { image: 0, label: 1, classes: 1 }));
    }

    #[test]
    fn a_disk_that_is_full_is_told_as_that() {
        struct Full;
        impl std::io::Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let images = Images::new(&[1, 2, 3, 4], [1, 2, 2]).expect("an image");
        assert_eq!(write_parquet(Full, &images).map_err(|error| error.kind()), Err(std::io::ErrorKind::StorageFull));
    }
}
