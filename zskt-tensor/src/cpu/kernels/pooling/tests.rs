use crate::cpu::kernels::pooling::*;
use crate::cpu::kernels::upsample;

/// A map of five rows and seven columns, so that squares of two and three leave some over.
const SHAPE: MapShape = MapShape { batch: 2, height: 5, width: 7, channels: 3 };

fn numbers(len: usize, seed: usize) -> Vec<f64> {
    (0..len).map(|index| (((index + seed) * 7919) % 1009) as f64 / 500.0 - 1.0).collect()
}

/// That `backward` is the transposed derivative of `forward`: `dy · (forward(x + t·v) − forward(x − t·v)) / 2t = dx · v`.
fn transposed(
    name: &str,
    len: usize,
    forward: impl Fn(&[f64]) -> Vec<f64>,
    backward: impl Fn(&[f64], &[f64]) -> Vec<f64>,
) {
    let (x, direction) = (numbers(len, 3), numbers(len, 401));
    let moved = |t: f64| forward(&x.iter().zip(&direction).map(|(x, v)| x + t * v).collect::<Vec<f64>>());
    let (low, high) = (moved(-1e-6), moved(1e-6));
    let dy = numbers(low.len(), 77);
    let forwards: f64 = low.iter().zip(&high).zip(&dy).map(|((low, high), dy)| (high - low) / 2e-6 * dy).sum();
    let backwards: f64 = backward(&x, &dy).iter().zip(&direction).map(|(dx, v)| dx * v).sum();
    assert!((forwards - backwards).abs() < 1e-6, "{name}: {forwards} {backwards}");
}

#[test]
fn gradients_are_the_derivatives() {
    for kernel in [2, 3] {
        transposed(
            "max",
            SHAPE.len(),
            |x| max_pool2d(&SHAPE, kernel, x).0,
            |x, dy| max_pool2d_backward(&SHAPE, kernel, dy, &max_pool2d(&SHAPE, kernel, x).1),
        );
        transposed(
            "average",
            SHAPE.len(),
            |x| avg_pool2d(&SHAPE, kernel, x),
            |_, dy| avg_pool2d_backward(&SHAPE, kernel, dy),
        );
        transposed(
            "nearest",
            SHAPE.len(),
            |x| upsample::forward(&SHAPE, kernel, x),
            |_, dy| upsample::backward(&SHAPE, kernel, dy),
        );
    }
}

#[test]
fn values_are_where_they_should_be() {
    let shape = MapShape { batch: 1, height: 2, width: 4, channels: 2 };
    let x: Vec<f32> = (0..16).map(|index| index as f32).collect();
    assert_eq!(max_pool2d(&shape, 2, &x), (vec![10.0, 11.0, 14.0, 15.0], vec![5, 5, 7, 7]));
    assert_eq!(avg_pool2d(&shape, 2, &x), [5.0, 6.0, 9.0, 10.0]);
    let pixel = MapShape { batch: 1, height: 1, width: 2, channels: 1 };
    assert_eq!(upsample::forward(&pixel, 2, &[1.0, 2.0]), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
}

/// Ties go to the first pixel, and a NaN is not lost.
#[test]
fn maxima_of_ties_and_of_nothing() {
    let shape = MapShape { batch: 1, height: 2, width: 2, channels: 1 };
    assert_eq!(max_pool2d(&shape, 2, &[1.0, 3.0, 3.0, 3.0]).1, [1]);
    assert!(max_pool2d(&shape, 2, &[1.0, f32::NAN, 3.0, 2.0]).0[0].is_nan());
}
