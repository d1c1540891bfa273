//! The boundary of one plugin: who it is, and where it computes.

use candle_core::{DType, Device, Tensor};
use zskt_api::{Context, Error, FeatureMap, ImageShape, Parameter, Result, WeightsDigest};

use super::attribution::PluginOfNode;
use super::inspector::{Inspector, Looked};

/// The boundary of one plugin: who it is, and where it computes.
#[derive(Clone)]
pub struct Boundary {
    /// The plugin, and its place.
    pub plugin: PluginOfNode,
    /// What all wrappers have in common.
    pub inspector: Inspector,
    device: Device,
    dtype: DType,
}

impl Boundary {
    /// That of a plugin which computes in `f32` on the CPU until it is asked for something else.
    pub fn new(plugin: PluginOfNode, inspector: &Inspector) -> Self {
        Self { plugin, inspector: inspector.clone(), device: Device::Cpu, dtype: DType::F32 }
    }

    /// The same plugin, asked for tensors of another type or device.
    pub fn asked_for(&self, dtype: DType, device: &Device) -> Self {
        Self { dtype, device: device.clone(), ..self.clone() }
    }

    /// Whether the device is the CPU, which need not be waited for.
    pub fn is_cpu(&self) -> bool {
        self.device.is_cpu()
    }

    /// Whether numbers that are not finite are an error now. An accelerator would have to stop for each look.
    pub fn looks_at_numbers(&self) -> bool {
        self.is_cpu() && self.inspector.looks_at_numbers()
    }

    /// Lets the plugin work: what goes wrong in it is told as its own.
    ///
    /// # Errors
    /// What it returns.
    pub fn call<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.plugin.call(work) {
            // Whoever computes last is not who takes the room.
            Err(error) if error.is_out_of_memory() => Err(error),
            result => result.context(self.plugin),
        }
    }

    /// Lets the plugin build what it is for, in the run or in the check, whose messages begin with the node.
    ///
    /// # Errors
    /// What it returns.
    pub fn build<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.plugin.is_nested() { self.call(work) } else { self.plugin.call(work) }
    }

    /// Lets the plugin build a network, also in the check: what goes wrong in it is told as its own.
    ///
    /// # Errors
    /// What it returns.
    pub fn build_network<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.plugin.call(work) {
            Err(error) if error.is_out_of_memory() => Err(error),
            result => result.context(self.plugin.within_what_is_at_work()),
        }
    }

    /// As [`call`](Self::call). At times it is looked whether that changes other weights than these.
    ///
    /// # Errors
    /// What it returns, or that it changed them.
    pub fn call_changing<T>(
        &self,
        looked: &Looked,
        changing: &[Parameter],
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !looked.is_due(&self.inspector, self.is_cpu()) {
            return self.call(work);
        }
        let others = self.inspector.weights_but(changing);
        let weights = || others.iter().map(|(_, weight)| weight);
        let before = WeightsDigest::of(weights())?;
        let result = self.call(work)?;
        match before.first_changed(weights())? {
            None => Ok(result),
            Some(changed) => {
                let owner = others.iter().find(|(_, weight)| weight.var().id() == changed.var().id());
                let owner = owner.map(|(network, _)| network.name.as_str()).unwrap_or_default();
                let (plugin, name) = (self.plugin, changed.name());
                Err(Error::new(format!(
                    "{plugin} changed `{name}` of the network `{owner}`, which is not its to change"
                )))
            }
        }
    }

    /// The error for a plugin that does not keep what it declares, or what its contract says.
    pub fn violation(&self, declared: impl std::fmt::Display, did: impl std::fmt::Display) -> Error {
        Error::broken_contract(format!("{} {declared}, but {did}", self.plugin))
    }

    /// Whether a tensor that it gave has this shape, and type and device of the run.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_tensor(&self, what: &str, tensor: &Tensor, dims: &[usize]) -> Result<()> {
        if tensor.dims() != dims {
            let declared = format!("has to give {what} of shape {dims:?}");
            return Err(self.violation(declared, format_args!("gave {:?}", tensor.dims())));
        }
        self.check_kind(what, tensor.dtype(), tensor.device())
    }

    /// Whether a map that it gave holds so many of these images, of the run's type and device.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_map(&self, what: &str, map: &FeatureMap, batch: usize, image: ImageShape) -> Result<()> {
        if map.image() != image {
            return Err(self.violation(format!("declares {what} {image}"), format_args!("made {}", map.image())));
        }
        if map.batch() != batch {
            return Err(self.violation(format!("has to give {batch} {what}"), format_args!("gave {}", map.batch())));
        }
        self.check_kind(what, map.dtype(), map.device())
    }

    fn check_kind(&self, what: &str, dtype: DType, device: &Device) -> Result<()> {
        if dtype != self.dtype {
            let declared = format!("has to give {what} of type {:?}", self.dtype);
            return Err(self.violation(declared, format_args!("gave {dtype:?}")));
        }
        let (expected, found) = (self.device.location(), device.location());
        if found == expected {
            return Ok(());
        }
        Err(self.violation(format!("has to give {what} on {expected:?}"), format_args!("gave them on {found:?}")))
    }
}
