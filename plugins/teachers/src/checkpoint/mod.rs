//! A trained classifier: an architecture, and a file with its weights.

mod misfit;
mod numbers;
mod rename;
mod selection;

use std::collections::BTreeMap;
use std::path::PathBuf;

use torch_checkpoint::{ErrorKind, ReadError, WeightsFile, printable};
use zskt_api::candle_core::{Device, Tensor};
use zskt_api::nn::{BatchNorm2d, Wanted};
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, ClassifierNetwork, ClassifierShape, Error, FoundWeights,
    ImageShape, Nested, Normalization, OutputShape, Precision, Result, TeacherSource, Weights, WeightsSource, params,
};

pub use rename::{NamePattern, Rename};
use selection::{Choice, Selected};

params! {
    /// A trained classifier from a file.
    ///
    /// The file is safetensors or anything that `torch.save` wrote, before PyTorch 1.6 or since: a state dict, a checkpoint that has
    /// one in it, a network saved whole; the index of a sharded file; or a folder of Hugging Face or timm. What is in a pickle is read,
    /// never run. The network is found by the names and shapes of its weights, whatever it is wrapped in and whatever stands before
    /// its names, under the architecture's own names or those of the codebases that it knows.
    pub struct Checkpoint {
        /// The architecture that the weights are for.
        pub model: Nested<dyn Architecture>,
        /// The file, whatever it is called, or the folder.
        pub path: PathBuf,
        /// Which network, where the file has several that fit: the keys that lead to it, joined by dots (`teacher_state_dict`), and
        /// what stands before its names (`state_dict.teacher`).
        pub key: Option<String> = None,
        /// What stands before the names of the weights and is taken off (`module.`); only weights with it are taken. Left out, it is
        /// found; `""` takes nothing off.
        pub prefix: Option<String> = None,
        /// What makes the architecture's names of the file's: pairs of a regular expression and what takes the place of each match,
        /// applied in order: `[("shortcut[.]", "downsample."), ("^linear", "fc")]`. `${1}` is the first group of the pattern.
        pub rename: Vec<Rename> = Vec::new(),
        /// Weights of the file that are not wanted: regular expressions that match all of a name, as in `["criterion.*"]`.
        pub ignore: Vec<NamePattern> = Vec::new(),
        /// Mean of each channel of the images that it was trained on, pixels being from 0 to 1: datasets follow it. Left out, it is what
        /// the file's metadata says, if it was exported by zskt, or `config.json` or `preprocessor_config.json` beside the weights.
        pub mean: Option<Vec<f64>> = None => 0.0..=1.0,
        /// Standard deviation of each channel. Left out, as `mean`.
        pub std: Option<Vec<f64>> = None => 0.001..=1.0,
        /// What the network's batch norms add to the variance, where that is not PyTorch's 1e-5: `bn_eps` in timm, 1e-3 in many networks that
        /// come from TensorFlow. Weights do not tell it, and another number gives other logits.
        pub batch_norm_eps: Option<f64> = None => 0.0..=1.0,
        /// The share of test images that it is known to classify rightly, 0.9372: it warns where a metric finds far less.
        pub accuracy: Option<f64> = None => 0.0..=1.0,
    }
}

impl ClassifierShape for Checkpoint {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.model.output_shape(image)
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }
}

impl TeacherSource for Checkpoint {
    fn architecture(&self) -> Option<&dyn Architecture> {
        Some(&*self.model)
    }

    fn check(&self) -> Result<(), CheckError> {
        Normalization::check(self.mean.as_deref(), self.std.as_deref())?;
        let (mut file, selected) = self.selected()?;
        self.check_numbers(&mut file, &selected)?;
        self.check_epsilon()?;
        self.check_stated_normalization()
    }

    fn batch_norm_epsilon(&self) -> f64 {
        self.batch_norm_eps.unwrap_or(BatchNorm2d::EPSILON)
    }

    fn normalization(&self) -> Option<Normalization> {
        let own = Normalization::of(self.mean.as_ref(), self.std.as_ref());
        own.or_else(|| self.stated_normalization().filter(Normalization::is_of_unit_pixels))
    }

    fn accuracy(&self) -> Option<f64> {
        self.accuracy
    }

    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let builder = Builder::zeros(context.precision, &context.device);
        let builder = builder.with_batch_norm_epsilon(self.batch_norm_epsilon());
        let forward = self.model.build(&builder)?;
        let weights = builder.weights();
        let with_help = |fault: CheckError| match fault.help {
            Some(help) => Error::new(format!("{}; {help}", fault.message)),
            None => Error::new(fault.message),
        };
        let mut file = WeightsFile::open(&self.path).map_err(|error| Error::new(error.to_string()))?;
        let Selected { dict, names, .. } = self.select(&mut file, &weights).map_err(with_help)?;
        let names = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        let tensors = file.read(dict, &names).map_err(|error| Error::new(error.to_string()))?;
        self.numbers_are_sound(&tensors).map_err(with_help)?;
        weights.load(&tensors)?;
        Ok(ClassifierNetwork { name: context.node.clone(), weights, forward })
    }

    fn weights_source(&self) -> Result<Option<WeightsSource>, CheckError> {
        let (_, Selected { place, .. }) = self.selected()?;
        let file = printable(&self.path.to_string_lossy());
        Ok(Some(WeightsSource { file, found: FoundWeights::StateDict(place) }))
    }

    fn files(&self) -> Vec<PathBuf> {
        WeightsFile::open(&self.path).map_or_else(|_| vec![self.path.clone()], |file| file.files().to_vec())
    }
}

impl Checkpoint {
    /// The file, and the network's weights in it.
    fn selected(&self) -> Result<(WeightsFile, Selected), CheckError> {
        let mut file = WeightsFile::open(&self.path).map_err(|error| fault(&error))?;
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        self.model.build(&builder).map_err(|error| CheckError::parameter("model", error.to_string()))?;
        let selected = self.select(&mut file, &builder.weights())?;
        Ok((file, selected))
    }

    /// Finds the network's weights in the file.
    fn select(&self, file: &mut WeightsFile, weights: &Weights) -> Result<Selected, CheckError> {
        let choice = Choice::new(self, weights)?;
        match choice.select(file)? {
            Ok(selected) => Ok(selected),
            Err(refused) => Err(misfit::explain(file, &choice, &refused)),
        }
    }

    /// A pipeline has to say what is written beside the weights: where a run's network is exported the file may be gone.
    fn check_epsilon(&self) -> Result<(), CheckError> {
        if self.batch_norm_eps.is_some() {
            return Ok(());
        }
        let file = WeightsFile::open(&self.path).map_err(|error| fault(&error))?;
        let Some(stated) = file.configuration().and_then(|found| found.batch_norm_epsilon) else { return Ok(()) };
        let shapes = Builder::shapes_of(|builder| self.model.build(builder).map(drop));
        if !shapes.is_ok_and(|shapes| Wanted::in_network(&shapes).batch_norms) {
            return Ok(());
        }
        let message = format!(
            "what lies beside the weights in `{}` says that its batch norms add {stated:?} to the variance, and those of `Checkpoint` add {:?}: \
             its logits would be others",
            self.path.display(),
            BatchNorm2d::EPSILON
        );
        Err(CheckError::parameter("batch_norm_eps", message).help(format!("write `batch_norm_eps: {stated:?}`")))
    }

    /// What is written beside the weights.
    fn stated_normalization(&self) -> Option<Normalization> {
        let file = WeightsFile::open(&self.path).ok()?;
        let found = file.configuration()?;
        Normalization::of(found.mean.as_ref(), found.std.as_ref())
    }

    /// What is written beside the weights is followed without a word, so it has to be what the parameters may be.
    fn check_stated_normalization(&self) -> Result<(), CheckError> {
        let own = Normalization::of(self.mean.as_ref(), self.std.as_ref());
        let Some(stated) = self.stated_normalization().filter(|stated| own.is_none() && !stated.is_of_unit_pixels())
        else {
            return Ok(());
        };
        let message = format!(
            "what lies beside the weights in `{}` states {stated}, which is not of pixels from 0 to 1",
            self.path.display()
        );
        Err(CheckError::parameter("mean", message).help(match stated.of_bytes() {
            Some(Normalization { mean, std }) => format!("divided by 255 it is: write `mean: {mean:?}, std: {std:?}`"),
            None => "write `mean` and `std` as they were in its training".into(),
        }))
    }

    /// Reads the weights: numbers that no network computes with are found before anything is run.
    fn check_numbers(&self, file: &mut WeightsFile, selected: &Selected) -> Result<(), CheckError> {
        let Selected { dict, names, .. } = selected;
        let state = numbers::State::of(file.files(), format!("{dict} {names:?}"));
        if state.as_ref().is_some_and(numbers::State::was_sound) {
            return Ok(());
        }
        let names = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        let tensors = file.read(*dict, &names).map_err(|error| fault(&error))?;
        self.numbers_are_sound(&tensors)?;
        if let Some(state) = state {
            state.remember();
        }
        Ok(())
    }

    /// A network with weights that are no numbers would blame whatever learns from it.
    fn numbers_are_sound(&self, tensors: &BTreeMap<String, Tensor>) -> Result<(), CheckError> {
        let fault = |message: String| CheckError::parameter("path", message);
        for (name, tensor) in tensors {
            let unsound = numbers::unsound(name, tensor).map_err(|error| fault(error.to_string()))?;
            if let Some(what) = unsound {
                let message = format!("`{}` in `{}` holds {what}", printable(name), self.path.display());
                return Err(fault(message).help("take an earlier checkpoint, or another network of the file by `key`"));
            }
        }
        Ok(())
    }
}

fn fault(error: &ReadError) -> CheckError {
    let parameter = if matches!(error.kind, ErrorKind::UnknownKey { .. }) { "key" } else { "path" };
    let message = format!("cannot take weights from `{}`: {}", error.path.display(), error.kind);
    CheckError::parameter(parameter, message).help(error.kind.help())
}
