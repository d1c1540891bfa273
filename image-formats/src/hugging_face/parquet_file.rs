//! One Parquet file: where its images and labels are, and how they are read in pieces.

use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

use super::page_headers;
use crate::error::grouped;
use crate::{ReadError, input_file};

const IMAGE_COLUMNS: [&str; 2] = ["img", "image"];
const LABEL_COLUMNS: [&str; 3] = ["label", "labels", "fine_label"];

/// How many bytes of encoded images are read at once, and one image more.
const MAX_ENCODED: usize = 64 << 20;

/// Without names the largest label tells the number of classes: one wild label must not make millions of them.
const MAX_CLASSES: i64 = 100_000;

/// A Parquet file with images and labels, of which the footer has been read.
pub(super) struct ParquetFile {
    pub(super) path: PathBuf,
    /// Its size.
    pub(super) bytes: u64,
    file: File,
    reader: SerializedFileReader<File>,
    /// The leaf column of the encoded bytes.
    image: usize,
    /// The leaf column of the labels, where they are wanted.
    label: Option<usize>,
    /// Rows of each row group.
    pub(super) groups: Vec<usize>,
    /// In the order of the labels; empty where the file does not tell.
    pub(super) class_names: Vec<String>,
}

impl ParquetFile {
    pub(super) fn open(path: PathBuf, labelled: bool) -> Result<Self, ReadError> {
        let (file, bytes) = input_file::open(&path)?;
        let pages = file.try_clone().map_err(|error| ReadError::io(&path, "cannot be opened", &error))?;
        let reader = guarded(&path, || SerializedFileReader::new(file)).map_err(|error| {
            error.with_help("expected a Parquet file, complete to its last byte: is the download finished?")
        })?;
        let metadata = reader.metadata();
        let (image, label) = columns(&path, metadata, labelled)?;
        compression(&path, metadata, [Some(image), label])?;
        let class_names = label.map_or_else(Vec::new, |label| class_names(metadata, label));
        let damaged = || ReadError::new(&path, "the footer contradicts itself: the file is damaged");
        let mut groups = Vec::with_capacity(metadata.num_row_groups());
        let mut total = 0usize;
        for group in metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).map_err(|_| damaged())?;
            total = total.checked_add(rows).ok_or_else(damaged)?;
            if group.num_columns() != metadata.file_metadata().schema_descr().num_columns() {
                return Err(damaged());
            }
            groups.push(rows);
        }
        Ok(Self { image, label, groups, class_names, reader, path, bytes, file: pages })
    }

    pub(super) fn problem(&self, reason: impl Into<String>) -> ReadError {
        ReadError::new(&self.path, reason)
    }

    /// Up to `count` encoded images of a row group that is not empty, its first.
    pub(super) fn first_images(&self, group: usize, count: usize) -> Result<Vec<ByteArray>, ReadError> {
        let mut images = Column::<ByteArrayType>::open(self, group, self.image)?;
        Ok(images.next_images(count.min(self.groups[group]))?.to_vec())
    }

    /// Calls `take` with the number of the first row, the encoded images and the labels, zeros where none are wanted, `batch` rows at a
    /// time.
    pub(super) fn for_each_batch(
        &self,
        batch: usize,
        mut take: impl FnMut(usize, &[ByteArray], &[i64]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut row = 0;
        for (group, &rows) in self.groups.iter().enumerate() {
            let mut images = Column::<ByteArrayType>::open(self, group, self.image)?;
            let mut labels = self.label.map(|leaf| Labels::open(self, group, leaf)).transpose()?;
            let mut unlabelled = Vec::new();
            let end = row + rows;
            while row < end {
                let found = images.next_images(batch.min(end - row))?;
                let labels = match &mut labels {
                    Some(labels) => labels.next(found.len())?,
                    None => {
                        unlabelled.resize(found.len(), 0);
                        &unlabelled
                    }
                };
                take(row, found, labels)?;
                row += found.len();
            }
        }
        Ok(())
    }

    /// The labels that begin at `row`, all of them classes.
    pub(super) fn check_labels(&self, row: usize, labels: &[i64]) -> Result<Vec<u32>, ReadError> {
        let named = self.class_names.len() as i64;
        let limit = if named > 0 { named } else { MAX_CLASSES };
        if let Some(i) = labels.iter().position(|label| !(0..limit).contains(label)) {
            let (label, at) = (labels[i], format!("row {}", row + i));
            return Err(if label == -1 {
                self.problem("the label is -1, which stands for a hidden one")
                    .at(at)
                    .with_help("use a split with labels; images alone are read with `labelled: false`")
            } else if named > 0 {
                self.problem(format!("the label is {label}, but the file names {named} classes: 0 to {}", named - 1))
                    .at(at)
            } else {
                self.problem(format!("the label is {label}; labels count from 0 to {} at most", MAX_CLASSES - 1)).at(at)
            });
        }
        Ok(labels.iter().map(|&label| label as u32).collect())
    }

    /// From the statistics in the footer, or else from the labels themselves.
    pub(super) fn largest_label(&self) -> Result<usize, ReadError> {
        let Some(leaf) = self.label else { return Ok(0) };
        let mut largest = 0;
        let mut row = 0;
        for (group, &rows) in self.groups.iter().enumerate() {
            let chunk = self.reader.metadata().row_group(group).column(leaf);
            let known = match chunk.statistics() {
                Some(Statistics::Int32(values)) => {
                    values.min_opt().zip(values.max_opt()).map(|(&min, &max)| [i64::from(min), i64::from(max)])
                }
                Some(Statistics::Int64(values)) => {
                    values.min_opt().zip(values.max_opt()).map(|(&min, &max)| [min, max])
                }
                _ => None,
            };
            match known.map(|extremes| self.check_labels(row, &extremes)) {
                Some(Ok(extremes)) => largest = extremes.into_iter().fold(largest, u32::max),
                // Where there are no statistics, or they tell of a label that is none: the labels say which row it is.
                _ => {
                    let mut labels = Labels::open(self, group, leaf)?;
                    for start in (0..rows).step_by(65_536) {
                        let found = labels.next((rows - start).min(65_536))?;
                        largest = self.check_labels(row + start, found)?.into_iter().fold(largest, u32::max);
                    }
                }
            }
            row += rows;
        }
        Ok(largest as usize)
    }

    /// The rows of one group, counted over the whole file.
    fn rows_of(&self, group: usize) -> Range<usize> {
        let start = self.groups[..group].iter().sum();
        start..start + self.groups[group]
    }
}

/// The leaves that hold images and, where they are wanted, labels.
fn columns(file: &Path, metadata: &ParquetMetaData, labelled: bool) -> Result<(usize, Option<usize>), ReadError> {
    let schema = metadata.file_metadata().schema_descr();
    let problem = |reason: String| ReadError::new(file, reason);
    let leaf = |path: &[&str]| schema.columns().iter().position(|column| column.path().parts() == path);
    let there = || {
        let names: Vec<_> = schema.columns().iter().map(|column| column.path().string()).collect();
        format!("the file has {}", if names.is_empty() { "no columns".into() } else { names.join(", ") })
    };
    let image =
        IMAGE_COLUMNS.iter().find_map(|name| leaf(&[name, "bytes"]).or_else(|| leaf(&[name]))).ok_or_else(|| {
            problem(format!("no column of images, `img` or `image` with `bytes` in it: {}", there()))
                .with_help("expected the layout of Hugging Face image datasets")
        })?;
    let label = || {
        LABEL_COLUMNS.iter().find_map(|name| leaf(&[name])).ok_or_else(|| {
            problem(format!("no column of labels, `label`: {}", there())).with_help(
                "expected the layout of Hugging Face image datasets; images alone are read with `labelled: false`",
            )
        })
    };
    let label = labelled.then(label).transpose()?;
    let wanted = [(Some(image), "binary", &[Type::BYTE_ARRAY][..]), (label, "an integer", &[Type::INT32, Type::INT64])];
    for (leaf, expected, types) in wanted {
        let Some(leaf) = leaf else { continue };
        let column = schema.column(leaf);
        let name = column.path().string();
        if !types.contains(&column.physical_type()) {
            return Err(problem(format!("the column `{name}` is {}, expected {expected}", column.physical_type())));
        }
        if column.max_rep_level() > 0 {
            return Err(problem(format!("the column `{name}` holds lists, expected one value a row")));
        }
    }
    Ok((image, label))
}

/// Whether the columns can be unpacked.
fn compression(file: &Path, metadata: &ParquetMetaData, columns: [Option<usize>; 2]) -> Result<(), ReadError> {
    let columns = || columns.into_iter().flatten();
    let chunks = metadata.row_groups().iter().flat_map(|group| columns().filter_map(|leaf| group.columns().get(leaf)));
    match chunks.map(ColumnChunkMetaData::compression).find(|compression| *compression == Compression::LZO) {
        None => Ok(()),
        Some(other) => Err(ReadError::new(file, format!("it is compressed by {other}, which is not read"))
            .with_help("write it again, in Python: pandas.read_parquet(file).to_parquet(file, compression=\"zstd\")")),
    }
}

/// Hugging Face keeps them as JSON in the schema's metadata.
fn class_names(metadata: &ParquetMetaData, label: usize) -> Vec<String> {
    let file = metadata.file_metadata();
    let column = file.schema_descr().column(label).name().to_string();
    let text = file
        .key_value_metadata()
        .and_then(|pairs| pairs.iter().find(|pair| pair.key == "huggingface"))
        .and_then(|pair| pair.value.as_deref());
    // Others write other things under this name; names that cannot be read are only names that are not known.
    let value: serde_json::Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let names = value["info"]["features"][column.as_str()]["names"].as_array();
    names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect()).unwrap_or_default()
}

/// One column of one row group, read in pieces.
struct Column<'f, T: DataType> {
    file: &'f ParquetFile,
    name: String,
    max_level: i16,
    row: usize,
    end: usize,
    reader: ColumnReaderImpl<T>,
    levels: Vec<i16>,
    values: Vec<T::T>,
}

impl<'f, T: DataType> Column<'f, T> {
    fn open(file: &'f ParquetFile, group: usize, leaf: usize) -> Result<Self, ReadError> {
        let column = file.reader.metadata().file_metadata().schema_descr().column(leaf);
        let chunk = file.reader.metadata().row_group(group).column(leaf);
        let (start, length) = guarded(&file.path, || Ok(chunk.byte_range()))?;
        page_headers::check(&file.file, start, length)
            .map_err(|error| file.problem(error.to_string()).at(format!("column {}", column.path().string())))?;
        let reader = guarded(&file.path, || file.reader.get_row_group(group)?.get_column_reader(leaf))?;
        let rows = file.rows_of(group);
        Ok(Self {
            file,
            name: column.path().string(),
            max_level: column.max_def_level(),
            row: rows.start,
            end: rows.end,
            reader: get_typed_column_reader(reader),
            levels: Vec::new(),
            values: Vec::new(),
        })
    }

    /// The next `count` values; a null or an early end is an error.
    fn next(&mut self, count: usize) -> Result<&[T::T], ReadError> {
        self.levels.clear();
        self.values.clear();
        self.add(count)?;
        Ok(&self.values)
    }

    fn add(&mut self, count: usize) -> Result<(), ReadError> {
        let before = self.values.len();
        self.levels.clear();
        let (reader, levels, values) = (&mut self.reader, &mut self.levels, &mut self.values);
        let read = guarded(&self.file.path, || reader.read_records(count, Some(levels), None, values));
        let (records, ..) = read.map_err(|error| error.at(format!("column {}, from row {}", self.name, self.row)))?;
        if let Some(i) = self.levels.iter().position(|&level| level < self.max_level) {
            let null = self.file.problem(format!("`{}` is null", self.name)).at(format!("row {}", self.row + i));
            return Err(if self.name.ends_with(".bytes") {
                null.with_help("the bytes of every image must be in the file; a path to another file is not followed")
            } else {
                null.with_help("every row needs an image and a label")
            });
        }
        if records < count || self.values.len() - before < count {
            return Err(self.file.problem(format!(
                "the column `{}` ends at row {}, the footer promises {}: the file is damaged",
                self.name,
                self.row + self.values.len() - before,
                grouped(self.end)
            )));
        }
        self.row += count;
        Ok(())
    }
}

impl Column<'_, ByteArrayType> {
    /// The next images, up to `count`, or fewer where they are large: an encoding that repeats parts of values makes many large ones
    /// out of a small page.
    fn next_images(&mut self, count: usize) -> Result<&[ByteArray], ReadError> {
        self.values.clear();
        let mut bytes = 0;
        while self.values.len() < count && bytes < MAX_ENCODED {
            self.add(1)?;
            bytes += self.values.last().map_or(0, ByteArray::len);
        }
        Ok(&self.values)
    }
}

/// The labels of one row group, whatever width of integer they have.
struct Labels<'f> {
    column: LabelColumn<'f>,
    values: Vec<i64>,
}

enum LabelColumn<'f> {
    Int32(Column<'f, parquet::data_type::Int32Type>),
    Int64(Column<'f, parquet::data_type::Int64Type>),
}

impl<'f> Labels<'f> {
    fn open(file: &'f ParquetFile, group: usize, leaf: usize) -> Result<Self, ReadError> {
        let schema = file.reader.metadata().file_metadata().schema_descr();
        let column = match schema.column(leaf).physical_type() {
            Type::INT32 => LabelColumn::Int32(Column::open(file, group, leaf)?),
            _ => LabelColumn::Int64(Column::open(file, group, leaf)?),
        };
        Ok(Self { column, values: Vec::new() })
    }

    fn next(&mut self, count: usize) -> Result<&[i64], ReadError> {
        self.values.clear();
        match &mut self.column {
            LabelColumn::Int32(column) => self.values.extend(column.next(count)?.iter().map(|&value| i64::from(value))),
            LabelColumn::Int64(column) => self.values.extend(column.next(count)?),
        }
        Ok(&self.values)
    }
}

/// Runs a step of the Parquet reader. On some damaged files it panics instead of returning an error.
fn guarded<T>(file: &Path, step: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, ReadError> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|error| ReadError::new(file, format!("cannot be read: {error}"))),
        Err(_) => Err(ReadError::new(file, "cannot be read: the file is damaged")),
    }
}
