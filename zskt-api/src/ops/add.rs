//! The sum at the end of a residual block.

use std::sync::Arc;

use candle_core::Tensor;

use crate::feature_map::Place;
use crate::map::host::HostMap;
use crate::map::tape::{self, Node};
use crate::map::{Map, Recipe};
use crate::{Error, FeatureMap, Result};

/// The sum of two feature maps of the same shape, in the precision of the first. Where the first (or else the second) is a
/// convolution that nobody has read yet, the other is added as it is computed.
///
/// # Errors
/// When the shapes differ, only one is in f64, or the device fails.
pub fn add(a: &FeatureMap, b: &FeatureMap) -> Result<FeatureMap> {
    let (a, b) = match (&a.0, &b.0) {
        (Place::Host(a), Place::Host(b)) => (a, b),
        (Place::Device(a), Place::Device(b)) => return Ok(a.add(b)?.into()),
        _ => return Err(Error::new(format!("cannot add {a:?} and {b:?}: they are on different devices"))),
    };
    if a.input.shape() != b.input.shape() {
        return Err(Error::new(format!("cannot add {a:?} and {b:?}")));
    }
    let b = &b.to_precision(a.precision())?;
    let convolution = |of: &HostMap| of.input.is_plain().then(|| of.input.map.convolution()).flatten();
    let (recipe, inputs) = match (convolution(a), convolution(b)) {
        (Some((layer, input)), _) => {
            let b = b.settled()?;
            (Recipe::Convolution(layer, input, Some(Arc::clone(&b.input.map))), [a.clone(), b])
        }
        (None, Some((layer, input))) => {
            let a = a.settled()?;
            (Recipe::Convolution(layer, input, Some(Arc::clone(&a.input.map))), [a, b.clone()])
        }
        (None, None) => {
            let (a, b) = (a.settled()?, b.settled()?);
            (Recipe::Sum([&a, &b].map(|part| Arc::clone(&part.input.map))), [a, b])
        }
    };
    let sum = Arc::new(Map::deferred(a.input.shape(), a.precision(), Some(recipe)));
    let parts = inputs.each_ref().map(|part| Arc::clone(&part.input.map));
    let node = Add { parts, sum: Arc::clone(&sum) };
    let token = tape::map(&[&inputs[0].token, &inputs[1].token], node)?;
    Ok(HostMap::new(sum, token).into())
}

struct Add {
    parts: [Arc<Map>; 2],
    sum: Arc<Map>,
}

impl Node for Add {
    const NAME: &'static str = "add";

    fn backward(&self, inputs: &[&Tensor], _: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let gradient = self.sum.slot.take(&self.sum)?;
        for (part, token) in self.parts.iter().zip(inputs) {
            if token.track_op() {
                part.slot.push(gradient.clone());
            }
        }
        inputs.iter().map(|token| tape::passed(token)).collect()
    }
}
