//! CIFAR-10 and CIFAR-100: the same files but for their names and labels.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::cifar::{self, Variant};
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Normalization, Result, Split};

use crate::download::{self, Presence};
use crate::preprocessing::dataset_params;

dataset_params! {
    /// CIFAR-10 in its official binary version: 50,000 training and 10,000 test images of 32×32, ten classes.
    /// Its own normalization is mean [0.4914, 0.4822, 0.4465] and std [0.2023, 0.1994, 0.2010], the mean of the images' deviations.
    ///
    /// Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
    /// <https://www.cs.toronto.edu/~kriz/cifar.html>.
    pub struct Cifar10 {
        /// The downloaded `cifar-10-binary.tar.gz`, the folder `cifar-10-batches-bin` unpacked from it, or the folder
        /// that one of them is in.
        pub path: PathBuf,
        /// Which images.
        pub split: Split,
        /// Whether the archive is downloaded to the folder `path` where it is not there.
        pub download: bool = false,
    }
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.2010],
}

dataset_params! {
    /// CIFAR-100 in its official binary version: 50,000 training and 10,000 test images of 32×32, a hundred classes (the fine labels).
    /// Its own normalization is mean [0.5071, 0.4865, 0.4409] and std [0.2673, 0.2564, 0.2762].
    ///
    /// Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
    /// <https://www.cs.toronto.edu/~kriz/cifar.html>.
    pub struct Cifar100 {
        /// The downloaded `cifar-100-binary.tar.gz`, the folder `cifar-100-binary` unpacked from it, or the folder
        /// that one of them is in.
        pub path: PathBuf,
        /// Which images.
        pub split: Split,
        /// Whether the archive is downloaded to the folder `path` where it is not there.
        pub download: bool = false,
    }
    mean: [0.5071, 0.4865, 0.4409],
    std: [0.2673, 0.2564, 0.2762],
}

macro_rules! cifar_source {
    ($name:ident, $variant:expr) => {
        impl $name {
            fn presence(&self) -> Presence {
                let found = cifar::files(&self.path, $variant, official(self.split));
                Presence::of(found.is_ok(), &self.path, self.download)
            }
        }

        impl DatasetSource for $name {
            fn normalization(&self) -> Option<Normalization> {
                self.preprocessing().stated()
            }

            fn usual_normalization(&self, channels: usize) -> Option<Normalization> {
                Some(self.preprocessing().usual(channels))
            }

            fn describe(&self) -> Result<DatasetSignature, CheckError> {
                let (split, presence) = (official(self.split), self.presence());
                presence.explain(self.preprocessing().describe(match presence {
                    Presence::ToDownload => Ok(cifar::official($variant, split)),
                    _ => cifar::header(&self.path, $variant, split),
                }))
            }

            fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
                if self.presence() == Presence::ToDownload {
                    download::fetch(&download::cifar($variant), &self.path)?;
                }
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
