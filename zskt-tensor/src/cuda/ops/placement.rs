//! Maps as parts of larger ones: next to each other, or within zeros.

use candle_core::{Result, Tensor, bail};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{Argument, blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::ops::Padding;
use crate::precision::Precision;
use crate::shape::MapShape;

/// Where a map lies in a larger one of as many images.
#[derive(Clone, Copy)]
struct Placement {
    part: MapShape,
    whole: MapShape,
    /// The row, the column and the channel where the map begins.
    at: [usize; 3],
}

impl Placement {
    fn launch(&self, kernel: &'static str, precision: Precision, maps: [Argument<'_>; 3], to: &Tensor) -> Result<()> {
        let Self { part, whole, at: [row, column, channel] } = *self;
        // All of these are in whole packs, or none is.
        let variant = KernelVariant::of(precision, part.channels | whole.channels | channel);
        let [columns, whole_columns, channel] =
            [part.channels, whole.channels, channel].map(|channels| channels / variant.vector_width);
        let extents = [part.batch, part.height, part.width, columns, whole.height, whole.width, whole_columns];
        let arguments = [&maps[..], &extents.map(Count), &[row, column, channel].map(Count)].concat();
        launch(to.device(), variant, kernel, blocks_of_packs(part.len() / variant.vector_width), &arguments)
    }
}

/// The channels of all maps, one map after the other.
///
/// # Errors
/// When the device fails.
pub fn concat(maps: &[CudaMap]) -> Result<CudaMap> {
    let Some(first) = maps.first() else { bail!("a concatenation of no maps") };
    let whole = MapShape { channels: maps.iter().map(|map| map.shape().channels).sum(), ..first.shape() };
    let mut at = 0;
    let places = maps.iter().map(|map| {
        let place = Placement { part: map.shape(), whole, at: [0, 0, at] };
        at += place.part.channels;
        place
    });
    let shape = (whole.batch, whole.height, whole.width, whole.channels);
    let values = empty(shape, first.precision.storage_dtype(), first.device())?;
    place(maps, places.collect(), values)
}

/// Zeros around a map.
///
/// # Errors
/// When the device fails.
pub fn pad(x: &CudaMap, padding: &Padding) -> Result<CudaMap> {
    let Padding { channels, rows, columns } = padding;
    let part = x.shape();
    let sum = |extent: usize, [before, after]: &[usize; 2]| extent + before + after;
    let (height, width) = (sum(part.height, rows), sum(part.width, columns));
    let whole = MapShape { height, width, channels: sum(part.channels, channels), ..part };
    let shape = (whole.batch, whole.height, whole.width, whole.channels);
    let values = Tensor::zeros(shape, x.precision.storage_dtype(), x.device())?;
    place(std::slice::from_ref(x), vec![Placement { part, whole, at: [rows[0], columns[0], channels[0]] }], values)
}

fn place(maps: &[CudaMap], places: Vec<Placement>, values: Tensor) -> Result<CudaMap> {
    let precision = maps[0].precision;
    for (map, place) in maps.iter().zip(&places) {
        place.launch("put_part", precision, [Of(map.values()?), Argument::Nothing, Of(&values)], &values)?;
    }
    let parts = maps.iter().cloned().zip(places).collect();
    CudaMap::record(values, precision, &maps.iter().collect::<Vec<_>>(), &[], || Place(parts))
}

struct Place(Vec<(CudaMap, Placement)>);

impl Backward for Place {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        for (map, place) in &self.0 {
            map.accumulate(|plus| {
                let part = empty(map.values()?.shape(), map.precision.storage_dtype(), map.device())?;
                place.launch("take_part", map.precision, [Of(gradient), plus.into(), Of(&part)], &part)?;
                Ok(part)
            })?;
        }
        Ok(())
    }
}
