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
    /// Why they get another size than they have in their files, if they do.
    pub resized: Option<String>,
}

/// A part of the images at a path.
#[derive(Clone)]
pub enum Part {
    /// One split; and why the other is not there, if it is not.
    Split(Split, Option<String>),
    /// All images: they are not split, and the plugin's `split` changes nothing.
    Unsplit,
    /// What the plugin's own parameters say.
    Stated,
}

/// The side that most networks for photographs take, which are of all sizes.
const USUAL_SIDE: usize = 224;

impl DatasetAt {
    /// The same images, square and of another side, if the plugin can do that and they can become it.
    pub fn resized_to(&self, side: usize, registry: &Registry) -> Option<Self> {
        let Self { ron, signature, part, .. } = self;
        let ron = with_side(ron.strip_suffix(&with_side("", USUAL_SIDE)).or(ron.trim_end().strip_suffix(')'))?, side);
        let source = source(&ron, registry)?;
        let reason = self.resized.clone().unwrap_or_else(|| format!("they are {}", signature.image));
        let signature = source.describe().ok()?;
        Some(Self { ron, source, signature, part: part.clone(), resized: Some(reason) })
    }
}

/// A dataset plugin whose parameters are not closed yet, with those that make all images so large.
fn with_side(begun: &str, side: usize) -> String {
    format!("{begun}, resize: {side}, center_crop: {side})")
}

/// A dataset plugin of its text.
fn source(ron: &str, registry: &Registry) -> Option<Arc<dyn DatasetSource>> {
    let (_, parsed) = parse_plugin(ron, PluginKind::Dataset, registry).ok()?;
    match parsed.instance() {
        PluginInstance::Dataset(source) => Some(Arc::clone(source)),
        _ => None,
    }
}

/// Asks each dataset plugin that takes a path whether it reads this one: all that do, each once for each split that it finds, the test
/// split first, and once where there are no splits. Images that it does not read as they are, because they are of several sizes or too
/// large, it may read when they are resized.
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
            let begun = format!("{}({parameter}path: {:?}", registry.shortest_name(plugin), path.to_string_lossy());
            let as_they_are = format!("{begun})");
            let Some(plain) = source(&as_they_are, registry) else { continue };
            let (ron, source, signature, resized) = match plain.describe() {
                Ok(signature) => (as_they_are, plain, signature, None),
                Err(fault) => {
                    let fault = text_format::one_line(&fault.message);
                    let ron = with_side(&begun, USUAL_SIDE);
                    match source(&ron, registry).and_then(|source| Some((source.describe().ok()?, source))) {
                        Some((signature, source)) => (ron, source, signature, Some(fault)),
                        None => {
                            reason = reason.or(Some(fault));
                            continue;
                        }
                    }
                }
            };
            let unsplit = split.is_some() && source.is_unsplit();
            let part = match split {
                _ if unsplit => Part::Unsplit,
                Some(split) => Part::Split(*split, None),
                None => Part::Stated,
            };
            found.push(DatasetAt { ron, source, signature, part, resized });
            if unsplit {
                break;
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
