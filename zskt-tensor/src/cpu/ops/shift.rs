//! Images that are moved and mirrored.

use std::sync::Arc;

use candle_core::Result;

use crate::autograd::Node;
use crate::cpu::fusion::lazy_map::LazyMap;
use crate::cpu::fusion::storage::dispatch_precision;
use crate::cpu::kernels::shift as kernel;
use crate::cpu::map::CpuMap;
use crate::ops::{Border, Shift};
use crate::shape::MapShape;

/// Each image moved by its shift, then mirrored.
///
/// # Errors
/// When there is no room.
pub fn shift(x: &CpuMap, shifts: &[Shift], border: &Border<'_>) -> Result<CpuMap> {
    let (shape, precision) = (x.shape(), x.precision());
    let to = dispatch_precision!(precision, T => {
        let numbers = kernel::shift(&shape, shifts, border, &x.input.to_vec::<T>());
        LazyMap::from_numbers(shape, precision, &numbers)
    });
    let to = Arc::new(to);
    let wraps = matches!(border, Border::Wrap);
    let node = || {
        let back = shifts.iter().map(|shift| shift.inverse()).collect();
        Moved { x: x.clone(), to: Arc::clone(&to), back, wraps }
    };
    CpuMap::record(Arc::clone(&to), &[x], node)
}

struct Moved {
    x: CpuMap,
    to: Arc<LazyMap>,
    back: Vec<Shift>,
    wraps: bool,
}

impl Node for Moved {
    fn backward(&self) -> Result<()> {
        let shape @ MapShape { channels, .. } = self.x.shape();
        // No pixel is at two places, so its gradient is that of one place, or none.
        let none = vec![0.0; channels];
        let border = if self.wraps { Border::Wrap } else { Border::Fill(&none) };
        dispatch_precision!(self.to.precision, T => {
            let gradient = self.to.take_gradient::<T>()?;
            self.x.input.accumulate_values(&kernel::shift(&shape, &self.back, &border, &gradient));
        });
        self.x.schedule();
        Ok(())
    }

    fn reset(&self) {
        self.to.gradient.reset();
    }
}
