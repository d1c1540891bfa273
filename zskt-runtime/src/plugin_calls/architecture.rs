//! An architecture makes classifiers that give what it declares.

use std::sync::Arc;

use zskt_api::nn::Wanted;
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierShape, ImageShape, OutputShape, Result, WeightLayout,
};

use super::boundary::Boundary;
use super::classifier::CheckedClassifier;
use super::network::NetworkBoundary;

/// An architecture whose classifiers are compared with what it declares.
pub struct CheckedArchitecture {
    boundary: Boundary,
    inner: Arc<dyn Architecture>,
}

impl CheckedArchitecture {
    /// Wraps an architecture.
    pub fn new(boundary: Boundary, inner: Arc<dyn Architecture>) -> Self {
        Self { boundary, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl ClassifierShape for CheckedArchitecture {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.boundary.plugin.call(|| self.inner.output_shape(image))
    }

    fn classes(&self) -> usize {
        self.boundary.plugin.call(|| self.inner.classes())
    }
}

// What a plugin recognizes is asked of its registration.
impl Architecture for CheckedArchitecture {
    fn check(&self) -> Result<(), CheckError> {
        self.boundary.plugin.call(|| self.inner.check())
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let classifier = self.boundary.build_network(|| self.inner.build(builder))?;
        let boundary = self.boundary.asked_for(builder.precision().dtype(), builder.device());
        let network = NetworkBoundary::new(boundary, builder.weights())?;
        Ok(Box::new(CheckedClassifier::new(network, classifier, self.inner.clone())))
    }

    fn observable(&self) -> Wanted {
        self.boundary.plugin.call(|| self.inner.observable())
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        self.boundary.plugin.call(|| self.inner.layouts())
    }
}
