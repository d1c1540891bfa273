//! The page of several runs beside each other.

mod configuration;
mod curves;
mod figures;

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use zskt_api::{Diagnostic, Objective, Registry};

use self::curves::Charts;
use super::curves::rank;
use super::document::Document;
use super::figure_text::brief;
use super::seeds::{Group, groups};
use super::{figure_text, metric_nodes, one_run};
use crate::runs::{Configuration, Figures, Headlines, Run};
use crate::sweep::Statistic;
use crate::text_format;

/// Curves of more runs are not told apart.
const MOST_DRAWN: usize = 60;
/// More rows of a table are not read, and make a page that does not open.
const MOST_ROWS: usize = 300;
/// Cells of a table with a column for each run.
const MOST_CELLS: usize = 12_000;
/// Of the whole run, what it cost, and which way that is better.
const COSTS: [(&str, Objective); 4] = [
    ("seconds", Objective::Minimize),
    ("images_per_second", Objective::Maximize),
    ("flop", Objective::Minimize),
    ("peak_memory_bytes", Objective::Minimize),
];

/// Several runs, and what was read of them, each list in the order of the runs.
struct Runs<'r> {
    runs: Vec<&'r Run>,
    configurations: Vec<Configuration>,
    figures: Vec<Figures>,
    /// What the sources of their pipelines state.
    published: Vec<BTreeMap<String, String>>,
    /// Runs that differ in the seed only; the best first.
    groups: Vec<Group>,
    /// What metrics declare to be judged by.
    headlines: Headlines,
    /// By what the best is found.
    judged_by: Option<String>,
    /// Figures of metrics that any of them has, what they are judged by first.
    of_metrics: Vec<String>,
}

/// The page of several runs.
///
/// # Errors
/// When a log cannot be read.
pub fn page(runs: &[Run], registry: &Registry) -> Result<String, Diagnostic> {
    let all = Runs::read(runs, registry)?;
    let names: BTreeSet<_> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = format!("{} runs of {}", runs.len(), text_format::some_of(names));
    let began = runs.iter().map(Run::began).filter(|began| !began.is_empty());
    let (first, last) = (began.clone().min().unwrap_or_default(), began.max().unwrap_or_default());
    let header = html! { p.quiet { "Begun between " (one_run::moment(first)) " and " (one_run::moment(last)) } };
    let mut page = Document::new(title, header, false);
    page.section(
        "figures",
        "Figures",
        Some(html! { @if let Some(answer) = all.answer() { (answer) } (figures::table(&all)) (figures::every(&all)) }),
    );
    page.section("configuration", "Configuration", Some(configuration::table(&all)));
    let Charts { drawn, left_out: undrawn } = curves::charts(&all)?;
    let charts = page.charts(drawn);
    page.section("curves", "Curves", charts.map(|charts| html! {
        p.quiet { "Of each group of seeds the mean, with one population standard deviation. Runs are shown and hidden in the table of figures." }
        (left_out(runs.len().saturating_sub(MOST_DRAWN), "runs are left out; name fewer"))
        (left_out(undrawn, "curves are left out; name fewer runs"))
        (one_run::smoothing())
        (charts)
    }));
    Ok(page.render())
}

impl<'r> Runs<'r> {
    fn read(runs: &'r [Run], registry: &Registry) -> Result<Self, Diagnostic> {
        let configurations: Vec<_> = runs.iter().map(Run::configuration).collect();
        let figures: Vec<_> = runs.iter().map(Run::figures).collect::<Result<_, _>>()?;
        let mut metrics = BTreeSet::new();
        for (configuration, figures) in configurations.iter().zip(&figures) {
            let nodes = metric_nodes(configuration, registry);
            let of_metric = |key: &&String| key.split_once('.').is_some_and(|(node, _)| nodes.contains(node));
            metrics.extend(figures.0.keys().filter(of_metric).cloned());
        }
        let published: Vec<BTreeMap<_, _>> = runs.iter().map(|run| run.published().into_iter().collect()).collect();
        let headlines = Headlines::of_runs(runs, registry);
        let rank = |key: &String| {
            let stated = published.iter().any(|published| published.contains_key(key));
            (!stated, headlines.find(key).is_none(), rank(figure_text::kind(key)), key.clone())
        };
        let mut of_metrics: Vec<_> = metrics.into_iter().filter(|key| !figure_text::is_count(key)).collect();
        of_metrics.sort_by_key(rank);
        let judged_by = of_metrics.iter().find(|key| headlines.find(key).is_some()).cloned();
        let groups = groups(&configurations);
        let runs = runs.iter().collect();
        let mut all = Self { runs, configurations, figures, published, groups, headlines, judged_by, of_metrics };
        all.best_first();
        Ok(all)
    }

    fn best_first(&mut self) {
        let Some(key) = self.judged_by.clone() else { return };
        let Some(objective) = self.objective(&key) else { return };
        let mut groups = std::mem::take(&mut self.groups);
        let score = |runs: &[usize]| {
            let mean = self.over(&key, runs).map_or(f64::NAN, |over| over.mean);
            let score = if objective == Objective::Maximize { -mean } else { mean };
            // What has none comes last.
            if score.is_nan() { f64::INFINITY } else { score }
        };
        groups.sort_by(|a, b| score(&a.runs).total_cmp(&score(&b.runs)));
        groups.iter_mut().for_each(|group| group.runs.sort_by(|a, b| score(&[*a]).total_cmp(&score(&[*b]))));
        self.groups = groups;
    }

    /// A figure over those runs that have it.
    fn over(&self, key: &str, runs: &[usize]) -> Option<Statistic> {
        let values: Vec<_> = runs.iter().filter_map(|run| self.figures[*run].0.get(key)).copied().collect();
        Statistic::of(&values)
    }

    /// Which way a figure is better; nothing where that cannot be said.
    fn objective(&self, key: &str) -> Option<Objective> {
        let cost = COSTS.into_iter().find(|(cost, _)| *cost == key);
        cost.map(|(_, objective)| objective).or_else(|| self.headlines.objective(key))
    }

    /// The best of these values of a figure; nothing where all are the same.
    fn best(&self, key: &str, values: impl Iterator<Item = f64>) -> Option<f64> {
        let better: fn(f64, f64) -> f64 = match self.objective(key)? {
            Objective::Maximize => f64::max,
            Objective::Minimize => f64::min,
        };
        let values: Vec<_> = values.filter(|value| !value.is_nan()).collect();
        let best = values.iter().copied().reduce(better)?;
        values.iter().any(|other| *other != best).then_some(best)
    }

    /// What the pipelines of these runs state of a figure, where they agree.
    fn published(&self, key: &str, runs: &[usize]) -> Option<&str> {
        let mut stated = runs.iter().map(|run| self.published[*run].get(key).map(String::as_str));
        let first = stated.next()?;
        stated.all(|other| other == first).then_some(first)?
    }

    /// What a run or a group is called.
    fn folder_name(&self, run: usize) -> String {
        let folder = &self.runs[run].folder;
        folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
    }

    fn group_name(&self, group: &Group) -> String {
        match group.runs[..] {
            [run] => self.folder_name(run),
            _ if group.label.is_empty() => format!("{} seeds", group.runs.len()),
            _ => format!("{} ({} seeds)", group.label, group.runs.len()),
        }
    }

    /// Which is the best, and in what it differs from the next.
    fn answer(&self) -> Option<Markup> {
        let key = self.judged_by.as_ref()?;
        let [best, next, ..] = &self.groups[..] else { return None };
        let reached = |group: &Group| {
            let over = self.over(key, &group.runs)?;
            Some(match group.runs[..] {
                [_] => figure_text::text(key, over.mean),
                _ => figure_text::mean_text(key, over),
            })
        };
        let differences = self.configurations[best.runs[0]].differences(&self.configurations[next.runs[0]]);
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
        let seed_counts = best.runs.len() == 1 && next.runs.len() == 1;
        let differences: Vec<_> =
            differences.iter().filter(|difference| seed_counts || difference.key != "seed").collect();
        Some(html! {
            p { "Best by " code { (key) } ": " strong { (self.group_name(best)) } ", " (reached(best)?) "."
                @if let Some(reached) = reached(next) { " Next: " (self.group_name(next)) ", " (reached) "." } }
            @if !differences.is_empty() {
                p { "In what the best differs from the next:" }
                ul { @for difference in differences.iter().take(10) {
                    li { code { (difference.key) } ": " mark { (brief(&value(&difference.first))) } " instead of " (brief(&value(&difference.second))) }
                }
                @if differences.len() > 10 { li { (differences.len() - 10) " more, below" } } }
            }
        })
    }
}

/// How many rows a table with so many columns has.
fn most_rows(columns: usize) -> usize {
    (MOST_CELLS / columns.max(1)).min(MOST_ROWS)
}

/// Says what a page has no room for.
fn left_out(count: usize, what: &str) -> Markup {
    html! { @if count > 0 { p { (text_format::count(count)) " more " (what) "." } } }
}
