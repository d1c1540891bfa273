//! A network of a run: its weights as the last checkpoint has them, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use zskt_api::nn::BatchNorm2d;
use zskt_api::{
    BuildContext, Builder, Classifier, ClassifierNetwork, Context, Diagnostic, Error, ImageShape, Normalization,
    PluginInstance, Precision, RandomStreams, Registry, Result, Signature, Weights,
};

use super::Metadata;
use crate::check;
use crate::pipeline::{Sources, computed_part, shown};
use crate::plan::{Plan, PlanNode};
use crate::run::{Checkpoint, RunFiles, changed_libraries, describe_checkpoint, kept_libraries};
use crate::shell_quoting::quoted;
use crate::text_format;

/// A network of a run.
pub struct FoundNetwork {
    /// The node that made it.
    pub name: String,
    /// Every weight under PyTorch's name, in the order of their making.
    pub weights: Vec<(String, Tensor)>,
    /// The same weights as its layers have them.
    pub network: Weights,
    /// How exact they are.
    pub precision: Precision,
    /// Classes that it tells apart, where it does.
    pub classes: Option<usize>,
    /// How many numbers were learnt.
    pub parameters: usize,
    /// How it computes, where it tells classes apart.
    pub forward: Option<Box<dyn Classifier>>,
    /// The images that it was trained on, where that is known.
    pub image: Option<ImageShape>,
    /// How these are normalized, where that is known.
    pub normalization: Option<Normalization>,
    /// How far the run is.
    pub moment: String,
    /// What a file says of it.
    pub metadata: Metadata,
    /// The libraries that its plugins come from now, and did not when the run began.
    pub changed_libraries: Vec<PathBuf>,
}

impl FoundNetwork {
    /// Finds a network in the last checkpoint of a run; without a name, the one that the last stage trained. Its weights are the last, or
    /// the `best` that a stage kept.
    ///
    /// # Errors
    /// When the folder holds no run, or the run no such network or weights.
    pub fn read(
        run: &Path,
        name: Option<&str>,
        best: bool,
        registry: &Registry,
    ) -> std::result::Result<Self, Diagnostic> {
        let shown = run.display();
        let checkpoint = last_checkpoint(run)?;
        let manifest = &checkpoint.state.manifest;
        // What a run should reach is no part of what it trained.
        let pipeline = computed_part(&checkpoint.state.pipeline);
        let sources = Sources::new(run.join("pipeline.ron").display().to_string(), pipeline, &[]);
        // What files say is good to know; a network can be exported where they are gone, too.
        let plan = check::prove(&sources, registry, false).or_else(|_| check::prove(&sources, registry, true));
        let plan = plan.map_err(|problems| {
            let reason = problems.into_iter().find(Diagnostic::is_error).map(|problem| problem.message);
            let problem =
                Diagnostic::global(format!("the pipeline of {shown} is not sound: {}", reason.unwrap_or_default()));
            // Not all that is loaded is the run's; what is called as one of its libraries is.
            let kept = kept_libraries(manifest);
            let is_kept = |path: &Path| kept.iter().any(|kept| kept.path.file_name() == path.file_name());
            let changed = changed_libraries(manifest, registry.iter());
            of_changed(problem, &changed.into_iter().filter(|path| is_kept(path)).collect::<Vec<_>>())
        })?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => student(&plan, &checkpoint, run)?,
        };
        let moment = describe_checkpoint(&checkpoint.state, checkpoint.unfinished.as_ref());
        let last = checkpoint.networks.get(&name);
        // A teacher that nothing trains is in no checkpoint.
        let is_there = |node: &&PlanNode| last.is_some() || matches!(node.instance, PluginInstance::Teacher(_));
        let node = plan.nodes.iter().find(|node| node.name == name).filter(is_there).ok_or_else(|| {
            Diagnostic::global(format!("the run {shown} has no network `{name}`")).help(networks(&plan, &checkpoint))
        })?;
        let chosen = if best { Some(chosen(&plan, &checkpoint, &name, run)?) } else { None };
        let (weights, moment) = match chosen {
            Some((best, moment)) => (Some(best), moment),
            None if last.is_none() => (None, "as its file has it".to_owned()),
            None => (last, moment),
        };
        let changed = changed_libraries(manifest, node.plugins.iter().copied());
        match Self::build(&plan, node, weights, run, moment) {
            Ok(found) => Ok(Self { changed_libraries: changed, ..found }),
            Err(error) => {
                let problem = Diagnostic::global(format!("cannot build `{name}` of {shown}: {error}"));
                Err(of_changed(problem, &changed))
            }
        }
    }

    fn build(
        plan: &Plan,
        node: &PlanNode,
        tensors: Option<&BTreeMap<String, Tensor>>,
        run: &Path,
        moment: String,
    ) -> Result<Self> {
        let (forward, weights) = match (&node.instance, tensors) {
            (PluginInstance::Teacher(teacher), None) => {
                let context = BuildContext {
                    node: node.name.clone(),
                    device: Device::Cpu,
                    precision: plan.precision,
                    streams: RandomStreams::new(0),
                    normalization: node.normalization.clone(),
                };
                let ClassifierNetwork { weights, forward, .. } = teacher.load(&context)?;
                (Some(forward), weights)
            }
            (_, tensors) => Self::rebuild(plan, node, tensors)?,
        };
        let shape = shape(plan, &node.name);
        let mut found = Self {
            name: node.name.clone(),
            parameters: weights.parameter_count(),
            weights: weights.iter().map(|weight| (weight.name().to_owned(), weight.value())).collect(),
            network: weights,
            precision: plan.precision,
            classes: shape.as_ref().map(|(classes, _)| *classes),
            forward,
            image: shape
                .as_ref()
                .and_then(|(_, image)| *image)
                .or_else(|| any_image(plan).filter(|_| tensors.is_none())),
            normalization: node.normalization.clone(),
            moment,
            metadata: BTreeMap::new(),
            changed_libraries: Vec::new(),
        };
        found.metadata = found.describe(node, run);
        Ok(found)
    }

    /// The network of a node with weights of its checkpoint, without a file that they first came from.
    fn rebuild(
        plan: &Plan,
        node: &PlanNode,
        tensors: Option<&BTreeMap<String, Tensor>>,
    ) -> Result<(Option<Box<dyn Classifier>>, Weights)> {
        let builder = Builder::zeros(plan.precision, &Device::Cpu);
        let forward = match &node.instance {
            PluginInstance::Architecture(architecture) => Some(architecture.build(&builder)?),
            PluginInstance::Generator(generator) => {
                // Its weights alone are exported, and how its images are normalized changes none.
                let any = Normalization::identity(generator.image()?.channels);
                generator.build(&builder, Some(&any)).map(|_| None)?
            }
            PluginInstance::Teacher(teacher) => {
                let architecture = teacher.architecture();
                let missing = || Error::new("its plugin names no architecture: it cannot be made without its file");
                let builder = builder.clone().with_batch_norm_epsilon(teacher.batch_norm_epsilon());
                Some(architecture.ok_or_else(missing)?.build(&builder)?)
            }
            _ => return Err(Error::new(format!("a {} makes no network", node.registration.kind))),
        };
        let weights = builder.weights();
        if let Some(tensors) = tensors {
            weights.load(tensors).context("its weights in the checkpoint")?;
        }
        Ok((forward, weights))
    }

    fn describe(&self, node: &PlanNode, run: &Path) -> Metadata {
        let numbers = |numbers: &[f64]| format!("{numbers:?}");
        let run = run.canonicalize().ok().and_then(|run| run.file_name().map(|name| name.display().to_string()));
        let image = self.image.map(numbers_of);
        let normalization = self.normalization.as_ref();
        let epsilon = match &node.instance {
            PluginInstance::Teacher(teacher) => Some(teacher.batch_norm_epsilon()),
            _ => None,
        };
        let entries = [
            // Some of PyTorch's loaders ask for this text.
            ("format", Some("pt".to_owned())),
            ("architecture", Some(shown(&node.ron))),
            ("network", Some(self.name.clone())),
            ("classes", self.classes.map(|classes| classes.to_string())),
            ("image", image),
            ("mean", normalization.map(|found| numbers(&found.mean))),
            ("std", normalization.map(|found| numbers(&found.std))),
            (
                "batch_norm_eps",
                epsilon.filter(|epsilon| *epsilon != BatchNorm2d::EPSILON).map(|epsilon| epsilon.to_string()),
            ),
            ("run", run),
            ("moment", Some(self.moment.clone())),
            ("zskt", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ];
        entries.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect()
    }
}

/// A problem of a run, where these libraries of its plugins are not those that it began with.
fn of_changed(problem: Diagnostic, libraries: &[PathBuf]) -> Diagnostic {
    let Some(library) = libraries.first() else { return problem };
    problem.help(format!(
        "the plugin library {} changed since the run began: build what it was then, or name a copy of that with --plugin",
        library.display()
    ))
}

fn numbers_of(image: ImageShape) -> String {
    format!("{:?}", [image.channels, image.height, image.width])
}

/// The last checkpoint that is whole. It is read while its run goes on, too: a checkpoint takes the place of the one before at once.
fn last_checkpoint(run: &Path) -> std::result::Result<Checkpoint, Diagnostic> {
    let mut problem = None;
    for path in RunFiles::new(run.to_owned()).checkpoints().iter().filter(|path| path.exists()) {
        match Checkpoint::read(path, &Device::Cpu) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    Err(match problem {
        Some(error) => Diagnostic::global(error.to_string()),
        None => without_checkpoint(run),
    })
}

fn without_checkpoint(run: &Path) -> Diagnostic {
    let problem = Diagnostic::global(format!("there is no checkpoint in {}", run.display()));
    let (weights, quoted) = (run.join("student.safetensors"), quoted(&run.to_string_lossy()));
    problem.help(if !run.join("pipeline.ron").exists() {
        "is it the folder of a run? `zskt-run` names it at its end".to_owned()
    } else if weights.exists() {
        format!("they were removed: {} has the student's weights, and no other network is left", weights.display())
    } else {
        format!("none was kept yet, or they were removed: `zskt-run --resume {quoted}` says whether the run can go on")
    })
}

/// The run's student, if a stage has begun to train it.
fn student(plan: &Plan, checkpoint: &Checkpoint, run: &Path) -> std::result::Result<String, Diagnostic> {
    let shown = run.display();
    let stage = plan.student_stage().map(|index| &plan.nodes[index]);
    let student = stage.and_then(|stage| Some((&stage.name, stage.signature.as_ref()?.network()?)));
    let Some((stage, student)) = student else {
        let problem = Diagnostic::global(format!("the run {shown} trains no classifier"));
        return Err(problem.help(networks(plan, checkpoint)));
    };
    let begun = checkpoint.state.finished.iter().map(|stage| &stage.node);
    let mut begun = begun.chain(checkpoint.unfinished.iter().map(|stage| &stage.node));
    let trains_it = |name: &String| plan.nodes.iter().any(|node| node.name == *name && node.trains.contains(student));
    if begun.any(trains_it) {
        return Ok(student.to_owned());
    }
    let message = format!("`{stage}`, which trains `{student}`, has no checkpoint in {shown} yet");
    Err(Diagnostic::global(message).help(format!("--network exports another; {}", networks(plan, checkpoint))))
}

/// The best weights of a network that the last of its stages kept, and when and by what they were chosen.
fn chosen<'c>(
    plan: &Plan,
    checkpoint: &'c Checkpoint,
    network: &str,
    run: &Path,
) -> std::result::Result<(&'c BTreeMap<String, Tensor>, String), Diagnostic> {
    let finished = checkpoint.state.finished.iter().map(|stage| (&stage.node, &stage.record));
    let running = checkpoint.unfinished.iter().map(|stage| (&stage.node, &stage.record));
    let stages: Vec<_> = finished.chain(running).collect();
    let found = stages.into_iter().rev().find_map(|(stage, record)| {
        let node = plan.nodes.iter().find(|node| node.name == *stage)?;
        let (chosen_by, best) = (node.selection.as_ref()?, record.selection.best.as_ref()?);
        let gives = node.signature.as_ref().and_then(Signature::network) == Some(network);
        let weights = checkpoint.best.get(stage).filter(|_| gives)?;
        let (metric, images, batch) = (&chosen_by.selection.metric, chosen_by.on_images(), best.batch);
        Some((weights, format!("the best of `{stage}`, after batch {batch}, chosen by `{metric}`{images}")))
    });
    found.ok_or_else(|| {
        let message = format!("the run {} has no best weights of `{network}`", run.display());
        Diagnostic::global(message).help(
            "a stage keeps them with `keep: Best(\"METRIC\")`, from its first evaluation on; without --best the last weights are exported",
        )
    })
}

fn networks(plan: &Plan, checkpoint: &Checkpoint) -> String {
    let teachers = plan.nodes.iter().filter(|node| matches!(node.instance, PluginInstance::Teacher(_)));
    let names = checkpoint.networks.keys().chain(teachers.map(|teacher| &teacher.name));
    let names: BTreeSet<_> = names.map(String::as_str).collect();
    format!("its networks: {}", text_format::some_of(names.into_iter()))
}

/// The images of a pipeline that any network is trained on: its teachers see the same.
fn any_image(plan: &Plan) -> Option<ImageShape> {
    plan.nodes.iter().find_map(|node| match &node.signature {
        Some(Signature::Classifier(found)) => found.images,
        _ => None,
    })
}

/// The classes of a network, and the images that a stage trains it on.
fn shape(plan: &Plan, network: &str) -> Option<(usize, Option<ImageShape>)> {
    let of_network = |node: &PlanNode| match &node.signature {
        Some(Signature::Classifier(found)) if found.network == network => Some((found.shape.classes(), found.images)),
        _ => None,
    };
    let all: Vec<_> = plan.nodes.iter().filter_map(of_network).collect();
    all.iter().find(|(_, image)| image.is_some()).or(all.first()).copied()
}
