//! Forward convolutions and data gradients: correlations of a padded map with a small kernel.
//!
//! The data gradient of a strided convolution is one correlation per phase: input pixels whose coordinates have the
//! same remainder by the stride see the same taps of the kernel, and neighbouring gradients. A forward convolution is
//! the case of a single phase.

#![expect(unsafe_code, reason = "outputs are written once, by blocks that interleave")]

use super::buffer::{self, Shared};
use super::canvas::Canvas;
use super::dispatch::Tile;
use super::instructions::Instructions;
use super::micro::{Strip, StripKernel};
use super::pack::{self, Taps};
use super::real::Real;
use std::ops::Range;

/// Products and sums that are worth a task of their own (some ten microseconds).
const TASK: usize = 1 << 21;
/// No more tasks than this: enough to balance, few enough to cost nothing.
const TASKS: usize = 64;
/// Pixels in an item where pixels are independent, so that images do not matter.
const FLAT: usize = 32;

/// One axis of a phase.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The first output coordinate.
    pub first: usize,
    /// Output coordinates, `first`, `first + out_step` and so on.
    pub count: usize,
    /// The coordinates of the kernel that take part, in the order of the inputs they meet.
    pub taps: Vec<usize>,
    /// The input coordinate that the first output and the first tap meet; negative in the padding.
    pub origin: isize,
}

/// What to correlate.
pub struct Problem<'a, T> {
    /// Images.
    pub batch: usize,
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// Between the inputs of neighbouring outputs of a phase.
    pub stride: usize,
    /// Between neighbouring outputs of a phase.
    pub out_step: usize,
    /// The phases of either axis.
    pub axes: [Vec<Axis>; 2],
    /// The kernel.
    pub taps: Taps<'a, T>,
    /// What is added to every output pixel.
    pub bias: Option<&'a [T]>,
}

/// A phase, ready to run.
struct Phase<T> {
    /// Rows of taps.
    taps: usize,
    /// Inputs under one of them.
    run: usize,
    /// Where the inputs of the first output begin on the canvas.
    from: [usize; 2],
    /// The first output pixel.
    first: [usize; 2],
    /// Output rows and columns.
    count: [usize; 2],
    weights: Vec<T>,
}

/// What a vector runs over.
#[derive(Clone, Copy)]
enum Layout {
    /// Output channels, by this many vectors; inputs are broadcast.
    Outputs(usize),
    /// Inputs, when there are only a few output channels.
    Inputs,
}

/// All that the tasks share.
struct Plan<'a, T> {
    problem: &'a Problem<'a, T>,
    set: Instructions,
    layout: Layout,
    /// Output channels in a block.
    block: usize,
    canvas: Canvas,
    /// The bias, padded to whole blocks.
    start: Vec<T>,
}

/// The output of `problem`, `[batch, rows, columns, outputs]`.
pub fn run<T: Real>(set: Instructions, problem: &Problem<T>, x: &[T]) -> Vec<T> {
    let Taps { inputs, outputs, .. } = problem.taps;
    let [in_pixels, out_pixels] = [problem.input, problem.output].map(|[rows, columns]| rows * columns);
    assert_eq!(x.len(), problem.batch * in_pixels * inputs, "the input has the shape it should have");
    assert!(problem.bias.is_none_or(|bias| bias.len() == outputs), "one bias per output channel");
    let len = problem.batch * out_pixels * outputs;
    if len == 0 {
        return Vec::new();
    }

    let width = T::width(set);
    let (layout, block) = if inputs.is_multiple_of(width) && T::dot(set, outputs, 1).is_some() {
        (Layout::Inputs, outputs)
    } else {
        let vectors = T::vectors(set, outputs.div_ceil(width));
        (Layout::Outputs(vectors), vectors * width)
    };
    let blocks = outputs.div_ceil(block);
    let mut start = vec![T::ZERO; blocks * block];
    if let Some(bias) = problem.bias {
        start[..outputs].copy_from_slice(bias);
    }
    let plan = Plan { problem, set, layout, block, canvas: canvas(problem), start };
    // Without a neighbourhood, pixels are independent: images are cut anew into items of convenient size.
    let flat = plan.canvas.direct && problem.stride == 1 && problem.out_step == 1 && problem.axes.iter().all(pointwise);
    let phases: Vec<Phase<T>> = phases(problem).map(|[rows, columns]| plan.phase(rows, columns)).collect();

    let pixels = problem.batch * out_pixels;
    let items = if flat { pixels.div_ceil(FLAT) } else { problem.batch };
    let products: usize = phases.iter().map(|phase| phase.taps * phase.run * phase.count[0] * phase.count[1]).sum();
    let tasks = (2 * problem.batch * products * outputs / TASK).clamp(1, TASKS);
    let item_groups = tasks.min(items);
    // Few items and many channels, as in linear layers: channels are divided too.
    let block_groups = (tasks / item_groups).min((TASKS / 4).div_ceil(item_groups)).clamp(1, blocks);

    let mut out: Vec<T> = Vec::with_capacity(len);
    let shared = Shared::new(&mut out);
    buffer::each(item_groups * block_groups, |task| {
        let channels = split(blocks, block_groups, task % block_groups);
        buffer::with_scratch(plan.canvas.scratch(), |scratch: &mut [T]| {
            for item in split(items, item_groups, task / block_groups) {
                let (first, step) = if flat { (item * FLAT, 1) } else { (item, out_pixels) };
                let x = if flat { &x[first * inputs..] } else { &x[item * in_pixels * inputs..] };
                let flat_count = [1, FLAT.min(pixels - first.min(pixels))];
                let mut filled = 0;
                for phase in &phases {
                    let count = if flat { flat_count } else { phase.count };
                    // SAFETY: the item's outputs begin there; its pixels and this task's channels are no other's.
                    unsafe {
                        let y = shared.pointer().add(first * step * outputs);
                        plan.run(phase, count, channels.clone(), x, scratch, &mut filled, y);
                    }
                }
            }
        });
    });
    // SAFETY: the phases cover every output pixel of the items, the blocks every channel.
    unsafe { out.set_len(len) };
    out
}

/// The `index`-th of `parts` nearly equal ranges of `0..count`.
pub fn split(count: usize, parts: usize, index: usize) -> Range<usize> {
    count * index / parts..count * (index + 1) / parts
}

fn pointwise(phases: &Vec<Axis>) -> bool {
    matches!(phases.as_slice(), [axis] if axis.taps.len() == 1 && axis.origin == 0)
}

fn phases<'a, T>(problem: &'a Problem<T>) -> impl Iterator<Item = [&'a Axis; 2]> {
    let [rows, columns] = &problem.axes;
    rows.iter()
        .flat_map(move |row| columns.iter().map(move |column| [row, column]))
        .filter(|axes| axes.iter().all(|axis| axis.count > 0))
}

/// The smallest canvas on which every input of every output has a place.
fn canvas<T>(problem: &Problem<T>) -> Canvas {
    let met = |axis: usize| {
        let phases = problem.axes[axis].iter().filter(|phase| phase.count > 0 && !phase.taps.is_empty());
        let ends = phases.map(|phase| {
            [phase.origin, phase.origin + ((phase.count - 1) * problem.stride + phase.taps.len()) as isize]
        });
        ends.reduce(|[low, high], [first, last]| [low.min(first), high.max(last)]).unwrap_or([0, 0])
    };
    Canvas::new(problem.input, problem.taps.inputs, [met(0), met(1)])
}

impl<T: Real> Plan<'_, T> {
    fn phase(&self, rows: &Axis, columns: &Axis) -> Phase<T> {
        let taps = &self.problem.taps;
        let weights = match self.layout {
            Layout::Outputs(_) => pack::broadcast(taps, &rows.taps, &columns.taps, self.block),
            Layout::Inputs => pack::dot(taps, &rows.taps, &columns.taps, T::width(self.set)),
        };
        let empty = rows.taps.is_empty() || columns.taps.is_empty();
        let from = |axis: usize, origin: isize| if empty { 0 } else { self.canvas.place(axis, origin) };
        Phase {
            taps: if empty { 0 } else { rows.taps.len() },
            run: columns.taps.len() * taps.inputs,
            from: [from(0, rows.origin), from(1, columns.origin)],
            first: [rows.first, columns.first],
            count: [rows.count, columns.count],
            weights,
        }
    }

    /// The kernel for so many output pixels, with its tile.
    fn kernel(&self, count: [usize; 2], step: usize) -> (StripKernel<T>, Tile) {
        let vectors = match self.layout {
            Layout::Outputs(vectors) => vectors,
            Layout::Inputs => {
                return T::dot(self.set, self.problem.taps.outputs, count[1]).expect("asked before choosing it");
            }
        };
        // Fewer than eight accumulators wait for each other, however few there are.
        let cost = |tile: &&Tile| {
            let blocks = count[0].div_ceil(tile.rows) * count[1].div_ceil(tile.columns);
            blocks * (tile.rows * tile.columns * vectors).max(8)
        };
        let tile = *T::tiles(self.set, vectors)
            .iter()
            .filter(|tile| tile.rows <= count[0] && tile.columns <= count[1])
            .min_by_key(cost)
            .expect("there is a tile of a single pixel");
        (T::strip(self.set, vectors, tile, step), tile)
    }

    /// One phase of one item, for some blocks of channels.
    ///
    /// # Safety
    ///
    /// `y` points at the item's outputs, whose channels in these blocks nobody else touches meanwhile. `x` begins with
    /// the item; `scratch` has room for the canvas, of which `filled` rows are there.
    #[expect(clippy::too_many_arguments, reason = "the state of the loop above, spelled out")]
    unsafe fn run(
        &self,
        phase: &Phase<T>,
        count: [usize; 2],
        blocks: Range<usize>,
        x: &[T],
        scratch: &mut [T],
        filled: &mut usize,
        y: *mut T,
    ) {
        let problem = self.problem;
        let Taps { inputs, outputs, .. } = problem.taps;
        let pitch = self.canvas.pitch();
        let (kernel, tile) = self.kernel(count, problem.stride * inputs);
        let weights = phase.taps * phase.run * self.block;
        let mut row = 0;
        while row < count[0] {
            // As the last block of a row, the last rows are moved up to end with the map.
            let top = row.min(count[0] - tile.rows);
            let first = phase.from[0] + top * problem.stride;
            if phase.taps > 0 {
                self.canvas.fill(x, scratch, filled, first + (tile.rows - 1) * problem.stride + phase.taps);
            }
            let canvas = self.canvas.pixels(x, scratch);
            for block in blocks.clone() {
                let channel = block * self.block;
                let out = (phase.first[0] + top * problem.out_step) * problem.output[1] + phase.first[1];
                let strip = Strip {
                    x: canvas.wrapping_add(first * pitch + phase.from[1] * inputs),
                    x_row: pitch,
                    x_down: problem.stride * pitch,
                    x_step: problem.stride * inputs,
                    kernel_rows: phase.taps,
                    run: phase.run,
                    weights: phase.weights[block * weights..].as_ptr(),
                    start: self.start[channel..].as_ptr(),
                    // SAFETY: the pixel and the channel exist.
                    y: unsafe { y.add(out * outputs + channel) },
                    y_down: problem.out_step * problem.output[1] * outputs,
                    y_step: problem.out_step * outputs,
                    channels: self.block.min(outputs - channel),
                    columns: count[1],
                };
                // SAFETY: the canvas has every input, its rows so far are filled, and the tile fits into the map.
                unsafe { kernel(&strip) };
            }
            row += tile.rows;
        }
    }
}
