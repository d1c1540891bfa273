//! Channels of a map in another order, or some of them.

use crate::channel_selection::ChannelSelection;
use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;

/// The channels of each pixel that are selected.
pub fn select<T: KernelTable>(
    selection: &ChannelSelection,
    x: &InputView<T>,
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    let ChannelSelection { channels, of, .. } = *selection;
    let set = InstructionSet::best();
    let produce = |first: usize, results: &mut [T]| {
        let mut pixels = Buffer::<T>::new(results.len() / channels * of);
        x.write(set, first * of, &mut pixels);
        for (result, pixel) in results.chunks_exact_mut(channels).zip(pixels.chunks_exact(of)) {
            pick(selection, pixel, result);
        }
    };
    elementwise_loop::run(set, channels, produce, epilogue, out)
}

fn pick<T: Float>(selection: &ChannelSelection, pixel: &[T], result: &mut [T]) {
    let ChannelSelection { channels, of, groups, skipped, before } = *selection;
    if groups == 1 {
        let count = (of - skipped).min(channels - before);
        let (zeros, rest) = result.split_at_mut(before);
        let (result, more_zeros) = rest.split_at_mut(count);
        result.copy_from_slice(&pixel[skipped..][..count]);
        [zeros, more_zeros].into_iter().for_each(|zeros| zeros.fill(T::ZERO));
        return;
    }
    for (group, part) in pixel.chunks_exact(of / groups).enumerate() {
        for (result, number) in result[group..].iter_mut().step_by(groups).zip(part) {
            *result = *number;
        }
    }
}
