//! Attention maps (Zagoruyko & Komodakis, ICLR 2017).

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::kernels::{MapShape, Real, energy};
use crate::map::Map;
use crate::map::gradient::Gradient;
use crate::map::tape::{self, Node};
use crate::map::values::{Number, by_precision};
use crate::{FeatureMap, Result};

/// Keeps the norm of a map without energy from zero, as PyTorch's `normalize` does.
const EPSILON: f64 = 1e-12;

/// Where a classifier looks: the mean over the channels of the squared activation, divided by its L2 norm over the map,
/// `[B, H·W]`.
///
/// # Errors
/// When the device fails.
pub fn attention_map(x: &FeatureMap) -> Result<Tensor> {
    let x = x.settled()?;
    let map = Arc::clone(&x.input.map);
    Ok(by_precision!(map.precision, T => {
        let energies = energy::forward(&map.shape, T::of(map.values()));
        let MapShape { batch, height, width, .. } = map.shape;
        let maps = normalized(energies.clone(), height * width);
        let node = AttentionMap { map, energies: energies.into_iter().map(T::to_f64).collect() };
        tape::tensor(&[&x.token], maps, (batch, height * width), node)?
    }))
}

fn norm(energies: impl Iterator<Item = f64>) -> f64 {
    energies.map(|energy| energy * energy).sum::<f64>().sqrt()
}

fn normalized<T: Real>(mut energies: Vec<T>, pixels: usize) -> Vec<T> {
    for map in energies.chunks_exact_mut(pixels.max(1)) {
        let scale = T::from_f64(1.0 / norm(map.iter().map(|energy| energy.to_f64())).max(EPSILON));
        map.iter_mut().for_each(|energy| *energy *= scale);
    }
    energies
}

struct AttentionMap {
    map: Arc<Map>,
    energies: Vec<f64>,
}

impl Node for AttentionMap {
    const NAME: &'static str = "attention map";

    fn backward(&self, inputs: &[&Tensor], gradient: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let gradient = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let factors = self.factors(&gradient).into();
        self.map.slot.push(Gradient::Attention { x: Arc::clone(&self.map), factors });
        Ok(vec![tape::passed(inputs[0])?])
    }
}

impl AttentionMap {
    /// What the activations of each pixel are multiplied by. With a = e / |e|: de = (g − a·⟨a, g⟩) / |e|, and with e the mean
    /// of x²: dx = 2 · x · de / channels.
    fn factors(&self, gradient: &[f64]) -> Vec<f64> {
        let MapShape { height, width, channels, .. } = self.map.shape;
        let pixels = (height * width).max(1);
        let mut factors = Vec::with_capacity(gradient.len());
        for (energies, gradient) in self.energies.chunks_exact(pixels).zip(gradient.chunks_exact(pixels)) {
            let norm = norm(energies.iter().copied());
            let inverse = 1.0 / norm.max(EPSILON);
            let along = energies.iter().zip(gradient).map(|(e, g)| e * inverse * g).sum::<f64>();
            // Below epsilon the divisor is a constant.
            let along = if norm > EPSILON { along } else { 0.0 };
            let of_energy = energies.iter().zip(gradient).map(|(e, g)| (g - e * inverse * along) * inverse);
            factors.extend(of_energy.map(|gradient| 2.0 * gradient / channels as f64));
        }
        factors
    }
}
