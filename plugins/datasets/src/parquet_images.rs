//! Image datasets from Hugging Face.

use crate::formats::{hugging_face, shards};
use crate::preparation::{dataset_params, lower_case};
use std::path::PathBuf;
use std::sync::Arc;
use zskt_api::{BuildContext, Dataset, DatasetSignature, DatasetSource, Fault, Result, choice};

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
    fn describe(&self) -> Result<DatasetSignature, Fault> {
        self.preparation().describe(hugging_face::header(&self.path, &lower_case(self.split))?)
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        self.preparation().load(hugging_face::read(&self.path, &lower_case(self.split))?, context)
    }

    fn files(&self) -> Vec<PathBuf> {
        shards::select(&self.path, &lower_case(self.split)).unwrap_or_default()
    }
}
