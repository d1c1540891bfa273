//! How a run starts: anew in an empty folder, or from the checkpoint of an earlier sitting.

use std::path::Path;
use std::time::Instant;

use zskt_api::{Context, Error, Result, Streams};

use super::append_log::AppendLog;
use super::checkpoint::{Checkpoint, Standing};
use super::console::Console;
use super::execution::Execution;
use super::failure::Stop;
use super::interrupt::Interrupted;
use super::products::{Place, Products};
use super::run_directory::RunDirectory;
use super::tensorboard::EventFile;
use super::{Options, atomic_file, device, fingerprint, manifest};
use crate::plan::Plan;

/// Makes a run ready to go; nothing when there is nothing left to do.
///
/// # Errors
/// When what was asked for cannot be done, a node cannot be built, or the user asked to stop.
pub fn start<'p>(
    plan: &'p Plan,
    options: &Options,
    console: Console,
    interrupted: Interrupted,
) -> Result<Option<Execution<'p>>, Stop> {
    let (device, device_name) = device::device(&plan.device).map_err(Stop::Refused)?;
    let precision = device::precision(&plan.precision).map_err(Stop::Refused)?;
    let place = Place { device, device_name, precision, streams: Streams::new(plan.seed) };
    let start = Start { plan, options, place, console, interrupted, began: Instant::now() };
    match &options.resume {
        None => start.anew().map(Some),
        Some(path) if options.out.as_ref().is_some_and(|out| out != path) => {
            Err(Stop::Refused(format!("--resume {} continues in that folder; leave --out away", path.display())))
        }
        Some(path) => start.resume(path),
    }
}

struct Start<'p, 'o> {
    plan: &'p Plan,
    options: &'o Options,
    place: Place,
    console: Console,
    interrupted: Interrupted,
    began: Instant,
}

impl<'p> Start<'p, '_> {
    fn anew(self) -> Result<Execution<'p>, Stop> {
        let plan = self.plan;
        let directory =
            RunDirectory::create(self.options.out.as_deref(), &plan.name, &plan.resolved).map_err(Stop::Refused)?;
        // The folder stays empty until every node is built, so that a weight file that is missing leaves none behind.
        let prepared = self.build().and_then(|products| {
            let files = manifest::fingerprints(plan, &self.interrupted)?;
            manifest::write(&directory.manifest(), plan, self.options, &self.place.device_name, &files)?;
            atomic_file::write(&directory.pipeline(), plan.resolved.as_bytes())?;
            Ok((products, AppendLog::create(directory.metrics())?, EventFile::create(directory.events())?))
        });
        let (products, log, events) = prepared.inspect_err(|_| directory.abandon())?;
        let standing = Standing { pipeline_sha256: fingerprint::of_pipeline(&plan.resolved), ..Standing::default() };
        Ok(self.execution(directory, products, log, events, standing))
    }

    fn resume(mut self, path: &Path) -> Result<Option<Execution<'p>>, Stop> {
        let (plan, shown) = (self.plan, path.display());
        let directory = RunDirectory::open(path.to_owned()).map_err(Stop::Refused)?;
        if !directory.checkpoint().is_file() {
            let missing = directory.checkpoint();
            return Err(Stop::Refused(format!(
                "cannot resume {shown}: there is no checkpoint, {}; is it the folder of a run?",
                missing.display()
            )));
        }
        let Checkpoint { standing, networks, unfinished } =
            Checkpoint::read(&directory.checkpoint(), &self.place.device)
                .map_err(|error| Stop::Refused(format!("cannot resume {shown}: {error}")))?;
        directory.check_pipeline(&plan.resolved, &standing.pipeline_sha256).map_err(Stop::Refused)?;
        if directory.is_finished() {
            self.already_finished(&directory)?;
            return Ok(None);
        }
        let files = manifest::fingerprints(plan, &self.interrupted)?;
        manifest::check(&directory.manifest(), plan, &files)?;
        let products = self.build()?;
        if let Some(stage) = standing
            .finished
            .iter()
            .find(|stage| stage.network.as_ref().is_none_or(|name| products.of_network(name).is_none()))
        {
            return Err(Stop::Refused(format!(
                "cannot resume {shown}: stage `{}` gave a network that no node of the pipeline makes, and a checkpoint cannot bring it back; run without --resume",
                stage.node
            )));
        }
        products.restore(&networks).context(format_args!("cannot resume {shown}"))?;
        let log = AppendLog::resume(directory.metrics(), standing.metrics_bytes)?;
        let events = EventFile::resume(directory.events(), standing.events_bytes)?;
        manifest::add_start(&directory.manifest(), self.options)?;
        self.console.line(&match &unfinished {
            Some(stage) => format!("resuming {shown} after batch {} of {}", stage.state.batch, stage.node),
            None => format!("resuming {shown} after {} finished stages", standing.finished.len()),
        });
        Ok(Some(Execution { unfinished, ..self.execution(directory, products, log, events, standing) }))
    }

    /// The run, about to go on from where it stands.
    fn execution(
        self,
        directory: RunDirectory,
        products: Products<'p>,
        log: AppendLog,
        events: EventFile,
        standing: Standing,
    ) -> Execution<'p> {
        Execution {
            plan: self.plan,
            place: self.place,
            products,
            directory,
            console: self.console,
            interrupted: self.interrupted,
            log,
            events,
            earlier_seconds: standing.seconds,
            standing,
            unfinished: None,
            began: self.began,
        }
    }

    /// Builds every node that does not wait for a stage.
    fn build(&self) -> Result<Products<'p>> {
        let mut products = Products::new(self.plan, self.place.clone());
        for index in 0..self.plan.nodes.len() {
            if (self.interrupted)() {
                return Err(Error::interrupted());
            }
            products.build(index)?;
        }
        Ok(products)
    }

    fn already_finished(&mut self, directory: &RunDirectory) -> Result<()> {
        let path = directory.report();
        let unreadable = |error: &dyn std::fmt::Display| super::failure::cannot_read(&path, error);
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
        self.console.json(&serde_json::from_str(&text).map_err(|error| unreadable(&error))?);
        self.console.result(&format!("this run is finished: {}", path.display()));
        Ok(())
    }
}
