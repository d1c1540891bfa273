//! Operations on maps, linear layers and divergences, against the CPU's own kernels.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use crate::autograd::backward;
use crate::backend::Backend;
use crate::cuda::cpu_emulation;
use crate::cuda::launch::launch_count;
use crate::cuda::map::CudaMap;
use crate::cuda::ops::depthwise;
use crate::cuda::tests::{compare, difference, random};
use crate::error::Result;
use crate::ops::{self, Activation, Pool};
use crate::precision::Precision;
use crate::random::{RandomStreams, standard_normal};
use crate::test_device::test_device as device;

#[test]
fn each_operation_agrees_with_the_kernels() {
    // By single channels; by packs, in several blocks; more packs than a block has threads.
    for maps in [&[&[2, 3, 5, 4][..]][..], &[&[5, 16, 13, 11]], &[&[1, 2056, 2, 3]]] {
        let twice = [maps[0], maps[0]];
        let [batch, _, height, width] = maps[0] else { unreachable!() };
        compare("to a tensor", maps, |map, x| map(&x[0]).channels_last());
        compare("detached, and in its own precision", maps, |map, x| (&map(&x[0]).detach() + &map(&x[0]))?.to_nchw());
        if *batch > 1 {
            compare("a part of a batch", maps, |map, x| {
                let part = map(&x[0]).narrow(1, 1)?;
                (&part + &ops::activate(&map(&x[0]), Activation::LeakyRelu(0.5))?.narrow(0, 1)?)?.to_nchw()
            });
            compare("no more than a part", maps, |map, x| map(&x[0]).narrow(1, 1)?.to_nchw());
        }
        for activation in [
            Activation::LeakyRelu(0.2),
            Activation::Relu6,
            Activation::Clip { min: -0.5, max: 1.5 },
            Activation::HardSwish,
            Activation::Silu,
            Activation::Gelu,
            Activation::Tanh,
        ] {
            compare(&format!("{activation:?}"), maps, |map, x| {
                // Wide enough for every part of it.
                ops::activate(&map(&(&x[0] * 4.0)?), activation)?.to_nchw()
            });
        }
        let parts =
            [ops::NormalizedOver::Pixels, ops::NormalizedOver::Groups(1), ops::NormalizedOver::Groups(maps[0][1] / 8)];
        for over in parts.into_iter().filter(|over| *over != ops::NormalizedOver::Groups(0)) {
            compare(&format!("normalized over {over:?}"), maps, |map, x| {
                // Behind what is computed as it is read.
                ops::normalize(&ops::activate(&map(&x[0]), Activation::LeakyRelu(0.1))?, over, 1e-5)?.to_nchw()
            });
        }
        for factor in [maps[0], &[*batch, maps[0][1], 1, 1], &[1, maps[0][1], 1, 1]] {
            compare("multiply", &[maps[0], factor], |map, x| ops::multiply(&map(&x[0]), &map(&x[1]))?.to_nchw());
        }
        compare("concat", &[maps[0], &[*batch, 8, *height, *width]], |map, x| {
            ops::concat(&[map(&x[1]), map(&x[0]), map(&x[1])])?.to_nchw()
        });
        // Packs, single channels, and what is read as a whole, too.
        for (start, length) in [(0, 8), (1, 2), (maps[0][1] / 2, maps[0][1] / 2)] {
            if start + length <= maps[0][1] {
                compare("narrow channels", maps, |map, x| ops::narrow_channels(&map(&x[0]), start, length)?.to_nchw());
            }
        }
        let halves = maps[0][1] / 2;
        compare("shuffle channels, beside their halves", &[&[*batch, 2 * halves, *height, *width]], |map, x| {
            let x = map(&x[0]);
            let [first, second] = [0, halves].map(|start| ops::narrow_channels(&x, start, halves));
            let exchanged = ops::concat(&[second?, first?])?;
            (&ops::channel_shuffle(&x, 2)? + &ops::channel_shuffle(&exchanged, halves)?)?.to_nchw()
        });
        for channels in [[1, 0], [8, 16]] {
            let padding = ops::Padding { channels, rows: [1, 0], columns: [2, 1] };
            compare("pad", maps, |map, x| ops::pad(&map(&x[0]), padding)?.to_nchw());
        }
        let uneven = ops::PoolWindows { size: [2, 3], stride: [2, 1], padding: [[0, 1], [1, 2]], count_padding: false };
        for windows in [Pool { size: 2, stride: 1, padding: 1 }.into(), uneven] {
            compare("max pool of windows that overlap", maps, |map, x| ops::max_pool(&map(&x[0]), windows)?.to_nchw());
            compare("means of windows that overlap", maps, |map, x| ops::average_pool(&map(&x[0]), windows)?.to_nchw());
        }
        for (rows, columns) in [(1, 1), (2, 2), (7, 5)] {
            compare("adaptive average pool", maps, |map, x| {
                ops::adaptive_average_pool(&map(&x[0]), rows, columns)?.to_nchw()
            });
        }
        let shifts: Vec<_> = (0..*batch as isize)
            .map(|image| ops::Shift { down: image - 1, right: 1 - 2 * image, flip: image % 2 == 0 })
            .collect();
        let fill: Vec<_> = (0..maps[0][1]).map(|channel| channel as f64 * 0.5 - 1.0).collect();
        compare("crop and flip", maps, |map, x| ops::crop_and_flip(&map(&x[0]), &shifts, &fill)?.to_nchw());
        for shift in [ops::Shift { down: -2, right: 1, flip: true }, ops::Shift { down: 9, right: -7, flip: false }] {
            compare("roll, beside its input", maps, |map, x| {
                let x = map(&x[0]);
                (&ops::roll(&x, shift)? + &x)?.to_nchw()
            });
        }
        compare("upsample", maps, |map, x| ops::upsample_nearest(&map(&x[0]), 3)?.to_nchw());
        compare("max pool", maps, |map, x| ops::max_pool(&map(&x[0]), Pool::squares(2))?.to_nchw());
        compare("average pool", maps, |map, x| ops::average_pool(&map(&x[0]), Pool::squares(2))?.to_nchw());
        compare("global average", maps, |map, x| ops::global_average(&map(&x[0])));
        compare("attention map", maps, |map, x| ops::attention_map(&map(&x[0])));
        compare("attention distance", maps, |map, x| {
            let target = Tensor::arange(0., (batch * height * width) as f64, x[0].device())?;
            let target = ((target * 1e-3)?.reshape((*batch, height * width))?).to_dtype(x[0].dtype())?;
            ops::attention_distance(&map(&x[0]), &target)
        });
        compare("attention distances", &[maps[0], maps[0], &[*batch, height * width]], |map, x| {
            let (a, b, target) = (map(&x[0]), map(&x[1]), ops::attention_map(&map(&x[0]).detach())?);
            let constant = ops::attention_distances(&[(&a, &target), (&b, &target), (&a, &target)], 2.5)?;
            Ok((constant + ops::attention_distances(&[(&b, &x[2]), (&a, &x[2])], 0.5)?)?)
        });
        compare("attention distance of two", &[maps[0], &[*batch, height * width]], |map, x| {
            ops::attention_distance(&map(&x[0]), &x[1])
        });
        compare("add", &twice, |map, x| ops::add(&map(&x[0]), &map(&x[1]))?.to_nchw());
        compare("used several times", maps, |map, x| {
            let x = map(&x[0]);
            let (a, b) = (ops::activate(&x, Activation::LeakyRelu(0.5))?, ops::upsample_nearest(&x, 1)?);
            let average = ops::global_average(&ops::average_pool(&x, Pool::squares(1))?)?.sum_all()?;
            let attention = ops::attention_map(&x)?.sum_all()?;
            Ok(((&(&a + &b)? + &x)?.to_nchw()?.sum_all()? + (average + attention)?)?)
        });
    }
}

#[test]
fn attention_to_many_pixels_agrees_with_the_kernels() {
    // More than a block has in flight.
    compare("attention distance of many pixels", &[&[2, 3, 35, 31]], |map, x| {
        let target = (Tensor::arange(0., (2 * 35 * 31) as f64, x[0].device())? * 1e-3)?.reshape((2, 35 * 31))?;
        ops::attention_distance(&map(&x[0]), &target.to_dtype(x[0].dtype())?)
    });
}

#[test]
fn convolutions_agree_with_the_kernels() {
    for (stride, padding) in [(1, 1), (2, 1), (1, 0), (2, 0)] {
        compare(&format!("convolution {stride} {padding}"), &[&[2, 3, 6, 5], &[4, 3, 3, 3], &[4]], |map, x| {
            let map = map(&x[0]);
            ops::conv2d(&map, &x[1], Some(&x[2]), stride, padding, 1, map.precision())?.to_nchw()
        });
    }
    for (groups, outputs) in [(8, 8), (8, 16), (2, 4)] {
        let shapes: &[&[usize]] = &[&[2, 8, 6, 5], &[outputs, 8 / groups, 3, 3], &[outputs]];
        compare(&format!("in {groups} groups"), shapes, |map, x| {
            let map = map(&x[0]);
            ops::conv2d(&map, &x[1], Some(&x[2]), 2, 1, groups, map.precision())?.to_nchw()
        });
    }
    depthwise::ENABLED.set(true);
    // Packs and single channels, more than a block has threads; borders on all sides, and none.
    for (channels, kernel, stride, padding) in [
        (16, 3, 1, 1),
        (16, 3, 2, 1),
        (5, 3, 3, 0),
        (8, 5, 1, 2),
        (24, 7, 2, 3),
        (8, 2, 1, 1),
        (8, 1, 2, 0),
        (2056, 3, 1, 1),
    ] {
        let [height, width] = if channels > 256 { [2, 5] } else { [9, 11] };
        let shapes: &[&[usize]] = &[&[2, channels, height, width], &[channels, 1, kernel, kernel], &[channels]];
        let name = format!("depthwise {channels} {kernel} {stride} {padding}");
        let (_, launches) = launch_count::counted(|| {
            compare(&name, shapes, |map, x| {
                let map = map(&x[0]);
                let y = ops::conv2d(&map, &x[1], Some(&x[2]), stride, padding, channels, map.precision())?;
                // Another gradient meets it.
                let without_bias = ops::conv2d(&map, &x[1], None, stride, padding, channels, map.precision())?;
                (&y + &without_bias)?.to_nchw()
            });
        });
        assert!(launches.contains_key("depthwise_weight_sum"), "{name} is left to cuDNN");
    }
    depthwise::ENABLED.set(false);
    // A weight that is made of another, and maps of two origins.
    compare("made weights", &[&[2, 8, 4, 4], &[8, 8, 1, 1], &[2, 8, 4, 4]], |map, x| {
        let (a, b) = (map(&x[0]), map(&x[2]));
        let weight = (x[1].sqr()? * 0.5)?;
        (&ops::conv2d(&a, &weight, None, 1, 0, 1, a.precision())? + &b)?.to_nchw()
    });
}

#[test]
fn batch_norm_agrees_with_the_kernels() {
    for activation in [Activation::Relu, Activation::LeakyRelu(0.2), Activation::Relu6, Activation::Silu] {
        // Channels that do not make up packs, and more than are finished at once.
        for (channels, side) in [(4, 6), (3, 7), (16, 17), (136, 3)] {
            let shapes: &[&[usize]] = &[&[3, channels, 5, side], &[channels], &[channels]];
            compare(&format!("of the batch {activation:?}"), shapes, |map, x| {
                let x0 = map(&x[0]);
                ops::batch_norm(&x0, &x[1], &x[2], &ops::batch_moments(&x0)?, 1e-5, activation)?.to_nchw()
            });
            compare(&format!("moments {activation:?}"), &shapes[..1], |map, x| {
                // Of a map that others read too.
                let (x0, dtype) = (map(&x[0]), x[0].dtype());
                let statistics = ops::batch_moments(&x0)?;
                let [mean, variance] = [statistics.mean.to_dtype(dtype)?, statistics.variance.to_dtype(dtype)?];
                let average = ops::global_average(&ops::activate(&x0, activation)?)?;
                Ok(average.broadcast_add(&(mean + variance)?)?)
            });
            compare(&format!("running {activation:?}"), shapes, |map, x| {
                let mean = (Tensor::arange(0., channels as f64, x[0].device())? * 0.1)?;
                let variance = (&mean + 0.5)?;
                let statistics = ops::BatchNormStatistics { mean, variance, of_batch: false };
                ops::batch_norm(&map(&x[0]), &x[1], &x[2], &statistics, 1e-5, activation)?.to_nchw()
            });
        }
    }
}

#[test]
fn linear_layers_agree_with_the_kernels() -> Result<()> {
    // Fewer numbers than a block has threads, more than one has, and more than our kernels do.
    for (shape @ [batch, inputs, outputs], ours) in [
        ([3, 4, 5], true),
        ([130, 65, 40], true),
        ([9, 300, 33], true),
        ([128, 512, 17], false),
        ([65, 300, 70], false),
    ] {
        let numbers = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let numbers = standard_normal(&mut RandomStreams::new(6).named(name), shape.iter().product());
            Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
        };
        let tensors = [numbers("x", &[batch, inputs])?, numbers("w", &[outputs, inputs])?, numbers("b", &[outputs])?];
        let by = numbers("gradient", &[batch, outputs])?;
        // All learn; or only what is in front of the layer, or only its parameters.
        for tracked in [[true; 3], [true, false, false], [false, true, true]] {
            let found = |emulated: bool| -> Result<Vec<Vec<f64>>> {
                let device = if emulated { device() } else { Device::Cpu };
                let variables = tensors.iter().map(|tensor| Ok(Var::from_tensor(&tensor.to_device(&device)?)?));
                let variables = variables.collect::<Result<Vec<_>>>()?;
                let inputs = variables.iter().zip(tracked).map(|(variable, tracked)| {
                    if tracked { variable.as_tensor().clone() } else { variable.as_detached_tensor() }
                });
                let [x, weight, bias] = &inputs.collect::<Vec<_>>()[..] else { unreachable!() };
                let y = if emulated { CudaMap::linear(x, weight, bias)? } else { ops::linear(x, weight, bias)? };
                let gradients = backward(&(&y * by.to_device(&device)?)?.sum_all()?)?;
                let of_variables = variables.iter().filter_map(|variable| gradients.get(variable));
                let all = std::iter::once(&y).chain(of_variables);
                Ok(all.map(|tensor| tensor.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?)
            };
            let (emulated, launches) = launch_count::counted(|| found(true));
            let expected = match (ours, tracked[2]) {
                (true, _) => BTreeMap::from([("linear", 1), ("linear_gradient", 1)]),
                (false, true) => [("add_bias", 1), ("column_sums", 1)].into(),
                (false, false) => [("add_bias", 1)].into(),
            };
            assert_eq!(launches, expected);
            let (emulated, expected) = (emulated?, found(false)?);
            cpu_emulation::BACKWARDS.set(true);
            let backwards = found(true)?;
            cpu_emulation::BACKWARDS.set(false);
            assert!(emulated == backwards, "{shape:?} {tracked:?}: the order of threads changes the result");
            assert_eq!(emulated.len(), 1 + tracked.iter().filter(|tracked| **tracked).count());
            assert_eq!(emulated.len(), expected.len());
            for (found, expected) in emulated.iter().flatten().zip(expected.iter().flatten()) {
                assert!((found - expected).abs() < 1e-11, "{shape:?} {tracked:?}: {found} {expected}");
            }
        }
    }
    Ok(())
}

#[test]
fn divergences_of_two_players_take_a_kernel_each_way() -> Result<()> {
    // Fewer classes than a block has threads, and more; of both players, and of one beside a constant.
    for (temperature, classes, dtype, bound) in
        [(1.0, 10, DType::F64, 1e-14), (0.5, 300, DType::F64, 1e-13), (4.0, 10, DType::F32, 1e-6)]
    {
        for tracked in [[true, true], [true, false], [false, true]] {
            let numbers = random("two players", &[&[7, classes], &[7, classes]], Precision::F64);
            let numbers =
                numbers.iter().map(|numbers| numbers.to_dtype(dtype)).collect::<candle_core::Result<Vec<_>>>()?;
            let on = |device: &Device| -> Result<Vec<Tensor>> {
                let of = |(numbers, tracked): (&Tensor, bool)| {
                    let numbers = numbers.to_device(device)?;
                    Ok(if tracked { Var::from_tensor(&numbers)?.into_inner() } else { numbers })
                };
                numbers.iter().zip(tracked).map(of).collect()
            };
            let (ours, host) = (on(&device())?, on(&Device::Cpu)?);
            let computed = || -> Result<_> {
                let divergence = CudaMap::kl_divergence_with_logits(&ours[0], &ours[1], temperature)?;
                let gradients = backward(&divergence)?;
                Ok((divergence, gradients))
            };
            let (computed, launches) = launch_count::counted(computed);
            assert_eq!(launches, [("divergence", 1), ("divergence_gradient", 1)].into());
            let (divergence, gradients) = computed?;
            let expected = ops::kl_divergence_with_logits(&host[0], &host[1], temperature)?;
            let expected_gradients = backward(&expected)?;
            assert!(difference(&divergence, &expected)? < bound);
            for which in [0, 1] {
                let (found, expected) = (gradients.get(&ours[which]), expected_gradients.get(&host[which]));
                assert_eq!([found.is_some(), expected.is_some()], [tracked[which]; 2]);
                if let (Some(found), Some(expected)) = (found, expected) {
                    assert!(difference(found, expected)? < bound, "{which} at {temperature}");
                }
            }
        }
    }
    Ok(())
}
