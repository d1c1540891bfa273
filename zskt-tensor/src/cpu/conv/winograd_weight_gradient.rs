//! Weight gradients of 3×3 convolutions by minimal filtering, `F(3×3, 4×4)`: of some images both maps are transformed in tiles, outer
//! products are summed for each point, and what a task has summed is transformed back.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::marker::PhantomData;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::operand::ConvFloat;
use crate::cpu::conv::padded_input::PaddedInput;
use crate::cpu::conv::weight_gradient::{
    DirectWeightGradient, PartialSums, WeightGradientProblem, WeightGradientSums, total, transposed,
};
use crate::cpu::kernels::microkernel::Patch;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::kernels::winograd::{WinogradGradientKernels, WinogradTiles, point, points};
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::threads;

/// Rows and columns of gradients in a tile.
const SIZE: usize = 4;
/// Products and sums that are worth a task of their own.
const TASK: usize = 1 << 22;
/// Tiles whose products pay for the transform of their sums.
const TILES: usize = 16;
/// Bytes of transformed tiles that stay in the second-level cache, beside the sums.
const WAITING: usize = 320 << 10;

/// The weight gradient `[outputs, inputs, kernel, kernel]` by fused multiply-adds: by minimal filtering where it is that, else directly.
pub fn by_multiply_add<'a, T: ConvFloat>(
    set: InstructionSet,
    problem: &'a WeightGradientProblem,
    x: &InputView<T>,
    dy: &InputView<T>,
) -> Box<dyn WeightGradientSums<T> + 'a> {
    match WinogradWeightGradient::new(set, problem, x, dy) {
        Some(sums) => Box::new(sums),
        None => Box::new(DirectWeightGradient::new(set, problem, x, dy)),
    }
}

/// The weight gradient `[outputs, inputs, 3, 3]`, by minimal filtering.
pub struct WinogradWeightGradient<'a, T: ConvFloat> {
    set: InstructionSet,
    problem: &'a WeightGradientProblem,
    kernels: WinogradGradientKernels<T>,
    /// Inputs and outputs of a block of outer products.
    block: [usize; 2],
    /// Rows and columns of tiles in an image.
    count: [usize; 2],
    inputs: PaddedInput,
    gradients: PaddedInput,
    /// Tiles that are transformed before their products are summed.
    capacity: usize,
}

impl<'a, T: ConvFloat> WinogradWeightGradient<'a, T> {
    /// Plans the sums, where they are minimal filtering's: of 3×3 taps at a stride of 1, with whole vectors of channels.
    pub fn new(
        set: InstructionSet,
        problem: &'a WeightGradientProblem,
        x: &InputView<T>,
        dy: &InputView<T>,
    ) -> Option<Self> {
        let WeightGradientProblem { in_channels, out_channels, stride: 1, out_step: 1, kernel: 3, .. } = *problem
        else {
            return None;
        };
        let width = T::width(set);
        let vectors = T::vectors(set, out_channels.div_ceil(width));
        let lanes = vectors * width;
        let scalars = *T::scalars(set, vectors).iter().find(|scalars| in_channels.is_multiple_of(**scalars))?;
        let kernels = T::winograd_gradient(set, vectors, scalars)?;
        let mut axes = problem.phases();
        let axes = axes.next().filter(|axes| axes.iter().all(|axis| axis.taps.len() == 3))?;
        if !in_channels.is_multiple_of(width) || !out_channels.is_multiple_of(lanes) {
            return None;
        }
        problem.check(x, dy);
        let count = axes.map(|axis| axis.count.div_ceil(SIZE));
        let end = |axis: usize| (count[axis] * SIZE) as isize;
        let span = |axis: usize| [axes[axis].origin, axes[axis].origin + end(axis) + 2];
        let inputs = PaddedInput::copied(problem.input, in_channels, in_channels, [span(0), span(1)]);
        let gradients = PaddedInput::copied(problem.output, out_channels, out_channels, [[0, end(0)], [0, end(1)]]);
        let tile = points(SIZE) * (in_channels + out_channels) * size_of::<T>();
        Some(Self {
            set,
            problem,
            kernels,
            block: [scalars, lanes],
            count,
            inputs: inputs.or_direct(x.direct::<T>().is_some()),
            gradients: gradients.or_direct(dy.direct::<T>().is_some()),
            capacity: (WAITING / tile).max(TILES).max(count[1]),
        })
    }

    /// Elements of a tap.
    fn tap(&self) -> usize {
        self.problem.in_channels * self.problem.out_channels
    }
}

impl<T: ConvFloat> WeightGradientSums<T> for WinogradWeightGradient<'_, T> {
    fn images(&self) -> usize {
        let tiles = self.count[0] * self.count[1];
        TASK.div_ceil(2 * points(SIZE) * self.tap() * tiles).max(TILES.div_ceil(tiles))
    }

    fn begin<'a>(&'a self, x: &'a InputView<'a, T>, dy: &'a InputView<'a, T>) -> Box<dyn PartialSums<T> + 'a> {
        let WeightGradientProblem { in_channels, out_channels, .. } = *self.problem;
        let transformed = |channels: usize| Buffer::new(points(SIZE) * point(self.capacity, channels));
        Box::new(WinogradPartialSums {
            plan: self,
            x,
            dy,
            x_copy: self.inputs.copy(0),
            dy_copy: self.gradients.copy(0),
            transformed: [transformed(in_channels), transformed(out_channels)],
            waiting: 0,
            sums: Buffer::new(points(SIZE) * point(1, self.tap())),
            fresh: true,
        })
    }

    fn weight(&self, tasks: Vec<Vec<Buffer<T>>>) -> Vec<T> {
        let WeightGradientProblem { in_channels, out_channels, .. } = *self.problem;
        let partials = transposed(tasks).pop().expect("a task has sums");
        let (sums, len) = (total(partials), 9 * in_channels);
        let mut weight = vec![T::ZERO; self.problem.weight_len()];
        threads::update(&mut weight, threads::task_len(len), |at, weight| {
            for (output, weight) in (at / len..).zip(weight.chunks_exact_mut(len)) {
                for (input, taps) in weight.chunks_exact_mut(9).enumerate() {
                    let sums = sums[input * out_channels + output..].iter().step_by(self.tap());
                    taps.iter_mut().zip(sums).for_each(|(tap, &sum)| *tap = sum);
                }
            }
        });
        weight
    }
}

/// One task: some images.
struct WinogradPartialSums<'a, T: ConvFloat> {
    plan: &'a WinogradWeightGradient<'a, T>,
    x: &'a InputView<'a, T>,
    dy: &'a InputView<'a, T>,
    x_copy: Buffer<T>,
    dy_copy: Buffer<T>,
    /// Inputs and gradients, `[point][tile][channel]`.
    transformed: [Buffer<T>; 2],
    /// Tiles among them.
    waiting: usize,
    /// `[point][input][output]`
    sums: Buffer<T>,
    /// Whether there are no sums yet.
    fresh: bool,
}

impl<T: ConvFloat> PartialSums<T> for WinogradPartialSums<'_, T> {
    fn image(&mut self, image: usize) {
        let plan = self.plan;
        let WeightGradientProblem { input, output, in_channels, out_channels, .. } = *plan.problem;
        let [x_from, dy_from] = [(input, in_channels), (output, out_channels)]
            .map(|([rows, columns], channels)| image * rows * columns * channels);
        let (mut x_filled, mut dy_filled) = (0, 0);
        let [rows, columns] = plan.count;
        let mut top = 0;
        while top < rows {
            if self.waiting + columns > plan.capacity {
                self.multiply();
            }
            let end = rows.min(top + (plan.capacity - self.waiting) / columns);
            plan.inputs.fill(plan.set, self.x, x_from, &mut self.x_copy, &mut x_filled, end * SIZE + 2);
            plan.gradients.fill(plan.set, self.dy, dy_from, &mut self.dy_copy, &mut dy_filled, end * SIZE);
            let tiles = |channels: usize, padded: &PaddedInput| WinogradTiles {
                size: SIZE,
                count: [end - top, columns],
                channels,
                down: padded.pitch(),
                step: channels,
                point: point(plan.capacity, channels),
                of: PhantomData,
            };
            let from = |padded: &PaddedInput, pixels: *const T| pixels.wrapping_add(top * SIZE * padded.pitch());
            let x = from(&plan.inputs, plan.inputs.pixels(self.x, x_from, &self.x_copy));
            let dy = from(&plan.gradients, plan.gradients.pixels(self.dy, dy_from, &self.dy_copy));
            let [inputs, gradients] = &mut self.transformed;
            // SAFETY: both padded maps have the pixels of these tiles, whole vectors of channels, and there is room for so many
            // tiles behind those that wait.
            unsafe {
                let (inputs, gradients) = (inputs.as_mut_ptr(), gradients.as_mut_ptr());
                (plan.kernels.inputs)(&tiles(in_channels, &plan.inputs), x, inputs.add(self.waiting * in_channels));
                let gradients = gradients.add(self.waiting * out_channels);
                (plan.kernels.gradients)(&tiles(out_channels, &plan.gradients), dy, gradients);
            }
            self.waiting += (end - top) * columns;
            top = end;
        }
    }

    fn end(mut self: Box<Self>) -> Vec<Buffer<T>> {
        self.multiply();
        assert!(!self.fresh, "a task has images");
        let tap = self.plan.tap();
        let mut taps = Buffer::new(9 * tap);
        // SAFETY: the sums are of whole vectors, and so are the taps.
        unsafe { (self.plan.kernels.weight_gradients)(tap, self.sums.as_ptr(), taps.as_mut_ptr()) };
        vec![taps]
    }
}

impl<T: ConvFloat> WinogradPartialSums<'_, T> {
    /// Adds the products of the tiles that wait.
    fn multiply(&mut self) {
        let plan = self.plan;
        let WeightGradientProblem { in_channels, out_channels, .. } = *plan.problem;
        let [scalars, lanes] = plan.block;
        if self.waiting == 0 {
            return;
        }
        let [inputs, gradients] = self.transformed.each_ref().map(|transformed| transformed.as_ptr());
        let sums = self.sums.as_mut_ptr();
        for index in 0..points(SIZE) {
            let inputs = inputs.wrapping_add(index * point(plan.capacity, in_channels));
            let gradients = gradients.wrapping_add(index * point(plan.capacity, out_channels));
            let sums = sums.wrapping_add(index * point(1, plan.tap()));
            for input in (0..in_channels).step_by(scalars) {
                for output in (0..out_channels).step_by(lanes) {
                    let patch = Patch {
                        scalars: inputs.wrapping_add(input),
                        scalars_down: 0,
                        scalars_step: in_channels,
                        vectors: gradients.wrapping_add(output),
                        vectors_down: 0,
                        vectors_step: out_channels,
                        rows: 1,
                        columns: self.waiting,
                        out: sums.wrapping_add(input * out_channels + output),
                        out_step: out_channels,
                        valid: scalars,
                        add: !self.fresh,
                    };
                    // SAFETY: so many tiles wait, and there is a sum for each pair of channels; blocks divide them.
                    unsafe { (plan.kernels.product)(&patch) };
                }
            }
        }
        self.waiting = 0;
        self.fresh = false;
    }
}
