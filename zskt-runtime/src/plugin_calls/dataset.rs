//! A dataset delivers the images that it describes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device};
use zskt_api::{
    Batch, BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Normalization, Result, StreamRng,
};

use super::boundary::Boundary;
use super::numbers::first_not_finite_of_map;

/// A source of a dataset that is compared with what the source describes.
pub struct CheckedDatasetSource {
    boundary: Boundary,
    inner: Arc<dyn DatasetSource>,
    described: Mutex<Option<DatasetSignature>>,
}

impl CheckedDatasetSource {
    /// Wraps a source.
    pub fn new(boundary: Boundary, inner: Arc<dyn DatasetSource>) -> Self {
        Self { boundary, inner, described: Mutex::default() }
    }
}

// A provided method that is not forwarded would answer for the plugin, and wrongly: clippy finds each that is missing.

#[warn(clippy::missing_trait_methods)]
impl DatasetSource for CheckedDatasetSource {
    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        let described = self.boundary.plugin.call(|| self.inner.describe())?;
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = Some(described.clone());
        Ok(described)
    }

    fn normalization(&self) -> Option<Normalization> {
        self.boundary.plugin.call(|| self.inner.normalization())
    }

    fn usual_normalization(&self, channels: usize) -> Option<Normalization> {
        self.boundary.plugin.call(|| self.inner.usual_normalization(channels))
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        let loaded = self.boundary.build(|| self.inner.load(context))?;
        // Nothing was described where the check was to leave files alone.
        let described = self.described.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Arc::new(CheckedDataset::new(self.boundary.clone(), loaded, described.as_ref())?))
    }

    fn files(&self) -> Vec<PathBuf> {
        self.boundary.plugin.call(|| self.inner.files())
    }

    fn is_unsplit(&self) -> bool {
        self.boundary.plugin.call(|| self.inner.is_unsplit())
    }
}

/// A dataset whose batches are compared with what it describes.
pub struct CheckedDataset {
    boundary: Boundary,
    inner: Arc<dyn Dataset>,
    signature: DatasetSignature,
    class_names: Vec<String>,
    /// For each image, whether its numbers have been looked at.
    seen: Mutex<Vec<bool>>,
}

impl CheckedDataset {
    /// Wraps what a plugin loaded, after it described it so.
    ///
    /// # Errors
    /// When it loaded something else.
    pub fn new(boundary: Boundary, inner: Arc<dyn Dataset>, described: Option<&DatasetSignature>) -> Result<Self> {
        let signature = boundary.plugin.call(|| inner.signature());
        if let Some(described) = described.filter(|described| **described != signature) {
            let told = |signature: &DatasetSignature| {
                format!("{} images {} of {} classes", signature.images, signature.image, signature.classes)
            };
            let declared = format!("describes {}", told(described));
            return Err(boundary.violation(declared, format_args!("loaded {}", told(&signature))));
        }
        let class_names = boundary.plugin.call(|| inner.class_names().to_vec());
        if !class_names.is_empty() && class_names.len() != signature.classes {
            let declared = format_args!("declares {} classes", signature.classes);
            return Err(boundary.violation(declared, format_args!("has names for {}", class_names.len())));
        }
        let seen = Mutex::new(vec![false; signature.images]);
        Ok(Self { boundary, inner, signature, class_names, seen })
    }

    fn check(&self, batch: &Batch, indices: &[usize], dtype: DType, device: &Device) -> Result<()> {
        let DatasetSignature { image, classes, .. } = self.signature;
        self.boundary.asked_for(dtype, device).check_map("images", &batch.images, indices.len(), image)?;
        self.boundary.asked_for(DType::U32, device).check_tensor("labels", &batch.labels, &[indices.len()])?;
        // To read them is to wait for an accelerator: once for each image is enough. Nothing is computed while the lock is held.
        let known = |seen: &Vec<bool>| indices.iter().all(|index| seen.get(*index) == Some(&true));
        if known(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let labels = batch.labels.to_vec1::<u32>()?;
        if let Some((label, index)) = labels.iter().zip(indices).find(|(label, _)| **label as usize >= classes) {
            let did = format_args!("image {index} has label {label}");
            return Err(self.boundary.violation(format_args!("declares {classes} classes, from 0"), did));
        }
        if let Some((place, value)) = first_not_finite_of_map(&batch.images)? {
            let index = indices[place / (image.channels * image.height * image.width)];
            let did = format_args!("image {index} has a pixel of {value}");
            return Err(self.boundary.violation("has to give finite pixels", did));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for index in indices {
            if let Some(seen) = seen.get_mut(*index) {
                *seen = true;
            }
        }
        Ok(())
    }
}

#[warn(clippy::missing_trait_methods)]
impl Dataset for CheckedDataset {
    fn signature(&self) -> DatasetSignature {
        self.signature.clone()
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn batch(
        &self,
        indices: &[usize],
        augment: Option<&mut StreamRng>,
        dtype: DType,
        device: &Device,
    ) -> Result<Batch> {
        let batch = self.boundary.call(|| self.inner.batch(indices, augment, dtype, device))?;
        self.check(&batch, indices, dtype, device)?;
        Ok(batch)
    }
}
