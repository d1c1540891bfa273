//! Channels of a map in another order, or some of them.

use candle_core::{Result, Tensor};

use crate::channel_selection::ChannelSelection;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{self, Count, Nothing, Tensor as Of};
use crate::cuda::launch::{blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::precision::Precision;

/// The channels of each pixel that are selected.
///
/// # Errors
/// When the device fails.
pub fn select(x: &CudaMap, selection: ChannelSelection) -> Result<CudaMap> {
    let values = selected(&selection, x.values()?, Nothing, x.precision)?;
    CudaMap::record(values, x.precision, &[x], &[], || Select { x: x.clone(), back: selection.inverse() })
}

fn selected(selection: &ChannelSelection, from: &Tensor, plus: Argument<'_>, precision: Precision) -> Result<Tensor> {
    let ChannelSelection { channels, of, groups, skipped, before } = *selection;
    let (batch, height, width, _) = from.dims4()?;
    let to = empty((batch, height, width, channels), from.dtype(), from.device())?;
    // All of these are in whole packs, or none is; channels of several groups come one by one.
    let variant = KernelVariant::of(precision, if groups == 1 { channels | of | skipped | before } else { 1 });
    let pixels = batch * height * width;
    let packs = |channels: usize| Count(channels / variant.vector_width);
    let maps = [Of(from), plus, Of(&to), Count(pixels)];
    let arguments = [&maps[..], &[packs(channels), packs(of), Count(groups), packs(skipped), packs(before)]].concat();
    let blocks = blocks_of_packs(pixels * channels / variant.vector_width);
    launch(to.device(), variant, "select_channels", blocks, &arguments)?;
    Ok(to)
}

struct Select {
    x: CudaMap,
    back: ChannelSelection,
}

impl Backward for Select {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        self.x.accumulate(|plus| selected(&self.back, gradient, plus.into(), self.x.precision))
    }
}
