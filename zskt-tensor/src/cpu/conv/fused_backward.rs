//! Both gradients of a convolution in one go: what one has read of an image is still in the cache for the other.

#![expect(unsafe_code, reason = "gradients are written by tasks that have different images")]

use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::packed_conv::{PackedConv, split};
use crate::cpu::conv::weight_gradient::WeightGradientSums;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::threads;

/// No more tasks than this, for the sum over their partial sums not to count.
const TASKS: usize = 16;

/// The data gradient, if it is wanted.
pub struct Data<'a, C: Operand> {
    /// EpilogueKind makes it of the gradient of the output.
    pub conv: &'a PackedConv<C>,
    /// EpilogueKind becomes of it.
    pub epilogue: Epilogue<'a, C::Accumulator>,
    /// Where it goes.
    pub out: MapSliceMut<'a, C::Accumulator>,
}

/// The sums of the data gradient's epilogue, and the weight gradient, from inputs `x` and gradients `dy` of `batch` images.
pub fn run<C: Operand>(
    data: Option<Data<'_, C>>,
    weights: &dyn WeightGradientSums<C::Accumulator>,
    batch: usize,
    x: &InputView<C::Accumulator>,
    dy: &InputView<C::Accumulator>,
) -> (ChannelSums, Vec<C::Accumulator>) {
    let data = data.map(|Data { conv, epilogue, out }| {
        assert_eq!(conv.images(), Some(batch), "a gradient that is computed image by image");
        (conv, conv.checked(dy, &epilogue, out), epilogue)
    });
    let tasks = (batch / weights.images().max(1)).clamp(1, TASKS).min(batch);
    let parts = threads::map(tasks, |task| {
        let mut running = data.as_ref().map(|(conv, map, epilogue)| conv.begin(dy, epilogue, *map));
        let mut summing = weights.begin(x, dy);
        for image in split(batch, tasks, task) {
            if let Some(running) = &mut running {
                // SAFETY: tasks have different images, and the map's shape was checked.
                unsafe { running.image(image) };
            }
            summing.image(image);
        }
        (running.map(|running| running.sums), summing.end())
    });
    let (sums, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut total = ChannelSums::zeros(0);
    for sums in sums.into_iter().flatten() {
        if total.first.is_empty() {
            total = sums;
        } else {
            total.add(&sums);
        }
    }
    (total, weights.weight(parts))
}
