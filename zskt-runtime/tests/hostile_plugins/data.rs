//! A dataset.

use std::path::PathBuf;
use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Batch, BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Error, FeatureMap, ImageShape, Result,
    StreamRng, choice, params,
};

/// Classes of all plugins here.
pub const CLASSES: usize = 3;
/// Images of all plugins here.
pub const IMAGE: ImageShape = ImageShape { channels: 3, height: 4, width: 4 };

choice! {
    /// What a dataset does other than it describes.
    pub enum DatasetLie {
        /// Nothing.
        Honest,
        /// An image fewer than asked for.
        TooFew,
        /// It loads half as many as it describes.
        DescribesMore,
        /// Images of half the size.
        OtherShape,
        /// A pixel of NaN.
        NanPixel,
        /// A label that is no class.
        LargeLabel,
        /// The last image cannot be had.
        LastIsMissing,
    }
}

params! {
    /// Eight grey images.
    pub struct HostileDataset {
        /// What it does other than it describes.
        pub lie: DatasetLie = DatasetLie::Honest,
    }
}

fn signature(images: usize) -> DatasetSignature {
    DatasetSignature { image: IMAGE, classes: CLASSES, images }
}

impl DatasetSource for HostileDataset {
    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        Ok(signature(if self.lie == DatasetLie::DescribesMore { 16 } else { 8 }))
    }

    fn load(&self, _: &BuildContext) -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(Self { lie: self.lie }))
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl Dataset for HostileDataset {
    fn signature(&self) -> DatasetSignature {
        signature(8)
    }

    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        if self.lie == DatasetLie::LastIsMissing && indices.contains(&7) {
            return Err(Error::new("there is no image 7"));
        }
        let indices = if self.lie == DatasetLie::TooFew { &indices[1..] } else { indices };
        let size = if self.lie == DatasetLie::OtherShape { 2 } else { 4 };
        let grey = |index: &usize| match (self.lie, index) {
            (DatasetLie::NanPixel, 5) => f64::NAN,
            _ => *index as f64 / 8.0,
        };
        let label = |index: &usize| match (self.lie, index) {
            (DatasetLie::LargeLabel, 5) => CLASSES as u32,
            _ => (*index % CLASSES) as u32,
        };
        let pixels: Vec<_> = indices.iter().flat_map(|index| vec![grey(index); 3 * size * size]).collect();
        let images = Tensor::from_vec(pixels, (indices.len(), 3, size, size), device)?.to_dtype(dtype)?;
        let labels = Tensor::from_iter(indices.iter().map(label), device)?;
        Ok(Batch { images: FeatureMap::from_nchw(&images)?, labels })
    }
}

zskt_api::export! { dataset: HostileDataset }
