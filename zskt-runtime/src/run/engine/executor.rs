//! The run itself: stages run and metrics are evaluated, in the plan's order.

use std::sync::Arc;

use serde_json::Value;
use zskt_api::{Context, Error, NodeOutput, PluginInstance, Result, Signature, StageContext, StageNode};

use super::environment::Environment;
use super::metric::MetricEvaluation;
use super::node_outputs::{NodeOutputs, named_tensors, network};
use super::restore_files::restore_files;
use super::stage_observer::StageObserver;
use super::stage_output;
use crate::file_names::weights_name;
use crate::library;
use crate::pipeline::shown;
use crate::plan::{Plan, PlanNode};
use crate::plugin_calls::{PluginOfNode, run_plugin};
use crate::run::interrupt::Interrupted;
use crate::run::record::{Recorder, events, manifest, notice};
use crate::run::resume::{Checkpointer, FinishedStage, RunDirectory};
use crate::text_format;

/// Runs the nodes of a plan.
pub struct Executor<'p> {
    plan: &'p Plan,
    environment: Environment,
    outputs: NodeOutputs<'p>,
    recorder: Recorder<'p>,
    checkpointer: Checkpointer,
    interrupted: Interrupted,
}

impl<'p> Executor<'p> {
    /// Goes on from where `outputs` and `checkpointer` are.
    pub fn new(
        plan: &'p Plan,
        environment: Environment,
        outputs: NodeOutputs<'p>,
        recorder: Recorder<'p>,
        checkpointer: Checkpointer,
        interrupted: Interrupted,
    ) -> Self {
        Self { plan, environment, outputs, recorder, checkpointer, interrupted }
    }

    /// Runs to the end, and says whether the run found what its pipeline expects.
    ///
    /// # Errors
    /// When a plugin fails, something cannot be written, or the user asked to stop.
    pub fn run(&mut self) -> Result<bool> {
        self.announce();
        self.save_checkpoint()?;
        let plan = self.plan;
        for (index, node) in plan.nodes.iter().enumerate() {
            if (self.interrupted)() {
                self.save_checkpoint()?;
                return Err(Error::interrupted());
            }
            match &node.instance {
                PluginInstance::Stage(stage) => self.stage(index, &**stage)?,
                PluginInstance::Metric(_) => self.metric(index)?,
                _ => self.outputs.build(index)?,
            }
        }
        // What others took away meanwhile and cannot be had again is no reason to fail so late.
        let weights = self.outputs.weights();
        restore_files(self.recorder.directory(), self.checkpointer.state(), &weights, self.checkpointer.best())
            .unwrap_or_else(|error| notice(&error.to_string()));
        self.recorder.finish(plan, &self.environment.device_name, &mut self.checkpointer, weights)
    }

    /// When the last checkpoint was made; nothing before the first.
    pub fn last_checkpoint(&self) -> Option<&str> {
        self.checkpointer.last_moment()
    }

    /// As what teachers another run takes what the finished stages have trained, one each; nothing where no plugin of this run comes from a
    /// library, which its user may have to mend: built anew, it does not fit this run any more.
    pub fn teachers_of_finished_stages(&self) -> Vec<String> {
        if library::of_plugins(self.plan.nodes.iter().flat_map(|node| node.plugins.iter().copied())).is_empty() {
            return Vec::new();
        }
        let teacher = |stage: &FinishedStage| {
            let made_by = |node: &&PlanNode| stage.network.as_ref() == Some(&node.name);
            let maker = self.plan.nodes.iter().find(made_by)?;
            let PluginInstance::Architecture(_) = maker.instance else { return None };
            let file = self.recorder.directory().path().join(stage.weights.as_ref()?.file_name());
            Some(format!("Checkpoint(model: {}, path: {:?})", shown(&maker.ron), file.display().to_string()))
        };
        self.checkpointer.state().finished.iter().filter_map(teacher).collect()
    }

    /// Notes why the run ends here. A log that cannot be written any more leaves it unsaid: the user is told anyway.
    pub fn note_end(&mut self, error: &Error, event: &Value) {
        let _ = self.recorder.end(error, event);
    }

    /// Stops showing anything, and gives the folder that all is kept in.
    pub fn into_directory(self) -> Arc<RunDirectory> {
        self.recorder.into_directory()
    }

    /// Keeps a checkpoint of a moment between stages.
    fn save_checkpoint(&mut self) -> Result<()> {
        self.checkpointer.save(self.recorder.sync()?, self.outputs.weights(), None)
    }

    /// Says what was built, and what was proven of it.
    fn announce(&mut self) {
        let (plan, outputs) = (self.plan, &self.outputs);
        let built = plan.nodes.iter().enumerate().filter_map(|(index, node)| Some((node, outputs.get(index)?)));
        let sources = manifest::kept_teachers(&self.checkpointer.state().manifest);
        let described = built.filter_map(|(node, output)| Some((node, describe(node, output)?)));
        let is_resumed = self.checkpointer.last_moment().is_some();
        let folder = self.recorder.directory().path();
        let started = events::started(plan, folder, &self.environment.device_name, is_resumed);
        self.recorder.console().json(&started);
        self.recorder.announce(plan, described, &sources);
    }

    /// Runs a stage, or brings back its output of an earlier session.
    fn stage(&mut self, index: usize, stage: &dyn StageNode) -> Result<()> {
        let node = &self.plan.nodes[index];
        if let Some(done) = self.checkpointer.finished_stage(&node.name) {
            let output = done.network.as_ref().and_then(|name| self.outputs.of_network(name)).cloned();
            let missing = || Error::new(format!("node `{}`: a checkpoint cannot bring back its output", node.name));
            self.outputs.set(index, output.ok_or_else(missing)?);
            return Ok(());
        }
        let inputs = self.outputs.inputs(index)?;
        self.recorder.console().json(&events::stage_started(&node.name, node.registration.name));
        self.recorder.console().line(&format!("{}: {}", node.name, shown(&node.ron)));
        let (mut observer, resume) = StageObserver::new(
            self.plan,
            index,
            &self.environment,
            &self.outputs,
            &mut self.recorder,
            &mut self.checkpointer,
            &self.interrupted,
        )?;
        observer.catch_up()?;
        let build = self.environment.context(node);
        let mut context = StageContext { build, resume, inputs: self.plan.arriving_at(node), observer: &mut observer };
        let (plugin, inspector) = (PluginOfNode::of(node), &self.environment.inspector);
        let output = inspector.looking_at_numbers(true, || run_plugin(plugin, || stage.run(inputs, &mut context)))?;
        let record = observer.finish()?;
        let output = stage_output::checked(node, output, &self.outputs, &self.environment)?;
        let early = if record.selection.ended_early { ", ended early" } else { "" };
        let mut done = format!("{}: done, {} batches{early}", node.name, text_format::count(record.batches));
        let gives = network(&output).map(|(name, _)| name.to_owned());
        let (mut weights, mut best) = (None, None);
        if let Some((network, last)) = network(&output) {
            let name = self.weights_name(index);
            let written = self.recorder.weights(name, network, &named_tensors(last));
            let (path, file) = written.context(format_args!("node `{}`", node.name))?;
            done.push_str(&format!("; weights in {}", path.display()));
            weights = Some(file);
            if let Some(tensors) = self.checkpointer.best().get(&node.name) {
                let written = self.recorder.weights(&format!("{name}.best"), network, tensors);
                let (path, file) = written.context(format_args!("node `{}`", node.name))?;
                done.push_str(&format!(", the best in {}", path.display()));
                best = Some(file);
            }
        }
        let finished = FinishedStage { node: node.name.clone(), network: gives, weights, best, record };
        self.recorder.console().json(&events::stage_finished(&finished));
        self.checkpointer.add_stage(finished);
        self.recorder.console().line(&done);
        self.outputs.set(index, output);
        self.save_checkpoint()
    }

    /// What the file with a stage's trained network is called; that of the last one is the student's.
    fn weights_name(&self, index: usize) -> &str {
        weights_name(&self.plan.nodes[index].name, self.plan.student_stage() == Some(index))
    }

    /// Evaluates a metric in its place in the pipeline.
    fn metric(&mut self, index: usize) -> Result<()> {
        let node = &self.plan.nodes[index];
        if self.checkpointer.state().measured.contains_key(&node.name) {
            return Ok(());
        }
        let inputs = self.outputs.inputs(index)?;
        let feeds =
            |stage: &&FinishedStage| node.inputs.iter().any(|edge| self.plan.nodes[edge.from].name == stage.node);
        let after = self.checkpointer.state().finished.iter().rfind(feeds).cloned();
        let evaluation = MetricEvaluation {
            stage: after.as_ref().map(|stage| stage.node.as_str()),
            batch: after.as_ref().map_or(0, |stage| stage.record.batches),
            folder: self.recorder.directory().measurements_of(&node.name),
            interrupted: &self.interrupted,
        };
        let console = self.recorder.console();
        let mut measured = match evaluation.of(node, inputs, &self.environment, console) {
            Err(error) if error.is_interrupted() => {
                self.save_checkpoint()?;
                return Err(error);
            }
            measured => measured?,
        };
        self.recorder.metric_after(self.plan, node, after.as_ref(), &mut measured)?;
        self.checkpointer.add_metric(node.name.clone(), measured);
        Ok(())
    }
}

/// One line about an output; nothing about what has neither weights nor images.
fn describe(node: &PlanNode, output: &NodeOutput) -> Option<String> {
    let plugin = node.registration.name;
    let weights = network(output).map(|(_, weights)| text_format::count(weights.parameter_count()));
    Some(match (output, &node.signature) {
        (NodeOutput::Dataset(dataset), _) => {
            let shape = dataset.signature();
            format!("{plugin}: {} images {}, {} classes", text_format::count(shape.images), shape.image, shape.classes)
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
