//! Two-dimensional convolution.

use std::sync::Arc;

use candle_core::{Tensor, bail};

use super::storage::{Dense, by_dtype};
use crate::feature_map::Place;
use crate::kernels::{ConvGeometry, MapShape, Source, elementwise};
use crate::map::convolution::{Computed, Convolution, Wanted};
use crate::map::host::HostMap;
use crate::map::tape::{self, Node};
use crate::map::{Loaded, Map, Recipe};
use crate::{FeatureMap, Precision, Result};

/// Convolves `x` `[B, I, H, W]` with `weight` `[O, I, K, K]` and adds `bias` `[O]`; zero padding and stride are the same
/// for both axes. The result is a map of the given precision.
///
/// # Errors
/// When the shapes or types do not fit or the device fails.
pub fn conv2d(
    x: &FeatureMap,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
    precision: Precision,
) -> Result<FeatureMap> {
    let (shape, upsampling) = match &x.0 {
        // A stride over an upsampled map is rare, and would need phases of both.
        Place::Host(x) if stride > 1 && x.input.load.upsampling > 1 => {
            return conv2d(&x.settled()?.into(), weight, bias, stride, padding, precision);
        }
        Place::Host(x) => (x.input.map.shape, x.input.load.upsampling),
        Place::Device(x) => (x.shape(), 1),
    };
    let geometry = geometry(shape, upsampling, weight, stride, padding)?;
    if let Some(bias) = bias
        && bias.dims() != [geometry.out_channels]
    {
        let message = format!("a bias {:?} does not fit {} output channels", bias.dims(), geometry.out_channels);
        return Err(crate::Error::new(message));
    }
    if [x.dtype(), precision.dtype()] != [weight.dtype(); 2] {
        let message =
            format!("a weight of {:?} does not fit maps of {:?} and {precision:?}", weight.dtype(), x.dtype());
        return Err(crate::Error::new(message));
    }
    match &x.0 {
        Place::Host(x) => on_host(x, geometry, weight, bias, precision),
        Place::Device(x) => Ok(x.conv2d(geometry, weight, bias, precision)?.into()),
    }
}

fn on_host(
    x: &HostMap,
    geometry: ConvGeometry,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<FeatureMap> {
    let (input, token) = (&x.input, &x.token);
    let convolution = packed(&geometry, weight, bias, precision)?;
    let shape = MapShape {
        batch: geometry.batch,
        height: geometry.out_height(),
        width: geometry.out_width(),
        channels: geometry.out_channels,
    };
    let recipe = Recipe::Convolution(Arc::new(convolution), input.clone(), None);
    let output = Arc::new(Map::deferred(shape, precision, Some(recipe)));
    let node = Conv2d { geometry, input: input.clone(), output: Arc::clone(&output) };
    let token = match bias {
        None => tape::map(&[token, weight], node)?,
        Some(bias) => tape::map(&[token, weight, bias], node)?,
    };
    Ok(HostMap::new(output, token).into())
}

fn geometry(
    x: MapShape,
    upsampling: usize,
    weight: &Tensor,
    stride: usize,
    padding: usize,
) -> candle_core::Result<ConvGeometry> {
    let MapShape { batch, height, width, channels: in_channels } = x;
    let (out_channels, expected, kernel, other) = weight.dims4()?;
    if expected != in_channels || kernel != other || kernel == 0 || stride == 0 {
        bail!("a kernel {:?} with stride {stride} does not fit {in_channels} channels", weight.dims());
    }
    let [rows, columns] = [height, width].map(|size| size * upsampling);
    if rows + 2 * padding < kernel || columns + 2 * padding < kernel {
        bail!("a {kernel}×{kernel} kernel does not fit into {rows}×{columns} padded by {padding}");
    }
    Ok(ConvGeometry { batch, height, width, upsampling, in_channels, out_channels, kernel, stride, padding })
}

fn packed(
    geometry: &ConvGeometry,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> candle_core::Result<Convolution> {
    let weight = weight.contiguous()?;
    let bias = bias.map(Tensor::contiguous).transpose()?;
    let (weight_data, bias_data) = (Dense::of(&weight), bias.as_ref().map(Dense::of));
    by_dtype!(weight.dtype(), T => {
        let bias = bias_data.as_ref().map(Dense::slice).transpose()?;
        Ok(T::forward(geometry, weight_data.slice()?, bias, precision))
    })
}

struct Conv2d {
    geometry: ConvGeometry,
    input: Loaded,
    output: Arc<Map>,
}

impl Node for Conv2d {
    const NAME: &'static str = "conv2d";

    fn backward(&self, inputs: &[&Tensor], _: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let gradient = self.output.slot.take(&self.output)?;
        by_dtype!(inputs[1].dtype(), T => gradient.read(|dy| self.gradients::<T>(inputs, dy)))
    }
}

impl Conv2d {
    fn gradients<T: Computed>(&self, inputs: &[&Tensor], dy: &Source<T>) -> candle_core::Result<Vec<Option<Tensor>>> {
        let g = &self.geometry;
        let wanted = Wanted { input: inputs[0].track_op(), weight: inputs[1].track_op() };
        let weight = inputs[1].contiguous()?;
        let weight = Dense::of(&weight);
        let of_weight = T::backward(g, weight.slice()?, &self.input, dy, self.output.precision, wanted);
        let of_weight = of_weight.map(|values| Tensor::from_vec(values, inputs[1].shape(), inputs[1].device()));
        let mut gradients = vec![tape::passed(inputs[0])?, of_weight.transpose()?];
        if let Some(bias) = inputs.get(2) {
            let of_bias = || Ok(elementwise::pixel_sums(dy, 1, g.out_channels, 1.0));
            gradients.push(tape::gradient(bias, of_bias)?);
        }
        Ok(gradients)
    }
}
