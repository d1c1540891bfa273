//! In-place updates: what optimizers do to weights and to their own state, one pass over memory each.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Tensor, bail};

use super::storage::{Dense, by_dtype, slice};
use crate::kernels::parallel;
use crate::map::values::Number;
use crate::{Error, Result, device};

/// What becomes of a target number `t`, given two sources `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// `t ← decay·t + share·(a + weight_decay·b)`: a running average of gradients `a`, with `b` the weight.
    Average {
        /// What is kept of the average.
        decay: f64,
        /// What is taken of the gradient.
        share: f64,
        /// How much of the weight counts as gradient.
        weight_decay: f64,
    },
    /// `t ← decay·t + (1 − decay)·(a + weight_decay·b)²`: a running average of squared gradients.
    AverageOfSquares {
        /// What is kept of the average.
        decay: f64,
        /// How much of the weight counts as gradient.
        weight_decay: f64,
    },
    /// `t ← keep·t − rate·a / (√b / root_bias + epsilon)`: Adam's step, with `a` the average gradient and `b` the average
    /// of its square.
    Adam {
        /// What is kept of the weight: below 1 for decoupled weight decay.
        keep: f64,
        /// Learning rate over the first moment's bias correction.
        rate: f64,
        /// Square root of the second moment's bias correction.
        root_bias: f64,
        /// Keeps the denominator from zero.
        epsilon: f64,
    },
    /// `t ← keep·t + x·a + y·b`: a step along two directions.
    Step {
        /// What is kept of the weight.
        keep: f64,
        /// How much of the first source is added.
        x: f64,
        /// How much of the second source is added.
        y: f64,
    },
}

/// A tensor to be updated in place, and the two of its shape that it is updated from.
#[derive(Clone, Copy)]
pub struct Updated<'a> {
    /// What is updated.
    pub target: &'a Tensor,
    /// The first source.
    pub a: &'a Tensor,
    /// The second source.
    pub b: &'a Tensor,
}

/// Updates `target` in place from two tensors of its shape.
///
/// # Errors
/// When the shapes differ or the device fails.
pub fn update(target: &Tensor, a: &Tensor, b: &Tensor, update: Update) -> Result<()> {
    update_all(&[Updated { target, a, b }], update)
}

/// Updates tensors of one type and device in place: on an accelerator many of them at once.
///
/// # Errors
/// When shapes differ or the device fails.
pub fn update_all(tensors: &[Updated<'_>], update: Update) -> Result<()> {
    for Updated { target, a, b } in tensors {
        if target.dims() != a.dims() || target.dims() != b.dims() {
            let message = format!("cannot update {:?} from {:?} and {:?}", target.dims(), a.dims(), b.dims());
            return Err(Error::new(message));
        }
    }
    if tensors.first().is_some_and(|first| !first.target.device().is_cpu()) {
        return Ok(device::update(tensors, update)?);
    }
    for Updated { target, a, b } in tensors {
        target.inplace_op3(&a.contiguous()?, &b.contiguous()?, &update)?;
    }
    Ok(())
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> candle_core::Result<()> {
        let Some((start, end)) = target_layout.contiguous_offsets() else { bail!("updates are made to dense tensors") };
        match target {
            CpuStorage::F32(target) => self.apply::<f32>(&mut target[start..end], slice(a, al)?, slice(b, bl)?),
            CpuStorage::F64(target) => self.apply::<f64>(&mut target[start..end], slice(a, al)?, slice(b, bl)?),
            other => bail!("expected f32 or f64, found {:?}", other.dtype()),
        }
        Ok(())
    }
}

impl Update {
    fn apply<T: Number>(self, target: &mut [T], a: &[T], b: &[T]) {
        let part = parallel::part(1);
        parallel::update(target, part, |at, target| self.part(target, &a[at..], &b[at..]));
    }

    fn part<T: Number>(self, target: &mut [T], a: &[T], b: &[T]) {
        let real = <T as crate::kernels::Real>::from_f64;
        let numbers = target.iter_mut().zip(a.iter().zip(b));
        match self {
            Self::Average { decay, share, weight_decay } => {
                let (decay, share, weight_decay) = (real(decay), real(share), real(weight_decay));
                numbers.for_each(|(t, (a, b))| *t = decay * *t + share * (*a + weight_decay * *b));
            }
            Self::AverageOfSquares { decay, weight_decay } => {
                let (share, decay, weight_decay) = (real(1.0 - decay), real(decay), real(weight_decay));
                numbers.for_each(|(t, (a, b))| {
                    let gradient = *a + weight_decay * *b;
                    *t = decay * *t + share * gradient * gradient;
                });
            }
            Self::Adam { keep, rate, root_bias, epsilon } => {
                let (keep, rate, inverse, epsilon) = (real(keep), real(rate), real(1.0 / root_bias), real(epsilon));
                numbers.for_each(|(t, (a, b))| *t = keep * *t - rate * *a / (b.root() * inverse + epsilon));
            }
            Self::Step { keep, x, y } => {
                let (keep, x, y) = (real(keep), real(x), real(y));
                numbers.for_each(|(t, (a, b))| *t = keep * *t + x * *a + y * *b);
            }
        }
    }
}

/// The L2 norm of all numbers of some tensors of one device, an `f64` scalar there: on an accelerator nothing waits for it.
///
/// # Errors
/// When there is no tensor, or the device fails.
pub fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    if tensors.first().is_some_and(|first| !first.device().is_cpu()) {
        return Ok(device::norm(tensors)?);
    }
    let mut sum = 0.0;
    for tensor in tensors {
        sum += sum_of_squares(tensor)?;
    }
    Ok(Tensor::new(sum.sqrt(), &Device::Cpu)?)
}

/// Tensors times `limit / (norm + 1e-6)` where that is below one, as PyTorch's `clip_grad_norm_` has it.
///
/// # Errors
/// When the device fails.
pub fn clipped(tensors: &[Tensor], norm: &Tensor, limit: f64) -> Result<Vec<Tensor>> {
    if !norm.device().is_cpu() {
        return Ok(device::clipped(tensors, norm, limit)?);
    }
    let factor = limit / (norm.to_scalar::<f64>()? + 1e-6);
    if factor >= 1.0 {
        return Ok(tensors.to_vec());
    }
    tensors.iter().map(|tensor| Ok(tensor.affine(factor, 0.0)?)).collect()
}

fn sum_of_squares(tensor: &Tensor) -> candle_core::Result<f64> {
    let tensor = tensor.contiguous()?;
    let data = Dense::of(&tensor);
    by_dtype!(tensor.dtype(), T => {
        let numbers = data.slice::<T>()?;
        let part = parallel::part(1);
        let sums = parallel::map(numbers.len().div_ceil(part).max(1), |index| {
            let numbers = &numbers[index * part..numbers.len().min((index + 1) * part)];
            numbers.iter().map(|x| crate::kernels::Real::to_f64(*x)).map(|x| x * x).sum::<f64>()
        });
        Ok(sums.into_iter().sum())
    })
}
