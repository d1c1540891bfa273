//! A teacher source brings a classifier that gives what it declares.

use std::path::PathBuf;
use std::sync::Arc;

use zskt_api::nn::Wanted;
use zskt_api::{
    Architecture, BuildContext, CheckError, ClassifierNetwork, ClassifierShape, ImageShape, Normalization, OutputShape,
    Result, TeacherSource, WeightsSource,
};

use super::boundary::Boundary;
use super::classifier::CheckedClassifier;
use super::network::NetworkBoundary;

/// A teacher source whose classifier is compared with what it declares.
pub struct CheckedTeacherSource {
    boundary: Boundary,
    inner: Arc<dyn TeacherSource>,
}

impl CheckedTeacherSource {
    /// Wraps a source.
    pub fn new(boundary: Boundary, inner: Arc<dyn TeacherSource>) -> Self {
        Self { boundary, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl ClassifierShape for CheckedTeacherSource {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.boundary.plugin.call(|| self.inner.output_shape(image))
    }

    fn classes(&self) -> usize {
        self.boundary.plugin.call(|| self.inner.classes())
    }
}

#[warn(clippy::missing_trait_methods)]
impl TeacherSource for CheckedTeacherSource {
    fn architecture(&self) -> Option<&dyn Architecture> {
        self.boundary.plugin.call(|| self.inner.architecture())
    }

    fn check(&self) -> Result<(), CheckError> {
        self.boundary.plugin.call(|| self.inner.check())
    }

    fn normalization(&self) -> Option<Normalization> {
        self.boundary.plugin.call(|| self.inner.normalization())
    }

    fn batch_norm_epsilon(&self) -> f64 {
        self.boundary.plugin.call(|| self.inner.batch_norm_epsilon())
    }

    fn observable(&self) -> Wanted {
        self.boundary.plugin.call(|| self.inner.observable())
    }

    fn accuracy(&self) -> Option<f64> {
        self.boundary.plugin.call(|| self.inner.accuracy())
    }

    fn weights_source(&self) -> Result<Option<WeightsSource>, CheckError> {
        self.boundary.plugin.call(|| self.inner.weights_source())
    }

    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let ClassifierNetwork { name, weights, forward } = self.boundary.build(|| self.inner.load(context))?;
        let boundary = self.boundary.asked_for(context.precision.dtype(), &context.device);
        if name != context.node {
            let did = format_args!("called it `{name}`");
            return Err(boundary.violation("has to call its network as its node is called", did));
        }
        let network = NetworkBoundary::new(boundary, weights.clone())?;
        let forward = Box::new(CheckedClassifier::new(network, forward, self.inner.clone()));
        Ok(ClassifierNetwork { name, weights, forward })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.boundary.plugin.call(|| self.inner.files())
    }
}
