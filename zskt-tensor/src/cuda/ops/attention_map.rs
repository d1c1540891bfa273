//! Attention maps and how far they are from others, on GPUs.

use candle_core::{Result, Tensor, bail};

use crate::autograd::to_tensor;
use crate::backend::ATTENTION_EPSILON;
use crate::candle_function::Values;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{self, Address, Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{empty, launch};
use crate::cuda::map::CudaMap;
use crate::cuda::tensor_array::put_array;
use crate::cuda::ticket::ticket;
use crate::shape::MapShape;

/// Maps of one launch, `MAPS` in the kernels.
const MAPS: usize = 8;

/// The attention map `[B, H·W]` of a feature map, and what its gradient takes.
#[derive(Clone)]
struct Attention {
    x: CudaMap,
    map: Tensor,
    norm: Tensor,
    target: Option<Tensor>,
}

/// A feature map's gradient that is to be computed: `plus`, and what comes of its attention map.
struct Pending<'a> {
    attention: &'a Attention,
    plus: Option<Tensor>,
    of_x: Tensor,
}

impl Attention {
    /// With room for the numbers.
    fn empty(x: &CudaMap, target: Option<Tensor>) -> Result<Self> {
        let MapShape { batch, height, width, .. } = x.shape();
        let (device, dtype) = (x.device(), x.precision.dtype());
        let (map, norm) = (empty((batch, height * width), dtype, device)?, empty(batch, dtype, device)?);
        Ok(Self { x: x.clone(), map, norm, target })
    }

    fn pixels(&self) -> usize {
        self.x.shape().height * self.x.shape().width
    }

    /// Computes them for some maps, and for maps with targets what is to be at `total`: the sum of the squared differences from all,
    /// those of each times its factor.
    fn compute(all: &[Self], factors: &[f64], total: Option<u64>) -> Result<()> {
        let Some(Self { x, .. }) = all.first() else { bail!("attention of no maps") };
        let (device, dtype, variant) = (x.device(), x.precision.dtype(), variant(all.iter())?);
        let images = all.iter().map(|attention| attention.x.shape().batch).sum();
        let distances = total.map(|_| empty(images, dtype, device)).transpose()?;
        let ticket = total.map(|_| ticket(device)).transpose()?;
        let values = all.iter().map(|attention| attention.x.values()).collect::<Result<Vec<_>>>()?;
        let mut arguments = Vec::new();
        put_array::<MAPS>(&mut arguments, values.into_iter().map(Of), Nothing);
        put_array::<MAPS>(&mut arguments, all.iter().map(|attention| attention.target.as_ref().into()), Nothing);
        put_array::<MAPS>(&mut arguments, all.iter().map(|attention| Of(&attention.map)), Nothing);
        put_array::<MAPS>(&mut arguments, all.iter().map(|attention| Of(&attention.norm)), Nothing);
        put_shapes(&mut arguments, all.iter(), variant);
        put_array::<MAPS>(&mut arguments, factors.iter().copied().map(Real), Real(0.0));
        arguments.extend([distances.as_ref().into(), total.map_or(Nothing, Address), ticket.as_ref().into()]);
        arguments.push(Real(ATTENTION_EPSILON));
        launch(device, variant, "attention", images, &arguments)
    }

    /// Gives the maps their gradients, from that of the attention map or of `factor` times the mean squared differences.
    fn backward(all: &[Self], gradient: &Tensor, factor: f64) -> Result<()> {
        let mut pending: Vec<Pending<'_>> = Vec::new();
        for attention in all {
            let x = &attention.x;
            x.accumulate(|plus| {
                // The same map twice.
                if pending.iter().any(|pending| plus.is_some_and(|plus| plus.id() == pending.of_x.id())) {
                    Pending::compute(&pending, gradient, factor)?;
                    pending.clear();
                }
                let of_x = empty(x.values()?.shape(), x.precision.storage_dtype(), x.device())?;
                pending.push(Pending { attention, plus: plus.cloned(), of_x: of_x.clone() });
                Ok(of_x)
            })?;
        }
        Pending::compute(&pending, gradient, factor)
    }
}

impl Pending<'_> {
    fn compute(all: &[Self], gradient: &Tensor, factor: f64) -> Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let attentions = || all.iter().map(|pending| pending.attention);
        let variant = variant(attentions())?;
        let values = attentions().map(|attention| attention.x.values()).collect::<Result<Vec<_>>>()?;
        let mut arguments = Vec::new();
        put_array::<MAPS>(&mut arguments, values.into_iter().map(Of), Nothing);
        put_array::<MAPS>(&mut arguments, all.iter().map(|pending| pending.plus.as_ref().into()), Nothing);
        put_array::<MAPS>(&mut arguments, attentions().map(|attention| Of(&attention.map)), Nothing);
        put_array::<MAPS>(&mut arguments, attentions().map(|attention| Of(&attention.norm)), Nothing);
        put_array::<MAPS>(&mut arguments, attentions().map(|attention| attention.target.as_ref().into()), Nothing);
        put_array::<MAPS>(&mut arguments, all.iter().map(|pending| Of(&pending.of_x)), Nothing);
        put_shapes(&mut arguments, attentions(), variant);
        arguments.extend([Of(gradient), Real(ATTENTION_EPSILON), Real(factor)]);
        let images = attentions().map(|attention| attention.x.shape().batch).sum();
        launch(gradient.device(), variant, "attention_gradient", images, &arguments)
    }
}

/// By packs where the channels of all maps allow it.
fn variant<'a>(all: impl Iterator<Item = &'a Attention>) -> Result<KernelVariant> {
    let narrowest = all.map(|Attention { x, .. }| KernelVariant::of(x.precision, x.shape().channels));
    match narrowest.min_by_key(|variant| variant.vector_width) {
        Some(variant) => Ok(variant),
        None => bail!("attention of no maps"),
    }
}

/// The arrays of batches, pixels and packs of a pixel.
fn put_shapes<'a>(
    arguments: &mut Vec<Argument<'_>>,
    all: impl Iterator<Item = &'a Attention> + Clone,
    variant: KernelVariant,
) {
    put_array::<MAPS>(arguments, all.clone().map(|attention| Count(attention.x.shape().batch)), Count(0));
    put_array::<MAPS>(arguments, all.clone().map(|attention| Count(attention.pixels())), Count(0));
    put_array::<MAPS>(
        arguments,
        all.map(|attention| Count(attention.x.shape().channels / variant.vector_width)),
        Count(0),
    );
}

/// The attention map, `[B, H·W]`.
///
/// # Errors
/// When the device fails.
pub fn attention_map(x: &CudaMap) -> Result<Tensor> {
    let attention = Attention::empty(x, None)?;
    Attention::compute(std::slice::from_ref(&attention), &[], None)?;
    let map = attention.map.clone();
    to_tensor(x.entry(), &[], map, move |gradient| Attention::backward(std::slice::from_ref(&attention), gradient, 1.0))
}

/// `factor` times the sum of the distances of maps from targets, `[B, H·W]`: the mean over batch and pixels of the squared difference
/// between the attention map and the target. One kernel computes it, and one its gradients.
///
/// # Errors
/// When there are no maps, the shapes or types differ or the device fails.
pub fn attention_distances(pairs: &[(&CudaMap, &Tensor)], factor: f64) -> Result<Tensor> {
    let alike = pairs.windows(2).all(|pairs| pairs[0].0.precision == pairs[1].0.precision);
    if pairs.len() > MAPS || !alike || pairs.iter().any(|(_, target)| target.track_op()) {
        return one_by_one(pairs, factor);
    }
    let maps = pairs.iter().map(|(x, target)| Attention::empty(x, Some(target.contiguous()?)));
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let shares = maps.iter().map(|attention| factor / attention.map.elem_count() as f64).collect::<Vec<_>>();
    let Some((x, _)) = pairs.first() else { bail!("a distance of no maps") };
    let computed = maps.clone();
    let distance = Values::written(x.device(), x.precision.dtype(), (), move |total| {
        Attention::compute(&computed, &shares, Some(total))
    });
    let entries = pairs.iter().filter_map(|(x, _)| x.entry());
    to_tensor(entries, &[], distance, move |gradient| Attention::backward(&maps, gradient, factor))
}

/// By operations of candle's, which has gradients of targets too.
fn one_by_one(pairs: &[(&CudaMap, &Tensor)], factor: f64) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (x, target) in pairs {
        let distance = (attention_map(x)? - *target)?.sqr()?.mean_all()?;
        sum = Some(match sum {
            None => distance,
            Some(sum) => (sum + distance)?,
        });
    }
    match sum {
        Some(sum) => sum * factor,
        None => bail!("a distance of no maps"),
    }
}
