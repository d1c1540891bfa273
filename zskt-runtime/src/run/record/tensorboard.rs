//! An events file for TensorBoard: scalars and images in TensorFlow's record framing, each record a protocol buffer.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use zskt_api::Result;

use super::image_grid::ImageGrid;
use crate::run::resume::{AppendLog, LogMark};

/// An events file.
pub struct EventFile {
    log: AppendLog,
}

impl EventFile {
    /// Starts a new file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: PathBuf) -> Result<Self> {
        let mut file = Self { log: AppendLog::create(path)? };
        file.append(0, Field::Bytes(FILE_VERSION, b"brain.Event:2"))?;
        Ok(file)
    }

    /// Continues a file.
    pub fn resume(log: AppendLog) -> Self {
        Self { log }
    }

    /// Adds one point to each of some curves.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn scalars(&mut self, step: usize, points: &[(String, f64)]) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        let mut summary = Vec::new();
        for (tag, value) in points {
            let value = message(&[Field::Bytes(TAG, tag.as_bytes()), Field::Float(SIMPLE_VALUE, *value as f32)]);
            Field::Bytes(VALUE, &value).write(&mut summary);
        }
        self.append(step, Field::Bytes(SUMMARY, &summary))
    }

    /// Adds an image.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn image(&mut self, step: usize, tag: &str, grid: &ImageGrid) -> Result<()> {
        let image = message(&[
            Field::Integer(HEIGHT, u64::from(grid.height)),
            Field::Integer(WIDTH, u64::from(grid.width)),
            Field::Integer(COLOR_CHANNELS, if grid.colour { 3 } else { 1 }),
            Field::Bytes(ENCODED_IMAGE, &grid.png),
        ]);
        let value = message(&[Field::Bytes(TAG, tag.as_bytes()), Field::Bytes(IMAGE, &image)]);
        self.append(step, Field::Bytes(SUMMARY, &message(&[Field::Bytes(VALUE, &value)])))
    }

    /// Makes sure that all records are on the disk, and marks them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync(&mut self) -> Result<LogMark> {
        self.log.sync()
    }

    fn append(&mut self, step: usize, content: Field<'_>) -> Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let event = message(&[Field::Double(WALL_TIME, time), Field::Integer(STEP, step as u64), content]);
        self.log.append(&record(&event))
    }
}

// Field numbers of tensorflow/core/util/event.proto …
const WALL_TIME: u32 = 1;
const STEP: u32 = 2;
const FILE_VERSION: u32 = 3;
const SUMMARY: u32 = 5;
// … and of tensorflow/core/framework/summary.proto: Summary, Summary.Value, Summary.Image.
const VALUE: u32 = 1;
const TAG: u32 = 1;
const SIMPLE_VALUE: u32 = 2;
const IMAGE: u32 = 4;
const HEIGHT: u32 = 1;
const WIDTH: u32 = 2;
const COLOR_CHANNELS: u32 = 3;
const ENCODED_IMAGE: u32 = 4;

/// One field of a protocol buffer, with its number.
enum Field<'a> {
    Integer(u32, u64),
    Double(u32, f64),
    Float(u32, f32),
    Bytes(u32, &'a [u8]),
}

impl Field<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let key = |out: &mut Vec<u8>, number: u32, wire_type: u32| varint(out, u64::from(number << 3 | wire_type));
        match *self {
            Self::Integer(number, value) => {
                key(out, number, 0);
                varint(out, value);
            }
            Self::Double(number, value) => {
                key(out, number, 1);
                out.extend(value.to_le_bytes());
            }
            Self::Bytes(number, bytes) => {
                key(out, number, 2);
                varint(out, bytes.len() as u64);
                out.extend(bytes);
            }
            Self::Float(number, value) => {
                key(out, number, 5);
                out.extend(value.to_le_bytes());
            }
        }
    }
}

fn message(fields: &[Field<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        field.write(&mut out);
    }
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// TensorFlow's framing: length, checksum of the length, data, checksum of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_checksum(&length), data, &masked_checksum(data)].concat()
}

/// CRC-32C, rotated and shifted, so that the checksum of data that contains checksums is still a good one.
fn masked_checksum(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Field, SIMPLE_VALUE, SUMMARY, TAG, VALUE, message, record};

    #[test]
    fn a_record_is_framed_as_tensorflow_frames_it() {
        // Written by the RecordWriter of tensorboard 2.21.
        assert_eq!(hex(&record(b"zskt")), "0400000000000000424552047a736b749f596418");
    }

    #[test]
    fn a_scalar_is_encoded_as_protobuf_encodes_it() {
        let value = message(&[Field::Bytes(TAG, b"loss"), Field::Float(SIMPLE_VALUE, 0.5)]);
        let summary = message(&[Field::Bytes(VALUE, &value)]);
        let event = message(&[Field::Double(1, 1.5), Field::Integer(2, 300), Field::Bytes(SUMMARY, &summary)]);
        // Event(wall_time=1.5, step=300, …).SerializeToString() in Python.
        assert_eq!(hex(&event), "09000000000000f83f10ac022a0d0a0b0a046c6f7373150000003f");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
