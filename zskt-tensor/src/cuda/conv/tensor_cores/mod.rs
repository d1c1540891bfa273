//! Convolutions by kernels of our own on tensor cores, of maps in bf16 or f32: batch norm and its rectifier are applied while a map is
//! loaded, sums for batch norms are made where results are written.

use candle_core::{DType, Result, Tensor};

use crate::cuda::conv::tensor_cores::kernel::{EpilogueKind, Kernel, OperandKind, RectifierKind, TOTALLED, TOTALS};
use crate::cuda::conv::tensor_cores::launch::{compile_ahead, launch};
use crate::cuda::conv::tensor_cores::layer::Numbers;
use crate::cuda::conv::tensor_cores::likely::{Use, likely_after};
use crate::cuda::conv::tensor_cores::plan::{ConvolutionPlan, Direction, WeightPlan};
use crate::cuda::conv::{Normalization, Operand, ResultGradient, Towards, WeightParts};
use crate::cuda::exact_sums::{GradientSums, MomentSums, UnfinishedMoments, stride_of_channels};
use crate::cuda::launch::Argument::{self, Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::empty;
use crate::cuda::packed_weights::Packing;
use crate::precision::Precision;
use crate::shape::ConvGeometry;
use crate::statistics::bessel_correction;

#[cfg(test)]
pub mod emulation;
#[cfg(feature = "cuda")]
mod gpu;
mod kernel;
mod launch;
mod layer;
mod likely;
mod plan;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod tests;

/// Whether there are kernels for some convolutions of maps in this precision.
pub fn are_made_for(precision: Precision) -> bool {
    Numbers::of(precision).is_some()
}

/// Whether there are kernels for a convolution and both its gradients.
pub fn covers(geometry: &ConvGeometry, precision: Precision) -> bool {
    Numbers::of(precision).is_some_and(|numbers| {
        ConvolutionPlan::of(Direction::Forward, geometry, numbers).is_some()
            && ConvolutionPlan::of(Direction::Data, geometry, numbers).is_some()
            && WeightPlan::of(geometry, numbers, true).is_some()
    })
}

/// Whether a device has what they are made of.
///
/// # Errors
/// When a GPU does not say.
pub fn are_supported(device: &candle_core::Device) -> Result<bool> {
    match device {
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(device) => gpu::is_supported(device),
        _ => Ok(cfg!(test)),
    }
}

/// How weights are packed beside maps in this precision, for which there are kernels.
pub fn packing(precision: Precision) -> Packing {
    match Numbers::of(precision).map(Numbers::planes) {
        Some(2) => Packing::Split,
        _ => Packing::Whole(precision.storage_dtype()),
    }
}

/// Convolves a map with a weight, packed as [`packing`] says, and adds a bias `[O]` and another map.
///
/// # Errors
/// When the geometry is not covered, or the device fails.
pub fn forward(
    geometry: &ConvGeometry,
    input: Operand<'_>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    moments: Option<&UnfinishedMoments>,
) -> Result<Tensor> {
    let (device, numbers) = (weight.device(), Numbers::of_maps(input.values.dtype())?);
    let plan = covered(ConvolutionPlan::of(Direction::Forward, geometry, numbers), geometry)?;
    let [batch, height, width] = [geometry.batch, geometry.out_height(), geometry.out_width()];
    let y = empty((batch, height, width, geometry.out_channels), numbers.dtype(), device)?;
    let epilogue = EpilogueKind::Result { moments: moments.is_some() };
    let learns = input.normalization.is_some_and(|normalization| normalization.unfinished.is_some());
    let used = match moments {
        Some(_) => Use::BatchNorm,
        None if learns => Use::Other,
        None => Use::Evaluation,
    };
    read_operand(&input, |operand, mut arguments| {
        arguments.push(Of(weight));
        arguments.extend([geometry.batch, geometry.height, geometry.width, batch, height, width].map(Count));
        let limbs = moments.map(|moments| &moments.sums.limbs);
        arguments.extend([bias.into(), residual.into(), Of(&y), limbs.into()]);
        let kernel = Kernel::Convolution { plan, operand, epilogue };
        compile_ahead(device, &kernel, || likely_after(geometry, numbers, operand, used))?;
        launch(device, &kernel, plan.grid(geometry), &arguments)
    })?;
    if let Some(moments) = moments {
        moments.leave();
    }
    Ok(y)
}

/// The gradient with respect to what a convolution reads, with a packed weight.
///
/// # Errors
/// When the geometry is not covered, or the device fails.
pub fn data_gradient(
    geometry: &ConvGeometry,
    gradient: ResultGradient<'_>,
    weight: &Tensor,
    towards: &Towards<'_>,
) -> Result<Tensor> {
    let (device, numbers) = (weight.device(), Numbers::of_maps(gradient.dtype())?);
    let plan = covered(ConvolutionPlan::of(Direction::Data, geometry, numbers), geometry)?;
    let [batch, height, width] = [geometry.batch, geometry.height, geometry.width];
    let result = empty((batch, height, width, geometry.in_channels), numbers.dtype(), device)?;
    let (epilogue, [early, x, late], normalization, sums) = match towards {
        Towards::Operand { plus } => (EpilogueKind::Gradient, [(*plus).into(), Nothing, Nothing], None, None),
        Towards::BatchNorm { x, normalization, plus, sums } => {
            let epilogue = EpilogueKind::BatchNorm(RectifierKind::of(normalization.rectifier));
            (epilogue, [(*plus).into(), Of(x), Nothing], Some(*normalization), Some(*sums))
        }
        Towards::FixedNorm { x, normalization, plus, behind } => {
            let epilogue = EpilogueKind::FixedNorm(RectifierKind::of(normalization.rectifier));
            (epilogue, [(*plus).into(), Of(x), (*behind).into()], Some(*normalization), None)
        }
    };
    normalization.map_or(Ok(()), Normalization::finish)?;
    read_gradient(&gradient, |operand, mut arguments| {
        arguments.push(Of(weight));
        arguments.extend([batch, geometry.out_height(), geometry.out_width(), batch, height, width].map(Count));
        arguments.extend([early, x, late]);
        arguments
            .extend(normalization.map_or([Nothing, Nothing, Nothing, Nothing, Real(0.0), Real(0.0), Real(0.0)], norm));
        arguments.extend([Of(&result), sums.map(|sums| &sums.sums.limbs).into()]);
        launch(device, &Kernel::Convolution { plan, operand, epilogue }, plan.grid(geometry), &arguments)
    })?;
    if let Some(sums) = sums {
        sums.leave();
    }
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
    let (device, numbers) = (input.values.device(), Numbers::of_maps(input.values.dtype())?);
    input.normalization.map_or(Ok(()), Normalization::finish)?;
    if let ResultGradient::Normalized { unfinished: Some(unfinished), .. } = gradient {
        unfinished.finish()?;
    }
    let (input, mut arguments) = of_operand(&input, None);
    let (gradient, of_gradient) = of_gradient(&gradient, None);
    arguments.extend(of_gradient);
    let plan = covered(WeightPlan::of(geometry, numbers, gradient == OperandKind::NormGradient), geometry)?;
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

/// Finishes moments by a kernel of its own.
///
/// # Errors
/// When the device fails.
pub fn finish_moments(sums: &MomentSums) -> Result<()> {
    let channels = sums.mean.elem_count();
    let arguments = [moments(Some(sums)).to_vec(), channels_of_limbs(channels).to_vec()].concat();
    launch(sums.mean.device(), &Kernel::FinishMoments, [1, 1], &arguments)
}

/// Finishes what a batch norm's gradients are made of by a kernel of its own.
///
/// # Errors
/// When the device fails.
pub fn finish_gradients(sums: &GradientSums) -> Result<()> {
    let channels = sums.of_gamma.elem_count();
    let arguments = [gradient_sums(&sums.coefficients, Some(sums)).to_vec(), channels_of_limbs(channels).to_vec()];
    launch(sums.of_gamma.device(), &Kernel::FinishGradients, [1, 1], &arguments.concat())
}

fn channels_of_limbs(channels: usize) -> [Argument<'static>; 2] {
    [channels, stride_of_channels(channels)].map(Count)
}

/// `Norm` in the kernels.
fn norm(normalization: &Normalization) -> [Argument<'_>; 7] {
    let Normalization { gamma, beta, mean, variance, epsilon, rectifier, .. } = normalization;
    let scalars = [*epsilon, rectifier.slope, rectifier.limit].map(Real);
    [Of(gamma), Of(beta), Of(mean), Of(variance), scalars[0], scalars[1], scalars[2]]
}

/// `Moments` in the kernels, and whatever is behind it aligned.
fn moments(sums: Option<&MomentSums>) -> [Argument<'_>; 10] {
    let Some(MomentSums { limbs, mean, variance, running, pixels }) = sums else {
        let [none, zero] = [Nothing, Real(0.0)];
        return [none, none, none, none, none, none, zero, zero, Count(0), Count(0)];
    };
    let [running_mean, running_variance, batches] = match running {
        Some((running, _)) => running.each_ref().map(Of),
        None => [Nothing; 3],
    };
    let momentum = Real(running.as_ref().map_or(0.0, |(_, momentum)| *momentum));
    let [pixels, unbiased] = [Count(*pixels), Real(bessel_correction(*pixels))];
    let [limbs, mean, variance] = [limbs, mean, variance].map(Of);
    [limbs, mean, variance, running_mean, running_variance, batches, momentum, unbiased, pixels, Count(0)]
}

/// `GradientSums` in the kernels.
fn gradient_sums<'a>(coefficients: &'a [Tensor; 3], sums: Option<&'a GradientSums>) -> [Argument<'a>; 11] {
    let [a, b, c] = coefficients.each_ref().map(Of);
    match sums {
        None => [Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, a, b, c, Real(0.0), Count(0)],
        Some(sums) => {
            let [gamma, mean, variance] = sums.norm.each_ref().map(Of);
            let [limbs, of_gamma, of_beta] = [&sums.limbs, &sums.of_gamma, &sums.of_beta].map(Of);
            [limbs, gamma, mean, variance, of_gamma, of_beta, a, b, c, Real(sums.epsilon), Count(sums.pixels)]
        }
    }
}

/// Launches a kernel that reads an operand, of such a kind and with these arguments, and finishes its statistics if nobody has.
fn read_operand<'a>(
    operand: &Operand<'a>,
    launch: impl FnOnce(OperandKind, Vec<Argument<'a>>) -> Result<()>,
) -> Result<()> {
    let launch = |unfinished| {
        let (kind, arguments) = of_operand(operand, unfinished);
        launch(kind, arguments)
    };
    match operand.normalization.and_then(|normalization| normalization.unfinished.as_deref()) {
        Some(unfinished) => unfinished.read(launch),
        None => launch(None),
    }
}

/// The same of a gradient.
fn read_gradient<'a>(
    gradient: &ResultGradient<'a>,
    launch: impl FnOnce(OperandKind, Vec<Argument<'a>>) -> Result<()>,
) -> Result<()> {
    let launch = |unfinished| {
        let (kind, arguments) = of_gradient(gradient, unfinished);
        launch(kind, arguments)
    };
    match gradient {
        ResultGradient::Normalized { unfinished: Some(unfinished), .. } => unfinished.read(launch),
        _ => launch(None),
    }
}

/// The kind of an operand and its `Arguments` in the kernels; `unfinished`: what the kernel is to finish.
fn of_operand<'a>(operand: &Operand<'a>, unfinished: Option<&'a MomentSums>) -> (OperandKind, Vec<Argument<'a>>) {
    let mut arguments = vec![Of(operand.values)];
    match operand.normalization {
        None => (OperandKind::Plain, arguments),
        Some(normalization) => {
            arguments.extend(norm(normalization));
            // The struct behind it begins at a multiple of eight bytes.
            arguments.extend(moments(unfinished));
            (OperandKind::Normalized(RectifierKind::of(normalization.rectifier)), arguments)
        }
    }
}

/// The same of a gradient.
fn of_gradient<'a>(
    gradient: &ResultGradient<'a>,
    unfinished: Option<&'a GradientSums>,
) -> (OperandKind, Vec<Argument<'a>>) {
    match *gradient {
        ResultGradient::Dense(gradient) => (OperandKind::Plain, vec![Of(gradient)]),
        ResultGradient::Normalized { behind, x, coefficients, plus, kept, .. } => {
            let mut arguments = vec![Of(behind), Of(x), plus.into(), kept.into()];
            arguments.extend(gradient_sums(coefficients, unfinished));
            (OperandKind::NormGradient, arguments)
        }
    }
}
