//! Convolutions and their gradients, by the kernels that the precision of the maps and the processor call for.

use super::values::Number;
use crate::Precision;
use crate::kernels::{Bf16, ConvGeometry, Correlation, Instructions, NumbersMut, Sink, Source, Sums, amx, conv2d};

/// A convolution or its data gradient, with packed weights: what was in them when it was made, whatever becomes of them
/// since.
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

/// A type that maps are computed with.
pub trait Computed: Number {
    /// The convolution with `weight` `[O, I, K, K]` plus `bias` `[O]`, into maps of the given precision.
    fn forward(g: &ConvGeometry, weight: &[Self], bias: Option<&[Self]>, precision: Precision) -> Convolution;

    /// What makes the gradient with respect to the input of the one with respect to the output.
    fn backward_input(g: &ConvGeometry, weight: &[Self], precision: Precision) -> Convolution;

    /// The gradient with respect to the weight, from inputs `x` and gradients `dy`.
    fn backward_weight(g: &ConvGeometry, x: &Source<Self>, dy: &Source<Self>, precision: Precision) -> Vec<Self>;

    /// Runs a convolution or a data gradient.
    fn run(convolution: &Convolution, source: &Source<Self>, sink: &Sink<Self>, out: NumbersMut<Self>) -> Sums;
}

impl Computed for f32 {
    fn forward(g: &ConvGeometry, weight: &[f32], bias: Option<&[f32]>, precision: Precision) -> Convolution {
        let set = Instructions::best();
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if tiles(precision) {
            return Convolution::Tiles(conv2d::forward(set, g, weight, bias));
        }
        Convolution::F32(conv2d::forward(set, g, weight, bias))
    }

    fn backward_input(g: &ConvGeometry, weight: &[f32], precision: Precision) -> Convolution {
        let set = Instructions::best();
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if tiles(precision) {
            return Convolution::Tiles(conv2d::backward_input(set, g, weight));
        }
        Convolution::F32(conv2d::backward_input(set, g, weight))
    }

    fn backward_weight(g: &ConvGeometry, x: &Source<f32>, dy: &Source<f32>, precision: Precision) -> Vec<f32> {
        let set = Instructions::best();
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if tiles(precision) {
            return amx::weight_gradient(set, &conv2d::outer_problem(g), x, dy);
        }
        conv2d::backward_weight(set, g, x, dy)
    }

    fn run(convolution: &Convolution, source: &Source<f32>, sink: &Sink<f32>, out: NumbersMut<f32>) -> Sums {
        match convolution {
            Convolution::F32(correlation) => correlation.run(source, sink, out),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Convolution::Tiles(correlation) => correlation.run(source, sink, out),
            Convolution::F64(_) => unreachable!("a convolution has the type of its maps"),
        }
    }
}

impl Computed for f64 {
    fn forward(g: &ConvGeometry, weight: &[f64], bias: Option<&[f64]>, _: Precision) -> Convolution {
        Convolution::F64(conv2d::forward(Instructions::best(), g, weight, bias))
    }

    fn backward_input(g: &ConvGeometry, weight: &[f64], _: Precision) -> Convolution {
        Convolution::F64(conv2d::backward_input(Instructions::best(), g, weight))
    }

    fn backward_weight(g: &ConvGeometry, x: &Source<f64>, dy: &Source<f64>, _: Precision) -> Vec<f64> {
        conv2d::backward_weight(Instructions::best(), g, x, dy)
    }

    fn run(convolution: &Convolution, source: &Source<f64>, sink: &Sink<f64>, out: NumbersMut<f64>) -> Sums {
        match convolution {
            Convolution::F64(correlation) => correlation.run(source, sink, out),
            _ => unreachable!("a convolution has the type of its maps"),
        }
    }
}
