//! Teacher sources: where trained classifiers come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BuildContext, ClassifierNetwork};
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

    /// Where in its files the weights lie, and under whose names, for the screen and the run's manifest; `None` where there is nothing
    /// to be found out about that.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    fn weights_source(&self) -> Result<Option<WeightsSource>, CheckError> {
        Ok(None)
    }

    /// The files that the weights are read from, for the run's manifest.
    fn files(&self) -> Vec<std::path::PathBuf>;
}

/// Where in its files a teacher's weights lie, and under whose names. Its texts are fit to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsSource {
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

impl fmt::Display for WeightsSource {
    /// `key state_dict, prefix module., names of kuangliu/pytorch-cifar`; nothing where all is as the architecture has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
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
        f.write_str(&parts.join(", "))
    }
}
