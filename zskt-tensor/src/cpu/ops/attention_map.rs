//! Attention maps, and how far two are apart.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::autograd::{self, TensorInput};
use crate::backend::ATTENTION_EPSILON;
use crate::cpu::fusion::gradient::GradientPart;
use crate::cpu::fusion::storage::{Scalar, dispatch_precision};
use crate::cpu::kernels::attention_map as kernel;
use crate::cpu::map::CpuMap;
use crate::cpu::simd::float::Float;
use crate::cpu::tensor_slice::Dense;
use crate::cpu::threads;
use crate::shape::MapShape;

/// The mean over the channels of the squared activation, divided by its L2 norm over the map, `[B, H·W]`.
///
/// # Errors
/// When there is no room.
pub fn attention_map(x: &CpuMap) -> Result<Tensor> {
    let x = x.materialized()?;
    dispatch_precision!(x.precision(), T => {
        let MapShape { batch, height, width, .. } = x.shape();
        let energies = Energies::<T>::of(x.clone());
        let mut maps = energies.energies.clone();
        energies.each(&mut maps, |norm, energies, map| {
            let scale = 1.0 / norm.max(ATTENTION_EPSILON);
            let attention = energies.iter().map(|energy| narrow(wide(energy) * scale));
            map.iter_mut().zip(attention).for_each(|(map, attention)| *map = attention);
        });
        let maps = Tensor::from_vec(maps, (batch, height * width), &Device::Cpu)?;
        autograd::to_tensor(x.entry(), &[], maps, move |gradient| {
            energies.accumulate(gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?);
            Ok(())
        })
    })
}

/// `factor` times the sum of the distances of maps from targets, `[B, H·W]`.
///
/// # Errors
/// When there are no maps, or there is no room.
pub fn attention_distances(pairs: &[(&CpuMap, &Tensor)], factor: f64) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (x, target) in pairs {
        let distance = attention_distance(x, target)?;
        sum = Some(match sum {
            None => distance,
            Some(sum) => (sum + distance)?,
        });
    }
    match sum {
        Some(sum) if factor == 1.0 => Ok(sum),
        Some(sum) => sum * factor,
        None => bail!("a distance of no maps"),
    }
}

/// The mean over batch and pixels of the squared difference between the attention map of `x` and `target` `[B, H·W]`.
fn attention_distance(x: &CpuMap, target: &Tensor) -> Result<Tensor> {
    let target_input = TensorInput::of(target)?;
    let (x, target) = (x.materialized()?, target.contiguous()?);
    dispatch_precision!(x.precision(), T => {
        let energies = Energies::<T>::of(x.clone());
        let mut differences = Dense::of(&target).slice::<T>()?.to_vec();
        energies.each(&mut differences, |norm, energies, difference| {
            let scale = 1.0 / norm.max(ATTENTION_EPSILON);
            for (difference, energy) in difference.iter_mut().zip(energies) {
                *difference = narrow(wide(energy) * scale - wide(difference));
            }
        });
        let count = differences.len().max(1) as f64;
        let squares: f64 = differences.iter().map(|difference| wide(difference) * wide(difference)).sum();
        let distance = Tensor::new(narrow::<T>(squares / count), &Device::Cpu)?;
        let (tracked, shape) = (x.is_tracked(), target.shape().clone());
        let tensors = [target_input.clone()];
        autograd::to_tensor(x.entry(), &tensors.each_ref(), distance, move |gradient| {
            let factor = 2.0 * gradient.to_dtype(DType::F64)?.to_scalar::<f64>()? / count;
            if tracked {
                energies.accumulate(differences.iter().map(|difference| wide(difference) * factor).collect());
            }
            target_input.accumulate(|| {
                let of_target = differences.iter().map(|difference| narrow(-wide(difference) * factor));
                Tensor::from_vec(of_target.collect::<Vec<T>>(), &shape, &Device::Cpu)
            })
        })
    })
}

fn wide<T: Float>(number: &T) -> f64 {
    number.to_f64()
}

fn narrow<T: Float>(number: f64) -> T {
    T::from_f64(number)
}

/// The energies of a map, `[B, H·W]`: the mean over the channels of the squared activation.
struct Energies<T> {
    x: CpuMap,
    energies: Vec<T>,
}

impl<T: Scalar> Energies<T> {
    fn of(x: CpuMap) -> Self {
        let map = &x.input.map;
        let energies = kernel::forward(&map.shape, T::of(map.values()));
        Self { x, energies }
    }

    /// Calls `change` for each image, with the norm of its energies, these, and its part of `values`.
    fn each<V: Send>(&self, values: &mut [V], change: impl Fn(f64, &[T], &mut [V]) + Sync) {
        let pixels = (self.x.input.map.shape.height * self.x.input.map.shape.width).max(1);
        threads::update(values, threads::task_len(pixels), |at, values| {
            for (energies, values) in self.energies[at..].chunks_exact(pixels).zip(values.chunks_exact_mut(pixels)) {
                let squares: f64 = energies.iter().map(|energy| wide(energy) * wide(energy)).sum();
                change(squares.sqrt(), energies, values);
            }
        });
    }

    /// Leaves the gradient with the map, given that of the attention map: `gradients`, which it overwrites. With a = e / |e|:
    /// de = (g − a·⟨a, g⟩) / |e|, and with e the mean of x²: dx = 2 · x · de / channels.
    fn accumulate(&self, mut gradients: Vec<f64>) {
        let twice = 2.0 / self.x.input.map.shape.channels.max(1) as f64;
        self.each(&mut gradients, |norm, energies, gradients| {
            let inverse = 1.0 / norm.max(ATTENTION_EPSILON);
            let along = energies.iter().zip(&*gradients).map(|(e, g)| wide(e) * inverse * g).sum::<f64>();
            // Below epsilon the divisor is a constant.
            let along = if norm > ATTENTION_EPSILON { along } else { 0.0 };
            for (energy, gradient) in energies.iter().zip(gradients) {
                *gradient = (*gradient - wide(energy) * inverse * along) * inverse * twice;
            }
        });
        let map = &self.x.input.map;
        map.gradient.push(GradientPart::Attention { x: Arc::clone(map), factors: gradients.into() });
        self.x.schedule();
    }
}
