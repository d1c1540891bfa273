//! Activations that follow no batch norm.

use std::sync::Arc;

use candle_core::Tensor;

use super::batch_norm::normalized;
use crate::feature_map::Place;
use crate::map::gradient::Gradient;
use crate::map::tape::{self, Node};
use crate::map::{Map, Normalization};
use crate::{FeatureMap, Result};

/// `x` above zero and `slope`·`x` below, `[B, C, H, W]`: 0 for ReLU.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &FeatureMap, slope: f64) -> Result<FeatureMap> {
    let x = match &x.0 {
        Place::Host(x) => x,
        Place::Device(x) => return Ok(x.activate(slope)?.into()),
    };
    let x = x.settled()?;
    let channels = x.image().channels;
    let [zeros, ones] = [0.0, 1.0].map(|value| vec![value; channels]);
    let normalization = Arc::new(Normalization::new(ones, zeros.clone(), slope, zeros));
    let node = Activate { map: Arc::clone(&x.input.map), normalization: Arc::clone(&normalization) };
    let token = tape::map(&[&x.token], node)?;
    Ok(normalized(&x.input.map, normalization, token).into())
}

struct Activate {
    map: Arc<Map>,
    normalization: Arc<Normalization>,
}

impl Node for Activate {
    const NAME: &'static str = "activation";

    fn backward(&self, inputs: &[&Tensor], _: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let (values, _) = self.normalization.take_gradient()?;
        self.map.slot.push(Gradient::Dense(Arc::new(values)));
        Ok(vec![tape::passed(inputs[0])?])
    }
}
