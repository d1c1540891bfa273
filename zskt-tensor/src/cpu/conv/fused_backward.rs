//! Both gradients of a convolution in one go: what one has read of an image is still in the cache for the other.

#![expect(unsafe_code, reason = "gradients are written by tasks that have different images")]

use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::packed_conv::{Correlation, split};
use crate::cpu::conv::weight_gradient::ImageSums;
use crate::cpu::kernels::epilogue::{Sink, Sums};
use crate::cpu::kernels::prologue::Source;
use crate::cpu::simd::dtype::NumbersMut;
use crate::cpu::threads;

/// No more tasks than this, for the sum over their partial sums not to count.
const TASKS: usize = 16;

/// The data gradient, if it is wanted.
pub struct Data<'a, C: Operand> {
    /// What makes it of the gradient of the output.
    pub correlation: &'a Correlation<C>,
    /// What becomes of it.
    pub sink: Sink<'a, C::Real>,
    /// Where it goes.
    pub out: NumbersMut<'a, C::Real>,
}

/// The sums of the data gradient's sink, and the weight gradient, from inputs `x` and gradients `dy` of `batch` images.
pub fn run<C: Operand>(
    data: Option<Data<'_, C>>,
    weights: &dyn ImageSums<C::Real>,
    batch: usize,
    x: &Source<C::Real>,
    dy: &Source<C::Real>,
) -> (Sums, Vec<C::Real>) {
    let data = data.map(|Data { correlation, sink, out }| {
        assert_eq!(correlation.images(), Some(batch), "a gradient that is computed image by image");
        (correlation, correlation.checked(dy, &sink, out), sink)
    });
    let tasks = (batch / weights.images().max(1)).clamp(1, TASKS).min(batch);
    let parts = threads::map(tasks, |task| {
        let mut running = data.as_ref().map(|(correlation, map, sink)| correlation.begin(dy, sink, *map));
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
    let mut total = Sums::zeros(0);
    for sums in sums.into_iter().flatten() {
        if total.first.is_empty() {
            total = sums;
        } else {
            total.add(&sums);
        }
    }
    (total, weights.weight(parts))
}
