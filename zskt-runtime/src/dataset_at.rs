//! Which dataset plugin reads a folder or a file of images.

use std::path::Path;
use std::sync::Arc;

use zskt_api::{DatasetSignature, DatasetSource, Diagnostic, ParameterKind, PluginInstance, PluginKind, Registry};

use crate::pipeline::parse_plugin;
use crate::text_format;

/// A dataset plugin that reads a path.
pub struct DatasetAt {
    /// The plugin with its parameters, as a pipeline has it.
    pub ron: String,
    /// The plugin.
    pub source: Arc<dyn DatasetSource>,
    /// What it holds.
    pub signature: DatasetSignature,
}

/// Asks each dataset plugin that takes a path whether it reads this one: all that do, each once for each split that it finds, the test
/// split first.
///
/// # Errors
/// When none does, with the reason of each.
pub fn at(path: &Path, registry: &Registry) -> Result<Vec<DatasetAt>, Diagnostic> {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for plugin in registry.iter().filter(|plugin| plugin.kind == PluginKind::Dataset) {
        let parameters = (plugin.parameters)();
        let kind =
            |name: &str| parameters.iter().find(|parameter| parameter.name == name).map(|parameter| &parameter.kind);
        if kind("path") != Some(&ParameterKind::Path) {
            continue;
        }
        let splits = if kind("split").is_some() { &["split: Test, ", "split: Train, "][..] } else { &[""] };
        let before = found.len();
        let mut reason = None;
        for split in splits {
            let ron = format!("{}({split}path: {:?})", plugin.name, path.to_string_lossy());
            let parsed = parse_plugin(&ron, PluginKind::Dataset, registry);
            let Ok((_, parsed)) = parsed else { continue };
            let PluginInstance::Dataset(source) = parsed.instance().clone() else { continue };
            match source.describe() {
                Ok(signature) => found.push(DatasetAt { ron, source, signature }),
                Err(fault) => reason = reason.or(Some(fault.message)),
            }
        }
        if found.len() > before {
            continue;
        }
        reasons.extend(reason.map(|reason| format!("\n  {}: {}", plugin.name, text_format::one_line(&reason))));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let problem = Diagnostic::global(format!("no dataset plugin reads `{}`", path.display()));
    Err(problem.help(format!("what each of them says:{}", reasons.concat())))
}
