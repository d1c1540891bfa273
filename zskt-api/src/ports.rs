//! Ports: the named, typed inputs of a node, declared as one documented struct.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{ClassifierNetwork, Dataset, Error, GeneratorNetwork, Loss, Result, Turn};

/// What can flow along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum PortType {
    /// A network that tells classes apart.
    Classifier,
    /// A network that makes images.
    Generator,
    /// Labelled images.
    Dataset,
    /// A generator or a dataset.
    Images,
    /// A classifier or a generator that is updated.
    Player,
    /// A loss.
    Loss,
    /// One player's updates on one batch.
    Turn,
}

impl PortType {
    /// Whether an input of this type takes what an output of the other gives.
    pub fn accepts(self, given: Self) -> bool {
        match self {
            Self::Images => matches!(given, Self::Images | Self::Generator | Self::Dataset),
            Self::Player => matches!(given, Self::Player | Self::Classifier | Self::Generator),
            _ => self == given,
        }
    }
}

impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classifier => "classifier",
            Self::Generator => "generator",
            Self::Dataset => "dataset",
            Self::Images => "generator or dataset",
            Self::Player => "classifier or generator",
            Self::Loss => "loss",
            Self::Turn => "turn",
        })
    }
}

/// How many edges an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// One or more, in the order of the pipeline's edges.
    Many,
}

/// What a plugin declares of one input.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PortInfo {
    /// Its name in a pipeline, after the node's: `node.name`.
    pub name: &'static str,
    /// The doc comment of its field, for `inspect` and for the help of messages.
    pub doc: String,
    /// What may flow into it.
    pub accepts: PortType,
    /// How many edges it takes.
    pub arity: Arity,
    /// Whether the network that arrives here is changed by the node.
    pub trains: bool,
}

/// What a node gives to those after it: the counterpart of a [`Signature`](crate::Signature), once it is built.
#[derive(Clone)]
pub enum NodeOutput {
    /// A classifier, trained or not.
    Classifier(Arc<ClassifierNetwork>),
    /// A generator.
    Generator(Arc<GeneratorNetwork>),
    /// Labelled images.
    Dataset(Arc<dyn Dataset>),
    /// A loss with its parameters.
    Loss(Arc<dyn Loss>),
    /// One player's updates on one batch.
    Turn(Arc<Turn>),
}

/// What arrived at a node's ports.
#[derive(Clone, Default)]
pub struct Inputs {
    ports: BTreeMap<String, Vec<NodeOutput>>,
}

impl Inputs {
    /// Adds what one more edge brings to a port.
    pub fn push(&mut self, port: &str, product: NodeOutput) {
        self.ports.entry(port.to_owned()).or_default().push(product);
    }

    /// Takes what arrived at a port, in the order of the edges.
    pub fn take(&mut self, port: &str) -> Vec<NodeOutput> {
        self.ports.remove(port).unwrap_or_default()
    }
}

/// The inputs of a plugin; written by [`ports!`](crate::ports).
pub trait Ports: Sized {
    /// What is declared of each field, in order.
    fn ports() -> Vec<PortInfo>;

    /// Sorts what arrived into the fields.
    ///
    /// # Errors
    /// When something of another type or number arrived; the check before a run excludes that.
    fn take(inputs: Inputs) -> Result<Self>;
}

/// A type that an input can have.
pub trait Port: Sized {
    /// What may flow into such an input.
    const ACCEPTS: PortType;
    /// How many edges it takes.
    const ARITY: Arity = Arity::One;
    /// Whether the node changes the network that arrives.
    const TRAINS: bool = false;

    /// Converts what arrived, in the order of the edges.
    ///
    /// # Errors
    /// When something of another type or number arrived.
    fn take(products: Vec<NodeOutput>) -> Result<Self>;
}

/// A classifier that the node trains; an `Arc<ClassifierNetwork>` it only reads.
pub struct Trainee(pub Arc<ClassifierNetwork>);

/// The network that a turn updates.
#[derive(Clone)]
pub enum Player {
    /// The student.
    Classifier(Arc<ClassifierNetwork>),
    /// The generator.
    Generator(Arc<GeneratorNetwork>),
}

/// Where a stage's images come from.
#[derive(Clone)]
pub enum ImageSource {
    /// Images are made, and have no labels.
    Generator(Arc<GeneratorNetwork>),
    /// Images are drawn from a dataset, and have labels.
    Dataset(Arc<dyn Dataset>),
}

fn single(products: Vec<NodeOutput>, expected: PortType) -> Result<NodeOutput> {
    let mut products = products.into_iter();
    match (products.next(), products.next()) {
        (Some(product), None) => Ok(product),
        _ => Err(Error::new(format!("expected one {expected}"))),
    }
}

macro_rules! port {
    ($type:ty, $accepts:expr, trains: $trains:expr, { $($pattern:pat => $value:expr),* $(,)? }) => {
        impl Port for $type {
            const ACCEPTS: PortType = $accepts;
            const TRAINS: bool = $trains;
            fn take(products: Vec<NodeOutput>) -> Result<Self> {
                match single(products, $accepts)? {
                    $($pattern => Ok($value),)*
                    _ => Err(Error::new(format!("expected a {}", $accepts))),
                }
            }
        }
    };
}

port!(Arc<ClassifierNetwork>, PortType::Classifier, trains: false, { NodeOutput::Classifier(network) => network });
port!(Trainee, PortType::Classifier, trains: true, { NodeOutput::Classifier(network) => Trainee(network) });
port!(Arc<GeneratorNetwork>, PortType::Generator, trains: false, { NodeOutput::Generator(network) => network });
port!(Arc<dyn Dataset>, PortType::Dataset, trains: false, { NodeOutput::Dataset(dataset) => dataset });
port!(Arc<dyn Loss>, PortType::Loss, trains: false, { NodeOutput::Loss(loss) => loss });
port!(Arc<Turn>, PortType::Turn, trains: false, { NodeOutput::Turn(turn) => turn });
port!(Player, PortType::Player, trains: true, {
    NodeOutput::Classifier(network) => Player::Classifier(network),
    NodeOutput::Generator(network) => Player::Generator(network),
});
port!(ImageSource, PortType::Images, trains: false, {
    NodeOutput::Generator(network) => ImageSource::Generator(network),
    NodeOutput::Dataset(dataset) => ImageSource::Dataset(dataset),
});

impl<T: Port> Port for Option<T> {
    const ACCEPTS: PortType = T::ACCEPTS;
    const ARITY: Arity = Arity::Optional;
    const TRAINS: bool = T::TRAINS;
    fn take(products: Vec<NodeOutput>) -> Result<Self> {
        if products.is_empty() { Ok(None) } else { T::take(products).map(Some) }
    }
}

impl<T: Port> Port for Vec<T> {
    const ACCEPTS: PortType = T::ACCEPTS;
    const ARITY: Arity = Arity::Many;
    const TRAINS: bool = T::TRAINS;
    fn take(products: Vec<NodeOutput>) -> Result<Self> {
        products.into_iter().map(|product| T::take(vec![product])).collect()
    }
}

/// Declares a plugin's inputs: one documented struct whose field types say what each takes and how many edges.
#[macro_export]
macro_rules! ports {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $port_doc:literal])* pub $port:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        pub struct $name { $( $(#[doc = $port_doc])* pub $port: $type, )* }

        impl $crate::Ports for $name {
            fn ports() -> Vec<$crate::PortInfo> {
                vec![$(
                    $crate::PortInfo {
                        name: stringify!($port),
                        doc: $crate::params::join_doc(&[$($port_doc),*]),
                        accepts: <$type as $crate::Port>::ACCEPTS,
                        arity: <$type as $crate::Port>::ARITY,
                        trains: <$type as $crate::Port>::TRAINS,
                    }
                ),*]
            }

            fn take(mut inputs: $crate::Inputs) -> $crate::Result<Self> {
                use $crate::Context as _;
                Ok(Self {
                    $( $port: $crate::Port::take(inputs.take(stringify!($port)))
                        .context(concat!("input `", stringify!($port), "`"))?, )*
                })
            }
        }
    };
}
