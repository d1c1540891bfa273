//! Activations that follow no batch norm: rectifiers are noted down, and applied where the map is read; others are computed.

use std::sync::Arc;

use candle_core::{Device, Result};

use crate::activation::{Curve, Form, Rectifier};
use crate::autograd::{self, Node};
use crate::cpu::fusion::gradient::GradientPart;
use crate::cpu::fusion::lazy_map::{LazyInput, Normalization};
use crate::cpu::fusion::storage::Scalar;
use crate::cpu::kernels::curve;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::map::CpuMap;
use crate::cpu::ops::unfused::{MapOp, apply};
use crate::cpu::simd::dtype::MapSliceMut;
use crate::shape::MapShape;

/// The activation of each number.
///
/// # Errors
/// When there is no room.
pub fn activate(x: &CpuMap, form: Form) -> Result<CpuMap> {
    match form {
        Form::Rectifier(rectifier) => rectify(x, rectifier),
        Form::Curve(curve) => apply(x, curve),
    }
}

fn rectify(x: &CpuMap, rectifier: Rectifier) -> Result<CpuMap> {
    let x = x.materialized()?;
    let channels = x.shape().channels;
    let [zeros, ones] = [0.0, 1.0].map(|value| vec![value; channels]);
    let normalization = Arc::new(Normalization::new(ones, zeros.clone(), rectifier, zeros));
    let input = LazyInput::normalized(&x.input.map, Arc::clone(&normalization));
    let entry = autograd::record(&Device::Cpu, [x.entry()], &[], || Rectify { x: x.clone(), normalization })?;
    Ok(CpuMap::lazy(input, entry))
}

struct Rectify {
    x: CpuMap,
    normalization: Arc<Normalization>,
}

impl Node for Rectify {
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

impl MapOp for Curve {
    fn shape(&self, shape: &MapShape) -> MapShape {
        *shape
    }

    fn forward<T: Scalar>(&self, shape: &MapShape, x: &InputView<T>, out: MapSliceMut<T>) {
        curve::forward(self, shape.channels, x, out);
    }

    fn backward<T: Scalar>(
        &self,
        shape: &MapShape,
        x: &InputView<T>,
        gradient: &InputView<T>,
        epilogue: &Epilogue<T>,
        out: MapSliceMut<T>,
    ) -> ChannelSums {
        curve::backward(self, shape.channels, x, gradient, epilogue, out)
    }
}
