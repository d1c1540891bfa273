//! How a run starts: anew in an empty folder, or from the checkpoint of an earlier session.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use zskt_api::{Context, Diagnostic, Error, PredictionCache, RandomStreams, Registry, Result};

use super::device;
use super::environment::Environment;
use super::executor::Executor;
use super::network_trial::try_networks;
use super::node_outputs::NodeOutputs;
use super::restore_files::{adopt_pipeline, restore_files};
use crate::check;
use crate::pipeline::computed_part;
use crate::plan::Plan;
use crate::run::interrupt::Interrupted;
use crate::run::options::Options;
use crate::run::record::{Console, KeptLogs, Recorder, events, expectations, manifest, notice, page};
use crate::run::resume::{
    Checkpoint, Checkpointer, LastCheckpoint, ResumeState, RunDirectory, describe_checkpoint, of_pipeline,
};
use crate::run::start_error::StartError;
use crate::runs::Run;

/// A run that was made ready.
pub enum Started<'p> {
    /// It can go.
    Going(Box<Executor<'p>>),
    /// Nothing is left to do; whether it found what its pipeline expects.
    Finished(bool),
}

/// Makes a run ready to go.
///
/// # Errors
/// When what was asked for cannot be done, a node cannot be built, a network cannot compute, or the user asked to stop.
pub fn start<'p>(
    plan: &'p Plan,
    options: &Options,
    console: &'p mut Console,
    interrupted: Interrupted,
) -> Result<Started<'p>, StartError> {
    let (device, device_name) = device::open(plan.device)?;
    let streams = RandomStreams::new(plan.seed);
    let inspector = plan.inspector.clone();
    let prediction_cache = PredictionCache::default();
    let environment =
        Environment { device, device_name, precision: plan.precision, streams, inspector, prediction_cache };
    let start = Start { plan, options, environment, console, interrupted, began: Instant::now() };
    match options.begun() {
        None => start.anew().map(|executor| Started::Going(Box::new(executor))),
        Some(path) if options.out.as_ref().is_some_and(|out| out != path) => {
            Err(Diagnostic::global(format!("--resume {} continues in that folder; leave --out away", path.display()))
                .into())
        }
        Some(path) => start.resume(path),
    }
}

struct Start<'p, 'o> {
    plan: &'p Plan,
    options: &'o Options,
    environment: Environment,
    console: &'p mut Console,
    interrupted: Interrupted,
    began: Instant,
}

impl<'p> Start<'p, '_> {
    fn anew(self) -> Result<Executor<'p>, StartError> {
        let directory = RunDirectory::create(self.options.out.as_deref(), &self.plan.name, &self.plan.resolved)?;
        self.begin(directory)
    }

    /// Begins a run in an empty folder.
    fn begin(self, directory: RunDirectory) -> Result<Executor<'p>, StartError> {
        let plan = self.plan;
        if directory.begins_anew() {
            let path = directory.path().display();
            notice(&format!("the run in {path} ended before its first checkpoint; it begins anew"));
        }
        // The folder stays empty until every node is built and tried, so that a weight file that is missing leaves none behind.
        let prepare = || -> Result<_, StartError> {
            let outputs = self.build()?;
            try_networks(plan, &outputs, &self.environment, &self.interrupted)?;
            let files = manifest::fingerprints(plan, &self.interrupted)?;
            let teachers = manifest::teachers(plan)?;
            let device = &self.environment.device_name;
            let manifest = manifest::describe(plan, self.options, device, &files, &teachers);
            // First what says that the folder is a run's: a pipeline alone may be its user's.
            manifest::write(&directory, &manifest, self.options, self.environment.computer())?;
            directory.write(&directory.pipeline(), plan.resolved.as_bytes())?;
            Ok((outputs, manifest))
        };
        let (outputs, manifest) = prepare().inspect_err(|_| directory.abandon())?;
        let directory = Arc::new(directory);
        let recorder = Recorder::create(Arc::clone(&directory), self.console, plan)?;
        let state = ResumeState { pipeline: plan.resolved.clone(), manifest, ..ResumeState::default() };
        let last = LastCheckpoint { moment: None, is_newest: true };
        let checkpointer = Checkpointer::new(directory, state, BTreeMap::new(), None, last, self.began);
        Ok(Executor::new(plan, self.environment, outputs, recorder, checkpointer, self.interrupted))
    }

    fn resume(mut self, path: &Path) -> Result<Started<'p>, StartError> {
        let (plan, shown) = (self.plan, path.display());
        let refused = |error: Error| Diagnostic::global(format!("cannot resume {shown}: {error}"));
        let mut directory = RunDirectory::open(path.to_owned())?;
        let Some(Kept { mut checkpoint, mut logs, is_newest }) = self.last_checkpoint(&directory)? else {
            if let Some((report, pipeline)) = self.report_without_checkpoint(&directory)? {
                if computed_part(&pipeline) == computed_part(&plan.resolved) {
                    adopt_pipeline(&directory, &plan.resolved, &pipeline).map_err(refused)?;
                }
                return Ok(self.finished(&directory, &report));
            }
            if directory.clear(&plan.resolved)? {
                return self.begin(directory).map(|executor| Started::Going(Box::new(executor)));
            }
            let missing = &directory.checkpoints()[0];
            let message = format!("cannot resume {shown}: there is no checkpoint, {}", missing.display());
            return Err(Diagnostic::global(message).help("is it the folder of a run?").into());
        };
        directory.check_pipeline(&plan.resolved, &self.resolved_now(&checkpoint.state.pipeline)?)?;
        let is_elsewhere = computed_part(&plan.resolved) != computed_part(&checkpoint.state.pipeline);
        let is_finished = checkpoint.state.report.is_some();
        let written = checkpoint.state.pipeline.clone();
        if !(is_finished && is_elsewhere) {
            checkpoint.state.pipeline = plan.resolved.clone();
        }
        if let Some(report) = &checkpoint.state.report {
            adopt_pipeline(&directory, &checkpoint.state.pipeline, &written).map_err(refused)?;
            restore_files(&directory, &checkpoint.state, &checkpoint.networks, &checkpoint.best).map_err(refused)?;
            logs.cut(|log| notice(&format!("{} is longer than the run made it: cut back", log.display())))?;
            return Ok(self.finished(&directory, report));
        }
        let files = manifest::fingerprints(plan, &self.interrupted)?;
        manifest::check(&checkpoint.state.manifest, plan, &files)?;
        adopt_pipeline(&directory, &plan.resolved, &written).map_err(refused)?;
        restore_files(&directory, &checkpoint.state, &checkpoint.networks, &checkpoint.best).map_err(refused)?;
        let outputs = self.build()?;
        let Checkpoint { mut state, networks, best, unfinished } = checkpoint;
        if let Some(stage) = state
            .finished
            .iter()
            .find(|stage| stage.network.as_ref().is_none_or(|name| outputs.of_network(name).is_none()))
        {
            let message = format!(
                "cannot resume {shown}: stage `{}` gave a network that no node of the pipeline makes, and a checkpoint cannot \
                 bring it back",
                stage.node
            );
            return Err(Diagnostic::global(message).help("run without --resume").into());
        }
        outputs.restore(&networks).context(format_args!("cannot resume {shown}"))?;
        try_networks(plan, &outputs, &self.environment, &self.interrupted)?;
        let directory = Arc::new(directory);
        let mut recorder = Recorder::resume(Arc::clone(&directory), self.console, plan, logs)?;
        let before = state.manifest.clone();
        state.manifest["pipeline_sha256"] = of_pipeline(&plan.resolved).into();
        manifest::add_start(&directory, [&before, &state.manifest], self.options, self.environment.computer(), notice)?;
        let moment = describe_checkpoint(&state, unfinished.as_ref());
        recorder.console().line(&format!("resuming {shown} {moment}"));
        let last = LastCheckpoint { moment: Some(moment), is_newest };
        let checkpointer = Checkpointer::new(directory, state, best, unfinished, last, self.began);
        let executor = Executor::new(plan, self.environment, outputs, recorder, checkpointer, self.interrupted);
        Ok(Started::Going(Box::new(executor)))
    }

    /// Tells of a run that there is nothing left to do of.
    fn finished(&mut self, directory: &RunDirectory, report: &Value) -> Started<'p> {
        if !directory.page().exists() {
            page::write(directory, self.plan);
        }
        self.console.json(&events::started(self.plan, directory.path(), &self.environment.device_name, true));
        self.console.json(&events::finished(directory.path(), report));
        self.console.result(&format!("this run is finished: {}", directory.report().display()));
        Started::Finished(expectations::tell(&self.plan.expect, report, self.console))
    }

    /// The report of a finished run whose checkpoints were removed, and its pipeline.
    fn report_without_checkpoint(&self, directory: &RunDirectory) -> Result<Option<(Value, String)>, Diagnostic> {
        let Ok(Run { manifest, pipeline, report: Some(report), .. }) = Run::read_locked(directory) else {
            return Ok(None);
        };
        if manifest["pipeline_sha256"] != of_pipeline(&pipeline).as_str() {
            return Ok(None);
        }
        directory.check_pipeline(&self.plan.resolved, &self.resolved_now(&pipeline)?)?;
        Ok(Some((report, pipeline)))
    }

    /// The pipeline that a run has kept, as this version of zskt resolves it.
    fn resolved_now(&self, kept: &str) -> Result<String, Diagnostic> {
        if kept == self.plan.resolved {
            return Ok(kept.to_owned());
        }
        Ok(check::resolved_now(kept, Registry::get()?))
    }

    /// The last checkpoint that is whole, with logs that are; nothing when there is no checkpoint at all.
    fn last_checkpoint(&self, directory: &RunDirectory) -> Result<Option<Kept>, Diagnostic> {
        let mut problems = Vec::new();
        for (number, path) in directory.checkpoints().into_iter().enumerate().filter(|(_, path)| path.exists()) {
            let found = Checkpoint::read(&path, &self.environment.device)
                .and_then(|checkpoint| Ok((KeptLogs::open(directory, &checkpoint.state)?, checkpoint)));
            match found {
                Ok((logs, checkpoint)) => {
                    if number > 0 && problems.is_empty() {
                        problems.push(format!("{} is missing", directory.checkpoints()[0].display()));
                    }
                    if let Some(problem) = problems.first() {
                        let moment = describe_checkpoint(&checkpoint.state, checkpoint.unfinished.as_ref());
                        let path = path.display();
                        notice(&format!("{problem}\ngoing on from the checkpoint before that, {path}, {moment}"));
                    }
                    return Ok(Some(Kept { checkpoint, logs, is_newest: number == 0 }));
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        if problems.is_empty() {
            return Ok(None);
        }
        problems.dedup();
        let path = directory.path().display();
        Err(Diagnostic::global(format!("cannot resume {path}: {}", problems.join("\nand ")))
            .help("restore it from a copy, or run without --resume"))
    }

    /// Builds every node that does not wait for a stage.
    fn build(&self) -> Result<NodeOutputs<'p>> {
        let mut outputs = NodeOutputs::new(self.plan, self.environment.clone());
        for index in 0..self.plan.nodes.len() {
            if (self.interrupted)() {
                return Err(Error::interrupted());
            }
            outputs.build(index)?;
        }
        Ok(outputs)
    }
}

/// What a run goes on from.
struct Kept {
    checkpoint: Checkpoint,
    logs: KeptLogs,
    /// Whether the checkpoint is the newest, and not the one before it.
    is_newest: bool,
}
