//! Nearest-neighbour upsampling.

use candle_core::{Result, Tensor};

use crate::cuda::launch::Argument::{Nothing, Tensor as Of};
use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::ops::pooling::Squares;
use crate::shape::MapShape;

/// Each pixel as a `factor`×`factor` square, of a map that is not upsampled itself.
///
/// # Errors
/// When the device fails.
pub fn enlarge(x: &CudaMap, factor: usize) -> Result<CudaMap> {
    let small = x.shape();
    let large = MapShape { height: small.height * factor, width: small.width * factor, ..small };
    let squares = Squares { small, large, factor };
    let values = squares.resample("enlarge", [Of(x.values()?), Nothing, Nothing], large, x, 1.0)?;
    CudaMap::record(values, x.precision, &[x], &[], || Upsample { x: x.clone(), squares })
}

struct Upsample {
    x: CudaMap,
    squares: Squares,
}

impl Backward for Upsample {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, squares } = self;
        x.accumulate(|plus| squares.resample("gather", [Of(gradient), Nothing, plus.into()], squares.small, x, 1.0))
    }
}
