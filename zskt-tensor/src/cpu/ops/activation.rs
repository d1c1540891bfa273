//! Activations that follow no batch norm: noted down, and applied where the map is read.

use std::sync::Arc;

use candle_core::{Device, Result};

use crate::autograd::{self, Node};
use crate::cpu::fusion::gradient::GradientPart;
use crate::cpu::fusion::lazy_map::{LazyInput, Normalization};
use crate::cpu::map::CpuMap;

/// `x` above zero and `slope`·`x` below.
///
/// # Errors
/// When there is no room.
pub fn activate(x: &CpuMap, slope: f64) -> Result<CpuMap> {
    let x = x.materialized()?;
    let channels = x.shape().channels;
    let [zeros, ones] = [0.0, 1.0].map(|value| vec![value; channels]);
    let normalization = Arc::new(Normalization::new(ones, zeros.clone(), slope, zeros));
    let input = LazyInput::normalized(&x.input.map, Arc::clone(&normalization));
    let entry = autograd::record(&Device::Cpu, [x.entry()], &[], || Activate { x: x.clone(), normalization })?;
    Ok(CpuMap::lazy(input, entry))
}

struct Activate {
    x: CpuMap,
    normalization: Arc<Normalization>,
}

impl Node for Activate {
    fn backward(&self) -> Result<()> {
        let (values, _) = self.normalization.take_gradient()?;
        self.x.input.map.gradient.push(GradientPart::Dense(Arc::new(values)));
        self.x.schedule();
        Ok(())
    }

    fn reset(&self) {
        self.normalization.reset();
    }
}
