//! Convolutions by kernels of our own on tensor cores, in bf16: batch norm and its rectifier are applied while a map is loaded, sums for
//! batch norms are made where results are written.

use candle_core::{DType, Result, Tensor};

use crate::cuda::conv::tensor_cores::kernel::{EpilogueKind, Kernel, OperandKind, TOTALLED, TOTALS};
use crate::cuda::conv::tensor_cores::launch::launch;
use crate::cuda::conv::tensor_cores::plan::{ConvolutionPlan, Direction, WeightPlan};
use crate::cuda::conv::{Moments, Normalization, Operand, ResultGradient, Towards, WeightParts};
use crate::cuda::launch::Argument::{self, Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::empty;
use crate::cuda::ticket::{limbs, tickets};
use crate::precision::Precision;
use crate::shape::ConvGeometry;
use crate::statistics::bessel_correction;

#[cfg(any(test, feature = "cuda"))]
mod cubin_cache;
#[cfg(test)]
mod emulation;
#[cfg(feature = "cuda")]
mod gpu;
mod kernel;
mod launch;
mod layer;
mod plan;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod tests;

/// Whether there are kernels for a convolution and both its gradients.
pub fn covers(geometry: &ConvGeometry, precision: Precision) -> bool {
    precision == Precision::Bf16
        && ConvolutionPlan::of(Direction::Forward, geometry).is_some()
        && ConvolutionPlan::of(Direction::Data, geometry).is_some()
        && WeightPlan::of(geometry, true).is_some()
}

/// Whether a device has what they are made of.
pub fn are_supported(device: &candle_core::Device) -> bool {
    match device {
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(device) => gpu::is_supported(device),
        _ => cfg!(test),
    }
}

/// Convolves a map with a packed weight `[O, K, K, I]`, and adds a bias `[O]` and another map.
///
/// # Errors
/// When the geometry is not covered, or the device fails.
pub fn forward(
    geometry: &ConvGeometry,
    input: Operand<'_>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    moments: Option<&Moments<'_>>,
) -> Result<Tensor> {
    let device = weight.device();
    let plan = covered(ConvolutionPlan::of(Direction::Forward, geometry), geometry)?;
    let [batch, height, width] = [geometry.batch, geometry.out_height(), geometry.out_width()];
    let y = empty((batch, height, width, geometry.out_channels), DType::BF16, device)?;
    let (operand, mut arguments) = of_operand(&input);
    arguments.push(Of(weight));
    arguments.extend([geometry.batch, geometry.height, geometry.width, batch, height, width].map(Count));
    let sums = sums(device, moments.is_some())?;
    arguments.extend([bias.into(), residual.into(), Of(&y)]);
    arguments.extend(sums.each_ref().map(|zeros| Argument::from(zeros.as_ref())));
    let running = moments.and_then(|moments| moments.running).map(|(running, momentum)| {
        ([running.mean, running.variance, running.batches].map(|var| var.detach()), momentum)
    });
    arguments.extend(moments.map_or([Nothing; 2], |moments| [Of(moments.mean), Of(moments.variance)]));
    match &running {
        Some((running, momentum)) => {
            arguments.extend(running.each_ref().map(Of));
            arguments.extend([*momentum, bessel_correction(batch * height * width)].map(Real));
        }
        None => arguments.extend([Nothing, Nothing, Nothing, Real(0.0), Real(0.0)]),
    }
    let epilogue = EpilogueKind::Result { moments: moments.is_some() };
    launch(device, &Kernel::Convolution { plan, operand, epilogue }, plan.grid(geometry), &arguments)?;
    Ok(y)
}

/// The gradient with respect to what a convolution reads.
///
/// # Errors
/// When the geometry is not covered, or the device fails.
pub fn data_gradient(
    geometry: &ConvGeometry,
    gradient: ResultGradient<'_>,
    weight: &Tensor,
    towards: &Towards<'_>,
) -> Result<Tensor> {
    let device = weight.device();
    let plan = covered(ConvolutionPlan::of(Direction::Data, geometry), geometry)?;
    let [batch, height, width] = [geometry.batch, geometry.height, geometry.width];
    let result = empty((batch, height, width, geometry.in_channels), DType::BF16, device)?;
    let (operand, mut arguments) = of_gradient(&gradient);
    arguments.push(Of(weight));
    arguments.extend([batch, geometry.out_height(), geometry.out_width(), batch, height, width].map(Count));
    let summed = matches!(towards, Towards::BatchNorm { .. });
    let zeros = sums(device, summed)?;
    let (epilogue, [early, x, late], normalization, sums) = match towards {
        Towards::Operand { plus } => (EpilogueKind::Gradient, [(*plus).into(), Nothing, Nothing], None, None),
        Towards::BatchNorm { x, normalization, plus, sums } => {
            (EpilogueKind::BatchNorm, [(*plus).into(), Of(x), Nothing], Some(*normalization), Some(*sums))
        }
        Towards::FixedNorm { x, normalization, plus, behind } => {
            (EpilogueKind::FixedNorm, [(*plus).into(), Of(x), (*behind).into()], Some(*normalization), None)
        }
    };
    arguments.extend([early, x, late]);
    arguments.extend(normalization.map_or([Nothing, Nothing, Nothing, Nothing, Real(0.0), Real(0.0), Real(0.0)], norm));
    arguments.push(Of(&result));
    arguments.extend(zeros.each_ref().map(|zeros| Argument::from(zeros.as_ref())));
    arguments.extend(sums.map_or([Nothing; 5], |sums| {
        let [a, b, c] = &sums.coefficients;
        [&sums.of_gamma, &sums.of_beta, a, b, c].map(Of)
    }));
    launch(device, &Kernel::Convolution { plan, operand, epilogue }, plan.grid(geometry), &arguments)?;
    Ok(result)
}

/// The gradient of a weight, in parts.
///
/// # Errors
/// When the geometry is not covered, or the device fails.
pub fn weight_gradient(
    geometry: &ConvGeometry,
    input: Operand<'_>,
    gradient: ResultGradient<'_>,
) -> Result<WeightParts> {
    let device = input.values.device();
    let (input, mut arguments) = of_operand(&input);
    let (gradient, of_gradient) = of_gradient(&gradient);
    arguments.extend(of_gradient);
    let plan = covered(WeightPlan::of(geometry, gradient == OperandKind::NormGradient), geometry)?;
    let grid = plan.grid(geometry);
    let ConvGeometry { batch, height, width, kernel: side, in_channels, out_channels, .. } = *geometry;
    let parts = empty(vec![grid[0], out_channels, side, side, in_channels], DType::F32, device)?;
    arguments.push(Of(&parts));
    arguments.extend([batch, height, width, batch, geometry.out_height(), geometry.out_width()].map(Count));
    launch(device, &Kernel::WeightGradient { plan, input, gradient }, grid, &arguments)?;
    Ok(WeightParts(parts))
}

/// Adds up the parts of many weights' gradients, each to `[O, I, K, K]`.
///
/// # Errors
/// When the device fails.
pub fn add_up(totals: &[(WeightParts, Tensor)]) -> Result<()> {
    for totals in totals.chunks(TOTALS) {
        let (mut arguments, mut blocks) = (Vec::new(), 0);
        for (WeightParts(parts), total) in totals {
            let dims = parts.dims();
            let [parts_count, outputs, taps, inputs] = [dims[0], dims[1], dims[2] * dims[3], dims[4]];
            arguments.extend([Of(parts), Of(total)]);
            // The last is nothing but the end of the struct.
            arguments.extend([parts_count, outputs, taps, inputs, blocks, 0].map(Count));
            blocks += (outputs * taps * inputs).div_ceil(TOTALLED);
        }
        for _ in totals.len()..TOTALS {
            arguments.extend([Nothing; 5]);
        }
        arguments.push(Count(totals.len()));
        arguments.push(Count(0));
        launch(totals[0].1.device(), &Kernel::AddUp, [blocks, 1], &arguments)?;
    }
    Ok(())
}

fn covered<P>(plan: Option<P>, geometry: &ConvGeometry) -> Result<P> {
    plan.ok_or_else(|| candle_core::Error::Msg(format!("no kernels on tensor cores cover {geometry:?}")))
}

/// Where blocks add up their sums, and the tickets by which the last of them is known.
fn sums(device: &candle_core::Device, wanted: bool) -> Result<[Option<Tensor>; 2]> {
    if !wanted {
        return Ok([None, None]);
    }
    Ok([Some(limbs(device)?), Some(tickets(device)?)])
}

/// `Norm` in the kernels.
fn norm(normalization: &Normalization) -> [Argument<'_>; 7] {
    let Normalization { gamma, beta, mean, variance, epsilon, rectifier } = normalization;
    let scalars = [*epsilon, rectifier.slope, rectifier.limit].map(Real);
    [Of(gamma), Of(beta), Of(mean), Of(variance), scalars[0], scalars[1], scalars[2]]
}

/// The kind of an operand and its `Arguments` in the kernels.
fn of_operand<'a>(operand: &Operand<'a>) -> (OperandKind, Vec<Argument<'a>>) {
    let mut arguments = vec![Of(operand.values)];
    match operand.normalization {
        None => (OperandKind::Plain, arguments),
        Some(normalization) => {
            arguments.extend(norm(normalization));
            (OperandKind::Normalized, arguments)
        }
    }
}

/// The same of a gradient.
fn of_gradient<'a>(gradient: &ResultGradient<'a>) -> (OperandKind, Vec<Argument<'a>>) {
    match *gradient {
        ResultGradient::Dense(gradient) => (OperandKind::Plain, vec![Of(gradient)]),
        ResultGradient::Normalized { behind, x, coefficients: [a, b, c], plus, kept } => {
            (OperandKind::NormGradient, vec![Of(behind), Of(x), plus.into(), Of(a), Of(b), Of(c), kept.into()])
        }
    }
}
