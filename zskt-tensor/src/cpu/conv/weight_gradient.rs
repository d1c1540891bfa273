//! Weight gradients: sums over pixels of outer products of inputs and gradients.

#![expect(unsafe_code, reason = "partial sums are written by tasks that interleave")]

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::operand::ConvFloat;
use crate::cpu::conv::packed_conv::split;
use crate::cpu::conv::padded_input::PaddedInput;
use crate::cpu::conv::sub_kernels::AxisPhase;
use crate::cpu::kernels::microkernel::{Patch, PatchKernel};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::threads;
use crate::cpu::threads::Shared;
use crate::shape::ConvGeometry;

/// Products and sums that are worth a task of their own.
const TASK: usize = 1 << 22;
/// No more tasks than this.
const TASKS: usize = 16;
/// A partial sum must have this many products per element, for the sum over partial sums not to count.
const PRODUCTS: usize = 128;
/// Bytes of a band of rows, of both maps, which are to stay in the first-level cache.
const BAND: usize = 24 << 10;
/// The fewest pixels of an image when pixels are regrouped.
const IMAGE: usize = 256;
/// Bytes between pixels that are far apart.
const FAR: usize = 2 << 10;

/// A convolution whose weight gradient is wanted.
pub struct WeightGradientProblem {
    /// Images.
    pub batch: usize,
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Channels of the input.
    pub in_channels: usize,
    /// Rows and columns of the gradient.
    pub output: [usize; 2],
    /// Channels of the gradient.
    pub out_channels: usize,
    /// Between the inputs of neighbouring outputs of a phase.
    pub stride: usize,
    /// Between neighbouring outputs of a phase.
    pub out_step: usize,
    /// The phases of either axis.
    pub axes: [Vec<AxisPhase>; 2],
    /// Rows and columns of the kernel.
    pub kernel: usize,
}

/// The order of the elements of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[outputs, inputs, kernel, kernel]`
    OutputsFirst,
    /// `[inputs, outputs, kernel, kernel]`
    InputsFirst,
}

impl WeightGradientProblem {
    /// That of a convolution.
    pub fn of(g: &ConvGeometry) -> Self {
        Self {
            batch: g.batch,
            input: [g.height, g.width],
            in_channels: g.in_channels,
            output: [g.out_height(), g.out_width()],
            out_channels: g.out_channels,
            stride: g.stride,
            out_step: g.upsampling,
            axes: g.extents().map(|extent| extent.forward()),
            kernel: g.kernel,
        }
    }

    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.in_channels * self.out_channels * self.kernel * self.kernel
    }

    /// The phases of both axes that have any products.
    pub fn phases(&self) -> impl Iterator<Item = [&AxisPhase; 2]> {
        let [rows, columns] =
            self.axes.each_ref().map(|axes| axes.iter().filter(|axis| axis.count > 0 && !axis.taps.is_empty()));
        rows.flat_map(move |row| columns.clone().map(move |column| [row, column]))
    }

    /// Asserts that inputs and gradients have their shapes.
    pub fn check<T: ConvFloat>(&self, x: &InputView<T>, dy: &InputView<T>) {
        let pixels = |[rows, columns]: [usize; 2]| self.batch * rows * columns;
        assert_eq!(x.len(), pixels(self.input) * self.in_channels, "the input has the shape it should have");
        assert_eq!(dy.len(), pixels(self.output) * self.out_channels, "the gradient has the shape it should have");
    }

    /// The same sum over pixels, cut anew into images of convenient size if the pixels are independent.
    fn regroup(&self) -> Option<Self> {
        let pointwise =
            |axis: &Vec<AxisPhase>| matches!(axis.as_slice(), [axis] if axis.taps.len() == 1 && axis.origin == 0);
        if self.stride != 1 || self.out_step != 1 || !self.axes.iter().all(pointwise) || self.input != self.output {
            return None;
        }
        let pixels = self.batch * self.input[0] * self.input[1];
        let divisor = |count: usize, most: usize| (1..=most).rev().find(|&d| count.is_multiple_of(d)).unwrap_or(1);
        let width = divisor(pixels, 16);
        // Images are what partial sums are made of: a few, of many pixels.
        let batch = divisor(pixels / width, (pixels / IMAGE).clamp(1, TASKS));
        let size = [pixels / width / batch, width];
        let axes = [0, 1].map(|axis| vec![AxisPhase { count: size[axis], ..self.axes[axis][0].clone() }]);
        Some(Self { batch, input: size, output: size, axes, ..*self })
    }
}

/// The weight gradient from inputs `x` and gradients `dy`, by itself: of fully connected layers. That of a convolution is taken
/// image by image, along with the data gradient ([`fused_backward`](crate::cpu::conv::fused_backward)).
pub fn run<T: ConvFloat>(
    set: InstructionSet,
    problem: &WeightGradientProblem,
    x: &InputView<T>,
    dy: &InputView<T>,
    order: WeightLayout,
) -> Vec<T> {
    problem.check(x, dy);
    let mut weight = vec![T::ZERO; problem.weight_len()];
    if weight.is_empty() || dy.len() == 0 {
        return weight;
    }
    let regrouped = problem.regroup();
    let problem = regrouped.as_ref().unwrap_or(problem);
    for plan in plans(set, problem, x, dy) {
        plan.unpack(&plan.run(x, dy), order, &mut weight);
    }
    weight
}

/// A plan for each phase.
fn plans<'a, T: ConvFloat>(
    set: InstructionSet,
    problem: &'a WeightGradientProblem,
    x: &InputView<T>,
    dy: &InputView<T>,
) -> Vec<PhasePlan<'a, T>> {
    let direct = [x.direct::<T>().is_some(), dy.direct::<T>().is_some()];
    problem.phases().map(|axes| PhasePlan::new(set, problem, axes, direct)).collect()
}

/// Sums of outer products that are taken image by image, by tasks that have some images each.
pub trait WeightGradientSums<T>: Sync {
    /// Images that are worth a task of their own.
    fn images(&self) -> usize;

    /// Begins to sum on this thread.
    fn begin<'a>(&'a self, x: &'a InputView<'a, T>, dy: &'a InputView<'a, T>) -> Box<dyn PartialSums<T> + 'a>;

    /// The weight gradient, from what each task has summed.
    fn weight(&self, tasks: Vec<Vec<Buffer<T>>>) -> Vec<T>;
}

/// One task of [`WeightGradientSums`].
pub trait PartialSums<T> {
    /// Adds an image.
    fn image(&mut self, image: usize);

    /// The sums, one buffer for each phase.
    fn end(self: Box<Self>) -> Vec<Buffer<T>>;
}

/// The weight gradient `[outputs, inputs, kernel, kernel]`, by fused multiply-adds.
pub struct DirectWeightGradient<'a, T: ConvFloat> {
    plans: Vec<PhasePlan<'a, T>>,
}

impl<'a, T: ConvFloat> DirectWeightGradient<'a, T> {
    /// Plans the sums.
    pub fn new(set: InstructionSet, problem: &'a WeightGradientProblem, x: &InputView<T>, dy: &InputView<T>) -> Self {
        problem.check(x, dy);
        Self { plans: plans(set, problem, x, dy) }
    }
}

impl<T: ConvFloat> WeightGradientSums<T> for DirectWeightGradient<'_, T> {
    fn images(&self) -> usize {
        let products: usize = self.plans.iter().map(|plan| plan.count[0] * plan.count[1] * plan.sums_len()).sum();
        TASK.div_ceil(2 * products.max(1))
    }

    fn begin<'a>(&'a self, x: &'a InputView<'a, T>, dy: &'a InputView<'a, T>) -> Box<dyn PartialSums<T> + 'a> {
        let part =
            |plan: &'a PhasePlan<'a, T>| Part { plan, scratch: plan.scratch(), sums: Buffer::new(plan.sums_len()) };
        let parts = self.plans.iter().map(part);
        Box::new(DirectPartialSums { x, dy, parts: parts.collect(), fresh: true })
    }

    fn weight(&self, tasks: Vec<Vec<Buffer<T>>>) -> Vec<T> {
        let mut weight = vec![T::ZERO; self.plans.first().map_or(0, |plan| plan.problem.weight_len())];
        for (plan, partials) in self.plans.iter().zip(transposed(tasks)) {
            plan.unpack(&total(partials), WeightLayout::OutputsFirst, &mut weight);
        }
        weight
    }
}

/// From a list of phases for each task to a list of tasks for each phase.
pub fn transposed<T>(tasks: Vec<Vec<T>>) -> Vec<Vec<T>> {
    let mut phases: Vec<Vec<T>> = Vec::new();
    for task in tasks {
        phases.resize_with(task.len(), Vec::new);
        phases.iter_mut().zip(task).for_each(|(phase, part)| phase.push(part));
    }
    phases
}

struct DirectPartialSums<'a, T: ConvFloat> {
    x: &'a InputView<'a, T>,
    dy: &'a InputView<'a, T>,
    parts: Vec<Part<'a, T>>,
    fresh: bool,
}

/// A phase being summed.
struct Part<'a, T: ConvFloat> {
    plan: &'a PhasePlan<'a, T>,
    scratch: [Buffer<T>; 3],
    sums: Buffer<T>,
}

impl<T: ConvFloat> PartialSums<T> for DirectPartialSums<'_, T> {
    fn image(&mut self, image: usize) {
        for Part { plan, scratch, sums } in &mut self.parts {
            // SAFETY: the sums are this task's own.
            unsafe { plan.image(self.x, self.dy, image, 0..plan.blocks(), scratch, sums.as_mut_ptr(), self.fresh) };
        }
        self.fresh = false;
    }

    fn end(self: Box<Self>) -> Vec<Buffer<T>> {
        assert!(!self.fresh, "a task has images");
        self.parts.into_iter().map(|part| part.sums).collect()
    }
}

/// The sum of all buffers, in order.
pub fn total<T: ConvFloat>(mut partials: Vec<Buffer<T>>) -> Buffer<T> {
    let rest = partials.split_off(1);
    let mut total = partials.swap_remove(0);
    if !rest.is_empty() {
        threads::update(&mut total, threads::task_len(1), |at, total| {
            for partial in &rest {
                for (sum, &value) in total.iter_mut().zip(&partial[at..]) {
                    *sum += value;
                }
            }
        });
    }
    total
}

/// Which of the two maps is broadcast, element by element, and which is read by vectors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OperandRoles {
    /// Inputs are broadcast: sums are `[tap row][tap column · input][output]`.
    Inputs,
    /// Gradients are broadcast, being few: sums are `[tap row][output][tap column · input]`.
    Gradients,
}

/// How the weight gradient of a phase is computed.
struct PhasePlan<'a, T> {
    set: InstructionSet,
    problem: &'a WeightGradientProblem,
    axes: [&'a AxisPhase; 2],
    /// Rows and columns of taps.
    taps: [usize; 2],
    /// Rows and columns of gradients.
    count: [usize; 2],
    roles: OperandRoles,
    kernel: PatchKernel<T>,
    /// Scalars and vector elements of a block.
    block: [usize; 2],
    /// Scalars under one tap row, and vector elements padded to whole blocks.
    size: [usize; 2],
    inputs: PaddedInput,
    gradients: PaddedInput,
    /// Rows of gradients in a band.
    band: usize,
    /// Whether the scalars of a block are gathered before they are used.
    gather: bool,
}

impl<'a, T: ConvFloat> PhasePlan<'a, T> {
    fn new(
        set: InstructionSet,
        problem: &'a WeightGradientProblem,
        axes: [&'a AxisPhase; 2],
        [inputs_direct, gradients_direct]: [bool; 2],
    ) -> Self {
        let WeightGradientProblem { in_channels, out_channels, stride, .. } = *problem;
        let (taps, count) = (axes.map(|axis| axis.taps.len()), axes.map(|axis| axis.count));
        let (width, run) = (T::width(set), taps[1] * in_channels);
        let (roles, kernel, block, size) = match T::few(set, out_channels, run) {
            Some((kernel, vectors)) => {
                let lanes = vectors * width;
                (OperandRoles::Gradients, kernel, [out_channels, lanes], [out_channels, run.next_multiple_of(lanes)])
            }
            None => {
                let vectors = T::vectors(set, out_channels.div_ceil(width));
                let lanes = vectors * width;
                let scalars = T::scalars(set, vectors).iter().copied().min_by_key(|&s| run.next_multiple_of(s));
                let scalars = scalars.expect("there is a kernel for every number of vectors");
                let size = [run, out_channels.next_multiple_of(lanes)];
                (OperandRoles::Inputs, T::patch(set, vectors, scalars), [scalars, lanes], size)
            }
        };
        let span = |axis: usize| {
            let origin = axes[axis].origin;
            [origin, origin + ((count[axis] - 1) * stride + taps[axis]) as isize]
        };
        // Blocks that reach beyond the last channel of the last pixel need a copy, which has room behind it.
        let (inputs_fit, gradients_fit) = match roles {
            OperandRoles::Inputs => (size[0].is_multiple_of(block[0]), size[1] == out_channels),
            OperandRoles::Gradients => (size[1] == run, true),
        };
        let inputs = PaddedInput::copied(problem.input, in_channels, in_channels, [span(0), span(1)]);
        let first = axes.map(|axis| axis.first);
        let gradients = PaddedInput::sampled(problem.output, out_channels, out_channels, first, problem.out_step);
        let row = (stride * problem.input[1] * in_channels + count[1] * out_channels) * size_of::<T>();
        // A band also has pixels enough for its sums to be worth loading and storing.
        let least = if taps == [1, 1] { 128 } else { 48 };
        let band = (BAND / row).max(least / count[1]).clamp(1, count[0]);
        // Pixels that far apart compete for the same few places in the cache, and would be fetched anew for every vector.
        let far = in_channels * size_of::<T>() >= FAR;
        Self {
            gather: far && taps == [1, 1] && roles == OperandRoles::Inputs && size[1] > block[1],
            set,
            problem,
            axes,
            taps,
            count,
            roles,
            kernel,
            block,
            size,
            inputs: inputs.or_direct(inputs_fit && inputs_direct),
            gradients: gradients.or_direct(gradients_fit && gradients_direct),
            band,
        }
    }

    /// Elements of the sums.
    fn sums_len(&self) -> usize {
        self.taps[0] * self.size[0] * self.size[1]
    }

    /// Blocks of scalars, counted over all tap rows.
    fn blocks(&self) -> usize {
        self.taps[0] * self.size[0].div_ceil(self.block[0])
    }

    /// The sums over all images, where there are so few that blocks are divided too.
    fn run(&self, x: &InputView<T>, dy: &InputView<T>) -> Buffer<T> {
        let batch = self.problem.batch;
        let products = batch * self.count[0] * self.count[1] * self.sums_len();
        let tasks = (2 * products / TASK).clamp(1, TASKS);
        let chunks = tasks.min(batch).min(products / self.sums_len() / PRODUCTS).max(1);
        let splits = (tasks / chunks).clamp(1, self.blocks());
        let mut partials: Vec<Buffer<T>> = (0..chunks).map(|_| Buffer::new(self.sums_len())).collect();
        let shared: Vec<Shared<T>> = partials.iter_mut().map(|partial| Shared::new(partial)).collect();
        threads::each(chunks * splits, |task| {
            let (chunk, part) = (task / splits, task % splits);
            let mut scratch = self.scratch();
            for image in split(batch, chunks, chunk) {
                let fresh = image == batch * chunk / chunks;
                let blocks = split(self.blocks(), splits, part);
                // SAFETY: tasks of the same chunk have different blocks, and every chunk has images.
                unsafe { self.image(x, dy, image, blocks, &mut scratch, shared[chunk].pointer(), fresh) };
            }
        });
        total(partials)
    }

    fn scratch(&self) -> [Buffer<T>; 3] {
        // What blocks read beyond the last pixel.
        let slack = self.block[0].max(self.block[1]);
        let panel = if self.gather { self.band * self.count[1] * self.block[0] } else { 0 };
        [self.inputs.copy(slack), self.gradients.copy(slack), Buffer::new(panel)]
    }

    /// Adds an image's sums to `out`, or begins with them where it is `fresh`, for some blocks of scalars, counted over all
    /// tap rows.
    ///
    /// # Safety
    ///
    /// `out` has room for all sums, of whose rows in these blocks nobody else touches any meanwhile.
    #[expect(clippy::too_many_arguments, reason = "the state of the loop above, spelled out")]
    unsafe fn image(
        &self,
        x: &InputView<T>,
        dy: &InputView<T>,
        image: usize,
        blocks: Range<usize>,
        [x_scratch, dy_scratch, panel]: &mut [Buffer<T>; 3],
        out: *mut T,
        fresh: bool,
    ) {
        let WeightGradientProblem { input, output, in_channels, out_channels, stride, .. } = *self.problem;
        let [rows, columns] = self.count;
        let [scalars, lanes] = self.block;
        let per_tap = self.size[0].div_ceil(scalars);
        let x_from = image * input[0] * input[1] * in_channels;
        let dy_from = image * output[0] * output[1] * out_channels;
        let (mut x_filled, mut dy_filled) = (0, 0);
        for top in (0..rows).step_by(self.band) {
            let end = rows.min(top + self.band);
            let need = (end - 1) * stride + self.taps[0];
            self.inputs.fill(self.set, x, x_from, x_scratch, &mut x_filled, need);
            self.gradients.fill(self.set, dy, dy_from, dy_scratch, &mut dy_filled, end);
            let (x_pitch, dy_pitch) = (self.inputs.pitch(), self.gradients.pitch());
            let inputs = self.inputs.pixels(x, x_from, x_scratch).wrapping_add(top * stride * x_pitch);
            let inputs_step = [stride * x_pitch, stride * in_channels];
            let gradients = self.gradients.pixels(dy, dy_from, dy_scratch).wrapping_add(top * dy_pitch);
            let gradients_step = [dy_pitch, out_channels];
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
                    OperandRoles::Inputs => sides,
                    OperandRoles::Gradients => [sides[1], sides[0]],
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
                        add: top > 0 || !fresh,
                    };
                    // SAFETY: both maps have these rows, and room behind them where a block reaches further.
                    unsafe { (self.kernel)(&patch) };
                }
            }
        }
    }

    /// Adds the sums to the weight gradient, each tap's to all the coordinates of the kernel that it stands for.
    fn unpack(&self, sums: &[T], order: WeightLayout, weight: &mut [T]) {
        let WeightGradientProblem { in_channels, out_channels, kernel, .. } = *self.problem;
        let [scalars, lanes] = self.size;
        let (input_step, output_step) = match self.roles {
            OperandRoles::Inputs => (lanes, 1),
            OperandRoles::Gradients => (1, lanes),
        };
        let (first_step, [second, second_step]) = match order {
            WeightLayout::OutputsFirst => (output_step, [in_channels, input_step]),
            WeightLayout::InputsFirst => (input_step, [out_channels, output_step]),
        };
        let row_len = second * kernel * kernel;
        threads::update(weight, threads::task_len(row_len), |at, weight| {
            for (first, weight) in (at / row_len..).zip(weight.chunks_exact_mut(row_len)) {
                for (row, rows) in self.axes[0].taps.iter().enumerate() {
                    for (column, columns) in self.axes[1].taps.iter().enumerate() {
                        let from = row * scalars * lanes + column * in_channels * input_step + first * first_step;
                        for row in rows.clone() {
                            for column in columns.clone() {
                                let place = weight[row * kernel + column..].iter_mut().step_by(kernel * kernel);
                                for (place, sum) in place.zip(sums[from..].iter().step_by(second_step)) {
                                    *place += *sum;
                                }
                            }
                        }
                    }
                }
            }
        });
    }
}
