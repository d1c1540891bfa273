//! CIFAR-10.

use crate::formats::cifar::{self, Cifar};
use crate::preparation::dataset_params;
use std::path::PathBuf;
use std::sync::Arc;
use zskt_api::{BuildContext, Dataset, DatasetSignature, DatasetSource, Fault, Result, Split};

dataset_params! {
    /// CIFAR-10 in its official binary version: 50,000 training and 10,000 test images of 32×32, ten classes.
    ///
    /// Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
    /// <https://www.cs.toronto.edu/~kriz/cifar.html>.
    pub struct Cifar10 {
        /// The downloaded `cifar-10-binary.tar.gz`, the folder `cifar-10-batches-bin` unpacked from it, or the folder
        /// that one of them is in.
        pub path: PathBuf,
        /// Which images.
        pub split: Split,
    }
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.2010],
}

impl DatasetSource for Cifar10 {
    fn describe(&self) -> Result<DatasetSignature, Fault> {
        self.preparation().describe(cifar::header(Cifar::Cifar10, self.split == Split::Train, &self.path)?)
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        let raw = cifar::read(Cifar::Cifar10, self.split == Split::Train, &self.path)?;
        self.preparation().load(raw, context)
    }

    fn files(&self) -> Vec<PathBuf> {
        cifar::files(Cifar::Cifar10, self.split == Split::Train, &self.path).unwrap_or_default()
    }
}
