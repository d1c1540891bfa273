//! A trained classifier out of an ONNX model, as layers of our own.
//!
//! ```text
//! file ─ onnx-model ─▶ graph ─ lowering, operations ─▶ plan ─ fusion ─▶ plan ─ network ─▶ layers with weights
//! ```
//!
//! Shapes are known from the plan, for images of every size that the model takes, before anything is built.

mod array;
mod fusion;
mod lowering;
mod model_file;
mod network;
mod operations;
mod plan;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use zskt_api::candle_core::DType;
use zskt_api::nn::{Activation, Wanted};
use zskt_api::{
    BuildContext, Builder, CheckError, ClassifierNetwork, ClassifierShape, Error, FoundWeights, ImageShape,
    Normalization, OnnxOrigin, OutputShape, Result, TeacherSource, WeightsSource, params, serde_json,
};

use lowering::{Fault, Lowered, lower};
use model_file::{KnownModel, ModelFile};
use network::Network;
use onnx_model::{Model, printable};
use plan::{Layer, Slot};

/// How many nodes that are not taken are listed.
const MOST_NODES: usize = 1000;

params! {
    /// A trained classifier from an ONNX model, as PyTorch, timm, TensorFlow and Keras export them.
    ///
    /// It is computed by layers of zskt, with gradients of the images. A softmax at its end is taken off. Every operation that is not
    /// taken is listed before the run.
    pub struct Onnx {
        /// The model. Its external data is read from files in its own folder.
        pub path: ModelFile,
        /// The output with the logits, where the model has several.
        pub output: Option<String> = None,
        /// The maps that losses such as attention transfer compare, from input to output: names of nodes, or of what they make.
        pub activations: Vec<String> = Vec::new(),
        /// Mean of each channel of the images that it was trained on, pixels being from 0 to 1: datasets follow it. Left out, it is what
        /// the model's metadata says, if it was exported by zskt, or else 0 where the model itself begins by normalizing pixels from 0 to
        /// 1: by constants, as `(x − mean) / std`.
        pub mean: Option<Vec<f64>> = None => 0.0..=1.0,
        /// Standard deviation of each channel. Left out, as `mean`; 1 where the model normalizes.
        pub std: Option<Vec<f64>> = None => 0.001..=1.0,
        /// The share of test images that it is known to classify rightly, 0.9372: it warns where a metric finds far less.
        pub accuracy: Option<f64> = None => 0.0..=1.0,
    }
}

impl ClassifierShape for Onnx {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.model()?.plan.output_shape(image)
    }

    fn classes(&self) -> usize {
        self.model().map_or(0, |model| model.plan.classes)
    }
}

impl TeacherSource for Onnx {
    fn check(&self) -> Result<(), CheckError> {
        Normalization::check(self.mean.as_deref(), self.std.as_deref())?;
        self.model().map(|_| ())
    }

    fn normalization(&self) -> Option<Normalization> {
        let stated = Normalization::of(self.mean.as_ref(), self.std.as_ref());
        stated.or_else(|| self.model().ok().and_then(|model| model.normalization.clone()))
    }

    fn observable(&self) -> Wanted {
        let shapes =
            |model: &KnownModel| Builder::shapes_of(|builder| Network::build(&model.plan, builder).map(drop)).ok();
        let shapes = self.model().ok().and_then(shapes);
        shapes.map_or(Wanted { batch_norms: true, features: true }, |shapes| Wanted::in_network(&shapes))
    }

    fn accuracy(&self) -> Option<f64> {
        self.accuracy
    }

    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let (Lowered { plan, weights }, _) = self.read().map_err(|fault| match &fault.help {
            Some(help) => Error::new(format!("{}; {help}", fault.message)),
            None => Error::new(fault.message),
        })?;
        for (name, tensor) in &weights {
            let sum = tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
            if !sum.is_finite() {
                let path = self.path.path().display();
                return Err(Error::new(format!("`{name}` in `{path}` holds numbers that are not finite")));
            }
        }
        let builder = Builder::zeros(context.precision, &context.device);
        let forward = Network::build(&plan, &builder)?;
        let network = builder.weights();
        network.load(&weights)?;
        Ok(ClassifierNetwork { name: context.node.clone(), weights: network, forward: Box::new(forward) })
    }

    fn weights_source(&self) -> Result<Option<WeightsSource>, CheckError> {
        let file = printable(&self.path.path().to_string_lossy());
        self.model().map(|model| Some(WeightsSource { file, found: FoundWeights::Onnx(model.origin.clone()) }))
    }

    fn files(&self) -> Vec<PathBuf> {
        let external = self.model().map(|model| model.external_files.clone()).unwrap_or_default();
        [self.path.path().to_path_buf()].into_iter().chain(external).collect()
    }
}

impl Onnx {
    /// What is known of the model without its weights.
    fn model(&self) -> Result<&KnownModel, CheckError> {
        self.path.known(|| {
            let (lowered, model) = self.read()?;
            let pixels = || normalizes(&lowered).then(|| Normalization::identity(lowered.plan.images.channels));
            let normalization = normalization(&model.metadata).or_else(pixels);
            let plan = lowered.plan;
            let output = self.output.as_deref().or_else(|| {
                let port = model.graph.outputs.first()?;
                Some(model.graph.name_of(port.value))
            });
            let origin = OnnxOrigin {
                opset: model.opset.unwrap_or_default(),
                producer: printable(&model.producer),
                output: printable(output.unwrap_or_default()),
                softmax: plan.softmax.clone(),
            };
            Ok(KnownModel { plan, normalization, origin, external_files: model.external_files })
        })
    }

    /// The network, and the model that it is made of.
    fn read(&self) -> Result<(Lowered, Model), CheckError> {
        let path = self.path.path();
        let model = onnx_model::read(path).map_err(|error| {
            let message = format!("cannot take a network from `{}`: {}", path.display(), error.kind);
            CheckError::parameter("path", message).help(error.kind.help())
        })?;
        let lowered = lower(&model, self.output.as_deref(), &self.activations).map_err(|fault| shown(path, fault))?;
        Ok((lowered, model))
    }
}

/// What zskt writes beside a model that it exports.
fn normalization(metadata: &BTreeMap<String, String>) -> Option<Normalization> {
    let numbers = |key: &str| serde_json::from_str::<Vec<f64>>(metadata.get(key)?).ok();
    Normalization::of(numbers("mean").as_ref(), numbers("std").as_ref()).filter(Normalization::is_sound)
}

/// Whether all that is made of the images is `(x − mean) / std`, by numbers that pixels from 0 to 1 have.
fn normalizes(Lowered { plan, weights }: &Lowered) -> bool {
    let mut takers = plan.steps.iter().filter(|step| step.inputs.contains(&Slot(0)));
    let (Some(step), None) = (takers.next(), takers.next()) else { return false };
    if !matches!(step.layer, Layer::Affine { activation: Activation::Identity, .. }) {
        return false;
    }
    let numbers = |weight: &str| {
        let tensor = weights.get(&format!("{}.{weight}", step.name))?;
        tensor.to_dtype(DType::F64).ok()?.to_vec1::<f64>().ok()
    };
    let (Some(scale), Some(shift)) = (numbers("scale"), numbers("shift")) else { return false };
    scale.iter().zip(shift).all(|(scale, shift)| {
        let (mean, std) = (-shift / scale, 1.0 / scale);
        mean > 0.0 && mean < 1.0 && (0.001..=1.0).contains(&std)
    })
}

fn shown(path: &Path, fault: Fault) -> CheckError {
    let path = path.display();
    match fault {
        Fault::Model(what, help) => {
            CheckError::parameter("path", format!("cannot take a network from `{path}`: {what}")).help(help)
        }
        Fault::Name { parameter, message, help } => {
            let error = CheckError::parameter(parameter, message);
            if let Some(help) = help { error.help(help) } else { error }
        }
        Fault::Nodes(nodes) => {
            let (count, plural) = (nodes.len(), if nodes.len() == 1 { "" } else { "s" });
            let message = format!("{count} operation{plural} of `{path}` cannot be taken");
            let mut help =
                "docs/teachers.md says which operations are, and how to export a model with them".to_string();
            for node in nodes.iter().take(MOST_NODES) {
                help.push_str("\n  ");
                help.push_str(node);
            }
            if count > MOST_NODES {
                help.push_str(&format!("\n  and {} more", count - MOST_NODES));
            }
            CheckError::parameter("path", message).help(help)
        }
    }
}
