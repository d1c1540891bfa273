//! What a file of weights holds, and which architectures know it.

use std::path::{Path, PathBuf};

use torch_checkpoint::{
    Configuration, Format, Group, Match, NamedTensor, Pattern, ReadError, Renames, Shapes, TensorInfo, WeightsFile,
    networks, printable,
};
use zskt_api::{
    Builder, Diagnostic, NamedShapes, ParsedPlugin, PluginInstance, PluginKind, PluginRegistration, Recognized,
    Registry, full_plugin_name,
};

use crate::pipeline::parse_plugin;
use crate::shell_quoting::quoted;
use crate::text_format;

/// What a weights file holds, known from its header alone.
pub struct WeightsReport {
    /// The format that the content has, whatever the file is called.
    pub format: Format,
    /// Every file that was read: shards, and of a folder the configuration.
    pub files: Vec<PathBuf>,
    /// What the file says about the network, or a folder of Hugging Face or timm.
    pub configuration: Option<Configuration>,
    /// What looks like networks, in the file's order.
    pub networks: Vec<FoundNetwork>,
}

/// Tensors of a file that look like a network.
pub struct FoundNetwork {
    /// The keys that lead to it, joined by dots; empty where it is not wrapped.
    pub key: String,
    /// What stands before its names; empty where nothing does.
    pub prefix: String,
    /// Its tensors in the file's order, under their names without the prefix; those that cannot be used are left out.
    pub tensors: Vec<(String, TensorInfo)>,
    /// Why tensors cannot be used, a sentence each.
    pub unusable: Vec<String>,
    /// The architectures that have such weights, the one that takes the fewest assumptions first.
    pub recognized: Vec<RecognizedArchitecture>,
}

/// An architecture that has the weights of a file.
pub struct RecognizedArchitecture {
    /// What declares it.
    pub registration: &'static PluginRegistration,
    /// It with its parameters.
    pub parsed: ParsedPlugin,
    /// The same as a pipeline has it.
    pub ron: String,
    /// The codebase whose names the file has; `None` where they are the architecture's own.
    pub layout: Option<&'static str>,
    /// Rows and columns of the images that such a network is usually for.
    pub image_size: usize,
    /// What else names and shapes do not tell, and what was assumed: a sentence each.
    pub assumptions: Vec<String>,
}

impl FoundNetwork {
    /// The `key` of a `Checkpoint` that takes it, where a file has several; empty where it is neither wrapped nor prefixed.
    pub fn choice(&self) -> String {
        let prefix = self.prefix.trim_end_matches('.');
        let dot = if self.key.is_empty() || prefix.is_empty() { "" } else { "." };
        format!("{}{dot}{prefix}", self.key)
    }
}

/// Says what a weights file, the index of a sharded one, or a folder of Hugging Face or timm holds; under `key` alone, where one is given
/// (`state_dict.teacher`). Architectures are recognized without the weights whose names are to be ignored.
///
/// # Errors
/// When it cannot be read.
pub fn weights_report(
    path: &Path,
    key: Option<&str>,
    ignore: &[Pattern],
    registry: &Registry,
) -> Result<WeightsReport, ReadError> {
    let file = WeightsFile::open(path)?;
    let is_asked_for = |group: &Group<'_>| {
        key.is_none_or(|key| {
            group.path().strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let mut known = Vec::new();
    let groups = networks(&file, |group| {
        let recognized = if is_asked_for(group) { recognize(&without(group, ignore), registry) } else { Vec::new() };
        let is_known = !recognized.is_empty();
        if is_known {
            known.push((group.dict, group.prefix, recognized));
        }
        is_known
    });
    let networks = groups.into_iter().filter(is_asked_for).map(|group| {
        let group = without(&group, ignore);
        let place = known.iter().position(|(dict, prefix, _)| (*dict, *prefix) == (group.dict, group.prefix));
        let recognized = place.map(|place| std::mem::take(&mut known[place].2)).unwrap_or_default();
        let info =
            |(name, tensor): &(&str, &NamedTensor)| Some(((*name).to_owned(), tensor.info.as_ref().ok()?.clone()));
        let fault = |(_, tensor): &(&str, &NamedTensor)| Some(tensor.info.as_ref().err()?.to_string());
        FoundNetwork {
            key: group.key.to_owned(),
            prefix: group.prefix.to_owned(),
            tensors: group.tensors.iter().filter_map(info).collect(),
            unusable: group.tensors.iter().filter_map(fault).collect(),
            recognized,
        }
    });
    let networks = networks.collect();
    Ok(WeightsReport {
        format: file.format(),
        files: file.files().to_vec(),
        configuration: file.configuration().cloned(),
        networks,
    })
}

/// The tensors whose names, with or without what stands before them, are not to be ignored.
fn without<'f>(group: &Group<'f>, ignore: &[Pattern]) -> Group<'f> {
    let ignored = |name: &str| ignore.iter().any(|pattern| pattern.matches(name));
    let mut wanted = group.clone();
    wanted.tensors.retain(|(name, tensor)| !ignored(name) && !ignored(&tensor.name));
    wanted
}

/// Says that there are no weights in a file, or none under the key that was asked for, and under which keys there are some.
pub fn no_weights(path: &Path, key: Option<&str>, registry: &Registry) -> Diagnostic {
    let shown = path.display();
    let anywhere = weights_report(path, None, &[], registry).map(|report| report.networks).unwrap_or_default();
    let Some(key) = key.filter(|_| !anywhere.is_empty()) else {
        return Diagnostic::global(format!("`{shown}` holds no weights"));
    };
    let keys = anywhere.iter().map(FoundNetwork::choice).filter(|key| !key.is_empty());
    let keys: Vec<_> = keys.map(|key| format!("--key {}", quoted(&printable(&key)))).collect();
    let problem = Diagnostic::global(format!("`{shown}` holds no weights under the key `{key}`"));
    problem.help(if keys.is_empty() {
        "its weights are under no key: leave --key out".to_owned()
    } else {
        format!("its weights are under {}", text_format::join(&keys, "and"))
    })
}

fn recognize(group: &Group<'_>, registry: &Registry) -> Vec<RecognizedArchitecture> {
    let shapes = group.shapes();
    let found = registry.iter().filter_map(|registration| {
        let recognized = (registration.recognize)(&shapes)?;
        let Recognized { ron, image_size, assumptions } = recognized;
        let in_full = full_plugin_name(registration.crate_name, &ron);
        let (registration, parsed) = parse_plugin(&in_full, PluginKind::Architecture, registry).ok()?;
        let layout = layout(&parsed, group);
        let ron = if registry.find(registration.name).is_some() { ron } else { in_full };
        Some(RecognizedArchitecture { registration, parsed, ron, layout, image_size, assumptions })
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|found| found.assumptions.len());
    found
}

/// Whose names the group has: those of the first layout that makes the architecture's names of them.
fn layout(parsed: &ParsedPlugin, group: &Group<'_>) -> Option<&'static str> {
    let PluginInstance::Architecture(architecture) = parsed.instance() else { return None };
    let network: NamedShapes = Builder::shapes_of(|builder| architecture.build(builder).map(drop)).ok()?;
    let fits = |network: &Shapes, rename: &dyn Fn(&str) -> String| Match::new(group, network, rename).is_exact();
    if fits(&network, &str::to_owned) {
        return None;
    }
    architecture.layouts().into_iter().find_map(|layout| {
        let renames = Renames::new(layout.renames.iter().map(|(from, to)| (from.as_str(), to.as_str()))).ok()?;
        fits(&network, &|name| renames.apply(name).into_owned()).then_some(layout.source)
    })
}
