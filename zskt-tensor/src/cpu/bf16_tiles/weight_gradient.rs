//! Weight gradients from bf16 padded inputs.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use half::bf16;

use crate::cpu::bf16_tiles::outer_product::{OuterShape, TileOuter};
use crate::cpu::bf16_tiles::tile::Tiles;
use crate::cpu::bf16_tiles::unit::Unit;
use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::padded_input::PaddedInput;
use crate::cpu::conv::sub_kernels::AxisPhase;
use crate::cpu::conv::weight_gradient::{PartialSums, WeightGradientProblem, WeightGradientSums, total, transposed};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::instruction_set::InstructionSet;

/// Products and sums that are worth a task of their own.
const TASK: usize = 1 << 24;

/// The weight gradient `[outputs, inputs, kernel, kernel]`, by tiles.
pub struct TileWeightGradient<'a> {
    unit: Unit,
    set: InstructionSet,
    plans: Vec<PhasePlan<'a>>,
}

impl<'a> TileWeightGradient<'a> {
    /// Plans the sums.
    pub fn new(unit: Unit, set: InstructionSet, problem: &'a WeightGradientProblem) -> Self {
        Self { unit, set, plans: problem.phases().map(|axes| PhasePlan::new(unit, problem, axes)).collect() }
    }
}

impl WeightGradientSums<f32> for TileWeightGradient<'_> {
    fn images(&self) -> usize {
        let pixels = |plan: &PhasePlan| plan.axes[0].count * plan.axes[1].count;
        let products: usize = self.plans.iter().map(|plan| pixels(plan) * plan.outer.sums()).sum();
        TASK.div_ceil(2 * products.max(1))
    }

    fn begin<'a>(&'a self, x: &'a InputView<'a, f32>, dy: &'a InputView<'a, f32>) -> Box<dyn PartialSums<f32> + 'a> {
        self.plans.iter().for_each(|plan| plan.problem.check(x, dy));
        let tiles = Tiles::enter(self.unit);
        Box::new(TilePartialSums {
            set: self.set,
            x,
            dy,
            phases: self.plans.iter().map(|plan| Phase::new(plan, dy)).collect(),
            tiles,
        })
    }

    fn weight(&self, tasks: Vec<Vec<Buffer<f32>>>) -> Vec<f32> {
        let mut weight = vec![0.0; self.plans.first().map_or(0, |plan| plan.problem.weight_len())];
        for (plan, partials) in self.plans.iter().zip(transposed(tasks)) {
            plan.unpack(&total(partials), &mut weight);
        }
        weight
    }
}

/// How the weight gradient of a phase is computed.
struct PhasePlan<'a> {
    problem: &'a WeightGradientProblem,
    axes: [&'a AxisPhase; 2],
    inputs: PaddedInput,
    gradients: PaddedInput,
    /// Rows of gradients in a band.
    band: usize,
    outer: TileOuter,
    /// Bands of several images that are summed at once.
    places: usize,
    /// Channels and outputs, padded.
    padded: [usize; 2],
}

impl<'a> PhasePlan<'a> {
    fn new(unit: Unit, problem: &'a WeightGradientProblem, axes: [&'a AxisPhase; 2]) -> Self {
        let WeightGradientProblem { in_channels, out_channels, stride, .. } = *problem;
        let padded = [in_channels, out_channels].map(|channels| channels.next_multiple_of(16));
        let (taps, count) = (axes.map(|axis| axis.taps.len()), axes.map(|axis| axis.count));
        let span = |axis: usize| {
            let origin = axes[axis].origin;
            [origin, origin + ((count[axis] - 1) * stride + taps[axis]) as isize]
        };
        let inputs = PaddedInput::copied(problem.input, in_channels, padded[0], [span(0), span(1)]);
        let first = axes.map(|axis| axis.first);
        let gradients = PaddedInput::sampled(problem.output, out_channels, padded[1], first, problem.out_step);
        // Few pixels at a time, and the sums travel too often; many, and the operands leave the cache.
        let pixels = if unit == Unit::Amx && padded[0] * padded[1] <= 256 { 128 } else { 256 };
        let most = (pixels / count[1]).clamp(1, count[0]);
        let band = (1..=most).rev().find(|band| count[0].is_multiple_of(*band)).unwrap_or(1);
        let places = (pixels / (band * count[1])).clamp(1, 16);
        let shape = OuterShape {
            channels: padded[0],
            outputs: padded[1],
            kernel_rows: taps[0],
            kernel_columns: taps[1],
            stride,
            rows: band,
            columns: count[1],
            pitch: inputs.pitch(),
            images: places,
        };
        let outer = TileOuter::new(unit, &shape);
        Self { problem, axes, inputs, gradients, band, outer, places, padded }
    }

    /// Adds the sums to the weight gradient, each tap's to all the coordinates of the kernel that it stands for.
    fn unpack(&self, sums: &[f32], weight: &mut [f32]) {
        let WeightGradientProblem { in_channels, kernel, .. } = *self.problem;
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

/// One task: some images, all phases.
struct TilePartialSums<'a> {
    set: InstructionSet,
    x: &'a InputView<'a, f32>,
    dy: &'a InputView<'a, f32>,
    phases: Vec<Phase<'a>>,
    tiles: Tiles,
}

impl PartialSums<f32> for TilePartialSums<'_> {
    fn image(&mut self, image: usize) {
        for phase in &mut self.phases {
            phase.image(self.set, self.x, self.dy, image, &self.tiles);
        }
    }

    fn end(mut self: Box<Self>) -> Vec<Buffer<f32>> {
        self.phases.iter_mut().for_each(|phase| phase.flush(&self.tiles));
        self.phases.into_iter().map(|phase| phase.sums).collect()
    }
}

/// A phase being summed.
struct Phase<'a> {
    plan: &'a PhasePlan<'a>,
    gradients: PaddedInput,
    x_copy: Buffer<bf16>,
    dy_copy: Buffer<bf16>,
    operands: Buffer<bf16>,
    /// Bands that wait among the operands.
    waiting: usize,
    sums: Buffer<f32>,
}

impl<'a> Phase<'a> {
    fn new(plan: &'a PhasePlan<'a>, dy: &InputView<f32>) -> Self {
        let mut sums = Buffer::new(plan.outer.sums());
        sums.fill(0.0);
        let gradients = plan.gradients.or_direct(dy.direct::<bf16>().is_some());
        let (x_copy, dy_copy) = (plan.inputs.copy(0), gradients.copy(0));
        Self { plan, gradients, x_copy, dy_copy, operands: Buffer::new(plan.outer.scratch()), waiting: 0, sums }
    }

    fn image(&mut self, set: InstructionSet, x: &InputView<f32>, dy: &InputView<f32>, image: usize, tiles: &Tiles) {
        let plan = self.plan;
        let WeightGradientProblem { input, output, in_channels, out_channels, stride, .. } = *plan.problem;
        let x_from = image * input[0] * input[1] * in_channels;
        let dy_from = image * output[0] * output[1] * out_channels;
        let (mut x_filled, mut dy_filled) = (0, 0);
        for top in (0..plan.axes[0].count).step_by(plan.band) {
            let need = (top + plan.band - 1) * stride + plan.axes[0].taps.len();
            plan.inputs.fill(set, x, x_from, &mut self.x_copy, &mut x_filled, need);
            self.gradients.fill(set, dy, dy_from, &mut self.dy_copy, &mut dy_filled, top + plan.band);
            let inputs = plan.inputs.pixels(x, x_from, &self.x_copy);
            let gradients = self.gradients.pixels(dy, dy_from, &self.dy_copy);
            // SAFETY: both padded inputs have the rows of the band, the gradients densely; tiles could be entered, so the
            // processor has what it takes.
            unsafe {
                let inputs = inputs.add(top * stride * plan.inputs.pitch());
                let gradients = gradients.add(top * self.gradients.pitch());
                plan.outer.put(self.waiting, inputs, gradients, self.operands.as_mut_ptr());
            }
            self.waiting += 1;
            if self.waiting == plan.places {
                self.flush(tiles);
            }
        }
    }

    /// Adds what waits to the sums.
    fn flush(&mut self, tiles: &Tiles) {
        let (operands, sums) = (self.operands.as_ptr(), self.sums.as_mut_ptr());
        // SAFETY: so many places have been put, and the sums are this task's own.
        unsafe { self.plan.outer.add(tiles, self.waiting, operands, sums) };
        self.waiting = 0;
    }
}
