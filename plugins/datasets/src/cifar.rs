//! CIFAR-10 and CIFAR-100: the same files but for their names and labels.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::cifar::{self, Variant};
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Result, Split};

use crate::preprocessing::dataset_params;

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

macro_rules! cifar_source {
    ($name:ident, $variant:expr) => {
        impl DatasetSource for $name {
            fn describe(&self) -> Result<DatasetSignature, CheckError> {
                self.preprocessing().describe(cifar::header(&self.path, $variant, official(self.split)))
            }

            fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
                self.preprocessing().load(cifar::read(&self.path, $variant, official(self.split)), context)
            }

            fn files(&self) -> Vec<PathBuf> {
                cifar::files(&self.path, $variant, official(self.split)).unwrap_or_default()
            }
        }
    };
}

cifar_source!(Cifar10, Variant::Cifar10);
cifar_source!(Cifar100, Variant::Cifar100);

/// The split as the files have it.
fn official(split: Split) -> cifar::Split {
    match split {
        Split::Train => cifar::Split::Train,
        Split::Test => cifar::Split::Test,
    }
}
