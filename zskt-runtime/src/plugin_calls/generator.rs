//! A generator makes the images that its architecture declares.

use std::sync::Arc;

use zskt_api::{
    Builder, CheckError, FeatureMap, ForwardMode, Generator, GeneratorArchitecture, GeneratorInput, GeneratorParts,
    ImageShape, Normalization, Result, StreamRng,
};

use super::boundary::Boundary;
use super::network::NetworkBoundary;
use super::numbers::{first_not_finite, first_not_finite_of_map};
use super::violation::end_run;

/// An architecture whose generators are compared with what it declares.
pub struct CheckedGeneratorArchitecture {
    boundary: Boundary,
    inner: Arc<dyn GeneratorArchitecture>,
}

impl CheckedGeneratorArchitecture {
    /// Wraps an architecture.
    pub fn new(boundary: Boundary, inner: Arc<dyn GeneratorArchitecture>) -> Self {
        Self { boundary, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl GeneratorArchitecture for CheckedGeneratorArchitecture {
    fn image(&self) -> Result<ImageShape, CheckError> {
        self.boundary.plugin.call(|| self.inner.image())
    }

    fn check(&self) -> Result<(), CheckError> {
        self.boundary.plugin.call(|| self.inner.check())
    }

    fn metadata(&self) -> Option<String> {
        self.boundary.plugin.call(|| self.inner.metadata())
    }

    fn classes(&self) -> Option<usize> {
        self.boundary.plugin.call(|| self.inner.classes())
    }

    fn batch_size(&self) -> Option<usize> {
        self.boundary.plugin.call(|| self.inner.batch_size())
    }

    fn needs_normalization(&self) -> bool {
        self.boundary.plugin.call(|| self.inner.needs_normalization())
    }

    fn parts(&self) -> Option<GeneratorParts> {
        self.boundary.plugin.call(|| self.inner.parts())
    }

    fn build(&self, builder: &Builder, normalization: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        let (image, generator) =
            (self.image()?, self.boundary.build_network(|| self.inner.build(builder, normalization))?);
        let boundary = self.boundary.asked_for(builder.precision().dtype(), builder.device());
        let network = NetworkBoundary::new(boundary, builder.weights())?;
        Ok(Box::new(CheckedGenerator::new(network, generator, image)))
    }
}

/// A generator whose images are compared with what its plugin declares.
pub struct CheckedGenerator {
    network: NetworkBoundary,
    inner: Box<dyn Generator>,
    image: ImageShape,
}

impl CheckedGenerator {
    /// Wraps what a plugin made, which declared images of this shape.
    pub fn new(network: NetworkBoundary, inner: Box<dyn Generator>, image: ImageShape) -> Self {
        Self { network, inner, image }
    }
}

#[warn(clippy::missing_trait_methods)]
impl Generator for CheckedGenerator {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let boundary = &self.network.boundary;
        let images = self.network.forward(mode, || self.inner.forward(input, mode))?;
        boundary.check_map("images", &images, input.latents.dims().first().copied().unwrap_or_default(), self.image)?;
        if boundary.looks_at_numbers()
            && let Some((_, value)) = first_not_finite_of_map(&images)?
        {
            let finite = first_not_finite(input.latents)?.is_none();
            return Err(self.network.not_finite("images", value, "latents", finite));
        }
        Ok(images)
    }

    fn replays(&self) -> bool {
        self.network.boundary.plugin.call(|| self.inner.replays())
    }

    fn latent_dim(&self) -> usize {
        self.network.boundary.plugin.call(|| self.inner.latent_dim())
    }

    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        let boundary = &self.network.boundary;
        let numbers = boundary.plugin.call(|| self.inner.sample(batch, rng));
        let (expected, found) = (batch * self.latent_dim(), numbers.len());
        if found != expected {
            let declared = format!("has to draw {expected} numbers for {batch} latents");
            end_run(boundary.violation(declared, format_args!("drew {found}")));
        }
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            end_run(boundary.violation("has to draw finite numbers", format_args!("drew {number}")));
        }
        numbers
    }

    fn redraw(&self, rng: &mut StreamRng) -> Result<()> {
        self.network.boundary.call(|| self.inner.redraw(rng))
    }

    fn constrain(&self) -> Result<()> {
        self.network.boundary.call(|| self.inner.constrain())
    }
}
