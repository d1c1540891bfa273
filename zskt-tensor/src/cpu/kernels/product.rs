//! Products of two maps, number by number.

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::threads;
use crate::shape::MapShape;

/// A product of a map with another of its shape, or with one factor for each channel, of each image or of all.
#[derive(Clone, Copy)]
pub struct Product {
    /// The shape of the first, and of the product.
    pub whole: MapShape,
    /// The shape of the second.
    pub factor: MapShape,
}

impl Product {
    /// The product of `x` with the factors.
    pub fn run<T: KernelTable>(
        &self,
        x: &InputView<T>,
        factors: &[T],
        epilogue: &Epilogue<T>,
        out: MapSliceMut<T>,
    ) -> ChannelSums {
        assert!(x.len() == self.whole.len() && factors.len() == self.factor.len(), "the maps have their shapes");
        let (set, channels) = (InstructionSet::best(), self.whole.channels);
        // Pixels for which one of the factors stands.
        let pixels = self.whole.height * self.whole.width / (self.factor.height * self.factor.width).max(1);
        let produce = |first: usize, results: &mut [T]| {
            x.write(set, first * channels, results);
            for (pixel, results) in (first..).zip(results.chunks_exact_mut(channels)) {
                let factors = &factors[pixel / pixels * channels % factors.len()..][..channels];
                results.iter_mut().zip(factors).for_each(|(result, factor)| *result *= *factor);
            }
        };
        elementwise_loop::run(set, channels, produce, epilogue, out)
    }

    /// The gradient of factors for channels, from that of the product.
    pub fn of_channels<T: KernelTable>(&self, gradient: &InputView<T>, x: &InputView<T>) -> Vec<T> {
        assert!(x.len() == self.whole.len() && gradient.len() == x.len(), "the maps have their shapes");
        let (set, channels, len) = (InstructionSet::best(), self.whole.channels, self.whole.image_len());
        let row = self.whole.width * channels;
        // Each image's, then those of the images that share a factor.
        let sums = threads::map(self.whole.batch, |image| {
            let mut sums = vec![0.0; channels];
            let [mut gradients, mut values] = [row, row].map(Buffer::<T>::new);
            for at in (image * len..(image + 1) * len).step_by(row.max(1)) {
                gradient.write(set, at, &mut gradients);
                x.write(set, at, &mut values);
                for (gradients, values) in gradients.chunks_exact(channels).zip(values.chunks_exact(channels)) {
                    for ((sum, &gradient), &value) in sums.iter_mut().zip(gradients).zip(values) {
                        *sum += (gradient * value).to_f64();
                    }
                }
            }
            sums
        });
        let mut totals = vec![0.0; self.factor.len()];
        if totals.is_empty() {
            return Vec::new();
        }
        for (image, sums) in sums.iter().enumerate() {
            let totals = &mut totals[image * channels % self.factor.len()..][..channels];
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        totals.into_iter().map(T::from_f64).collect()
    }
}
