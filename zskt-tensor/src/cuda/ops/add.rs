//! The sum at the end of a residual block.

use std::sync::Arc;

use candle_core::Result;

use crate::autograd::Node;
use crate::cuda::fusion::gradient::GradientAccumulator;
use crate::cuda::fusion::lazy_map::{LazyInput, LazyMap, PendingConvolution};
use crate::cuda::map::CudaMap;
use crate::cuda::sum::plus;

/// The sum of two maps of one shape and precision, neither of them upsampled. Where the first (or else the second) is a
/// convolution that nobody has read yet, the other is added as it is computed.
///
/// # Errors
/// When the device fails.
pub fn add(x: &CudaMap, y: &CudaMap) -> Result<CudaMap> {
    let pending = |of: &CudaMap| of.input.is_plain().then(|| of.input.map.convolution()).flatten();
    let sum = match (pending(x), pending(y)) {
        (Some(convolution), _) => with_residual(convolution, y)?,
        (None, Some(convolution)) => with_residual(convolution, x)?,
        (None, None) => LazyMap::of(plus(x.values()?.clone(), Some(y.values()?), x.precision)?, x.precision),
    };
    let node = |gradient| Add { parts: [x.clone(), y.clone()], gradient };
    CudaMap::record_lazy(LazyInput::new(Arc::new(sum)), x.precision, &[x, y], &[], node)
}

fn with_residual(convolution: PendingConvolution, residual: &CudaMap) -> Result<LazyMap> {
    let residual = match residual.input.is_plain() {
        true => Arc::clone(&residual.input.map),
        false => Arc::new(LazyMap::of(residual.values()?.clone(), residual.precision)),
    };
    let precision = residual.precision;
    Ok(LazyMap::convolved(PendingConvolution { residual: Some(residual), ..convolution }, precision))
}

struct Add {
    parts: [CudaMap; 2],
    gradient: GradientAccumulator,
}

impl Node for Add {
    fn backward(&self) -> Result<()> {
        let gradient = self.gradient.take(self.parts[0].precision)?.sum()?;
        self.parts.iter().try_for_each(|part| part.accumulate_gradient(&gradient))
    }

    fn reset(&self) {
        self.gradient.reset();
    }
}
