//! Maps as parts of larger ones: next to each other, or within zeros.

use std::sync::Arc;

use candle_core::Result;

use crate::autograd::Node;
use crate::cpu::fusion::lazy_map::LazyMap;
use crate::cpu::fusion::storage::dispatch_precision;
use crate::cpu::kernels::placement::Placement;
use crate::cpu::map::CpuMap;
use crate::cpu::simd::float::Float;
use crate::ops::Padding;
use crate::shape::MapShape;

/// The channels of all maps, one map after the other.
///
/// # Errors
/// When there is no room.
pub fn concat(maps: &[CpuMap]) -> Result<CpuMap> {
    let channels = maps.iter().map(|map| map.shape().channels).sum();
    let whole = MapShape { channels, ..maps.first().map(CpuMap::shape).expect("asked before") };
    let mut at = 0;
    let places = maps.iter().map(|map| {
        let place = Placement { part: map.shape(), whole, at: [0, 0, at] };
        at += place.part.channels;
        place
    });
    place(maps, &places.collect::<Vec<_>>(), whole)
}

/// Zeros around a map.
///
/// # Errors
/// When there is no room.
pub fn pad(x: &CpuMap, padding: &Padding) -> Result<CpuMap> {
    let Padding { channels, rows, columns } = padding;
    let part = x.shape();
    let sum = |extent: usize, [before, after]: &[usize; 2]| extent + before + after;
    let (height, width) = (sum(part.height, rows), sum(part.width, columns));
    let whole = MapShape { height, width, channels: sum(part.channels, channels), ..part };
    place(std::slice::from_ref(x), &[Placement { part, whole, at: [rows[0], columns[0], channels[0]] }], whole)
}

fn place(maps: &[CpuMap], places: &[Placement], whole: MapShape) -> Result<CpuMap> {
    let precision = maps[0].precision();
    let to = dispatch_precision!(precision, T => {
        let mut numbers = vec![T::ZERO; whole.len()];
        for (map, place) in maps.iter().zip(places) {
            place.put(&map.input.to_vec::<T>(), &mut numbers);
        }
        LazyMap::from_numbers(whole, precision, &numbers)
    });
    let to = Arc::new(to);
    let node = || Place { parts: maps.iter().cloned().zip(places.iter().copied()).collect(), to: Arc::clone(&to) };
    CpuMap::record(Arc::clone(&to), &maps.iter().collect::<Vec<_>>(), node)
}

struct Place {
    parts: Vec<(CpuMap, Placement)>,
    to: Arc<LazyMap>,
}

impl Node for Place {
    fn backward(&self) -> Result<()> {
        dispatch_precision!(self.to.precision, T => {
            let gradient = self.to.take_gradient::<T>()?;
            for (map, place) in self.parts.iter().filter(|(map, _)| map.is_tracked()) {
                map.input.accumulate_values(&place.take(&gradient));
                map.schedule();
            }
        });
        Ok(())
    }

    fn reset(&self) {
        self.to.gradient.reset();
    }
}
