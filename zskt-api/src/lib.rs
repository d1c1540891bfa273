//! What a zskt plugin is.
//!
//! A plugin is a struct of parameters ([`params!`]) that implements the contract of its kind ([`Architecture`],
//! [`GeneratorArchitecture`], [`TeacherSource`], [`DatasetSource`], [`Loss`], [`TurnPlugin`], [`Stage`], [`Metric`],
//! [`Optimizer`], [`Schedule`]) and is registered by [`export!`]. What it computes with is in [`tensor`] (feature maps,
//! gradients, differentiable operations) and [`nn`] (layers and their weights), which is the crate zskt-tensor.

mod contracts;
#[doc(hidden)]
pub mod image;
mod image_set;
mod kind;
pub mod params;
mod ports;
mod problem;
mod registry;
mod shape;
pub mod testing;
pub mod value;

pub use inventory;
pub use rand;
pub use serde_json;
pub use zskt_tensor as tensor;
pub use zskt_tensor::{candle_core, candle_nn, nn, nn as layers, ops};

pub use contracts::*;
pub use image_set::{Augmentation, ImageSet};
pub use kind::Kind;
pub use params::{Bounds, Parameter as ParameterType, ParameterInfo, ParameterKind, Params, above};
pub use ports::{Arity, ImageSource, Inputs, Player, Port, PortInfo, PortType, Ports, Product, Trainee};
pub use problem::{Fault, Problem, Span, nearest, with_article};
pub use registry::{Instance, Nested, Parsed, Registration, Registry};
pub use shape::{
    BeliefShape, ClassifierShape, ClassifierSignature, DatasetSignature, GeneratorSignature, Signature, Signatures,
    TurnSignature,
};
pub use value::{Form, Name, Value};
pub use zskt_tensor::cuda_graph::{CudaGraph as Recording, warm_up as rehearsed};
pub use zskt_tensor::nn::{Builder, Init, Parameter, Pass, Role, Weights};
#[cfg(feature = "cuda")]
pub use zskt_tensor::open_gpu;
pub use zskt_tensor::{
    Context, Error, FeatureMap, Gradients, ImageShape, Precision, Result, StreamRng, Streams, standard_normal,
};
