//! Attention maps: the mean over channels of the squared activation.

use crate::cpu::simd::dtype::{Element, MapSlice};
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::{InstructionSet, Vectorized};
use crate::cpu::threads;
use crate::shape::MapShape;

/// `[batch, height, width]`: the mean over the channels of `x²`.
pub fn forward<T: Float>(shape: &MapShape, x: MapSlice<T>) -> Vec<T> {
    assert_eq!(x.len(), shape.len(), "the map has the shape it should have");
    let set = InstructionSet::best();
    let channels = shape.channels;
    let mut energies = vec![T::ZERO; shape.batch * shape.height * shape.width];
    threads::update(&mut energies, threads::task_len(channels) / channels, |at, energies| {
        set.run(&Energy { x, channels }, (at, energies));
    });
    energies
}

struct Energy<'a, T> {
    x: MapSlice<'a, T>,
    channels: usize,
}

impl<T: Float> Vectorized<(usize, &mut [T])> for Energy<'_, T> {
    #[inline(always)]
    fn run(&self, (at, energies): (usize, &mut [T])) {
        match self.x {
            MapSlice::Full(x) => self.of(&x[at * self.channels..], energies),
            MapSlice::Half(x) => self.of(&x[at * self.channels..], energies),
        }
    }
}

impl<T: Float> Energy<'_, T> {
    #[inline(always)]
    fn of<E: Element<T>>(&self, x: &[E], energies: &mut [T]) {
        let scale = T::ONE / T::from_f64(self.channels as f64);
        for (energy, pixel) in energies.iter_mut().zip(x.chunks_exact(self.channels)) {
            *energy = square_sum(pixel) * scale;
        }
    }
}

/// The sum of squares, in sixteen interleaved sums for the compiler to put into vectors.
#[inline(always)]
fn square_sum<T: Float, E: Element<T>>(values: &[E]) -> T {
    let mut sums = [T::ZERO; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for (sum, &value) in sums.iter_mut().zip(block) {
            let value = value.widen();
            *sum += value * value;
        }
    }
    let rest = rest.iter().fold(T::ZERO, |sum, &value| sum + value.widen() * value.widen());
    sums.into_iter().fold(rest, |sum, value| sum + value)
}
