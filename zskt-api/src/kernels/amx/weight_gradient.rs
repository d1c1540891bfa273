//! Weight gradients from bf16 canvases.

#![expect(unsafe_code, reason = "partial sums are written by tasks that interleave")]

use super::super::buffer::{self, Shared};
use super::super::canvas::Canvas;
use super::super::correlate::split;
use super::super::instructions::Instructions;
use super::super::memory::{Buffer, Scratch, with_scratch};
use super::super::outer::{Problem, total};
use super::super::source::Source;
use super::super::taps::Axis;
use super::{Bf16, OuterShape, TileOuter, Tiles};

/// Products and sums that are worth a task of their own.
const TASK: usize = 1 << 24;
/// No more tasks than this, for the sum over partial sums not to count.
const TASKS: usize = 8;

/// The weight gradient from inputs `x` and gradients `dy`, `[outputs, inputs, kernel, kernel]`.
pub fn weight_gradient(set: Instructions, problem: &Problem, x: &Source<f32>, dy: &Source<f32>) -> Vec<f32> {
    problem.check(x, dy);
    let mut weight = vec![0.0; problem.weight_len()];
    if weight.is_empty() || dy.len() == 0 {
        return weight;
    }
    let [rows, columns] = &problem.axes;
    for row in rows.iter().filter(|row| row.count > 0 && !row.taps.is_empty()) {
        for column in columns.iter().filter(|column| column.count > 0 && !column.taps.is_empty()) {
            Plan::new(problem, [row, column]).add(set, x, dy, &mut weight);
        }
    }
    weight
}

/// How the weight gradient of a phase is computed.
struct Plan<'a> {
    problem: &'a Problem,
    axes: [&'a Axis; 2],
    inputs: Canvas,
    gradients: Canvas,
    /// Rows of gradients in a band.
    band: usize,
    outer: TileOuter,
    /// Bands of several images that are summed at once.
    places: usize,
    /// Channels and outputs, padded.
    padded: [usize; 2],
}

impl<'a> Plan<'a> {
    fn new(problem: &'a Problem, axes: [&'a Axis; 2]) -> Self {
        let Problem { in_channels, out_channels, stride, .. } = *problem;
        let padded = [in_channels, out_channels].map(|channels| channels.next_multiple_of(16));
        let (taps, count) = (axes.map(|axis| axis.taps.len()), axes.map(|axis| axis.count));
        let span = |axis: usize| {
            let origin = axes[axis].origin;
            [origin, origin + ((count[axis] - 1) * stride + taps[axis]) as isize]
        };
        let inputs = Canvas::copied(problem.input, in_channels, padded[0], [span(0), span(1)]);
        let first = axes.map(|axis| axis.first);
        let gradients = Canvas::sampled(problem.output, out_channels, padded[1], first, problem.out_step);
        // Few pixels at a time, and the sums travel too often; many, and the operands leave the cache.
        let pixels = if padded[0] * padded[1] <= 256 { 128 } else { 256 };
        let most = (pixels / count[1]).clamp(1, count[0]);
        let band = (1..=most).rev().find(|band| count[0].is_multiple_of(*band)).unwrap_or(1);
        let places = (pixels / (band * count[1])).clamp(1, 16);
        let outer = TileOuter::new(&OuterShape {
            channels: padded[0],
            outputs: padded[1],
            kernel_rows: taps[0],
            kernel_columns: taps[1],
            stride,
            rows: band,
            columns: count[1],
            pitch: inputs.pitch(),
            images: places,
        });
        Self { problem, axes, inputs, gradients, band, outer, places, padded }
    }

    /// Adds the sums over all images to the weight gradient.
    fn add(&self, set: Instructions, x: &Source<f32>, dy: &Source<f32>, weight: &mut [f32]) {
        let batch = self.problem.batch;
        let products = batch * self.axes[0].count * self.axes[1].count * self.outer.sums();
        let chunks = (2 * products / TASK).clamp(1, TASKS).min(batch);
        let mut partials: Vec<Buffer<f32>> = (0..chunks).map(|_| Buffer::new(self.outer.sums())).collect();
        let shared: Vec<Shared<f32>> = partials.iter_mut().map(|partial| Shared::new(partial)).collect();
        buffer::each(chunks, |chunk| {
            // SAFETY: each chunk has sums of its own.
            let sums = unsafe { std::slice::from_raw_parts_mut(shared[chunk].pointer(), self.outer.sums()) };
            self.sum(set, x, dy, split(batch, chunks, chunk), sums);
        });
        self.unpack(&total(partials), weight);
    }

    /// The sums over some images.
    fn sum(
        &self,
        set: Instructions,
        x: &Source<f32>,
        dy: &Source<f32>,
        images: std::ops::Range<usize>,
        sums: &mut [f32],
    ) {
        let Problem { input, output, in_channels, out_channels, stride, .. } = *self.problem;
        let [rows, _] = self.axes.map(|axis| axis.count);
        let (x_len, dy_len) = (input[0] * input[1] * in_channels, output[0] * output[1] * out_channels);
        let gradients = self.gradients.or_direct(dy.direct::<Bf16>().is_some());
        let lens = [self.inputs.scratch(), self.gradients.scratch(), self.outer.scratch()];
        let bytes = lens.map(Scratch::bytes::<Bf16>).iter().sum();
        sums.fill(0.0);
        with_scratch(bytes, |mut scratch| {
            let [x_copy, dy_copy, operands] = lens.map(|len| scratch.take::<Bf16>(len));
            let tiles = Tiles::enter();
            let mut waiting = 0;
            for image in images {
                let (x_from, dy_from) = (image * x_len, image * dy_len);
                let (mut x_filled, mut dy_filled) = (0, 0);
                for top in (0..rows).step_by(self.band) {
                    let need = (top + self.band - 1) * stride + self.axes[0].taps.len();
                    self.inputs.fill(set, x, x_from, x_copy, &mut x_filled, need);
                    gradients.fill(set, dy, dy_from, dy_copy, &mut dy_filled, top + self.band);
                    let inputs = self.inputs.pixels(x, x_from, x_copy);
                    let dy_band = gradients.pixels(dy, dy_from, dy_copy);
                    // SAFETY: both canvases have the rows of the band, the gradients densely; tiles could be entered, so
                    // the processor has what it takes.
                    unsafe {
                        let inputs = inputs.add(top * stride * self.inputs.pitch());
                        let dy_band = dy_band.add(top * gradients.pitch());
                        self.outer.put(waiting, inputs, dy_band, operands.as_mut_ptr());
                    }
                    waiting += 1;
                    if waiting == self.places {
                        // SAFETY: all places have been put.
                        unsafe { self.outer.add(&tiles, waiting, operands.as_ptr(), sums.as_mut_ptr()) };
                        waiting = 0;
                    }
                }
            }
            // SAFETY: so many places have been put.
            unsafe { self.outer.add(&tiles, waiting, operands.as_ptr(), sums.as_mut_ptr()) };
        });
    }

    /// Adds the sums to the weight gradient, each tap's to all the coordinates of the kernel that it stands for.
    fn unpack(&self, sums: &[f32], weight: &mut [f32]) {
        let Problem { in_channels, kernel, .. } = *self.problem;
        let [channels, outputs] = self.padded;
        let columns_len = self.axes[1].taps.len();
        for (output, weight) in weight.chunks_exact_mut(in_channels * kernel * kernel).enumerate() {
            for (row, rows) in self.axes[0].taps.iter().enumerate() {
                for (column, columns) in self.axes[1].taps.iter().enumerate() {
                    let sums = &sums[((row * columns_len + column) * outputs + output) * channels..][..in_channels];
                    for row in rows.clone() {
                        for column in columns.clone() {
                            let places = weight[row * kernel + column..].iter_mut().step_by(kernel * kernel);
                            places.zip(sums).for_each(|(place, sum)| *place += sum);
                        }
                    }
                }
            }
        }
    }
}
