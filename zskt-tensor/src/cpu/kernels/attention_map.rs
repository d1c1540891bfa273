//! Attention maps: the mean over channels of the squared activation.

use crate::cpu::simd::dtype::{Element, Numbers};
use crate::cpu::simd::float::Real;
use crate::cpu::simd::instruction_set::{Instructions, Pass};
use crate::cpu::threads;
use crate::shape::MapShape;

/// `[batch, height, width]`: the mean over the channels of `x²`.
pub fn forward<T: Real>(shape: &MapShape, x: Numbers<T>) -> Vec<T> {
    assert_eq!(x.len(), shape.len(), "the map has the shape it should have");
    let set = Instructions::best();
    let channels = shape.channels;
    let mut energies = vec![T::ZERO; shape.batch * shape.height * shape.width];
    threads::update(&mut energies, threads::part(channels) / channels, |at, energies| {
        set.run(&Energy { x, channels }, (at, energies));
    });
    energies
}

struct Energy<'a, T> {
    x: Numbers<'a, T>,
    channels: usize,
}

impl<T: Real> Pass<(usize, &mut [T])> for Energy<'_, T> {
    #[inline(always)]
    fn run(&self, (at, energies): (usize, &mut [T])) {
        match self.x {
            Numbers::Full(x) => self.of(&x[at * self.channels..], energies),
            Numbers::Half(x) => self.of(&x[at * self.channels..], energies),
        }
    }
}

impl<T: Real> Energy<'_, T> {
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
fn square_sum<T: Real, E: Element<T>>(values: &[E]) -> T {
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
