//! What convolutions give by cuDNN, in f32 of the same rounded numbers: what those of our own are compared with on a GPU.

use candle_core::{DType, Result, Tensor};

use crate::cuda::conv::{Normalization, ResultGradient};
use crate::cuda::convolution::{Convolution, Direction};
use crate::cuda::cudnn;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// By cuDNN, which reads maps that are as large as they are read.
pub fn convolve(
    geometry: &ConvGeometry,
    direction: Direction,
    precision: Precision,
    [a, b]: [&Tensor; 2],
) -> Result<Tensor> {
    let ConvGeometry { upsampling, height, width, .. } = *geometry;
    let (height, width) = (height * upsampling, width * upsampling);
    let geometry = ConvGeometry { upsampling: 1, height, width, ..*geometry };
    cudnn::convolve(&Convolution { geometry, direction, precision }, a, b)
}

/// In f32, of a map as it is stored.
pub fn exactly(geometry: &ConvGeometry, direction: Direction, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
    let convolve = |a: &Tensor, b: &Tensor| {
        convolve(geometry, direction, Precision::F32, [&a.to_dtype(DType::F32)?, &b.to_dtype(DType::F32)?])
    };
    match direction {
        Direction::Input => reduce(&convolve(a, b)?, geometry.upsampling),
        Direction::Forward | Direction::Weight => convolve(&enlarge(a, geometry.upsampling)?, b),
    }
}

/// Every row and column repeated.
pub fn enlarge(map: &Tensor, factor: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = map.dims4()?;
    let repeated = (batch, height, factor, width, factor, channels);
    let repeated = map.reshape((batch, height, 1, width, 1, channels))?.broadcast_as(repeated)?;
    repeated.contiguous()?.reshape((batch, height * factor, width * factor, channels))
}

/// Sums over what was repeated.
fn reduce(map: &Tensor, factor: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = map.dims4()?;
    map.reshape((batch, height / factor, factor, width / factor, factor, channels))?.sum((2, 4))
}

/// 1/√(variance + epsilon) of each channel.
pub fn inverse_deviation(normalization: &Normalization) -> Result<Tensor> {
    (&normalization.variance + normalization.epsilon)?.sqrt()?.recip()
}

/// A map as ReLU behind a batch norm gives it, in f32 and not rounded.
pub fn normalize(values: &Tensor, normalization: &Normalization) -> Result<Tensor> {
    let centred = values.to_dtype(DType::F32)?.broadcast_sub(&normalization.mean)?;
    let scale = (inverse_deviation(normalization)? * &normalization.gamma)?;
    centred.broadcast_mul(&scale)?.broadcast_add(&normalization.beta)?.relu()
}

/// The gradient of a convolution's result, rounded.
pub fn gradient(gradient: &ResultGradient<'_>) -> Result<Tensor> {
    match gradient {
        ResultGradient::Dense(gradient) => Ok((*gradient).clone()),
        ResultGradient::Normalized { behind, x, coefficients: [a, b, c], plus, .. } => {
            let [behind, x] = [behind, x].map(|map| map.to_dtype(DType::F32));
            let sum = (behind?.broadcast_mul(a)? + x?.broadcast_mul(b)?)?.broadcast_add(c)?;
            let sum = match plus {
                None => sum,
                Some(plus) => (sum + plus.to_dtype(DType::F32)?)?,
            };
            sum.to_dtype(DType::BF16)
        }
    }
}

/// How far a tensor is from what is expected: 1 is this part of each number and that part of the largest.
pub fn error(found: &Tensor, expected: &Tensor, of_each: f64, of_largest: f64) -> Result<f32> {
    let expected = expected.to_dtype(DType::F32)?;
    let largest = expected.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    let bound = ((expected.abs()? * of_each)? + f64::from(largest) * of_largest)?;
    let errors = ((found.to_dtype(DType::F32)? - &expected)?.abs()? / bound)?.flatten_all()?;
    // NaN is the largest of all.
    Ok(errors.to_vec1::<f32>()?.into_iter().fold(0.0, |most, error| if error <= most { most } else { error }))
}
