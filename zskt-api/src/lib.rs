//! What a zskt plugin is.
//!
//! A plugin is a struct of parameters ([`params!`]) that implements the contract of its kind ([`Architecture`],
//! [`GeneratorArchitecture`], [`TeacherSource`], [`DatasetSource`], [`Loss`], [`TurnPlugin`], [`Stage`], [`Metric`],
//! [`Optimizer`], [`Schedule`]) and is registered by [`export!`]. Networks are made of [`layers`], which bring their own
//! forward and backward.

mod contracts;
mod device;
mod error;
mod feature_map;
mod gradients;
#[doc(hidden)]
pub mod image;
mod kernels;
mod kind;
pub mod layers;
mod map;
pub mod ops;
pub mod params;
mod pass;
mod ports;
mod precision;
mod problem;
mod random;
mod recording;
mod registry;
mod shape;
pub mod value;
mod weights;

pub use candle_core;
pub use candle_nn;
pub use inventory;
pub use rand;
pub use serde_json;

pub use contracts::*;
#[cfg(feature = "cuda")]
pub use device::open as open_gpu;
pub use error::{Context, Error, Result};
pub use feature_map::FeatureMap;
pub use gradients::Gradients;
pub use kind::Kind;
pub use params::{Bounds, Parameter as ParameterType, ParameterInfo, ParameterKind, Params, above};
pub use pass::Pass;
pub use ports::{Arity, ImageSource, Inputs, Player, Port, PortInfo, PortType, Ports, Product, Trainee};
pub use precision::Precision;
pub use problem::{Fault, Problem, Span, nearest, with_article};
pub use random::{StreamRng, Streams, standard_normal};
pub use recording::{Recording, rehearsed};
pub use registry::{Instance, Nested, Parsed, Registration, Registry};
pub use shape::{
    BeliefShape, ClassifierShape, ClassifierSignature, DatasetSignature, GeneratorSignature, ImageShape, Signature,
    Signatures, TurnSignature,
};
pub use value::{Form, Name, Value};
pub use weights::{Builder, Init, Parameter, Role, Weights};
