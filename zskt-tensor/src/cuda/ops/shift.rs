//! Images that are moved and mirrored.

use candle_core::{Result, Tensor};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Nothing, Tensor as Of};
use crate::cuda::launch::{Argument, blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::ops::{Border, Shift};

/// Each image moved by its shift, then mirrored.
///
/// # Errors
/// When the device fails.
pub fn shift(x: &CudaMap, shifts: &[Shift], border: &Border<'_>) -> Result<CudaMap> {
    let fill = match border {
        Border::Fill(fill) => Some(Tensor::new(*fill, x.device())?.to_dtype(x.precision.dtype())?),
        Border::Wrap => None,
    };
    let wraps = matches!(border, Border::Wrap);
    let values = moved(x, x.values()?, shifts, wraps, [Nothing, fill.as_ref().into()])?;
    let node = || Moved { x: x.clone(), back: shifts.iter().map(|shift| shift.inverse()).collect(), wraps };
    CudaMap::record(values, x.precision, &[x], &[], node)
}

fn moved(
    like: &CudaMap,
    from: &Tensor,
    shifts: &[Shift],
    wraps: bool,
    [plus, fill]: [Argument<'_>; 2],
) -> Result<Tensor> {
    let (shape, device) = (like.shape(), like.device());
    let to = empty(from.shape(), from.dtype(), device)?;
    let numbers = shifts.iter().flat_map(|shift| [shift.down as i64, shift.right as i64, i64::from(shift.flip)]);
    let shifts = Tensor::from_vec(numbers.collect::<Vec<i64>>(), (shape.batch, 3), device)?;
    let variant = KernelVariant::of(like.precision, shape.channels);
    let columns = shape.channels / variant.vector_width;
    let maps = [Of(from), plus, Of(&to), fill, Of(&shifts)];
    let counts = [shape.batch, shape.height, shape.width, columns, usize::from(wraps)].map(Count);
    launch(device, variant, "shift", blocks_of_packs(shape.len() / variant.vector_width), &[maps, counts].concat())?;
    Ok(to)
}

struct Moved {
    x: CudaMap,
    back: Vec<Shift>,
    wraps: bool,
}

impl Backward for Moved {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        // No pixel is at two places, so its gradient is that of one place, or none.
        self.x.accumulate(|plus| moved(&self.x, gradient, &self.back, self.wraps, [plus.into(), Nothing]))
    }
}
