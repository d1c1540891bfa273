//! What a zskt plugin is.
//!
//! A plugin is a struct of parameters ([`params!`]) that implements the contract of its kind ([`Architecture`],
//! [`GeneratorArchitecture`], [`TeacherSource`], [`DatasetSource`], [`Loss`], [`TurnPlugin`], [`Stage`], [`Metric`],
//! [`Optimizer`], [`Schedule`], [`ClassTargets`]) and is registered by [`export!`]. What it computes with is in [`tensor`] (feature maps,
//! gradients, differentiable operations) and [`nn`] (layers and their weights), which is the crate zskt-tensor.

mod address;
#[doc(hidden)]
pub mod build_id;
mod contracts;
mod kind;
mod layout;
mod normalization;
pub mod params;
mod plugin_name;
mod ports;
mod problem;
mod reads;
mod registry;
mod shape;
pub mod testing;
pub mod value;

pub use inventory;
pub use rand;
pub use serde_json;
pub use zskt_tensor as tensor;
pub use zskt_tensor::{candle_core, candle_nn, nn, ops};

#[doc(hidden)]
pub use address::fetch_first;
pub use contracts::*;
pub use kind::PluginKind;
pub use layout::{NamedShapes, Recognized, WeightLayout};
pub use normalization::Normalization;
pub use params::{Bounds, ParameterInfo, ParameterKind, ParameterType, Params, above};
pub use plugin_name::full_plugin_name;
pub use ports::{Arity, ImageSource, Inputs, NodeOutput, Player, Port, PortInfo, PortType, Ports, Trainee};
pub use problem::{CheckError, Diagnostic, Severity, Span, nearest_name, with_article};
pub use reads::Reads;
pub use registry::{Nested, NestedContract, NestedPlugin, ParsedPlugin, PluginInstance, PluginRegistration, Registry};
pub use shape::{
    ClassifierShape, ClassifierSignature, DatasetSignature, GeneratorSignature, OutputShape, Signature, Signatures,
    SynthesisSignature, TurnSignature,
};
pub use value::{Name, Value, ValueKind};
pub use zskt_tensor::cuda_graph::{CudaGraph, warm_up};
pub use zskt_tensor::nn::{Builder, ForwardMode, Init, Parameter, Role, Weights, WeightsDigest};
pub use zskt_tensor::{
    Augmentation, Batch, Context, Error, FeatureMap, Gradients, ImageSet, ImageShape, PackedWeights, Precision,
    RandomStreams, Result, StreamRng, forget_packed_weights, standard_normal,
};
#[cfg(feature = "cuda")]
pub use zskt_tensor::{describe_gpu, open_gpu};
