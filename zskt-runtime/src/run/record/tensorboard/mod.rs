//! An events file for TensorBoard: scalars, histograms, images, and what its HParams tab compares runs by, in TensorFlow's record
//! framing, each record a protocol buffer.

mod hparams;
mod protobuf;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use zskt_api::Result;

pub use self::hparams::SessionStatus;
use self::protobuf::{Field, message};
use super::histogram::Histogram;
use super::png_picture::PngPicture;
use crate::run::resume::{AppendLog, EVENTS_HEAD, LogMark, WayOut};

/// An events file.
pub struct EventFile {
    log: AppendLog,
    /// What the run is made with, by key, as RON text.
    parameters: BTreeMap<String, String>,
}

impl EventFile {
    /// Starts a new file, for a run with these parameters, as RON text. It has no event before the first that is added.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: PathBuf, way_out: WayOut, parameters: BTreeMap<String, String>) -> Result<Self> {
        let mut file = Self { log: AppendLog::create(path, way_out)?, parameters };
        file.write(0, Field::Bytes(FILE_VERSION, b"brain.Event:2"))?;
        Ok(file)
    }

    /// Continues a file.
    pub fn resume(log: AppendLog, parameters: BTreeMap<String, String>) -> Self {
        Self { log, parameters }
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
    pub fn image(&mut self, step: usize, tag: &str, picture: &PngPicture) -> Result<()> {
        let image = message(&[
            Field::Integer(HEIGHT, u64::from(picture.height)),
            Field::Integer(WIDTH, u64::from(picture.width)),
            Field::Integer(COLOR_CHANNELS, if picture.colour { 3 } else { 1 }),
            Field::Bytes(ENCODED_IMAGE, &picture.png),
        ]);
        let value = message(&[Field::Bytes(TAG, tag.as_bytes()), Field::Bytes(IMAGE, &image)]);
        self.append(step, Field::Bytes(SUMMARY, &message(&[Field::Bytes(VALUE, &value)])))
    }

    /// Adds some histograms.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn histograms<'h>(
        &mut self,
        step: usize,
        histograms: impl IntoIterator<Item = (String, &'h Histogram)>,
    ) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, histogram) in histograms {
            Field::Bytes(VALUE, &histogram_value(&tag, histogram)).write(&mut summary);
        }
        if summary.is_empty() {
            return Ok(());
        }
        self.append(step, Field::Bytes(SUMMARY, &summary))
    }

    /// Tells the HParams tab that a run has ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_session(&mut self, status: SessionStatus) -> Result<()> {
        self.append(0, Field::Bytes(SUMMARY, &hparams::session_end(status, now())))
    }

    /// Makes sure that all records are on the disk, and marks them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync(&mut self) -> Result<LogMark> {
        self.log.sync()
    }

    /// Adds an event; before the first, tells the HParams tab with which parameters the run begins. By then there is a checkpoint, and
    /// a run that was killed before it has left nothing of worth.
    fn append(&mut self, step: usize, content: Field<'_>) -> Result<()> {
        if self.log.bytes() <= EVENTS_HEAD {
            self.write(0, Field::Bytes(SUMMARY, &hparams::session_start(&self.parameters, now())))?;
        }
        self.write(step, content)
    }

    fn write(&mut self, step: usize, content: Field<'_>) -> Result<()> {
        let event = message(&[Field::Double(WALL_TIME, now()), Field::Integer(STEP, step as u64), content]);
        self.log.append(&record(&event))
    }
}

/// TensorBoard takes the smallest and the largest number for the outermost edges, so the bins go no further.
fn histogram_value(tag: &str, histogram: &Histogram) -> Vec<u8> {
    let is_filled = |count: &f64| *count > 0.0;
    let first = histogram.counts.iter().position(is_filled).unwrap_or_default();
    let end = histogram.counts.iter().rposition(is_filled).map_or(histogram.counts.len(), |last| last + 1);
    let histogram = message(&[
        Field::Double(MIN, histogram.min),
        Field::Double(MAX, histogram.max),
        Field::Double(NUM, histogram.values as f64),
        Field::Double(SUM, histogram.sum),
        Field::Double(SUM_SQUARES, histogram.sum_squares),
        Field::Doubles(BUCKET_LIMIT, &histogram.limits[first..end]),
        Field::Doubles(BUCKET, &histogram.counts[first..end]),
    ]);
    message(&[Field::Bytes(TAG, tag.as_bytes()), Field::Bytes(HISTOGRAM, &histogram)])
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

// Field numbers of tensorflow/core/util/event.proto …
const WALL_TIME: u32 = 1;
const STEP: u32 = 2;
const FILE_VERSION: u32 = 3;
const SUMMARY: u32 = 5;
// … and of tensorflow/core/framework/summary.proto: Summary, Summary.Value, Summary.Image, and of histogram.proto beside it.
const VALUE: u32 = 1;
const TAG: u32 = 1;
const SIMPLE_VALUE: u32 = 2;
const IMAGE: u32 = 4;
const HISTOGRAM: u32 = 5;
const HEIGHT: u32 = 1;
const WIDTH: u32 = 2;
const COLOR_CHANNELS: u32 = 3;
const ENCODED_IMAGE: u32 = 4;
const MIN: u32 = 1;
const MAX: u32 = 2;
const NUM: u32 = 3;
const SUM: u32 = 4;
const SUM_SQUARES: u32 = 5;
const BUCKET_LIMIT: u32 = 6;
const BUCKET: u32 = 7;

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
    use zskt_api::LoggedDistribution;

    use super::{Field, Histogram, SIMPLE_VALUE, SUMMARY, TAG, VALUE, histogram_value, message, record};

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

    #[test]
    fn a_histogram_is_encoded_as_protobuf_encodes_it() {
        let distribution = LoggedDistribution {
            name: "x".into(),
            edges: vec![-1.0, 0.0, 0.5, 1.0, 2.0],
            values: vec![0.25, 1.0, 1.0],
        };
        let histogram = Histogram::of(&distribution).expect("a histogram");
        // Summary.Value(tag="x", histo=HistogramProto(min=0.25, max=1, num=3, sum=2.25, …)).SerializeToString() in Python.
        let expected = "0a01782a6109000000000000d03f11000000000000f03f1900000000000008402100000000000002402900000000008000\
                        403218000000000000e03f000000000000f03f00000000000000403a18000000000000f03f0000000000000000000000000000\
                        0040";
        assert_eq!(hex(&histogram_value("x", &histogram)), expected);
    }

    pub fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
