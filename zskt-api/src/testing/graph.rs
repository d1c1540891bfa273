//! Turns, stages and metrics: what stands in a graph, with stand-ins for what arrives there.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;

use super::stand_ins::{
    CLASSES, IMAGE, TestClassifier, TestDataset, TestGeneratorArchitecture, TestLoss, TestObserver, TestSgd, TestShape,
};
use super::{build_context, same_bits};
use crate::nn::{Linear, Wanted};
use crate::{
    Builder, CheckError, Classifier, ClassifierSignature, Dataset, Error, GeneratorArchitecture, GeneratorSignature,
    Inputs, Measurement, MetricContext, MetricNode, NamedTurn, Network, NodeOutput, Objective, Parameter, Player,
    PortInfo, PortType, Precision, RandomStreams, Result, Signature, Signatures, StageContext, StageNode, StageState,
    Turn, TurnNode, TurnSignature, Weights,
};

const NODE: &str = "node";

pub fn turn(plugin: &dyn TurnNode) -> Result<()> {
    let arriving = Arriving::at(&plugin.ports(), false)?;
    if let Some(fault) = plugin.check(&arriving.signatures).into_iter().next() {
        return Err(Error::new(format!("`check` refuses what fits its ports: {}", fault.message)));
    }
    let promised = plugin.signature(&arriving.signatures);
    let promised =
        promised.ok_or_else(|| Error::new("there is no `signature`, though nothing is wrong with its inputs"))?;
    let turn = plugin.build(NODE, arriving.inputs)?;
    let player = match &turn.player {
        Player::Classifier(network) => &network.name,
        Player::Generator(network) => &network.name,
    };
    let (name, expected) = (&turn.name, &promised.network);
    promise!(name == NODE, "the turn of node `{NODE}` is called `{name}`");
    promise!(player == expected, "`signature` promises an update of `{expected}`, and `build` makes one of `{player}`");
    let (losses, expected) = (turn.losses.len(), promised.losses.len());
    promise!(losses == expected, "`signature` promises {expected} losses, and `build` makes {losses}");
    Ok(())
}

pub fn stage(plugin: &dyn StageNode, output: Option<PortType>) -> Result<()> {
    let arriving = || accepted(&plugin.ports(), &|inputs| plugin.check(inputs));
    let run = |arriving: &Arriving, resume: Option<StageState>, stop_after| {
        let mut observer = TestObserver { stop_after, ..TestObserver::default() };
        let mut context = StageContext {
            build: build_context(NODE, Precision::F32),
            resume,
            inputs: arriving.signatures.clone(),
            observer: &mut observer,
        };
        (plugin.run(arriving.inputs.clone(), &mut context), observer)
    };
    let (whole, again, resumed) = (arriving()?, arriving()?, arriving()?);
    let promised = plugin.output(&whole.signatures).map(|signature| signature.port_type());
    promise!(promised == output, "`OUTPUT` promises {output:?}, and `output` {promised:?}");
    let (done, TestObserver { batches, figures, .. }) = run(&whole, None, None);
    done?;
    if let Some(known) = plugin.figures(&whole.named_turns(&plugin.ports())) {
        let other = figures.iter().find(|figure| !known.contains(figure));
        promise!(other.is_none(), "`figures` promises {known:?} and no other, and it reports {other:?}");
    }
    run(&again, None, None).0?;
    promise!(whole.same_weights(&again)?, "`run` ends with other weights the second time");
    promise!(batches >= 2, "it does {batches} batches, and two are needed to interrupt it");
    let (stopped, observer) = run(&resumed, None, Some(1));
    let interrupted = stopped.is_err_and(|error| error.is_interrupted());
    let Some(state) = observer.checkpoints.last().filter(|_| interrupted) else {
        let message =
            "asked to stop after a batch, it must make a checkpoint and give `Error::interrupted`, and does not";
        return Err(Error::new(message));
    };
    run(&resumed, Some(state.clone()), None).0?;
    promise!(whole.same_weights(&resumed)?, "interrupted and resumed, it ends with other weights");
    Ok(())
}

pub fn metric(plugin: &dyn MetricNode) -> Result<()> {
    let arriving = accepted(&plugin.ports(), &|inputs| plugin.check(inputs))?;
    let build = build_context(NODE, Precision::F32);
    let folder = Scratch::new()?;
    let context = MetricContext::alone(build, &folder.0);
    let evaluate = || plugin.evaluate(arriving.inputs.clone(), &context);
    let (measured, again) = (evaluate()?, evaluate()?);
    promise!(again == measured, "it measures something else the second time: {}", difference(&measured, &again));
    if let Some(score) = plugin.score() {
        let found = measured.figures.get(score.figure);
        let is_score = found.is_some_and(|found| found.is_number() || found.is_null());
        promise!(is_score, "`score` promises a number `{}` in each measurement, and it is {found:?}", score.figure);
    }
    if let Some(known) = plugin.figures(&arriving.signatures) {
        let mut names = Vec::new();
        measured.figures.iter().for_each(|(name, value)| name_numbers(name.clone(), value, &mut names));
        let other = names.iter().find(|name| !known.contains(&name.as_str()));
        promise!(other.is_none(), "`figures` promises {known:?} and no other, and it reports {other:?}");
    }
    Ok(())
}

/// The names of what is or may be a number; lists have none.
fn name_numbers(name: String, value: &serde_json::Value, names: &mut Vec<String>) {
    match value {
        serde_json::Value::Number(_) | serde_json::Value::Null => names.push(name),
        serde_json::Value::Object(entries) => {
            entries.iter().for_each(|(inner, value)| name_numbers(format!("{name}.{inner}"), value, names));
        }
        _ => {}
    }
}

/// What two measurements differ by.
fn difference(first: &Measurement, second: &Measurement) -> String {
    let names = first.figures.keys().chain(second.figures.keys());
    let mut pairs = names.map(|name| (name, first.figures.get(name), second.figures.get(name)));
    let shown = |figure: Option<&serde_json::Value>| figure.map_or("missing".to_owned(), ToString::to_string);
    match pairs.find(|(_, first, second)| first != second) {
        Some((name, first, second)) => format!("the figure `{name}` is {}, and then {}", shown(first), shown(second)),
        None if first.summary != second.summary => {
            format!("the summary is {:?}, and then {:?}", first.summary, second.summary)
        }
        None if first.pictures != second.pictures => "there are other pictures".into(),
        None => "other figures are by class".into(),
    }
}

/// A folder for what a metric writes, which goes with it, also where the metric panics.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("zskt-conforms-{}-{number}", std::process::id()));
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Self(folder)),
                // Of a process that was ended, whose number this one has now.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::new(format!("{} cannot be made: {error}", folder.display()))),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What was left there is of no use; that it cannot be removed is no fault of the plugin.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What fits the ports: images of a generator, or of a dataset where the plugin asks for these.
fn accepted(ports: &[PortInfo], check: &dyn Fn(&Signatures) -> Vec<CheckError>) -> Result<Arriving> {
    let mut refused = Vec::new();
    for real_images in [false, true] {
        let arriving = Arriving::at(ports, real_images)?;
        match check(&arriving.signatures) {
            faults if faults.is_empty() => return Ok(arriving),
            faults => refused.extend(faults.into_iter().map(|fault| fault.message)),
        }
    }
    Err(Error::new(format!("`check` refuses what fits its ports: {}", refused.join("; "))))
}

/// What arrives at the ports of a node.
#[derive(Default)]
struct Arriving {
    inputs: Inputs,
    signatures: Signatures,
    weights: Vec<Weights>,
}

impl Arriving {
    /// One edge to each port. Turns update the classifier that the node trains.
    fn at(ports: &[PortInfo], real_images: bool) -> Result<Self> {
        let mut arriving = Self::default();
        let builder = |name: &str| Builder::random(&RandomStreams::new(0), name, Precision::F32, &Device::Cpu);
        let classifier = |name: &str| -> Result<_> {
            let builder = builder(name);
            let layer = Linear::new(&builder, IMAGE.channels, CLASSES)?;
            let forward = Box::new(TestClassifier(layer)) as Box<dyn Classifier>;
            Ok(Arc::new(Network { name: name.into(), weights: builder.weights(), forward }))
        };
        let player = classifier(ports.iter().find(|port| port.trains).map_or("player", |port| port.name))?;
        for PortInfo { name, accepts, trains, .. } in ports {
            let network = (*name).to_owned();
            let (product, signature) = match accepts {
                PortType::Classifier | PortType::Player => {
                    let classifier = if *trains { Arc::clone(&player) } else { classifier(name)? };
                    arriving.weights.push(classifier.weights.clone());
                    let signature = ClassifierSignature {
                        shape: Arc::new(TestShape),
                        network,
                        images: None,
                        observable: Wanted::default(),
                    };
                    (NodeOutput::Classifier(classifier), Signature::Classifier(signature))
                }
                PortType::Generator | PortType::Images if *accepts == PortType::Generator || !real_images => {
                    let architecture = Arc::new(TestGeneratorArchitecture);
                    let builder = builder(name);
                    let (forward, weights) = (architecture.build(&builder, None)?, builder.weights());
                    arriving.weights.push(weights.clone());
                    let signature = GeneratorSignature {
                        architecture,
                        image: IMAGE,
                        network: network.clone(),
                        classes: None,
                        batch_size: None,
                    };
                    let generator = Network { name: network, weights, forward };
                    (NodeOutput::Generator(Arc::new(generator)), Signature::Generator(signature))
                }
                PortType::Generator | PortType::Images | PortType::Dataset => {
                    (NodeOutput::Dataset(Arc::new(TestDataset)), Signature::Dataset(TestDataset.signature()))
                }
                PortType::Loss => (NodeOutput::Loss(Arc::new(TestLoss)), Signature::Loss(Arc::new(TestLoss))),
                PortType::Turn => {
                    let turn = Turn {
                        name: network,
                        player: Player::Classifier(Arc::clone(&player)),
                        objective: Objective::Minimize,
                        steps: 2,
                        losses: vec![Arc::new(TestLoss)],
                        optimizer: Arc::new(TestSgd { lr: 0.1, momentum: 0.9 }),
                        schedule: None,
                        clip_norm: Some(1.0),
                        latents: crate::Latents::Shared,
                        opponent: crate::Mode::Train,
                        synthesis: None,
                    };
                    let signature =
                        TurnSignature { network: player.name.clone(), losses: turn.losses.clone(), synthesis: None };
                    (NodeOutput::Turn(Arc::new(turn)), Signature::Turn(signature))
                }
            };
            arriving.inputs.push(name, product);
            arriving.signatures.push(name, Some(signature));
        }
        Ok(arriving)
    }

    /// The turns, each called as its port.
    fn named_turns<'a>(&'a self, ports: &[PortInfo]) -> Vec<NamedTurn<'a>> {
        let turn = |port: &PortInfo| match self.signatures.one(port.name)? {
            Signature::Turn(signature) => Some(NamedTurn { name: port.name, signature }),
            _ => None,
        };
        ports.iter().filter_map(turn).collect()
    }

    fn same_weights(&self, other: &Self) -> Result<bool> {
        let values = |all: &Self| all.weights.iter().flat_map(Weights::iter).map(Parameter::value).collect::<Vec<_>>();
        same_bits(&values(self), &values(other))
    }
}
