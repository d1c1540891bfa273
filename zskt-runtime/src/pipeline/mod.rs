//! Pipelines as text: read, changed by `--set`, and written as resolved.

mod edges;
mod expectation;
mod lexer;
mod malformed_edges;
mod overrides;
mod parser;
mod plugin_names;
mod resolved;
mod seeds;
mod sources;
mod sweep_section;
mod syntax;
#[cfg(test)]
mod tests;
mod variants;

pub use edges::Edge;
pub use expectation::{Bounds, Expectation};
pub use parser::{WRITE_PATHS, read};
pub use plugin_names::{find_shown, shown, shown_name, unambiguous};
pub use resolved::{Resolved, computed_part, nodes as resolved_nodes, resumed_part, write};
pub use seeds::parse_seeds;
pub use sources::{Override, Sources};
pub use sweep_section::{SweepSection, SweptKey, of_file as sweep_section};
pub use syntax::{DataFree, EXPECT, LIBRARIES, PUBLISHED, PipelineSyntax, field};

use std::path::{Path, PathBuf};

use zskt_api::{Diagnostic, ParsedPlugin, PluginKind, PluginRegistration, Registry, Span};

/// Reads a pipeline and applies the `--set` arguments; `None` when too little can be read to say more about it.
pub fn parse(sources: &Sources, registry: &Registry, problems: &mut Vec<Diagnostic>) -> Option<PipelineSyntax> {
    let reading = read(sources.text(0), 0, 0, problems);
    let mut value = reading.value?;
    if reading.recovered_from_error {
        return None;
    }
    variants::apply(&mut value, sources, registry, problems);
    overrides::apply(&mut value, sources, registry, problems);
    syntax::read_syntax(&value, sources, problems)
}

/// Whether a text is a pipeline, whatever its nodes are: all that can be said before its libraries are loaded.
pub fn is_well_formed(text: &str) -> bool {
    let mut problems = Vec::new();
    let sources = Sources::new(String::new(), text.to_owned(), &[]);
    let value = read(text, 0, 0, &mut problems).value;
    value.and_then(|value| syntax::read_syntax(&value, &sources, &mut problems)).is_some() && problems.is_empty()
}

/// The pipeline as text with the variant that it chooses and its `--set` arguments applied, and nothing else: neither checked nor with
/// defaults in their places. Nothing where it cannot be read.
pub fn changed(sources: &Sources, registry: &Registry) -> Option<String> {
    let mut value = read(sources.text(0), 0, 0, &mut Vec::new()).value?;
    variants::apply(&mut value, sources, registry, &mut Vec::new());
    overrides::apply(&mut value, sources, registry, &mut Vec::new());
    Some(value.to_ron())
}

/// Reads one plugin with its parameters, as a pipeline has it: `LeNet(size: 28)`, or `LeNet` alone.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse_plugin(
    text: &str,
    kind: PluginKind,
    registry: &Registry,
) -> Result<(&'static PluginRegistration, ParsedPlugin), Diagnostic> {
    let mut problems = Vec::new();
    let value = read(text, 0, 0, &mut problems).value.filter(|_| problems.is_empty());
    let plugin = value.and_then(|value| registry.read(&value, &[kind], &mut problems));
    match (plugin, problems.into_iter().next()) {
        (Some(plugin), None) => Ok(plugin),
        (_, Some(problem)) => Err(problem),
        (None, None) => Err(Diagnostic::global(format!("`{text}` is not a plugin"))),
    }
}

/// The text of a pipeline with other names for the libraries that it names, where `new` knows some.
pub fn with_libraries(text: &str, new: impl Fn(&Path) -> Option<String>) -> String {
    let pipeline = read(text, 0, 0, &mut Vec::new()).value;
    let mut changed = text.to_owned();
    // From the end: places before a change stay.
    for (path, span) in pipeline.iter().flat_map(syntax::libraries_named).rev() {
        if let Some(name) = new(&path) {
            changed.replace_range(span.start..span.end, &format!("{name:?}"));
        }
    }
    changed
}

/// The plugin libraries that a pipeline names, each with its place. What is wrong with the pipeline is found later, with
/// their plugins: here it names none.
pub fn libraries(sources: &Sources) -> Vec<(PathBuf, Span)> {
    let Some(mut value) = read(sources.text(0), 0, 0, &mut Vec::new()).value else { return Vec::new() };
    overrides::apply_setting(&mut value, sources, LIBRARIES);
    syntax::libraries_named(&value)
}
