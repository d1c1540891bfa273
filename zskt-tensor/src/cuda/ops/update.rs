//! Updates, norms and clipping of many tensors at once, on GPUs.

use candle_core::{DType, Result, Tensor, bail};

use crate::cuda::graph_parameters::{UpdateParameters, place_parameters};
use crate::cuda::kernel_source::{BLOCK, KernelVariant};
use crate::cuda::launch::Argument::{Count, Double, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{Argument, empty, launch};
use crate::update_rule::{UpdateOperands, UpdateRule};

/// Tensors of one launch, `TENSORS` in the kernels.
const TENSORS: usize = 64;

/// Blocks of each tensor.
fn blocks(counts: &[usize]) -> usize {
    counts.iter().max().copied().unwrap_or_default().div_ceil(BLOCK).clamp(1, 64)
}

/// Tensors and how many numbers they have as the arrays of a kernel's struct.
fn arrays<'a>(tensors: &[Vec<&'a Tensor>], counts: &[usize]) -> Vec<Argument<'a>> {
    let missing = TENSORS - counts.len();
    let mut arguments = Vec::with_capacity((tensors.len() + 1) * TENSORS);
    for tensors in tensors {
        arguments.extend(tensors.iter().map(|tensor| Of(tensor)));
        arguments.extend(std::iter::repeat_n(Nothing, missing));
    }
    arguments.extend(counts.iter().map(|count| Count(*count)));
    arguments.extend(std::iter::repeat_n(Count(0), missing));
    arguments
}

/// Updates tensors of one type in place.
///
/// # Errors
/// When the device fails.
pub fn update(tensors: &[UpdateOperands<'_>], update: UpdateRule) -> Result<()> {
    let (formula, constants) = match update {
        UpdateRule::Average { decay, share, weight_decay } => (0, [decay, share, weight_decay, 0.0]),
        UpdateRule::AverageOfSquares { decay, weight_decay } => (1, [decay, 1.0 - decay, weight_decay, 0.0]),
        UpdateRule::Adam { keep, rate, root_bias, epsilon } => (2, [keep, rate, 1.0 / root_bias, epsilon]),
        UpdateRule::Step { keep, x, y } => (3, [keep, x, y, 0.0]),
    };
    for tensors in tensors.chunks(TENSORS) {
        let dtype = tensors[0].target.dtype();
        let dense = |of: &Tensor| of.detach().contiguous();
        if tensors.iter().any(|tensor| !tensor.target.is_contiguous()) {
            bail!("updates are made to dense tensors");
        }
        let sources = tensors.iter().map(|tensor| Ok([dense(tensor.a)?, dense(tensor.b)?]));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let targets = tensors.iter().map(|tensor| tensor.target).collect();
        let [a, b] = [0, 1].map(|which| sources.iter().map(|sources| &sources[which]).collect());
        let counts: Vec<usize> = tensors.iter().map(|tensor| tensor.target.elem_count()).collect();
        let blocks = blocks(&counts);
        let mut arguments = arrays(&[targets, a, b], &counts);
        let buffered;
        let (buffer, row) = match place_parameters(constants)? {
            UpdateParameters::Collected => continue,
            UpdateParameters::Immediate => (Nothing, 0),
            UpdateParameters::Buffered(buffer, row) => {
                buffered = buffer;
                (Of(&buffered), row)
            }
        };
        arguments.extend([Count(formula), Count(blocks), buffer, Count(row)]);
        arguments.extend(constants.map(Real));
        let device = tensors[0].target.device();
        launch(device, KernelVariant::of_tensors(dtype)?, "update", tensors.len() * blocks, &arguments)?;
    }
    Ok(())
}

/// The L2 norm of all numbers of some tensors of one type, an `f64` scalar on their device.
///
/// # Errors
/// When there is no tensor, or the device fails.
pub fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    let Some(first) = tensors.first() else { bail!("a norm of nothing") };
    let (device, variant) = (first.device(), KernelVariant::of_tensors(first.dtype())?);
    let chunks: Vec<(&[Tensor], Vec<usize>)> =
        tensors.chunks(TENSORS).map(|tensors| (tensors, tensors.iter().map(Tensor::elem_count).collect())).collect();
    let total = chunks.iter().map(|(tensors, counts)| tensors.len() * blocks(counts)).sum::<usize>();
    let partial = empty(total, DType::F64, device)?;
    let mut start = 0;
    for (tensors, counts) in &chunks {
        let blocks = blocks(counts);
        let part = partial.narrow(0, start, tensors.len() * blocks)?;
        start += tensors.len() * blocks;
        let mut arguments = arrays(&[tensors.iter().collect()], counts);
        arguments.extend([Count(blocks), Of(&part)]);
        launch(device, variant, "squares", tensors.len() * blocks, &arguments)?;
    }
    let norm = empty((), DType::F64, device)?;
    launch(device, variant, "norm", 1, &[Of(&partial), Of(&norm), Count(total)])?;
    Ok(norm)
}

/// Dense tensors of one type, times `limit / (norm + 1e-6)` where that is below one.
///
/// # Errors
/// When the device fails.
pub fn clip(tensors: &[Tensor], norm: &Tensor, limit: f64) -> Result<Vec<Tensor>> {
    let mut clip = Vec::with_capacity(tensors.len());
    for tensors in tensors.chunks(TENSORS) {
        let targets = tensors.iter().map(|tensor| empty(tensor.shape(), tensor.dtype(), tensor.device()));
        let targets = targets.collect::<Result<Vec<_>>>()?;
        let counts: Vec<usize> = tensors.iter().map(Tensor::elem_count).collect();
        let blocks = blocks(&counts);
        let mut arguments = arrays(&[targets.iter().collect(), tensors.iter().collect()], &counts);
        arguments.extend([Count(blocks), Of(norm), Double(limit)]);
        let variant = KernelVariant::of_tensors(tensors[0].dtype())?;
        launch(tensors[0].device(), variant, "clip", tensors.len() * blocks, &arguments)?;
        clip.extend(targets);
    }
    Ok(clip)
}
