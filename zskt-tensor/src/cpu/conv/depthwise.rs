//! Depthwise convolutions and their gradients: as many groups as channels.

#![expect(unsafe_code, reason = "kernels read rows through pointers")]

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::packed_conv::split;
use crate::cpu::conv::row_ring::RowRing;
use crate::cpu::conv::sub_kernels::AxisPhase;
use crate::cpu::kernels::depthwise::{DepthwiseProducts, DepthwiseRow, NARROW, TapRows, vectors};
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue, EpilogueOp, OutputPointer, OutputRows, Residual};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::threads;
use crate::shape::ConvGeometry;

/// Products and sums that are worth a task of their own.
const TASK: usize = 1 << 20;
/// No more tasks than this.
const TASKS: usize = 64;
/// No more tasks than this for sums.
const SUMMING_TASKS: usize = 16;
/// Rows of an image that a task has at least.
const ROWS: usize = 8;
/// Elements of the results that are finished at once, or more for so many pixels.
const STRIP: usize = 8192;
const PIXELS: usize = 64;

/// Whether a convolution is depthwise, with one output for each input.
pub fn is_depthwise(g: &ConvGeometry) -> bool {
    g.groups == g.in_channels && g.groups == g.out_channels
}

/// A depthwise convolution, or its gradient with respect to the input.
pub struct DepthwiseConv<T> {
    set: InstructionSet,
    batch: usize,
    channels: usize,
    /// Rows and columns of the input.
    input: [usize; 2],
    /// Rows and columns of the output.
    output: [usize; 2],
    /// Between the inputs of neighbouring outputs of a phase.
    stride: usize,
    /// Between neighbouring outputs of a phase.
    out_step: usize,
    axes: [Vec<AxisPhase>; 2],
    /// For each phase of the rows and of the columns, `[vector][tap row][tap][width]`.
    weights: Vec<Vec<Buffer<T>>>,
    /// The bias, `[vector][width]`.
    start: Buffer<T>,
}

impl<T: KernelTable> DepthwiseConv<T> {
    /// The convolution with `weight` `[C, 1, K, K]`, plus `bias` `[C]` at every pixel.
    pub fn forward(set: InstructionSet, g: &ConvGeometry, weight: &[T], bias: Option<&[T]>) -> Self {
        let sizes = [[g.height, g.width], [g.out_height(), g.out_width()]];
        Self::new(set, g, sizes, [g.stride, 1], g.extents().map(|extent| extent.forward()), weight, bias)
    }

    /// What makes the gradient with respect to the input of the one with respect to the output.
    pub fn data_gradient(set: InstructionSet, g: &ConvGeometry, weight: &[T]) -> Self {
        let sizes = [[g.out_height(), g.out_width()], [g.height, g.width]];
        Self::new(set, g, sizes, [1, g.stride], g.extents().map(|extent| extent.backward()), weight, None)
    }

    fn new(
        set: InstructionSet,
        g: &ConvGeometry,
        [input, output]: [[usize; 2]; 2],
        [stride, out_step]: [usize; 2],
        axes: [Vec<AxisPhase>; 2],
        weight: &[T],
        bias: Option<&[T]>,
    ) -> Self {
        assert!(is_depthwise(g) && g.upsampling == 1 && weight.len() == g.weight_len(), "a depthwise convolution");
        let (width, channels, kernel) = (T::width(set), g.in_channels, g.kernel);
        let packed = |rows: &[Range<usize>], columns: &[Range<usize>]| {
            let mut packed = Buffer::new(channels.div_ceil(width) * rows.len() * columns.len() * width);
            packed.fill(T::ZERO);
            let mut places = packed.chunks_exact_mut(width);
            for first in vectors(channels, width) {
                for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
                    let tap = row.start * kernel + column.start;
                    let weights = weight[first * kernel * kernel + tap..].iter().step_by(kernel * kernel);
                    places.next().into_iter().flatten().zip(weights).for_each(|(place, weight)| *place = *weight);
                }
            }
            packed
        };
        let [rows, columns] = &axes;
        let weights = rows.iter().map(|row| columns.iter().map(|column| packed(&row.taps, &column.taps)).collect());
        let weights = weights.collect();
        let mut start = Buffer::new(channels.div_ceil(width) * width);
        start.fill(T::ZERO);
        if let Some(bias) = bias {
            for (place, first) in start.chunks_exact_mut(width).zip(vectors(channels, width)) {
                place.iter_mut().zip(&bias[first..]).for_each(|(place, bias)| *place = *bias);
            }
        }
        Self { set, batch: g.batch, channels, input, output, stride, out_step, axes, weights, start }
    }

    /// Elements of the output.
    fn len(&self) -> usize {
        self.batch * self.output[0] * self.output[1] * self.channels
    }

    /// Computes `out` from `source`, and returns the sums that the epilogue asks for.
    pub fn run(&self, source: &InputView<T>, epilogue: &Epilogue<T>, out: MapSliceMut<T>) -> ChannelSums {
        let (map, len) = OutputPointer::of(out);
        let mut total = ChannelSums::zeros(self.channels);
        assert_eq!(source.len(), self.batch * self.input[0] * self.input[1] * self.channels, "the input has its shape");
        assert!(len == self.len() && epilogue.fits(len), "the output has the shape it should have");
        if len == 0 {
            return total;
        }
        let taps = |axis: &Vec<AxisPhase>| axis.iter().map(|phase| phase.taps.len()).max().unwrap_or_default();
        let tasks = (2 * len * taps(&self.axes[0]) * taps(&self.axes[1]) / TASK).clamp(1, TASKS);
        let images = tasks.min(self.batch);
        let parts = (tasks / images).clamp(1, (self.output[0] / ROWS).max(1));
        let partials = threads::map(images * parts, |task| {
            let mut sums = ChannelSums::zeros(self.channels);
            let mut running = self.begin(source, epilogue, map);
            for image in split(self.batch, images, task / parts) {
                // SAFETY: the map has the output's shape, and tasks have different rows.
                unsafe { running.rows(image, split(self.output[0], parts, task % parts), &mut sums) };
            }
            sums
        });
        partials.iter().for_each(|sums| total.add(sums));
        total
    }

    /// The row of the input under the first tap of a row of the output.
    fn first_input(&self, row: usize) -> isize {
        self.axes[0][row % self.out_step].origin + (row / self.out_step * self.stride) as isize
    }

    /// Whether rows are few outputs, of the 3×3 taps around each: a kernel computes them at once.
    fn is_narrow(&self) -> bool {
        let ([rows], [columns]) = (&self.axes[0][..], &self.axes[1][..]) else { return false };
        let alike = columns.origin == -1 && columns.taps.len() == 3 && self.input[1] == self.output[1];
        alike && self.stride == 1 && self.output[1] <= NARROW && rows.taps.len() == 3
    }

    /// The outputs of a phase of the columns all of whose taps are in the image.
    fn inside(&self, columns: &AxisPhase) -> Range<usize> {
        let first = ((-columns.origin).max(0) as usize).div_ceil(self.stride).min(columns.count);
        let last = self.input[1] as isize - columns.origin - columns.taps.len() as isize;
        let end = if last < 0 { 0 } else { (last as usize / self.stride + 1).min(columns.count) };
        first..end.max(first)
    }

    fn begin<'a>(
        &'a self,
        source: &'a InputView<'a, T>,
        epilogue: &'a Epilogue<'a, T>,
        map: OutputPointer<T>,
    ) -> DepthwiseRun<'a, T> {
        let behind = T::width(self.set);
        let met = |phase: &AxisPhase| {
            let last = (phase.count.max(1) - 1) * self.stride + phase.taps.len();
            [phase.origin, phase.origin + last as isize]
        };
        let spans = self.axes[1].iter().map(met);
        let span =
            spans.fold([0, self.input[1] as isize], |[left, right], [first, end]| [left.min(first), right.max(end)]);
        // The taps of all phases of neighbouring outputs, which may begin at different rows.
        let rows = self.axes[0].iter().map(|phase| phase.taps.len()).max().unwrap_or_default() + self.out_step;
        let rows = match source.direct() {
            // Other short rows are mostly edges: copied with margins they are computed all alike.
            Some(image) if self.channels >= behind && (self.output[1] > NARROW || self.is_narrow()) => {
                let mut zeros = Buffer::new(self.input[1] * self.channels);
                zeros.fill(T::ZERO);
                InputRows::Direct(image, zeros)
            }
            _ => InputRows::Ring(RowRing::new(self.input, self.channels, rows, span, behind)),
        };
        let strip = (STRIP / (self.output[1] * self.channels)).max(PIXELS.div_ceil(self.output[1])).min(self.output[0]);
        DepthwiseRun {
            conv: self,
            source,
            epilogue,
            map,
            rows,
            tap_rows: Vec::new(),
            strip: Buffer::new(strip * self.output[1] * self.channels + behind),
            strip_rows: strip,
        }
    }
}

/// A depthwise convolution that runs on one thread.
struct DepthwiseRun<'a, T> {
    conv: &'a DepthwiseConv<T>,
    source: &'a InputView<'a, T>,
    epilogue: &'a Epilogue<'a, T>,
    map: OutputPointer<T>,
    rows: InputRows<'a, T>,
    /// For a kernel.
    tap_rows: Vec<*const T>,
    strip: Buffer<T>,
    strip_rows: usize,
}

/// Where kernels find the rows of the input.
enum InputRows<'a, T> {
    /// Copied, with margins.
    Ring(RowRing<T>),
    /// In memory as they are, and a row of zeros; whole vectors of channels only, for nothing is read behind the last pixel.
    Direct(&'a [T], Buffer<T>),
}

impl<T: KernelTable> DepthwiseRun<'_, T> {
    /// Some rows of outputs of an image.
    ///
    /// # Safety
    ///
    /// The map has the output's shape, and nobody else touches these rows meanwhile.
    unsafe fn rows(&mut self, image: usize, rows: Range<usize>, sums: &mut ChannelSums) {
        let c = self.conv;
        let row_len = c.output[1] * c.channels;
        if let InputRows::Ring(ring) = &mut self.rows {
            let begins = rows.clone().take(c.out_step).map(|row| c.first_input(row)).min();
            ring.begin(image * c.input[0] * c.input[1] * c.channels, begins.unwrap_or_default());
        }
        // What is stored as it is goes to its place at once; whole vectors of channels only.
        let whole = c.channels >= T::width(c.set);
        let stored = matches!(self.epilogue, Epilogue { residual: Residual::None, op: EpilogueOp::Store });
        if let (OutputPointer::Full(map), true) = (self.map, whole && stored) {
            for row in rows {
                // SAFETY: the caller's promise.
                unsafe { self.row(image, row, map.add((image * c.output[0] + row) * row_len)) };
            }
            return;
        }
        for first in rows.clone().step_by(self.strip_rows) {
            let end = rows.end.min(first + self.strip_rows);
            for row in first..end {
                let y = self.strip[(row - first) * row_len..].as_mut_ptr();
                // SAFETY: the strip has room for so many rows, and a vector behind them.
                unsafe { self.row(image, row, y) };
            }
            let mut finished = OutputRows {
                results: &self.strip[..(end - first) * row_len],
                pitch: c.channels,
                row: row_len,
                rows: end - first,
                pixels: c.output[1],
                map: self.map,
                at: (image * c.output[0] + first) * row_len,
                step: c.channels,
                down: row_len,
                channels: [0, c.channels],
                sums,
            };
            // SAFETY: the caller's promise.
            unsafe { self.epilogue.finish(c.set, &mut finished) };
        }
    }

    /// Computes a row of outputs of an image.
    ///
    /// # Safety
    ///
    /// `y` has room for the row, and for a vector behind it unless channels are whole vectors.
    unsafe fn row(&mut self, image: usize, row: usize, y: *mut T) {
        let c = self.conv;
        let (phase, from) = (&c.axes[0][row % c.out_step], c.first_input(row));
        if let InputRows::Ring(ring) = &mut self.rows {
            ring.read(c.set, self.source, from + phase.taps.len() as isize);
        }
        if c.is_narrow() {
            // SAFETY: the caller's promise.
            unsafe { self.narrow(image, row, y) };
            return;
        }
        let columns = &c.axes[1];
        if c.channels < T::width(c.set) && c.out_step > 1 {
            // The lanes behind an output lie where outputs of other phases belong, so all go in their order.
            for column in 0..c.output[1] {
                let (index, output) = (column % c.out_step, column / c.out_step);
                // SAFETY: the caller's promise.
                unsafe { self.outputs(image, row, index, output..output + 1, 0..columns[index].taps.len(), y) };
            }
            return;
        }
        for (index, columns) in columns.iter().enumerate() {
            let taps = columns.taps.len();
            // The outputs all of whose taps are in memory: with margins all are.
            let inside = match &self.rows {
                InputRows::Ring(_) => 0..columns.count,
                InputRows::Direct(..) => c.inside(columns),
            };
            // SAFETY: the caller's promise.
            unsafe { self.outputs(image, row, index, inside.clone(), 0..taps, y) };
            // At the edges some taps meet nothing.
            for output in (0..inside.start).chain(inside.end..columns.count) {
                let column = columns.origin + (output * c.stride) as isize;
                let met = |end: isize| (end - column).clamp(0, taps as isize) as usize;
                // SAFETY: as above.
                unsafe { self.outputs(image, row, index, output..output + 1, met(0)..met(c.input[1] as isize), y) };
            }
        }
    }

    /// Computes a narrow row of outputs.
    ///
    /// # Safety
    ///
    /// As for [`row`](Self::row).
    unsafe fn narrow(&self, image: usize, row: usize, y: *mut T) {
        let c = self.conv;
        let (width, outputs) = (T::width(c.set), c.output[1]);
        let from = c.first_input(row);
        let tap_rows = [0, 1, 2].map(|tap| {
            let row = from + tap;
            match &self.rows {
                _ if !(0..c.input[0] as isize).contains(&row) => std::ptr::null(),
                InputRows::Ring(ring) => ring.pixel(row, 0),
                InputRows::Direct(source, _) => {
                    source[(image * c.input[0] + row as usize) * outputs * c.channels..].as_ptr()
                }
            }
        });
        let block = DepthwiseRow {
            inputs: TapRows {
                rows: &tap_rows,
                taps: 3,
                tap_step: c.channels,
                x_step: c.channels,
                outputs,
                channels: c.channels,
            },
            weights: c.weights[0][0].as_ptr(),
            weight_steps: [3 * width, 9 * width],
            start: c.start.as_ptr(),
            y,
            y_step: c.channels,
        };
        let (kernel, _) = T::depthwise_narrow(c.set, outputs);
        // SAFETY: the rows have these pixels, and the caller has the outputs.
        unsafe { kernel(&block) };
    }

    /// Computes some outputs of a row and of the `index`-th phase of the columns from some of its taps.
    ///
    /// # Safety
    ///
    /// As for [`row`](Self::row).
    unsafe fn outputs(
        &mut self,
        image: usize,
        row: usize,
        index: usize,
        outputs: Range<usize>,
        taps: Range<usize>,
        y: *mut T,
    ) {
        let (c, width) = (self.conv, T::width(self.conv.set));
        let (rows, columns) = (&c.axes[0][row % c.out_step].taps, &c.axes[1][index]);
        if outputs.is_empty() {
            return;
        }
        let column = columns.origin + (outputs.start * c.stride + taps.start) as isize;
        let from = c.first_input(row);
        let met = if taps.is_empty() { 0 } else { rows.len() };
        self.tap_rows.clear();
        self.tap_rows.extend((from..).take(met).map(|row| match &self.rows {
            InputRows::Ring(ring) => ring.pixel(row, column),
            InputRows::Direct(source, zeros) => {
                let inside = (0..c.input[0] as isize).contains(&row);
                let (numbers, row) = if inside { (*source, image * c.input[0] + row as usize) } else { (&**zeros, 0) };
                numbers[(row * c.input[1] + column as usize) * c.channels..].as_ptr()
            }
        }));
        let weights = &c.weights[row % c.out_step][index];
        let block = DepthwiseRow {
            inputs: TapRows {
                rows: &self.tap_rows,
                taps: taps.len(),
                tap_step: c.channels,
                x_step: c.stride * c.channels,
                outputs: outputs.len(),
                channels: c.channels,
            },
            weights: weights.as_ptr().wrapping_add(taps.start * width),
            weight_steps: [columns.taps.len() * width, rows.len() * columns.taps.len() * width],
            start: c.start.as_ptr(),
            y: y.wrapping_add((columns.first + outputs.start * c.out_step) * c.channels),
            y_step: c.out_step * c.channels,
        };
        let kernel = T::depthwise(c.set, [self.tap_rows.len(), taps.len()], c.stride, outputs.len());
        // SAFETY: the rows have the pixels that these taps of these outputs meet, and the caller has the outputs.
        unsafe { kernel(&block) };
    }
}

/// The gradient with respect to the weight, `[C, 1, K, K]`, from inputs `x` and gradients `dy`.
pub fn weight_gradient<T: KernelTable>(
    set: InstructionSet,
    g: &ConvGeometry,
    x: &InputView<T>,
    dy: &InputView<T>,
) -> Vec<T> {
    let (channels, kernel, width) = (g.in_channels, g.kernel, T::width(set));
    let [inputs, outputs] = [g.height * g.width, g.out_height() * g.out_width()].map(|pixels| pixels * channels);
    assert!(x.len() == g.batch * inputs && dy.len() == g.batch * outputs, "the maps have their shapes");
    let mut weight = vec![T::ZERO; g.weight_len()];
    if dy.len() == 0 {
        return weight;
    }
    let row_len = g.out_width() * channels;
    let tasks = (2 * dy.len() * kernel * kernel / TASK).clamp(1, SUMMING_TASKS).min(g.batch);
    let left = -(g.padding as isize);
    let right = left + ((g.out_width() - 1) * g.stride + kernel) as isize;
    let narrow = kernel == 3 && g.stride == 1 && g.padding == 1 && g.width <= NARROW;
    // Whole vectors of channels only, for nothing is read behind the last pixel.
    let whole = channels >= width;
    let inputs_there = x.direct::<T>().filter(|_| whole && narrow);
    let gradients_there = dy.direct::<T>().filter(|_| whole);
    let partials = threads::map(tasks, |task| {
        let mut sums = Buffer::<T>::new(channels.div_ceil(width) * width * kernel * kernel);
        sums.fill(T::ZERO);
        let mut ring = RowRing::new([g.height, g.width], channels, kernel.max(g.stride), [left, right], width);
        let mut gradients = Buffer::<T>::new(row_len + width);
        gradients.fill(T::ZERO);
        for image in split(g.batch, tasks, task) {
            ring.begin(image * inputs, left);
            for row in 0..g.out_height() {
                let from = left + (row * g.stride) as isize;
                if inputs_there.is_none() {
                    ring.read(set, x, from + kernel as isize);
                }
                let at = image * outputs + row * row_len;
                let gradients = match gradients_there {
                    Some(all) => all[at..].as_ptr(),
                    None => {
                        dy.write(set, at, &mut gradients[..row_len]);
                        gradients.as_ptr()
                    }
                };
                let tap_row = |tap: usize| {
                    let row = from + tap as isize;
                    match inputs_there {
                        _ if narrow && !(0..g.height as isize).contains(&row) => std::ptr::null(),
                        Some(all) => all[image * inputs + row as usize * row_len..].as_ptr(),
                        None => ring.pixel(row, if narrow { 0 } else { left }),
                    }
                };
                let tap_rows: Vec<*const T> = (0..kernel).map(tap_row).collect();
                let products = DepthwiseProducts {
                    inputs: TapRows {
                        rows: &tap_rows,
                        taps: kernel,
                        tap_step: channels,
                        x_step: g.stride * channels,
                        outputs: g.out_width(),
                        channels,
                    },
                    gradients,
                    sums: sums.as_mut_ptr(),
                };
                let products_of = if narrow {
                    T::depthwise_narrow(set, g.width).1
                } else {
                    T::depthwise_products(set, kernel, g.stride)
                };
                // SAFETY: the rows have the pixels that outputs meet, in the ring with margins; all that is read in part has room behind it.
                unsafe { products_of(&products) };
            }
        }
        sums
    });
    for sums in partials {
        let mut taken = 0;
        for (first, sums) in vectors(channels, width).zip(sums.chunks_exact(kernel * kernel * width)) {
            // What the last vector has in common with the one before counts once.
            let lanes = taken - first..width.min(channels - first);
            taken = first + lanes.end;
            for (tap, sums) in sums.chunks_exact(width).enumerate() {
                for lane in lanes.clone() {
                    weight[(first + lane) * kernel * kernel + tap] += sums[lane];
                }
            }
        }
    }
    weight
}
