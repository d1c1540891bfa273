//! Operations and layers against PyTorch's: values and gradients, from identical numbers.

use std::collections::BTreeSet;

use zskt_api::candle_core::{Tensor, Var};
use zskt_api::nn::{Activation, BatchNorm2d, Padding, Pool, PoolWindows};
use zskt_api::tensor::ops::Shift;
use zskt_api::tensor::{backward, ops};
use zskt_api::{Builder, FeatureMap, ForwardMode, Precision, Result};
use zskt_tests::{assert_close, device, fixture, numbers, tensor, uniform};

type Case = fn(&[Tensor], Precision) -> Result<FeatureMap>;

const CASES: &[(&str, Case)] = &[
    ("depthwise", |x, precision| ops::conv2d(&map(&x[0])?, &x[1], Some(&x[2]), 2, 1, 6, precision)),
    ("depthwise of 5x5", |x, precision| ops::conv2d(&map(&x[0])?, &x[1], None, 1, 2, 6, precision)),
    ("groups of three", |x, precision| ops::conv2d(&map(&x[0])?, &x[1], Some(&x[2]), 1, 1, 2, precision)),
    ("max pool", |x, _| ops::max_pool(&map(&x[0])?, OVERLAPPING)),
    ("max pool, ceil mode", |x, _| ops::max_pool(&map(&x[0])?, CEIL)),
    ("average pool", |x, _| ops::average_pool(&map(&x[0])?, OVERLAPPING)),
    ("average pool, padding not counted", |x, _| {
        ops::average_pool(&map(&x[0])?, PoolWindows { count_padding: false, ..OVERLAPPING.into() })
    }),
    ("average pool, ceil mode", |x, _| ops::average_pool(&map(&x[0])?, CEIL)),
    ("average pool, 2x3", |x, _| {
        let windows = PoolWindows { size: [2, 3], stride: [1, 2], padding: [[0; 2]; 2], count_padding: true };
        ops::average_pool(&map(&x[0])?, windows)
    }),
    ("adaptive average pool", |x, _| ops::adaptive_average_pool(&map(&x[0])?, 3, 2)),
    ("ReLU6", |x, _| wide(&x[0], Activation::Relu6)),
    ("Hardswish", |x, _| wide(&x[0], Activation::HardSwish)),
    ("Hardsigmoid", |x, _| wide(&x[0], Activation::HARD_SIGMOID)),
    ("Sigmoid", |x, _| wide(&x[0], Activation::Sigmoid)),
    ("Tanh", |x, _| wide(&x[0], Activation::Tanh)),
    ("SiLU", |x, _| wide(&x[0], Activation::Silu)),
    ("clip", |x, _| wide(&x[0], Activation::Clip { min: -2.0, max: 3.0 })),
    ("batch norm and ReLU6", |x, _| {
        let x0 = map(&x[0])?;
        ops::batch_norm(&x0, &(&x[1] * 8.0)?, &x[2], &ops::batch_moments(&x0)?, 1e-3, Activation::Relu6)
    }),
    ("squeeze and excitation", |x, _| ops::multiply(&map(&x[0])?, &ops::activate(&map(&x[1])?, Activation::Sigmoid)?)),
    ("concatenation", |x, _| ops::concat(&[map(&x[0])?, map(&x[1])?])),
    ("crop and flip", |x, _| {
        let [first, second] = [Shift { down: 2, right: -1, flip: true }, Shift { down: -3, right: 4, flip: false }];
        ops::crop_and_flip(&map(&x[0])?, &[first, second], &[0.0, 1.0, -1.0, 2.0, 0.5, 0.25])
    }),
    ("roll and flip", |x, _| ops::roll(&map(&x[0])?, Shift { down: 3, right: -2, flip: true })),
    ("zeros around", |x, _| ops::pad(&map(&x[0])?, Padding { channels: [1, 2], rows: [2, 0], columns: [0, 1] })),
];

const OVERLAPPING: Pool = Pool { size: 3, stride: 2, padding: 1 };

/// Of a map of 7 × 5, whose last row and column begin a window of their own.
const CEIL: PoolWindows = PoolWindows { size: [2; 2], stride: [2; 2], padding: [[0, 1]; 2], count_padding: false };

fn map(tensor: &Tensor) -> Result<FeatureMap> {
    FeatureMap::from_nchw(tensor)
}

/// An activation of numbers far from zero.
fn wide(x: &Tensor, activation: Activation) -> Result<FeatureMap> {
    ops::activate(&map(&(x * 8.0)?)?, activation)
}

#[test]
fn operations_are_those_of_pytorch() {
    let expected = fixture("layers.json");
    let names: BTreeSet<&str> = expected.as_object().unwrap().keys().map(String::as_str).collect();
    let known = CASES.iter().map(|(name, _)| *name).chain(["running statistics"]).collect();
    assert_eq!(names, known, "each entry of the fixture has a case");
    for (precision, tolerance) in [(Precision::F64, 1e-11), (Precision::F32, 2e-5)] {
        for (name, case) in CASES {
            let expected = &expected[*name];
            let shapes: Vec<Vec<usize>> = expected["shapes"].as_array().unwrap().iter().map(shape).collect();
            let inputs: Vec<Var> = shapes
                .iter()
                .enumerate()
                .map(|(index, shape)| {
                    let numbers = tensor(&format!("{name}.{index}"), shape, 1.0);
                    Var::from_tensor(&numbers.to_dtype(precision.dtype()).unwrap().to_device(&device()).unwrap())
                        .unwrap()
                })
                .collect();
            let tensors: Vec<Tensor> = inputs.iter().map(|input| input.as_tensor().clone()).collect();
            let y = case(&tensors, precision).unwrap().to_nchw().unwrap();
            let weights = tensor(&format!("{name}.r"), y.dims(), 1.0);
            let weights = weights.to_dtype(precision.dtype()).unwrap().to_device(&device()).unwrap();
            let value = (y * weights).unwrap().sum_all().unwrap();
            let gradients = backward(&value).unwrap();
            assert_close(name, &read(&value), &[expected["value"].as_f64().unwrap()], tolerance);
            for (index, input) in tensors.iter().enumerate() {
                let gradient = read(gradients.get(input).unwrap());
                let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
                let direction = uniform(&format!("{name}.{index}.g"), gradient.len());
                let projection: f64 = gradient.iter().zip(direction).map(|(g, d)| g * d).sum();
                let what = format!("{name} in {precision:?}, gradient {index}");
                // Of the norm, which cancels out in the projection.
                let expected = numbers(&expected["gradients"][index]);
                assert_close(&what, &[norm], &expected[..1], tolerance);
                assert!(
                    (expected[1] - projection).abs() < tolerance * norm,
                    "{what}: {projection}, not {}",
                    expected[1]
                );
            }
        }
    }
}

#[test]
fn batch_norm_takes_its_constants() {
    let expected = &fixture("layers.json")["running statistics"];
    let builder = Builder::zeros(Precision::F64, &device());
    let layer = BatchNorm2d::with_constants(&builder, 6, Activation::Identity, 1e-3, 0.3).unwrap();
    let [mean, variance] = ["running_mean", "running_var"]
        .map(|name| builder.weights().iter().find(|weight| weight.name().ends_with(name)).unwrap().var().clone());
    variance.set(&variance.ones_like().unwrap()).unwrap();
    let x = tensor("constants.0", &shape(&expected["shapes"][0]), 1.0).to_device(&device()).unwrap();
    layer.forward(&map(&x).unwrap(), ForwardMode::train_frozen()).unwrap();
    let sum = (mean.as_tensor() + variance.as_tensor()).unwrap().sum_all().unwrap();
    assert_close("running statistics", &read(&sum), &[expected["value"].as_f64().unwrap()], 1e-12);
}

fn shape(value: &serde_json::Value) -> Vec<usize> {
    numbers(value).into_iter().map(|extent| extent as usize).collect()
}

fn read(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(zskt_api::candle_core::DType::F64).unwrap().to_vec1().unwrap()
}
