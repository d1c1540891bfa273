//! Teacher sources: where trained classifiers come from.

use super::{BuildContext, ClassifierNetwork};
use crate::{Architecture, CheckError, ClassifierShape, Result};

/// A plugin that brings a trained classifier.
pub trait TeacherSource: ClassifierShape {
    /// The architecture that its parameters name, where they name one: its parameters are checked, and its weights counted,
    /// without the files.
    fn architecture(&self) -> Option<&dyn Architecture> {
        None
    }

    /// Checks, without building anything, that the knowledge is there: the file exists, and its names and shapes fit.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    fn check(&self) -> Result<(), CheckError>;

    /// Builds the classifier and loads its weights.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork>;

    /// The files that the weights are read from, for the run's manifest.
    fn files(&self) -> Vec<std::path::PathBuf>;
}
