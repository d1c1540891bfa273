//! What tests against PyTorch share: the numbers of the fixtures.
//!
//! Of networks a fixture holds no weights. Both sides, `fixtures/make_fixtures.py` and this crate, make the same ones from names:
//! element i of a tensor is uniform in ±1 from a hash of the tensor's name and i. What a fixture holds of a trained
//! tensor is its L2 norm and its projection on the uniform numbers of its name, which any wrong element changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{Gradients, Weights};

/// Numbers uniform in ±1 that belong to a name.
pub fn uniform(name: &str, count: usize) -> Vec<f64> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let number = |index: u64| {
        // splitmix64
        let mut x = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..count as u64).map(number).collect()
}

pub use zskt_api::tensor::test_device as device;

/// A tensor of the uniform numbers of a name.
pub fn tensor(name: &str, shape: &[usize], scale: f64) -> Tensor {
    let values = uniform(name, shape.iter().product()).into_iter().map(|x| x * scale).collect::<Vec<_>>();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the shape fits the count")
}

/// Gives a network the weights of its name.
pub fn fill(weights: &Weights, network: &str) {
    let named = weights.iter().filter(|weight| !weight.name().ends_with("num_batches_tracked"));
    let tensors: BTreeMap<_, _> = named
        .map(|weight| (weight.name().to_owned(), weight_of(network, weight.name(), weight.var().dims())))
        .collect();
    weights.load(&tensors).expect("the names and shapes are the network's own");
}

/// What a weight of a network's is: gamma and variances near 1, everything else uniform with the variance that keeps
/// activations in range.
pub fn weight_of(network: &str, name: &str, shape: &[usize]) -> Tensor {
    let (full, fan_in) = (format!("{network}.{name}"), shape.iter().skip(1).product::<usize>());
    if shape.len() == 1 && (name.ends_with("weight") || name.ends_with("running_var")) {
        (tensor(&full, shape, 0.2) + 1.0).expect("addition")
    } else if name.contains("bn") || name.ends_with("running_mean") {
        tensor(&full, shape, 0.1)
    } else if shape.len() == 1 {
        tensor(&full, shape, 0.05)
    } else {
        tensor(&full, shape, (6.0 / fan_in as f64).sqrt())
    }
}

/// The fixture of this name.
pub fn fixture(name: &str) -> Value {
    // Elsewhere where the tests are carried to another machine.
    let folder = std::env::var_os("ZSKT_TEST_FIXTURES").map(PathBuf::from);
    let path = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a fixture is JSON")
}

/// The numbers in a value, in their order: of a number, or of lists in lists.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => value.as_f64().into_iter().collect(),
    }
}

/// The shape of lists in lists.
pub fn shape(value: &Value) -> Vec<usize> {
    let Value::Array(values) = value else { return Vec::new() };
    std::iter::once(values.len()).chain(values.first().into_iter().flat_map(shape)).collect()
}

/// The largest relative error of `found`, measured against the expected numbers' scale where they are small.
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|x| x.abs()).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    largest(found.iter().zip(expected).map(|(f, e)| (f - e).abs() / e.abs().max(1e-3 * scale)))
}

/// NaN if any is: `f64::max` would pass it over.
fn largest(errors: impl Iterator<Item = f64>) -> f64 {
    errors.fold(0.0, |largest, error| if error > largest || error.is_nan() { error } else { largest })
}

/// Asserts that numbers are those expected, up to a share of the largest.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().map(|x| x.abs()).fold(f64::MIN_POSITIVE, f64::max);
    let error = largest(found.iter().zip(expected).map(|(f, e)| (f - e).abs())) / scale;
    assert!(error <= tolerance, "{what} is off by {error:.1e}: found {found:?}, expected {expected:?}");
}

/// Asserts that every weight has the norm and the projection that the fixture says.
pub fn assert_weights(weights: &Weights, network: &str, expected: &Value, tolerance: f64) {
    assert_digests(weights.iter().map(|weight| (weight.name(), weight.value())), network, expected, tolerance, 1e-12);
}

/// Asserts that every gradient has the norm and the projection that the fixture says. Those of biases before a batch norm are
/// rounding errors of zero.
pub fn assert_gradients(gradients: &Gradients, network: &str, expected: &Value, tolerance: f64) {
    let largest =
        expected.as_object().expect("gradients").values().map(|digest| numbers(digest)[0]).fold(0.0, f64::max);
    let gradients = gradients.iter().map(|(weight, gradient)| (weight.name(), gradient.clone()));
    assert_digests(gradients, network, expected, tolerance, 1e-4 * largest);
}

fn assert_digests<'a>(
    tensors: impl Iterator<Item = (&'a str, Tensor)>,
    network: &str,
    expected: &Value,
    tolerance: f64,
    smallest: f64,
) {
    let mut errors = Vec::new();
    for (name, tensor) in tensors {
        let name = format!("{network}.{name}");
        let expected = numbers(&expected[&name]);
        let values: Vec<f64> =
            tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)?.to_vec1()).expect("the tensor's values");
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let projection: f64 = values.iter().zip(uniform(&name, values.len())).map(|(x, u)| x * u).sum();
        // The projection of independent numbers is of the order of the norm.
        let scale = expected[0].max(smallest);
        let error =
            largest([norm - expected[0], projection - expected[1]].map(|error| (error / scale).abs()).into_iter());
        errors.push((name, error));
    }
    let wrong: Vec<_> = errors.iter().filter(|(_, error)| error.is_nan() || *error > tolerance).collect();
    assert!(wrong.is_empty(), "off by more than {tolerance:.0e}: {wrong:?}");
}
