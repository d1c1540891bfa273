//! Operations and layers against PyTorch's: values and gradients, from identical numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use zskt_api::candle_core::{Tensor, Var};
use zskt_api::nn::{
    Activation, BatchNorm2d, Conv2d, Conv2dShape, ConvTranspose2d, ConvTranspose2dShape, GroupNorm, LayerNorm, Linear,
    Padding, Pool, PoolWindows,
};
use zskt_api::tensor::ops::Shift;
use zskt_api::tensor::{backward, ops};
use zskt_api::{Builder, FeatureMap, ForwardMode, Init, Precision, Result};
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
    ("GELU", |x, _| wide(&x[0], Activation::Gelu)),
    ("clip", |x, _| wide(&x[0], Activation::Clip { min: -2.0, max: 3.0 })),
    ("batch norm and ReLU6", |x, _| {
        let x0 = map(&x[0])?;
        ops::batch_norm(&x0, &(&x[1] * 8.0)?, &x[2], &ops::batch_moments(&x0)?, 1e-3, Activation::Relu6)
    }),
    ("squeeze and excitation", |x, _| ops::multiply(&map(&x[0])?, &ops::activate(&map(&x[1])?, Activation::Sigmoid)?)),
    ("concatenation", |x, _| ops::concat(&[map(&x[0])?, map(&x[1])?])),
    ("channels three to five", |x, _| ops::narrow_channels(&map(&x[0])?, 2, 3)),
    ("channel shuffle", |x, _| ops::channel_shuffle(&map(&x[0])?, 3)),
    ("gate out of vectors", |x, _| {
        ops::multiply(&map(&x[0])?, &FeatureMap::from_vectors(&ops::activate_vectors(&x[1], Activation::Sigmoid)?)?)
    }),
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

type Forward = Box<dyn Fn(&Tensor, ForwardMode) -> Result<Tensor>>;

/// A layer, and the names of its weights in the order in which the fixture has them.
type Layer = (&'static str, &'static [&'static str], fn(&Builder) -> Result<Forward>);

const LAYERS: &[Layer] = &[
    ("dilated convolution", &["weight", "bias"], |builder| {
        let shape = Conv2dShape { stride: 2, padding: 3, dilation: 3, groups: 2, ..Conv2dShape::same(6, 4, 3) };
        let layer = Conv2d::new(builder, shape)?;
        Ok(Box::new(move |x, mode| layer.forward(&map(x)?, mode)?.to_nchw()))
    }),
    ("transposed convolution", &["weight", "bias"], |builder| {
        transposed(builder, true, ConvTranspose2dShape::doubling(6, 4))
    }),
    ("transposed convolution in groups", &["weight"], |builder| {
        let doubling = ConvTranspose2dShape::doubling(6, 4);
        transposed(builder, false, ConvTranspose2dShape { kernel: 3, output_padding: 1, groups: 2, ..doubling })
    }),
    ("transposed convolution of stride 1", &["weight", "bias"], |builder| {
        let doubling = ConvTranspose2dShape::doubling(6, 4);
        transposed(builder, true, ConvTranspose2dShape { kernel: 3, stride: 1, padding: 0, ..doubling })
    }),
    ("transposed convolution with gaps", &["weight", "bias"], |builder| {
        let doubling = ConvTranspose2dShape::doubling(6, 4);
        let shape = ConvTranspose2dShape { kernel: 2, stride: 3, padding: 0, output_padding: 2, ..doubling };
        transposed(builder, true, shape)
    }),
    ("group norm and ReLU", &["weight", "bias"], |builder| {
        let layer = GroupNorm::with_epsilon(builder, 3, 6, Activation::Relu, 1e-3)?;
        Ok(Box::new(move |x, mode| layer.forward(&map(x)?, mode)?.to_nchw()))
    }),
    ("layer norm of pixels", &["weight", "bias"], |builder| {
        let layer = LayerNorm::with_epsilon(builder, 6, 1e-6)?;
        Ok(Box::new(move |x, mode| layer.forward(&map(x)?, mode)?.to_nchw()))
    }),
    ("layer norm of vectors", &["weight", "bias"], |builder| {
        let layer = LayerNorm::new(builder, 5)?;
        Ok(Box::new(move |x, mode| layer.forward_vectors(x, mode)))
    }),
    ("linear without bias", &["weight"], |builder| {
        let layer = Linear::without_bias(builder, 5, 4)?;
        Ok(Box::new(move |x, mode| layer.forward(x, mode)))
    }),
];

fn transposed(builder: &Builder, bias: bool, shape: ConvTranspose2dShape) -> Result<Forward> {
    let layer = match bias {
        true => ConvTranspose2d::new(builder, shape)?,
        false => ConvTranspose2d::without_bias(builder, shape, Init::Constant(0.0))?,
    };
    Ok(Box::new(move |x, mode| layer.forward(&map(x)?, mode)?.to_nchw()))
}

const PRECISIONS: [(Precision, f64); 2] = [(Precision::F64, 1e-11), (Precision::F32, 2e-5)];

#[test]
fn operations_are_those_of_pytorch() {
    let fixture = fixture("layers.json");
    let names: BTreeSet<&str> = fixture.as_object().unwrap().keys().map(String::as_str).collect();
    let layers = LAYERS.iter().map(|(name, ..)| *name);
    let known = CASES.iter().map(|(name, _)| *name).chain(layers).chain(["running statistics"]).collect();
    assert_eq!(names, known, "each entry of the fixture has a case");
    for (precision, tolerance) in PRECISIONS {
        for (name, case) in CASES {
            let inputs = inputs(name, &fixture[*name], precision);
            let y = case(&inputs, precision).unwrap().to_nchw().unwrap();
            compare(name, &fixture[*name], &y, &inputs, precision, tolerance);
        }
    }
}

#[test]
fn layers_are_those_of_pytorch() {
    let fixture = fixture("layers.json");
    for (precision, tolerance) in PRECISIONS {
        for (name, weights, make) in LAYERS {
            let mut inputs = inputs(name, &fixture[*name], precision);
            let builder = Builder::zeros(precision, &device());
            let layer = make(&builder).unwrap();
            let parameters: BTreeMap<_, _> =
                builder.weights().parameters().map(|weight| (weight.name().to_owned(), weight.var().clone())).collect();
            assert_eq!(parameters.len(), weights.len(), "{name}");
            for (weight, input) in weights.iter().zip(&mut inputs[1..]) {
                parameters[*weight].set(&input.copy().unwrap().detach()).unwrap();
                *input = parameters[*weight].as_tensor().clone();
            }
            let y = layer(&inputs[0], ForwardMode::train()).unwrap();
            compare(name, &fixture[*name], &y, &inputs, precision, tolerance);
        }
    }
}

/// Variables of the numbers that the fixture was made with.
fn inputs(name: &str, expected: &Value, precision: Precision) -> Vec<Tensor> {
    let shapes = expected["shapes"].as_array().unwrap().iter().map(shape);
    let variables = shapes.enumerate().map(|(index, shape)| {
        let numbers = tensor(&format!("{name}.{index}"), &shape, 1.0).to_dtype(precision.dtype()).unwrap();
        Var::from_tensor(&numbers.to_device(&device()).unwrap()).unwrap().as_tensor().clone()
    });
    variables.collect()
}

/// That a weighted sum of `y`, and its gradients by the inputs, are those that are expected.
fn compare(name: &str, expected: &Value, y: &Tensor, inputs: &[Tensor], precision: Precision, tolerance: f64) {
    let weights = tensor(&format!("{name}.r"), y.dims(), 1.0);
    let weights = weights.to_dtype(precision.dtype()).unwrap().to_device(&device()).unwrap();
    let value = (y * weights).unwrap().sum_all().unwrap();
    let gradients = backward(&value).unwrap();
    assert_close(name, &read(&value), &[expected["value"].as_f64().unwrap()], tolerance);
    for (index, input) in inputs.iter().enumerate() {
        let gradient = read(gradients.get(input).unwrap());
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let direction = uniform(&format!("{name}.{index}.g"), gradient.len());
        let projection: f64 = gradient.iter().zip(direction).map(|(g, d)| g * d).sum();
        let what = format!("{name} in {precision:?}, gradient {index}");
        // Of the norm, which cancels out in the projection.
        let expected = numbers(&expected["gradients"][index]);
        assert_close(&what, &[norm], &expected[..1], tolerance);
        assert!((expected[1] - projection).abs() < tolerance * norm, "{what}: {projection}, not {}", expected[1]);
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

fn shape(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|extent| extent as usize).collect()
}

fn read(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(zskt_api::candle_core::DType::F64).unwrap().to_vec1().unwrap()
}
