//! The run itself: stages run and metrics are evaluated, in the plan's order.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use zskt_api::{Error, Inputs, Instance, MetricContext, PortType, Product, Result, Signature, StageContext, StageNode};

use super::append_log::AppendLog;
use super::checkpoint::{Checkpoint, FinishedStage, Measured, Standing, UnfinishedStage};
use super::console::Console;
use super::guard::guarded;
use super::interrupt::Interrupted;
use super::products::{Place, Products, named_tensors, network};
use super::run_directory::RunDirectory;
use super::stage_watch::StageWatch;
use super::tensorboard::EventFile;
use super::{atomic_file, memory, metrics_log, report, tensor_file};
use crate::plan::{Plan, PlanNode};
use crate::wording;

/// A run under way.
pub struct Execution<'p> {
    /// What is run.
    pub plan: &'p Plan,
    /// Where it is run.
    pub place: Place,
    /// What is built so far.
    pub products: Products<'p>,
    /// Where all is kept.
    pub directory: RunDirectory,
    /// What the user sees.
    pub console: Console,
    /// Whether the user asked to stop.
    pub interrupted: Interrupted,
    /// `metrics.jsonl`.
    pub log: AppendLog,
    /// The same, and images, for TensorBoard.
    pub events: EventFile,
    /// How far the run was at its last checkpoint, but for the metrics and stages, which are always up to date.
    pub standing: Standing,
    /// The stage that an earlier sitting did not finish.
    pub unfinished: Option<UnfinishedStage>,
    /// When this sitting began.
    pub began: Instant,
    /// What earlier sittings took.
    pub earlier_seconds: f64,
}

impl Execution<'_> {
    /// Runs to the end.
    ///
    /// # Errors
    /// When a plugin fails, something cannot be written, or the user asked to stop.
    pub fn run(&mut self) -> Result<()> {
        self.announce();
        self.keep_checkpoint(None)?;
        let plan = self.plan;
        for (index, node) in plan.nodes.iter().enumerate() {
            if (self.interrupted)() {
                self.keep_checkpoint(None)?;
                return Err(Error::interrupted());
            }
            match &node.instance {
                Instance::Stage(stage) => self.stage(index, &**stage)?,
                Instance::Metric(_) => self.metric(index)?,
                _ => self.products.build(index)?,
            }
        }
        self.finish()
    }

    /// Adds an object to the log, shows it to a program that reads along, and adds its points to the curves.
    ///
    /// # Errors
    /// When a log cannot be written.
    pub fn record(&mut self, object: &Value, step: usize, points: &[(String, f64)]) -> Result<()> {
        self.log.append(&metrics_log::line(object))?;
        self.console.json(object);
        self.events.scalars(step, points)
    }

    /// Keeps a checkpoint: of the unfinished stage that is given, or of a moment between stages.
    ///
    /// # Errors
    /// When it cannot be written; the last one stays.
    pub fn keep_checkpoint(&mut self, unfinished: Option<UnfinishedStage>) -> Result<()> {
        if self.unfinished.is_some() && unfinished.is_none() {
            // The stage of an earlier sitting is still to be continued: the checkpoint there is knows more.
            return Ok(());
        }
        self.standing.metrics_bytes = self.log.sync()?;
        self.standing.events_bytes = self.events.sync()?;
        self.standing.seconds = self.earlier_seconds + self.began.elapsed().as_secs_f64();
        self.standing.peak_memory_bytes = self.standing.peak_memory_bytes.max(memory::peak_bytes());
        let (standing, networks) = (self.standing.clone(), self.products.weights());
        Checkpoint { standing, networks, unfinished }.write(&self.directory.checkpoint())
    }

    /// Evaluates a metric on what arrives at its inputs.
    ///
    /// # Errors
    /// When the metric fails, or the user asked to stop.
    pub fn measure(&mut self, node: &PlanNode, inputs: Inputs, folder: Option<PathBuf>) -> Result<Measured> {
        let Instance::Metric(metric) = &node.instance else {
            return Err(Error::new(format!("node `{}` is no metric", node.name)));
        };
        self.console.live(&format!("{}  measuring", node.name));
        let (build, interrupted) = (self.place.context(&node.name), self.interrupted.clone());
        let context = MetricContext { build, interrupted, folder };
        Ok(guarded(node, || metric.evaluate(inputs, &context))?.into())
    }

    /// Says what was built, and what was proven of it.
    fn announce(&mut self) {
        let plan = self.plan;
        let width = plan.nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or_default();
        for (index, node) in plan.nodes.iter().enumerate() {
            if let Some(text) = self.products.get(index).and_then(|product| describe(node, product)) {
                self.console.line(&format!("{:width$}  {text}", node.name));
            }
        }
        if let Some(statement) = report::data_free(plan) {
            self.console.line(&format!("data-free: {statement}"));
        }
        self.console.place(&format!("run directory: {}", self.directory.path().display()));
    }

    /// Runs a stage, or brings back what it gave in an earlier sitting.
    fn stage(&mut self, index: usize, stage: &dyn StageNode) -> Result<()> {
        let node = &self.plan.nodes[index];
        if let Some(done) = self.standing.finished.iter().find(|stage| stage.node == node.name) {
            let product = done.network.as_ref().and_then(|name| self.products.of_network(name)).cloned();
            let missing = || Error::new(format!("node `{}`: a checkpoint cannot bring back what it gave", node.name));
            self.products.set(index, product.ok_or_else(missing)?);
            return Ok(());
        }
        let inputs = self.products.inputs(index)?;
        self.console.line(&format!("{}: {}", node.name, node.ron));
        let earlier = self.unfinished.take_if(|stage| stage.node == node.name);
        let build = self.place.context(&node.name);
        let (mut watch, resume) = StageWatch::new(self, index, earlier);
        let mut context = StageContext { build, resume, observer: &mut watch };
        let product = guarded(node, || stage.run(inputs, &mut context))?;
        let record = watch.finish();
        let done = format!("{}: done, {} batches", node.name, wording::count(record.batches));
        let network = network(&product).map(|(name, _)| name.to_owned());
        self.standing.finished.push(FinishedStage { node: node.name.clone(), network, record });
        match self.keep_weights(index, &product)? {
            Some(path) => self.console.line(&format!("{done}; weights in {}", path.display())),
            None => self.console.line(&done),
        }
        self.products.set(index, product);
        self.keep_checkpoint(None)
    }

    /// Writes the trained network of a stage under PyTorch's names; that of the last one is the student.
    fn keep_weights(&self, index: usize, product: &Product) -> Result<Option<PathBuf>> {
        let Some((_, weights)) = network(product) else { return Ok(None) };
        let gives_student = |node: &PlanNode| {
            matches!(node.instance, Instance::Stage(_)) && node.registration.output == Some(PortType::Classifier)
        };
        let last = self.plan.nodes.iter().rposition(gives_student);
        let stage = &self.plan.nodes[index].name;
        let path = match stage.as_str() {
            _ if last == Some(index) => self.directory.weights("student"),
            "student" => self.directory.weights("student-stage"),
            stage => self.directory.weights(stage),
        };
        // Some of PyTorch's loaders ask for this text.
        atomic_file::write(&path, &tensor_file::encode(&named_tensors(weights), "format", "pt".into())?)?;
        Ok(Some(path))
    }

    /// Evaluates a metric in its place in the pipeline.
    fn metric(&mut self, index: usize) -> Result<()> {
        let node = &self.plan.nodes[index];
        if self.standing.measured.contains_key(&node.name) {
            return Ok(());
        }
        let inputs = self.products.inputs(index)?;
        let folder = self.directory.measurements(&node.name)?;
        let measured = self.measure(node, inputs, Some(folder.clone()));
        self.directory.tidy_measurements(&folder);
        let measured = match measured {
            Err(error) if error.is_interrupted() => {
                self.keep_checkpoint(None)?;
                return Err(error);
            }
            measured => measured?,
        };
        self.console.line(&format!("{}: {}", node.name, measured.summary));
        let feeds =
            |stage: &&FinishedStage| node.inputs.iter().any(|edge| self.plan.nodes[edge.from].name == stage.node);
        let after = self.standing.finished.iter().rfind(feeds);
        let step = after.map_or(0, |stage| stage.record.batches);
        let object = metrics_log::metric_after(&node.name, after.map(|stage| stage.node.as_str()), &measured.figures);
        self.record(&object, step, &metrics_log::points(&node.name, &measured.figures))?;
        self.standing.measured.insert(node.name.clone(), measured);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.keep_checkpoint(None)?;
        let report = report::report(self.plan, &self.place.device_name, &self.standing);
        atomic_file::write(&self.directory.report(), format!("{report:#}\n").as_bytes())?;
        self.console.json(&report);
        self.console.line("");
        for line in report::table(self.plan, &self.standing) {
            self.console.result(&line);
        }
        self.console.result(&format!("run directory: {}", self.directory.path().display()));
        Ok(())
    }
}

/// One line about a product; nothing about what has neither weights nor images.
fn describe(node: &PlanNode, product: &Product) -> Option<String> {
    let plugin = node.registration.name;
    let weights = network(product).map(|(_, weights)| wording::count(weights.parameter_count()));
    Some(match (product, &node.signature) {
        (Product::Dataset(dataset), _) => {
            let shape = dataset.signature();
            format!("{plugin}: {} images {}, {} classes", wording::count(shape.images), shape.image, shape.classes)
        }
        (_, Some(Signature::Classifier(signature))) => {
            format!("{plugin}: {} parameters, {} classes", weights?, signature.shape.classes())
        }
        (_, Some(Signature::Generator(signature))) => {
            format!("{plugin}: {} parameters, images {}", weights?, signature.image)
        }
        _ => format!("{plugin}: {} parameters", weights?),
    })
}
