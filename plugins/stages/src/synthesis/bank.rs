//! The bank: made images, as 8 bits per channel.

use std::collections::BTreeMap;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{Augmentation, Error, FeatureMap, ImageSet, ImageShape, Normalization, Result};

use crate::batch_sampler::Targets;

/// How far a pixel may be from white after it was normalized, in single precision, and back.
const ROUNDING: f64 = 1e-6;

/// Images that were made, in the order of their making.
pub struct Bank {
    augmentation: Augmentation,
    capacity: Option<usize>,
    images: Option<ImageSet>,
}

impl Bank {
    /// Without images; when it holds `capacity` of them, the oldest leave.
    pub fn new(augmentation: Augmentation, capacity: Option<usize>) -> Self {
        Self { augmentation, capacity, images: None }
    }

    /// The images; nothing before the first are added.
    pub fn images(&self) -> Option<&ImageSet> {
        self.images.as_ref()
    }

    /// Adds images `[B, C, H, W]` in normalized space. What an image cannot hold is cut off, and pixels are truncated to whole numbers
    /// from 0 to 255, as the public code of the methods does: 0.999 becomes 254.
    pub fn add(
        &mut self,
        images: &FeatureMap,
        labels: Option<&Tensor>,
        targets: Option<&Targets>,
        normalization: &Normalization,
    ) -> Result<()> {
        let shape = images.image();
        let pixels = to_bytes(images, normalization)?;
        let labels = match labels {
            Some(labels) => labels.to_vec1::<u32>()?,
            None => vec![0; images.batch()],
        };
        self.append(shape, pixels, labels, targets, normalization)
    }

    fn append(
        &mut self,
        shape: ImageShape,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        targets: Option<&Targets>,
        normalization: &Normalization,
    ) -> Result<()> {
        match &mut self.images {
            Some(images) => images.append(pixels, labels, self.capacity),
            none => {
                let classes = targets.map_or(1, |targets| targets.classes);
                let mut images = ImageSet::new(shape, classes, pixels, labels)?
                    .normalize(&normalization.mean, &normalization.std)?
                    .augment(self.augmentation);
                images.append(Vec::new(), Vec::new(), self.capacity)?;
                *none = Some(images);
                Ok(())
            }
        }
    }

    /// The images by name.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let Some(images) = &self.images else { return Ok(BTreeMap::new()) };
        let ImageShape { channels, height, width } = images.shape();
        let pixels = Tensor::from_slice(images.pixels(), (images.len(), channels, height, width), &Device::Cpu)?;
        let labels = Tensor::from_slice(images.labels(), images.len(), &Device::Cpu)?;
        Ok([("bank.pixels".to_owned(), pixels), ("bank.labels".to_owned(), labels)].into())
    }

    /// Continues with saved images.
    pub fn restore(
        &mut self,
        state: &BTreeMap<String, Tensor>,
        targets: Option<&Targets>,
        normalization: &Normalization,
    ) -> Result<()> {
        self.images = None;
        let (Some(pixels), Some(labels)) = (state.get("bank.pixels"), state.get("bank.labels")) else { return Ok(()) };
        let (_, channels, height, width) = pixels.dims4()?;
        let shape = ImageShape::new(channels, height, width);
        let pixels = pixels.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u8>()?;
        let labels = labels.to_device(&Device::Cpu)?.to_vec1::<u32>()?;
        self.append(shape, pixels, labels, targets, normalization)
    }
}

fn to_bytes(images: &FeatureMap, normalization: &Normalization) -> Result<Vec<u8>> {
    let ImageShape { channels, height, width } = images.image();
    if normalization.mean.len() != channels {
        let known = normalization.mean.len();
        return Err(Error::new(format!("images of {channels} channels, but the normalization has {known}")));
    }
    let numbers = images.to_nchw()?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f64>()?;
    let planes = numbers.chunks_exact((height * width).max(1));
    let scales = normalization.mean.iter().zip(&normalization.std).cycle();
    // White is 255, though it comes back from the normalized space as a little less.
    let to_byte = |number: f64, mean: f64, std: f64| match (number * std + mean).clamp(0.0, 1.0) {
        pixel if pixel > 1.0 - ROUNDING => u8::MAX,
        pixel => (pixel * 255.0) as u8,
    };
    let plane = |(plane, (mean, std)): (&[f64], (&f64, &f64))| {
        plane.iter().map(|number| to_byte(*number, *mean, *std)).collect::<Vec<_>>()
    };
    Ok(planes.zip(scales).flat_map(plane).collect())
}
