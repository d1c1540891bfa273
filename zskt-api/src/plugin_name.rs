//! The names of plugins in pipelines: `ResNet18`, and in full `cifar_resnets::ResNet18`.

use crate::{Diagnostic, Name, PluginKind, PluginRegistration, Registry, nearest_name};

/// What stands between the crate and the plugin in a full name.
const SEPARATOR: &str = "::";

/// The full name of a plugin: its crate as Rust writes it, with `_` for `-`, and the plugin.
pub fn full_plugin_name(crate_name: &str, name: &str) -> String {
    format!("{}{SEPARATOR}{name}", module(crate_name))
}

fn module(crate_name: &str) -> String {
    crate_name.replace('-', "_")
}

/// Whether a plugin goes by a name, be it the short or the full one.
pub fn is_name_of(name: &str, plugin: &PluginRegistration) -> bool {
    match name.split_once(SEPARATOR) {
        Some((of_crate, name)) => name == plugin.name && module(of_crate) == module(plugin.crate_name),
        None => name == plugin.name,
    }
}

/// Says why a name means no plugin of a registry: because there is none, or because there are several.
pub fn explain(name: &Name, kinds: &[PluginKind], registry: &Registry) -> Diagnostic {
    let several: Vec<_> = registry.named(&name.text).collect();
    if several.is_empty() { unknown(name, kinds, registry) } else { ambiguous(name, &several) }
}

fn ambiguous(name: &Name, plugins: &[&PluginRegistration]) -> Diagnostic {
    let full: Vec<_> = plugins.iter().map(|plugin| format!("`{}`", plugin.full_name())).collect();
    Diagnostic::at(name.span, format!("{} plugins are called `{}`: {}", full.len(), name.text, full.join(", ")))
        .label("which of them?")
        .help("write the full name of the one that is meant")
}

fn unknown(name: &Name, kinds: &[PluginKind], registry: &Registry) -> Diagnostic {
    let of_kind = || registry.iter().filter(|plugin| kinds.contains(&plugin.kind));
    let problem = Diagnostic::at(name.span, format!("there is no plugin `{}`", name.text));
    let did_you_mean =
        |near: Option<&str>| near.map_or("unknown plugin".into(), |near| format!("did you mean `{near}`?"));
    let Some((of_crate, _)) = name.text.split_once(SEPARATOR) else {
        let short: Vec<_> = of_kind().map(|plugin| registry.shortest_name(plugin)).collect();
        let problem = problem.label(did_you_mean(nearest_name(&name.text, of_kind().map(|plugin| plugin.name))));
        return problem.help(if let [kind] = kinds {
            format!("plugins of kind {kind}: {}; those of libraries are there with --plugin", short.join(", "))
        } else {
            "`zskt-run plugins` lists them all; those of libraries are there with --plugin".into()
        });
    };
    let full: Vec<_> = of_kind().map(PluginRegistration::full_name).collect();
    let problem = problem.label(did_you_mean(nearest_name(&name.text, full.iter().map(String::as_str))));
    let of_crate = module(of_crate);
    let siblings: Vec<_> = registry.iter().filter(|plugin| module(plugin.crate_name) == of_crate).collect();
    problem.help(if siblings.is_empty() {
        format!("no crate `{of_crate}` is loaded or linked in: name its library in the pipeline's `plugins`, or with --plugin")
    } else {
        let names: Vec<_> = siblings.iter().map(|plugin| plugin.name).collect();
        format!("plugins of `{of_crate}`: {}", names.join(", "))
    })
}
