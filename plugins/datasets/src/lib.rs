//! Datasets: the plugins, and what they have in common. The files that they read are the business of the crate
//! `image-formats`.

mod cifar;
mod digits;
mod download;
mod image_folder;
mod mnist;
mod parquet_images;
mod preprocessing;
mod svhn;
mod synthetic_digits;
mod toy_points;

pub use cifar::{Cifar10, Cifar100};
pub use image_folder::{FolderSplit, ImageFolder};
pub use mnist::{FashionMnist, KMnist, Mnist};
pub use parquet_images::{ParquetImages, ParquetSplit};
pub use svhn::{Svhn, SvhnSplit};
pub use synthetic_digits::SyntheticDigits;
pub use toy_points::ToyPoints;

zskt_api::export! { reads: files; dataset: ImageFolder, ParquetImages }
// Where they are told to download.
zskt_api::export! { reads: network; dataset: Cifar10, Cifar100, FashionMnist, KMnist, Mnist, Svhn }
zskt_api::export! { reads: none; dataset: SyntheticDigits, ToyPoints }

#[cfg(test)]
mod tests {
    use zskt_api::testing::{conforms, plugin};
    use zskt_api::{CheckError, DatasetSignature, PluginInstance, Result};

    fn described(text: &str) -> Result<DatasetSignature, CheckError> {
        match plugin(text) {
            Ok(PluginInstance::Dataset(dataset)) => dataset.describe(),
            _ => panic!("{text} is a dataset"),
        }
    }

    #[test]
    fn what_is_to_be_downloaded_is_known_before_and_nothing_is_downloaded_unasked() {
        for (name, shape, images, classes) in [
            ("Cifar10", "3×32×32", 10_000, 10),
            ("Cifar100", "3×32×32", 10_000, 100),
            ("Svhn", "3×32×32", 26_032, 10),
            ("Mnist", "1×28×28", 10_000, 10),
            ("FashionMnist", "1×28×28", 10_000, 10),
            ("KMnist", "1×28×28", 10_000, 10),
        ] {
            let found = described(&format!("{name}(path: \"no/such\", split: Test, download: true)"));
            let told = |it: DatasetSignature| (it.image.to_string(), it.images, it.classes);
            assert_eq!(found.map(told).map_err(|fault| fault.message), Ok((shape.to_owned(), images, classes)));
            let fault = described(&format!("{name}(path: \"no/such\", split: Test)")).expect_err("nothing is there");
            assert!(fault.help.is_some_and(|help| help.contains("with `download: true` it is downloaded")), "{name}");
        }
        // What is there is what it is, right or wrong.
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("test_32x32.mat"), "version https://git-lfs.github.com/spec/v1")
            .expect("a file");
        for download in [true, false] {
            let path = folder.path().display().to_string();
            let fault = described(&format!("Svhn(path: {path:?}, split: Test, download: {download})"));
            let help = fault.expect_err("a pointer").help.expect("a way out");
            assert_eq!(help, "fetch the file with `git lfs pull`");
        }
    }

    #[test]
    fn two_channels_are_refused_where_they_are_asked_for() {
        let fault = described("ImageFolder(path: \"no/such\", split: Test, channels: 2)").expect_err("two channels");
        assert_eq!(fault.parameter.as_deref(), Some("channels"));
    }

    #[test]
    fn points_that_are_held_in_memory_are_not_more_than_fit() {
        assert!(plugin("ToyPoints(count: 1000000, split: Train)").is_ok());
        assert!(plugin("ToyPoints(count: 1000001, split: Train)").is_err());
    }

    #[test]
    fn every_synthetic_dataset_keeps_its_contract() -> Result<()> {
        for plugin in [
            "SyntheticDigits(count: 30, size: 12, split: Train)",
            "SyntheticDigits(count: 12, split: Test)",
            "ToyPoints(count: 30, split: Train)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
