//! Nearest-neighbour upsampling: noted down, and done where the map is read.

use crate::cpu::map::CpuMap;

/// Each pixel as a `factor`×`factor` square.
#[must_use]
pub fn upsample(x: &CpuMap, factor: usize) -> CpuMap {
    let mut upsampled = x.clone();
    upsampled.input.prologue.upsampling *= factor;
    upsampled
}
