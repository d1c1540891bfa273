//! What a plugin made, with the plugin's name: a panic in it is told as that plugin's, not as that of the stage which runs it.

use std::cell::Cell;
use std::sync::Arc;

use zskt_api::candle_core::Tensor;
use zskt_api::{
    CheckError, Classifier, ClassifierOutput, FeatureMap, ForwardMode, Generator, Loss, LossInputs, LossTarget,
    OutputShape, PluginRegistration, Result, StreamRng,
};

thread_local! {
    static PANICKING: Cell<Option<&'static PluginRegistration>> = const { Cell::new(None) };
}

/// What a plugin made, and which plugin that is.
pub struct AttributedPlugin<T> {
    plugin: &'static PluginRegistration,
    inner: T,
}

impl<T> AttributedPlugin<T> {
    /// Names the plugin that made it.
    pub fn new(plugin: &'static PluginRegistration, inner: T) -> Self {
        Self { plugin, inner }
    }

    fn inside<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        attribute_panics(self.plugin, || work(&self.inner))
    }
}

/// Lets a plugin work. If it panics, it is the one that [`take_panicking_plugin`] gives.
pub fn attribute_panics<T>(plugin: &'static PluginRegistration, work: impl FnOnce() -> T) -> T {
    struct Within(&'static PluginRegistration);
    impl Drop for Within {
        fn drop(&mut self) {
            // The innermost is the first to unwind, also when the panic came from another thread.
            if std::thread::panicking() && PANICKING.get().is_none() {
                PANICKING.set(Some(self.0));
            }
        }
    }
    let _within = Within(plugin);
    work()
}

/// The innermost plugin that the last panic came out of.
pub fn take_panicking_plugin() -> Option<&'static PluginRegistration> {
    PANICKING.take()
}

// A provided method that is not forwarded would answer for the plugin, and wrongly: clippy finds each that is missing.

#[warn(clippy::missing_trait_methods)]
impl Loss for AttributedPlugin<Arc<dyn Loss>> {
    fn needs(&self) -> LossInputs {
        self.inside(|loss| loss.needs())
    }
    fn check(&self, student: &OutputShape, teacher: Option<&OutputShape>) -> Result<(), CheckError> {
        self.inside(|loss| loss.check(student, teacher))
    }
    fn target(&self, teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
        self.inside(|loss| loss.target(teacher))
    }
    fn replays(&self) -> bool {
        self.inside(|loss| loss.replays())
    }
    fn value(&self, student: &ClassifierOutput, target: &LossTarget) -> Result<Tensor> {
        self.inside(|loss| loss.value(student, target))
    }
}

#[warn(clippy::missing_trait_methods)]
impl Classifier for AttributedPlugin<Box<dyn Classifier>> {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        self.inside(|classifier| classifier.forward(images, mode))
    }
    fn replays(&self) -> bool {
        self.inside(|classifier| classifier.replays())
    }
}

#[warn(clippy::missing_trait_methods)]
impl Generator for AttributedPlugin<Box<dyn Generator>> {
    fn forward(&self, latents: &Tensor, mode: ForwardMode) -> Result<FeatureMap> {
        self.inside(|generator| generator.forward(latents, mode))
    }
    fn replays(&self) -> bool {
        self.inside(|generator| generator.replays())
    }
    fn latent_dim(&self) -> usize {
        self.inside(|generator| generator.latent_dim())
    }
    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        self.inside(|generator| generator.sample(batch, rng))
    }
}

#[cfg(test)]
mod tests {
    use super::AttributedPlugin;
    use std::sync::Arc;

    use candle_core::{Device, Tensor};
    use zskt_api::{
        CheckError, Classifier, ClassifierOutput, Error, FeatureMap, ForwardMode, Generator, Loss, LossInputs,
        LossTarget, OutputShape, PluginRegistration, RandomStreams, Result, StreamRng, params,
    };

    params! {
        /// Answers every question, with something that is not the default.
        pub struct Talkative {
            /// What it answers when it is asked whether it may be replayed.
            pub replays: bool,
        }
    }

    impl Loss for Talkative {
        fn needs(&self) -> LossInputs {
            LossInputs { teacher: true, labels: true }
        }
        fn check(&self, _student: &OutputShape, _teacher: Option<&OutputShape>) -> Result<(), CheckError> {
            Err(CheckError::new("asked in vain"))
        }
        fn target(&self, _teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
            Err(Error::new("no target"))
        }
        fn replays(&self) -> bool {
            self.replays
        }
        fn value(&self, _student: &ClassifierOutput, _target: &LossTarget) -> Result<Tensor> {
            Err(Error::new("no value"))
        }
    }

    impl Classifier for Talkative {
        fn forward(&self, _images: &FeatureMap, _mode: ForwardMode) -> Result<ClassifierOutput> {
            Err(Error::new("no beliefs"))
        }
        fn replays(&self) -> bool {
            self.replays
        }
    }

    impl Generator for Talkative {
        fn forward(&self, _latents: &Tensor, _mode: ForwardMode) -> Result<FeatureMap> {
            Err(Error::new("no images"))
        }
        fn replays(&self) -> bool {
            self.replays
        }
        fn latent_dim(&self) -> usize {
            3
        }
        fn sample(&self, batch: usize, _rng: &mut StreamRng) -> Vec<f64> {
            vec![7.0; batch]
        }
    }

    static PLUGIN: PluginRegistration = PluginRegistration::loss::<Talkative>("zskt-test", "1.2.3");

    fn message<T>(result: Result<T>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_a_plugin_answers_arrives() {
        let tensor = Tensor::zeros((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let images = FeatureMap::from_nchw(&tensor.reshape((1, 2, 1, 1)).unwrap()).unwrap();
        let output = ClassifierOutput { logits: tensor.clone(), activations: Vec::new() };
        let shape = OutputShape { classes: 2, activations: Vec::new() };
        for replays in [true, false] {
            let plugin = || Talkative { replays };
            let loss: Arc<dyn Loss> = Arc::new(plugin());
            let loss = AttributedPlugin::new(&PLUGIN, loss);
            assert_eq!(loss.needs(), LossInputs { teacher: true, labels: true });
            assert_eq!(loss.check(&shape, None).unwrap_err().message, "asked in vain");
            assert_eq!(message(loss.target(&output)), "no target");
            assert_eq!(message(loss.value(&output, &LossTarget { teacher: Vec::new(), labels: None })), "no value");
            assert_eq!(loss.replays(), replays);

            let classifier: Box<dyn Classifier> = Box::new(plugin());
            let classifier = AttributedPlugin::new(&PLUGIN, classifier);
            assert_eq!(message(classifier.forward(&images, ForwardMode::eval())), "no beliefs");
            assert_eq!(classifier.replays(), replays);

            let generator: Box<dyn Generator> = Box::new(plugin());
            let generator = AttributedPlugin::new(&PLUGIN, generator);
            assert_eq!(message(generator.forward(&tensor, ForwardMode::eval())), "no images");
            assert_eq!(generator.latent_dim(), 3);
            assert_eq!(generator.sample(2, &mut RandomStreams::new(0).at("test", 0)), [7.0, 7.0]);
            assert_eq!(generator.replays(), replays);
        }
    }
}
