//! Attention maps and how far two are apart, on GPUs.

use candle_core::{Result, Tensor, bail};

use crate::autograd::to_tensor;
use crate::backend::ATTENTION_EPSILON;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{empty, launch};
use crate::cuda::map::CudaMap;
use crate::shape::MapShape;

/// The attention map `[B, H·W]` of a feature map, and what its gradient takes.
#[derive(Clone)]
struct Attention {
    x: CudaMap,
    variant: KernelVariant,
    map: Tensor,
    norm: Tensor,
    target: Option<Tensor>,
}

impl Attention {
    /// Of a map, and with a target the sum of the squared differences from it for each image, `[B]`.
    fn of(x: &CudaMap, target: Option<Tensor>) -> Result<(Self, Option<Tensor>)> {
        let MapShape { batch, height, width, channels } = x.shape();
        let (device, dtype, pixels) = (x.values.device(), x.precision.dtype(), height * width);
        let variant = KernelVariant::of(x.precision, channels);
        let (map, norm) = (empty((batch, pixels), dtype, device)?, empty(batch, dtype, device)?);
        let distances = target.as_ref().map(|_| empty(batch, dtype, device)).transpose()?;
        let maps = [Of(&x.values), target.as_ref().into(), Of(&map), Of(&norm), distances.as_ref().into()];
        let scalars = [Count(pixels), Count(channels / variant.vector_width), Real(ATTENTION_EPSILON)];
        launch(device, variant, "attention", batch, &[&maps[..], &scalars].concat())?;
        Ok((Self { x: x.clone(), variant, map, norm, target }, distances))
    }

    /// Gives the map its gradient, from that of the attention map or of the distance.
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, variant, map, norm, target } = self;
        let MapShape { batch, height, width, channels } = x.shape();
        x.accumulate(|plus| {
            let of_x = empty(x.values.shape(), x.values.dtype(), x.values.device())?;
            let maps = [Of(&x.values), plus.into(), Of(map), Of(norm), target.as_ref().into(), Of(gradient), Of(&of_x)];
            let counts = [Count(batch), Count(height * width), Count(channels / variant.vector_width)];
            let arguments = [&maps[..], &counts, &[Real(ATTENTION_EPSILON)]].concat();
            launch(of_x.device(), *variant, "attention_gradient", batch, &arguments)?;
            Ok(of_x)
        })
    }
}

/// The attention map, `[B, H·W]`.
///
/// # Errors
/// When the device fails.
pub fn attention_map(x: &CudaMap) -> Result<Tensor> {
    let (attention, _) = Attention::of(x, None)?;
    let map = attention.map.clone();
    to_tensor(x.entry(), &[], map, move |gradient| attention.backward(gradient))
}

/// The mean over batch and pixels of the squared difference between the attention map and `target`, `[B, H·W]`.
///
/// # Errors
/// When the shapes or types differ or the device fails.
pub fn attention_distance(x: &CudaMap, target: &Tensor) -> Result<Tensor> {
    let MapShape { batch, height, width, .. } = x.shape();
    let (pixels, dtype) = (height * width, x.precision.dtype());
    if target.dims() != [batch, pixels] || target.dtype() != dtype {
        bail!(
            "an attention map [{batch}, {pixels}] of {dtype:?} cannot be compared with {:?} of {:?}",
            target.dims(),
            target.dtype()
        );
    }
    if target.track_op() {
        return (attention_map(x)? - target)?.sqr()?.mean_all();
    }
    let (attention, distances) = Attention::of(x, Some(target.contiguous()?))?;
    let distance = empty((), dtype, target.device())?;
    let numbers = distances.as_ref().map_or(Nothing, Of);
    let arguments = [numbers, Of(&distance), Count(batch), Real(1.0 / (batch * pixels) as f64)];
    launch(target.device(), KernelVariant::of_tensors(dtype)?, "total", 1, &arguments)?;
    to_tensor(x.entry(), &[], distance, move |gradient| attention.backward(gradient))
}
