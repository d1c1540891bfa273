//! Image datasets from Hugging Face.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::hugging_face;
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Result, choice};

use crate::preprocessing::dataset_params;

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
    /// Images in Parquet files as Hugging Face lays them out: a column `img` or `image` of PNGs or JPEGs of one size, a
    /// column `label` of integers. Grey images become RGB. `mean` and `std` are CIFAR-10's unless they are given.
    pub struct ParquetImages {
        /// A file, or a folder with `train.parquet`, `train-00000-of-00002.parquet` and the like in it or in its `data`.
        pub path: PathBuf,
        /// Which files of a folder; without effect when `path` is a file.
        pub split: ParquetSplit,
    }
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.2010],
}

impl DatasetSource for ParquetImages {
    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        self.preprocessing().describe(hugging_face::header(&self.path, self.split.in_file_names()))
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        self.preprocessing().load(hugging_face::read(&self.path, self.split.in_file_names()), context)
    }

    fn files(&self) -> Vec<PathBuf> {
        hugging_face::files(&self.path, self.split.in_file_names()).unwrap_or_default()
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
