//! The figures by which runs are judged: those that their metrics declare.

use zskt_api::{Objective, PluginInstance, PluginKind, Registry};

use super::Run;
use crate::pipeline;
use crate::plugin_calls::catch_panics;

/// A figure that a metric declares to be judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Headline {
    /// Its key: `accuracy.top1`.
    pub key: String,
    /// Which way it is better.
    pub objective: Objective,
}

/// The figures by which runs are judged, in the order of their pipelines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headlines(pub Vec<Headline>);

impl Headlines {
    /// Of these runs. What plugins of libraries declare is known only where these are loaded.
    pub fn of_runs<'r>(runs: impl IntoIterator<Item = &'r Run>, registry: &Registry) -> Self {
        let mut headlines = Self::default();
        for run in runs {
            for headline in of_pipeline(&run.pipeline, registry) {
                if headlines.find(&headline.key).is_none() {
                    headlines.0.push(headline);
                }
            }
        }
        headlines
    }

    /// Which way a figure is better, where it is one of these, or what a stage keeps of one: `distill.best.accuracy.top1`.
    pub fn objective(&self, key: &str) -> Option<Objective> {
        let is_kept = |headline: &&Headline| key.strip_suffix(&headline.key).is_some_and(|stage| stage.ends_with('.'));
        self.find(key).or_else(|| self.0.iter().find(is_kept)).map(|headline| headline.objective)
    }

    /// The one with exactly this key.
    pub fn find(&self, key: &str) -> Option<&Headline> {
        self.0.iter().find(|headline| headline.key == key)
    }
}

fn of_pipeline(resolved: &str, registry: &Registry) -> Vec<Headline> {
    let nodes = pipeline::resolved_nodes(resolved);
    let headline = |(node, plugin): (String, zskt_api::Value)| {
        let read = catch_panics(|| {
            let (_, parsed) = registry.read(&plugin, &[PluginKind::Metric], &mut Vec::new())?;
            let PluginInstance::Metric(metric) = parsed.instance() else { return None };
            metric.score()
        });
        let score = read.ok().flatten()?;
        Some(Headline { key: format!("{node}.{}", score.figure), objective: score.objective })
    };
    nodes.into_iter().filter_map(headline).collect()
}

#[cfg(test)]
mod tests {
    use zskt_api::Objective;

    use super::{Headline, Headlines};

    #[test]
    fn a_figure_is_judged_by_its_own_metric() {
        let headline = |key: &str, objective| Headline { key: key.to_owned(), objective };
        let headlines = Headlines(vec![
            headline("error.top1", Objective::Maximize),
            headline("first.error.top1", Objective::Minimize),
        ]);
        assert_eq!(headlines.objective("first.error.top1"), Some(Objective::Minimize));
        assert_eq!(headlines.objective("distill.best.error.top1"), Some(Objective::Maximize));
        assert_eq!(headlines.objective("terror.top1"), None, "another metric's");
    }
}
