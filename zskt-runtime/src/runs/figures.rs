//! What a run found, figure by figure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::log::Log;

/// Figures of a run by their keys: `accuracy.top1` of the metric `accuracy`, `distill.images_per_second` of the stage `distill`,
/// `distill.best.accuracy.top1` and `distill.last.accuracy.top1` where it keeps its best weights by that metric; `seconds`,
/// `images_per_second` and `peak_memory_bytes` of the whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(pub BTreeMap<String, f64>);

impl Figures {
    /// Of the report of a finished run.
    pub fn of_report(report: &Value) -> Self {
        let mut figures = Self::default();
        for key in ["seconds", "images_per_second", "flop", "peak_memory_bytes"] {
            figures.add(key.to_owned(), &report[key]);
        }
        for (node, found) in report["metrics"].as_object().into_iter().flatten() {
            figures.add(node.clone(), found);
        }
        for (stage, entry) in report["stages"].as_object().into_iter().flatten() {
            for (name, value) in entry.as_object().into_iter().flatten().filter(|(name, _)| *name != "selection") {
                figures.add(format!("{stage}.{name}"), value);
            }
            let selection = &entry["selection"];
            let (Some(metric), Some(figure)) = (selection["metric"].as_str(), selection["figure"].as_str()) else {
                continue;
            };
            for which in ["best", "last"] {
                figures.add(format!("{stage}.{which}.{metric}.{figure}"), &selection[which]["value"]);
                figures.add(format!("{stage}.{which}.batch"), &selection[which]["batch"]);
            }
        }
        figures
    }

    /// Of a run that is not finished: what its metrics found last.
    pub fn of_log(log: &Log) -> Self {
        let last = |curve: &super::Curve| Some((curve.key.replacen('/', ".", 1), curve.points.last()?.1));
        Self(log.curves.iter().filter(|curve| curve.of_metric).filter_map(last).collect())
    }

    /// A number, or all numbers in an object; lists are not figures.
    fn add(&mut self, key: String, value: &Value) {
        match value {
            Value::Number(number) => {
                self.0.extend(number.as_f64().map(|number| (key, number)));
            }
            Value::Object(entries) => {
                entries.iter().for_each(|(name, value)| self.add(format!("{key}.{name}"), value));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Figures;

    #[test]
    fn figures_have_the_keys_that_pipelines_use() {
        let report = json!({
            "seconds": 3.5, "peak_memory_bytes": null,
            "metrics": { "accuracy": { "top1": 0.9, "per_class": [1.0, 0.8] } },
            "stages": { "distill": {
                "batches": 20, "imitate.loss": 0.5,
                "selection": { "metric": "accuracy", "figure": "top1", "best": { "batch": 10, "value": 0.91 }, "last": null },
            } },
        });
        let expected = [
            ("accuracy.top1", 0.9),
            ("distill.batches", 20.0),
            ("distill.best.accuracy.top1", 0.91),
            ("distill.best.batch", 10.0),
            ("distill.imitate.loss", 0.5),
            ("seconds", 3.5),
        ];
        assert_eq!(Figures::of_report(&report).0, expected.map(|(key, value)| (key.to_owned(), value)).into());
    }
}
