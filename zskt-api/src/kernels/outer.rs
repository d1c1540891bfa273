//! Weight gradients: sums over pixels of outer products of inputs and gradients.

#![expect(unsafe_code, reason = "partial sums are written by tasks that interleave")]

use super::ConvGeometry;
use super::buffer::{self, Shared};
use super::canvas::Canvas;
use super::correlate::split;
use super::instructions::Instructions;
use super::micro::{Patch, PatchKernel};
use super::real::Real;
use std::ops::Range;

/// Products and sums that are worth a task of their own.
const TASK: usize = 1 << 22;
/// No more tasks than this.
const TASKS: usize = 16;
/// A partial sum must have this many products per element, for the sum over partial sums not to count.
const PRODUCTS: usize = 128;
/// Bytes of a band of rows, of both maps, which are to stay in the first-level cache.
const BAND: usize = 24 << 10;
/// The least pixels of images that are cut anew.
const IMAGE: usize = 256;
/// Bytes between pixels that are far apart.
const FAR: usize = 2 << 10;

/// Which of the two maps is broadcast, element by element, and which is read by vectors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Roles {
    /// Inputs are broadcast: sums are `[tap row][tap column · input][output]`.
    Inputs,
    /// Gradients are broadcast, being few: sums are `[tap row][output][tap column · input]`.
    Gradients,
}

/// How a weight gradient is computed.
struct Plan<T> {
    geometry: ConvGeometry,
    roles: Roles,
    kernel: PatchKernel<T>,
    /// Scalars and vector elements of a block.
    block: [usize; 2],
    /// Scalars under one tap row, and vector elements padded to whole blocks.
    size: [usize; 2],
    inputs: Canvas,
    gradients: Canvas,
    /// Rows of gradients in a band.
    band: usize,
    /// Whether the scalars of a block are gathered before they are used.
    gather: bool,
}

/// The order of the elements of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `[outputs, inputs, kernel, kernel]`
    OutputsFirst,
    /// `[inputs, outputs, kernel, kernel]`
    InputsFirst,
}

/// The weight gradient from inputs `x` and gradients `dy`.
pub fn run<T: Real>(set: Instructions, geometry: &ConvGeometry, x: &[T], dy: &[T], order: Order) -> Vec<T> {
    let g = &regroup(geometry);
    assert_eq!(x.len(), g.input_len(), "the input has the shape it should have");
    assert_eq!(dy.len(), g.output_len(), "the gradient has the shape it should have");
    if g.weight_len() == 0 || dy.is_empty() {
        return vec![T::ZERO; g.weight_len()];
    }
    let plan = Plan::new(set, g);
    let partial_len = g.kernel * plan.size[0] * plan.size[1];
    let blocks = g.kernel * plan.size[0].div_ceil(plan.block[0]);
    let products = g.batch * g.out_height() * g.out_width() * g.weight_len();
    let tasks = (2 * products / TASK).clamp(1, TASKS);
    let chunks = tasks.min(g.batch).min(products / partial_len / PRODUCTS).max(1);
    let splits = (tasks / chunks).clamp(1, blocks);

    let mut partials: Vec<Vec<T>> = (0..chunks).map(|_| Vec::with_capacity(partial_len)).collect();
    let shared: Vec<Shared<T>> = partials.iter_mut().map(Shared::new).collect();
    buffer::each(chunks * splits, |task| {
        let (chunk, part) = (task / splits, task % splits);
        let images = split(g.batch, chunks, chunk);
        // SAFETY: tasks of the same chunk have different blocks, and every chunk has images.
        unsafe { plan.sum(x, dy, images, split(blocks, splits, part), shared[chunk].pointer()) };
    });
    for partial in &mut partials {
        // SAFETY: the splits cover every block, that is every row of the sums.
        unsafe { partial.set_len(partial_len) };
    }
    plan.unpack(&total(partials), order)
}

/// The sum of all vectors, in order.
fn total<T: Real>(mut partials: Vec<Vec<T>>) -> Vec<T> {
    let rest = partials.split_off(1);
    let mut total = partials.swap_remove(0);
    if !rest.is_empty() {
        buffer::update(&mut total, buffer::part(1), |at, total| {
            for partial in &rest {
                for (sum, &value) in total.iter_mut().zip(&partial[at..]) {
                    *sum += value;
                }
            }
        });
    }
    total
}

/// The same sum over pixels, cut anew into images of convenient size if the pixels are independent.
fn regroup(g: &ConvGeometry) -> ConvGeometry {
    if g.kernel != 1 || g.stride != 1 || g.padding != 0 {
        return *g;
    }
    let pixels = g.batch * g.height * g.width;
    let divisor = |count: usize, most: usize| (1..=most).rev().find(|&d| count.is_multiple_of(d)).unwrap_or(1);
    let width = divisor(pixels, 16);
    // Images are what partial sums are made of: a few, of many pixels.
    let batch = divisor(pixels / width, (pixels / IMAGE).clamp(1, TASKS));
    ConvGeometry { batch, height: pixels / width / batch, width, ..*g }
}

impl<T: Real> Plan<T> {
    fn new(set: Instructions, geometry: &ConvGeometry) -> Self {
        let g = *geometry;
        let (width, run) = (T::width(set), g.kernel * g.in_channels);
        let (roles, kernel, block, size) = match T::few(set, g.out_channels, run) {
            Some((kernel, vectors)) => {
                let lanes = vectors * width;
                (Roles::Gradients, kernel, [g.out_channels, lanes], [g.out_channels, run.next_multiple_of(lanes)])
            }
            None => {
                let vectors = T::vectors(set, g.out_channels.div_ceil(width));
                let lanes = vectors * width;
                let scalars = T::scalars(set, vectors).iter().copied().min_by_key(|&s| run.next_multiple_of(s));
                let scalars = scalars.expect("there is a kernel for every number of vectors");
                let size = [run, g.out_channels.next_multiple_of(lanes)];
                (Roles::Inputs, T::patch(set, vectors, scalars), [scalars, lanes], size)
            }
        };
        let span = |out: usize| {
            let low = -(g.padding as isize);
            [low, low + ((out - 1) * g.stride + g.kernel) as isize]
        };
        let (rows, columns) = (g.out_height(), g.out_width());
        let (input, output) = ([g.height, g.width], [rows, columns]);
        let spans = [span(rows), span(columns)];
        // Blocks that reach beyond the last channel of the last pixel need a copy, which has room behind it.
        let (scalars, vectors) = (size[0].is_multiple_of(block[0]), [run, g.out_channels].contains(&size[1]));
        let (inputs_fit, gradients_fit) = match roles {
            Roles::Inputs => (scalars, vectors),
            Roles::Gradients => (vectors, true),
        };
        let canvas = |fit: bool| if fit { Canvas::new } else { Canvas::copied };
        let row = (g.stride * g.width * g.in_channels + columns * g.out_channels) * size_of::<T>();
        // A band also has pixels enough for its sums to be worth loading and storing.
        let least = if g.kernel == 1 { 128 } else { 48 };
        let band = (BAND / row).max(least / columns).clamp(1, rows);
        // Pixels that far apart compete for the same few places in the cache, and would be fetched anew for every vector.
        let far = g.in_channels * size_of::<T>() >= FAR;
        Self {
            gather: far && g.kernel == 1 && roles == Roles::Inputs && size[1] > block[1],
            geometry: g,
            roles,
            kernel,
            block,
            size,
            inputs: canvas(inputs_fit)(input, g.in_channels, spans),
            gradients: canvas(gradients_fit)(output, g.out_channels, output.map(|count| [0, count as isize])),
            band,
        }
    }

    /// Sums over some images, for some blocks of scalars, counted over all tap rows, into `out`.
    ///
    /// # Safety
    ///
    /// `out` has room for all sums, of whose rows in these blocks nobody else touches any meanwhile.
    unsafe fn sum(&self, x: &[T], dy: &[T], images: Range<usize>, blocks: Range<usize>, out: *mut T) {
        let g = &self.geometry;
        let (rows, columns) = (g.out_height(), g.out_width());
        let [scalars, lanes] = self.block;
        let per_tap = self.size[0].div_ceil(scalars);
        let (x_len, dy_len) = (g.height * g.width * g.in_channels, rows * columns * g.out_channels);
        // What blocks read beyond the last pixel.
        let slack = scalars.max(lanes);
        let x_scratch = self.inputs.scratch() + slack;
        let dy_scratch = self.gradients.scratch() + slack;
        let panel = if self.gather { self.band * columns * scalars } else { 0 };
        buffer::with_scratch(x_scratch + dy_scratch + panel, |scratch: &mut [T]| {
            let (x_scratch, scratch) = scratch.split_at_mut(x_scratch);
            let (dy_scratch, panel) = scratch.split_at_mut(dy_scratch);
            for image in images.clone() {
                let (x, dy) = (&x[image * x_len..][..x_len], &dy[image * dy_len..][..dy_len]);
                let (mut x_filled, mut dy_filled) = (0, 0);
                for top in (0..rows).step_by(self.band) {
                    let end = rows.min(top + self.band);
                    self.inputs.fill(x, x_scratch, &mut x_filled, (end - 1) * g.stride + g.kernel);
                    self.gradients.fill(dy, dy_scratch, &mut dy_filled, end);
                    let x_pitch = self.inputs.pitch();
                    let inputs = self.inputs.pixels(x, x_scratch).wrapping_add(top * g.stride * x_pitch);
                    let inputs_step = [g.stride * x_pitch, g.stride * g.in_channels];
                    let gradients = self.gradients.pixels(dy, dy_scratch).wrapping_add(top * self.gradients.pitch());
                    let gradients_step = [self.gradients.pitch(), g.out_channels];
                    for block in blocks.clone() {
                        let (tap, first) = (block / per_tap, block % per_tap * scalars);
                        let valid = scalars.min(self.size[0] - first);
                        let mut inputs = inputs.wrapping_add(tap * x_pitch);
                        let mut inputs_step = inputs_step;
                        if self.gather {
                            for (index, gathered) in panel.chunks_exact_mut(scalars).enumerate() {
                                let (row, column) = (index / columns, index % columns);
                                if top + row < end {
                                    // SAFETY: the pixel and these of its channels exist.
                                    let pixel = unsafe {
                                        let offset = first + row * inputs_step[0] + column * inputs_step[1];
                                        std::slice::from_raw_parts(inputs.add(offset), valid)
                                    };
                                    gathered[..valid].copy_from_slice(pixel);
                                }
                            }
                            inputs = panel.as_ptr().wrapping_sub(first);
                            inputs_step = [columns * scalars, scalars];
                        }
                        let sides = [(inputs, inputs_step), (gradients, gradients_step)];
                        let [(scalar, scalar_step), (vector, vector_step)] = match self.roles {
                            Roles::Inputs => sides,
                            Roles::Gradients => [sides[1], sides[0]],
                        };
                        for lane in (0..self.size[1]).step_by(lanes) {
                            let patch = Patch {
                                scalars: scalar.wrapping_add(first),
                                scalars_down: scalar_step[0],
                                scalars_step: scalar_step[1],
                                vectors: vector.wrapping_add(lane),
                                vectors_down: vector_step[0],
                                vectors_step: vector_step[1],
                                rows: end - top,
                                columns,
                                out: out.wrapping_add((tap * self.size[0] + first) * self.size[1] + lane),
                                out_step: self.size[1],
                                valid,
                                add: top > 0 || image > images.start,
                            };
                            // SAFETY: both maps have these rows, and room behind them where a block reaches further.
                            unsafe { (self.kernel)(&patch) };
                        }
                    }
                }
            }
        });
    }

    /// The sums in the order of the weight.
    fn unpack(&self, sums: &[T], order: Order) -> Vec<T> {
        let g = &self.geometry;
        let (inputs, outputs, kernel) = (g.in_channels, g.out_channels, g.kernel);
        let [scalars, lanes] = self.size;
        let (input_step, output_step) = match self.roles {
            Roles::Inputs => (lanes, 1),
            Roles::Gradients => (1, lanes),
        };
        let (first_step, [second, second_step]) = match order {
            Order::OutputsFirst => (output_step, [inputs, input_step]),
            Order::InputsFirst => (input_step, [outputs, output_step]),
        };
        let row = second * kernel * kernel;
        buffer::build(g.weight_len(), buffer::part(row), |at, writer| {
            for first in (at / row..g.weight_len() / row).take(buffer::part(row) / row) {
                if kernel == 1 {
                    // Linear layers have long rows, and ask for them in the order of the sums.
                    let row = &sums[first * first_step..];
                    match second_step {
                        1 => writer.extend(row[..second].iter().copied()),
                        _ => writer.extend((0..second).map(|second| row[second * second_step])),
                    }
                    continue;
                }
                for second in 0..second {
                    let from = first * first_step + second * second_step;
                    for tap in 0..kernel {
                        let taps = &sums[tap * scalars * lanes + from..];
                        writer.extend((0..kernel).map(|column| taps[column * inputs * input_step]));
                    }
                }
            }
        })
    }
}
