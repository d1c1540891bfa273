//! What a plugin is: the contract that it implements.

use std::fmt;

/// The kinds of plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// Makes classifiers.
    Architecture,
    /// Makes generators.
    Generator,
    /// Brings a trained classifier.
    Teacher,
    /// Brings labelled images.
    Dataset,
    /// Scores what a classifier gives.
    Loss,
    /// Updates a player on a batch.
    Turn,
    /// Does the work.
    Stage,
    /// Measures.
    Metric,
    /// Turns gradients into updates.
    Optimizer,
    /// Changes the learning rate.
    Schedule,
    /// Chooses the classes that made images are to show.
    Targets,
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Architecture => "architecture",
            Self::Generator => "generator",
            Self::Teacher => "teacher source",
            Self::Dataset => "dataset",
            Self::Loss => "loss",
            Self::Turn => "turn",
            Self::Stage => "stage",
            Self::Metric => "metric",
            Self::Optimizer => "optimizer",
            Self::Schedule => "schedule",
            Self::Targets => "class targets",
        })
    }
}
