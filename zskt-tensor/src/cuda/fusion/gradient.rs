//! Gradients of maps, as they come from the operations that read the map: what can become part of another kernel is not computed
//! before that kernel is launched.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, bail};

use crate::autograd::TensorInput;
use crate::cuda::conv::{ResultGradient, Towards, tensor_cores};
use crate::cuda::exact_sums::UnfinishedGradients;
use crate::cuda::fusion::lazy_map::{LazyInput, LazyMap};
use crate::cuda::launch::empty;
use crate::cuda::ops::{batch_norm, conv2d};
use crate::cuda::pending_gradients;
use crate::cuda::sum::plus;
use crate::flop;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// The gradient of a map.
#[derive(Clone)]
pub enum Gradient {
    /// Its numbers.
    Dense(Tensor),
    /// What a batch norm by the map's own statistics makes of it, computed where it is read.
    BehindBatchNorm(Arc<BehindBatchNorm>),
}

/// `a · behind + b · x + c + plus`, per channel.
pub struct BehindBatchNorm {
    /// The gradient in front of the batch norm's rectifier.
    pub behind: Tensor,
    /// The map that was normalized.
    pub x: Arc<LazyMap>,
    /// What a, b and c are made of.
    sums: Arc<UnfinishedGradients>,
    /// What other readers of the map gave.
    plus: Option<Tensor>,
    /// The numbers, once a kernel has computed them.
    kept: Mutex<Option<Tensor>>,
}

impl BehindBatchNorm {
    /// With nothing added.
    pub fn new(behind: Tensor, x: Arc<LazyMap>, sums: Arc<UnfinishedGradients>) -> Self {
        Self { behind, x, sums, plus: None, kept: Mutex::new(None) }
    }

    fn kept(&self) -> Option<Tensor> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn dense(&self) -> Result<Tensor> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept {
            return Ok(kept.clone());
        }
        let Self { behind, x, sums, plus, .. } = self;
        sums.finish()?;
        let values = batch_norm::combined(behind, x.values()?, &sums.sums.coefficients, plus.as_ref(), x.precision)?;
        Ok(kept.insert(values).clone())
    }
}

impl Gradient {
    /// Its numbers.
    ///
    /// # Errors
    /// When the device fails.
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Dense(values) => Ok(values.clone()),
            Self::BehindBatchNorm(gradient) => gradient.dense(),
        }
    }

    /// Whether others may read it.
    fn is_shared(&self) -> bool {
        match self {
            Self::Dense(_) => false,
            Self::BehindBatchNorm(gradient) => Arc::strong_count(gradient) > 1,
        }
    }

    /// Calls `read` with the gradient as kernels read it; with `keep`, the first of them leaves its numbers for the others.
    fn read<R>(&self, keep: bool, read: impl FnOnce(ResultGradient<'_>) -> Result<R>) -> Result<R> {
        let gradient = match self {
            Self::Dense(values) => return read(ResultGradient::Dense(values)),
            Self::BehindBatchNorm(gradient) => gradient,
        };
        let mut kept = gradient.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = &*kept {
            return read(ResultGradient::Dense(values));
        }
        let BehindBatchNorm { behind, x, sums, plus, .. } = &**gradient;
        let to = keep.then(|| empty(behind.shape(), behind.dtype(), behind.device())).transpose()?;
        let (x, plus, coefficients, unfinished) = (x.values()?, plus.as_ref(), &sums.sums.coefficients, Some(&**sums));
        let result = read(ResultGradient::Normalized { behind, x, coefficients, unfinished, plus, kept: to.as_ref() })?;
        *kept = to;
        Ok(result)
    }
}

/// The gradient that a convolution passes back to what it reads, not yet computed.
pub struct DataGradient {
    /// The convolution's shape.
    pub geometry: ConvGeometry,
    /// Its precision.
    pub precision: Precision,
    /// Its weight, `[O, K, K, I]`, as maps are stored.
    pub weight: Tensor,
    /// The gradient of its result.
    pub gradient: Gradient,
    /// What else is to be made of that, once its numbers are there.
    pub parameters: Option<ParameterGradients>,
}

impl DataGradient {
    /// Computes it, and the gradients of the parameters.
    ///
    /// # Errors
    /// When the device fails.
    pub fn run(&self, towards: &Towards<'_>) -> Result<Tensor> {
        let Self { geometry, precision, weight, gradient, parameters } = self;
        let keep = parameters.is_some() || gradient.is_shared();
        flop::add(geometry.multiply_adds(), 1);
        let values =
            gradient.read(keep, |gradient| tensor_cores::data_gradient(geometry, gradient, weight, towards))?;
        if let Some(parameters) = parameters {
            parameters.run(geometry, *precision, gradient)?;
        }
        Ok(values)
    }
}

/// The gradients of a convolution's parameters, not yet computed.
pub struct ParameterGradients {
    /// What it reads.
    pub input: LazyInput,
    /// The weight and, if there is one, the bias.
    pub weights: Vec<TensorInput>,
}

impl ParameterGradients {
    /// Computes them.
    ///
    /// # Errors
    /// When the device fails.
    pub fn run(&self, geometry: &ConvGeometry, precision: Precision, gradient: &Gradient) -> Result<()> {
        let [weight, biases @ ..] = &*self.weights else { bail!("a convolution has a weight") };
        if weight.is_tracked() {
            flop::add(geometry.multiply_adds(), 1);
            let keep = biases.iter().any(TensorInput::is_tracked);
            let input = self.input.operand()?;
            let parts = gradient.read(keep, |gradient| tensor_cores::weight_gradient(geometry, input, gradient))?;
            pending_gradients::accumulate_parts(weight, geometry, parts)?;
        }
        for bias in biases {
            bias.accumulate(|| conv2d::of_bias(&gradient.dense()?, precision))?;
        }
        Ok(())
    }
}

/// A part of a map's gradient.
pub enum Part {
    /// One that is complete.
    Complete(Gradient),
    /// One that a convolution passes back.
    Convolution(DataGradient),
}

/// Parts of one map's gradient, by their kind.
pub struct Parts {
    /// The sum of those whose numbers are there.
    dense: Option<Tensor>,
    /// Those behind batch norms.
    behind_batch_norms: Vec<Arc<BehindBatchNorm>>,
    /// Those that convolutions pass back.
    pub convolutions: Vec<DataGradient>,
    precision: Precision,
}

impl Parts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.dense.is_none() && self.behind_batch_norms.is_empty() && self.convolutions.is_empty()
    }

    /// The sum of all.
    ///
    /// # Errors
    /// When there is none, or the device fails.
    pub fn sum(mut self) -> Result<Gradient> {
        for convolution in &self.convolutions {
            let sum = convolution.run(&Towards::Operand { plus: self.dense.as_ref() })?;
            self.dense = Some(sum);
        }
        if let [part] = &*self.behind_batch_norms {
            let Some(dense) = &self.dense else { return Ok(Gradient::BehindBatchNorm(Arc::clone(part))) };
            if part.plus.is_none() && part.kept().is_none() {
                let BehindBatchNorm { behind, x, sums, .. } = &**part;
                let sum = BehindBatchNorm {
                    plus: Some(dense.clone()),
                    ..BehindBatchNorm::new(behind.clone(), Arc::clone(x), Arc::clone(sums))
                };
                return Ok(Gradient::BehindBatchNorm(Arc::new(sum)));
            }
        }
        for part in &self.behind_batch_norms {
            self.dense = Some(plus(part.dense()?, self.dense.as_ref(), self.precision)?);
        }
        match self.dense {
            Some(dense) => Ok(Gradient::Dense(dense)),
            None => bail!("a map that is tracked has no gradient"),
        }
    }
}

/// The gradient of a map, as it is gathered from those that read the map.
#[derive(Clone, Default)]
pub struct GradientAccumulator(Arc<Mutex<Vec<Part>>>);

impl GradientAccumulator {
    /// Adds a part.
    pub fn push(&self, part: Part) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }

    /// Adds a part whose numbers are there: `part` gets those that are there already, and returns the sum.
    ///
    /// # Errors
    /// When `part` fails.
    pub fn accumulate(&self, part: impl FnOnce(Option<&Tensor>) -> Result<Tensor>) -> Result<()> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dense = parts.iter().position(|part| matches!(part, Part::Complete(Gradient::Dense(_))));
        let earlier = match dense.map(|dense| parts.swap_remove(dense)) {
            Some(Part::Complete(Gradient::Dense(earlier))) => Some(earlier),
            _ => None,
        };
        parts.push(Part::Complete(Gradient::Dense(part(earlier.as_ref())?)));
        Ok(())
    }

    /// Takes all parts.
    ///
    /// # Errors
    /// When the device fails.
    pub fn take(&self, precision: Precision) -> Result<Parts> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut parts = Parts { dense: None, behind_batch_norms: Vec::new(), convolutions: Vec::new(), precision };
        for part in taken {
            match part {
                Part::Convolution(convolution) => parts.convolutions.push(convolution),
                Part::Complete(Gradient::Dense(values)) => {
                    parts.dense = Some(plus(values, parts.dense.as_ref(), precision)?);
                }
                Part::Complete(Gradient::BehindBatchNorm(gradient)) => match gradient.kept() {
                    Some(values) => parts.dense = Some(plus(values, parts.dense.as_ref(), precision)?),
                    None => parts.behind_batch_norms.push(gradient),
                },
            }
        }
        Ok(parts)
    }

    /// Drops all parts.
    pub fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
