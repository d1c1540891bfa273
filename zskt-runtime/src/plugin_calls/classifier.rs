//! A classifier gives what its shape declares.

use std::sync::{Arc, Mutex, PoisonError};

use zskt_api::{
    Classifier, ClassifierOutput, ClassifierShape, Error, FeatureMap, ForwardMode, ImageShape, OutputShape, Result,
};

use super::network::NetworkBoundary;
use super::numbers::{first_not_finite, first_not_finite_of_map};

/// A classifier whose outputs are compared with what its plugin declares.
pub struct CheckedClassifier {
    network: NetworkBoundary,
    inner: Box<dyn Classifier>,
    shape: Arc<dyn ClassifierShape>,
    /// What it declares for the images it has met.
    declared: Mutex<Vec<(ImageShape, OutputShape)>>,
}

impl CheckedClassifier {
    /// Wraps what a plugin made.
    pub fn new(network: NetworkBoundary, inner: Box<dyn Classifier>, shape: Arc<dyn ClassifierShape>) -> Self {
        Self { network, inner, shape, declared: Mutex::default() }
    }

    fn declared(&self, image: ImageShape) -> Result<OutputShape> {
        let declared = || self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, shape)) = declared().iter().find(|(known, _)| *known == image) {
            return Ok(shape.clone());
        }
        let shape = self.network.boundary.call(|| self.shape.output_shape(image).map_err(Error::from))?;
        declared().push((image, shape.clone()));
        Ok(shape)
    }

    fn check(&self, output: &ClassifierOutput, declared: &OutputShape, batch: usize) -> Result<()> {
        let boundary = &self.network.boundary;
        boundary.check_tensor("logits", &output.logits, &[batch, declared.classes])?;
        let (expected, found) = (declared.activations.len(), output.activations.len());
        if expected != found {
            return Err(
                boundary.violation(format_args!("declares {expected} activations"), format_args!("gave {found}"))
            );
        }
        for (activation, image) in output.activations.iter().zip(&declared.activations) {
            boundary.check_map("activations", activation, batch, *image)?;
        }
        Ok(())
    }
}

// A provided method that is not forwarded would answer for the plugin, and wrongly: clippy finds each that is missing.

#[warn(clippy::missing_trait_methods)]
impl Classifier for CheckedClassifier {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let declared = self.declared(images.image())?;
        let output = self.network.forward(mode, || self.inner.forward(images, mode))?;
        self.check(&output, &declared, images.batch())?;
        if self.network.boundary.looks_at_numbers()
            && let Some((_, value)) = first_not_finite(&output.logits)?
        {
            let finite = first_not_finite_of_map(images)?.is_none();
            return Err(self.network.not_finite("logits", value, "images", finite));
        }
        Ok(output)
    }

    fn replays(&self) -> bool {
        self.network.boundary.plugin.call(|| self.inner.replays())
    }
}
