//! Datasets: real images with labels.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::BuildContext;
use crate::{Batch, CheckError, DatasetSignature, ImageSet, Normalization, Result, StreamRng, choice};

choice! {
    /// Which part of a dataset.
    pub enum Split {
        /// Images to learn from.
        Train,
        /// Images to measure on.
        Test,
    }
}

/// A plugin that brings labelled images.
pub trait DatasetSource: Send + Sync {
    /// Its shape, from the header alone: fast enough to be asked before every run.
    ///
    /// # Errors
    /// What is wrong with the files or the parameters, and the way out.
    fn describe(&self) -> Result<DatasetSignature, CheckError>;

    /// The normalization that its parameters state. Without one, [`load`](Self::load) takes that of its
    /// [context](BuildContext::normalization), which is the teacher's, or else its own.
    fn normalization(&self) -> Option<Normalization> {
        None
    }

    /// The normalization that networks are usually trained with on it, its images having so many channels. The pipeline's networks and
    /// datasets follow the first dataset's where no teacher has one and no dataset states one.
    fn usual_normalization(&self, _channels: usize) -> Option<Normalization> {
        None
    }

    /// Loads the images.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>>;

    /// The files the images are read from, for the run's manifest.
    fn files(&self) -> Vec<std::path::PathBuf>;

    /// Whether its files are not split: whichever part its parameters ask for, it gives all their images.
    fn is_unsplit(&self) -> bool {
        false
    }
}

/// Labelled images at hand.
pub trait Dataset: Send + Sync {
    /// Its shape.
    fn signature(&self) -> DatasetSignature;

    /// What its classes are called, in the order of their numbers; empty where nobody knows. Reports and TensorBoard show them.
    fn class_names(&self) -> &[String] {
        &[]
    }

    /// The images of these indices in this order; augmented when there is a random generator to do it with, and the
    /// dataset augments. Without one the same indices give the same images each time: metrics share what networks make of them.
    ///
    /// # Errors
    /// When an index is out of range or the device fails.
    fn batch(&self, indices: &[usize], augment: Option<&mut StreamRng>, dtype: DType, device: &Device)
    -> Result<Batch>;
}

impl Dataset for ImageSet {
    fn signature(&self) -> DatasetSignature {
        DatasetSignature { image: self.shape(), classes: self.classes(), images: self.len() }
    }

    fn class_names(&self) -> &[String] {
        self.class_names()
    }

    fn batch(
        &self,
        indices: &[usize],
        augment: Option<&mut StreamRng>,
        dtype: DType,
        device: &Device,
    ) -> Result<Batch> {
        self.batch(indices, augment, dtype, device)
    }
}
