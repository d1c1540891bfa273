//! What a stage sees of the run: its batches are logged, its checkpoints and images kept, and the metrics that hang on it
//! evaluated.

use zskt_api::nn::layer_streams_at;
use zskt_api::tensor::flop;
use zskt_api::{
    Context, Error, FeatureMap, ImageSet, LoggedDistribution, LoggedScalar, NodeOutput, Observer, PluginInstance,
    Progress, Result, StageState, SynthesisProgress, WeightsDigest,
};

use super::environment::Environment;
use super::frozen_weights::FrozenWeights;
use super::metric::MetricEvaluation;
use super::node_outputs::{NodeOutputs, network};
use crate::plan::{Plan, PlanNode};
use crate::plugin_calls::PluginOfNode;
use crate::run::interrupt::Interrupted;
use crate::run::record::{Recorder, StageProgress, write_made_images};
use crate::run::resume::{
    BatchTimes, Checkpointer, Evaluation, MeasuredMetric, StageRecord, StageWarning, UnfinishedEvaluation,
    UnfinishedStage,
};
use crate::text_format;

/// The observer of one stage.
pub struct StageObserver<'e, 'p> {
    plan: &'p Plan,
    index: usize,
    node: &'p PlanNode,
    environment: &'e Environment,
    outputs: &'e NodeOutputs<'p>,
    recorder: &'e mut Recorder<'p>,
    checkpointer: &'e mut Checkpointer,
    interrupted: &'e Interrupted,
    record: StageRecord,
    batch_times: BatchTimes,
    /// What was computed before what is still to be counted.
    flop_counted: u64,
    progress: StageProgress,
    batches: usize,
    frozen: FrozenWeights,
    /// Evaluations that the user's wish to stop has cut short, in this session or an earlier one.
    evaluations: Vec<UnfinishedEvaluation>,
    /// The sum of all weights at the first of them.
    weights_then: Option<WeightsDigest>,
}

impl<'e, 'p> StageObserver<'e, 'p> {
    /// Observes a stage from its start, or from where an earlier session left it; and where that is.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(
        plan: &'p Plan,
        index: usize,
        environment: &'e Environment,
        outputs: &'e NodeOutputs<'p>,
        recorder: &'e mut Recorder<'p>,
        checkpointer: &'e mut Checkpointer,
        interrupted: &'e Interrupted,
    ) -> Result<(Self, Option<StageState>)> {
        let node = &plan.nodes[index];
        let (record, batch_times, evaluations, state) = match checkpointer.take_unfinished(&node.name) {
            Some(stage) => (stage.record, stage.batch_times, stage.evaluations, Some(stage.state)),
            None => Default::default(),
        };
        let progress = StageProgress::new(&node.name);
        environment.inspector.next_round();
        let frozen = FrozenWeights::of_stage(PluginOfNode::of(node), &environment.inspector, &node.trains)?;
        let observer = Self {
            plan,
            index,
            node,
            environment,
            outputs,
            recorder,
            checkpointer,
            interrupted,
            record,
            batch_times,
            flop_counted: flop::done(),
            progress,
            batches: 0,
            frozen,
            evaluations,
            weights_then: None,
        };
        Ok((observer, state))
    }

    /// Finishes the evaluations that an earlier session did not.
    ///
    /// # Errors
    /// When a metric fails, or the user asked to stop.
    pub fn catch_up(&mut self) -> Result<()> {
        for evaluation in std::mem::take(&mut self.evaluations) {
            if self.measure(evaluation.batch, evaluation.measured, |_| true)?.is_some() {
                // The checkpoint there is knows what is left, and the logs are cut back to it.
                return Err(Error::interrupted());
            }
        }
        self.count_flop(false);
        Ok(())
    }

    /// What the stage did, now that it is done.
    ///
    /// # Errors
    /// When it changed what it does not train, or an evaluation was cut short: then the run goes on from before it.
    pub fn finish(mut self) -> Result<StageRecord> {
        self.frozen.check().context(format_args!("node `{}`", self.node.name))?;
        if !self.evaluations.is_empty() {
            return Err(Error::interrupted());
        }
        if let Some(chosen_by) = &self.node.selection {
            let selection = &mut self.record.selection;
            selection.ended_early = selection.is_out_of_patience(chosen_by);
            // The last weights may be the best.
            let batch = self.record.batches;
            if selection.last.as_ref().is_none_or(|last| last.batch < batch)
                && self.measure(batch, Vec::new(), |metric| metric == chosen_by.selection.metric)?.is_some()
            {
                return Err(Error::interrupted());
            }
        }
        Ok(StageRecord { median_batch_seconds: self.batch_times.median(), ..self.record })
    }

    /// Counts what was computed since the last time as training, or leaves it uncounted.
    fn count_flop(&mut self, is_training: bool) {
        let done = flop::done();
        if is_training {
            self.record.flop = self.record.flop.saturating_add(done.saturating_sub(self.flop_counted));
        }
        self.flop_counted = done;
    }

    /// Whether the stage has left alone what it does not train; its plugins are watched again at their next calls.
    fn check_frozen(&self) -> Result<()> {
        self.environment.inspector.next_round();
        self.frozen.check()
    }

    /// Measures and logs those that are `asked` for of what hangs on this stage, but for what `measured` names already. Gives what is measured then, if the
    /// user asked to stop on the way.
    fn measure(
        &mut self,
        batch: usize,
        mut measured: Vec<String>,
        asked: impl Fn(&str) -> bool,
    ) -> Result<Option<Vec<String>>> {
        let Some(output) = self.output() else { return Ok(None) };
        let (plan, stage) = (self.plan, self.index);
        let hangs_here = |node: &PlanNode| {
            matches!(&node.instance, PluginInstance::Metric(metric) if metric.during_stages())
                && node.inputs.iter().any(|edge| edge.from == stage)
                && asked(&node.name)
        };
        for (index, metric) in plan.nodes.iter().enumerate().filter(|(_, node)| hangs_here(node)) {
            if measured.contains(&metric.name) || !self.outputs.is_ready_but_for(index, self.index) {
                continue;
            }
            let inputs = self.outputs.inputs_with(index, Some((self.index, &output)))?;
            let evaluation = MetricEvaluation {
                stage: Some(&self.node.name),
                batch,
                folder: self.recorder.directory().measurements_of(&metric.name),
                interrupted: self.interrupted,
            };
            let console = self.recorder.console();
            let mut found = match evaluation.of(metric, inputs, self.environment, console) {
                Err(error) if error.is_interrupted() => return Ok(Some(measured)),
                found => found?,
            };
            let is_best = self.choose(&metric.name, batch, &found, &output)?;
            self.recorder.metric_during(&metric.name, &self.node.name, batch, &mut found, is_best)?;
            measured.push(metric.name.clone());
        }
        Ok(None)
    }

    /// Keeps the weights of now, if a metric found them to be the best so far. Says whether they are, where the stage chooses by that
    /// metric.
    fn choose(
        &mut self,
        metric: &str,
        batch: usize,
        found: &MeasuredMetric,
        output: &NodeOutput,
    ) -> Result<Option<bool>> {
        let Some(chosen_by) = self.node.selection.as_ref().filter(|chosen_by| chosen_by.selection.metric == metric)
        else {
            return Ok(None);
        };
        let figure = chosen_by.score.figure;
        let missing = || Error::new(format!("`{metric}` promises the figure `{figure}`, and has not measured it"));
        let value = chosen_by.score.of(&found.figures).ok_or_else(missing)?;
        let value = value.is_finite().then_some(value);
        let is_best =
            self.record.selection.note(chosen_by, Evaluation { batch, value, summary: found.summary.clone() });
        if let Some((_, weights)) = network(output).filter(|_| is_best) {
            self.checkpointer.set_best(&self.node.name, weights.snapshot()?);
        }
        Ok(Some(is_best))
    }

    /// The network that the stage will give: it trains it in place.
    fn output(&self) -> Option<NodeOutput> {
        let network = self.node.signature.as_ref()?.network()?;
        self.outputs.of_network(network).cloned()
    }
}

impl Observer for StageObserver<'_, '_> {
    fn batch(&mut self, progress: &Progress<'_>) -> Result<()> {
        if let Some(figure) = progress.figures.iter().find(|figure| !figure.value.is_finite()) {
            return Err(Error::new(format!(
                "{} reports that `{}` is {} in batch {}: training has diverged, or what it computes with is not finite",
                PluginOfNode::of(self.node).plugin(),
                figure.name,
                figure.value,
                progress.batch
            )));
        }
        self.count_flop(true);
        self.record.add(progress);
        self.batch_times.add(progress.seconds);
        self.batches = progress.batches;
        layer_streams_at(progress.batch);
        if self.progress.note(progress) {
            self.recorder.batch(&self.node.name, progress)?;
        }
        self.progress.show(progress, self.recorder.console());
        Ok(())
    }

    fn interrupted(&self) -> bool {
        (self.interrupted)()
    }

    fn checkpoint(&mut self, state: &StageState) -> Result<()> {
        self.count_flop(true);
        self.check_frozen()?;
        // An evaluation that was cut short can be finished with the weights of then alone. A stage that has trained on since
        // goes on from the checkpoint before, as if it had been killed.
        if !self.evaluations.is_empty() && Some(self.environment.inspector.digest()?) != self.weights_then {
            return Ok(());
        }
        let unfinished = UnfinishedStage {
            node: self.node.name.clone(),
            record: self.record.clone(),
            batch_times: self.batch_times.clone(),
            evaluations: self.evaluations.clone(),
            state: state.clone(),
        };
        self.checkpointer.save(self.recorder.sync()?, self.outputs.weights(), Some(unfinished))
    }

    fn images(&mut self, batch: usize, images: &FeatureMap) -> Result<()> {
        self.count_flop(false);
        self.recorder.images(&self.node.name, batch, images)
    }

    fn made_images(&mut self, turn: &str, images: &ImageSet) -> Result<()> {
        // Without class targets there is one class, which says nothing.
        let labels = Some(images.labels()).filter(|_| images.classes() > 1);
        let count = text_format::count(images.len());
        let (directory, stage) = (self.recorder.directory(), &self.node.name);
        match write_made_images(directory, stage, turn, images.shape(), images.pixels(), labels) {
            Ok(path) => {
                self.recorder.console().line(&format!("{turn}: {count} images in {}", path.display()));
                Ok(())
            }
            // What cannot be shown as images elsewhere is no reason to lose the student that learnt from them.
            Err(error) => self.warn(self.record.batches, &error.to_string()),
        }
    }

    fn synthesis(&mut self, progress: &SynthesisProgress<'_>) {
        self.progress.show_synthesis(progress, self.recorder.console());
    }

    fn evaluate(&mut self, batch: usize) -> Result<()> {
        // After the last batch the metrics come in any case, in their places in the pipeline.
        if self.batches > 0 && batch >= self.batches {
            return Ok(());
        }
        self.check_frozen()?;
        let measured = self.measure(batch, Vec::new(), |_| true)?;
        self.count_flop(false);
        if let Some(measured) = measured {
            if self.evaluations.is_empty() {
                self.weights_then = Some(self.environment.inspector.digest()?);
            }
            // The stage itself will ask, and keep a checkpoint, which remembers this.
            self.evaluations.push(UnfinishedEvaluation { batch, measured });
        }
        Ok(())
    }

    fn ends_early(&self) -> bool {
        self.node.selection.as_ref().is_some_and(|chosen_by| self.record.selection.is_out_of_patience(chosen_by))
    }

    fn monitor(&mut self, batch: usize, figures: &[LoggedScalar]) -> Result<()> {
        self.count_flop(false);
        self.recorder.monitor(&self.node.name, batch, figures)
    }

    fn distributions(&mut self, batch: usize, distributions: &[LoggedDistribution]) -> Result<()> {
        self.recorder.distributions(&self.node.name, batch, distributions)
    }

    fn warn(&mut self, batch: usize, warning: &str) -> Result<()> {
        let message = text_format::one_line(warning);
        self.recorder.warning(&self.node.name, batch, &message)?;
        self.record.warnings.push(StageWarning { batch, message });
        Ok(())
    }
}
