//! The sum at the end of a residual block.

use std::sync::Arc;

use candle_core::Result;

use crate::autograd::Node;
use crate::cpu::fusion::lazy_map::{LazyMap, LazyOp};
use crate::cpu::map::CpuMap;

/// The sum of two maps of one shape and precision. Where the first (or else the second) is a convolution that nobody has read
/// yet, the other is added as it is computed. Else both are read as they are, with what is noted down to be done to them: behind
/// a batch norm or an activation, as in residual networks, neither is computed by itself.
///
/// # Errors
/// When there is no room.
pub fn add(a: &CpuMap, b: &CpuMap) -> Result<CpuMap> {
    let convolution = |of: &CpuMap| of.input.is_plain().then(|| of.input.map.convolution()).flatten();
    let (op, inputs) = match (convolution(a), convolution(b)) {
        (Some((layer, input)), _) => {
            let b = b.materialized()?;
            (LazyOp::Convolution(layer, input, Some(Arc::clone(&b.input.map))), [a.clone(), b])
        }
        (None, Some((layer, input))) => {
            let a = a.materialized()?;
            (LazyOp::Convolution(layer, input, Some(Arc::clone(&a.input.map))), [a, b.clone()])
        }
        (None, None) => {
            let readable = |part: &CpuMap| match part.input.prologue.upsampling {
                1 => Ok(part.clone()),
                _ => part.materialized(),
            };
            let (a, b) = (readable(a)?, readable(b)?);
            (LazyOp::Sum([&a, &b].map(|part| part.input.clone())), [a, b])
        }
    };
    let sum = Arc::new(LazyMap::deferred(a.shape(), a.precision(), Some(op)));
    let node = || Add { parts: inputs.clone(), sum: Arc::clone(&sum) };
    CpuMap::record(Arc::clone(&sum), &[&inputs[0], &inputs[1]], node)
}

struct Add {
    parts: [CpuMap; 2],
    sum: Arc<LazyMap>,
}

impl Node for Add {
    fn backward(&self) -> Result<()> {
        let gradient = self.sum.gradient.take(&self.sum)?;
        for part in self.parts.iter().filter(|part| part.is_tracked()) {
            part.input.accumulate_part(gradient.clone());
            part.schedule();
        }
        Ok(())
    }

    fn reset(&self) {
        self.sum.gradient.reset();
    }
}
