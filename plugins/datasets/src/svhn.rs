//! Street View House Numbers.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::svhn;
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Normalization, Result, choice};

use crate::download::{self, Presence};
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
    /// Its own normalization is mean [0.4377, 0.4438, 0.4728] and std [0.1980, 0.2010, 0.1970].
    ///
    /// Source: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011,
    /// <http://ufldl.stanford.edu/housenumbers/>.
    pub struct Svhn {
        /// The folder of `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat`, or one such file.
        pub path: PathBuf,
        /// Which images; without effect when `path` is a file.
        pub split: SvhnSplit,
        /// Whether the file of the split is downloaded to the folder `path` where it is not there.
        pub download: bool = false,
    }
    mean: [0.4377, 0.4438, 0.4728],
    std: [0.1980, 0.2010, 0.1970],
}

impl DatasetSource for Svhn {
    fn normalization(&self) -> Option<Normalization> {
        self.preprocessing().stated()
    }

    fn usual_normalization(&self, channels: usize) -> Option<Normalization> {
        Some(self.preprocessing().usual(channels))
    }

    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        let (split, presence) = (self.split.official(), self.presence());
        presence.explain(self.preprocessing().describe(match presence {
            Presence::ToDownload => Ok(svhn::official(split)),
            _ => svhn::header(&self.path, split),
        }))
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        if self.presence() == Presence::ToDownload {
            download::fetch(&download::svhn(self.split.official()), &self.path)?;
        }
        self.preprocessing().load(svhn::read(&self.path, self.split.official()), context)
    }

    fn files(&self) -> Vec<PathBuf> {
        svhn::files(&self.path, self.split.official()).unwrap_or_default()
    }
}

impl Svhn {
    fn presence(&self) -> Presence {
        let found = svhn::files(&self.path, self.split.official());
        Presence::of(found.is_ok(), &self.path, self.download)
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
