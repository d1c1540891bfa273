//! The sum at the end of a residual block.

use candle_core::{Result, Tensor};

use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::sum::plus;

/// The sum of two maps of one shape and precision.
///
/// # Errors
/// When the device fails.
pub fn add(x: &CudaMap, y: &CudaMap) -> Result<CudaMap> {
    let sum = plus(x.values.clone(), Some(&y.values), x.precision)?;
    CudaMap::record(sum, x.precision, &[x, y], &[], || Add([x.clone(), y.clone()]))
}

struct Add([CudaMap; 2]);

impl Backward for Add {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        for part in &self.0 {
            part.accumulate(|earlier| plus(gradient.clone(), earlier, part.precision))?;
        }
        Ok(())
    }
}
