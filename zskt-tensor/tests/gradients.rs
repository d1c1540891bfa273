//! Every operation's gradient against finite differences, in f64.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use zskt_tensor::candle_core::{self, DType, Device, Tensor, Var};
use zskt_tensor::nn::{
    Activation, BatchNorm2d, Builder, Conv2d, Conv2dShape, ConvTranspose2d, ConvTranspose2dShape, Dropout, ForwardMode,
    GroupNorm, LayerNorm, Linear, Padding, Pool, PoolWindows, StochasticDepth, with_layer_streams,
};
use zskt_tensor::ops::{NormalizedOver, Shift};
use zskt_tensor::{FeatureMap, Precision, RandomStreams, Result, backward, ops, standard_normal};

fn random(name: &str, shape: &[usize]) -> Tensor {
    let numbers = standard_normal(&mut RandomStreams::new(7).named(name), shape.iter().product());
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn map(tensor: &Tensor) -> FeatureMap {
    FeatureMap::from_channels_last(tensor).unwrap()
}

/// Compares the gradient of Σ r·f(inputs), with random r, for each input that is to be tracked; the others must get none.
fn check(name: &str, shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let inputs: Vec<Tensor> =
        shapes.iter().enumerate().map(|(i, shape)| random(&format!("{name}.{i}"), shape)).collect();
    let weights = random(&format!("{name}.r"), f(&inputs).unwrap().dims());
    let value = |inputs: &[Tensor]| -> Tensor { (f(inputs).unwrap() * &weights).unwrap().sum_all().unwrap() };
    for tracked in 0..inputs.len() {
        let variable = Var::from_tensor(&inputs[tracked]).unwrap();
        let mut with = inputs.clone();
        with[tracked] = variable.as_tensor().clone();
        let gradients = backward(&value(&with)).unwrap();
        let found = gradients.get(variable.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (i, other) in inputs.iter().enumerate().filter(|(i, _)| *i != tracked) {
            assert!(gradients.get(other).is_none(), "{name}: input {i} is not tracked, but has a gradient");
        }
        let numbers = inputs[tracked].flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let step = 1e-5;
        for (element, found) in found.iter().enumerate() {
            let moved = |by: f64| {
                let mut numbers = numbers.clone();
                numbers[element] += by;
                let mut with = inputs.clone();
                with[tracked] = Tensor::from_vec(numbers, inputs[tracked].shape(), &Device::Cpu).unwrap();
                value(&with).to_scalar::<f64>().unwrap()
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error < 1e-6, "{name}, input {tracked}, element {element}: found {found}, expected {expected}");
        }
    }
}

/// A function, and a comparison of its gradients with finite differences.
type GradientCase = (&'static str, fn(&str));

/// Every function through which gradients flow.
const CASES: &[GradientCase] = &[
    ("FeatureMap::channels_last", |name| check(name, &[&[2, 3, 4, 5]], |x| map(&x[0]).channels_last())),
    ("FeatureMap::flatten", |name| check(name, &[&[2, 3, 4, 5]], |x| map(&x[0]).flatten())),
    ("FeatureMap::from_channels_last", |name| {
        check(name, &[&[2, 3, 4, 5]], |x| FeatureMap::from_channels_last(&x[0])?.to_nchw());
    }),
    ("FeatureMap::from_nchw", |name| check(name, &[&[2, 3, 4, 5]], |x| FeatureMap::from_nchw(&x[0])?.channels_last())),
    ("FeatureMap::from_vectors", |name| {
        check(name, &[&[2, 5]], |x| FeatureMap::from_vectors(&x[0])?.channels_last());
    }),
    ("FeatureMap::narrow", |name| check(name, &[&[4, 3, 2, 5]], |x| map(&x[0]).narrow(1, 2)?.channels_last())),
    ("FeatureMap::to_nchw", |name| check(name, &[&[2, 3, 4, 5]], |x| map(&x[0]).to_nchw())),
    ("FeatureMap::to_precision", |name| {
        check(name, &[&[2, 3, 4, 5]], |x| map(&x[0]).to_precision(Precision::F64)?.channels_last());
        rounded_to_bf16();
    }),
    ("nn::BatchNorm2d::forward", |name| {
        for mode in [ForwardMode::train_frozen(), ForwardMode::eval()] {
            for activation in [Activation::Identity, Activation::Relu6, Activation::LeakyRelu(0.2)] {
                let layer = BatchNorm2d::new(&builder(), 5, activation).unwrap();
                check(name, &[&[2, 3, 4, 5]], |x| layer.forward(&map(&x[0]), mode)?.channels_last());
            }
        }
    }),
    ("nn::Conv2d::forward", |name| {
        let layer = Conv2d::new(&builder(), Conv2dShape::same(5, 3, 3)).unwrap();
        check(name, &[&[2, 3, 4, 5]], |x| layer.forward(&map(&x[0]), ForwardMode::eval())?.channels_last());
    }),
    ("nn::ConvTranspose2d::forward", |name| {
        let layer = ConvTranspose2d::new(&builder(), ConvTranspose2dShape::doubling(5, 3)).unwrap();
        check(name, &[&[2, 3, 4, 5]], |x| layer.forward(&map(&x[0]), ForwardMode::eval())?.channels_last());
    }),
    ("nn::Dropout::forward", |name| {
        let layer = Dropout::new(&builder(), 0.3).unwrap();
        check(name, &[&[2, 3, 4, 5]], |x| {
            drawing(|| layer.forward(&map(&x[0]), ForwardMode::train())?.channels_last())
        });
    }),
    ("nn::Dropout::forward_vectors", |name| {
        let layer = Dropout::new(&builder(), 0.3).unwrap();
        check(name, &[&[4, 5]], |x| drawing(|| layer.forward_vectors(&x[0], ForwardMode::train())));
    }),
    ("nn::GroupNorm::forward", |name| {
        let layer = GroupNorm::new(&builder(), 2, 4, Activation::LeakyRelu(0.2)).unwrap();
        check(name, &[&[2, 3, 2, 4]], |x| layer.forward(&map(&x[0]), ForwardMode::eval())?.channels_last());
    }),
    ("nn::LayerNorm::forward", |name| {
        let layer = LayerNorm::new(&builder(), 5).unwrap();
        check(name, &[&[2, 3, 2, 5]], |x| layer.forward(&map(&x[0]), ForwardMode::eval())?.channels_last());
    }),
    ("nn::LayerNorm::forward_vectors", |name| {
        let layer = LayerNorm::new(&builder(), 5).unwrap();
        check(name, &[&[2, 3, 5]], |x| layer.forward_vectors(&x[0], ForwardMode::eval()));
    }),
    ("nn::Linear::forward", |name| {
        let layer = Linear::new(&builder(), 5, 3).unwrap();
        check(name, &[&[2, 5]], |x| layer.forward(&x[0], ForwardMode::eval()));
    }),
    ("nn::StochasticDepth::forward", |name| {
        let layer = StochasticDepth::new(&builder(), 0.5).unwrap();
        check(name, &[&[4, 2, 2, 3]], |x| {
            drawing(|| layer.forward(&map(&x[0]), ForwardMode::train())?.channels_last())
        });
    }),
    ("nn::StochasticDepth::forward_vectors", |name| {
        let layer = StochasticDepth::new(&builder(), 0.5).unwrap();
        check(name, &[&[4, 5]], |x| drawing(|| layer.forward_vectors(&x[0], ForwardMode::train())));
    }),
    ("ops::activate", |name| {
        for activation in ACTIVATIONS {
            check(&format!("{name} {activation:?}"), &[&[2, 3, 4, 5]], |x| {
                // Wide enough for every part of it.
                ops::activate(&map(&(&x[0] * 4.0)?), activation)?.channels_last()
            });
        }
    }),
    ("ops::activate_vectors", |name| {
        check(name, &[&[4, 5]], |x| ops::activate_vectors(&(&x[0] * 4.0)?, Activation::Relu6));
    }),
    ("ops::adaptive_average_pool", |name| {
        for (rows, columns) in [(1, 1), (2, 3), (4, 6)] {
            check(name, &[&[2, 5, 4, 3]], |x| ops::adaptive_average_pool(&map(&x[0]), rows, columns)?.channels_last());
        }
    }),
    ("ops::add", |name| {
        check(name, &[&[2, 3, 4, 5], &[2, 3, 4, 5]], |x| ops::add(&map(&x[0]), &map(&x[1]))?.channels_last());
    }),
    ("ops::add_scalars", |name| {
        check(name, &[&[]], |x| ops::add_scalars(&[x[0].clone(), (&x[0] * 3.0)?, x[0].sqr()?]));
    }),
    ("ops::attention_distance", |name| {
        check(name, &[&[2, 3, 4, 5], &[2, 12]], |x| ops::attention_distance(&map(&x[0]), &x[1]));
    }),
    ("ops::attention_distances", |name| {
        check(name, &[&[2, 3, 4, 5], &[2, 12], &[2, 2, 3, 4], &[2, 6]], |x| {
            ops::attention_distances(&[(&map(&x[0]), &x[1]), (&map(&x[2]), &x[3])], 2.5)
        });
    }),
    ("ops::attention_map", |name| check(name, &[&[2, 3, 4, 5]], |x| ops::attention_map(&map(&x[0])))),
    ("ops::average_pool", |name| {
        for windows in pool_windows() {
            check(name, &[&[2, 5, 4, 3]], |x| ops::average_pool(&map(&x[0]), windows)?.channels_last());
        }
    }),
    ("ops::batch_moments", |name| {
        let both = |x: &FeatureMap| {
            let statistics = ops::batch_moments(x)?;
            // The unbiased variance is a multiple of the biased one.
            Ok(Tensor::cat(&[&statistics.mean, &(&statistics.variance * 1.5)?], 0)?)
        };
        check(name, &[&[2, 3, 4, 5]], |x| both(&map(&x[0])));
        check(&format!("{name}, of what is computed when it is read"), &[&[2, 3, 4, 5], &[5, 5, 3, 3]], |x| {
            let active = ops::activate(&map(&x[0]), Activation::LeakyRelu(0.2))?;
            let convolved = ops::conv2d(&ops::upsample_nearest(&active, 2)?, &x[1], None, 1, 1, 1, Precision::F64)?;
            Ok((both(&convolved)? + both(&ops::upsample_nearest(&active, 2)?)?)?)
        });
        // As in DeepInversion: a loss of the very statistics that normalize.
        check(&format!("{name}, and normalized"), &[&[3, 2, 2, 4], &[4], &[4]], |x| {
            let x0 = map(&x[0]);
            let statistics = ops::batch_moments(&x0)?;
            let normalized =
                ops::batch_norm(&x0, &x[1], &x[2], &statistics, 1e-5, Activation::LeakyRelu(0.2))?.to_nchw()?;
            Ok(normalized.broadcast_add(&(statistics.mean.sqr()? + &statistics.variance)?.reshape((4, 1, 1))?)?)
        });
    }),
    ("ops::batch_norm", |name| {
        for activation in ACTIVATIONS {
            check(&format!("{name} {activation:?}"), &[&[3, 4, 5, 6], &[6], &[6]], |x| {
                let (x0, gamma) = (map(&x[0]), (&x[1] * 4.0)?);
                ops::batch_norm(&x0, &gamma, &x[2], &ops::batch_moments(&x0)?, 1e-5, activation)?.channels_last()
            });
        }
        check(&format!("{name} by running statistics"), &[&[2, 3, 4, 5], &[5], &[5]], |x| {
            ops::batch_norm(&map(&x[0]), &x[1], &x[2], &running(&Device::Cpu)?, 1e-5, Activation::LeakyRelu(0.2))?
                .channels_last()
        });
    }),
    ("ops::channel_shuffle", |name| {
        for groups in [1, 2, 3] {
            check(&format!("{name} {groups}"), &[&[2, 3, 4, 6]], |x| {
                ops::channel_shuffle(&map(&x[0]), groups)?.channels_last()
            });
        }
        // Of a map that is computed when it is read.
        check(&format!("{name}, activated"), &[&[2, 3, 4, 6]], |x| {
            let active = ops::activate(&map(&x[0]), Activation::LeakyRelu(0.2))?;
            (&ops::channel_shuffle(&active, 2)? + &active)?.channels_last()
        });
    }),
    ("ops::concat", |name| {
        check(name, &[&[2, 3, 4, 5], &[2, 3, 4, 1], &[2, 3, 4, 2]], |x| {
            ops::concat(&[map(&x[0]), map(&x[1]), map(&x[2])])?.channels_last()
        });
    }),
    ("ops::conv2d", |name| {
        for (groups, outputs, kernel, stride, padding) in
            [(6, 6, 3, 1, 1), (6, 6, 3, 2, 1), (6, 12, 3, 1, 0), (2, 4, 1, 2, 0)]
        {
            let shapes: [&[usize]; 3] = [&[2, 5, 6, 6], &[outputs, 6 / groups, kernel, kernel], &[outputs]];
            check(&format!("{name} {outputs} in {groups} groups"), &shapes, |x| {
                ops::conv2d(&map(&x[0]), &x[1], Some(&x[2]), stride, padding, groups, Precision::F64)?.channels_last()
            });
        }
        for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 2, 0), (5, 1, 0), (2, 3, 2)] {
            let name = format!("{name} {kernel} {stride} {padding}");
            let shapes: [&[usize]; 3] = [&[2, 7, 6, 3], &[4, 3, kernel, kernel], &[4]];
            check(&name, &shapes[..2], |x| {
                ops::conv2d(&map(&x[0]), &x[1], None, stride, padding, 1, Precision::F64)?.channels_last()
            });
            check(&format!("{name} with bias"), &shapes, |x| {
                ops::conv2d(&map(&x[0]), &x[1], Some(&x[2]), stride, padding, 1, Precision::F64)?.channels_last()
            });
        }
    }),
    ("ops::crop_and_flip", |name| {
        let shifts = [
            Shift { down: 1, right: -2, flip: true },
            Shift { down: 0, right: 3, flip: false },
            Shift { down: isize::MIN, right: 0, flip: false },
        ];
        // Of a map, and of one that is computed when it is read, and read twice.
        check(name, &[&[3, 3, 4, 2]], |x| ops::crop_and_flip(&map(&x[0]), &shifts, &[0.5, -1.0])?.channels_last());
        check(&format!("{name}, upsampled"), &[&[3, 2, 2, 2]], |x| {
            let x = ops::upsample_nearest(&ops::activate(&map(&x[0]), Activation::LeakyRelu(0.2))?, 2)?;
            (&ops::crop_and_flip(&x, &shifts, &[0.5, -1.0])? + &x)?.channels_last()
        });
    }),
    ("ops::global_average", |name| check(name, &[&[2, 5, 4, 3]], |x| ops::global_average(&map(&x[0])))),
    ("ops::kl_divergence", |name| {
        // One by one, for candle computes gradients of constants that are multiplied.
        for (temperature, tracked) in [1.0, 3.0].into_iter().flat_map(|t| [0, 1, 2].map(|tracked| (t, tracked))) {
            let inputs = [0, 1, 2].map(|i| random(&format!("{name}.{i}"), &[4, 6]));
            check(&format!("{name} {tracked}"), &[&[4, 6]], |x| {
                let mut inputs = inputs.clone();
                inputs[tracked] = x[0].clone();
                let [logits, target, log_target] = &inputs;
                ops::kl_divergence(logits, target, log_target, temperature)
            });
        }
    }),
    ("ops::kl_divergence_with_logits", |name| {
        for temperature in [1.0, 3.0] {
            check(name, &[&[4, 6], &[4, 6]], |x| ops::kl_divergence_with_logits(&x[0], &x[1], temperature));
        }
    }),
    ("ops::linear", |name| check(name, &[&[3, 5], &[4, 5], &[4]], |x| ops::linear(&x[0], &x[1], &x[2]))),
    ("ops::log_softmax", |name| check(name, &[&[4, 6]], |x| ops::log_softmax(&x[0]))),
    ("ops::max_pool", |name| {
        for windows in pool_windows() {
            check(name, &[&[2, 5, 4, 3]], |x| ops::max_pool(&map(&x[0]), windows)?.channels_last());
        }
    }),
    ("ops::multiply", |name| {
        for factor in [[2, 3, 4, 5], [2, 1, 1, 5], [1, 1, 1, 5]] {
            check(&format!("{name} {factor:?}"), &[&[2, 3, 4, 5], &factor], |x| {
                ops::multiply(&map(&x[0]), &map(&x[1]))?.channels_last()
            });
        }
    }),
    ("ops::pad", |name| {
        let padding = Padding { channels: [1, 2], rows: [0, 1], columns: [2, 0] };
        check(name, &[&[2, 3, 4, 5]], |x| ops::pad(&map(&x[0]), padding)?.channels_last());
    }),
    ("ops::narrow_channels", |name| {
        check(name, &[&[2, 3, 4, 5]], |x| ops::narrow_channels(&map(&x[0]), 1, 3)?.channels_last());
        // Both parts of a map that is computed when it is read.
        check(&format!("{name}, of both parts"), &[&[2, 3, 2, 5]], |x| {
            let x = ops::upsample_nearest(&ops::activate(&map(&x[0]), Activation::LeakyRelu(0.2))?, 2)?;
            let [first, last] = [0, 3].map(|start| ops::narrow_channels(&x, start, 2));
            (&first? + &last?)?.channels_last()
        });
    }),
    ("ops::normalize", |name| {
        for over in [NormalizedOver::Pixels, NormalizedOver::Groups(2)] {
            check(&format!("{name} {over:?}"), &[&[2, 3, 2, 4]], |x| {
                ops::normalize(&map(&x[0]), over, 1e-5)?.channels_last()
            });
        }
    }),
    ("ops::roll", |name| {
        for shift in [Shift { down: 1, right: -6, flip: true }, Shift { down: isize::MIN, right: 2, flip: false }] {
            check(name, &[&[2, 3, 4, 2]], |x| ops::roll(&map(&x[0]), shift)?.channels_last());
        }
    }),
    ("ops::tracked_batch_moments", |name| {
        // The normalization takes the gradient through them.
        check(name, &[&[3, 2, 2, 4], &[4], &[4]], |x| {
            let [mean, variance] = [0.0, 1.0].map(|value| Var::from_tensor(&Tensor::full(value, 4, &Device::Cpu)?));
            let batches = Var::zeros((), DType::I64, &Device::Cpu)?;
            let running = ops::RunningStatistics { mean: &mean?, variance: &variance?, batches: &batches };
            let x0 = map(&x[0]);
            let statistics = ops::tracked_batch_moments(&x0, running, 0.1)?;
            ops::batch_norm(&x0, &x[1], &x[2], &statistics, 1e-5, Activation::LeakyRelu(0.2))?.channels_last()
        });
    }),
    ("ops::upsample_nearest", |name| {
        check(name, &[&[2, 5, 4, 3]], |x| ops::upsample_nearest(&map(&x[0]), 3)?.channels_last());
    }),
];

/// Every activation.
const ACTIVATIONS: [Activation; 11] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu(0.2),
    Activation::Clip { min: -1.0, max: 2.0 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Activation::HardSwish,
    Activation::Silu,
    Activation::Gelu,
];

/// Windows of every kind, for maps of 5 × 4.
fn pool_windows() -> [PoolWindows; 4] {
    let padded = Pool { size: 3, stride: 2, padding: 1 };
    let uneven = PoolWindows { size: [3, 2], stride: [1, 2], padding: [[1, 2], [0, 1]], count_padding: false };
    [Pool::squares(2).into(), padded.into(), uneven, PoolWindows { count_padding: true, ..uneven }]
}

/// What is made to end a gradient.
const CONSTANTS: &[&str] = &["FeatureMap::detach", "ops::gather_scalars"];

#[test]
fn every_operation_has_the_gradient_of_finite_differences() {
    for (name, case) in CASES {
        case(name);
    }
}

/// By the sources, for a function without a case to be noticed.
#[test]
fn no_differentiable_function_is_forgotten() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = differentiable_functions(&sources.join("feature_map.rs"), "FeatureMap");
    for module in ["ops", "nn"] {
        for file in fs::read_dir(sources.join(module)).unwrap() {
            found.extend(differentiable_functions(&file.unwrap().path(), module));
        }
    }
    let known: BTreeSet<String> =
        CASES.iter().map(|(name, _)| *name).chain(CONSTANTS.iter().copied()).map(String::from).collect();
    assert_eq!(found, known, "each function through which gradients may flow has its place in CASES");
}

/// The public functions of a file that make maps or tensors of maps or tensors.
fn differentiable_functions(file: &Path, module: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(file).unwrap();
    let names = |types: &str, kinds: &[&str]| kinds.iter().any(|kind| types.contains(kind));
    let (mut path, mut found) = (module.to_owned(), BTreeSet::new());
    for item in source.split("\npub ").flat_map(|item| item.split("\n    pub ")).flat_map(|item| item.split("\nimpl "))
    {
        let declaration = item.split('{').next().unwrap();
        let Some(function) = declaration.strip_prefix("fn ") else {
            // A layer, whose methods follow.
            if module == "nn" && declaration.trim().chars().all(char::is_alphanumeric) {
                path = format!("nn::{}", declaration.trim());
            }
            continue;
        };
        let (inputs, outputs) = function.split_once("->").unwrap_or((function, ""));
        let name = inputs.split(['(', '<']).next().unwrap();
        let taken = names(inputs, &["Tensor", "FeatureMap"]) || (module == "FeatureMap" && inputs.contains("&self"));
        if taken && names(outputs, &["Tensor", "FeatureMap", "Self", "BatchNormStatistics"]) {
            found.insert(format!("{path}::{name}"));
        }
    }
    found
}

fn builder() -> Builder {
    Builder::random(&RandomStreams::new(3), "layer", Precision::F64, &Device::Cpu)
}

/// What layers draw is the same each time.
fn drawing<T>(work: impl FnOnce() -> T) -> T {
    with_layer_streams(&RandomStreams::new(3), "test", 1, work)
}

/// Running statistics of five channels.
fn running(device: &Device) -> Result<ops::BatchNormStatistics> {
    let tensor = |values: [f64; 5]| Tensor::new(&values, device);
    let (mean, variance) = (tensor([0.1, -0.2, 0.3, 0.0, 1.0])?, tensor([0.5, 1.0, 2.0, 0.1, 1.5])?);
    Ok(ops::BatchNormStatistics { mean, variance, of_batch: false })
}

/// What finite differences cannot say: rounding passes the gradient on, rounded to the precision of the map.
fn rounded_to_bf16() {
    let (x, weights) = (random("bf16", &[2, 3, 4, 5]), random("bf16.r", &[2, 3, 4, 5]));
    let [x, weights] = [x, weights].map(|tensor| tensor.to_dtype(DType::F32).unwrap());
    let variable = Var::from_tensor(&x).unwrap();
    let half = map(variable.as_tensor()).to_precision(Precision::Bf16).unwrap().channels_last().unwrap();
    let store = backward(&(half * &weights).unwrap().sum_all().unwrap()).unwrap();
    let error = (store.get(variable.as_tensor()).unwrap() - &weights).unwrap().abs().unwrap();
    let relative = (error / weights.abs().unwrap()).unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(relative <= 1.0 / 256.0, "{relative}");
}

/// Outputs, then the gradients of input and weight, of a convolution of maps of a precision.
fn convolved(precision: Precision, numbers: [&Tensor; 3], stride: usize) -> Result<[Vec<f64>; 3]> {
    let [x, weight, r] = numbers;
    let dtype = if precision == Precision::F64 { DType::F64 } else { DType::F32 };
    let [x, weight] = [x, weight].map(|tensor| Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap());
    let map = map(x.as_tensor()).to_precision(precision)?;
    let y = ops::conv2d(&map, weight.as_tensor(), None, stride, 1, 1, precision)?.channels_last()?;
    let store = backward(&(&y * &r.to_dtype(dtype)?)?.sum_all()?)?;
    let [dx, dweight] = [&x, &weight].map(|of| store.get(of.as_tensor()).unwrap().clone());
    Ok([y, dx, dweight].map(|tensor| tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()))
}

/// Whichever instructions compute it: shapes that differ in what is fastest for them.
#[test]
fn convolutions_in_bf16_are_those_in_f64_but_for_rounding() -> Result<()> {
    for (size, inputs, outputs, stride) in
        [(16, 16, 32, 1), (8, 16, 32, 1), (8, 32, 16, 2), (8, 3, 16, 1), (8, 64, 3, 1), (2, 20, 24, 1), (7, 5, 9, 2)]
    {
        let name = format!("{inputs} to {outputs} channels, {size}x{size}, stride {stride}");
        let side = usize::div_ceil(size, stride);
        let x = random("half.x", &[3, size, size, inputs]);
        let (weight, r) = (random("half.w", &[outputs, inputs, 3, 3]), random("half.r", &[3, side, side, outputs]));
        let [found, expected] =
            [Precision::Bf16, Precision::F64].map(|precision| convolved(precision, [&x, &weight, &r], stride));
        for (what, (found, expected)) in ["output", "dx", "dweight"].iter().zip(found?.iter().zip(expected?)) {
            let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>();
            let error = squares(&mut found.iter().zip(&expected).map(|(found, expected)| found - expected));
            let relative = (error / squares(&mut expected.iter().copied())).sqrt();
            assert!(relative < 1e-2, "{name}: {what} is off by {relative}");
        }
    }
    Ok(())
}

#[test]
fn the_gradients_of_mean_and_variance_are_those_of_the_formula() -> Result<()> {
    // One channel of 1, 2, 3, 6: their mean is 3, their biased variance 14 / 4; d/dx = 1/n and 2 (x − mean)/n.
    let x = Var::from_tensor(&Tensor::new(&[1.0f64, 2.0, 3.0, 6.0], &Device::Cpu)?.reshape((2, 1, 2, 1))?)?;
    let gradient = |of: &dyn Fn(ops::BatchNormStatistics) -> Tensor| -> Result<Vec<f64>> {
        let statistics = of(ops::batch_moments(&FeatureMap::from_nchw(x.as_tensor())?)?);
        Ok(backward(&statistics.sum_all()?)?.get(x.as_tensor()).unwrap().flatten_all()?.to_vec1()?)
    };
    assert_eq!(gradient(&|statistics| statistics.mean)?, [0.25; 4]);
    assert_eq!(gradient(&|statistics| statistics.variance)?, [-1.0, -0.5, 0.0, 1.5]);
    Ok(())
}

#[test]
fn sizes_that_cannot_be_counted_are_errors() -> Result<()> {
    let (x, weight) = (map(&random("sizes", &[1, 4, 4, 1])), random("sizes.w", &[1, 1, 3, 3]));
    // Twice the padding is 0 or 2 where it overflows.
    for padding in [1 << 63, (1 << 63) + 1, 1 << 40] {
        let error = ops::conv2d(&x, &weight, None, 1, padding, 1, Precision::F64).unwrap_err().to_string();
        assert!(error.contains("more numbers than memory"), "{error}");
    }
    for factor in [1 << 62, (1 << 62) + 1, 1 << 31] {
        let error = ops::upsample_nearest(&x, factor).unwrap_err().to_string();
        assert!(error.contains("more numbers than memory"), "{error}");
    }
    Ok(())
}

#[test]
fn a_gradient_that_would_be_lost_is_an_error() -> Result<()> {
    let (x, weights) = (random("lost", &[2, 3, 4, 5]), Tensor::ones(5, DType::F64, &Device::Cpu)?);
    let mut statistics = running(&Device::Cpu)?;
    statistics.mean = Var::from_tensor(&statistics.mean)?.as_tensor().clone();
    let error =
        ops::batch_norm(&map(&x), &weights, &weights, &statistics, 1e-5, Activation::Relu).unwrap_err().to_string();
    assert!(error.contains("ops::batch_norm") && error.contains("detach"), "{error}");
    Ok(())
}

/// Networks whose operations become part of each other: every gradient that is gathered, added up or put off is right.
#[test]
fn operations_that_are_fused() {
    fn norm(x: &FeatureMap, gamma: &Tensor, slope: f64) -> Result<FeatureMap> {
        ops::batch_norm(x, gamma, &(gamma * 0.3)?, &ops::batch_moments(x)?, 1e-5, Activation::LeakyRelu(slope))
    }
    fn conv(x: &FeatureMap, weight: &Tensor, stride: usize, padding: usize) -> Result<FeatureMap> {
        ops::conv2d(x, weight, None, stride, padding, 1, Precision::F64)
    }
    // A residual block whose shortcut takes the activated input, and one whose shortcut takes the input itself.
    let shapes: [&[usize]; 8] =
        [&[2, 6, 5, 3], &[3], &[4, 3, 3, 3], &[4], &[4, 4, 3, 3], &[4, 3, 1, 1], &[4, 4, 3, 3], &[4]];
    let blocks = |x: &[Tensor]| -> Result<(FeatureMap, FeatureMap)> {
        let active = norm(&map(&x[0]), &x[1], 0.0)?;
        let hidden = norm(&conv(&active, &x[2], 2, 1)?, &x[3], 0.0)?;
        let first = (&conv(&hidden, &x[4], 1, 1)? + &conv(&active, &x[5], 2, 0)?)?;
        let second = (&conv(&norm(&first, &x[3], 0.1)?, &x[6], 1, 1)? + &first)?;
        Ok((first, second))
    };
    check("attention of residual blocks", &shapes, |x| {
        let (first, second) = blocks(x)?;
        let last = norm(&second, &x[7], 0.0)?;
        Ok(((ops::attention_map(&first)? + ops::attention_map(&second)?)?
            + ops::global_average(&last)?.sum_all()?.broadcast_as((2, 9))?)?)
    });
    // A generator's beginning: normalized, upsampled, convolved with a bias, normalized without activation, and read twice.
    let shapes: [&[usize]; 6] = [&[2, 3, 2, 3], &[3], &[4, 3, 3, 3], &[4], &[4], &[2, 4, 3, 3]];
    check("upsampling between convolutions", &shapes, |x| {
        let small = ops::upsample_nearest(&norm(&map(&x[0]), &x[1], 0.2)?, 2)?;
        let image = norm(&ops::conv2d(&small, &x[2], Some(&x[3]), 1, 1, 1, Precision::F64)?, &x[4], 1.0)?;
        let (once, twice) = (conv(&image, &x[5], 1, 1)?, conv(&image, &(&x[5] * 0.5)?, 1, 0)?);
        Ok((ops::global_average(&once)? + ops::global_average(&twice)?)?)
    });
    // Residual blocks whose normalizations come before the sum, one with a convolution in its shortcut, behind a pooled stem.
    let shapes: [&[usize]; 6] = [&[2, 7, 8, 3], &[3], &[4, 3, 3, 3], &[4], &[4, 3, 1, 1], &[4, 4, 3, 3]];
    check("normalization before the sum", &shapes, |x| {
        let stem = ops::max_pool(&norm(&map(&x[0]), &x[1], 0.0)?, Pool { size: 3, stride: 2, padding: 1 })?;
        let shortcut = norm(&conv(&stem, &x[4], 1, 0)?, &x[3], 1.0)?;
        let first = ops::activate(&(&norm(&conv(&stem, &x[2], 1, 1)?, &x[3], 1.0)? + &shortcut)?, Activation::Relu)?;
        let second = (&norm(&conv(&first, &x[5], 1, 1)?, &x[3], 1.0)? + &first)?;
        ops::global_average(&ops::activate(&second, Activation::Relu)?)
    });
    // An inverted residual, whose depthwise convolution has an activation with a limit on both sides.
    let shapes: [&[usize]; 5] = [&[2, 5, 4, 3], &[6, 3, 1, 1], &[6], &[6, 1, 3, 3], &[3, 6, 1, 1]];
    check("depthwise between normalizations", &shapes, |x| {
        let limited = |x: &FeatureMap, gamma: &Tensor| {
            let activation = Activation::Clip { min: 0.0, max: 0.8 };
            ops::batch_norm(x, gamma, &(gamma * 0.3)?, &ops::batch_moments(x)?, 1e-5, activation)
        };
        let x0 = map(&x[0]);
        let wide = limited(&conv(&x0, &x[1], 1, 0)?, &x[2])?;
        let deep = limited(&ops::conv2d(&wide, &x[3], None, 1, 1, 6, Precision::F64)?, &x[2])?;
        (&conv(&deep, &x[4], 1, 0)? + &x0)?.to_nchw()
    });
    // A normalized map that is added and pooled, not convolved.
    check("normalization that others read", &[&[2, 4, 4, 3], &[3]], |x| {
        let normalized = norm(&map(&x[0]), &x[1], 0.1)?;
        let sum = (&normalized + &map(&x[0]))?;
        (&ops::max_pool(&sum, Pool::squares(2))?
            + &ops::average_pool(&ops::activate(&normalized, Activation::LeakyRelu(0.3))?, Pool::squares(2))?)?
            .to_nchw()
    });
}

#[test]
fn an_attention_map_without_energy_has_a_finite_gradient() {
    let zeros = Var::zeros(&[1, 2, 2, 3], DType::F64, &Device::Cpu).unwrap();
    let attention = ops::attention_map(&map(zeros.as_tensor())).unwrap();
    let gradients = attention.sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(zeros.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert!(gradient.iter().all(|x| *x == 0.0), "{gradient:?}");
}

#[test]
fn a_feature_map_is_the_same_tensor_in_either_order() {
    let tensor = random("order", &[2, 3, 4, 5]);
    let there_and_back = FeatureMap::from_nchw(&tensor).unwrap().to_nchw().unwrap();
    let difference = (there_and_back - &tensor).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    assert_eq!(difference, 0.0);
    let variable = Var::from_tensor(&tensor).unwrap();
    let weights = random("order.r", &[2, 4, 5, 3]);
    let maps = FeatureMap::from_nchw(variable.as_tensor()).unwrap();
    let gradients = (maps.channels_last().unwrap() * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    let expected = weights.permute((0, 3, 1, 2)).unwrap();
    let found = gradients.get(variable.as_tensor()).unwrap();
    assert_eq!((found - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap(), 0.0);
}

/// A variable [1, 1, 1, 1] that multiplies each pixel, and what convolving ones with it sums up to: 4 of it.
fn weighted(weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ones = FeatureMap::from_nchw(&Tensor::ones((1, 1, 2, 2), DType::F64, &Device::Cpu)?)?;
    Ok(ops::conv2d(&ones, weight, bias, 1, 0, 1, Precision::F64)?.to_nchw()?.sum_all()?)
}

fn ones(shape: &[usize]) -> Var {
    Var::ones(shape, DType::F64, &Device::Cpu).unwrap()
}

fn gradient(store: &candle_core::backprop::GradStore, of: &Var) -> f64 {
    store.get(of.as_tensor()).unwrap().sum_all().unwrap().to_scalar().unwrap()
}

#[test]
fn a_pass_that_failed_half_way_leaves_nothing_for_the_next() {
    let (weight, bias) = (ones(&[1, 1, 1, 1]), ones(&[1]));
    // candle finds what the weight was made of, but not the bias.
    let y = weighted(&(weight.as_tensor() * 2.0).unwrap(), Some(bias.as_tensor())).unwrap();
    let error = y.backward().err().unwrap().to_string();
    assert!(error.contains("Gradients::of"), "{error}");
    let store = backward(&y).unwrap();
    assert_eq!([gradient(&store, &weight), gradient(&store, &bias)], [8.0, 4.0]);
}

#[test]
fn weights_behind_a_tensor_that_leads_nowhere_have_gradients() {
    let (start, weight) = (ones(&[1, 1, 2, 2]), ones(&[1, 1, 1, 1]));
    // candle does not go back through rounding.
    let x = FeatureMap::from_nchw(&start.as_tensor().round().unwrap()).unwrap();
    let y = ops::conv2d(&x, weight.as_tensor(), None, 1, 0, 1, Precision::F64).unwrap();
    let store = backward(&y.to_nchw().unwrap().sum_all().unwrap()).unwrap();
    assert_eq!(gradient(&store, &weight), 4.0);
}

/// Asks for other gradients on its way back, as a task may do that a waiting thread is given.
struct Interrupting(Var);

impl candle_core::CustomOp1 for Interrupting {
    fn name(&self) -> &'static str {
        "interrupting"
    }

    fn cpu_fwd(
        &self,
        storage: &candle_core::CpuStorage,
        layout: &candle_core::Layout,
    ) -> candle_core::Result<(candle_core::CpuStorage, candle_core::Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient_of_result: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let store = backward(&weighted(self.0.as_tensor(), None).unwrap())?;
        assert_eq!(gradient(&store, &self.0), 4.0);
        Ok(Some(gradient_of_result.clone()))
    }
}

#[test]
fn a_pass_may_be_interrupted_by_another() {
    let (weight, other) = (ones(&[1, 1, 1, 1]), ones(&[1, 1, 1, 1]));
    let y = weighted(weight.as_tensor(), None).unwrap();
    // Its own weights' gradients are gathered before and after the interruption.
    let again = weighted(&y.apply_op1(Interrupting(other)).unwrap().reshape((1, 1, 1, 1)).unwrap(), None).unwrap();
    let store = backward(&(again + y).unwrap()).unwrap();
    assert_eq!(gradient(&store, &weight), 4.0 * 4.0 + 4.0);
}

#[test]
fn channels_are_taken_and_shuffled_as_pytorch_has_it() -> Result<()> {
    let numbers: Vec<f64> = (0..12).map(f64::from).collect();
    // Two pixels of six channels.
    let x = map(&Tensor::from_vec(numbers, (1, 1, 2, 6), &Device::Cpu)?);
    let found = |x: FeatureMap| -> Result<Vec<f64>> { Ok(x.channels_last()?.flatten_all()?.to_vec1()?) };
    assert_eq!(found(ops::narrow_channels(&x, 2, 3)?)?, [2.0, 3.0, 4.0, 8.0, 9.0, 10.0]);
    assert_eq!(found(ops::channel_shuffle(&x, 2)?)?[..6], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(found(ops::channel_shuffle(&x, 3)?)?[6..], [6.0, 8.0, 10.0, 7.0, 9.0, 11.0]);
    for (start, length) in [(0, 0), (3, 4), (usize::MAX, 2)] {
        let error = ops::narrow_channels(&x, start, length).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot take {length} channels from channel {start} on")), "{error}");
    }
    for groups in [0, 4] {
        let error = ops::channel_shuffle(&x, groups).unwrap_err().to_string();
        assert!(error.contains(&format!("in {groups} groups")), "{error}");
    }
    Ok(())
}

#[test]
fn gelu_is_the_exact_one() -> Result<()> {
    // x · Φ(x), with Φ out of tables; the tanh of other definitions differs in the fourth digit.
    let expected = [
        (-2.0, -0.045_500_263_896_358_42),
        (-1.0, -0.158_655_253_931_457_07),
        (0.0, 0.0),
        (0.5, 0.345_731_230_637_006_56),
        (3.0, 2.995_950_305_905_11),
    ];
    for (dtype, bound) in [(DType::F64, 1e-14), (DType::F32, 3e-7)] {
        for (x, expected) in expected {
            let x = map(&Tensor::full(x, (1, 1, 1, 1), &Device::Cpu)?.to_dtype(dtype)?);
            let found = ops::activate(&x, Activation::Gelu)?.to_nchw()?.flatten_all()?.to_dtype(DType::F64)?;
            let found = found.to_vec1::<f64>()?[0];
            assert!(
                (found - expected).abs() <= bound * expected.abs().max(1.0),
                "{dtype:?}: {found} instead of {expected}"
            );
        }
    }
    Ok(())
}
