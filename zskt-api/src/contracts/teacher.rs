//! Teacher sources: where knowledge comes from.

use super::{BuildContext, ClassifierNetwork};
use crate::{Architecture, ClassifierShape, Fault, Result};

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
    fn check(&self) -> Result<(), Fault>;

    /// Builds the classifier and gives it its knowledge.
    ///
    /// # Errors
    /// When the knowledge cannot be read.
    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork>;

    /// The files the knowledge is read from, for the run's manifest.
    fn files(&self) -> Vec<std::path::PathBuf>;
}
