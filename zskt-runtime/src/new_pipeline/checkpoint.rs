//! What the `Checkpoint` of a pipeline says of a file.

use std::path::Path;

use torch_checkpoint::Pattern;
use zskt_api::{Diagnostic, PluginInstance, PluginKind, Registry};

use crate::pipeline::{parse_plugin, unambiguous};

/// The plugin for this architecture, as a pipeline has it, with more parameters than these.
pub fn ron(model: &str, path: &Path, key: Option<&str>, more: &str) -> String {
    let key = key.map(|key| format!(", key: {key:?}")).unwrap_or_default();
    format!("Checkpoint(model: {model}, path: {:?}{key}{more})", path.to_string_lossy())
}

/// The names that are to be left out, as a parameter after others.
pub fn ignore(patterns: &[Pattern]) -> String {
    let patterns: Vec<_> = patterns.iter().map(|pattern| format!("{:?}", pattern.as_str())).collect();
    if patterns.is_empty() { String::new() } else { format!(", ignore: [{}]", patterns.join(", ")) }
}

/// Whether the file has the weights that this plugin takes from it.
///
/// # Errors
/// The differences, and what would make it fit.
pub fn fits(ron: &str, registry: &Registry) -> Result<(), Diagnostic> {
    let (_, parsed) = parse_plugin(&unambiguous(ron, registry), PluginKind::Teacher, registry)?;
    let PluginInstance::Teacher(teacher) = parsed.instance() else {
        return Err(Diagnostic::global("`Checkpoint` is not a teacher source"));
    };
    // What does not concern the weights is said elsewhere.
    let elsewhere = |parameter: &str| ["batch_norm_eps", "mean", "std"].contains(&parameter);
    let misfit = teacher.check().err().filter(|fault| !fault.parameter.as_deref().is_some_and(elsewhere));
    misfit.map_or(Ok(()), Err).map_err(|fault| Diagnostic { help: fault.help, ..Diagnostic::global(fault.message) })
}
