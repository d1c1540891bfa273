//! What kernels are compared with: sums in f64 over numbers that are rounded as kernels read them, and how far apart they may be.

use candle_core::{DType, Result, Tensor};
use half::bf16;

use crate::cuda::conv::{Normalization, Operand, ResultGradient};
use crate::shape::ConvGeometry;

/// Half a last place of f32.
pub const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// What a product of two numbers in f32 may be off, as parts of it. Rounded to bf16 a number leaves 2⁻⁸ of it at most, and that,
/// rounded, 2⁻¹⁶: as much is missing of either factor, and as much is the product of what both leave, which is not made.
pub const SPLIT: f64 = 3.02 / (1 << 16) as f64;

/// A weight as convolutions of maps of its type read it.
pub fn packed(weight: &Tensor) -> Result<Tensor> {
    if weight.dtype() == DType::BF16 {
        return Ok(weight.clone());
    }
    let high = weight.to_dtype(DType::BF16)?;
    let low = (weight - high.to_dtype(DType::F32)?)?.to_dtype(DType::BF16)?;
    Tensor::stack(&[high, low], 0)
}

/// As a number of a map is rounded.
pub fn rounded(x: f32, dtype: DType) -> f32 {
    if dtype == DType::BF16 { bf16::from_f32(x).to_f32() } else { x }
}

/// What sums of products may be off, whose absolute values have this sum: by their rounding, so often, and by that of their factors.
pub fn error_of_products(size: f64, roundings: f64, dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => size * ROUNDING * roundings,
        // Three products of parts for each.
        _ => size * (ROUNDING * 3.0 * roundings + SPLIT),
    }
}

pub fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Scale and shift of each channel, as kernels round them.
pub fn factors(normalization: &Normalization) -> Vec<(f32, f32)> {
    let Normalization { gamma, beta, mean, variance, epsilon, .. } = normalization;
    let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(floats);
    (0..gamma.len())
        .map(|c| {
            let scale = gamma[c] * (1.0 / (variance[c] + *epsilon as f32).sqrt());
            (scale, (-scale).mul_add(mean[c], beta[c]))
        })
        .collect()
}

/// An operand's numbers as they are multiplied.
pub fn read(operand: &Operand<'_>) -> Vec<f32> {
    let x = floats(operand.values);
    let Some(normalization) = operand.normalization else { return x };
    let (factors, rectifier) = (factors(normalization), normalization.rectifier);
    let at = |(i, x): (usize, f32)| {
        let (scale, shift) = factors[i % factors.len()];
        let y = scale.mul_add(x, shift);
        let y = if y > 0.0 { y } else { rectifier.slope as f32 * y };
        let y = if y > rectifier.limit as f32 { rectifier.limit as f32 } else { y };
        rounded(y, operand.values.dtype())
    };
    x.into_iter().enumerate().map(at).collect()
}

pub fn read_gradient(gradient: &ResultGradient<'_>) -> Vec<f32> {
    match gradient {
        ResultGradient::Dense(gradient) => floats(gradient),
        ResultGradient::Normalized { behind, x, coefficients, plus, .. } => {
            let [behind, x] = [behind, x].map(|map| floats(map));
            let [a, b, c] = coefficients.each_ref().map(floats);
            let plus = plus.map(floats);
            let at = |i: usize| {
                let channel = i % a.len();
                let of_x = b[channel].mul_add(x[i], c[channel]);
                let sum = a[channel].mul_add(behind[i], of_x) + plus.as_ref().map_or(0.0, |plus| plus[i]);
                rounded(sum, gradient.dtype())
            };
            (0..x.len()).map(at).collect()
        }
    }
}

/// Each pixel of the result, tap and pixel of the map that meet.
pub fn each(geometry: &ConvGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let ConvGeometry { batch, height, width, upsampling, kernel, stride, padding, .. } = *geometry;
    let (rows, columns) = (geometry.out_height(), geometry.out_width());
    for pixel in 0..batch * rows * columns {
        let (image, row, column) = (pixel / columns / rows, pixel / columns % rows, pixel % columns);
        for tap in 0..kernel * kernel {
            let (y, x) = (row * stride + tap / kernel, column * stride + tap % kernel);
            if (padding..height * upsampling + padding).contains(&y)
                && (padding..width * upsampling + padding).contains(&x)
            {
                let (y, x) = ((y - padding) / upsampling, (x - padding) / upsampling);
                visit(pixel, tap, (image * height + y) * width + x);
            }
        }
    }
}

/// A number within `error` of what is wanted, rounded as a map's.
pub fn assert_rounded(what: &str, at: usize, found: f32, wanted: f64, error: f64, dtype: DType) {
    let (most, bits) = (wanted.abs() + error, if dtype == DType::BF16 { 8 } else { 24 });
    let half = if most > 0.0 { 2.0_f64.powi(most.log2().floor() as i32 - bits) } else { 0.0 };
    assert_close(what, at, found, wanted, half + error);
}

pub fn assert_close(what: &str, at: usize, found: f32, wanted: f64, bound: f64) {
    let off = (f64::from(found) - wanted).abs();
    assert!(off <= bound + 1e-37, "{what}, {at}: {found} and not {wanted}, by {off:e} of {bound:e}");
}
