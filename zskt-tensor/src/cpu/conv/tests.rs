use half::bf16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

use crate::random::StreamRng;

use crate::cpu::conv::data_gradient::data_gradient;
use crate::cpu::conv::forward::forward;
use crate::cpu::conv::fused_backward::Data;
use crate::cpu::conv::grouped::{self, GroupedConv};
use crate::cpu::conv::operand::{ConvFloat, Operand};
use crate::cpu::conv::packed_conv::PackedConv;
use crate::cpu::conv::weight_gradient::{DirectWeightGradient, WeightGradientProblem, WeightGradientSums};
use crate::cpu::conv::winograd_weight_gradient::WinogradWeightGradient;
use crate::cpu::conv::{fused_backward, linear};
use crate::cpu::kernels::epilogue::{Epilogue, EpilogueOp, Residual};
use crate::cpu::kernels::pixel_sums::pixel_sums;
use crate::cpu::kernels::prologue::{Activation, InputView, PerChannel};
use crate::cpu::simd::dtype::{Element, MapSlice, MapSliceMut};
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::shape::ConvGeometry;

/// Numbers in −1 to 1, the same for the same seed.
fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut rng = StreamRng::seed_from_u64(seed);
    (0..len).map(|_| f64::from(rng.random_range(-1.0..1.0_f32))).collect()
}

/// Calls `pair` with the indices of every product: input, weight, output.
fn products(g: &ConvGeometry, mut pair: impl FnMut(usize, usize, usize)) {
    let (rows, columns, k) = (g.out_height(), g.out_width(), g.kernel);
    for image in 0..g.batch {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for (ky, kx) in (0..k).flat_map(|ky| (0..k).map(move |kx| (ky, kx))) {
                let met =
                    |at: usize, size: usize| Some(at.checked_sub(g.padding)? / g.upsampling).filter(|at| *at < size);
                let (y, x) = (met(row * g.stride + ky, g.height), met(column * g.stride + kx, g.width));
                let (Some(y), Some(x)) = (y, x) else { continue };
                let pixel = (image * g.height + y) * g.width + x;
                for (o, i) in (0..g.out_channels).flat_map(|o| (0..g.group_inputs()).map(move |i| (o, i))) {
                    let weight = ((o * g.group_inputs() + i) * k + ky) * k + kx;
                    let i = o / (g.out_channels / g.groups) * g.group_inputs() + i;
                    let out = ((image * rows + row) * columns + column) * g.out_channels + o;
                    pair(pixel * g.in_channels + i, weight, out);
                }
            }
        }
    }
}

struct Case {
    geometry: ConvGeometry,
    x: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    dy: Vec<f64>,
}

impl Case {
    /// With numbers that `f32` can represent, for both types to compute the same.
    fn new(geometry: ConvGeometry) -> Self {
        Self::rounded(geometry, |value| value as f32)
    }

    fn rounded(geometry: ConvGeometry, round: impl Fn(f64) -> f32) -> Self {
        let g = &geometry;
        let (x, weight) = (numbers(g.input_len(), 1), numbers(g.weight_len(), 2));
        let (bias, dy) = (numbers(g.out_channels, 3), numbers(g.output_len(), 4));
        let round = |v: Vec<f64>| v.into_iter().map(|v| f64::from(round(v))).collect();
        let [x, weight, bias, dy] = [x, weight, bias, dy].map(round);
        Self { geometry, x, weight, bias, dy }
    }

    /// Output, gradients of input, weight and bias, by loops nobody can get wrong.
    fn reference(&self) -> [Vec<f64>; 4] {
        let g = &self.geometry;
        let mut y: Vec<f64> = self.bias.iter().copied().cycle().take(g.output_len()).collect();
        let (mut dx, mut dw) = (vec![0.0; g.input_len()], vec![0.0; g.weight_len()]);
        products(g, |input, weight, output| {
            y[output] += self.x[input] * self.weight[weight];
            dx[input] += self.dy[output] * self.weight[weight];
            dw[weight] += self.dy[output] * self.x[input];
        });
        let column = |channel: usize| self.dy.iter().skip(channel).step_by(g.out_channels).sum();
        [y, dx, dw, (0..g.out_channels).map(column).collect()]
    }

    fn computed<T: ConvFloat>(&self, set: InstructionSet) -> [Vec<T>; 4] {
        self.computed_by::<T>(set, false, |problem, x, dy| Box::new(DirectWeightGradient::new(set, problem, x, dy)))
    }

    /// From maps in full or in half precision.
    fn computed_by<C: Operand>(
        &self,
        set: InstructionSet,
        half: bool,
        weights: impl for<'a> Fn(
            &'a WeightGradientProblem,
            &InputView<C::Accumulator>,
            &InputView<C::Accumulator>,
        ) -> Box<dyn WeightGradientSums<C::Accumulator> + 'a>,
    ) -> [Vec<C::Accumulator>; 4] {
        let g = &self.geometry;
        let [x, weight, bias, dy] = [&self.x, &self.weight, &self.bias, &self.dy]
            .map(|values| values.iter().map(|&value| C::Accumulator::from_f64(value)).collect::<Vec<_>>());
        // In memory that ends where the numbers do, for what is read behind them to be noticed.
        let halves =
            [&x, &dy].map(|numbers| numbers.iter().map(|number| bf16::narrow(number.to_f32())).collect::<Vec<_>>());
        let [x, dy] = [(&x, &halves[0]), (&dy, &halves[1])]
            .map(|(full, halves)| InputView::Plain(if half { MapSlice::Half(halves) } else { MapSlice::Full(full) }));
        let run = |conv: &PackedConv<C>, source: &InputView<C::Accumulator>| {
            let mut out = vec![C::Accumulator::ZERO; conv.len()];
            conv.run(source, &Epilogue::STORE, MapSliceMut::Full(&mut out));
            out
        };
        let problem = WeightGradientProblem::of(g);
        let weights = weights(&problem, &x, &dy);
        let conv: PackedConv<C> = data_gradient(set, g, &weight);
        let (dx, dw) = if conv.images().is_some() {
            let mut dx = vec![C::Accumulator::ZERO; conv.len()];
            let data = Data { conv: &conv, epilogue: Epilogue::STORE, out: MapSliceMut::Full(&mut dx) };
            let (_, dw) = fused_backward::run(Some(data), &*weights, g.batch, &x, &dy);
            (dx, dw)
        } else {
            (run(&conv, &dy), fused_backward::run::<C>(None, &*weights, g.batch, &x, &dy).1)
        };
        let y = run(&forward(set, g, &weight, Some(&bias)), &x);
        [y, dx, dw, pixel_sums(&dy, 1, g.out_channels, 1.0)]
    }

    /// In groups, from maps that are read as they are or something is done to.
    fn computed_in_groups<T: ConvFloat>(&self, set: InstructionSet, half: bool, copied: bool) -> [Vec<T>; 4] {
        let g = &self.geometry;
        let [x, weight, bias, dy] = [&self.x, &self.weight, &self.bias, &self.dy]
            .map(|values| values.iter().map(|&value| T::from_f64(value)).collect::<Vec<_>>());
        let halves =
            [&x, &dy].map(|numbers| numbers.iter().map(|number| bf16::narrow(number.to_f32())).collect::<Vec<_>>());
        let identities = [g.in_channels, g.out_channels].map(|channels| {
            let [ones, zeros] = [1.0, 0.0].map(|value| PerChannel::new(std::iter::repeat_n(value, channels)));
            Activation::<T>::affine(ones, zeros)
        });
        let view = |full, half_of, identity| {
            let slice = if half { MapSlice::Half(half_of) } else { MapSlice::Full(full) };
            if copied { InputView::Activated(slice, identity) } else { InputView::Plain(slice) }
        };
        let (x, dy) = (view(&x, &halves[0], &identities[0]), view(&dy, &halves[1], &identities[1]));
        let epsilon = if size_of::<T>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let run = |conv: GroupedConv<T>, source: &InputView<T>, len: usize| {
            let mut out = vec![T::ZERO; len];
            conv.run(source, &Epilogue::STORE, MapSliceMut::Full(&mut out));
            // The sums of the epilogue are those of the results.
            let mut again = vec![T::ZERO; len];
            let epilogue = Epilogue { residual: Residual::None, op: EpilogueOp::Moments };
            let sums = conv.run(source, &epilogue, MapSliceMut::Full(&mut again));
            assert_eq!(out, again);
            let channels = sums.first.len();
            for (channel, sum) in sums.first.iter().enumerate() {
                let values: Vec<f64> = out.iter().skip(channel).step_by(channels).map(|value| value.to_f64()).collect();
                // What is added are differences from the first pixel of a block, of which a sum of n is exact to n·ε times their
                // absolute sum: where most pixels are zero and the first is not, all are rounded one way.
                let furthest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
                let added: f64 = values.iter().map(|value| value.abs() + furthest).sum();
                let (expected, error) = (values.iter().sum::<f64>(), values.len() as f64 * epsilon * added);
                assert!((sum - expected).abs() <= error, "{g:?}: {sum}, not {expected} ± {error}");
            }
            out
        };
        let y = run(GroupedConv::forward(set, g, &weight, Some(&bias)), &x, g.output_len());
        let dx = run(GroupedConv::data_gradient(set, g, &weight), &dy, g.input_len());
        [y, dx, grouped::weight_gradient(set, g, &x, &dy), pixel_sums(&dy, 1, g.out_channels, 1.0)]
    }

    fn check<T: ConvFloat>(&self, set: InstructionSet, tolerance: f64) -> Result<(), TestCaseError> {
        self.compare(self.computed::<T>(set), &format!("{set:?}"), tolerance)
    }

    fn compare<T: ConvFloat>(&self, computed: [Vec<T>; 4], set: &str, tolerance: f64) -> Result<(), TestCaseError> {
        let names = ["output", "input gradient", "weight gradient", "bias gradient"];
        for ((name, expected), actual) in names.iter().zip(self.reference()).zip(computed) {
            prop_assert_eq!(expected.len(), actual.len());
            let scale = expected.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                let error = (expected - actual.to_f64()).abs() / scale;
                prop_assert!(error < tolerance, "{set}: {name}[{index}] is {actual:?}, not {expected}");
            }
        }
        Ok(())
    }
}

fn available() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.iter().copied().filter(|set| set.available())
}

fn geometries() -> impl Strategy<Value = ConvGeometry> {
    let channels = || prop_oneof![3 => 1_usize..8, 1 => Just(16_usize), 1 => Just(32), 2 => 9_usize..70];
    let extents = || prop_oneof![3 => 1_usize..12, 1 => 12_usize..40];
    (1_usize..4, extents(), extents(), channels(), channels(), 1_usize..8, 1_usize..4, 0_usize..4)
        .prop_map(|(batch, height, width, in_channels, out_channels, kernel, stride, padding)| {
            let upsampling = 1;
            // A kernel that does not fit is made smaller, not thrown away.
            let kernel = kernel.min(height.min(width) + 2 * padding);
            ConvGeometry {
                batch,
                height,
                width,
                upsampling,
                in_channels,
                out_channels,
                kernel,
                stride,
                padding,
                groups: 1,
            }
        })
        .prop_filter("the reference is slow", |g| g.output_len() * g.in_channels * g.kernel * g.kernel < 20_000_000)
}

/// In groups: depthwise, or of several channels each.
fn in_groups() -> impl Strategy<Value = ConvGeometry> {
    let extents = || prop_oneof![3 => 1_usize..12, 1 => 12_usize..24];
    let channels = prop_oneof![
        3 => (1_usize..40).prop_map(|groups| (groups, 1, 1)),
        1 => Just((64, 1, 1)),
        2 => (2_usize..5, 1_usize..9, 1_usize..9),
    ];
    (1_usize..4, extents(), extents(), channels, 1_usize..6, 1_usize..4, 0_usize..4).prop_map(
        |(batch, height, width, (groups, inputs, outputs), kernel, stride, padding)| {
            let kernel = kernel.min(height.min(width) + 2 * padding);
            let (in_channels, out_channels, upsampling) = (groups * inputs, groups * outputs, 1);
            ConvGeometry {
                batch,
                height,
                width,
                upsampling,
                in_channels,
                out_channels,
                kernel,
                stride,
                padding,
                groups,
            }
        },
    )
}

/// Whose weight gradients minimal filtering can compute, by tiles that may reach beyond the map.
fn filtered() -> impl Strategy<Value = ConvGeometry> {
    let channels = || prop_oneof![Just(16_usize), Just(32), Just(64), Just(96)];
    let case = (1_usize..20, 3_usize..14, 3_usize..14, channels(), channels(), 0_usize..3);
    let geometry = case.prop_map(|(batch, height, width, in_channels, out_channels, padding)| ConvGeometry {
        batch,
        height,
        width,
        upsampling: 1,
        in_channels,
        out_channels,
        kernel: 3,
        stride: 1,
        padding,
        groups: 1,
    });
    geometry.prop_filter("the reference is slow", |g| g.output_len() * g.in_channels < 500_000)
}

/// Of maps that are upsampled first.
fn upsampled() -> impl Strategy<Value = ConvGeometry> {
    let extents = || 1_usize..12;
    (1_usize..3, extents(), extents(), 2_usize..5, (1_usize..40, 1_usize..40), 1_usize..6, 0_usize..4).prop_map(
        |(batch, height, width, upsampling, (in_channels, out_channels), kernel, padding)| {
            let kernel = kernel.min(height.min(width) * upsampling + 2 * padding);
            let stride = 1;
            ConvGeometry {
                batch,
                height,
                width,
                upsampling,
                in_channels,
                out_channels,
                kernel,
                stride,
                padding,
                groups: 1,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_agrees_with_the_definition(geometry in geometries()) {
        let case = Case::new(geometry);
        for set in available() {
            case.check::<f32>(set, 2e-5)?;
        }
        case.check::<f64>(InstructionSet::Portable, 1e-13)?;
    }

    #[test]
    fn groups_agree_with_the_definition(geometry in in_groups(), copied in any::<bool>()) {
        let case = Case::rounded(geometry, |value| bf16::narrow(value).widen());
        for (set, half) in available().flat_map(|set| [(set, false), (set, true)]) {
            case.compare(case.computed_in_groups::<f32>(set, half, copied), &format!("{set:?}"), 2e-5)?;
        }
        case.compare(case.computed_in_groups::<f64>(InstructionSet::Portable, false, copied), "f64", 1e-13)?;
    }

    #[test]
    fn weight_gradients_by_minimal_filtering_agree_with_the_definition(geometry in filtered()) {
        let case = Case::new(geometry);
        for set in available() {
            let computed = case.computed_by::<f32>(set, false, |problem, x, dy| {
                Box::new(WinogradWeightGradient::new(set, problem, x, dy).expect("a shape that it has"))
            });
            case.compare(computed, &format!("{set:?}"), 2e-5)?;
        }
    }

    #[test]
    fn upsampling_is_part_of_the_convolution(geometry in upsampled()) {
        let case = Case::new(geometry);
        case.check::<f32>(InstructionSet::best(), 2e-5)?;
        case.check::<f64>(InstructionSet::Portable, 1e-13)?;
    }
}

/// Tiles multiply bf16 numbers, so the case is made of such, and add in f32. The weights of taps that stand for several
/// are rounded once more.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn check_tiles(geometry: ConvGeometry) -> Result<(), TestCaseError> {
    use crate::cpu::bf16_tiles::TileWeightGradient;
    use crate::cpu::bf16_tiles::unit::Unit;
    let Some(unit) = Unit::best() else { return Ok(()) };
    let case = Case::rounded(geometry, |value| bf16::narrow(value).widen());
    let set = InstructionSet::best();
    for half in [false, true] {
        let computed =
            case.computed_by::<bf16>(set, half, |problem, _, _| Box::new(TileWeightGradient::new(unit, set, problem)));
        case.compare(computed, "tiles", if geometry.upsampling > 1 { 8e-3 } else { 2e-5 })?;
    }
    Ok(())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tiles_agree_with_the_definition(geometry in prop_oneof![3 => geometries(), 1 => upsampled()]) {
        check_tiles(geometry)?;
    }
}

fn check_on_every_set(geometry: ConvGeometry) {
    for set in available() {
        Case::new(geometry).check::<f32>(set, 5e-6).unwrap_or_else(|error| panic!("{geometry:?}: {error}"));
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    check_tiles(geometry).unwrap_or_else(|error| panic!("{geometry:?}: {error}"));
}

/// Images large enough to be divided among tasks by their rows.
#[test]
fn depthwise_convolutions_of_usual_shapes_agree_with_the_definition() {
    for ([height, width], channels, kernel, stride) in [
        ([64, 64], 48, 3, 1),
        ([61, 64], 48, 3, 2),
        ([64, 33], 40, 5, 1),
        ([66, 66], 24, 5, 2),
        ([4, 4], 96, 3, 1),
        // One column, whose rows are of two kinds backwards.
        ([2, 1], 40, 5, 2),
        ([9, 8], 40, 3, 1),
        ([1, 7], 20, 3, 1),
        ([16, 1], 33, 3, 1),
    ] {
        let (batch, upsampling, padding) = (1, 1, kernel / 2);
        let [in_channels, out_channels, groups] = [channels; 3];
        let geometry = ConvGeometry {
            batch,
            height,
            width,
            upsampling,
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            groups,
        };
        let case = Case::new(geometry);
        for (set, copied) in available().flat_map(|set| [(set, false), (set, true)]) {
            let computed = case.computed_in_groups::<f32>(set, false, copied);
            case.compare(computed, &format!("{set:?}"), 2e-5).unwrap_or_else(|error| panic!("{geometry:?}: {error}"));
        }
    }
}

/// The shapes that networks have, and some of their size, which choose the blocks that random shapes rarely meet.
#[test]
fn usual_shapes_agree_with_the_definition() {
    for ([height, width], in_channels, out_channels, kernel, stride) in [
        ([32, 32], 16, 16, 3, 1),
        ([32, 32], 3, 16, 3, 1),
        ([32, 32], 16, 3, 3, 1),
        ([32, 32], 16, 32, 3, 2),
        ([32, 32], 16, 32, 1, 2),
        ([20, 20], 32, 32, 3, 1),
        ([12, 24], 16, 48, 3, 1),
        ([64, 4], 32, 32, 3, 1),
        ([8, 64], 32, 32, 3, 1),
        ([16, 16], 64, 64, 3, 1),
        ([16, 16], 32, 64, 1, 1),
        ([8, 8], 64, 64, 3, 1),
        ([4, 32], 32, 32, 3, 1),
        ([4, 4], 64, 64, 3, 1),
        ([8, 8], 128, 128, 3, 1),
        ([4, 4], 48, 48, 1, 1),
        ([8, 8], 64, 128, 1, 2),
    ] {
        let padding = kernel / 2;
        let (batch, upsampling) = (2, 1);
        let geometry = ConvGeometry {
            batch,
            height,
            width,
            upsampling,
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            groups: 1,
        };
        check_on_every_set(geometry);
    }
}

/// One of each kind, so small that Miri can interpret them (`tests/sanitizers/run`).
#[test]
fn small_shapes_agree_with_the_definition() {
    for ([height, width, upsampling], [in_channels, out_channels], [kernel, stride, padding]) in [
        ([3, 3, 1], [1, 1], [1, 1, 0]),
        ([4, 5, 1], [2, 3], [3, 1, 1]),
        ([5, 4, 1], [3, 2], [3, 2, 1]),
        ([2, 3, 2], [3, 5], [3, 1, 1]),
        ([6, 6, 1], [4, 4], [3, 1, 1]),
        ([1, 7, 1], [9, 1], [1, 1, 0]),
        ([3, 2, 1], [1, 17], [2, 3, 2]),
    ] {
        let batch = 2;
        let geometry = ConvGeometry {
            batch,
            height,
            width,
            upsampling,
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            groups: 1,
        };
        check_on_every_set(geometry);
        let portable = Case::new(geometry).check::<f64>(InstructionSet::Portable, 1e-13);
        portable.unwrap_or_else(|error| panic!("{geometry:?}: {error}"));
    }
}

/// Padding wider than the kernel: the gradients of some outputs reach no input.
#[test]
fn outputs_of_padding_alone_agree_with_the_definition() {
    for (in_channels, out_channels, stride) in [(16, 16, 1), (16, 10, 1), (3, 32, 2)] {
        let (batch, height, width, upsampling, kernel, padding) = (2, 5, 6, 1, 1, 1);
        let geometry = ConvGeometry {
            batch,
            height,
            width,
            upsampling,
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            groups: 1,
        };
        check_on_every_set(geometry);
    }
}

/// Enough work for several tasks, and partial sums.
#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let (batch, height, width, upsampling) = (32, 16, 16, 1);
    let (in_channels, out_channels, kernel, stride, padding) = (32, 40, 3, 1, 1);
    let case = Case::new(ConvGeometry {
        batch,
        height,
        width,
        upsampling,
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        groups: 1,
    });
    let (rows, inputs, outputs) = (64, 100, 2000);
    let layer = Case::new(linear::pixels(rows, inputs, outputs));
    let of_groups = |groups, inputs| {
        let (in_channels, out_channels) = (groups * inputs, groups * inputs);
        Case::new(ConvGeometry { in_channels, out_channels, groups, ..case.geometry })
    };
    let (depthwise, groups) = (of_groups(40, 1), of_groups(4, 8));
    let results = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let set = InstructionSet::best();
            let grouped = [&depthwise, &groups].map(|case| case.computed_in_groups::<f32>(set, false, true));
            (case.computed::<f32>(set), layer.computed::<f32>(set), grouped)
        })
    });
    assert!(results.iter().all(|result| *result == results[0]));
}

#[test]
fn a_linear_layer_is_a_matrix_product() {
    for (batch, inputs, outputs) in [(1, 1, 1), (7, 100, 10), (48, 37, 130), (33, 64, 3)] {
        let case = Case::new(linear::pixels(batch, inputs, outputs));
        let [x, weight, bias, dy] = [&case.x, &case.weight, &case.bias, &case.dy];
        let actual = [
            linear::forward(batch, inputs, outputs, x, weight, Some(bias)),
            linear::backward_input(batch, inputs, outputs, dy, weight),
            linear::backward_weight(batch, inputs, outputs, x, dy),
            linear::backward_bias(outputs, dy),
        ];
        for (expected, actual) in case.reference().iter().zip(&actual) {
            assert_eq!(expected.len(), actual.len());
            assert!(expected.iter().zip(actual).all(|(e, a)| (e - a).abs() < 1e-12));
        }
    }
}
