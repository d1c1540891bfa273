//! Datasets: the plugins, and what they have in common. The files that they read are the business of the crate
//! `image-formats`.

mod cifar;
mod digits;
mod parquet_images;
mod preprocessing;
mod svhn;
mod synthetic_digits;

pub use cifar::{Cifar10, Cifar100};
pub use parquet_images::{ParquetImages, ParquetSplit};
pub use svhn::{Svhn, SvhnSplit};
pub use synthetic_digits::SyntheticDigits;

zskt_api::export! { reads: files; dataset: Cifar10, Cifar100, ParquetImages, Svhn }
zskt_api::export! { reads: none; dataset: SyntheticDigits }

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
