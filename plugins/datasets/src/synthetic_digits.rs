//! Digits that need no download.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::ImageHeader;
use zskt_api::{
    BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Normalization, RandomStreams, Result, Split,
};

use crate::digits;
use crate::preprocessing::dataset_params;

dataset_params! {
    /// Street-number digits drawn by a program: shaky strokes in limited contrast, with neighbours, texture and noise.
    /// No file is needed, and every image depends on `seed`, `split` and its number alone. Its own normalization is mean
    /// [0.5, 0.5, 0.5] and std [0.25, 0.25, 0.25].
    pub struct SyntheticDigits {
        /// How many images.
        pub count: usize => 1..=100_000_000,
        /// Height and width in pixels.
        pub size: usize = 16 => digits::MIN_SIZE..=256,
        /// Images to learn from, or others to measure on.
        pub split: Split,
        /// Another seed draws other images; the seed of the run does not.
        pub seed: usize = 0,
    }
    mean: [0.5, 0.5, 0.5],
    std: [0.25, 0.25, 0.25],
}

impl DatasetSource for SyntheticDigits {
    fn normalization(&self) -> Option<Normalization> {
        self.preprocessing().stated()
    }

    fn usual_normalization(&self, channels: usize) -> Option<Normalization> {
        Some(self.preprocessing().usual(channels))
    }

    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        let header = ImageHeader { count: self.count, channels: 3, height: self.size, width: self.size, classes: 10 };
        self.preprocessing().describe(Ok(header))
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        let streams = RandomStreams::new(self.seed as u64);
        let name = match self.split {
            Split::Train => "digits/train",
            Split::Test => "digits/test",
        };
        self.preprocessing().load(digits::draw(self.count, self.size, |i| streams.at(name, i)), context)
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
