//! Which dataset plugin reads a folder or a file of images.

use std::path::Path;
use std::sync::Arc;

use zskt_api::{
    DatasetSignature, DatasetSource, Diagnostic, ParameterKind, ParameterType, PluginInstance, PluginKind, Registry,
    Split,
};

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
    /// Which of the images at the path they are.
    pub part: Part,
}

/// A part of the images at a path.
pub enum Part {
    /// One split; and why the other is not there, if it is not.
    Split(Split, Option<String>),
    /// All images: they are not split, and the plugin's `split` changes nothing.
    Unsplit,
    /// What the plugin's own parameters say.
    Stated,
}

/// Asks each dataset plugin that takes a path whether it reads this one: all that do, each once for each split that it finds, the test
/// split first, and once where there are no splits.
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
        let splits = if kind("split").is_some() { &[Some(Split::Test), Some(Split::Train)][..] } else { &[None] };
        let before = found.len();
        let mut reason = None;
        for split in splits {
            let parameter = split.map_or_else(String::new, |split| format!("split: {}, ", split.to_ron()));
            let ron = format!("{}({parameter}path: {:?})", registry.shortest_name(plugin), path.to_string_lossy());
            let parsed = parse_plugin(&ron, PluginKind::Dataset, registry);
            let Ok((_, parsed)) = parsed else { continue };
            let PluginInstance::Dataset(source) = parsed.instance().clone() else { continue };
            match source.describe() {
                Ok(signature) => {
                    let unsplit = split.is_some() && source.is_unsplit();
                    let part = match split {
                        _ if unsplit => Part::Unsplit,
                        Some(split) => Part::Split(*split, None),
                        None => Part::Stated,
                    };
                    found.push(DatasetAt { ron, source, signature, part });
                    if unsplit {
                        break;
                    }
                }
                Err(fault) => reason = reason.or(Some(text_format::one_line(&fault.message))),
            }
        }
        match (&mut found[before..], reason) {
            ([], Some(reason)) => reasons.push(format!("\n  {}: {reason}", registry.shortest_name(plugin))),
            ([DatasetAt { part: Part::Split(_, other), .. }], reason) => *other = reason,
            _ => {}
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let problem = Diagnostic::global(format!("no dataset plugin reads `{}`", path.display()));
    Err(problem.help(format!("what each of them says:{}", reasons.concat())))
}
