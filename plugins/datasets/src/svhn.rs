//! Street View House Numbers.

use crate::formats::svhn;
use crate::preparation::{dataset_params, lower_case};
use std::path::PathBuf;
use std::sync::Arc;
use zskt_api::{BuildContext, Dataset, DatasetSignature, DatasetSource, Fault, Result, choice};

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
    fn describe(&self) -> Result<DatasetSignature, Fault> {
        self.preparation().describe(svhn::header(&self.path, &lower_case(self.split))?)
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        self.preparation().load(svhn::read(&self.path, &lower_case(self.split))?, context)
    }

    fn files(&self) -> Vec<PathBuf> {
        svhn::find(&self.path, &lower_case(self.split)).into_iter().collect()
    }
}
