//! Which of a stage's weights are kept: the last, and beside them the best by a metric.

use serde_json::{Map, Value};

use super::Objective;
use crate::{Diagnostic, ParameterKind, ParameterType, ValueKind};

/// The figure by which a metric says which of two networks is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// Which of its figures.
    pub figure: &'static str,
    /// Whether small values are good, or large ones.
    pub objective: Objective,
}

impl Score {
    /// The figure's value among those of a measurement, NaN where it is no number; `None` where there is no such figure.
    pub fn of(&self, figures: &Map<String, Value>) -> Option<f64> {
        figures.get(self.figure).map(|value| value.as_f64().unwrap_or(f64::NAN))
    }

    /// By how much a value is better than another, negative where it is worse.
    pub fn gain(&self, value: f64, other: f64) -> f64 {
        match self.objective {
            Objective::Maximize => value - other,
            Objective::Minimize => other - value,
        }
    }
}

/// By what the best weights of a stage are chosen, and when that ends the stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The node of the metric. It hangs on the stage, and is evaluated while that trains.
    pub metric: String,
    /// Evaluations without an improvement after which the stage ends; `None` trains to the end.
    pub patience: Option<usize>,
    /// By how much an evaluation must be better, to be an improvement for `patience`.
    pub min_delta: f64,
}

/// The parameter `keep` of a stage: `Last`, or `Best("metric")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The last weights alone.
    Last,
    /// The best by this metric, too.
    Best(String),
}

impl ParameterType for Keep {
    fn kind() -> ParameterKind {
        ParameterKind::Custom("Last | Best(\"METRIC\")".to_owned())
    }
    fn read(value: &crate::Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        if let ValueKind::Named { name: Some(name), fields, items } = &value.kind
            && fields.is_empty()
        {
            match (name.text.as_str(), &items[..]) {
                ("Last", []) => return Some(Self::Last),
                ("Best", [metric]) => return String::read(metric, problems).map(Self::Best),
                _ => {}
            }
        }
        let expected = Self::kind();
        let found = value.describe();
        problems.push(
            Diagnostic::at(value.span, format!("wrong type: expected {expected}, found {found}"))
                .label(format!("expected {expected}"))
                .help("METRIC is the name of a node, as in `Best(\"accuracy\")`"),
        );
        None
    }
    crate::__neither_plugins_nor_paths!();
    fn to_ron(&self) -> String {
        match self {
            Self::Last => "Last".to_owned(),
            Self::Best(metric) => format!("Best({metric:?})"),
        }
    }
}
