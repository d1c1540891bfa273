//! Forward convolutions and data gradients: correlations of a padded map with a small kernel, from a [`Source`] into a
//! [`Sink`]: what precedes and follows a convolution is done in the first-level cache.

#![expect(unsafe_code, reason = "outputs are written once, by blocks that interleave")]

use super::buffer;
use super::canvas::Canvas;
use super::element::NumbersMut;
use super::instructions::Instructions;
use super::memory::{Buffer, Scratch, with_scratch};
use super::operand::{Form, Operand, Rows};
use super::real::Real;
use super::sink::{self, Map, Sink, Sums};
use super::source::Source;
use super::taps::{Axis, Taps};
use std::ops::Range;

/// Products and sums that are worth a task of their own (some ten microseconds).
const TASK: usize = 1 << 21;
/// No more tasks than this: enough to balance, few enough to cost nothing.
const TASKS: usize = 64;
/// Pixels in an item where pixels are independent, so that images do not matter.
const FLAT: usize = 32;

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
struct Phase<C: Operand> {
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
    form: Form<C::Kernel>,
    weights: Buffer<C>,
}

/// A correlation whose weights are packed.
pub struct Correlation<C: Operand> {
    set: Instructions,
    batch: usize,
    input: [usize; 2],
    output: [usize; 2],
    /// Channels of the input and of the output.
    channels: [usize; 2],
    stride: usize,
    out_step: usize,
    layout: C::Layout,
    canvas: Canvas,
    /// Where pixels are independent, images are cut anew into items of so many.
    flat: Option<usize>,
    phases: Vec<Phase<C>>,
    /// The bias, padded to whole blocks.
    start: Buffer<C::Real>,
}

impl<C: Operand> Correlation<C> {
    /// Packs the weights.
    pub fn new(set: Instructions, problem: &Problem<C::Real>) -> Self {
        let Taps { inputs, outputs, .. } = problem.taps;
        assert!(problem.bias.is_none_or(|bias| bias.len() == outputs), "one bias per output channel");
        let pixel = C::pixel(inputs);
        let layout = C::layout(set, pixel, outputs);
        let block = C::block(layout);
        let mut start = Buffer::new(outputs.div_ceil(block) * block);
        start.fill(C::Real::ZERO);
        if let Some(bias) = problem.bias {
            start[..outputs].copy_from_slice(bias);
        }
        let pointwise = problem.stride == 1 && problem.out_step == 1 && problem.axes.iter().all(|axis| pointwise(axis));
        let flat = pointwise.then(|| FLAT.min(problem.batch * problem.output[0] * problem.output[1]).max(1));
        let canvas = if let Some(pixels) = flat {
            Canvas::copied([1, pixels], inputs, pixel, [[0, 1], [0, pixels as isize]])
        } else {
            Canvas::copied(problem.input, inputs, pixel, [0, 1].map(|axis| met(problem, axis)))
        };
        let phases = phases(problem).map(|[rows, columns]| {
            let empty = rows.taps.is_empty() || columns.taps.is_empty();
            let from = |axis: usize, origin: isize| if empty { 0 } else { canvas.place(axis, origin) };
            let count = flat.map_or([rows.count, columns.count], |pixels| [1, pixels]);
            Phase {
                taps: if empty { 0 } else { rows.taps.len() },
                run: columns.taps.len() * pixel,
                from: [from(0, rows.origin), from(1, columns.origin)],
                first: [rows.first, columns.first],
                count,
                form: C::form(set, layout, outputs, count, canvas.columns(), pixel, problem.stride * pixel),
                weights: C::pack(set, layout, &problem.taps, problem.stride * pixel, &rows.taps, &columns.taps),
            }
        });
        Self {
            phases: phases.collect(),
            set,
            batch: problem.batch,
            input: problem.input,
            output: problem.output,
            channels: [inputs, outputs],
            stride: problem.stride,
            out_step: problem.out_step,
            layout,
            canvas,
            flat,
            start,
        }
    }

    /// Elements of the output, `[batch, rows, columns, outputs]`.
    pub fn len(&self) -> usize {
        self.batch * self.output[0] * self.output[1] * self.channels[1]
    }

    /// Correlates `source` into `out`, and returns the sums that the sink asks for.
    pub fn run(&self, source: &Source<C::Real>, sink: &Sink<C::Real>, out: NumbersMut<C::Real>) -> Sums {
        let [inputs, outputs] = self.channels;
        let [in_pixels, out_pixels] = [self.input, self.output].map(|[rows, columns]| rows * columns);
        assert_eq!(source.len(), self.batch * in_pixels * inputs, "the input has the shape it should have");
        let (map, len) = Map::of(out);
        assert!(len == self.len() && sink.fits(len), "the output has the shape it should have");
        let mut total = Sums::zeros(outputs);
        if len == 0 {
            return total;
        }
        let canvas = self.canvas.or_direct(source.direct::<C>().is_some());
        let pixels = self.batch * out_pixels;
        let items = self.flat.map_or(self.batch, |item| pixels.div_ceil(item));
        let products: usize =
            self.phases.iter().map(|phase| phase.taps * phase.run * phase.count[0] * phase.count[1]).sum();
        let tasks = (2 * items * products * outputs / TASK).clamp(1, TASKS);
        let item_groups = tasks.min(items);
        // Few items and many channels, as in linear layers: channels are divided too.
        let blocks = outputs.div_ceil(C::block(self.layout));
        let block_groups = (tasks / item_groups).min((TASKS / 4).div_ceil(item_groups)).clamp(1, blocks);

        let pitch = C::pitch(self.layout, outputs);
        let strip_len = self.phases.iter().map(|phase| phase.form.pixels).max().unwrap_or_default() * pitch;
        let behind = C::behind(self.stride * canvas.pixel());
        let canvas_len = self.canvas.scratch() + behind;
        let bytes = Scratch::bytes::<C>(canvas_len) + Scratch::bytes::<C::Real>(strip_len);
        let partials = buffer::map(item_groups * block_groups, |task| {
            let blocks = split(blocks, block_groups, task % block_groups);
            let mut sums = Sums::zeros(outputs);
            with_scratch(bytes, |mut scratch| {
                let copy: &mut [C] = scratch.take(canvas_len);
                if behind > 0 {
                    copy.fill(C::default());
                }
                let session = C::session();
                let strip: &mut [C::Real] = scratch.take(strip_len);
                for item in split(items, item_groups, task / block_groups) {
                    let (first, count) = match self.flat {
                        Some(item_len) => (item * item_len, item_len.min(pixels - item * item_len)),
                        None => (item * out_pixels, usize::MAX),
                    };
                    let from = if self.flat.is_some() { first } else { item * in_pixels } * inputs;
                    let canvas = match self.flat {
                        // The last pixels are fewer than an item.
                        Some(item_len) if count < item_len => self.canvas.of([1, count]),
                        _ => canvas,
                    };
                    let mut filled = 0;
                    for phase in &self.phases {
                        let columns = phase.count[1].min(count);
                        let mut place = Place { map, at: first * outputs, columns, session: &session, sums: &mut sums };
                        let blocks = blocks.clone();
                        // SAFETY: the item's outputs begin there; its pixels and this task's channels are no other's.
                        unsafe {
                            self.phase(
                                phase,
                                &canvas,
                                blocks,
                                source,
                                from,
                                copy,
                                &mut filled,
                                strip,
                                sink,
                                &mut place,
                            );
                        }
                    }
                }
            });
            sums
        });
        partials.iter().for_each(|sums| total.add(sums));
        total
    }

    /// One phase of one item, for some blocks of channels.
    ///
    /// # Safety
    ///
    /// The item's outputs lie at the place, and nobody else touches their channels in these blocks meanwhile. `from` is
    /// where the item begins in the source; `copy` has room for the canvas, of which `filled` rows are there, and `strip`
    /// for the phase's form.
    #[expect(clippy::too_many_arguments, reason = "the state of the loop above, spelled out")]
    unsafe fn phase(
        &self,
        phase: &Phase<C>,
        canvas: &Canvas,
        blocks: Range<usize>,
        source: &Source<C::Real>,
        from: usize,
        copy: &mut [C],
        filled: &mut usize,
        strip: &mut [C::Real],
        sink: &Sink<C::Real>,
        place: &mut Place<'_, C>,
    ) {
        let [_, outputs] = self.channels;
        let pitch = C::pitch(self.layout, outputs);
        let block = C::block(self.layout);
        let channels = [blocks.start * block, (blocks.end * block).min(outputs)];
        let form = &phase.form;
        let mut done = 0;
        while done < phase.count[0] {
            // As the last block of a row, the last rows are moved up to end with the map.
            let top = done.min(phase.count[0] - form.rows);
            let first = phase.from[0] + top * self.stride;
            if phase.taps > 0 {
                let need = first + (form.rows - 1) * self.stride + phase.taps;
                canvas.fill(self.set, source, from, copy, filled, need);
            }
            let place_of = |row: usize| {
                let pixel = (phase.first[0] + row * self.out_step) * self.output[1] + phase.first[1];
                place.at + pixel * outputs
            };
            // What the sink reads comes while the sums are computed.
            sink.prefetch(place_of(done), (top + form.rows - done) * self.out_step * self.output[1] * outputs);
            let rows = Rows {
                x: canvas
                    .pixels(source, from, copy)
                    .wrapping_add(first * canvas.pitch() + phase.from[1] * canvas.pixel()),
                x_row: canvas.pitch(),
                x_step: self.stride * canvas.pixel(),
                x_down: self.stride * canvas.pitch(),
                taps: phase.taps,
                run: phase.run,
                weights: &phase.weights,
                start: &self.start,
                y: strip.as_mut_ptr(),
                columns: phase.count[1],
                blocks: blocks.clone(),
            };
            // SAFETY: the canvas has every input, its rows so far are filled, and the strip has room for the form.
            unsafe { C::sum(place.session, self.layout, form, outputs, &rows) };
            let rows = top + form.rows - done;
            let down = self.out_step * self.output[1] * outputs;
            let mut rows = sink::Rows {
                results: &strip[(done - top) * form.row * pitch..],
                pitch,
                row: form.row * pitch,
                rows,
                pixels: place.columns,
                map: place.map,
                at: place_of(done),
                step: self.out_step * outputs,
                down,
                channels,
                sums: &mut *place.sums,
            };
            // SAFETY: the caller's promise.
            unsafe { sink.finish(self.set, &mut rows) };
            done = top + form.rows;
        }
    }
}

/// Where an item's outputs go.
struct Place<'a, C: Operand> {
    map: Map<C::Real>,
    /// The item's first element in the map.
    at: usize,
    /// Pixels in a row.
    columns: usize,
    session: &'a C::Session,
    sums: &'a mut Sums,
}

/// The `index`-th of `parts` nearly equal ranges of `0..count`.
pub fn split(count: usize, parts: usize, index: usize) -> Range<usize> {
    count * index / parts..count * (index + 1) / parts
}

fn pointwise(phases: &[Axis]) -> bool {
    matches!(phases, [axis] if axis.taps.len() == 1 && axis.origin == 0)
}

fn phases<'a, T>(problem: &'a Problem<T>) -> impl Iterator<Item = [&'a Axis; 2]> {
    let [rows, columns] = &problem.axes;
    rows.iter()
        .flat_map(move |row| columns.iter().map(move |column| [row, column]))
        .filter(|axes| axes.iter().all(|axis| axis.count > 0))
}

/// The coordinates of the input that any output meets.
fn met<T>(problem: &Problem<T>, axis: usize) -> [isize; 2] {
    let phases = problem.axes[axis].iter().filter(|phase| phase.count > 0 && !phase.taps.is_empty());
    let ends = phases
        .map(|phase| [phase.origin, phase.origin + ((phase.count - 1) * problem.stride + phase.taps.len()) as isize]);
    ends.reduce(|[low, high], [first, last]| [low.min(first), high.max(last)]).unwrap_or([0, 0])
}
