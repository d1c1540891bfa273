//! Everything that happens in a run, written to its folder and shown to the user.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use serde_json::Value;
use zskt_api::{Error, FeatureMap, LoggedDistribution, LoggedScalar, Progress, Result, WeightsSource};

use super::console::{Console, notice};
use super::histogram::Histogram;
use super::png_picture::PngPicture;
use super::tensorboard::{EventFile, SessionStatus};
use super::{data_free, events, expectations, image_grid, measurement, metrics_log, page, report, stated_accuracy};
use crate::file_names::file_name;
use crate::plan::{Plan, PlanNode};
use crate::run::resume::{
    AppendLog, Checkpointer, FinishedStage, LogMarks, MeasuredMetric, ResumeState, RunDirectory, WeightsFile,
    evaluation_name,
};
use crate::runs::{Configuration, Figures};

/// The logs, the images and the reports of a run, and the console.
pub struct Recorder<'c> {
    directory: Arc<RunDirectory>,
    console: &'c mut Console,
    metrics: AppendLog,
    events: EventFile,
}

/// The logs of an earlier session, as far as a checkpoint counts on them.
pub struct KeptLogs {
    metrics: AppendLog,
    events: AppendLog,
}

impl KeptLogs {
    /// Opens the logs, and leaves them as they are.
    ///
    /// # Errors
    /// When they are not what the checkpoint counts on.
    pub fn open(directory: &RunDirectory, state: &ResumeState) -> Result<Self> {
        let metrics = AppendLog::open(directory.metrics(), &state.metrics)?;
        Ok(Self { metrics, events: AppendLog::open(directory.events(), &state.events)? })
    }

    /// Drops what the checkpoint does not count on, and calls `tell` for each log that had more.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn cut(&mut self, tell: impl Fn(&Path)) -> Result<()> {
        [&mut self.metrics, &mut self.events].into_iter().try_for_each(|log| {
            log.cut()?.into_iter().for_each(&tell);
            Ok(())
        })
    }
}

impl<'c> Recorder<'c> {
    /// Starts the logs of a new run of a pipeline.
    ///
    /// # Errors
    /// When they cannot be written, or are there already.
    pub fn create(directory: Arc<RunDirectory>, console: &'c mut Console, plan: &Plan) -> Result<Self> {
        let way_out = directory.way_out();
        let metrics = AppendLog::create(directory.metrics(), way_out)?;
        let events = EventFile::create(directory.events(), way_out, Configuration::of(&plan.resolved).parameters)?;
        Ok(Self { directory, console, metrics, events })
    }

    /// Continues the logs of a run of a pipeline from where a checkpoint was made.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn resume(
        directory: Arc<RunDirectory>,
        console: &'c mut Console,
        plan: &Plan,
        mut logs: KeptLogs,
    ) -> Result<Self> {
        logs.cut(|_| ())?;
        let KeptLogs { metrics, events } = logs;
        let events = EventFile::resume(events, Configuration::of(&plan.resolved).parameters);
        Ok(Self { directory, console, metrics, events })
    }

    /// What the user sees.
    pub fn console(&mut self) -> &mut Console {
        self.console
    }

    /// The folder that all is kept in.
    pub fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    /// Stops showing anything, and gives the folder that all is kept in.
    pub fn into_directory(self) -> Arc<RunDirectory> {
        self.console.clear();
        self.directory
    }

    /// Makes sure that the logs are on the disk, and marks where they end.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync(&mut self) -> Result<LogMarks> {
        Ok(LogMarks { metrics: self.metrics.sync()?, events: self.events.sync()? })
    }

    /// Logs a batch of a stage.
    ///
    /// # Errors
    /// When a log cannot be written.
    pub fn batch(&mut self, stage: &str, progress: &Progress<'_>) -> Result<()> {
        let point = |scalar: &LoggedScalar| (format!("{stage}/{}", scalar.name), scalar.value);
        let mut points: Vec<_> = progress.figures.iter().map(point).collect();
        points.push((format!("{stage}/seconds"), progress.seconds));
        self.log(&metrics_log::batch(stage, progress), progress.batch, &points)
    }

    /// Logs and shows what a metric found while a stage runs; where the stage chooses by it, also whether this is the best so far.
    ///
    /// # Errors
    /// When a log cannot be written.
    pub fn metric_during(
        &mut self,
        metric: &str,
        stage: &str,
        batch: usize,
        measured: &mut MeasuredMetric,
        is_best: Option<bool>,
    ) -> Result<()> {
        let best = if is_best == Some(true) { ", the best so far" } else { "" };
        self.console.line(&format!("{metric} at batch {batch} of {stage}: {}{best}", measured.summary));
        self.measurement(metric, Some(stage), batch, measured)?;
        let object = metrics_log::metric_during(metric, stage, batch, measured, is_best);
        self.log(&object, batch, &measurement::points(metric, measured))
    }

    /// Logs what a stage looked at beside a batch.
    ///
    /// # Errors
    /// When a log cannot be written.
    pub fn monitor(&mut self, stage: &str, batch: usize, figures: &[LoggedScalar]) -> Result<()> {
        let point = |scalar: &LoggedScalar| (format!("{stage}/monitor/{}", scalar.name), scalar.value);
        let points: Vec<_> = figures.iter().map(point).collect();
        self.log(&metrics_log::monitor(stage, batch, figures), batch, &points)
    }

    /// Logs how what a stage looked at beside a batch is distributed.
    ///
    /// # Errors
    /// When a log cannot be written.
    pub fn distributions(&mut self, stage: &str, batch: usize, distributions: &[LoggedDistribution]) -> Result<()> {
        let histograms = distributions.iter().filter_map(|it| Some((it.name.as_str(), Histogram::of(it)?)));
        let histograms: Vec<_> = histograms.collect();
        self.log(&metrics_log::distributions(stage, batch, &histograms), batch, &[])?;
        let tagged = histograms.iter().map(|(name, histogram)| (format!("{stage}/monitor/{name}"), histogram));
        self.events.histograms(batch, tagged)
    }

    /// Logs what a stage warns of, and tells it to whoever started the run.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn warning(&mut self, stage: &str, batch: usize, message: &str) -> Result<()> {
        self.console.clear();
        notice(&format!("warning: {stage}, batch {batch}: {message}"));
        self.log(&metrics_log::warning(stage, batch, message), batch, &[])
    }

    /// Logs and shows what a metric found in its place in the pipeline: after a stage, or before the first.
    ///
    /// # Errors
    /// When a log cannot be written.
    pub fn metric_after(
        &mut self,
        plan: &Plan,
        node: &PlanNode,
        stage: Option<&FinishedStage>,
        measured: &mut MeasuredMetric,
    ) -> Result<()> {
        let metric = node.name.as_str();
        self.console.line(&format!("{metric}: {}", measured.summary));
        if let Some(warning) = stated_accuracy::warning(plan, node, measured) {
            self.console.clear();
            notice(&format!("warning: {warning}"));
        }
        let (step, stage) = (stage.map_or(0, |stage| stage.record.batches), stage.map(|stage| stage.node.as_str()));
        self.measurement(metric, stage, step, measured)?;
        self.log(&metrics_log::metric_after(metric, stage, measured), step, &measurement::points(metric, measured))
    }

    /// Keeps the pictures that a metric gave, and shows TensorBoard these, and lists and matrices among its figures.
    fn measurement(
        &mut self,
        metric: &str,
        stage: Option<&str>,
        batch: usize,
        measured: &mut MeasuredMetric,
    ) -> Result<()> {
        let mut taken = BTreeSet::new();
        for (name, picture) in std::mem::take(&mut measured.pictures) {
            let picture = PngPicture::of(&picture)?;
            let (mut file, mut number) = (file_name(&name), 1);
            // Names that differ may be one as a file's; some file systems do not tell capital letters from small ones.
            while !taken.insert(file.to_lowercase()) {
                number += 1;
                file = format!("{}-{number}", file_name(&name));
            }
            let path = self.directory.picture(metric, &evaluation_name(stage, batch), &file);
            self.directory.write(&path, &picture.png)?;
            measured.picture_files.insert(name.clone(), self.within_folder(&path));
            self.events.image(batch, &format!("{metric}/{name}"), &picture)?;
        }
        for (tag, picture) in measurement::heat_maps(metric, measured)? {
            self.events.image(batch, &tag, &picture)?;
        }
        let histograms = measurement::histograms(metric, measured);
        self.events.histograms(batch, histograms.iter().map(|(tag, histogram)| (tag.clone(), histogram)))
    }

    /// What a file of the run is called within its folder.
    fn within_folder(&self, path: &Path) -> String {
        path.strip_prefix(self.directory.path()).unwrap_or(path).display().to_string()
    }

    /// Keeps a grid of pseudo-images, as a file and for TensorBoard.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn images(&mut self, stage: &str, batch: usize, images: &FeatureMap) -> Result<()> {
        let grid = image_grid::grid(images, image_grid::Scale::EachStretched)?;
        let path = self.directory.image(stage, batch);
        self.directory.write(&path, &grid.png)?;
        let event = events::images(stage, batch, &self.within_folder(&path));
        self.console.json(&event);
        self.events.image(batch, &format!("{stage}/images"), &grid)
    }

    /// Writes the weights of a trained network under PyTorch's names.
    ///
    /// # Errors
    /// When they are not finite, or cannot be written.
    pub fn weights(
        &self,
        name: &str,
        network: &str,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<(PathBuf, WeightsFile)> {
        let file = WeightsFile::write(&self.directory, name, network, tensors)?;
        Ok((self.directory.weights(name), file))
    }

    /// Says what was built, `descriptions` by node, where the weights of `teachers` lie in their files, and what was proven of it all.
    pub fn announce<'n>(
        &mut self,
        plan: &Plan,
        descriptions: impl Iterator<Item = (&'n PlanNode, String)>,
        teachers: &BTreeMap<String, WeightsSource>,
    ) {
        let width = plan.nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or_default();
        for (node, text) in descriptions {
            self.console.line(&format!("{:width$}  {text}", node.name));
        }
        for (name, source) in teachers {
            self.console.line(&format!("weights of {name}: {source}"));
        }
        if let Some(statement) = data_free::statement(plan) {
            self.console.line(&format!("data-free: {statement}"));
        }
        self.console.run_directory(&run_directory(self.directory.path()));
    }

    /// Keeps the last checkpoint of a finished run and its report, shows its results, and says whether they are what the pipeline expects.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(
        &mut self,
        plan: &Plan,
        device: &str,
        checkpointer: &mut Checkpointer,
        networks: BTreeMap<String, BTreeMap<String, Tensor>>,
    ) -> Result<bool> {
        checkpointer.finish(networks, |state| {
            let report = report::report(plan, device, state);
            let figures = Figures::of_report(&report).0.into_iter();
            let points: Vec<_> = figures.map(|(key, value)| (format!("final/{key}"), value)).collect();
            self.events.scalars(0, &points)?;
            self.events.end_session(SessionStatus::Success)?;
            Ok((report, self.sync()?))
        })?;
        let state = checkpointer.state();
        if let Some(report) = &state.report {
            self.directory.write(&self.directory.report(), &report::text(report))?;
            self.console.json(&events::finished(self.directory.path(), report));
        }
        page::write(&self.directory, plan);
        self.console.line("");
        for line in report::table(plan, state) {
            self.console.result(&line);
        }
        self.console.result(&run_directory(self.directory.path()));
        let report = state.report.as_ref().unwrap_or(&Value::Null);
        Ok(expectations::tell(&plan.expect, report, self.console))
    }

    /// Logs the event of why the run ends before its end. Who reads along is told by another, be there a log or not.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn end(&mut self, error: &Error, event: &Value) -> Result<()> {
        self.metrics.append(&metrics_log::line(event))?;
        if error.is_interrupted() { Ok(()) } else { self.events.end_session(SessionStatus::Failure) }
    }

    /// Adds an object to the log, shows it to a program that reads along, and adds its points to the curves.
    fn log(&mut self, object: &Value, step: usize, points: &[(String, f64)]) -> Result<()> {
        self.metrics.append(&metrics_log::line(object))?;
        self.console.json(object);
        self.events.scalars(step, points)
    }
}

fn run_directory(path: &Path) -> String {
    format!("run directory: {}", path.display())
}
