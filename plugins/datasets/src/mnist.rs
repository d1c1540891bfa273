//! MNIST, Fashion-MNIST and Kuzushiji-MNIST: the same files but for what they show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_formats::mnist::{self, Variant};
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Normalization, Result, Split};

use crate::download::{self, Presence, RemoteFile};
use crate::preprocessing::dataset_params;

macro_rules! mnist_dataset {
    ($(#[doc = $doc:literal])* $name:ident, $variant:path, $remote:path, mean: $mean:expr, std: $std:expr) => {
        dataset_params! {
            $(#[doc = $doc])*
            pub struct $name {
                /// The folder with the images and the labels of the split (`train-images-idx3-ubyte` and the like), as downloaded
                /// (`.gz`) or unpacked, or torchvision's root, with the folder of this dataset in it; that one goes first.
                pub path: PathBuf,
                /// Which images.
                pub split: Split,
                /// Whether the two files of the split are downloaded, to where torchvision has them in `path`, if they are not there.
                pub download: bool = false,
            }
            mean: [$mean],
            std: [$std],
        }

        impl $name {
            fn presence(&self) -> Presence {
                let split = official(self.split);
                let found = mnist::files(&self.path, $variant, split).is_ok_and(|files| {
                    !self.download || files[0].starts_with(self.own_folder()) || !others(&files, &$remote(split))
                });
                Presence::of(found, &self.path, self.download)
            }

            fn own_folder(&self) -> PathBuf {
                self.path.join($variant.folder())
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
                    Presence::ToDownload => Ok(mnist::official(split)),
                    _ => mnist::header(&self.path, $variant, split),
                }))
            }

            fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
                if self.presence() == Presence::ToDownload {
                    download::fetch(&$remote(official(self.split)), &self.own_folder())?;
                }
                self.preprocessing().load(mnist::read(&self.path, $variant, official(self.split)), context)
            }

            fn files(&self) -> Vec<PathBuf> {
                match self.presence() {
                    Presence::ToDownload => Vec::new(),
                    _ => mnist::files(&self.path, $variant, official(self.split)).unwrap_or_default(),
                }
            }
        }
    };
}

mnist_dataset! {
    /// MNIST, handwritten digits: 60,000 training and 10,000 test images of 28×28 in one channel, ten classes. Its own normalization is
    /// mean [0.1307] and std [0.3081].
    ///
    /// Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, <http://yann.lecun.com/exdb/mnist/>.
    Mnist, Variant::Mnist, download::mnist, mean: 0.1307, std: 0.3081
}

mnist_dataset! {
    /// Fashion-MNIST, clothes: as MNIST, 60,000 training and 10,000 test images of 28×28 in one channel, ten classes. Its own
    /// normalization is mean [0.286] and std [0.353].
    ///
    /// Source: Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
    /// <https://arxiv.org/abs/1708.07747>.
    FashionMnist, Variant::FashionMnist, download::fashion_mnist, mean: 0.286, std: 0.353
}

mnist_dataset! {
    /// Kuzushiji-MNIST, cursive Japanese: as MNIST, 60,000 training and 10,000 test images of 28×28 in one channel, ten classes. Its own
    /// normalization is mean [0.1918] and std [0.3483].
    ///
    /// Source: Clanuwat et al., "Deep Learning for Classical Japanese Literature", 2018, <https://arxiv.org/abs/1812.01718>.
    KMnist, Variant::KMnist, download::k_mnist, mean: 0.1918, std: 0.3483
}

/// The split as the files have it.
fn official(split: Split) -> mnist::Split {
    match split {
        Split::Train => mnist::Split::Train,
        Split::Test => mnist::Split::Test,
    }
}

/// Whether a file is called like one of the official ones, and is of another size: that of another dataset, as all have the same names.
fn others(files: &[PathBuf], official: &[RemoteFile]) -> bool {
    let differs = |file: &Path, bytes| std::fs::metadata(file).is_ok_and(|found| found.len() != bytes);
    files.iter().any(|file| official.iter().any(|known| file.ends_with(known.name) && differs(file, known.bytes)))
}

#[cfg(test)]
mod tests {
    use zskt_api::PluginInstance;
    use zskt_api::testing::plugin;

    use super::*;

    /// The two files of the split in `folder`, named as the official ones and as long.
    fn place(folder: &Path, files: &[RemoteFile]) {
        std::fs::create_dir_all(folder).expect("a folder");
        for file in files {
            let created = std::fs::File::create(folder.join(file.name)).expect("a file");
            created.set_len(file.bytes).expect("a sparse file");
        }
    }

    #[test]
    fn files_of_another_dataset_do_not_stand_for_what_is_to_be_downloaded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        let (digits, clothes) = (download::mnist(mnist::Split::Train), download::fashion_mnist(mnist::Split::Train));
        let found = || {
            let text = format!("FashionMnist(path: {:?}, split: Train, download: true)", root.display().to_string());
            let Ok(PluginInstance::Dataset(dataset)) = plugin(&text) else { panic!("{text} is a dataset") };
            // What is there is not described, as it is all zeros.
            let files = dataset.files();
            assert_eq!(dataset.describe().is_ok(), files.is_empty());
            files
        };
        place(&root.join("MNIST/raw"), &digits);
        assert!(found().is_empty(), "the folder of another dataset");
        place(root, &digits);
        assert!(found().is_empty(), "files of another dataset's size");
        place(root, &clothes);
        assert_eq!(found(), clothes.iter().map(|file| root.join(file.name)).collect::<Vec<_>>());
        let own = root.join("FashionMNIST/raw");
        place(&own, &clothes);
        place(root, &digits);
        assert_eq!(found(), clothes.iter().map(|file| own.join(file.name)).collect::<Vec<_>>());
    }
}
