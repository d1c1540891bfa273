//! What the tests of plugins share: [`conforms`] holds a plugin to the contract of its kind.
//!
//! ```no_run
//! # use zskt_api::Result;
//! #[test]
//! fn it_keeps_its_contract() -> Result<()> {
//!     zskt_api::testing::conforms("TinyNet(width: 4)")
//! }
//! ```
//!
//! The plugin is found by its name, so it must be exported and part of the test's program (an integration test says
//! `use my_crate as _;`). Small parameters make it fast: it computes on the CPU, and moves each weight.
//!
//! | kind | what is tried |
//! | --- | --- |
//! | all | parameters read back as they are written to a run's `pipeline.ron`, and defaults are in their ranges; the same input gives the same bits |
//! | architecture, teacher | `output_shape`; gradients of weights and images, against finite differences; frozen weights; `replays` |
//! | generator | `image`, `latent_dim`, `sample`; gradients of weights, against finite differences; `replays` |
//! | loss | a scalar; gradients by student and teacher, against finite differences; f32 beside f64; `replays` |
//! | optimizer | what has a gradient moves, and nothing else; `state` and `restore` |
//! | schedule | finite factors |
//! | dataset | `describe`; labels; order; what is drawn comes from the given generator alone |
//! | turn | name, losses and player |
//! | stage | it takes what fits its ports; interrupted and resumed, it ends with the same bits |
//! | metric | it takes what fits its ports |

/// Ends a check with what was promised and what was done instead.
macro_rules! promise {
    ($kept:expr, $($broken:tt)+) => {
        let kept: bool = $kept;
        if !kept {
            return Err($crate::Error::new(format!($($broken)+)));
        }
    };
}

mod datasets;
mod finite_differences;
mod graph;
mod losses;
mod networks;
mod reader;
mod stand_ins;
mod updates;

pub use stand_ins::{TestObserver, TestSgd};

use candle_core::{DType, Device, Tensor};

use crate::{
    BuildContext, Context, Error, ParameterInfo, ParsedPlugin, PluginInstance, PluginRegistration, Precision,
    RandomStreams, Registry, Result, standard_normal,
};

/// Holds a plugin, written as in a pipeline, to the contract of its kind.
///
/// # Errors
/// What the plugin promises, and what it does instead.
pub fn conforms(plugin: &str) -> Result<()> {
    check(plugin).context(format!("`{plugin}` does not keep its contract"))
}

/// The plugin that is written so in a pipeline: `Adam(lr: 0.05)`.
///
/// # Errors
/// When no such plugin is exported, or its parameters are wrong.
pub fn plugin(text: &str) -> Result<PluginInstance> {
    read(text).map(|(_, parsed)| parsed.instance().clone())
}

/// Where plugins are built in tests: on the CPU, with streams of seed 0.
pub fn build_context(node: &str, precision: Precision) -> BuildContext {
    BuildContext {
        node: node.into(),
        device: Device::Cpu,
        precision,
        streams: RandomStreams::new(0),
        normalization: None,
    }
}

fn check(text: &str) -> Result<()> {
    let (registration, parsed) = read(text)?;
    if let Some(fault) = (registration.parameters)().iter().find_map(ParameterInfo::fault) {
        return Err(Error::new(fault));
    }
    let (ron, again) = (&parsed.ron, read(&parsed.ron)?.1.ron);
    promise!(again == *ron, "its parameters are written `{ron}`, which reads as `{again}`");
    match parsed.instance() {
        PluginInstance::Architecture(plugin) => networks::architecture(plugin.as_ref()),
        PluginInstance::Teacher(plugin) => networks::teacher(plugin.as_ref()),
        PluginInstance::Generator(plugin) => networks::generator(plugin.as_ref()),
        PluginInstance::Dataset(plugin) => datasets::dataset(plugin.as_ref()),
        PluginInstance::Loss(plugin) => losses::loss(plugin.as_ref()),
        PluginInstance::Optimizer(plugin) => updates::optimizer(plugin.as_ref()),
        PluginInstance::Schedule(plugin) => updates::schedule(plugin.as_ref()),
        PluginInstance::Targets(plugin) => updates::targets(plugin.as_ref()),
        PluginInstance::Turn(plugin) => graph::turn(plugin.as_ref()),
        PluginInstance::Stage(plugin) => graph::stage(plugin.as_ref(), registration.output),
        PluginInstance::Metric(plugin) => graph::metric(plugin.as_ref()),
    }
}

fn read(text: &str) -> Result<(&'static PluginRegistration, ParsedPlugin)> {
    let registry = Registry::get().map_err(|problem| Error::new(problem.message.as_str()))?;
    let kinds: Vec<_> = registry.iter().map(|plugin| plugin.kind).collect();
    let mut problems = Vec::new();
    registry.read(&reader::read(text)?, &kinds, &mut problems).ok_or_else(|| {
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        let name = text.split('(').next().unwrap_or_default().trim();
        let there = registry.named(name).next().is_some();
        let hint = if there { "" } else { "; is it exported, and part of this program?" };
        Error::new(format!("`{text}`: {}{hint}", messages.join("; ")))
    })
}

/// Numbers from N(0, 1) that belong to a name.
fn normal(name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let numbers = standard_normal(&mut RandomStreams::new(0).named(name), shape.iter().product());
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

fn number(scalar: &Tensor) -> Result<f64> {
    Ok(scalar.to_dtype(DType::F64)?.to_scalar()?)
}

/// Whether tensors have the same shapes and bits.
fn same_bits<'a>(a: impl IntoIterator<Item = &'a Tensor>, b: impl IntoIterator<Item = &'a Tensor>) -> Result<bool> {
    let bits = |tensor: &Tensor| -> Result<_> {
        let numbers = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        Ok((tensor.dims().to_vec(), numbers.into_iter().map(f64::to_bits).collect::<Vec<_>>()))
    };
    let all = |tensors: &mut dyn Iterator<Item = &'a Tensor>| tensors.map(bits).collect::<Result<Vec<_>>>();
    Ok(all(&mut a.into_iter())? == all(&mut b.into_iter())?)
}
