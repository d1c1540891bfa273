//! Updates, norms and clipping, one pass over memory each.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Result, Tensor, bail};

use crate::cpu::fusion::storage::Scalar;
use crate::cpu::simd::float::Float;
use crate::cpu::tensor_slice::{Dense, dispatch_dtype, slice};
use crate::cpu::threads;
use crate::update_rule::{AdamOperands, AdamStep, UpdateOperands, UpdateRule};

/// Updates tensors of one type in place.
///
/// # Errors
/// When a tensor that is updated is not dense.
pub fn update(tensors: &[UpdateOperands<'_>], update: UpdateRule) -> Result<()> {
    for UpdateOperands { target, a, b } in tensors {
        target.inplace_op3(&a.contiguous()?, &b.contiguous()?, &update)?;
    }
    Ok(())
}

/// Adam's step.
///
/// # Errors
/// When a tensor that is updated is not dense.
pub fn adam(tensors: &[AdamOperands<'_>], step: AdamStep) -> Result<()> {
    for tensor in tensors {
        for (operands, rule) in tensor.updates(step) {
            update(&[operands], rule)?;
        }
    }
    Ok(())
}

/// The L2 norm of all numbers of some tensors, an `f64` scalar.
///
/// # Errors
/// When one is neither `f32` nor `f64`.
pub fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    let mut sum = 0.0;
    for tensor in tensors {
        sum += sum_of_squares(tensor)?;
    }
    Tensor::new(sum.sqrt(), &Device::Cpu)
}

/// Tensors times `limit / (norm + 1e-6)` where that is below one.
///
/// # Errors
/// When there is no room.
pub fn clipped(tensors: &[Tensor], norm: &Tensor, limit: f64) -> Result<Vec<Tensor>> {
    let factor = limit / (norm.to_scalar::<f64>()? + 1e-6);
    if factor >= 1.0 {
        return Ok(tensors.to_vec());
    }
    tensors.iter().map(|tensor| tensor.affine(factor, 0.0)).collect()
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.contiguous()?;
    let data = Dense::of(&tensor);
    dispatch_dtype!(tensor.dtype(), T => {
        let numbers = data.slice::<T>()?;
        let part = threads::task_len(1);
        let sums = threads::map(numbers.len().div_ceil(part).max(1), |index| {
            let numbers = &numbers[index * part..numbers.len().min((index + 1) * part)];
            numbers.iter().map(|x| Float::to_f64(*x)).map(|x| x * x).sum::<f64>()
        });
        Ok(sums.into_iter().sum())
    })
}

impl InplaceOp3 for UpdateRule {
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
    ) -> Result<()> {
        let Some((start, end)) = target_layout.contiguous_offsets() else { bail!("updates are made to dense tensors") };
        match target {
            CpuStorage::F32(target) => self.apply::<f32>(&mut target[start..end], slice(a, al)?, slice(b, bl)?),
            CpuStorage::F64(target) => self.apply::<f64>(&mut target[start..end], slice(a, al)?, slice(b, bl)?),
            other => bail!("expected f32 or f64, found {:?}", other.dtype()),
        }
        Ok(())
    }
}

impl UpdateRule {
    fn apply<T: Scalar>(self, target: &mut [T], a: &[T], b: &[T]) {
        let part = threads::task_len(1);
        threads::update(target, part, |at, target| self.part(target, &a[at..], &b[at..]));
    }

    fn part<T: Scalar>(self, target: &mut [T], a: &[T], b: &[T]) {
        let real = <T as Float>::from_f64;
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
