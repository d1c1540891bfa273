//! What a run was made with, parameter by parameter, and in what two runs differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use zskt_api::{Value, ValueKind};

use crate::pipeline::{Bounds, EXPECT, PUBLISHED, field, read, shown, shown_name};
use crate::text_format;

/// Every parameter of a resolved pipeline by the key that `--set` takes: `student` is `WideResNet`, `student.depth` is `16`, `seed`
/// is `0`; and its edges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The parameters, as RON text; names of plugins as a person reads them.
    pub parameters: BTreeMap<String, String>,
    /// The edges, as `teacher -> distill.teacher`.
    pub edges: BTreeSet<String>,
}

/// Something in which two configurations differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A parameter's key, or an edge.
    pub key: String,
    /// What it is in the first; of an edge, `there`.
    pub first: Option<String>,
    /// What it is in the second.
    pub second: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.as_deref().map_or("not there".to_owned(), text_format::one_line);
        write!(out, "{}: {} → {}", text_format::one_line(&self.key), shown(&self.first), shown(&self.second))
    }
}

impl Configuration {
    /// Of a resolved pipeline; what cannot be read of it is not there.
    pub fn of(resolved: &str) -> Self {
        let mut configuration = Self::default();
        let Some(pipeline) = read(resolved, 0, 0, &mut Vec::new()).value else { return configuration };
        for key in ["name", "seed", "device", "precision", "data_free"] {
            if let Some((_, value)) = field(&pipeline, key) {
                configuration.parameters.insert(key.to_owned(), value.to_ron());
            }
        }
        if let Some((_, Value { kind: ValueKind::Map(nodes), .. })) = field(&pipeline, "nodes") {
            for (name, plugin) in nodes {
                if let ValueKind::Text(name) = &name.kind {
                    configuration.add(name, plugin);
                }
            }
        }
        if let Some((_, Value { kind: ValueKind::List(edges), .. })) = field(&pipeline, "edges") {
            configuration.edges.extend(edges.iter().filter_map(|edge| match &edge.kind {
                ValueKind::Text(edge) => Some(edge.clone()),
                _ => None,
            }));
        }
        configuration
    }

    /// Adds what a parameter is, as RON text; what cannot be read of it is not there.
    pub fn add_text(&mut self, key: &str, ron: &str) {
        if let Some(value) = read(ron, 0, 0, &mut Vec::new()).value {
            self.add(key, &value);
        }
    }

    /// A plugin by its name, and its parameters under it; anything else as it is.
    fn add(&mut self, key: &str, value: &Value) {
        match &value.kind {
            ValueKind::Named { name: Some(name), items, .. } if name.text == "Some" && items.len() == 1 => {
                self.add(key, &items[0]);
            }
            ValueKind::Named { name: Some(name), fields, items } if items.is_empty() => {
                self.parameters.insert(key.to_owned(), shown_name(&name.text).to_owned());
                fields.iter().for_each(|(field, value)| self.add(&format!("{key}.{}", field.text), value));
            }
            _ => {
                self.parameters.insert(key.to_owned(), shown(&value.to_ron()));
            }
        }
    }

    /// In what another differs from this, parameters first, each kind by key.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let keys: BTreeSet<_> = self.parameters.keys().chain(other.parameters.keys()).collect();
        let value = |of: &Self, key: &str| of.parameters.get(key).cloned();
        let parameters = keys.into_iter().map(|key| (key, value(self, key), value(other, key)));
        let there = |of: &Self, edge: &str| of.edges.contains(edge).then(|| "there".to_owned());
        let edges = self.edges.union(&other.edges).map(|edge| (edge, there(self, edge), there(other, edge)));
        let both = parameters.chain(edges).filter(|(_, first, second)| first != second);
        both.map(|(key, first, second)| Difference { key: key.clone(), first, second }).collect()
    }
}

/// What a resolved pipeline says its source states.
pub fn published(resolved: &str) -> Vec<(String, String)> {
    figure_texts(resolved, PUBLISHED)
}

/// Where a resolved pipeline expects figures to lie.
pub fn expected(resolved: &str) -> Vec<(String, Bounds)> {
    let texts = figure_texts(resolved, EXPECT).into_iter();
    texts.filter_map(|(figure, text)| Some((figure, Bounds::parse(&text)?))).collect()
}

/// What a field of a resolved pipeline says of figures.
fn figure_texts(resolved: &str, of: &str) -> Vec<(String, String)> {
    let pipeline = read(resolved, 0, 0, &mut Vec::new()).value;
    let Some((_, Value { kind: ValueKind::Map(figures), .. })) =
        pipeline.as_ref().and_then(|pipeline| field(pipeline, of))
    else {
        return Vec::new();
    };
    let texts = figures.iter().filter_map(|pair| match (&pair.0.kind, &pair.1.kind) {
        (ValueKind::Text(figure), ValueKind::Text(text)) => Some((figure.clone(), text.clone())),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::{Configuration, Difference, published};

    const PIPELINE: &str = r#"(
        name: "n", seed: 0, device: "cpu", precision: "f32",
        published: {"accuracy.top1": "83.69 ± 0.58 %"},
        nodes: {
            "student": WideResNet(depth: 16, widen_factor: 1),
            "learn": Minimize(optimizer: Some(Sgd(lr: 0.1)), milestones: [1, 2]),
        },
        edges: ["student -> learn.player"],
    )"#;

    #[test]
    fn every_parameter_has_the_key_that_set_takes() {
        let found = Configuration::of(PIPELINE);
        let of = |key: &str| found.parameters.get(key).map(String::as_str);
        assert_eq!(of("student"), Some("WideResNet"));
        assert_eq!(of("student.depth"), Some("16"));
        assert_eq!((of("learn.optimizer"), of("learn.optimizer.lr")), (Some("Sgd"), Some("0.1")));
        assert_eq!(of("learn.milestones"), Some("[1, 2]"));
        assert_eq!((of("seed"), of("accuracy.top1"), of("published")), (Some("0"), None, None));
        assert_eq!(published(PIPELINE), [("accuracy.top1".to_owned(), "83.69 ± 0.58 %".to_owned())]);
    }

    #[test]
    fn what_differs_is_told_by_key() {
        let other = PIPELINE.replace("depth: 16", "depth: 40").replace("Some(Sgd(lr: 0.1))", "None");
        let other = other.replace("learn.player", "learn.teacher");
        let differences = Configuration::of(PIPELINE).differences(&Configuration::of(&other));
        let difference = |key: &str, first: Option<&str>, second: Option<&str>| Difference {
            key: key.to_owned(),
            first: first.map(str::to_owned),
            second: second.map(str::to_owned),
        };
        let expected = [
            difference("learn.optimizer", Some("Sgd"), Some("None")),
            difference("learn.optimizer.lr", Some("0.1"), None),
            difference("student.depth", Some("16"), Some("40")),
            difference("student -> learn.player", Some("there"), None),
            difference("student -> learn.teacher", None, Some("there")),
        ];
        assert_eq!(differences, expected);
        assert_eq!(Configuration::of("not RON (").parameters.len(), 0);
    }
}
