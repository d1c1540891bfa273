//! The kernels, by the emulator, against sums in f64 over the same numbers, rounded as they are read. Each case runs in three orders
//! of threads and blocks, whose results must have the same bits.

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;

use super::{add_up, covers, data_gradient, emulation, forward, weight_gradient};
use crate::cuda::conv::{Operand, ResultGradient, Towards};
use crate::precision::Precision::{self, Bf16, Tf32};
use crate::random::RandomStreams;
use crate::shape::ConvGeometry;

mod data_gradient;
mod forward;
mod random_operands;
mod reference;
mod weight_gradient;

use reference::{each, floats, packed};

/// Channels in and out, side, stride, upsampling; images, rows, columns of the map as it is stored.
pub fn geometry(layer: [usize; 5], map: [usize; 3]) -> ConvGeometry {
    let ([in_channels, out_channels, kernel, stride, upsampling], [batch, height, width]) = (layer, map);
    let padding = kernel / 2;
    ConvGeometry { batch, height, width, upsampling, in_channels, out_channels, kernel, stride, padding, groups: 1 }
}

/// What some work makes in each order, the same bits.
fn in_all_orders(name: &str, work: impl Fn() -> Result<Vec<Tensor>>) -> Vec<Tensor> {
    let bits =
        |made: &[Tensor]| made.iter().map(|tensor| floats(tensor).iter().map(|x| x.to_bits()).collect()).collect();
    let mut first: Option<(Vec<Tensor>, Vec<Vec<u32>>)> = None;
    for order in 0..3 {
        emulation::ORDER.set(order);
        let made = work().unwrap_or_else(|error| panic!("{name}: {error}"));
        let bits = bits(&made);
        match &first {
            None => first = Some((made, bits)),
            Some((_, expected)) => assert!(bits == *expected, "{name}: two orders, two results"),
        }
    }
    first.unwrap().0
}

/// First all kernels of all cases are compiled, then they are run.
fn check<C>(
    cases: &[C],
    work: impl Fn(&C) -> Result<Vec<Tensor>>,
    verify: impl Fn(&C, &[Tensor]),
    name: impl Fn(&C) -> String,
) {
    emulation::prepare(|| cases.iter().for_each(|case| drop(work(case).unwrap())));
    for case in cases {
        let name = name(case);
        let made = in_all_orders(&name, || work(case));
        verify(case, &made);
    }
}

#[test]
fn what_has_no_kernels_is_not_covered() {
    let covered = geometry([16, 16, 3, 1, 1], [1, 8, 8]);
    assert!(covers(&covered, Bf16) && covers(&covered, Tf32));
    for other in [
        ConvGeometry { groups: 16, ..covered },
        ConvGeometry { padding: 0, ..covered },
        ConvGeometry { kernel: 5, padding: 2, ..covered },
        ConvGeometry { upsampling: 4, ..covered },
        ConvGeometry { in_channels: 24, ..covered },
        geometry([3, 3, 3, 1, 1], [1, 8, 8]),
        geometry([1024, 1024, 3, 2, 1], [1, 8, 8]),
    ] {
        assert!(!covers(&other, Bf16) && !covers(&other, Tf32), "{other:?}");
    }
    assert!(!covers(&covered, Precision::F32));
}

/// Integers of twelve bits are the sums of two numbers in bf16, so products of them with small ones, and sums of these, are exact: a part that
/// is missing anywhere, or meets another's, is seen.
#[test]
fn numbers_of_two_parts_are_multiplied_exactly() {
    // All weights in shared memory, and some at a time; a stride and an upsampling.
    let layers = [[32, 32, 3, 1, 1], [128, 64, 3, 1, 1], [32, 64, 3, 2, 1], [64, 16, 3, 1, 2], [3, 16, 3, 1, 1]];
    for (layer, most) in layers.into_iter().flat_map(|layer| [[4095, 3], [3, 4095]].map(|most| (layer, most))) {
        let geometry = geometry(layer, [1, 8, 8]);
        assert!(covers(&geometry, Tf32), "{geometry:?}");
        let ConvGeometry { height, width, in_channels, out_channels, kernel, .. } = geometry;
        let mut rng = RandomStreams::new(0).named(&format!("{layer:?} {most:?}"));
        let mut integers = |dims: [usize; 4], most: i32| {
            let numbers = (0..dims.iter().product()).map(|_| rng.random_range(-most..=most) as f32);
            Tensor::from_vec(numbers.collect(), &dims[..], &Device::Cpu).unwrap()
        };
        let input = integers([1, height, width, in_channels], most[0]);
        let weight = integers([out_channels, kernel, kernel, in_channels], most[1]);
        let result = [1, geometry.out_height(), geometry.out_width(), out_channels];
        let [large, small] = [integers(result, most[0]), integers(result, most[1])];
        let operand = Operand { values: &input, normalization: None };
        let towards = Towards::Operand { plus: None };
        let of_weight = Tensor::zeros(weight.shape(), DType::F32, &Device::Cpu).unwrap();
        let made = in_all_orders(&format!("{geometry:?}"), || {
            let packed = packed(&weight)?;
            let parts = weight_gradient(&geometry, operand, ResultGradient::Dense(&small))?;
            let total = of_weight.permute((0, 3, 1, 2))?.contiguous()?;
            add_up(&[(parts, total.clone())])?;
            Ok(vec![
                forward(&geometry, operand, &packed, None, None, None)?,
                data_gradient(&geometry, ResultGradient::Dense(&large), &packed, &towards)?,
                total.permute((0, 2, 3, 1))?.contiguous()?,
            ])
        });
        let numbers = [&input, &weight, &large, &small].map(floats);
        let [x, w, large, small] = numbers.each_ref().map(|numbers| |at: usize| f64::from(numbers[at]));
        let mut wanted = made.iter().map(|made| vec![0.0; made.elem_count()]).collect::<Vec<_>>();
        each(&geometry, |pixel, tap, from| {
            for o in 0..out_channels {
                for i in 0..in_channels {
                    let at = [
                        pixel * out_channels + o,
                        from * in_channels + i,
                        (o * kernel * kernel + tap) * in_channels + i,
                    ];
                    wanted[0][at[0]] += x(at[1]) * w(at[2]);
                    wanted[1][at[1]] += large(at[0]) * w(at[2]);
                    wanted[2][at[2]] += small(at[0]) * x(at[1]);
                }
            }
        });
        for (what, (made, wanted)) in made.iter().zip(&wanted).enumerate() {
            let found: Vec<_> = floats(made).into_iter().map(f64::from).collect();
            assert!(found == *wanted, "{layer:?}, {most:?}: {}", ["result", "data gradient", "weight gradient"][what]);
        }
    }
}
