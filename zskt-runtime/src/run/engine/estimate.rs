//! Measures a few batches of every stage, each metric once, and keeps nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zskt_api::tensor::flop;
use zskt_api::{
    Error, MetricNode, Player, PluginInstance, PredictionCache, RandomStreams, Result, Rounds, Signature, StageContext,
    StageNode, Weights,
};

use super::device;
use super::environment::Environment;
use super::fewer_images::Reduction;
use super::metric::MetricEvaluation;
use super::network_trial::try_networks;
use super::node_outputs::NodeOutputs;
use super::stage_probe::StageProbe;
use crate::plan::{Plan, PlanNode};
use crate::plugin_calls::{PluginOfNode, run_plugin};
use crate::run::estimate::{Cost, Estimate, FewerImages, Measured, MemoryEstimate, StageEstimate, SynthesisEstimate};
use crate::run::interrupt::Interrupted;
use crate::run::record::{Console, manifest};
use crate::run::resume::{peak_bytes, restart_peak};
use crate::run::start_error::StartError;

/// Steps of a synthesis that is measured: the first is slower, and the last does more.
const STEPS: usize = 4;
/// How long a metric is waited for.
const METRIC: Duration = Duration::from_secs(30);

/// What a run of a plan would take; on a CPU of a plan with fewer images at once, by changes `node.parameter=value`, where their forward
/// passes would take more floating-point operations than the limit.
///
/// # Errors
/// As the run's own, as far as they show in a few batches.
pub fn estimate(
    plan: Plan,
    with: &dyn Fn(&[String]) -> Option<Plan>,
    limit: f64,
    console: &mut Console,
    interrupted: &Interrupted,
) -> Result<Estimate, StartError> {
    let mut measurement = Measurement::new(&plan, Vec::new(), console, interrupted)?;
    let flop_per_image = measurement.prepare()?;
    let on_cpu = measurement.environment.device.is_cpu();
    let fewer = if on_cpu { Reduction::of(&plan, flop_per_image, limit) } else { Reduction::default() };
    if fewer.measured.is_empty() {
        return measurement.all();
    }
    let Some(smaller) = with(&fewer.settings()) else { return measurement.all() };
    let networks = measurement.networks();
    // Its networks would count as memory of the other's.
    drop(measurement);
    drop(plan);
    restart_peak();
    let measured = measure(&smaller, fewer.measured, networks, console, interrupted);
    // Something in it may want as many images as it has.
    let other = match &measured {
        Err(StartError::Refused(_)) => true,
        Err(StartError::Failed(error)) => !error.is_interrupted() && !error.is_out_of_memory(),
        Ok(_) => false,
    };
    if !other {
        return measured;
    }
    drop(smaller);
    restart_peak();
    let Some(whole) = with(&[]) else { return measured };
    measure(&whole, Vec::new(), BTreeMap::new(), console, interrupted)
}

/// What a plan takes; of the networks that have other sizes than in the run, those in the run are given.
fn measure(
    plan: &Plan,
    fewer: Vec<FewerImages>,
    networks: BTreeMap<String, u64>,
    console: &mut Console,
    interrupted: &Interrupted,
) -> Result<Estimate, StartError> {
    let mut measurement = Measurement::new(plan, fewer, console, interrupted)?;
    measurement.whole_networks = networks;
    measurement.prepare()?;
    measurement.all()
}

struct Measurement<'p, 'e> {
    plan: &'p Plan,
    /// What has fewer images in the plan than in the run.
    fewer_images: Vec<FewerImages>,
    /// By name, the bytes of networks in the run, where they may be other than in the plan.
    whole_networks: BTreeMap<String, u64>,
    setup: Cost,
    /// The most memory so far, as if all had been measured with as many images as the run has; nothing where that is not known.
    peak: Option<u64>,
    outputs: NodeOutputs<'p>,
    environment: Environment,
    console: &'e mut Console,
    interrupted: &'e Interrupted,
    /// By their nodes' indices, as the run has them.
    syntheses: BTreeMap<usize, WholeSynthesis>,
    training_state: u64,
    made_images: MadeImages,
}

/// What the syntheses of a turn are in the run; while it is measured they are fewer and shorter.
struct WholeSynthesis {
    steps: usize,
    rounds: Rounds,
    images: usize,
    measured_images: usize,
    capacity: Option<usize>,
    bytes_per_image: usize,
}

/// The bytes of all made images.
#[derive(Default)]
struct MadeImages {
    measured: u64,
    whole: u64,
}

impl<'p, 'e> Measurement<'p, 'e> {
    fn new(
        plan: &'p Plan,
        fewer_images: Vec<FewerImages>,
        console: &'e mut Console,
        interrupted: &'e Interrupted,
    ) -> Result<Self, StartError> {
        let (device, device_name) = device::open(plan.device)?;
        let (streams, inspector) = (RandomStreams::new(plan.seed), plan.inspector.clone());
        let prediction_cache = PredictionCache::default();
        let environment =
            Environment { device, device_name, precision: plan.precision, streams, inspector, prediction_cache };
        Ok(Self {
            plan,
            fewer_images,
            whole_networks: BTreeMap::new(),
            setup: Cost::default(),
            peak: Some(0),
            outputs: NodeOutputs::new(plan, environment.clone()),
            environment,
            console,
            interrupted,
            syntheses: BTreeMap::new(),
            training_state: 0,
            made_images: MadeImages::default(),
        })
    }

    /// Builds the networks and lets each compute once. Gives the operations of one image.
    fn prepare(&mut self) -> Result<f64, StartError> {
        let plan = self.plan;
        let began = Instant::now();
        self.console.live("building the networks");
        manifest::fingerprints(plan, self.interrupted)?;
        for index in 0..plan.nodes.len() {
            self.build(index)?;
        }
        let flop_per_image = try_networks(plan, &self.outputs, &self.environment, self.interrupted)?;
        self.setup = Cost { seconds: began.elapsed().as_secs_f64(), flop: 0.0 };
        Ok(flop_per_image)
    }

    /// The bytes of the networks, by name.
    fn networks(&self) -> BTreeMap<String, u64> {
        let networks = self.environment.inspector.networks().into_iter();
        networks.map(|network| (network.name, bytes_of(&network.weights))).collect()
    }

    /// By what the costs of a node are to be multiplied.
    fn factor(&self, node: &str) -> f64 {
        self.fewer_images.iter().find(|fewer| fewer.node == node).map_or(1.0, FewerImages::factor)
    }

    fn all(mut self) -> Result<Estimate, StartError> {
        let plan = self.plan;
        let (mut stages, mut metrics) = (Vec::new(), Vec::new());
        for (index, node) in plan.nodes.iter().enumerate() {
            if (self.interrupted)() {
                return Err(Error::interrupted().into());
            }
            self.console.live(&format!("{}  measuring", node.name));
            match &node.instance {
                PluginInstance::Stage(stage) => stages.push(self.stage(index, &**stage)?),
                PluginInstance::Metric(_) => metrics.push((node.name.clone(), self.metric(index)?)),
                _ => self.build(index)?,
            }
        }
        self.console.clear();
        self.note_peak(peak_bytes());
        let mut networks = self.networks();
        let small: u64 = networks.values().sum();
        networks.extend(std::mem::take(&mut self.whole_networks));
        // Of generators whose weights are for a batch of one size: each with its gradient and, as Adam has them, two averages.
        let missing = networks.values().sum::<u64>().saturating_sub(small);
        let made_images = self.made_images.whole;
        // What a checkpoint holds is twice in memory while it is written, and a bank grows.
        let growth = 3 * made_images.saturating_sub(self.made_images.measured);
        let memory = MemoryEstimate {
            peak: self.peak.map(|peak| peak + growth + 4 * missing),
            networks: networks.into_iter().collect(),
            training_state: self.training_state + 2 * missing,
            made_images,
        };
        let (name, device) = (plan.name.clone(), self.environment.device_name);
        Ok(Estimate { name, device, setup: self.setup, stages, metrics, memory, fewer_images: self.fewer_images })
    }

    /// Builds a node that does not wait for a stage; a synthesis as short as can be measured.
    fn build(&mut self, index: usize) -> Result<()> {
        if self.outputs.get(index).is_some() {
            return Ok(());
        }
        self.outputs.build(index)?;
        let Some(turn) = self.outputs.turn_mut(index) else { return Ok(()) };
        let (Some(synthesis), Player::Generator(generator)) = (&mut turn.synthesis, &turn.player) else {
            return Ok(());
        };
        let image = self.plan.nodes.iter().find_map(|node| match &node.signature {
            Some(Signature::Generator(signature)) if signature.network == generator.name => Some(signature.image),
            _ => None,
        });
        let fewer = self.fewer_images.iter().find(|fewer| fewer.node == self.plan.nodes[index].name);
        let whole = WholeSynthesis {
            steps: turn.steps,
            rounds: synthesis.rounds,
            images: fewer.map_or(synthesis.images, |fewer| fewer.whole),
            measured_images: synthesis.images,
            capacity: synthesis.capacity,
            bytes_per_image: image.map_or(0, |image| image.channels * image.height * image.width),
        };
        turn.steps = whole.steps.min(STEPS);
        let batch_size = stages_after(self.plan, index).filter_map(|stage| Some(stage.pace()?.batch_size)).max();
        // Enough for a full batch, and one that does not look at the student yet.
        let enough = batch_size.unwrap_or_default().div_ceil(whole.measured_images).max(1);
        let before_student = usize::from(whole.rounds.student_after > 0);
        synthesis.rounds = Rounds {
            every: usize::MAX,
            syntheses: enough.max(2 * before_student),
            warm_up: 0,
            warm_up_syntheses: 0,
            student_after: before_student,
        };
        self.syntheses.insert(index, whole);
        Ok(())
    }

    fn stage(&mut self, index: usize, stage: &dyn StageNode) -> Result<StageEstimate> {
        let node = &self.plan.nodes[index];
        let inputs = self.outputs.inputs(index)?;
        let build = self.environment.context(node);
        let mut probe = StageProbe::new(self.interrupted);
        let mut context =
            StageContext { build, resume: None, inputs: self.plan.arriving_at(node), observer: &mut probe };
        self.note_peak(peak_bytes());
        let before = if restart_peak() { peak_bytes() } else { None };
        let inspector = &self.environment.inspector;
        inspector.next_round();
        let output = inspector
            .looking_at_numbers(true, || run_plugin(PluginOfNode::of(node), || stage.run(inputs, &mut context)));
        let trained = node.signature.as_ref().and_then(Signature::network);
        let output = match output {
            Err(error) if error.is_interrupted() && !(self.interrupted)() => {
                let network = trained.and_then(|name| self.outputs.of_network(name));
                network.cloned().ok_or_else(|| {
                    let name = &node.name;
                    Error::new(format!("what comes after `{name}` cannot be measured before `{name}` is done"))
                })?
            }
            output => output?,
        };
        self.outputs.set(index, output);
        let nothing = || Error::new(format!("`{}` did no batch that could be measured", node.name));
        let batches = probe.batches().ok_or_else(nothing)?;
        let syntheses: Vec<_> = node.inputs.iter().filter(|edge| self.syntheses.contains_key(&edge.from)).collect();
        let mut estimates = Vec::new();
        let mut state = probe.state_bytes() as u64;
        for edge in syntheses {
            let whole = &self.syntheses[&edge.from];
            let count = whole.count(batches);
            let kept = |syntheses: usize, images: usize| {
                let images = syntheses.saturating_mul(images).min(whole.capacity.unwrap_or(usize::MAX));
                images.saturating_mul(whole.bytes_per_image) as u64
            };
            let before_student = whole.rounds.student_after.min(count);
            let (first, others) = match before_student {
                0 => (Cost::default(), probe.synthesis(0, whole.steps)),
                _ => (probe.synthesis(0, whole.steps), probe.synthesis(1, whole.steps)),
            };
            let turn = self.plan.nodes[edge.from].name.clone();
            let all = (first * before_student + others * (count - before_student)) * self.factor(&turn);
            estimates.push(SynthesisEstimate { turn, count, steps: whole.steps, all });
            let measured = kept(probe.syntheses(), whole.measured_images);
            state = state.saturating_sub(measured);
            self.made_images.measured += measured;
            self.made_images.whole += kept(count, whole.images);
        }
        self.training_state = self.training_state.max(state);
        self.note_peak(self.whole_peak(index, before, probe.state_bytes() as u64));
        let every = stage.pace().and_then(|pace| pace.evaluate_every);
        let evaluated = self.plan.nodes.iter().filter(|metric| {
            let during = |metric: &dyn MetricNode| metric.during_stages();
            matches!(&metric.instance, PluginInstance::Metric(plugin) if during(&**plugin))
                && metric.inputs.iter().any(|edge| edge.from == index)
        });
        Ok(StageEstimate {
            node: node.name.clone(),
            batches,
            batch: probe.batch() * self.factor(&node.name),
            syntheses: estimates,
            evaluations: every.map_or(0, |every| batches.saturating_sub(1) / every),
            evaluated: evaluated.map(|metric| metric.name.clone()).collect(),
            has_patience: node.selection.as_ref().is_some_and(|chosen_by| chosen_by.selection.patience.is_some()),
        })
    }

    fn note_peak(&mut self, peak: Option<u64>) {
        self.peak = Option::zip(self.peak, peak).map(|(before, now)| before.max(now));
    }

    /// The most memory that a stage would have taken with all images at once: maps grow with them; optimizers, gradients and banks do not.
    fn whole_peak(&self, stage: usize, before: Option<u64>, state: u64) -> Option<u64> {
        let node = &self.plan.nodes[stage];
        let turns = node.inputs.iter().map(|edge| &self.plan.nodes[edge.from].name);
        let factor = turns.chain([&node.name]).map(|node| self.factor(node)).fold(1.0, f64::max);
        let peak = peak_bytes()?;
        if factor == 1.0 {
            return Some(peak);
        }
        let networks = self.environment.inspector.networks();
        let trained = networks.iter().filter(|network| node.trains.contains(&network.name));
        let gradients: u64 = trained.map(|network| bytes_of(&network.weights)).sum();
        let maps = peak.saturating_sub(before? + state + gradients);
        Some(peak + (maps as f64 * (factor - 1.0)) as u64)
    }

    /// Evaluates a metric, unless that takes too long.
    fn metric(&mut self, index: usize) -> Result<Measured> {
        let node: &PlanNode = &self.plan.nodes[index];
        let inputs = self.outputs.inputs(index)?;
        // Each as if it were the only one, so what metrics share counts more than once.
        self.environment.prediction_cache.clear();
        let (began, before) = (Instant::now(), flop::done());
        let asked = Arc::clone(self.interrupted);
        let interrupted: Interrupted = Arc::new(move || asked() || began.elapsed() >= METRIC);
        // Nothing is kept.
        let kept =
            tempfile::tempdir().map_err(|error| Error::new(format!("no temporary folder can be made: {error}")))?;
        let evaluation =
            MetricEvaluation { stage: None, batch: 0, folder: kept.path().join(&node.name), interrupted: &interrupted };
        let measured = evaluation.of(node, inputs, &self.environment, self.console);
        let cost = Cost::between(began.elapsed(), flop::done() - before);
        match measured {
            Ok(_) => Ok(Measured::In(cost)),
            Err(error) if !error.is_interrupted() => Ok(Measured::Failed),
            Err(error) if (self.interrupted)() => Err(error),
            Err(_) => Ok(Measured::Longer(cost)),
        }
    }
}

fn bytes_of(weights: &Weights) -> u64 {
    let bytes = weights.iter().map(|weight| {
        let value = weight.value();
        value.elem_count() * value.dtype().size_in_bytes()
    });
    bytes.sum::<usize>() as u64
}

/// The stages that a node leads to.
fn stages_after(plan: &Plan, index: usize) -> impl Iterator<Item = &dyn StageNode> {
    let after = plan.nodes.iter().filter(move |node| node.inputs.iter().any(|edge| edge.from == index));
    after.filter_map(|node| match &node.instance {
        PluginInstance::Stage(stage) => Some(&**stage),
        _ => None,
    })
}

impl WholeSynthesis {
    /// How many syntheses there are in a stage of so many batches.
    fn count(&self, batches: usize) -> usize {
        let rounds = self.rounds.before(batches.saturating_sub(1));
        let warm_up = self.rounds.warm_up.min(rounds);
        warm_up * self.rounds.warm_up_syntheses + (rounds - warm_up) * self.rounds.syntheses
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::estimate;
    use crate::check::prove;
    use crate::pipeline::Sources;
    use crate::run::record::Console;
    use zskt_api::Registry;

    const PIPELINE: &str = r#"(
        name: "small",
        nodes: {
            "teacher": WideResNet(depth: 10, widen_factor: 1),
            "student": WideResNet(depth: 10, widen_factor: 1),
            "generator": GENERATOR,
            "sure": OneHot(),
            "belief": KlDivergence(),
            "make": Synthesize(every: 4, images: 16, steps: 3, optimizer: Adam(lr: 1e-3)),
            "imitate": Minimize(optimizer: Sgd(lr: 0.1)),
            "distill": Transfer(batches: 8, batch_size: 12, monitor_every: None),
            "digits": SyntheticDigits(split: Test, count: 8, size: 16),
            "accuracy": Accuracy(),
        },
        edges: [
            "generator -> make.player", "sure -> make.loss", "student -> imitate.player", "belief -> imitate.loss",
            "teacher -> distill.teacher", "student -> distill.student", "generator -> distill.images",
            "make -> distill.turns", "imitate -> distill.turns",
            "distill -> accuracy.classifier", "digits -> accuracy.dataset",
        ],
    )"#;

    #[test]
    fn fewer_images_at_once_are_multiplied() {
        let registry = Registry::get().unwrap();
        // Of its own size of a batch, and of any.
        for generator in [
            "Pixels(images: 16, image_size: 16)",
            "ConvGenerator(latent_dim: 8, channels: 4, first_map: 4, image_size: 16, output: Tanh)",
        ] {
            let pipeline = PIPELINE.replace("GENERATOR", generator);
            let plan = |sets: &[String]| prove(&Sources::new("small.ron", &pipeline, sets), registry, false).ok();
            let estimated = |limit: f64| {
                let mut console = Console::new(true, false);
                let interrupted: crate::run::Interrupted = Arc::new(|| false);
                let Ok(estimate) = estimate(plan(&[]).unwrap(), &plan, limit, &mut console, &interrupted) else {
                    panic!("it is sound")
                };
                estimate
            };
            let (whole, fewer) = (estimated(f64::INFINITY), estimated(1.0));
            assert!(whole.fewer_images.is_empty());
            let told: Vec<_> = fewer.fewer_images.iter().map(|it| (it.setting(), it.whole)).collect();
            assert_eq!(told, [("make.images=2".to_owned(), 16), ("distill.batch_size=2".to_owned(), 12)]);
            assert!(fewer.table().contains("distill was measured with 2 images at once, and multiplied for 12"));
            let made =
                |estimate: &crate::run::Estimate| (estimate.stages[0].syntheses[0].count, estimate.memory.made_images);
            assert_eq!(made(&whole), made(&fewer));
            // Those of the run, of which a part was measured.
            assert_eq!(whole.memory.networks, fewer.memory.networks);
            let share = fewer.all().flop / whole.all().flop;
            assert!((share - 1.0).abs() < 0.01, "{generator}: {share}");
        }
    }
}
