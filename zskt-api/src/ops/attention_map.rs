//! Attention maps (Zagoruyko & Komodakis, ICLR 2017).

use candle_core::{Shape, Tensor};

use super::map::{MapOp, apply};
use super::storage::Element;
use crate::kernels::{MapShape, Real, energy};
use crate::{FeatureMap, Result};

/// Keeps the norm of a map without energy from zero, as PyTorch's `normalize` does.
const EPSILON: f64 = 1e-12;

/// Where a classifier looks: the mean over the channels of the squared activation, divided by its L2 norm over the map,
/// `[B, H·W]`.
///
/// # Errors
/// When the device fails.
pub fn attention_map(x: &FeatureMap) -> Result<Tensor> {
    apply(x, AttentionMap)
}

struct AttentionMap;

fn norm<T: Real>(map: &[T]) -> f64 {
    map.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>().sqrt()
}

/// Turns the energies e of one map into their gradient. With a = e / |e|: de = (g − a·⟨a, g⟩) / |e|.
fn differentiate<T: Real>(map: &mut [T], grad: &[T]) {
    let norm = norm(map);
    let inverse = 1.0 / norm.max(EPSILON);
    let along = map.iter().zip(grad).map(|(e, g)| e.to_f64() * inverse * g.to_f64()).sum::<f64>();
    // Below epsilon the divisor is a constant.
    let along = if norm > EPSILON { along } else { 0.0 };
    for (e, g) in map.iter_mut().zip(grad) {
        *e = T::from_f64((g.to_f64() - e.to_f64() * inverse * along) * inverse);
    }
}

impl MapOp for AttentionMap {
    const NAME: &'static str = "attention map";

    fn forward<T: Element>(&self, shape: &MapShape, x: &[T]) -> (Vec<T>, Shape) {
        let pixels = shape.height * shape.width;
        let mut maps = energy::forward(shape, x);
        for map in maps.chunks_exact_mut(pixels.max(1)) {
            let scale = <T as Real>::from_f64(1.0 / norm(map).max(EPSILON));
            map.iter_mut().for_each(|x| *x *= scale);
        }
        (maps, (shape.batch, pixels).into())
    }

    fn backward<T: Element>(&self, shape: &MapShape, x: &[T], grad: &[T]) -> Vec<T> {
        let pixels = shape.height * shape.width;
        let mut of_energy = energy::forward(shape, x);
        for (map, grad) in of_energy.chunks_exact_mut(pixels.max(1)).zip(grad.chunks_exact(pixels.max(1))) {
            differentiate(map, grad);
        }
        energy::backward(shape, x, &of_energy)
    }
}
