//! What a sweep found: figures of each configuration over its seeds.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use zskt_api::Diagnostic;

use super::axis::SEED;
use super::record::{Record, RecordedPoint, SweepFolder};
use super::statistic::Statistic;
use crate::pipeline::Bounds;
use crate::run::RunFiles;
use crate::runs::{Run, RunState};

/// The state of a point whose folder holds something else than its run.
const DAMAGED: &str = "damaged";

/// The figures of a sweep.
pub struct Summary {
    /// The keys of what differs between configurations.
    pub keys: Vec<String>,
    /// The figures that matter most, those that are chosen by and those that are published.
    pub headline: Vec<String>,
    /// All figures of any run, those that matter most first.
    pub figures: Vec<String>,
    /// The configurations, in the order in which they were asked for.
    pub rows: Vec<Row>,
    /// Every point.
    pub points: Vec<PointSummary>,
}

/// A configuration: what is set but for the seed.
pub struct Row {
    /// What is set, for each of [`Summary::keys`].
    pub settings: Vec<String>,
    /// How many points it has.
    pub points: usize,
    /// How many of these are finished.
    pub finished: usize,
    /// Its figures, by key.
    pub figures: BTreeMap<String, Statistic>,
    /// What the pipeline's source states.
    pub published: BTreeMap<String, String>,
}

/// A point, and how far it is.
#[derive(Serialize)]
pub struct PointSummary {
    /// The name of its folder.
    pub folder: String,
    /// What is set in it.
    pub settings: BTreeMap<String, String>,
    /// How far it is, in a word: `missing`, where it has not begun.
    pub state: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What of its figures lies elsewhere than its pipeline expects: `accuracy.top1 is 0.85, expected 0.9..`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misses: Vec<String>,
    /// What it found, when it is finished.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

/// How far the run of a point is; `None` where it has not begun.
pub fn state(folder: &SweepFolder, point: &RecordedPoint) -> Option<Result<Run, Diagnostic>> {
    let path = folder.run(point);
    // A run that was just begun has no manifest yet.
    path.join("manifest.json").is_file().then(|| Run::read(&path))
}

impl Summary {
    /// Of the runs that are finished, wherever they ran.
    pub fn read(folder: &SweepFolder, record: &Record) -> Self {
        let points = record.points.iter().map(|point| PointSummary::read(folder, point)).collect();
        Self::of(record, points)
    }

    /// Of these points, in the order of the record's.
    pub fn of(record: &Record, points: Vec<PointSummary>) -> Self {
        let keys: Vec<_> = record.axes.iter().map(|axis| axis.key.clone()).filter(|key| key != SEED).collect();
        // What only says something of the pipeline's figures is set in no point.
        let keys: Vec<_> =
            keys.into_iter().filter(|key| record.points.iter().any(|point| point.settings.contains_key(key))).collect();
        let mut groups: Vec<(BTreeMap<&str, &str>, Vec<usize>)> = Vec::new();
        for (index, point) in record.points.iter().enumerate() {
            let configuration = point.configuration();
            match groups.iter_mut().find(|(known, _)| *known == configuration) {
                Some((_, members)) => members.push(index),
                None => groups.push((configuration, vec![index])),
            }
        }
        let rows = groups.into_iter().map(|(configuration, members)| {
            let settings = keys
                .iter()
                .map(|key| configuration.get(key.as_str()).map_or(String::new(), |value| (*value).to_owned()));
            let finished: Vec<_> =
                members.iter().map(|index| &points[*index]).filter(|point| !point.figures.is_empty()).collect();
            let names: BTreeSet<_> = finished.iter().flat_map(|point| point.figures.keys()).collect();
            let figure = |name: &&String| {
                let values: Vec<_> = finished.iter().filter_map(|point| point.figures.get(*name).copied()).collect();
                Some(((*name).clone(), Statistic::of(&values)?))
            };
            Row {
                settings: settings.collect(),
                points: members.len(),
                finished: finished.len(),
                figures: names.iter().filter_map(figure).collect(),
                published: record.points[members[0]].published.clone(),
            }
        });
        let rows: Vec<Row> = rows.collect();
        let found: BTreeSet<_> = rows.iter().flat_map(|row| row.figures.keys()).collect();
        let mut figures = record.headline.clone();
        figures.extend(found.into_iter().filter(|name| !record.headline.contains(name)).cloned());
        Self { keys, headline: record.headline.clone(), figures, rows, points }
    }
}

/// What all stages of a run did together.
fn work(report: &Value) -> Vec<(String, f64)> {
    let stages = || report["stages"].as_object().into_iter().flat_map(|stages| stages.values());
    let sum =
        |key: &str| Some((key.to_owned(), stages().filter_map(|stage| stage[key].as_f64()).reduce(|a, b| a + b)?));
    ["batches", "images"].into_iter().filter_map(sum).collect()
}

/// The figures that lie elsewhere than expected.
fn misses(expect: &BTreeMap<String, String>, figures: &BTreeMap<String, f64>) -> Vec<String> {
    let miss = |(figure, written): (&String, &String)| {
        let (found, bounds) = (figures.get(figure), Bounds::parse(written)?);
        let shown = found.map_or_else(|| "not there".to_owned(), f64::to_string);
        (!found.is_some_and(|found| bounds.hold(*found))).then(|| format!("{figure} is {shown}, expected {written}"))
    };
    expect.iter().filter_map(miss).collect()
}

impl PointSummary {
    fn read(folder: &SweepFolder, point: &RecordedPoint) -> Self {
        let mut summary = Self {
            folder: point.folder.clone(),
            settings: point.settings.clone(),
            state: "missing".into(),
            reason: None,
            misses: Vec::new(),
            figures: BTreeMap::new(),
        };
        match state(folder, point) {
            None => {
                // A run that was just begun has not written anything yet.
                if RunState::read(&RunFiles::new(folder.run(point)), false) == RunState::Running {
                    summary.state = RunState::Running.to_string();
                }
            }
            Some(Err(problem)) => (summary.state, summary.reason) = (DAMAGED.into(), Some(problem.message)),
            Some(Ok(run)) => {
                summary.state = run.state.to_string();
                if let RunState::Failed(why) = &run.state {
                    summary.reason = Some(why.clone());
                }
                if run.manifest["pipeline_sha256"] != point.pipeline_sha256 {
                    let why = "the run in this folder is of another pipeline than the point".to_owned();
                    (summary.state, summary.reason) = (DAMAGED.into(), Some(why));
                } else if run.report.is_some() {
                    match run.figures() {
                        Ok(figures) => {
                            summary.figures = figures.0;
                            summary.figures.extend(run.report.as_ref().map(work).into_iter().flatten());
                            summary.misses = misses(&point.expect, &summary.figures);
                        }
                        Err(problem) => (summary.state, summary.reason) = (DAMAGED.into(), Some(problem.message)),
                    }
                }
            }
        }
        summary
    }

    /// Whether its run came to its end.
    pub fn is_finished(&self) -> bool {
        self.state == RunState::Finished.to_string()
    }

    /// Whether a program runs it.
    pub fn is_running(&self) -> bool {
        self.state == RunState::Running.to_string()
    }

    /// Whether its run failed, or its folder cannot be read.
    pub fn has_failed(&self) -> bool {
        self.state == RunState::Failed(String::new()).to_string() || self.state == DAMAGED
    }
}
