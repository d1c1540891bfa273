//! The shapes that are proven to fit before anything runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::nn::Wanted;
use crate::{CheckError, GeneratorArchitecture, ImageShape, Loss, PortInfo, PortType};

/// The shapes of what a classifier gives for images of one shape, without the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputShape {
    /// Classes it tells apart.
    pub classes: usize,
    /// The activations that losses such as attention transfer compare, from input to output.
    pub activations: Vec<ImageShape>,
}

impl OutputShape {
    /// The activations that can be compared with another network's, as places in both lists: of each size that both have, the last.
    pub fn pairs_of_equal_size(&self, other: &Self) -> Vec<[usize; 2]> {
        let size = |shape: &ImageShape| (shape.height, shape.width);
        let (mine, theirs) = (&self.activations, &other.activations);
        let last_of_its_size = |index: usize| mine.get(index + 1).map(size) != Some(size(&mine[index]));
        let partner = |index: usize| theirs.iter().rposition(|shape| size(shape) == size(&mine[index]));
        let places = (0..mine.len()).filter(|index| last_of_its_size(*index));
        places.filter_map(|index| Some([index, partner(index)?])).collect()
    }
}

/// What can be known of a classifier without building it.
pub trait ClassifierShape: Send + Sync {
    /// The shapes of its output for images of this shape. Every pair of networks and images that a pipeline brings together is
    /// checked with it, before anything is built.
    ///
    /// # Errors
    /// Why it takes no such images: a fault of what it expected and found. It need not say where the images come from, which is
    /// added by who asks.
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError>;

    /// Classes it tells apart.
    fn classes(&self) -> usize;
}

/// What flows along an edge, as far as it can be known before anything is built.
#[derive(Clone)]
pub enum Signature {
    /// A classifier that is not built yet.
    Classifier(ClassifierSignature),
    /// A generator of images.
    Generator(GeneratorSignature),
    /// Labelled images.
    Dataset(DatasetSignature),
    /// A loss, which needs nothing built.
    Loss(Arc<dyn Loss>),
    /// One player's updates on one batch.
    Turn(TurnSignature),
}

/// A classifier before it is built.
#[derive(Clone)]
pub struct ClassifierSignature {
    /// Tells its shapes, for images of any one.
    pub shape: Arc<dyn ClassifierShape>,
    /// The node that made the network. A stage passes its student on under the same name, so equal names mean one and
    /// the same network.
    pub network: String,
    /// The images it is trained on, where a stage of the pipeline trains it.
    pub images: Option<ImageShape>,
    /// What losses can see within it.
    pub observable: Wanted,
}

/// A generator before it is built.
#[derive(Clone)]
pub struct GeneratorSignature {
    /// Tells what it is made of.
    pub architecture: Arc<dyn GeneratorArchitecture>,
    /// The images it makes.
    pub image: ImageShape,
    /// The node that made the network.
    pub network: String,
    /// The classes it makes images of, where labels tell it which to make.
    pub classes: Option<usize>,
    /// The size of its batches, where it makes no others.
    pub batch_size: Option<usize>,
}

/// A dataset before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetSignature {
    /// The shape of every image.
    pub image: ImageShape,
    /// Classes its labels name.
    pub classes: usize,
    /// How many images.
    pub images: usize,
}

/// A turn before it is built.
#[derive(Clone)]
pub struct TurnSignature {
    /// The network it updates.
    pub network: String,
    /// The losses it adds up.
    pub losses: Vec<Arc<dyn Loss>>,
    /// Of a turn that makes images for the others: what is to fit.
    pub synthesis: Option<SynthesisSignature>,
}

/// A synthesis before it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynthesisSignature {
    /// Images of one synthesis.
    pub images: usize,
    /// Whether it averages the statistics of batch norms from synthesis to synthesis.
    pub averages_statistics: bool,
    /// Whether there are syntheses in which losses that look at the student do not count.
    pub ignores_student_at_first: bool,
}

impl Signature {
    /// The type of port that gives such a thing.
    pub fn port_type(&self) -> PortType {
        match self {
            Self::Classifier(_) => PortType::Classifier,
            Self::Generator(_) => PortType::Generator,
            Self::Dataset(_) => PortType::Dataset,
            Self::Loss(_) => PortType::Loss,
            Self::Turn(_) => PortType::Turn,
        }
    }

    /// The network behind it, where there is one.
    pub fn network(&self) -> Option<&str> {
        match self {
            Self::Classifier(classifier) => Some(&classifier.network),
            Self::Generator(generator) => Some(&generator.network),
            Self::Turn(turn) => Some(&turn.network),
            Self::Dataset(_) | Self::Loss(_) => None,
        }
    }

    /// The images it gives, where it gives any.
    pub fn image(&self) -> Option<ImageShape> {
        match self {
            Self::Generator(generator) => Some(generator.image),
            Self::Dataset(dataset) => Some(dataset.image),
            _ => None,
        }
    }
}

/// What arrives at a node's ports, as far as it is known: an input that is itself at fault is missing here, and whoever
/// looks for it says nothing, for its fault has been reported where it is.
#[derive(Clone, Default)]
pub struct Signatures {
    ports: BTreeMap<String, Vec<Option<Signature>>>,
}

impl Signatures {
    /// Adds what one more edge brings to a port.
    pub fn push(&mut self, port: &str, signature: Option<Signature>) {
        self.ports.entry(port.to_owned()).or_default().push(signature);
    }

    /// All that is known to arrive at a port, with the place of each among the port's edges.
    pub fn all<'a>(&'a self, port: &str) -> impl Iterator<Item = (usize, &'a Signature)> {
        let edges = self.ports.get(port).map(Vec::as_slice).unwrap_or_default();
        edges.iter().enumerate().filter_map(|(index, signature)| Some((index, signature.as_ref()?)))
    }

    /// Whether everything is known that arrives at a port.
    pub fn is_known(&self, port: &str) -> bool {
        self.ports.get(port).is_none_or(|edges| edges.iter().all(Option::is_some))
    }

    /// What arrives at a port with one edge.
    pub fn one(&self, port: &str) -> Option<&Signature> {
        self.all(port).next().map(|(_, signature)| signature)
    }

    /// The classifier that arrives at a port.
    pub fn classifier(&self, port: &str) -> Option<&ClassifierSignature> {
        match self.one(port)? {
            Signature::Classifier(classifier) => Some(classifier),
            _ => None,
        }
    }

    /// The dataset that arrives at a port.
    pub fn dataset(&self, port: &str) -> Option<&DatasetSignature> {
        match self.one(port)? {
            Signature::Dataset(dataset) => Some(dataset),
            _ => None,
        }
    }

    /// Whether every classifier takes the images that arrive, and all agree on the number of classes. What most metrics
    /// and stages need; the others check more, or less.
    pub fn check_compatible(&self, ports: &[PortInfo]) -> Vec<CheckError> {
        let arriving =
            || ports.iter().flat_map(|port| self.all(port.name).map(move |(index, s)| (port.name, index, s)));
        let mut faults = Vec::new();
        let mut counts: Option<(&str, usize)> = None;
        for (port, index, signature) in arriving() {
            let classes = match signature {
                Signature::Classifier(classifier) => {
                    for (source, _, signature) in arriving() {
                        let Some(image) = signature.image() else { continue };
                        if let Err(fault) = classifier.shape.output_shape(image) {
                            let message = format!("{}; the images at `{source}` are {image}", fault.message);
                            faults.push(CheckError {
                                port: Some(port.into()),
                                parameter: None,
                                index,
                                message,
                                ..fault
                            });
                        } else if let Some(trained) = classifier.images.filter(|trained| *trained != image) {
                            let message = format!(
                                "`{port}` was trained on images {trained}, but the images at `{source}` are {image}"
                            );
                            faults.push(CheckError::port(port, message).index(index));
                        }
                    }
                    classifier.shape.classes()
                }
                Signature::Dataset(dataset) => {
                    if dataset.images == 0 {
                        faults.push(CheckError::port(port, "the dataset has no images").index(index));
                    }
                    dataset.classes
                }
                _ => continue,
            };
            match counts {
                Some((first, expected)) if expected != classes => faults.push(
                    CheckError::port(port, format!("`{port}` has {classes} classes, but `{first}` has {expected}"))
                        .index(index)
                        .help("a network's number of classes is its parameter `classes`"),
                ),
                Some(_) => {}
                None => counts = Some((port, classes)),
            }
        }
        faults
    }
}
