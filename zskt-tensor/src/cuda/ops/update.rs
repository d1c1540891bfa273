//! Updates, norms and clipping of many tensors at once, on GPUs.

use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};

use crate::cuda::graph_parameters::{UpdateParameters, place_parameters};
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{self, Count, Double, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{empty, launch};
use crate::cuda::packed_weights::{self, Packing};
use crate::cuda::tensor_array::{Division, TENSORS, arrays, put_array};
use crate::cuda::ticket::ticket;
use crate::update_rule::{AdamOperands, AdamStep, UpdateOperands, UpdateRule};

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
    check_dense(tensors.iter().map(|tensor| tensor.target))?;
    let Some((buffer, row)) = placed(constants)? else { return Ok(()) };
    for tensors in launches(tensors, |tensor| tensor.target)? {
        let sources = tensors.iter().map(|tensor| Ok([dense(tensor.a)?, dense(tensor.b)?]));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let targets = Targets::of(tensors.iter().map(|tensor| tensor.target))?;
        let mut arguments = Vec::new();
        put_array::<TENSORS>(&mut arguments, targets.tensors.iter().map(|target| Of(target)), Nothing);
        for which in [0, 1] {
            put_array::<TENSORS>(&mut arguments, sources.iter().map(|sources| Of(&sources[which])), Nothing);
        }
        targets.put(&mut arguments);
        arguments.extend([Count(formula), buffer.as_ref().into(), Count(row)]);
        arguments.extend(constants.map(Real));
        targets.launch("update", &arguments)?;
    }
    Ok(())
}

/// Adam's step.
///
/// # Errors
/// When the device fails.
pub fn adam(tensors: &[AdamOperands<'_>], step: AdamStep) -> Result<()> {
    let AdamStep { betas: [beta1, beta2], weight_decay, keep, rate, root_bias, epsilon } = step;
    let constants = [beta1, beta2, weight_decay, keep, rate, 1.0 / root_bias, epsilon, 0.0];
    check_dense(tensors.iter().flat_map(|tensor| [tensor.weight, tensor.average, tensor.average_of_squares]))?;
    let Some((buffer, row)) = placed(constants)? else { return Ok(()) };
    for tensors in launches(tensors, |tensor| tensor.weight)? {
        let gradients = tensors.iter().map(|tensor| dense(tensor.gradient)).collect::<Result<Vec<_>>>()?;
        let targets = Targets::of(tensors.iter().map(|tensor| tensor.weight))?;
        let mut arguments = Vec::new();
        put_array::<TENSORS>(&mut arguments, targets.tensors.iter().map(|weight| Of(weight)), Nothing);
        put_array::<TENSORS>(&mut arguments, gradients.iter().map(Of), Nothing);
        put_array::<TENSORS>(&mut arguments, tensors.iter().map(|tensor| Of(tensor.average)), Nothing);
        put_array::<TENSORS>(&mut arguments, tensors.iter().map(|tensor| Of(tensor.average_of_squares)), Nothing);
        targets.put(&mut arguments);
        arguments.extend([buffer.as_ref().into(), Count(row)]);
        arguments.extend(constants.map(Double));
        targets.launch("adam", &arguments)?;
    }
    Ok(())
}

/// What each launch updates: so many tensors at most, whose copies are packed alike.
fn launches<T>(tensors: &[T], target: impl Fn(&T) -> &Tensor) -> Result<Vec<Vec<&T>>> {
    let packings = tensors.iter().map(|tensor| packed_weights::packing_of(target(tensor)));
    let packings = packings.collect::<Result<Vec<_>>>()?;
    // Those without a copy go with any.
    let first = packings.iter().flatten().next();
    let mut kinds: Vec<(Option<&Packing>, Vec<&T>)> = Vec::new();
    for (tensor, packing) in tensors.iter().zip(&packings) {
        let packing = packing.as_ref().or(first);
        match kinds.iter_mut().find(|(kind, _)| *kind == packing) {
            Some((_, alike)) => alike.push(tensor),
            None => kinds.push((packing, vec![tensor])),
        }
    }
    Ok(kinds.iter().flat_map(|(_, alike)| alike.chunks(TENSORS).map(<[_]>::to_vec)).collect())
}

/// The weights of one launch, and the packed copies that it writes too.
struct Targets<'a> {
    tensors: Vec<&'a Tensor>,
    /// How the copies are packed, if there are any.
    packing: Option<Packing>,
    packed: Vec<Option<Tensor>>,
    division: Division,
}

impl<'a> Targets<'a> {
    fn of(tensors: impl Iterator<Item = &'a Tensor>) -> Result<Self> {
        let tensors: Vec<_> = tensors.collect();
        let (packing, packed) = packed_weights::to_be_updated(&tensors)?;
        Ok(Self { packing, packed, division: Division::of(tensors.iter().copied()), tensors })
    }

    /// Puts the arrays of the copies and of their shapes, and the division.
    fn put<'b>(&'b self, arguments: &mut Vec<Argument<'b>>) {
        put_array::<TENSORS>(arguments, self.packed.iter().map(|packed| packed.as_ref().into()), Nothing);
        // A packed weight is `[…, O, K, K, I]`.
        let sides = |sides: Range<usize>| {
            let side = move |packed: &Option<Tensor>| {
                let from_the_last = packed.iter().flat_map(|packed| packed.dims().iter().rev());
                from_the_last.skip(sides.start).take(sides.len()).product()
            };
            self.packed.iter().map(side).map(Count)
        };
        put_array::<TENSORS>(arguments, sides(0..1), Count(0));
        put_array::<TENSORS>(arguments, sides(1..3), Count(0));
        self.division.put(arguments);
        arguments.push(Count(usize::from(self.packing == Some(Packing::Split))));
    }

    fn launch(&self, kernel: &'static str, arguments: &[Argument<'_>]) -> Result<()> {
        let variant = match self.packing {
            Some(packing) => packing.variant()?,
            None => KernelVariant::of_tensors(self.tensors[0].dtype())?,
        };
        launch(self.tensors[0].device(), variant, kernel, self.division.blocks, arguments)
    }
}

fn check_dense<'a>(mut updated: impl Iterator<Item = &'a Tensor>) -> Result<()> {
    if updated.any(|tensor| !tensor.is_contiguous()) {
        bail!("updates are made to dense tensors");
    }
    Ok(())
}

fn dense(tensor: &Tensor) -> Result<Tensor> {
    tensor.detach().contiguous()
}

/// Where a captured update reads its parameters, if it is one: a buffer and a row. `None` where the update is not made.
fn placed<const COUNT: usize>(constants: [f64; COUNT]) -> Result<Option<(Option<Tensor>, usize)>> {
    Ok(match place_parameters(constants)? {
        UpdateParameters::Collected => None,
        UpdateParameters::Immediate => Some((None, 0)),
        UpdateParameters::Buffered(buffer, row) => Some((Some(buffer), row)),
    })
}

/// The L2 norm of all numbers of some tensors of one type, an `f64` scalar on their device.
///
/// # Errors
/// When there is no tensor, or the device fails.
pub fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    let Some(first) = tensors.first() else { bail!("a norm of nothing") };
    let (device, variant) = (first.device(), KernelVariant::of_tensors(first.dtype())?);
    let chunks: Vec<_> = tensors.chunks(TENSORS).map(|tensors| (tensors, Division::of(tensors))).collect();
    let total = chunks.iter().map(|(_, division)| division.blocks).sum::<usize>();
    let (partial, norm) = (empty(total, DType::F64, device)?, empty((), DType::F64, device)?);
    let (ticket, mut before) = (ticket(device)?, 0);
    for (tensors, division) in &chunks {
        let is_last = before + division.blocks == total;
        let mut arguments = arrays(&[tensors.iter().collect()]);
        division.put(&mut arguments);
        arguments.extend([Count(before), Count(total), Of(&partial), Of(&ticket)]);
        arguments.push(is_last.then_some(&norm).into());
        launch(device, variant, "norm", division.blocks, &arguments)?;
        before += division.blocks;
    }
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
        let division = Division::of(tensors);
        let mut arguments = arrays(&[targets.iter().collect(), tensors.iter().collect()]);
        division.put(&mut arguments);
        arguments.extend([Of(norm), Double(limit)]);
        let variant = KernelVariant::of_tensors(tensors[0].dtype())?;
        launch(tensors[0].device(), variant, "clip", division.blocks, &arguments)?;
        clip.extend(targets);
    }
    Ok(clip)
}
