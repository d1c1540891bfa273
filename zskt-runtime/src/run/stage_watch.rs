//! Watches a stage: logs its batches, keeps its checkpoints and images, evaluates the metrics that hang on it.

use zskt_api::{FeatureMap, Instance, Observer, Product, Progress, Result, StageState};

use super::checkpoint::UnfinishedStage;
use super::execution::Execution;
use super::run_directory::RunDirectory;
use super::stage_progress::StageProgress;
use super::stage_record::{StageRecord, Timing};
use super::{atomic_file, image_grid, metrics_log};
use crate::plan::PlanNode;

/// The observer of one stage.
pub struct StageWatch<'e, 'p> {
    execution: &'e mut Execution<'p>,
    index: usize,
    node: &'p PlanNode,
    record: StageRecord,
    timing: Timing,
    progress: StageProgress,
    batches: usize,
}

impl<'e, 'p> StageWatch<'e, 'p> {
    /// Watches a stage from its start, or from where an earlier sitting left it; and where that is.
    pub fn new(
        execution: &'e mut Execution<'p>,
        index: usize,
        earlier: Option<UnfinishedStage>,
    ) -> (Self, Option<StageState>) {
        let node = &execution.plan.nodes[index];
        let (record, timing, state) = match earlier {
            Some(stage) => (stage.record, stage.timing, Some(stage.state)),
            None => Default::default(),
        };
        let progress = StageProgress::new(&node.name);
        (Self { execution, index, node, record, timing, progress, batches: 0 }, state)
    }

    /// What the stage did, now that it is done.
    pub fn finish(self) -> StageRecord {
        StageRecord { median_batch_seconds: self.timing.median(), ..self.record }
    }

    /// The network that the stage will give: it trains it in place.
    fn output(&self) -> Option<Product> {
        let network = self.node.signature.as_ref()?.network()?;
        self.execution.products.of_network(network).cloned()
    }
}

impl Observer for StageWatch<'_, '_> {
    fn batch(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.record.add(progress);
        self.timing.add(progress.seconds);
        self.batches = progress.batches;
        if self.progress.note(progress) {
            let stage = &self.node.name;
            let points: Vec<_> =
                progress.figures.iter().map(|(name, value)| (format!("{stage}/{name}"), *value)).collect();
            self.execution.record(&metrics_log::batch(stage, progress), progress.batch, &points)?;
        }
        self.progress.show(progress, &mut self.execution.console);
        Ok(())
    }

    fn interrupted(&self) -> bool {
        (self.execution.interrupted)()
    }

    fn checkpoint(&mut self, state: &StageState) -> Result<()> {
        self.execution.keep_checkpoint(Some(UnfinishedStage {
            node: self.node.name.clone(),
            record: self.record.clone(),
            timing: self.timing.clone(),
            state: state.clone(),
        }))
    }

    fn images(&mut self, batch: usize, images: &FeatureMap) -> Result<()> {
        let grid = image_grid::grid(images)?;
        let path = self.execution.directory.image(&self.node.name, batch);
        RunDirectory::make_room_for(&path)?;
        atomic_file::write(&path, &grid.png)?;
        self.execution.events.image(batch, &format!("{}/images", self.node.name), &grid)
    }

    fn evaluate(&mut self, batch: usize) -> Result<()> {
        // After the last batch the metrics come in any case, in their places in the pipeline.
        if self.batches > 0 && batch >= self.batches {
            return Ok(());
        }
        let Some(output) = self.output() else { return Ok(()) };
        let hangs_here = |node: &PlanNode| {
            matches!(&node.instance, Instance::Metric(metric) if metric.during_stages())
                && node.inputs.iter().any(|edge| edge.from == self.index)
        };
        let plan = self.execution.plan;
        for (index, metric) in plan.nodes.iter().enumerate().filter(|(_, node)| hangs_here(node)) {
            if !self.execution.products.is_ready_but_for(index, self.index) {
                continue;
            }
            let inputs = self.execution.products.inputs_with(index, Some((self.index, &output)))?;
            let measured = match self.execution.measure(metric, inputs, None) {
                // The stage itself will ask, and keep a checkpoint.
                Err(error) if error.is_interrupted() => return Ok(()),
                measured => measured?,
            };
            let stage = &self.node.name;
            self.execution.console.line(&format!("{} at batch {batch} of {stage}: {}", metric.name, measured.summary));
            let object = metrics_log::metric_during(&metric.name, stage, batch, &measured.figures);
            self.execution.record(&object, batch, &metrics_log::points(&metric.name, &measured.figures))?;
        }
        Ok(())
    }
}
