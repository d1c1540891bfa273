//! Maps next to each other.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, Storage};
use crate::shape::MapShape;
use crate::trace::{self, TracedOperation};

/// The channels of all maps, one map after the other: `[B, ΣC, H, W]`, in the precision of the first.
///
/// # Errors
/// When there is none, the shapes but for the channels or the devices differ, only some are in f64, or the device fails.
pub fn concat(maps: &[FeatureMap]) -> Result<FeatureMap> {
    let Some(first) = maps.first() else { return Err(Error::new("cannot concatenate no maps")) };
    let shape = first.shape();
    if let Some(other) = maps.iter().find(|map| MapShape { channels: shape.channels, ..map.shape() } != shape) {
        return Err(Error::new(format!("cannot concatenate {first:?} and {other:?}")));
    }
    let channels = maps.iter().try_fold(0_usize, |sum, map| sum.checked_add(map.shape().channels));
    if !MapShape::is_countable([Some(shape.batch), Some(shape.height), Some(shape.width), channels]) {
        return Err(Error::new(format!("{} maps of {first:?} have more numbers than memory", maps.len())));
    }
    let maps = maps.iter().map(|map| map.to_precision(first.precision())).collect::<Result<Vec<_>>>()?;
    let apart = || Error::new("cannot concatenate maps on different devices");
    let joined = match &first.0 {
        Storage::Cpu(_) => {
            let of = |map: &FeatureMap| if let Storage::Cpu(map) = &map.0 { Ok(map.clone()) } else { Err(apart()) };
            Backend::concat(&maps.iter().map(of).collect::<Result<Vec<_>>>()?)?.into()
        }
        Storage::Cuda(first) => {
            let of = |map: &FeatureMap| match &map.0 {
                Storage::Cuda(map) if Backend::device(map).same_device(Backend::device(first)) => Ok(map.clone()),
                _ => Err(apart()),
            };
            Backend::concat(&maps.iter().map(of).collect::<Result<Vec<_>>>()?)?.into()
        }
    };
    Ok(trace::map(&maps.iter().collect::<Vec<_>>(), || TracedOperation::Concat, joined))
}
