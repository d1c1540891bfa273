//! The path of a model, and what lies there: only the file tells the shapes, and they are asked for again and again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use zskt_api::{
    CheckError, Diagnostic, Normalization, OnnxOrigin, ParameterKind, ParameterType, ParsedPlugin, PluginRegistration,
    Value,
};

use super::plan::Plan;

/// A path whose model is read once. Clones share what was read.
#[derive(Clone)]
pub struct ModelFile {
    path: PathBuf,
    known: Arc<OnceLock<Result<KnownModel, CheckError>>>,
}

/// A model without its weights.
pub struct KnownModel {
    pub plan: Plan,
    pub normalization: Option<Normalization>,
    pub origin: OnnxOrigin,
    pub external_files: Vec<PathBuf>,
}

impl ModelFile {
    /// Where the model lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What lies there, which is read when it is first asked for.
    pub fn known(&self, read: impl FnOnce() -> Result<KnownModel, CheckError>) -> Result<&KnownModel, CheckError> {
        self.known.get_or_init(read).as_ref().map_err(Clone::clone)
    }
}

impl From<PathBuf> for ModelFile {
    fn from(path: PathBuf) -> Self {
        Self { path, known: Arc::default() }
    }
}

impl ParameterType for ModelFile {
    fn kind() -> ParameterKind {
        PathBuf::kind()
    }

    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        PathBuf::read(value, problems).map(Self::from)
    }

    fn to_ron(&self) -> String {
        self.path.to_ron()
    }

    fn plugins(&self) -> Vec<(&'static PluginRegistration, &ParsedPlugin)> {
        Vec::new()
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }
}
