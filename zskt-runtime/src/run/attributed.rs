//! What a plugin made, with the plugin's name: a panic in it is told as that plugin's, not as that of the stage which runs it.

use std::cell::Cell;
use std::sync::Arc;

use zskt_api::candle_core::Tensor;
use zskt_api::{
    BeliefShape, Beliefs, Classifier, Fault, FeatureMap, Generator, Loss, Needs, Pass, Registration, Result, StreamRng,
    Target,
};

thread_local! {
    static BLAMED: Cell<Option<&'static Registration>> = const { Cell::new(None) };
}

/// Something of a plugin.
pub struct Attributed<T> {
    plugin: &'static Registration,
    inner: T,
}

impl<T> Attributed<T> {
    /// What the plugin made.
    pub fn new(plugin: &'static Registration, inner: T) -> Self {
        Self { plugin, inner }
    }
}

/// Lets a plugin work.
pub fn within<T>(plugin: &'static Registration, work: impl FnOnce() -> T) -> T {
    struct Within(&'static Registration);
    impl Drop for Within {
        fn drop(&mut self) {
            // The innermost is the first to unwind, also when the panic came from another thread.
            if std::thread::panicking() && BLAMED.get().is_none() {
                BLAMED.set(Some(self.0));
            }
        }
    }
    let _within = Within(plugin);
    work()
}

/// The innermost plugin that the last panic came out of.
pub fn take_blamed() -> Option<&'static Registration> {
    BLAMED.take()
}

impl Loss for Attributed<Arc<dyn Loss>> {
    fn needs(&self) -> Needs {
        within(self.plugin, || self.inner.needs())
    }
    fn check(&self, student: &BeliefShape, teacher: Option<&BeliefShape>) -> Result<(), Fault> {
        within(self.plugin, || self.inner.check(student, teacher))
    }
    fn target(&self, teacher: &Beliefs) -> Result<Vec<Tensor>> {
        within(self.plugin, || self.inner.target(teacher))
    }
    fn value(&self, student: &Beliefs, target: &Target) -> Result<Tensor> {
        within(self.plugin, || self.inner.value(student, target))
    }
}

impl Classifier for Attributed<Box<dyn Classifier>> {
    fn forward(&self, images: &FeatureMap, pass: Pass) -> Result<Beliefs> {
        within(self.plugin, || self.inner.forward(images, pass))
    }
}

impl Generator for Attributed<Box<dyn Generator>> {
    fn forward(&self, latents: &Tensor, pass: Pass) -> Result<FeatureMap> {
        within(self.plugin, || self.inner.forward(latents, pass))
    }
    fn latent_dim(&self) -> usize {
        within(self.plugin, || self.inner.latent_dim())
    }
    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        within(self.plugin, || self.inner.sample(batch, rng))
    }
}
