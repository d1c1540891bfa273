//! The page of one run.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};
use serde_json::Value;
use zskt_api::{Diagnostic, Registry};

use super::chart::MOST_POINTS;
use super::document::Document;
use super::figure_text::shortened;
use super::{curves, figure_text, found, metric_nodes, pictures};
use crate::run::computed_by;
use crate::runs::{Figures, Log, Run, RunState, changed, defaults};
use crate::sweep::quoted;
use crate::text_format;

const MOST_CARDS: usize = 8;
const MOST_WARNINGS: usize = 100;
/// More rows of a table are not read, and make a page that does not open.
const MOST_ROWS: usize = 1000;
/// Of a longer pipeline, as a program may have written it, the page has the parameters alone.
const LONGEST_PIPELINE: usize = 200_000;

/// The page of a run; `graph` is its pipeline as SVG.
///
/// # Errors
/// When its log cannot be read.
pub fn page(run: &Run, graph: Option<&str>, registry: &Registry) -> Result<String, Diagnostic> {
    let log = run.log()?;
    let figures = run.figures()?;
    let none = Value::Null;
    let report = run.report.as_ref().unwrap_or(&none);
    let warnings = warnings(report, &log);
    let mut page = Document::new(run.name.clone(), header(run, report, &figures, warnings.len()), true);
    page.section("figures", "Figures", reached(run, &figures, registry));
    let charts = page.charts(curves::charts(&log, MOST_POINTS));
    page.section("curves", "Curves", charts.map(|charts| html! { (smoothing()) (charts) }));
    page.section("images", "Pseudo-images over time", pictures::over_time(run, registry));
    let transitions = page.charts(found::transition_curves(report));
    page.section("transitions", "Transition curves", transitions);
    page.section("classes", "Classes", found::by_class(report));
    page.section("pictures", "Pictures of metrics", pictures::of_metrics(run, report));
    page.section(
        "graph",
        "Graph",
        graph.map(|svg| html! { div.graph.scroll tabindex="0" role="region" aria-label="Graph" { (PreEscaped(svg)) } }),
    );
    page.section("configuration", "Configuration", Some(configuration(run, registry)));
    page.section("warnings", "Warnings", (!warnings.is_empty()).then(|| html! {
        ul { @for warning in warnings.iter().take(MOST_WARNINGS) { li { (shortened(warning)) } } }
        @if warnings.len() > MOST_WARNINGS { p { (text_format::count(warnings.len() - MOST_WARNINGS)) " more in the log." } }
    }));
    page.section("files", "Files and sums", files(&run.manifest));
    page.section("repeat", "Run it again", repeat(&run.manifest));
    Ok(page.render())
}

/// How much the script smooths curves.
pub fn smoothing() -> Markup {
    html! {
        p {
            label for="smoothing" { "Smoothing of what is logged by batch " }
            input type="range" id="smoothing" min="0" max="0.99" step="0.01" value="0" aria-valuetext="none" autocomplete="off";
        }
    }
}

fn header(run: &Run, report: &Value, figures: &Figures, warnings: usize) -> Markup {
    let manifest = &run.manifest;
    let of_manifest = |name: &str| manifest[name].as_str().map(str::to_owned);
    let began = Some(run.began()).filter(|began| !began.is_empty()).map(|began| format!("began {}", moment(began)));
    let facts = [
        began,
        report["seconds"].as_f64().map(text_format::duration),
        run.devices(),
        of_manifest("precision"),
        manifest["seed"].as_u64().map(|seed| format!("seed {seed}")),
        of_manifest("zskt").map(|version| format!("zskt {version}")),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    html! {
        p { (state(run, figures)) " · " (facts.join(" · ")) }
        @if let RunState::Failed(why) = &run.state { p.bad { (why) } }
        @if let Some(statement) = report["data_free"]["statement"].as_str() { p { "Data-free: " (statement) } }
        p.quiet { code { (run.folder.display()) } }
        @if warnings > 0 { p { a href="#warnings" { (text_format::count(warnings)) " warning" @if warnings != 1 { "s" } } } }
    }
}

/// How far a run is.
pub fn state(run: &Run, figures: &Figures) -> Markup {
    let class = match run.state {
        RunState::Finished if run.falls_short(&figures.0) => "bad",
        RunState::Finished => "good",
        RunState::Failed(_) | RunState::Killed => "bad",
        RunState::Running | RunState::Interrupted | RunState::OutOfBudget => "quiet",
    };
    html! { span class=(class) { (run.state_by(&figures.0)) } }
}

/// `2026-11-22T11:06:08.125Z` as `2026-11-22 11:06 UTC`.
pub fn moment(time: &str) -> String {
    let minutes = time.get(..16).filter(|_| time.ends_with('Z'));
    minutes.map_or_else(|| time.to_owned(), |minutes| format!("{} UTC", minutes.replace('T', " ")))
}

/// What the run found, and what its source states; the figures of metrics first, and large.
fn reached(run: &Run, figures: &Figures, registry: &Registry) -> Option<Markup> {
    let published = run.published();
    let stated = |key: &str| published.iter().find(|(known, _)| known == key).map(|(_, text)| text.as_str());
    let configuration = run.configuration();
    let metrics = metric_nodes(&configuration, registry);
    let of_metric = |key: &str| key.split_once('.').is_some_and(|(node, _)| metrics.contains(node));
    let (mut first, rest): (Vec<_>, Vec<_>) = figures.0.iter().partition(|(key, _)| of_metric(key));
    first.extend(rest);
    let large =
        first.iter().filter(|(key, _)| stated(key).is_some() || (of_metric(key) && !figure_text::is_count(key)));
    let mut large: Vec<_> = large.collect();
    large.sort_by_key(|(key, _)| (stated(key).is_none(), curves::rank(figure_text::kind(key))));
    large.truncate(MOST_CARDS);
    let missing: Vec<_> = published.iter().filter(|(key, _)| !figures.0.contains_key(key)).collect();
    (!first.is_empty() || !missing.is_empty()).then(|| {
        html! {
            @if !large.is_empty() { ul.cards { @for (key, value) in large { li {
                @for part in key.split_inclusive('.') { (part) wbr; }
                strong { (figure_text::text(key, **value)) }
                @if let Some(text) = stated(key) { span.quiet { "published: " (text) } }
            } } } }
            @if run.report.is_none() { p.quiet { "What the log says last: the run has not come to its end." } }
            details open[first.len() <= 24] {
                summary { "All figures" }
                div.scroll tabindex="0" role="region" aria-label="All figures" { table {
                    thead { tr { th scope="col" { "figure" } th.number scope="col" { "reached" } @if !published.is_empty() { th.number scope="col" { "published" } } } }
                    tbody {
                        @for (key, value) in first.iter().take(MOST_ROWS) { tr {
                            th scope="row" { (key) } td.number { (figure_text::text(key, **value)) }
                            @if !published.is_empty() { td.number { (stated(key).unwrap_or_default()) } }
                        } }
                        @for (key, text) in &missing { tr { th scope="row" { (key) } td.number { "not measured" } td.number { (text) } } }
                    }
                } }
            }
        }
    })
}

/// What is not as the plugins have it by themselves, and on request everything.
fn configuration(run: &Run, registry: &Registry) -> Markup {
    let configuration = run.configuration();
    let defaults = defaults(&configuration, registry);
    let changed: BTreeMap<_, _> = changed(&configuration, registry).into_iter().collect();
    let rows = |all: bool| {
        let is_shown = |key: &str| all || !defaults.contains_key(key) || changed.contains_key(key);
        let shown: Vec<_> = configuration.parameters.iter().filter(|(key, _)| is_shown(key)).collect();
        html! { table {
            thead { tr { th scope="col" { "parameter" } th scope="col" { "value" } th scope="col" { "default" } } }
            tbody { @for (key, value) in shown.iter().take(MOST_ROWS) { tr {
                th scope="row" { (key) }
                td { code { (shortened(value)) } }
                td { code.quiet { (shortened(defaults.get(*key).map_or("", String::as_str))) } }
            } } }
        } }
    };
    html! {
        p.quiet { "What differs from the defaults, or has none." }
        div.scroll tabindex="0" role="region" aria-label="What differs from the defaults" { (rows(false)) }
        details { summary { "All parameters" } div.scroll tabindex="0" role="region" aria-label="All parameters" { (rows(true)) } }
        @if run.pipeline.len() <= LONGEST_PIPELINE {
            details { summary { "The pipeline as resolved" } pre tabindex="0" { (run.pipeline) } }
        }
    }
}

fn warnings(report: &Value, log: &Log) -> Vec<String> {
    match report["warnings"].as_array() {
        Some(told) => told.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => log.warnings.iter().map(|w| format!("{}, batch {}: {}", w.stage, w.batch, w.message)).collect(),
    }
}

/// What the run read, and the sums of it.
fn files(manifest: &Value) -> Option<Markup> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files = manifest["files"].as_array().into_iter().flatten();
    let files = files.map(|file| (text(&file["node"]), text(&file["path"]), text(&file["sha256"])));
    let libraries = manifest["libraries"].as_array().into_iter().flatten();
    let libraries = libraries.map(|library| ("plugins".to_owned(), text(&library["path"]), text(&library["sha256"])));
    let pipeline = ("pipeline".to_owned(), text(&manifest["pipeline"]), text(&manifest["pipeline_sha256"]));
    let all: Vec<_> = std::iter::once(pipeline).chain(files).chain(libraries).filter(|row| !row.2.is_empty()).collect();
    (!all.is_empty()).then(|| html! {
        div.scroll tabindex="0" role="region" aria-label="Files and sums" { table {
            thead { tr { th scope="col" { "read by" } th scope="col" { "file" } th scope="col" { "SHA-256" } } }
            tbody { @for (node, path, sum) in &all { tr { th scope="row" { (node) } td { code { (path) } } td { code { (sum) } } } } }
        } }
    })
}

/// The commands that the run was started with, when, and what computed it then.
fn repeat(manifest: &Value) -> Option<Markup> {
    let starts = manifest["starts"].as_array()?;
    let words = |start: &Value| {
        let words = start["command_line"].as_array()?.iter().map(|word| quoted(word.as_str().unwrap_or_default()));
        let moment = moment(start["start"].as_str().unwrap_or_default());
        let told = [Some(moment), computed_by(start)].into_iter().flatten().collect::<Vec<_>>();
        Some((words.collect::<Vec<_>>().join(" "), told.join(" · ")))
    };
    let starts: Vec<_> = starts.iter().filter_map(words).filter(|(command, _)| !command.is_empty()).collect();
    (!starts.is_empty()).then(|| {
        html! {
            @for (command, told) in &starts { p.quiet { (told) } pre.command tabindex="0" { (command) } }
        }
    })
}
