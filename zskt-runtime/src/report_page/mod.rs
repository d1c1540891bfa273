//! `report.html`: what a run found, how it got there and how it is repeated, in one file that needs nothing else; and the same of several
//! runs beside each other. It is made of the run's folder alone.

mod chart;
mod comparison;
mod curves;
mod document;
mod figure_text;
mod found;
mod one_run;
mod pictures;
mod request;
mod seeds;
#[cfg(test)]
mod tests;
mod thinning;

pub use chart::Chart;
pub use curves::charts;
pub use figure_text::{is_count, text as figure};
pub use one_run::page as of_run;
pub use request::{Request, is_page, make};

use std::collections::BTreeSet;

use zskt_api::{PluginKind, Registry};

use crate::pipeline::find_shown;
use crate::runs::Configuration;

/// The nodes of a configuration that are metrics.
fn metric_nodes<'c>(configuration: &'c Configuration, registry: &Registry) -> BTreeSet<&'c str> {
    let is_metric =
        |plugin: &String| find_shown(plugin, registry).is_some_and(|plugin| plugin.kind == PluginKind::Metric);
    let nodes = configuration.parameters.iter().filter(|(key, plugin)| !key.contains('.') && is_metric(plugin));
    nodes.map(|(key, _)| key.as_str()).collect()
}
