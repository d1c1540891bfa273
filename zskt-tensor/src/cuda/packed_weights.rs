//! Weights of convolutions as kernels read them beside maps `[B, H, W, C]`: `[O, K, K, I / groups]`.
//!
//! A weight is packed once where [`PackedWeights::within`] says how weights change, and its copy is written by the kernel that
//! updates it; otherwise it is packed at each use.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::Count;
use crate::cuda::launch::{address, empty, launch};
use crate::cuda::tensor_array::{Division, TENSORS, arrays, put_array};
use crate::precision::Precision;

thread_local! {
    /// The copies of the work that keeps them, if this thread does such.
    static COPIES: RefCell<Option<Copies>> = const { RefCell::new(None) };
}

/// The numbers of a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Of this type, `[O, K, K, I / groups]`.
    Whole(DType),
    /// Of this type, `[1, K, K, C]`, of a depthwise convolution.
    Depthwise(DType),
    /// bf16, of which two make one: `[2, O, K, K, I / groups]`, first all numbers rounded and then what that leaves of each.
    Split,
}

impl Packing {
    const ALL: [Self; 7] = [
        Self::Whole(DType::BF16),
        Self::Whole(DType::F32),
        Self::Whole(DType::F64),
        Self::Depthwise(DType::BF16),
        Self::Depthwise(DType::F32),
        Self::Depthwise(DType::F64),
        Self::Split,
    ];

    /// The variant of the kernels that write it.
    ///
    /// # Errors
    /// When there is none.
    pub fn variant(self) -> Result<KernelVariant> {
        match self {
            Self::Whole(DType::BF16) | Self::Depthwise(DType::BF16) | Self::Split => {
                Ok(KernelVariant::of(Precision::Bf16, 1))
            }
            Self::Whole(dtype) | Self::Depthwise(dtype) => KernelVariant::of_tensors(dtype),
        }
    }

    /// An empty tensor for a weight `[O, I / groups, K, K]`.
    fn empty(self, weight: &Tensor) -> Result<Tensor> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        let shape = [outputs, height, width, inputs];
        match self {
            Self::Whole(dtype) => empty(&shape[..], dtype, weight.device()),
            // The channels of the one input of each.
            Self::Depthwise(dtype) => empty((inputs, height, width, outputs), dtype, weight.device()),
            Self::Split => empty([&[2], &shape[..]].concat(), DType::BF16, weight.device()),
        }
    }
}

#[derive(Default)]
struct Copies(Vec<Copy>);

struct Copy {
    /// Where the weight lies in memory.
    place: Range<u64>,
    /// Keeps that memory from being another tensor's.
    weight: Tensor,
    packing: Packing,
    packed: Tensor,
    /// Whether anybody has read it.
    used: bool,
}

/// The packed weights of networks in work that is done again and again, as a training loop does batches.
#[derive(Default)]
pub struct PackedWeights {
    weights: Vec<Tensor>,
    /// Where those that were used the last time lie in memory, and how they were packed.
    used: Vec<(Range<u64>, Packing)>,
}

impl PackedWeights {
    /// Of networks with these weights.
    pub fn new<'a>(weights: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let weights = weights.into_iter().filter(|weight| weight.rank() == 4 && weight.is_contiguous());
        Self { weights: weights.map(Tensor::detach).collect(), used: Vec::new() }
    }

    /// Does work that changes weights by [`apply_updates`](crate::ops::apply_updates) and [`apply_adam`](crate::ops::apply_adam)
    /// only, or says so by [`forget_packed_weights`]:
    /// on a GPU convolutions keep their weights in the order and numbers that they read, and the updates write these copies too.
    /// A gradient through a convolution is asked for before its weight is updated. What is captured in a graph does this within
    /// what is captured: the copies are memory of the graph. What the work before has used of the networks' weights is packed at
    /// once.
    pub fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        /// Drops the copies, also where the work panics.
        struct Within;

        impl Drop for Within {
            fn drop(&mut self) {
                COPIES.take();
            }
        }

        if COPIES.with_borrow(Option::is_some) {
            return work();
        }
        let _within = Within;
        // What cannot be packed now fails where it is used.
        let copies = self.pack().unwrap_or_default();
        COPIES.set(Some(copies));
        let done = work();
        let copies = COPIES.take().unwrap_or_default().0;
        let used = copies.iter().filter(|copy| copy.used);
        self.used = used.map(|copy| (copy.place.clone(), copy.packing)).collect();
        done
    }

    fn pack(&self) -> Result<Copies> {
        let mut copies = Vec::new();
        if self.used.is_empty() {
            return Ok(Copies(copies));
        }
        let places = self.weights.iter().map(place).collect::<Result<Vec<_>>>()?;
        for packing in Packing::ALL {
            let used = |place: &Range<u64>| self.used.iter().any(|(other, of)| (other, *of) == (place, packing));
            let places = places.iter().zip(&self.weights).filter(|(place, _)| used(place));
            let (places, weights): (Vec<_>, Vec<_>) =
                places.map(|(place, weight)| (place.clone(), weight.clone())).unzip();
            let packed = pack(&weights, packing)?;
            let all = places.into_iter().zip(weights).zip(packed);
            copies.extend(all.map(|((place, weight), packed)| Copy { place, weight, packing, packed, used: false }));
        }
        Ok(Copies(copies))
    }
}

/// Says that tensors were changed in another way than by updates.
///
/// # Errors
/// When they are on a device that has no kernels.
pub fn forget_packed_weights<'a>(changed: impl IntoIterator<Item = &'a Tensor>) -> crate::error::Result<()> {
    COPIES.with_borrow_mut(|copies| {
        let Some(copies) = copies.as_mut().filter(|copies| !copies.0.is_empty()) else { return Ok(()) };
        for tensor in changed {
            let place = place(tensor)?;
            copies.0.retain(|copy| !overlap(&copy.place, &place));
        }
        Ok(())
    })
}

/// The weight `[O, I / groups, K, K]` packed.
///
/// # Errors
/// When the device fails.
pub fn packed(weight: &Tensor, packing: Packing) -> Result<Tensor> {
    // What is made of other tensors is made anew each time.
    let made = weight.track_op() && !weight.is_variable();
    if made || !weight.is_contiguous() {
        return pack_one(weight.detach().contiguous()?, packing);
    }
    let weight = weight.detach();
    COPIES.with_borrow_mut(|copies| {
        let Some(Copies(copies)) = copies else { return pack_one(weight, packing) };
        let place = place(&weight)?;
        let same =
            |copy: &&mut Copy| copy.place == place && copy.weight.dims() == weight.dims() && copy.packing == packing;
        if let Some(copy) = copies.iter_mut().find(same) {
            copy.used = true;
            return Ok(copy.packed.clone());
        }
        let packed = pack_one(weight.clone(), packing)?;
        copies.push(Copy { place, weight, packing, packed: packed.clone(), used: true });
        Ok(packed)
    })
}

/// How the copy of a dense tensor is packed, if there is one.
///
/// # Errors
/// When it is on a device that has no kernels.
pub fn packing_of(target: &Tensor) -> Result<Option<Packing>> {
    COPIES.with_borrow(|copies| {
        let Some(Copies(copies)) = copies.as_ref().filter(|copies| !copies.0.is_empty()) else { return Ok(None) };
        let place = place(target)?;
        Ok(copies.iter().find(|copy| copy.place == place).map(|copy| copy.packing))
    })
}

/// The copies that the update of these dense tensors is to write, each packed as the first, and how that is. All others of them are
/// dropped.
///
/// # Errors
/// When a tensor is on a device that has no kernels.
pub fn to_be_updated(targets: &[&Tensor]) -> Result<(Option<Packing>, Vec<Option<Tensor>>)> {
    COPIES.with_borrow_mut(|copies| {
        let Some(Copies(copies)) = copies.as_mut().filter(|copies| !copies.0.is_empty()) else {
            return Ok((None, vec![None; targets.len()]));
        };
        let mut packing: Option<Packing> = None;
        let written = targets.iter().map(|target| {
            let place = place(target)?;
            let mut written: Option<Tensor> = None;
            copies.retain(|copy| {
                if !overlap(&copy.place, &place) {
                    return true;
                }
                let fits = copy.place == place && packing.is_none_or(|packing| packing == copy.packing);
                let kept = fits && written.is_none();
                if kept {
                    packing = Some(copy.packing);
                    written = Some(copy.packed.clone());
                }
                kept
            });
            Ok(written)
        });
        let written = written.collect::<Result<_>>()?;
        Ok((packing, written))
    })
}

fn pack_one(weight: Tensor, packing: Packing) -> Result<Tensor> {
    let mut packed = pack(&[weight], packing)?;
    Ok(packed.swap_remove(0))
}

/// Packs dense weights by few launches.
fn pack(weights: &[Tensor], packing: Packing) -> Result<Vec<Tensor>> {
    let variant = packing.variant()?;
    let mut all = Vec::with_capacity(weights.len());
    for weights in weights.chunks(TENSORS) {
        let (mut packed, mut inputs, mut taps) = (Vec::new(), Vec::new(), Vec::new());
        for weight in weights {
            let of_weight = packing.empty(weight)?;
            let [.., height, width, channels] = *of_weight.dims() else {
                unreachable!("a packed weight has four axes")
            };
            packed.push(of_weight);
            inputs.push(Count(channels));
            taps.push(Count(height * width));
        }
        let division = Division::of(weights);
        let mut arguments = arrays(&[weights.iter().collect(), packed.iter().collect()]);
        put_array::<TENSORS>(&mut arguments, inputs.into_iter(), Count(0));
        put_array::<TENSORS>(&mut arguments, taps.into_iter(), Count(0));
        division.put(&mut arguments);
        arguments.push(Count(usize::from(packing == Packing::Split)));
        launch(weights[0].device(), variant, "pack_weights", division.blocks, &arguments)?;
        all.extend(packed);
    }
    Ok(all)
}

/// Where the numbers of a dense tensor lie in memory.
fn place(tensor: &Tensor) -> Result<Range<u64>> {
    let start = address(tensor)?;
    Ok(start..start + (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor, Var};

    use super::{PackedWeights, forget_packed_weights};
    use crate::backend::Backend;
    use crate::cuda::launch::launch_count::{Launches, counted};
    use crate::cuda::map::CudaMap;
    use crate::cuda::ops::depthwise;
    use crate::error::Result;
    use crate::feature_map::FeatureMap;
    use crate::ops::{self, AdamOperands, AdamStep, UpdateOperands, UpdateRule};
    use crate::precision::Precision;
    use crate::random::{RandomStreams, standard_normal};
    use crate::test_device::test_device as device;

    fn numbers(name: &str, shape: &[usize], precision: Precision) -> Result<Tensor> {
        let numbers = standard_normal(&mut RandomStreams::new(0).named(name), shape.iter().product());
        Ok(Tensor::from_vec(numbers, shape, &device())?.to_dtype(precision.dtype())?)
    }

    /// The convolution of always the same map by a weight.
    fn convolved(weight: &Tensor, groups: usize, precision: Precision) -> Result<Vec<f64>> {
        let channels = weight.dims()[1] * groups;
        let x = CudaMap::from_nchw(&numbers("x", &[1, channels, 3, 2], precision)?)?.to_precision(precision)?;
        let y = ops::conv2d(&FeatureMap::from(x), weight, None, 1, 1, groups, precision)?.to_nchw()?;
        Ok(y.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
    }

    /// Moves tensors.
    fn update(targets: &[&Tensor]) -> Result<()> {
        let updated: Vec<_> = targets.iter().map(|target| UpdateOperands { target, a: target, b: target }).collect();
        Ok(CudaMap::update(&updated, UpdateRule::Step { keep: 0.75, x: 0.125, y: -0.5 })?)
    }

    fn packs(launches: &Launches) -> usize {
        launches.get("pack_weights").copied().unwrap_or_default()
    }

    #[test]
    fn a_weight_is_packed_once_and_its_copy_moves_with_it() -> Result<()> {
        for precision in [Precision::Bf16, Precision::F32, Precision::Tf32, Precision::F64] {
            // By cuDNN and by kernels of our own.
            for (shape, groups) in [([6, 4, 3, 3], 1), ([4, 2, 1, 1], 2), ([16, 4, 3, 3], 1), ([6, 1, 3, 3], 6)] {
                depthwise::ENABLED.set(groups == 6);
                let weight = Var::from_tensor(&numbers("weight", &shape, precision)?)?;
                // Larger, and none of a convolution.
                let other = Var::from_tensor(&numbers("other", &[3000], precision)?)?;
                let (done, launches) = counted(|| {
                    PackedWeights::default().within(|| -> Result<_> {
                        let mut found = Vec::new();
                        for _ in 0..3 {
                            found.push(convolved(&weight, groups, precision)?);
                            // A frozen network's is the same weight.
                            assert_eq!(
                                convolved(&weight.as_detached_tensor(), groups, precision)?,
                                found[found.len() - 1]
                            );
                            update(&[&other, &weight])?;
                        }
                        Ok((found, convolved(&weight, groups, precision)?))
                    })
                });
                let (found, last) = done?;
                assert_eq!(packs(&launches), 1, "{precision:?}");
                assert_eq!(launches["update"], 3);
                let (again, launches) = counted(|| convolved(&weight, groups, precision));
                assert_eq!((again?, packs(&launches)), (last, 1), "{precision:?}");
                weight.set(&numbers("weight", &shape, precision)?)?;
                for expected in found {
                    assert_eq!(convolved(&weight, groups, precision)?, expected, "{precision:?}");
                    update(&[&weight])?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn copies_that_are_packed_in_different_ways_move_in_one_update() -> Result<()> {
        // In TF32 kernels of our own split the second, and cuDNN reads the others as they are.
        let shapes = [[6, 4, 3, 3], [16, 4, 3, 3], [5, 4, 1, 1]];
        let weights =
            shapes.map(|shape| numbers("weight", &shape, Precision::Tf32).and_then(|w| Ok(Var::from_tensor(&w)?)));
        let weights = weights.into_iter().collect::<Result<Vec<_>>>()?;
        let convolutions =
            || weights.iter().map(|weight| convolved(weight, 1, Precision::Tf32)).collect::<Result<Vec<_>>>();
        let (found, launches) = counted(|| {
            PackedWeights::default().within(|| -> Result<_> {
                convolutions()?;
                update(&weights.iter().map(Var::as_tensor).collect::<Vec<_>>())?;
                convolutions()
            })
        });
        assert_eq!((packs(&launches), launches["update"]), (3, 2));
        assert_eq!(found?, convolutions()?);
        Ok(())
    }

    #[test]
    fn no_copy_is_stale() -> Result<()> {
        let weight = Var::from_tensor(&numbers("weight", &[32, 16, 3, 3], Precision::F32)?)?;
        let convolutions = || -> Result<Vec<_>> {
            let half = weight.narrow(0, 16, 16)?.detach();
            let other = weight.as_detached_tensor().reshape((16, 32, 3, 3))?.narrow(1, 0, 16)?;
            let made = (weight.as_tensor() * 2.0)?;
            [weight.as_tensor(), &half, &other, &made]
                .into_iter()
                .flat_map(|weight| [Precision::Bf16, Precision::Tf32].map(|precision| convolved(weight, 1, precision)))
                .collect()
        };
        PackedWeights::default().within(|| -> Result<()> {
            for change in 0..6 {
                let kept = convolutions()?;
                match change {
                    0 => update(&[&weight])?,
                    // All of it by another name, and a part.
                    1 => update(&[&weight.reshape((32, 144))?])?,
                    2 => update(&[&weight.narrow(0, 3, 13)?])?,
                    3 => {
                        weight.set(&numbers("change", &[32, 16, 3, 3], Precision::F32)?)?;
                        forget_packed_weights([weight.as_tensor()])?;
                    }
                    4 => {
                        let state = weight.ones_like()?;
                        let step = AdamStep {
                            betas: [0.5; 2],
                            weight_decay: 0.0,
                            keep: 1.0,
                            rate: 0.25,
                            root_bias: 1.0,
                            epsilon: 1e-8,
                        };
                        let moved = AdamOperands {
                            weight: &weight,
                            gradient: &weight.copy()?,
                            average: &state,
                            average_of_squares: &state.copy()?,
                        };
                        CudaMap::adam(&[moved], step)?;
                    }
                    _ => {
                        // Work within work goes on with its copies.
                        PackedWeights::default().within(|| update(&[&weight]))?;
                    }
                }
                let found = convolutions()?;
                assert_ne!(found, kept, "{change}");
                let fresh = std::thread::scope(|scope| {
                    scope.spawn(|| convolutions().map_err(|error| error.to_string())).join().unwrap()
                });
                assert_eq!(found, fresh.unwrap(), "{change}");
            }
            Ok(())
        })?;
        // Nothing is kept.
        let (_, launches) = counted(|| convolved(&weight, 1, Precision::F32));
        assert_eq!(packs(&launches), 1);
        Ok(())
    }

    #[test]
    fn what_was_used_before_is_packed_at_once() -> Result<()> {
        let weights = (0..70).map(|index| {
            // Some are for kernels of our own, which split them.
            let outputs = if index % 6 == 5 { 16 } else { 1 + index % 5 };
            let shape = [outputs, 4, 1 + index % 3, 1 + index % 3];
            Ok(Var::from_tensor(&numbers(&format!("weight {index}"), &shape, Precision::F32)?)?)
        });
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let mut packed = PackedWeights::new(weights.iter().map(Var::as_tensor));
        let mut batch = |weights: &[Var]| {
            counted(|| {
                packed.within(|| -> Result<Vec<_>> {
                    let used = weights.iter().enumerate();
                    used.map(|(index, weight)| {
                        convolved(weight, 1, if index % 2 == 0 { Precision::Bf16 } else { Precision::Tf32 })
                    })
                    .collect()
                })
            })
        };
        let (first, launches) = batch(&weights);
        assert_eq!(packs(&launches), 70);
        let (second, launches) = batch(&weights);
        // In each of three ways.
        assert_eq!((packs(&launches), second?), (3, first?));
        for weight in &weights {
            weight.set(&(weight.as_tensor() * 2.0)?)?;
        }
        // Nothing is known of what happens in between; what is no longer used is packed once more.
        let (third, launches) = batch(&weights[..3]);
        assert_eq!(packs(&launches), 3);
        let (fourth, launches) = batch(&weights[..3]);
        assert_eq!((packs(&launches), &fourth?), (2, third.as_ref().unwrap()));
        assert_eq!(third?[1], convolved(&weights[1], 1, Precision::Tf32)?);
        Ok(())
    }
}
