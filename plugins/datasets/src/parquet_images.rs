//! Image datasets from Hugging Face.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::hugging_face::{self, Selection};
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Normalization, Result, choice};

use crate::preprocessing::{checked_channels, dataset_params};

choice! {
    /// Which part of a dataset on Hugging Face.
    pub enum ParquetSplit {
        /// Images to learn from.
        Train,
        /// Images to choose settings by.
        Validation,
        /// Images to measure on.
        Test,
    }
}

dataset_params! {
    /// Images in Parquet files as Hugging Face lays them out: a column `img` or `image` of PNGs or JPEGs, a column `label` of integers unless
    /// `labelled: false`. Images are of one size, or become it by `resize` and `center_crop`. They are turned as their EXIF data say, as the
    /// library `datasets` turns them. Its own normalization is that of CIFAR-10: mean [0.4914, 0.4822, 0.4465] and std
    /// [0.2023, 0.1994, 0.2010]; of grey images that of MNIST.
    pub struct ParquetImages {
        /// A file, or a folder with `train.parquet`, `train-00000-of-00002.parquet` and the like in it, in its `data`, or in the folder of
        /// a configuration (`plain_text`), as the hub has them.
        pub path: PathBuf,
        /// Which files of a folder; without effect when `path` is a file.
        pub split: ParquetSplit,
        /// The configuration, where a folder has several; left out, `default`, or the only one.
        pub config: Option<String> = None,
        /// 1 makes all images grey, 3 makes all red, green and blue; left out, they have the channels of the first one.
        pub channels: Option<usize> = None => 1..=3,
        /// How many classes there are; left out, as many as the file names, or else one more than its largest label, which may not be all
        /// where a split lacks one.
        pub classes: Option<usize> = None => 1..=100_000,
        /// Whether the images have labels. Without, no column of labels is looked for: the images are for losses that need none, such as
        /// those of a distillation on images of whatever kind.
        pub labelled: bool = true,
    }
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.2010],
}

impl DatasetSource for ParquetImages {
    fn normalization(&self) -> Option<Normalization> {
        self.preprocessing().stated()
    }

    fn usual_normalization(&self, channels: usize) -> Option<Normalization> {
        Some(self.preprocessing().usual(channels))
    }

    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        checked_channels(self.channels)?;
        if !self.labelled && self.classes.is_some() {
            let message = "images without labels have no classes";
            return Err(CheckError::parameter("classes", message).help("leave it out, or `labelled: false`"));
        }
        self.preprocessing().of_resized().describe(hugging_face::header(&self.path, &self.selection()))
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        self.preprocessing().of_resized().load(hugging_face::read(&self.path, &self.selection()), context)
    }

    fn files(&self) -> Vec<PathBuf> {
        hugging_face::files(&self.path, &self.selection()).unwrap_or_default()
    }

    fn is_unsplit(&self) -> bool {
        self.path.is_file()
    }
}

impl ParquetImages {
    fn selection(&self) -> Selection<'_> {
        Selection {
            split: self.split.in_file_names(),
            config: self.config.as_deref(),
            channels: self.channels,
            resizing: self.resizing(),
            classes: self.classes,
            labelled: self.labelled,
        }
    }
}

impl ParquetSplit {
    /// The split as the names of files have it.
    fn in_file_names(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}
