//! Random maps, and random batch norms in front of them.

use candle_core::{Device, Tensor};
use rand::Rng;

use crate::activation::Rectifier;
use crate::cuda::conv::Normalization;
use crate::precision::Precision;
use crate::random::{StreamRng, standard_normal};

pub const EPSILON: f64 = 1e-5;

pub const RELU: Rectifier = Rectifier { slope: 0.0, limit: f64::INFINITY };
pub const LEAKY: Rectifier = Rectifier { slope: 0.2, limit: f64::INFINITY };
pub const LIMITED: Rectifier = Rectifier { slope: 0.0, limit: 1.5 };

pub fn map(rng: &mut StreamRng, precision: Precision, dims: [usize; 4], scale: f64, shift: f64) -> Tensor {
    let numbers = standard_normal(rng, dims.iter().product());
    let numbers: Vec<f64> = numbers.into_iter().map(|x| x * scale + shift).collect();
    Tensor::from_vec(numbers, &dims[..], &Device::Cpu).unwrap().to_dtype(precision.storage_dtype()).unwrap()
}

pub fn channels(rng: &mut StreamRng, count: usize, scale: f64, shift: f64) -> Tensor {
    let numbers: Vec<f32> = standard_normal(rng, count).into_iter().map(|x| (x * scale + shift) as f32).collect();
    Tensor::from_vec(numbers, count, &Device::Cpu).unwrap()
}

pub fn normalization(rng: &mut StreamRng, count: usize, rectifier: Rectifier) -> Normalization {
    let variance = (0..count).map(|_| rng.random_range(0.25_f32..2.0)).collect::<Vec<_>>();
    Normalization {
        gamma: channels(rng, count, 0.3, 1.0),
        beta: channels(rng, count, 0.3, 0.0),
        mean: channels(rng, count, 0.5, 0.0),
        variance: Tensor::from_vec(variance, count, &Device::Cpu).unwrap(),
        epsilon: EPSILON,
        rectifier,
        unfinished: None,
    }
}
