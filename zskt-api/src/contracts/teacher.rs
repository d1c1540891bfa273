//! Teacher sources: where trained classifiers come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BuildContext, ClassifierNetwork};
use crate::nn::{BatchNorm2d, Wanted};
use crate::{Architecture, CheckError, ClassifierShape, Normalization, Result};

/// A plugin that brings a trained classifier.
pub trait TeacherSource: ClassifierShape {
    /// The architecture that its parameters name, where they name one: its parameters are checked, and its weights counted,
    /// without the files. Without one, shapes are asked for only where the files have been checked.
    fn architecture(&self) -> Option<&dyn Architecture> {
        None
    }

    /// Checks, without building anything, that the knowledge is there: the file exists, and its names and shapes fit.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    fn check(&self) -> Result<(), CheckError>;

    /// How the images are normalized that it was trained on, where that is known. Datasets and generators of the pipeline follow it.
    fn normalization(&self) -> Option<Normalization> {
        None
    }

    /// What the batch norms of its architecture add to the variance, for whoever builds that without [`load`](Self::load).
    fn batch_norm_epsilon(&self) -> f64 {
        BatchNorm2d::EPSILON
    }

    /// What can be seen within it beside its output: without an architecture that tells, everything.
    fn observable(&self) -> Wanted {
        self.architecture().map_or(Wanted { batch_norms: true, features: true }, Architecture::observable)
    }

    /// The share of test images that it is known to classify rightly, where its user says so: a warning is shown where it is measured to
    /// be far from it.
    fn accuracy(&self) -> Option<f64> {
        None
    }

    /// Builds the classifier and loads its weights.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork>;

    /// Where the weights come from, for the screen and the run's manifest and report; `None` where they come from no file.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    fn weights_source(&self) -> Result<Option<WeightsSource>, CheckError> {
        Ok(None)
    }

    /// The files that the weights are read from, for the run's manifest.
    fn files(&self) -> Vec<std::path::PathBuf>;
}

/// Where a teacher's weights come from. Its texts are fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsSource {
    /// The file or folder, as the pipeline names it.
    pub file: String,
    /// What was found there.
    #[serde(flatten)]
    pub found: FoundWeights,
}

/// What a teacher's weights were found in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum FoundWeights {
    /// Tensors by name.
    StateDict(StateDictPlace),
    /// An ONNX model.
    Onnx(OnnxOrigin),
}

/// Where in a file of named tensors a network lies, and under whose names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDictPlace {
    /// The keys that lead to the weights, joined by dots; empty where they are not wrapped.
    pub key: String,
    /// What stands before their names in the file and was taken off; empty where nothing does.
    pub prefix: String,
    /// The codebase whose names they have; `None` where they have the architecture's own, or those that the pipeline makes of them.
    pub layout: Option<String>,
    /// What lies beside them and is not taken, but for counters: patterns of names, and keys of other state dicts.
    pub left_out: Vec<String>,
    /// Where in the file the same network lies once more, with the same bits: keys and prefixes, joined by dots.
    pub copies: Vec<String>,
}

/// What an ONNX model says of itself, and what was made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnnxOrigin {
    /// The version of the operator set.
    pub opset: i64,
    /// What wrote it, `pytorch 2.9.1`; empty where it does not say.
    pub producer: String,
    /// The output that the logits are, or are made of.
    pub output: String,
    /// The node of the softmax at its end that was taken off, where it has one.
    pub softmax: Option<String>,
}

impl fmt::Display for WeightsSource {
    /// `` `ckpt.pth`, key `net`, prefix `module.` taken off, names of kuangliu/pytorch-cifar ``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![format!("`{}`", self.file)];
        match &self.found {
            FoundWeights::StateDict(place) => place.say(&mut parts),
            FoundWeights::Onnx(origin) => origin.say(&mut parts),
        }
        f.write_str(&parts.join(", "))
    }
}

impl StateDictPlace {
    fn say(&self, parts: &mut Vec<String>) {
        if !self.key.is_empty() {
            parts.push(format!("key `{}`", self.key));
        }
        if !self.prefix.is_empty() {
            parts.push(format!("prefix `{}` taken off", self.prefix));
        }
        parts.extend(self.layout.as_ref().map(|layout| format!("names of {layout}")));
        for (what, names) in [("left out", &self.left_out), ("the same again in", &self.copies)] {
            /// More would fill a screen.
            const MOST: usize = 5;
            let shown: Vec<_> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
            let more = names.len().saturating_sub(MOST);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            if !shown.is_empty() {
                parts.push(format!("{what} {}{more}", shown.join(", ")));
            }
        }
    }
}

impl OnnxOrigin {
    fn say(&self, parts: &mut Vec<String>) {
        let by = if self.producer.is_empty() { String::new() } else { format!(" by {}", self.producer) };
        parts.push(format!("ONNX{by}, operator set {}", self.opset));
        parts.push(format!("output `{}`", self.output));
        parts.extend(self.softmax.as_ref().map(|node| format!("its softmax taken off: {node}")));
    }
}
