//! `plugin list` and `plugin search`: what is installed, and what an index has.

use serde::Serialize;
use zskt_api::Diagnostic;

use super::build::Build;
use super::index::{Entry, Index};
use super::index_place::{FILE, IndexPlace};
use super::installed::{Installed, all};
use super::manifest::Summary;
use crate::shell_quoting::quoted;
use crate::text_format::one_line;

/// What is installed, for this program and for others.
///
/// # Errors
/// When this program loads no libraries.
pub fn list(json: bool) -> Result<String, Diagnostic> {
    let ours = Build::ours()?;
    let all = all()?;
    if json {
        #[derive(Serialize)]
        struct Line<'p> {
            #[serde(flatten)]
            summary: &'p Summary,
            folder: String,
            misfit: Option<String>,
        }
        let lines = all.iter().map(|Installed { folder, manifest }| {
            let summary = &manifest.summary;
            Line { summary, folder: folder.display().to_string(), misfit: summary.build.misfit(&ours) }
        });
        return Ok(to_json(&lines.collect::<Vec<_>>()));
    }
    if all.is_empty() {
        return Ok("nothing is installed; `zskt-run plugin add FILE.zskt` installs a package\n".into());
    }
    Ok(all.iter().map(|package| described(&package.manifest.summary, &ours, None)).collect::<Vec<_>>().join("\n"))
}

/// The packages of an index in which all of some words occur; what of it cannot be used is told.
///
/// # Errors
/// When no index is named, or it cannot be read.
pub fn search(
    words: &[String],
    index: Option<&str>,
    json: bool,
    tell: impl Fn(&Diagnostic),
) -> Result<String, Diagnostic> {
    let ours = Build::ours()?;
    let place = IndexPlace::named(index)?;
    let Index { packages: mut found, left_out, .. } = Index::read(&place)?;
    left_out.iter().for_each(tell);
    let words: Vec<_> = words.iter().map(|word| word.to_lowercase()).collect();
    found.retain(|entry| {
        let text = searched(&entry.summary);
        words.iter().all(|word| text.contains(word))
    });
    if json {
        #[derive(Serialize)]
        struct Line<'p> {
            #[serde(flatten)]
            entry: &'p Entry,
            misfit: Option<String>,
        }
        let lines = found.iter().map(|entry| Line { entry, misfit: entry.summary.build.misfit(&ours) });
        return Ok(to_json(&lines.collect::<Vec<_>>()));
    }
    if found.is_empty() {
        return Ok(format!("no package of {} is found\n", place.shown(FILE)));
    }
    let add = |entry: &Entry| {
        let option = index.map(|index| format!(" --index {}", quoted(index))).unwrap_or_default();
        format!("zskt-run plugin add {}{option}", entry.summary.reference())
    };
    Ok(found.iter().map(|entry| described(&entry.summary, &ours, Some(add(entry)))).collect::<Vec<_>>().join("\n"))
}

fn searched(summary: &Summary) -> String {
    let plugins = summary.plugins.iter().flat_map(|plugin| [&plugin.name, &plugin.kind]);
    let parts: Vec<_> = std::iter::once(&summary.name)
        .chain(&summary.description)
        .chain(plugins)
        .map(|text| text.to_lowercase())
        .collect();
    parts.join("\n")
}

/// A package for a person: what it is, its plugins, and how it is had where it fits, or else what to do.
fn described(summary: &Summary, ours: &Build, add: Option<String>) -> String {
    let description = summary.description.as_deref().map(|text| format!("  {}", one_line(text))).unwrap_or_default();
    let mut out = format!("{}  {}{description}\n{}", summary.title(), summary.licence(), summary.contents());
    match summary.build.misfit(ours) {
        Some(why) => out += &format!("  not for this zskt-run: it is {}\n  {}\n", one_line(&why), summary.way_out()),
        None => out += &add.map(|add| format!("  {add}\n")).unwrap_or_default(),
    }
    out
}

fn to_json(value: &impl Serialize) -> String {
    // Strings, numbers and lists of them: there is nothing that JSON could not hold.
    serde_json::to_string_pretty(value).map(|json| json + "\n").unwrap_or_default()
}
