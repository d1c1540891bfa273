//! Sweeps: a pipeline run once for each seed and each value of some parameters, here or by a cluster's engine, and a table of what the
//! runs found.
//!
//! [`Design`] says which runs there are, [`Record`] in which folder each lies, [`Schedule`] runs them as programs of their own, [`Engine`]
//! hands them to others, and [`Summary`] reads what is finished, wherever it ran.

mod axis;
mod child;
mod design;
mod engines;
mod live_table;
mod point_name;
mod progress;
mod record;
mod schedule;
mod shell;
mod slots;
mod statistic;
mod summary;
mod table;

pub use axis::{Axis, SEED};
pub use design::{Design, Point, Request};
pub use engines::{Engine, Submission};
pub use live_table::LiveTable;
pub use record::{Record, RecordedAxis, RecordedPoint, SweepFolder};
pub use schedule::{Outcome, Schedule};
pub use shell::{command, quoted, words};
pub use slots::slots;
pub use statistic::Statistic;
pub use summary::Summary;

use std::path::{Path, PathBuf};

use crate::checksum;
use crate::runs::Configuration;

/// How many digits of its sum a folder's name has.
const SUM_DIGITS: usize = 8;

/// The folder of a sweep that is given none: the same for the same pipeline along the same axes, so that the same command goes on with it.
pub fn default_folder(name: &str, base: &Configuration, axes: &[RecordedAxis]) -> PathBuf {
    let keys: Vec<_> = axes.iter().map(|axis| &axis.key).collect();
    let sum = checksum::of_bytes(format!("{:?}{:?}{keys:?}", base.parameters, base.edges).as_bytes());
    Path::new("runs").join(format!("{}-sweep-{}", point_name::plain(name), &sum[..SUM_DIGITS]))
}

/// What of a pipeline is the same in all points of a sweep along these axes.
pub fn without_axes(mut configuration: Configuration, axes: &[RecordedAxis]) -> Configuration {
    let is_swept = |key: &str| {
        axes.iter().any(|axis| {
            key.strip_prefix(axis.key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    configuration.parameters.retain(|key, _| !is_swept(key));
    configuration
}
