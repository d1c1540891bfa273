//! Attention maps (Zagoruyko & Komodakis, ICLR 2017), and how far two are apart.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::storage::Dense;
use crate::feature_map::Place;
use crate::kernels::{MapShape, Real, energy, parallel};
use crate::map::Map;
use crate::map::gradient::Gradient;
use crate::map::tape::{self, Node};
use crate::map::values::{Number, by_precision};
use crate::{Error, FeatureMap, Result};

/// Keeps the norm of a map without energy from zero, as PyTorch's `normalize` does.
pub(crate) const EPSILON: f64 = 1e-12;

/// Where a classifier looks: the mean over the channels of the squared activation, divided by its L2 norm over the map,
/// `[B, H·W]`.
///
/// # Errors
/// When the device fails.
pub fn attention_map(x: &FeatureMap) -> Result<Tensor> {
    let x = match &x.0 {
        Place::Host(x) => x,
        Place::Device(x) => return x.attention_map(),
    };
    let x = x.settled()?;
    Ok(by_precision!(x.precision(), T => {
        let energies = Energies::<T>::of(&x.input.map);
        let MapShape { batch, height, width, .. } = energies.map.shape;
        let mut maps = energies.energies.clone();
        energies.each(&mut maps, |norm, energies, map| {
            let scale = 1.0 / norm.max(EPSILON);
            let attention = energies.iter().map(|energy| narrow(wide(energy) * scale));
            map.iter_mut().zip(attention).for_each(|(map, attention)| *map = attention);
        });
        tape::tensor(&[&x.token], maps, (batch, height * width), AttentionMap(energies))?
    }))
}

/// The mean over batch and pixels of the squared difference between the attention map of `x` `[B, C, H, W]` and `target`
/// `[B, H·W]`, another's attention map: a scalar.
///
/// # Errors
/// When the shapes or types differ or the device fails.
pub fn attention_distance(x: &FeatureMap, target: &Tensor) -> Result<Tensor> {
    let x = match &x.0 {
        Place::Host(x) => x,
        Place::Device(x) => return x.attention_distance(target),
    };
    let x = x.settled()?;
    let MapShape { batch, height, width, .. } = x.input.map.shape;
    if target.dims() != [batch, height * width] || target.dtype() != x.dtype() {
        let message =
            format!("an attention map of {x:?} cannot be compared with {:?} of {:?}", target.dims(), target.dtype());
        return Err(Error::new(message));
    }
    let target = target.contiguous()?;
    Ok(by_precision!(x.precision(), T => {
        let energies = Energies::<T>::of(&x.input.map);
        let mut differences = Dense::of(&target).slice::<T>()?.to_vec();
        energies.each(&mut differences, |norm, energies, difference| {
            let scale = 1.0 / norm.max(EPSILON);
            for (difference, energy) in difference.iter_mut().zip(energies) {
                *difference = narrow(wide(energy) * scale - wide(difference));
            }
        });
        let squares: f64 = differences.iter().map(|difference| wide(difference) * wide(difference)).sum();
        let distance: Vec<T> = vec![narrow(squares / differences.len().max(1) as f64)];
        tape::tensor(&[&x.token, &target], distance, (), AttentionDistance { energies, differences })?
    }))
}

fn wide<T: Real>(number: &T) -> f64 {
    number.to_f64()
}

fn narrow<T: Real>(number: f64) -> T {
    T::from_f64(number)
}

/// The energies of a map, `[B, H·W]`: the mean over the channels of the squared activation.
struct Energies<T> {
    map: Arc<Map>,
    energies: Vec<T>,
}

impl<T: Number> Energies<T> {
    fn of(map: &Arc<Map>) -> Self {
        Self { map: Arc::clone(map), energies: energy::forward(&map.shape, T::of(map.values())) }
    }

    /// Calls `change` for each image, with the norm of its energies, these, and its part of `values`.
    fn each<V: Send>(&self, values: &mut [V], change: impl Fn(f64, &[T], &mut [V]) + Sync) {
        let pixels = (self.map.shape.height * self.map.shape.width).max(1);
        parallel::update(values, parallel::part(pixels), |at, values| {
            for (energies, values) in self.energies[at..].chunks_exact(pixels).zip(values.chunks_exact_mut(pixels)) {
                let squares: f64 = energies.iter().map(|energy| wide(energy) * wide(energy)).sum();
                change(squares.sqrt(), energies, values);
            }
        });
    }

    /// Leaves the gradient with the map, given that of the attention map: `gradients`, which it overwrites. With a = e / |e|:
    /// de = (g − a·⟨a, g⟩) / |e|, and with e the mean of x²: dx = 2 · x · de / channels.
    fn deposit(&self, mut gradients: Vec<f64>) {
        let twice = 2.0 / self.map.shape.channels.max(1) as f64;
        self.each(&mut gradients, |norm, energies, gradients| {
            let inverse = 1.0 / norm.max(EPSILON);
            let along = energies.iter().zip(&*gradients).map(|(e, g)| wide(e) * inverse * g).sum::<f64>();
            // Below epsilon the divisor is a constant.
            let along = if norm > EPSILON { along } else { 0.0 };
            for (energy, gradient) in energies.iter().zip(gradients) {
                *gradient = (*gradient - wide(energy) * inverse * along) * inverse * twice;
            }
        });
        self.map.slot.push(Gradient::Attention { x: Arc::clone(&self.map), factors: gradients.into() });
    }
}

struct AttentionMap<T>(Energies<T>);

impl<T: Number> Node for AttentionMap<T> {
    const NAME: &'static str = "attention map";

    fn backward(&self, inputs: &[&Tensor], gradient: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        self.0.deposit(gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?);
        Ok(vec![tape::passed(inputs[0])?])
    }
}

struct AttentionDistance<T> {
    energies: Energies<T>,
    differences: Vec<T>,
}

impl<T: Number> Node for AttentionDistance<T> {
    const NAME: &'static str = "attention distance";

    fn backward(&self, inputs: &[&Tensor], gradient: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let gradient = gradient.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let factor = 2.0 * gradient / self.differences.len().max(1) as f64;
        let of_map = || self.differences.iter().map(|difference| wide(difference) * factor);
        if inputs[0].track_op() {
            self.energies.deposit(of_map().collect());
        }
        let of_target =
            tape::gradient(inputs[1], || Ok(of_map().map(|gradient| narrow(-gradient)).collect::<Vec<T>>()))?;
        Ok(vec![tape::passed(inputs[0])?, of_target])
    }
}
