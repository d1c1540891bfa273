//! Activations that are no rectifiers, number by number.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::activation::{Curve, Gate};
use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;

/// The value at `x`, and the derivative there.
#[inline(always)]
fn at<T: Float>(curve: &Curve, x: T) -> (T, T) {
    let (y, slope) = match curve.gate {
        Gate::Sigmoid => {
            let y = T::ONE / (T::ONE + (-x).exp());
            (y, y * (T::ONE - y))
        }
        Gate::Tanh => {
            let y = x.tanh();
            (y, T::ONE - y * y)
        }
        Gate::Normal => {
            let [half, root] = [0.5, FRAC_1_SQRT_2].map(T::from_f64);
            // The derivative is the distribution's density, e^(−x²/2) / √(2π).
            let density = T::from_f64(FRAC_1_SQRT_2 * FRAC_2_SQRT_PI * 0.5);
            (half * (T::ONE + (x * root).erf()), density * (-half * x * x).exp())
        }
        Gate::Line { alpha, beta, min, max } => {
            let [alpha, beta, min, max] = [alpha, beta, min, max].map(T::from_f64);
            let y = alpha * x + beta;
            let slope = if y > min && y < max { alpha } else { T::ZERO };
            let y = if y < min { min } else { y };
            (if y > max { max } else { y }, slope)
        }
    };
    if curve.times_x { (x * y, y + x * slope) } else { (y, slope) }
}

/// The activation of each number.
pub fn forward<T: KernelTable>(curve: &Curve, channels: usize, x: &InputView<T>, out: MapSliceMut<T>) {
    let set = InstructionSet::best();
    let produce = |first: usize, results: &mut [T]| {
        x.write(set, first * channels, results);
        results.iter_mut().for_each(|result| *result = at(curve, *result).0);
    };
    elementwise_loop::run(set, channels, produce, &Epilogue::STORE, out);
}

/// The gradient of each number.
pub fn backward<T: KernelTable>(
    curve: &Curve,
    channels: usize,
    x: &InputView<T>,
    gradient: &InputView<T>,
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    let set = InstructionSet::best();
    let produce = |first: usize, results: &mut [T]| {
        let mut gradients = Buffer::<T>::new(results.len());
        gradient.write(set, first * channels, &mut gradients);
        x.write(set, first * channels, results);
        for (result, gradient) in results.iter_mut().zip(&*gradients) {
            *result = at(curve, *result).1 * *gradient;
        }
    };
    elementwise_loop::run(set, channels, produce, epilogue, out)
}
