//! Activations that follow no batch norm.

use candle_core::{Result, Tensor};

use crate::cuda::launch::Argument::{Count, Real, Tensor as Of};
use crate::cuda::launch::{blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::sum::flat;

/// `x` above zero and `slope`·`x` below.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &CudaMap, slope: f64) -> Result<CudaMap> {
    let values = empty(x.values.shape(), x.values.dtype(), x.values.device())?;
    let (variant, packs) = flat(&x.values, x.precision);
    let arguments = [Of(&x.values), Of(&values), Count(packs), Real(slope)];
    launch(x.values.device(), variant, "activate", blocks_of_packs(packs), &arguments)?;
    CudaMap::record(values, x.precision, &[x], &[], || Activate { x: x.clone(), slope })
}

struct Activate {
    x: CudaMap,
    slope: f64,
}

impl Backward for Activate {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, slope } = self;
        x.accumulate(|plus| {
            let of_x = empty(x.values.shape(), x.values.dtype(), x.values.device())?;
            let (variant, packs) = flat(&x.values, x.precision);
            let arguments = [Of(&x.values), Of(gradient), plus.into(), Of(&of_x), Count(packs), Real(*slope)];
            launch(x.values.device(), variant, "activate_gradient", blocks_of_packs(packs), &arguments)?;
            Ok(of_x)
        })
    }
}
