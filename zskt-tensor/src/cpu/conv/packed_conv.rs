//! Forward convolutions and data gradients: convolutions of a padded input map with a small kernel, from an [`InputView`] into a
//! [`Epilogue`]: what precedes and follows a convolution is done in the first-level cache.

#![expect(unsafe_code, reason = "outputs are written once, by blocks that interleave")]

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::operand::{Operand, PhaseShape, RowBlock, SumLayout};
use crate::cpu::conv::padded_input::PaddedInput;
use crate::cpu::conv::sub_kernels::{AxisPhase, SubKernels};
use crate::cpu::kernels::epilogue;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue, OutputPointer};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::threads;

/// Products and sums that are worth a task of their own (some ten microseconds).
const TASK: usize = 1 << 21;
/// No more tasks than this: enough to balance, few enough to cost nothing.
const TASKS: usize = 64;
/// Pixels in an item where pixels are independent, so that images do not matter.
const FLAT: usize = 32;

/// The convolution to compute.
pub struct ConvProblem<'a, T> {
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
    pub axes: [Vec<AxisPhase>; 2],
    /// The kernel.
    pub taps: SubKernels<'a, T>,
    /// What is added to every output pixel.
    pub bias: Option<&'a [T]>,
}

/// A phase, ready to run.
struct Phase<C: Operand> {
    /// Rows of taps.
    taps: usize,
    /// Inputs under one of them.
    run: usize,
    /// Where the inputs of the first output begin in the padded input.
    from: [usize; 2],
    /// The first output pixel.
    first: [usize; 2],
    /// Output rows and columns.
    count: [usize; 2],
    sum_layout: SumLayout<C::Kernel>,
    weights: Buffer<C>,
}

/// A convolution whose weights are packed.
pub struct PackedConv<C: Operand> {
    set: InstructionSet,
    batch: usize,
    input: [usize; 2],
    output: [usize; 2],
    /// Channels of the input and of the output.
    channels: [usize; 2],
    stride: usize,
    out_step: usize,
    blocking: C::ChannelBlocking,
    padded: PaddedInput,
    /// Where pixels are independent, images are cut anew into items of so many.
    flat: Option<usize>,
    phases: Vec<Phase<C>>,
    /// The bias, padded to whole blocks.
    start: Buffer<C::Accumulator>,
}

impl<C: Operand> PackedConv<C> {
    /// Packs the weights.
    pub fn new(set: InstructionSet, problem: &ConvProblem<C::Accumulator>) -> Self {
        let SubKernels { inputs, outputs, .. } = problem.taps;
        assert!(problem.bias.is_none_or(|bias| bias.len() == outputs), "one bias per output channel");
        let pixel = C::pixel(inputs);
        let blocking = C::blocking(set, pixel, outputs);
        let block = C::block(blocking);
        let mut start = Buffer::new(outputs.div_ceil(block) * block);
        start.fill(C::Accumulator::ZERO);
        if let Some(bias) = problem.bias {
            start[..outputs].copy_from_slice(bias);
        }
        let pointwise = problem.stride == 1 && problem.out_step == 1 && problem.axes.iter().all(|axis| pointwise(axis));
        let flat = pointwise.then(|| FLAT.min(problem.batch * problem.output[0] * problem.output[1]).max(1));
        let padded = if let Some(pixels) = flat {
            PaddedInput::copied([1, pixels], inputs, pixel, [[0, 1], [0, pixels as isize]])
        } else {
            PaddedInput::copied(problem.input, inputs, pixel, [0, 1].map(|axis| met(problem, axis)))
        };
        let phases = phases(problem).map(|[rows, columns]| {
            let empty = rows.taps.is_empty() || columns.taps.is_empty();
            let from = |axis: usize, origin: isize| if empty { 0 } else { padded.place(axis, origin) };
            let count = flat.map_or([rows.count, columns.count], |pixels| [1, pixels]);
            let step = problem.stride * pixel;
            let taps = [rows, columns].map(|axis| axis.taps.len());
            let shape = PhaseShape { outputs, count, taps, canvas_columns: padded.columns(), pixel, step };
            let sum_layout = C::sum_layout(set, blocking, &shape);
            let weights = C::pack(set, blocking, &sum_layout, &problem.taps, step, &rows.taps, &columns.taps);
            Phase {
                taps: if empty { 0 } else { rows.taps.len() },
                run: columns.taps.len() * pixel,
                from: [from(0, rows.origin), from(1, columns.origin)],
                first: [rows.first, columns.first],
                count,
                sum_layout,
                weights,
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
            blocking,
            padded,
            flat,
            start,
        }
    }

    /// Elements of the output, `[batch, rows, columns, outputs]`.
    pub fn len(&self) -> usize {
        self.batch * self.output[0] * self.output[1] * self.channels[1]
    }

    /// Elements of the input, `[batch, rows, columns, inputs]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.input[0] * self.input[1] * self.channels[0]
    }

    /// Channels of the input and of the output.
    pub fn channels(&self) -> [usize; 2] {
        self.channels
    }

    /// Correlates `source` into `out`, and returns the sums that the epilogue asks for.
    pub fn run(
        &self,
        source: &InputView<C::Accumulator>,
        epilogue: &Epilogue<C::Accumulator>,
        out: MapSliceMut<C::Accumulator>,
    ) -> ChannelSums {
        let [_, outputs] = self.channels;
        let map = self.checked(source, epilogue, out);
        let mut total = ChannelSums::zeros(outputs);
        if self.len() == 0 {
            return total;
        }
        let items = self.items();
        let products: usize =
            self.phases.iter().map(|phase| phase.taps * phase.run * phase.count[0] * phase.count[1]).sum();
        let tasks = (2 * items * products * outputs / TASK).clamp(1, TASKS);
        let item_groups = tasks.min(items);
        // Few items and many channels, as in linear layers: channels are divided too.
        let blocks = outputs.div_ceil(C::block(self.blocking));
        let block_groups = (tasks / item_groups).min((TASKS / 4).div_ceil(item_groups)).clamp(1, blocks);
        let partials = threads::map(item_groups * block_groups, |task| {
            let blocks = split(blocks, block_groups, task % block_groups);
            let mut running = self.begin(source, epilogue, map);
            for item in split(items, item_groups, task / block_groups) {
                // SAFETY: the map has the output's shape, and the item's pixels and this task's channels are no other's.
                unsafe { running.item(item, blocks.clone()) };
            }
            running.sums
        });
        partials.iter().for_each(|sums| total.add(sums));
        total
    }

    /// The map to write to; asserts that source, epilogue and map have their shapes.
    pub fn checked(
        &self,
        source: &InputView<C::Accumulator>,
        epilogue: &Epilogue<C::Accumulator>,
        out: MapSliceMut<C::Accumulator>,
    ) -> OutputPointer<C::Accumulator> {
        assert_eq!(source.len(), self.input_len(), "the input has the shape it should have");
        let (map, len) = OutputPointer::of(out);
        assert!(len == self.len() && epilogue.fits(len), "the output has the shape it should have");
        map
    }

    /// How many pieces the work consists of: images, unless pixels are independent.
    fn items(&self) -> usize {
        let pixels = self.batch * self.output[0] * self.output[1];
        self.flat.map_or(self.batch, |item| pixels.div_ceil(item))
    }

    /// How many images there are, if they are the pieces.
    pub fn images(&self) -> Option<usize> {
        self.flat.is_none().then_some(self.batch)
    }

    /// Begins to run on this thread.
    pub fn begin<'a>(
        &'a self,
        source: &'a InputView<'a, C::Accumulator>,
        epilogue: &'a Epilogue<'a, C::Accumulator>,
        map: OutputPointer<C::Accumulator>,
    ) -> PackedConvRun<'a, C> {
        let behind = C::behind(self.stride * self.padded.pixel());
        // Only a copy has anything behind it.
        let padded = self.padded.or_direct(behind == 0 && source.direct::<C>().is_some());
        let [_, outputs] = self.channels;
        let pitch = C::pitch(self.blocking, outputs);
        let strip = self.phases.iter().map(|phase| phase.sum_layout.sums(pitch) + phase.sum_layout.scratch).max();
        PackedConvRun {
            conv: self,
            source,
            epilogue,
            map,
            padded,
            // The last of independent pixels may need a copy even where the others do not.
            copy: if padded.direct && self.flat.is_none() { Buffer::new(0) } else { self.padded.copy(behind) },
            strip: Buffer::new(strip.unwrap_or_default()),
            thread_state: C::thread_state(),
            sums: ChannelSums::zeros(outputs),
        }
    }
}

/// A convolution that runs on one thread, with its scratch memory.
pub struct PackedConvRun<'a, C: Operand> {
    conv: &'a PackedConv<C>,
    source: &'a InputView<'a, C::Accumulator>,
    epilogue: &'a Epilogue<'a, C::Accumulator>,
    map: OutputPointer<C::Accumulator>,
    padded: PaddedInput,
    copy: Buffer<C>,
    strip: Buffer<C::Accumulator>,
    thread_state: C::ThreadState,
    /// The sums of the items so far.
    pub sums: ChannelSums,
}

impl<C: Operand> PackedConvRun<'_, C> {
    /// One item, all channels: an image where images are its items ([`PackedConv::images`]).
    ///
    /// # Safety
    ///
    /// As for [`item`](Self::item).
    pub unsafe fn image(&mut self, image: usize) {
        let blocks = self.conv.channels[1].div_ceil(C::block(self.conv.blocking));
        // SAFETY: the caller's promise.
        unsafe { self.item(image, 0..blocks) };
    }

    /// One item, for some blocks of channels.
    ///
    /// # Safety
    ///
    /// The map has the output's shape, and nobody else touches the item's pixels in these channels meanwhile.
    unsafe fn item(&mut self, item: usize, blocks: Range<usize>) {
        let c = self.conv;
        let [inputs, outputs] = c.channels;
        let [in_pixels, out_pixels] = [c.input, c.output].map(|[rows, columns]| rows * columns);
        let (from, at, padded, columns) = match c.flat {
            Some(len) => {
                let (first, count) = (item * len, len.min(c.batch * out_pixels - item * len));
                // The last pixels may be fewer than an item.
                let padded = if count < len { c.padded.of([1, count]) } else { self.padded };
                (first * inputs, first * outputs, padded, count)
            }
            None => (item * in_pixels * inputs, item * out_pixels * outputs, self.padded, usize::MAX),
        };
        let mut filled = 0;
        for phase in &c.phases {
            // SAFETY: the item's outputs begin there, and the caller has them.
            unsafe { self.phase(phase, &padded, blocks.clone(), from, at, columns, &mut filled) };
        }
    }

    /// One phase of the item that begins at `from` in the source and at `at` in the map, for some blocks of channels and at
    /// most so many columns; `filled` rows of its padded input are there.
    ///
    /// # Safety
    ///
    /// As for [`item`](Self::item).
    #[expect(clippy::too_many_arguments, reason = "the state of the loop above, spelled out")]
    unsafe fn phase(
        &mut self,
        phase: &Phase<C>,
        padded: &PaddedInput,
        blocks: Range<usize>,
        from: usize,
        at: usize,
        columns: usize,
        filled: &mut usize,
    ) {
        let Self { conv: c, source, epilogue, map, copy, strip, thread_state, sums, .. } = self;
        let [_, outputs] = c.channels;
        let pitch = C::pitch(c.blocking, outputs);
        let block = C::block(c.blocking);
        let channels = [blocks.start * block, (blocks.end * block).min(outputs)];
        let sum_layout = &phase.sum_layout;
        let mut done = 0;
        while done < phase.count[0] {
            // As the last block of a row, the last rows are moved up to end with the map.
            let top = done.min(phase.count[0] - sum_layout.rows);
            let first = phase.from[0] + top * c.stride;
            if phase.taps > 0 {
                let need = first + (sum_layout.rows - 1) * c.stride + phase.taps;
                padded.fill(c.set, source, from, copy, filled, need);
            }
            let rows = RowBlock {
                x: padded
                    .pixels(source, from, copy)
                    .wrapping_add(first * padded.pitch() + phase.from[1] * padded.pixel()),
                x_row: padded.pitch(),
                x_step: c.stride * padded.pixel(),
                x_down: c.stride * padded.pitch(),
                taps: phase.taps,
                run: phase.run,
                weights: &phase.weights,
                start: &c.start,
                y: strip.as_mut_ptr(),
                scratch: strip.as_mut_ptr().wrapping_add(sum_layout.sums(pitch)),
                columns: phase.count[1],
                blocks: blocks.clone(),
            };
            // SAFETY: the padded input has every input, its rows so far are filled, and the strip has room for the layout.
            unsafe { C::sum(thread_state, c.blocking, sum_layout, outputs, &rows) };
            let pixel = (phase.first[0] + done * c.out_step) * c.output[1] + phase.first[1];
            let mut rows = epilogue::OutputRows {
                results: &strip[(done - top) * sum_layout.row * pitch..],
                pitch,
                row: sum_layout.row * pitch,
                rows: top + sum_layout.rows - done,
                pixels: phase.count[1].min(columns),
                map: *map,
                at: at + pixel * outputs,
                step: c.out_step * outputs,
                down: c.out_step * c.output[1] * outputs,
                channels,
                sums,
            };
            // SAFETY: the caller's promise.
            unsafe { epilogue.finish(c.set, &mut rows) };
            done = top + sum_layout.rows;
        }
    }
}

/// The `index`-th of `parts` nearly equal ranges of `0..count`.
pub fn split(count: usize, parts: usize, index: usize) -> Range<usize> {
    count * index / parts..count * (index + 1) / parts
}

fn pointwise(phases: &[AxisPhase]) -> bool {
    matches!(phases, [axis] if axis.taps.len() == 1 && axis.origin == 0)
}

fn phases<'a, T>(problem: &'a ConvProblem<T>) -> impl Iterator<Item = [&'a AxisPhase; 2]> {
    let [rows, columns] = &problem.axes;
    rows.iter()
        .flat_map(move |row| columns.iter().map(move |column| [row, column]))
        .filter(|axes| axes.iter().all(|axis| axis.count > 0))
}

/// The coordinates of the input that any output meets.
fn met<T>(problem: &ConvProblem<T>, axis: usize) -> [isize; 2] {
    let phases = problem.axes[axis].iter().filter(|phase| phase.count > 0 && !phase.taps.is_empty());
    let ends = phases
        .map(|phase| [phase.origin, phase.origin + ((phase.count - 1) * problem.stride + phase.taps.len()) as isize]);
    ends.reduce(|[low, high], [first, last]| [low.min(first), high.max(last)]).unwrap_or([0, 0])
}
