//! Convolutions and their gradients, by the kernels that the precision of the maps and the processor call for.

use crate::cpu::amx;
use crate::cpu::conv::data_gradient::data_gradient;
use crate::cpu::conv::forward::forward;
use crate::cpu::conv::fused_backward;
use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::packed_conv::Correlation;
use crate::cpu::conv::weight_gradient::{ImageSums, MultiplyAdd, Problem};
use crate::cpu::fusion::lazy_map::Loaded;
use crate::cpu::kernels::epilogue::{Sink, Sums};
use crate::cpu::kernels::prologue::Source;
use crate::cpu::simd::dtype::{Bf16, NumbersMut};
use crate::cpu::simd::instruction_set::Instructions;
use crate::cpu::storage::Number;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// A convolution with packed weights: what was in them when it was made, whatever becomes of them since.
pub enum Convolution {
    /// Sums of products in single precision.
    F32(Correlation<f32>),
    /// Sums of products in double precision.
    F64(Correlation<f64>),
    /// Sums in single precision of products in bf16.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Tiles(Correlation<Bf16>),
}

/// Whether maps of this precision are multiplied by tiles here.
fn tiles(precision: Precision) -> bool {
    precision == Precision::Bf16 && amx::available()
}

/// Which gradients are wanted.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// That of the input.
    pub input: bool,
    /// That of the weight.
    pub weight: bool,
}

/// A type that maps are computed with.
pub trait Computed: Number {
    /// The convolution with `weight` `[O, I, K, K]` plus `bias` `[O]`, into maps of the given precision.
    fn forward(g: &ConvGeometry, weight: &[Self], bias: Option<&[Self]>, precision: Precision) -> Convolution;

    /// Runs a convolution.
    fn run(convolution: &Convolution, source: &Source<Self>, sink: &Sink<Self>, out: NumbersMut<Self>) -> Sums;

    /// From the gradient `dy` of a convolution of `x` into maps of the given precision: deposits the gradient of `x`, and
    /// returns that of the weight, if they are wanted.
    fn backward(
        g: &ConvGeometry,
        weight: &[Self],
        x: &Loaded,
        dy: &Source<Self>,
        precision: Precision,
        wanted: Wanted,
    ) -> Option<Vec<Self>>;
}

impl Computed for f32 {
    fn forward(g: &ConvGeometry, weight: &[f32], bias: Option<&[f32]>, precision: Precision) -> Convolution {
        let set = Instructions::best();
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if tiles(precision) {
            return Convolution::Tiles(forward(set, g, weight, bias));
        }
        Convolution::F32(forward(set, g, weight, bias))
    }

    fn run(convolution: &Convolution, source: &Source<f32>, sink: &Sink<f32>, out: NumbersMut<f32>) -> Sums {
        match convolution {
            Convolution::F32(correlation) => correlation.run(source, sink, out),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Convolution::Tiles(correlation) => correlation.run(source, sink, out),
            Convolution::F64(_) => unreachable!("a convolution has the type of its maps"),
        }
    }

    fn backward(
        g: &ConvGeometry,
        weight: &[f32],
        x: &Loaded,
        dy: &Source<f32>,
        precision: Precision,
        wanted: Wanted,
    ) -> Option<Vec<f32>> {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if tiles(precision) {
            let problem = Problem::of(g);
            let sums = amx::TileSums::new(Instructions::best(), &problem);
            return gradients::<Bf16>(g, weight, x, dy, wanted, &|_, read| read(&sums));
        }
        multiply_add(g, weight, x, dy, wanted)
    }
}

impl Computed for f64 {
    fn forward(g: &ConvGeometry, weight: &[f64], bias: Option<&[f64]>, _: Precision) -> Convolution {
        Convolution::F64(forward(Instructions::best(), g, weight, bias))
    }

    fn run(convolution: &Convolution, source: &Source<f64>, sink: &Sink<f64>, out: NumbersMut<f64>) -> Sums {
        match convolution {
            Convolution::F64(correlation) => correlation.run(source, sink, out),
            _ => unreachable!("a convolution has the type of its maps"),
        }
    }

    fn backward(
        g: &ConvGeometry,
        weight: &[f64],
        x: &Loaded,
        dy: &Source<f64>,
        _: Precision,
        wanted: Wanted,
    ) -> Option<Vec<f64>> {
        multiply_add(g, weight, x, dy, wanted)
    }
}

/// [`Computed::backward`] by fused multiply-adds.
fn multiply_add<T: Number + Operand<Real = T>>(
    g: &ConvGeometry,
    weight: &[T],
    x: &Loaded,
    dy: &Source<T>,
    wanted: Wanted,
) -> Option<Vec<T>> {
    let problem = Problem::of(g);
    gradients::<T>(g, weight, x, dy, wanted, &|x, read| {
        read(&MultiplyAdd::new(Instructions::best(), &problem, x, dy));
    })
}

/// Calls its second argument with the sums of the weight gradient for inputs that are read in this way.
type WithSums<'a, T> = dyn Fn(&Source<T>, &mut dyn FnMut(&dyn ImageSums<T>)) + 'a;

/// [`Computed::backward`] by the kernels of an operand; `weights` calls its argument with the sums of the weight gradient.
fn gradients<C: Operand>(
    g: &ConvGeometry,
    weight: &[C::Real],
    x: &Loaded,
    dy: &Source<C::Real>,
    wanted: Wanted,
    weights: &WithSums<'_, C::Real>,
) -> Option<Vec<C::Real>>
where
    C::Real: Number,
{
    let backward_input = |weight| data_gradient::<C>(Instructions::best(), g, weight);
    let correlation = wanted.input.then(|| backward_input(weight));
    let mut of_weight = None;
    // Weight gradients with what becomes of the data gradient, if anything.
    let mut both = |data: Option<fused_backward::Data<'_, C>>| {
        let (mut data, mut sums) = (data, Sums::zeros(0));
        x.read(|x| {
            weights(x, &mut |weights| {
                let (of_data, gradient) = fused_backward::run(data.take(), weights, g.batch, x, dy);
                (sums, of_weight) = (of_data, Some(gradient));
            });
        });
        sums
    };
    match &correlation {
        Some(correlation) if wanted.weight && correlation.images().is_some() => {
            x.deposit(|sink, out| both(Some(fused_backward::Data { correlation, sink: *sink, out })));
        }
        correlation => {
            if let Some(correlation) = correlation {
                x.deposit(|sink, out| correlation.run(dy, sink, out));
            }
            if wanted.weight {
                both(None);
            }
        }
    }
    of_weight
}
