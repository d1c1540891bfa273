//! Datasets: one file per plugin; the file formats they read are in [`formats`], as functions without a pipeline.

mod cifar10;
mod cifar100;
mod data_error;
pub mod digits;
pub mod formats;
mod parquet_images;
mod preparation;
mod raw_images;
mod svhn;
mod synthetic_digits;

pub use cifar10::Cifar10;
pub use cifar100::Cifar100;
pub use data_error::DataError;
pub use parquet_images::{ParquetImages, ParquetSplit};
pub use raw_images::{ImageHeader, RawImages};
pub use svhn::{Svhn, SvhnSplit};
pub use synthetic_digits::SyntheticDigits;

zskt_api::export! { dataset: Cifar10, Cifar100, ParquetImages, Svhn, SyntheticDigits }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_synthetic_dataset_keeps_its_contract() -> Result<()> {
        for plugin in ["SyntheticDigits(count: 30, size: 12, split: Train)", "SyntheticDigits(count: 12, split: Test)"]
        {
            conforms(plugin)?;
        }
        Ok(())
    }
}
