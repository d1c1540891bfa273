//! In what several runs differ.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{MOST_DRAWN, Runs, left_out, most_rows};
use crate::report_page::figure_text::{brief, shortened};
use crate::report_page::seeds::Group;

/// In what the groups differ, and on request everything. What is not as in the best is marked.
pub fn table(all: &Runs<'_>) -> Markup {
    let configurations = &all.configurations;
    let every: BTreeSet<_> = configurations.iter().flat_map(|of| of.parameters.keys()).collect();
    let differs = |key: &&String| {
        configurations.iter().any(|of| of.parameters.get(*key) != configurations[0].parameters.get(*key))
    };
    let differing: Vec<_> = every.iter().copied().filter(differs).collect();
    let every: Vec<_> = every.into_iter().collect();
    let edges: BTreeSet<_> = configurations.iter().flat_map(|of| &of.edges).collect();
    let in_all = |edge: &&String| configurations.iter().all(|of| of.edges.contains(*edge));
    let edges: Vec<_> = edges.into_iter().filter(|edge| !in_all(edge)).collect();
    html! {
        @if differing.is_empty() && edges.is_empty() { p { "The runs do not differ." } } @else {
            p.quiet { "What differs; marked where it is not as in the first column." }
            div.scroll tabindex="0" role="region" aria-label="What differs" { (of_groups(all, &differing, &edges)) }
        }
        details {
            summary { "All parameters" }
            div.scroll tabindex="0" role="region" aria-label="All parameters" { (of_groups(all, &every, &edges)) }
        }
    }
}

/// These parameters and edges, with a column for each group.
fn of_groups(all: &Runs<'_>, keys: &[&String], edges: &[&String]) -> Markup {
    let columns: Vec<_> = all.groups.iter().take(MOST_DRAWN).collect();
    let most = most_rows(columns.len());
    let most_edges = most.saturating_sub(keys.len());
    let value = |group: &Group, key: &str| {
        let of_run = |run: &usize| all.configurations[*run].parameters.get(key).map_or("–", String::as_str);
        let values: BTreeSet<_> = group.runs.iter().map(of_run).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let has = |group: &Group, edge: &String| all.configurations[group.runs[0]].edges.contains(edge);
    html! {
        table {
            thead { tr { th scope="col" { "parameter" } @for group in &columns { th scope="col" { (all.group_name(group)) } } } }
            tbody {
                @for key in keys.iter().take(most) {
                    @let first = value(columns[0], key);
                    tr {
                        th scope="row" { (shortened(key)) }
                        @for group in &columns {
                            @let text = value(group, key);
                            td { code { @if text == first { (brief(&text)) } @else { mark { (brief(&text)) } } } }
                        }
                    }
                }
                @for edge in edges.iter().take(most_edges) { tr {
                    th scope="row" { code { (shortened(edge)) } }
                    @for group in &columns {
                        @let there = has(group, edge);
                        @let text = if there { "there" } else { "–" };
                        td { @if there == has(columns[0], edge) { (text) } @else { mark { (text) } } }
                    }
                } }
            }
        }
        (left_out(keys.len().saturating_sub(most), "parameters are left out"))
        (left_out(edges.len().saturating_sub(most_edges), "edges are left out"))
        (left_out(all.groups.len() - columns.len(), "columns are left out; name fewer runs"))
    }
}
