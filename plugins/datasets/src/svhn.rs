//! Street View House Numbers.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::svhn;
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Result, choice};

use crate::preprocessing::dataset_params;

choice! {
    /// Which part of SVHN.
    pub enum SvhnSplit {
        /// 73,257 images to learn from.
        Train,
        /// 26,032 images to measure on.
        Test,
        /// 531,131 more and easier images to learn from.
        Extra,
    }
}

dataset_params! {
    /// Street View House Numbers, cropped digits of 32×32, in the official MATLAB files.
    ///
    /// Source: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011,
    /// <http://ufldl.stanford.edu/housenumbers/>.
    pub struct Svhn {
        /// The folder of `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat`, or one such file.
        pub path: PathBuf,
        /// Which images; without effect when `path` is a file.
        pub split: SvhnSplit,
    }
    mean: [0.4377, 0.4438, 0.4728],
    std: [0.1980, 0.2010, 0.1970],
}

impl DatasetSource for Svhn {
    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        self.preprocessing().describe(svhn::header(&self.path, self.split.official()))
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        self.preprocessing().load(svhn::read(&self.path, self.split.official()), context)
    }

    fn files(&self) -> Vec<PathBuf> {
        svhn::files(&self.path, self.split.official()).unwrap_or_default()
    }
}

impl SvhnSplit {
    /// The split as the files have it.
    fn official(self) -> svhn::Split {
        match self {
            Self::Train => svhn::Split::Train,
            Self::Test => svhn::Split::Test,
            Self::Extra => svhn::Split::Extra,
        }
    }
}
