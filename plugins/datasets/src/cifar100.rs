//! CIFAR-100.

use crate::formats::cifar::{self, Cifar};
use crate::preparation::dataset_params;
use std::path::PathBuf;
use std::sync::Arc;
use zskt_api::{BuildContext, Dataset, DatasetSignature, DatasetSource, Fault, Result, Split};

dataset_params! {
    /// CIFAR-100 in its official binary version: 50,000 training and 10,000 test images of 32×32, a hundred classes (the fine labels).
    ///
    /// Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
    /// <https://www.cs.toronto.edu/~kriz/cifar.html>.
    pub struct Cifar100 {
        /// The downloaded `cifar-100-binary.tar.gz`, the folder `cifar-100-binary` unpacked from it, or the folder
        /// that one of them is in.
        pub path: PathBuf,
        /// Which images.
        pub split: Split,
    }
    mean: [0.5071, 0.4865, 0.4409],
    std: [0.2673, 0.2564, 0.2762],
}

impl DatasetSource for Cifar100 {
    fn describe(&self) -> Result<DatasetSignature, Fault> {
        self.preparation().describe(cifar::header(Cifar::Cifar100, self.split == Split::Train, &self.path)?)
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        let raw = cifar::read(Cifar::Cifar100, self.split == Split::Train, &self.path)?;
        self.preparation().load(raw, context)
    }

    fn files(&self) -> Vec<PathBuf> {
        cifar::files(Cifar::Cifar100, self.split == Split::Train, &self.path).unwrap_or_default()
    }
}
