//! The run itself: nodes are built, stages run and metrics are evaluated, in the plan's order.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use serde_json::Value;
use zskt_api::{Error, Instance, MetricContext, Product, Result, Signature, StageContext, StageState};

use super::append_log::AppendLog;
use super::checkpoint::{Checkpoint, FinishedStage, Measured, RunningStage, Standing};
use super::console::Console;
use super::failure::Stop;
use super::guard::guarded;
use super::interrupt::Interrupted;
use super::products::{Place, Products, named_tensors, network};
use super::run_directory::RunDirectory;
use super::stage_record::Timing;
use super::stage_watch::StageWatch;
use super::tensorboard::EventFile;
use super::{atomic_file, fingerprint, metrics_log, report, tensor_file, wording};
use crate::plan::{Plan, PlanNode};

/// A run under way.
pub struct Execution<'p> {
    /// What is run.
    pub plan: &'p Plan,
    /// What is built so far.
    pub products: Products<'p>,
    /// What the user sees.
    pub console: Console,
    /// Whether the user asked to stop.
    pub interrupted: Interrupted,
    /// Where all is kept.
    pub directory: RunDirectory,
    /// The same curves for TensorBoard.
    pub events: EventFile,
    place: Place,
    log: AppendLog,
    standing: Standing,
    began: Instant,
    earlier_seconds: f64,
    continued: Option<(StageState, RunningStage, Timing)>,
}

impl<'p> Execution<'p> {
    /// Begins a run in an empty folder, with all built that can be.
    ///
    /// # Errors
    /// When the logs cannot be written.
    pub fn begin(
        plan: &'p Plan,
        place: Place,
        products: Products<'p>,
        console: Console,
        interrupted: Interrupted,
        directory: RunDirectory,
        began: Instant,
    ) -> Result<Self> {
        let log = AppendLog::create(directory.metrics())?;
        let events = EventFile::create(directory.events())?;
        let standing = Standing {
            pipeline_sha256: fingerprint::of_text(&plan.resolved),
            finished: Vec::new(),
            running: None,
            measured: Default::default(),
            seconds: 0.0,
            metrics_bytes: 0,
            events_bytes: 0,
        };
        let (continued, earlier_seconds) = (None, 0.0);
        Ok(Self {
            plan,
            products,
            console,
            interrupted,
            directory,
            events,
            place,
            log,
            standing,
            began,
            earlier_seconds,
            continued,
        })
    }
}
