//! The weights of a network, under PyTorch's names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;

use crate::error::{Context, Error, Result};
use crate::nn::forward_mode::ForwardMode;
use crate::precision::Precision;
use crate::random::{RandomStreams, StreamRng, standard_normal};

/// What a weight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Learnt by gradient.
    Parameter,
    /// Kept beside: running statistics and counters.
    Buffer,
}

/// One named tensor of a network. Clones are the same tensor.
#[derive(Clone, Debug)]
pub struct Parameter {
    name: Arc<str>,
    role: Role,
    var: Var,
    init: Init,
}

impl Parameter {
    /// Its name within the network, as PyTorch has it: `block1.layer.0.conv1.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How it began, where it was not loaded.
    pub fn init(&self) -> Init {
        self.init
    }

    /// The variable that an optimizer updates in place.
    pub fn var(&self) -> &Var {
        &self.var
    }

    /// The tensor to compute with: tracked when the mode tracks weights, a plain tensor otherwise, so that no gradient is
    /// computed that nobody asked for.
    pub fn tensor(&self, mode: ForwardMode) -> Tensor {
        if mode.tracks_weights() { self.var.as_tensor().clone() } else { self.var.as_detached_tensor() }
    }

    /// The plain tensor.
    pub fn value(&self) -> Tensor {
        self.var.as_detached_tensor()
    }

    /// Lets the layer compute that this weight is one of. What goes wrong is told as that layer's, by the name that its weights have in common:
    /// in a network of many layers a shape alone says little.
    pub(super) fn in_layer<T>(&self, compute: impl FnOnce() -> Result<T>) -> Result<T> {
        compute().map_err(|error| match self.name.rsplit_once('.') {
            // Whoever computes last is not who takes the room.
            Some((layer, _)) if !error.is_out_of_memory() => error.context(format_args!("layer `{layer}`")),
            _ => error,
        })
    }
}

impl Parameter {
    /// A tensor in this one's precision and on its device.
    fn converted(&self, tensor: &Tensor) -> Result<Tensor> {
        let converted = tensor.to_device(self.var.device())?.to_dtype(self.var.dtype())?.contiguous()?;
        // Every other type that files have is within the range of f32.
        if (tensor.dtype(), converted.dtype()) == (DType::F64, DType::F32) && tensor.elem_count() > 0 {
            let largest = tensor.abs()?.max_all()?.to_scalar::<f64>()?;
            if largest.is_finite() && (largest as f32).is_infinite() {
                return Err(Error::new(format!("{largest:e} is too large for f32: use `precision: \"f64\"`")));
            }
        }
        Ok(converted)
    }
}

/// All weights of a network in the order of their making.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    entries: Vec<Parameter>,
}

impl Weights {
    /// Every weight.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter()
    }

    /// Those learnt by gradient.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter().filter(|weight| weight.role == Role::Parameter)
    }

    /// The weights of several networks as those of one: the names of each begin with its own and a dot. The tensors are the same.
    pub fn joined<'w>(networks: impl IntoIterator<Item = (String, &'w Self)>) -> Self {
        let within = |(name, network): (String, &'w Self)| {
            let named = move |weight: &Parameter| Parameter {
                name: format!("{name}.{}", weight.name).into(),
                ..weight.clone()
            };
            network.entries.iter().map(named).collect::<Vec<_>>()
        };
        Self { entries: networks.into_iter().flat_map(within).collect() }
    }

    /// How many numbers are learnt by gradient.
    pub fn parameter_count(&self) -> usize {
        self.parameters().map(|weight| weight.var.elem_count()).sum()
    }

    /// A copy of every weight by name.
    ///
    /// # Errors
    /// When the device fails.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.iter().map(|weight| Ok((weight.name.to_string(), weight.var.as_tensor().copy()?))).collect()
    }

    /// Lets weights begin anew, in place: each for which `init` says how, from its stream `<stream>/<weight>` at `index`. By
    /// [`Parameter::init`], the stream `<node>/init` and index 0, a network becomes what it was when it was built.
    ///
    /// # Errors
    /// When the device fails.
    pub fn reinitialize(
        &self,
        init: impl Fn(&Parameter) -> Option<Init>,
        streams: &RandomStreams,
        stream: &str,
        index: u64,
    ) -> Result<()> {
        for weight in &self.entries {
            let Some(init) = init(weight) else { continue };
            let rng = || streams.at(&format!("{stream}/{}", weight.name), index);
            let tensor = init.tensor(weight.var.dims(), weight.var.dtype(), weight.var.device(), rng)?;
            weight.var.set(&tensor).context(&weight.name)?;
        }
        Ok(())
    }

    /// Takes every weight from `tensors`, converting to this network's precision and device. Either all weights are
    /// taken or none.
    ///
    /// # Errors
    /// One error that lists every missing name, every name that is too much and every wrong shape, or a number that the
    /// precision cannot hold. PyTorch's `num_batches_tracked` may be absent: files older than it have none.
    pub fn load(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let wrong = self.mismatches(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims())));
        if !wrong.is_empty() {
            return Err(Error::new(wrong.join("\n")));
        }
        let mut taken = Vec::with_capacity(self.entries.len());
        for weight in &self.entries {
            let Some(tensor) = tensors.get(&*weight.name) else { continue };
            let converted = weight.converted(tensor).context(&weight.name)?;
            taken.push((weight, converted));
        }
        for (weight, tensor) in taken {
            weight.var.set(&tensor).context(&weight.name)?;
        }
        Ok(())
    }

    /// Every way in which named shapes differ from this network's, a line each; empty when they fit.
    pub fn mismatches<'a>(&self, shapes: impl Iterator<Item = (&'a str, &'a [usize])>) -> Vec<String> {
        let mut given: BTreeMap<&str, &[usize]> = shapes.collect();
        let mut wrong = Vec::new();
        for weight in &self.entries {
            let expected = weight.var.dims();
            match given.remove(&*weight.name) {
                Some(found) if found == expected => {}
                Some(found) => wrong.push(format!("{}: expected shape {expected:?}, found {found:?}", weight.name)),
                None if weight.name.ends_with("num_batches_tracked") => {}
                None => wrong.push(format!("{}: missing, expected shape {expected:?}", weight.name)),
            }
        }
        wrong.extend(given.iter().map(|(name, shape)| format!("{name}: not part of the network, has shape {shape:?}")));
        wrong
    }
}

/// The shapes of weights by their names.
type NamedShapes = BTreeMap<String, Vec<usize>>;

/// How a weight begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All equal.
    Constant(f64),
    /// N(0, std²).
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform between −bound and bound.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
}

impl Init {
    /// Numbers that begin so.
    fn tensor(self, shape: &[usize], dtype: DType, device: &Device, rng: impl FnOnce() -> StreamRng) -> Result<Tensor> {
        let count = shape.iter().product();
        let numbers: Vec<f64> = match self {
            Self::Constant(value) => return filled(value, shape, dtype, device),
            Self::Normal { std } => standard_normal(&mut rng(), count).into_iter().map(|number| std * number).collect(),
            Self::Uniform { bound } => {
                let mut rng = rng();
                (0..count).map(|_| rng.random_range(-bound..=bound)).collect()
            }
        };
        Ok(Tensor::from_vec(numbers, shape, device)?.to_dtype(dtype)?.contiguous()?)
    }
}

fn filled(value: f64, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    Ok(Tensor::full(value, shape, device)?.to_dtype(dtype)?.contiguous()?)
}

/// Makes the weights of a network under nested names, as PyTorch's modules do.
#[derive(Clone)]
pub struct Builder {
    entries: Arc<Mutex<Vec<Parameter>>>,
    prefix: String,
    device: Device,
    precision: Precision,
    init: Option<(RandomStreams, String)>,
    batch_norm_epsilon: Option<f64>,
    /// Of a builder that makes no weights: the shapes of those that were asked for.
    shapes: Option<Arc<Mutex<NamedShapes>>>,
}

impl Builder {
    /// Weights drawn from the stream `<node>/init/<weight>` of the run, each its own, so that no weight depends on the
    /// order of making.
    pub fn random(streams: &RandomStreams, node: &str, precision: Precision, device: &Device) -> Self {
        Self { init: Some((streams.clone(), node.to_owned())), ..Self::zeros(precision, device) }
    }

    /// Weights that wait to be loaded.
    pub fn zeros(precision: Precision, device: &Device) -> Self {
        let (entries, prefix, device) = (Arc::default(), String::new(), device.clone());
        Self { entries, prefix, device, precision, init: None, batch_norm_epsilon: None, shapes: None }
    }

    /// The same, for a network whose batch norms add this number to the variance, where its architecture does not say one itself.
    #[must_use]
    pub fn with_batch_norm_epsilon(self, epsilon: f64) -> Self {
        Self { batch_norm_epsilon: Some(epsilon), ..self }
    }

    /// What batch norms add to the variance where the architecture does not say it; `None` for PyTorch's default.
    pub fn batch_norm_epsilon(&self) -> Option<f64> {
        self.batch_norm_epsilon
    }

    /// What weights `build` asks for: their shapes by their names, without room for any of them. What it builds cannot compute.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn shapes_of<T>(build: impl FnOnce(&Self) -> Result<T>) -> Result<NamedShapes> {
        let shapes = Arc::default();
        build(&Self { shapes: Some(Arc::clone(&shapes)), ..Self::zeros(Precision::F32, &Device::Cpu) })?;
        let shapes = std::mem::take(&mut *shapes.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(shapes)
    }

    /// The device of the network's weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The precision of the network's weights and maps.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The builder of a part: its names begin with `name.`.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    /// The name of the part that this builder makes: `layer1.0` for weights such as `layer1.0.weight`; empty for the whole network.
    pub fn name(&self) -> &str {
        self.prefix.strip_suffix('.').unwrap_or_default()
    }

    /// A weight that is learnt by gradient.
    ///
    /// # Errors
    /// When the name is taken, or the device has no room.
    pub fn parameter(&self, name: &str, shape: &[usize], init: Init) -> Result<Parameter> {
        let full = format!("{}{name}", self.prefix);
        let tensor = match self.without_room(&full, shape)? {
            Some(without_room) => without_room,
            None => self.begin(&full, shape, init)?,
        };
        self.add(full, Role::Parameter, &tensor, init)
    }

    /// Numbers that are drawn as weights are, and are none: they are neither learnt nor saved.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn constant(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        self.begin(&format!("{}{name}", self.prefix), shape, init)
    }

    fn begin(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        check_room(name, shape)?;
        let (dtype, device) = (self.precision.dtype(), &self.device);
        match (&self.init, init) {
            (Some((streams, node)), _) => {
                init.tensor(shape, dtype, device, || streams.named(&format!("{node}/init/{name}")))
            }
            (None, Init::Constant(value)) => filled(value, shape, dtype, device),
            // They wait to be loaded.
            (None, _) => filled(0.0, shape, dtype, device),
        }
    }

    /// A weight that is kept beside, such as a running mean.
    ///
    /// # Errors
    /// When the name is taken, or the device has no room.
    pub fn buffer(&self, name: &str, shape: &[usize], value: f64) -> Result<Parameter> {
        let full = format!("{}{name}", self.prefix);
        let tensor = match self.without_room(&full, shape)? {
            Some(without_room) => without_room,
            None => filled(value, shape, self.precision.dtype(), &self.device)?,
        };
        self.add(full, Role::Buffer, &tensor, Init::Constant(value))
    }

    /// A whole number that is kept beside, such as PyTorch's `num_batches_tracked`.
    ///
    /// # Errors
    /// When the name is taken, or the device has no room.
    pub fn counter(&self, name: &str) -> Result<Parameter> {
        let (full, tensor) = (format!("{}{name}", self.prefix), Tensor::zeros((), DType::I64, &self.device)?);
        self.without_room(&full, &[])?;
        self.add(full, Role::Buffer, &tensor, Init::Constant(0.0))
    }

    /// Everything made so far by this builder and its parts.
    pub fn weights(&self) -> Weights {
        Weights { entries: self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    /// What stands for a weight where shapes alone are asked for.
    fn without_room(&self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let Some(shapes) = &self.shapes else { return Ok(None) };
        shapes.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), shape.to_vec());
        Ok(Some(Tensor::zeros(0, self.precision.dtype(), &self.device)?))
    }

    fn add(&self, name: String, role: Role, tensor: &Tensor, init: Init) -> Result<Parameter> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().any(|entry| *entry.name == *name) {
            return Err(Error::new(format!("two weights are called `{name}`")));
        }
        let weight = Parameter { name: name.into(), role, var: Var::from_tensor(tensor)?, init };
        entries.push(weight.clone());
        Ok(weight)
    }
}

/// Whether there is room in memory for a weight and what it is made from. A failed allocation would end the program, and no width is too
/// large to be written in a pipeline.
fn check_room(name: &str, shape: &[usize]) -> Result<()> {
    let bytes = shape.iter().try_fold(2 * size_of::<f64>(), |bytes, size| bytes.checked_mul(*size));
    // Taken and given back, untouched: the system counts it, and no more.
    match bytes.map(|bytes| Vec::<u8>::new().try_reserve_exact(bytes)) {
        Some(Ok(())) => Ok(()),
        _ => Err(Error::new(format!("there is no room in memory for the weight `{name}` of shape {shape:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finite_weight_does_not_become_infinite() -> Result<()> {
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        let [first, _] =
            [builder.parameter("a", &[2], Init::Constant(1.0))?, builder.parameter("b", &[2], Init::Constant(1.0))?];
        let file = |largest: f64| -> Result<BTreeMap<String, Tensor>> {
            let tensor = |numbers: [f64; 2]| Ok::<_, Error>(Tensor::new(&numbers, &Device::Cpu)?);
            Ok([("a".into(), tensor([2.0, 3.0])?), ("b".into(), tensor([0.0, -largest])?)].into())
        };
        let error = builder.weights().load(&file(1e39)?).unwrap_err().to_string();
        assert_eq!(error, "b: 1e39 is too large for f32: use `precision: \"f64\"`");
        // Nothing was taken.
        assert_eq!(first.value().to_vec1::<f32>()?, [1.0, 1.0]);
        builder.weights().load(&file(3e38)?)?;
        assert_eq!(first.value().to_vec1::<f32>()?, [2.0, 3.0]);
        Ok(())
    }

    #[test]
    fn weights_begin_anew() -> Result<()> {
        let streams = RandomStreams::new(3);
        let builder = Builder::random(&streams, "net", Precision::F32, &Device::Cpu);
        let weight = builder.at("fc").parameter("weight", &[2], Init::Normal { std: 2.0 })?;
        let bias = builder.at("fc").parameter("bias", &[2], Init::Uniform { bound: 0.1 })?;
        let (mean, count) = (builder.buffer("running_mean", &[2], 0.5)?, builder.counter("num_batches_tracked")?);
        let weights = builder.weights();
        let numbers = |weight: &Parameter| weight.value().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let all = || weights.iter().map(numbers).collect::<candle_core::Result<Vec<_>>>();
        let first = all()?;
        let learn = || weights.iter().try_for_each(|weight| weight.var().set(&weight.value().ones_like()?));
        learn()?;
        weights.reinitialize(|weight| Some(weight.init()), &streams, "net/init", 0)?;
        assert_eq!(all()?, first);
        learn()?;
        let small = |weight: &Parameter| (weight.name() == "fc.weight").then_some(Init::Normal { std: 0.1 });
        weights.reinitialize(small, &streams, "net/init", 0)?;
        let tenth: Vec<_> = first[0].iter().map(|number| (number / 20.0) as f32).collect();
        let found: Vec<_> = numbers(&weight)?.iter().map(|number| *number as f32).collect();
        assert!(found.iter().zip(&tenth).all(|(found, expected)| (found - expected).abs() < 1e-7), "{found:?}");
        assert_eq!([numbers(&bias)?, numbers(&mean)?, numbers(&count)?], [vec![1.0; 2], vec![1.0; 2], vec![1.0]]);
        weights.reinitialize(|weight| Some(weight.init()), &streams, "net/init", 1)?;
        assert!(numbers(&weight)? != first[0] && numbers(&mean)? == [0.5; 2] && numbers(&count)? == [0.0]);
        Ok(())
    }

    #[test]
    fn a_weight_that_no_memory_holds_is_an_error() {
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        for shape in [&[1 << 40, 1 << 20][..], &[usize::MAX, 3]] {
            let error = builder.parameter("wide", shape, Init::Constant(0.0)).unwrap_err().to_string();
            assert!(error.contains("no room in memory for the weight `wide` of shape"), "{error}");
        }
    }
}
