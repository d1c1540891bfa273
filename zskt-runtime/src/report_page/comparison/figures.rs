//! What several runs found, beside each other.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{COSTS, MOST_DRAWN, MOST_ROWS, Runs, left_out, most_rows};
use crate::report_page::chart::swatch;
use crate::report_page::figure_text::{brief, shortened};
use crate::report_page::seeds::{Group, differing};
use crate::report_page::{figure_text, one_run};

/// Figures beside each run; all are further down.
const MOST_COLUMNS: usize = 8;
/// Parameters beside each run; all are further down.
const MOST_KEYS: usize = 6;

/// A column of the table: a figure.
struct Column<'r> {
    key: &'r str,
    /// The best mean of a group.
    best: Option<f64>,
    /// What all runs state as published.
    published: Option<&'r str>,
}

impl<'r> Column<'r> {
    fn new(all: &'r Runs<'_>, key: &'r str) -> Self {
        let means = all.groups.iter().filter_map(|group| Some(all.over(key, &group.runs)?.mean));
        let runs: Vec<_> = (0..all.runs.len()).collect();
        Self { key, best: all.best(key, means), published: all.published(key, &runs) }
    }

    fn of_group(&self, all: &Runs<'_>, group: &Group) -> Markup {
        let text = all.over(self.key, &group.runs).map(|over| match group.runs[..] {
            [_] => (over.mean, figure_text::text(self.key, over.mean)),
            _ => (over.mean, figure_text::mean_text(self.key, over)),
        });
        html! { td.number {
            @if let Some((mean, text)) = text {
                @if self.best == Some(mean) { mark { strong { (text) } span.quiet { " best" } } } @else { (text) }
            }
            (self.published_by(all, &group.runs))
        } }
    }

    fn of_member(&self, all: &Runs<'_>, group: &Group, run: usize) -> Markup {
        let value = all.figures[run].0.get(self.key);
        html! { td.number {
            (value.map(|value| figure_text::text(self.key, *value)).unwrap_or_default())
            @if all.published(self.key, &group.runs).is_none() { (self.published_by(all, &[run])) }
        } }
    }

    /// What these runs state, unless all do.
    fn published_by(&self, all: &Runs<'_>, runs: &[usize]) -> Markup {
        let published = all.published(self.key, runs).filter(|_| self.published.is_none());
        html! { @if let Some(text) = published { div.quiet { "published: " (brief(text)) } } }
    }
}

/// What each run and each group of seeds found; the boxes show and hide their curves.
pub fn table(all: &Runs<'_>) -> Markup {
    let found: Vec<_> = all.of_metrics.iter().take(MOST_COLUMNS).map(|key| Column::new(all, key)).collect();
    let costs = COSTS.map(|(key, _)| Column::new(all, key));
    let differing = differing(&all.configurations.iter().collect::<Vec<_>>());
    let settings = |run: usize, seed: bool| {
        let value = |key: &&str| Some(format!("{key} {}", brief(all.configurations[run].parameters.get(*key)?)));
        let keys = differing.iter().filter(|key| seed || **key != "seed");
        html! { @for text in keys.filter_map(value).take(MOST_KEYS) { div { (text) } } }
    };
    let box_for = |id: usize, colour: usize, name: String, shown: bool| {
        html! { label.run { input type="checkbox" data-run=(id) checked[shown] autocomplete="off"; (swatch(colour)) (name) } }
    };
    let rows = all.groups.iter().enumerate().flat_map(|(number, group)| {
        let mean = (group.runs.len() > 1).then_some((number, None));
        mean.into_iter().chain(group.runs.iter().map(move |run| (number, Some(*run))))
    });
    let rows: Vec<_> = rows.take(MOST_ROWS).collect();
    let shown = rows.iter().filter(|(_, run)| run.is_some()).count();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Figures of all runs" { table {
            thead { tr {
                th scope="col" { "run" }
                @for column in &found { th.number scope="col" { (column.key) } }
                th scope="col" { "differs in" }
                @for column in &costs { th.number scope="col" { (figure_text::title(column.key)) } }
                th scope="col" { "state" }
            } }
            tbody {
                @if found.iter().chain(&costs).any(|column| column.published.is_some()) { tr {
                    th scope="row" { "published" }
                    @for column in &found { td.number { (brief(column.published.unwrap_or_default())) } }
                    td {}
                    @for column in &costs { td.number { (brief(column.published.unwrap_or_default())) } }
                    td {}
                } }
                @for (number, run) in rows {
                    @let group = &all.groups[number];
                    @match run {
                        Some(run) if group.runs.len() > 1 => tr {
                            th.member scope="row" { (box_for(run, number, all.folder_name(run), false)) }
                            @for column in &found { (column.of_member(all, group, run)) }
                            td { "seed " (brief(all.configurations[run].parameters.get("seed").map_or("", String::as_str))) }
                            @for column in &costs { (column.of_member(all, group, run)) }
                            td { (one_run::state(all.runs[run], &all.figures[run])) }
                        },
                        _ => tr {
                            th scope="row" {
                                @if let Some(run) = run { (box_for(run, number, all.folder_name(run), true)) }
                                @else { (box_for(all.runs.len() + number, number, format!("mean of {} seeds", group.runs.len()), true)) }
                            }
                            @for column in &found { (column.of_group(all, group)) }
                            td.differs { (settings(group.runs[0], run.is_some())) }
                            @for column in &costs { (column.of_group(all, group)) }
                            td { @if let Some(run) = run { (one_run::state(all.runs[run], &all.figures[run])) } }
                        },
                    }
                }
            }
        } }
        (left_out(all.runs.len() - shown, "runs are left out; name fewer"))
    }
}

/// Every figure that any of them has.
pub fn every(all: &Runs<'_>) -> Markup {
    let keys: BTreeSet<_> = all.figures.iter().flat_map(|figures| figures.0.keys()).collect();
    let runs: Vec<_> = all.groups.iter().flat_map(|group| group.runs.iter().copied()).take(MOST_DRAWN).collect();
    let most = most_rows(runs.len());
    html! { details {
        summary { "All figures" }
        div.scroll tabindex="0" role="region" aria-label="All figures" { table {
            thead { tr { th scope="col" { "figure" } @for run in &runs { th.number scope="col" { (all.folder_name(*run)) } } } }
            tbody { @for key in keys.iter().take(most) {
                @let best = all.best(key, all.figures.iter().filter_map(|figures| figures.0.get(*key)).copied());
                tr {
                    th scope="row" { (shortened(key)) }
                    @for run in &runs { td.number {
                        @if let Some(value) = all.figures[*run].0.get(*key) {
                            @if best == Some(*value) { mark { (figure_text::text(key, *value)) } }
                            @else { (figure_text::text(key, *value)) }
                        }
                    } }
                }
            } }
        } }
        (left_out(keys.len().saturating_sub(most), "figures are left out"))
        (left_out(all.runs.len() - runs.len(), "runs are left out; name fewer"))
    } }
}
