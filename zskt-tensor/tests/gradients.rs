//! Every operation's gradient against finite differences, in f64.

use zskt_tensor::candle_core::{self, DType, Device, Tensor, Var};
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

#[test]
fn convolution() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 2, 0), (5, 1, 0), (2, 3, 2)] {
        let name = format!("conv2d {kernel} {stride} {padding}");
        let shapes: [&[usize]; 3] = [&[2, 7, 6, 3], &[4, 3, kernel, kernel], &[4]];
        check(&name, &shapes[..2], |x| {
            ops::conv2d(&map(&x[0]), &x[1], None, stride, padding, Precision::F64)?.channels_last()
        });
        check(&format!("{name} with bias"), &shapes, |x| {
            ops::conv2d(&map(&x[0]), &x[1], Some(&x[2]), stride, padding, Precision::F64)?.channels_last()
        });
    }
}

#[test]
fn linear() {
    check("linear", &[&[3, 5], &[4, 5], &[4]], |x| ops::linear(&x[0], &x[1], &x[2]));
}

#[test]
fn batch_norm_through_the_batchs_statistics() {
    for slope in [0.0, 0.2, 1.0] {
        check(&format!("batch norm {slope}"), &[&[3, 4, 5, 6], &[6], &[6]], |x| {
            let maps = map(&x[0]);
            let statistics = ops::batch_moments(&maps)?;
            ops::batch_norm(&maps, &x[1], &x[2], &statistics, 1e-5, slope)?.channels_last()
        });
    }
}

#[test]
fn batch_norm_by_running_statistics() {
    check("frozen batch norm", &[&[2, 3, 4, 5], &[5], &[5]], |x| {
        let tensor = |values: Vec<f64>| Tensor::new(values, &Device::Cpu);
        let (mean, variance) = (vec![0.1, -0.2, 0.3, 0.0, 1.0], vec![0.5, 1.0, 2.0, 0.1, 1.5]);
        let statistics = ops::BatchNormStatistics { mean: tensor(mean)?, variance: tensor(variance)?, of_batch: false };
        ops::batch_norm(&map(&x[0]), &x[1], &x[2], &statistics, 1e-5, 0.2)?.channels_last()
    });
}

#[test]
fn pooling_and_upsampling() {
    let shape: &[&[usize]] = &[&[2, 5, 4, 3]];
    check("max pool", shape, |x| ops::max_pool(&map(&x[0]), 2)?.channels_last());
    check("average pool", shape, |x| ops::average_pool(&map(&x[0]), 2)?.channels_last());
    check("global average", shape, |x| ops::global_average(&map(&x[0])));
    check("upsample", shape, |x| ops::upsample_nearest(&map(&x[0]), 3)?.channels_last());
}

#[test]
fn activation_and_sum() {
    check("activate", &[&[2, 3, 4, 5]], |x| ops::activate(&map(&x[0]), 0.2)?.channels_last());
    check("add", &[&[2, 3, 4, 5], &[2, 3, 4, 5]], |x| (&map(&x[0]) + &map(&x[1]))?.channels_last());
}

/// Networks whose operations become part of each other: every gradient that is gathered, added up or put off is right.
#[test]
fn operations_that_are_fused() {
    fn norm(x: &FeatureMap, gamma: &Tensor, slope: f64) -> Result<FeatureMap> {
        ops::batch_norm(x, gamma, &(gamma * 0.3)?, &ops::batch_moments(x)?, 1e-5, slope)
    }
    fn conv(x: &FeatureMap, weight: &Tensor, stride: usize, padding: usize) -> Result<FeatureMap> {
        ops::conv2d(x, weight, None, stride, padding, Precision::F64)
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
        let image = norm(&ops::conv2d(&small, &x[2], Some(&x[3]), 1, 1, Precision::F64)?, &x[4], 1.0)?;
        let (once, twice) = (conv(&image, &x[5], 1, 1)?, conv(&image, &(&x[5] * 0.5)?, 1, 0)?);
        Ok((ops::global_average(&once)? + ops::global_average(&twice)?)?)
    });
    // A normalized map that is added and pooled, not convolved.
    check("normalization that others read", &[&[2, 4, 4, 3], &[3]], |x| {
        let normalized = norm(&map(&x[0]), &x[1], 0.1)?;
        let sum = (&normalized + &map(&x[0]))?;
        (&ops::max_pool(&sum, 2)? + &ops::average_pool(&ops::activate(&normalized, 0.3)?, 2)?)?.to_nchw()
    });
}

#[test]
fn attention_maps_and_log_probabilities() {
    check("attention map", &[&[2, 3, 4, 5]], |x| ops::attention_map(&map(&x[0])));
    check("attention distance", &[&[2, 3, 4, 5], &[2, 12]], |x| ops::attention_distance(&map(&x[0]), &x[1]));
    check("log softmax", &[&[4, 6]], |x| ops::log_softmax(&x[0]));
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
    Ok(ops::conv2d(&ones, weight, bias, 1, 0, Precision::F64)?.to_nchw()?.sum_all()?)
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
    let y = ops::conv2d(&x, weight.as_tensor(), None, 1, 0, Precision::F64).unwrap();
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
