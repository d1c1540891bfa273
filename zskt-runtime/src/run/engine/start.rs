//! How a run starts: anew in an empty folder, or from the checkpoint of an earlier session.

use std::path::Path;
use std::time::Instant;

use zskt_api::{Context, Diagnostic, Error, RandomStreams, Result};

use super::device;
use super::environment::Environment;
use super::executor::Executor;
use super::node_outputs::NodeOutputs;
use crate::plan::Plan;
use crate::plugin_calls::Inspector;
use crate::run::interrupt::Interrupted;
use crate::run::options::Options;
use crate::run::record::{Console, Recorder, manifest};
use crate::run::resume::{
    Checkpoint, Checkpointer, LogLengths, ResumeState, RunDirectory, cannot_read, of_pipeline, write_atomically,
};
use crate::run::start_error::StartError;

/// Makes a run ready to go; nothing when there is nothing left to do.
///
/// # Errors
/// When what was asked for cannot be done, a node cannot be built, or the user asked to stop.
pub fn start<'p>(
    plan: &'p Plan,
    options: &Options,
    console: Console,
    interrupted: Interrupted,
) -> Result<Option<Executor<'p>>, StartError> {
    let (device, device_name) = device::open(plan.device)?;
    let streams = RandomStreams::new(plan.seed);
    let inspector = Inspector::default();
    let environment = Environment { device, device_name, precision: plan.precision, streams, inspector };
    let start = Start { plan, options, environment, console, interrupted, began: Instant::now() };
    match &options.resume {
        None => start.anew().map(Some),
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
    console: Console,
    interrupted: Interrupted,
    began: Instant,
}

impl<'p> Start<'p, '_> {
    fn anew(self) -> Result<Executor<'p>, StartError> {
        let plan = self.plan;
        let directory = RunDirectory::create(self.options.out.as_deref(), &plan.name, &plan.resolved)?;
        // The folder stays empty until every node is built, so that a weight file that is missing leaves none behind.
        let prepared = self.build().and_then(|outputs| {
            let files = manifest::fingerprints(plan, &self.interrupted)?;
            manifest::write(&directory.manifest(), plan, self.options, &self.environment.device_name, &files)?;
            write_atomically(&directory.pipeline(), plan.resolved.as_bytes())?;
            Ok(outputs)
        });
        let outputs = prepared.inspect_err(|_| directory.abandon())?;
        let checkpoint = directory.checkpoint();
        let recorder = Recorder::create(directory, self.console)?;
        let state = ResumeState { pipeline_sha256: of_pipeline(&plan.resolved), ..ResumeState::default() };
        let checkpointer = Checkpointer::new(checkpoint, state, None, self.began);
        Ok(Executor::new(plan, self.environment, outputs, recorder, checkpointer, self.interrupted))
    }

    fn resume(mut self, path: &Path) -> Result<Option<Executor<'p>>, StartError> {
        let (plan, shown) = (self.plan, path.display());
        let directory = RunDirectory::open(path.to_owned())?;
        if !directory.checkpoint().is_file() {
            let missing = directory.checkpoint();
            let message = format!("cannot resume {shown}: there is no checkpoint, {}", missing.display());
            return Err(Diagnostic::global(message).help("is it the folder of a run?").into());
        }
        let Checkpoint { state, networks, unfinished } =
            Checkpoint::read(&directory.checkpoint(), &self.environment.device)
                .map_err(|error| Diagnostic::global(format!("cannot resume {shown}: {error}")))?;
        directory.check_pipeline(&plan.resolved, &state.pipeline_sha256)?;
        if directory.is_finished() {
            self.already_finished(&directory)?;
            return Ok(None);
        }
        let files = manifest::fingerprints(plan, &self.interrupted)?;
        manifest::check(&directory.manifest(), plan, &files)?;
        let outputs = self.build()?;
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
        let (checkpoint, manifest) = (directory.checkpoint(), directory.manifest());
        let lengths = LogLengths { metrics: state.metrics_bytes, events: state.events_bytes };
        let mut recorder = Recorder::resume(directory, self.console, lengths)?;
        manifest::add_start(&manifest, self.options)?;
        recorder.console().line(&match &unfinished {
            Some(stage) => format!("resuming {shown} after batch {} of {}", stage.state.batch, stage.node),
            None => format!("resuming {shown} after {} finished stages", state.finished.len()),
        });
        let checkpointer = Checkpointer::new(checkpoint, state, unfinished, self.began);
        Ok(Some(Executor::new(plan, self.environment, outputs, recorder, checkpointer, self.interrupted)))
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

    fn already_finished(&mut self, directory: &RunDirectory) -> Result<()> {
        let path = directory.report();
        let unreadable = |error: &dyn std::fmt::Display| cannot_read(&path, error);
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
        self.console.json(&serde_json::from_str(&text).map_err(|error| unreadable(&error))?);
        self.console.result(&format!("this run is finished: {}", path.display()));
        Ok(())
    }
}
