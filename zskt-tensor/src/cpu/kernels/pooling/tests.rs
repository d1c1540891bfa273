use crate::cpu::kernels::pooling::*;
use crate::cpu::kernels::upsample;
use crate::cpu::simd::dtype::MapSlice;
use crate::pool_windows::{Pool, PoolWindows};

/// A map of five rows and seven columns, so that tiles of two and three leave some over.
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

/// A pooling of numbers in memory.
fn pool<T: KernelTable>(pooling: Pooling, g: &PoolGeometry, x: &[T]) -> Vec<T> {
    let mut out = vec![T::ZERO; g.output().len()];
    forward(pooling, g, &InputView::Plain(MapSlice::Full(x)), MapSliceMut::Full(&mut out));
    out
}

fn gradient(pooling: Pooling, g: &PoolGeometry, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; x.len()];
    let [x, dy] = [x, dy].map(|map| InputView::Plain(MapSlice::Full(map)));
    backward(pooling, g, &x, &dy, &Epilogue::STORE, MapSliceMut::Full(&mut dx));
    dx
}

fn geometry(shape: &MapShape, pool: Pool) -> PoolGeometry {
    PoolGeometry::of(shape, &pool.into()).unwrap()
}

#[test]
fn gradients_are_the_derivatives() {
    let padded = PoolWindows { size: [3, 2], stride: [2, 1], padding: [[1, 0], [0, 1]], count_padding: false };
    let geometries = [
        geometry(&SHAPE, Pool::squares(2)),
        geometry(&SHAPE, Pool::squares(3)),
        geometry(&SHAPE, Pool { size: 3, stride: 2, padding: 1 }),
        PoolGeometry::of(&SHAPE, &padded).unwrap(),
        PoolGeometry::adaptive(&SHAPE, [3, 2]).unwrap(),
        PoolGeometry::adaptive(&SHAPE, [7, 7]).unwrap(),
    ];
    // Some channels in vectors, some by themselves.
    let wide = geometries.map(|g| PoolGeometry { channels: 19, ..g });
    for g in geometries.into_iter().chain(wide) {
        for pooling in [Pooling::Largest, Pooling::Mean] {
            let name = format!("{pooling:?} {g:?}");
            transposed(&name, g.input().len(), |x| pool(pooling, &g, x), |x, dy| gradient(pooling, &g, x, dy));
        }
    }
    for factor in [2, 3] {
        transposed(
            "nearest",
            SHAPE.len(),
            |x| upsample::forward(&SHAPE, factor, x),
            |_, dy| upsample::backward(&SHAPE, factor, dy),
        );
    }
}

#[test]
fn values_are_where_they_should_be() {
    let shape = MapShape { batch: 1, height: 2, width: 4, channels: 2 };
    let x: Vec<f32> = (0..16).map(|index| index as f32).collect();
    let squares = geometry(&shape, Pool::squares(2));
    assert_eq!(pool(Pooling::Largest, &squares, &x), [10.0, 11.0, 14.0, 15.0]);
    assert_eq!(pool(Pooling::Mean, &squares, &x), [5.0, 6.0, 9.0, 10.0]);
    let pixel = MapShape { batch: 1, height: 1, width: 2, channels: 1 };
    assert_eq!(upsample::forward(&pixel, 2, &[1.0, 2.0]), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    // Padding is smaller than any number, and counts for a mean, or not.
    let (line, windows) =
        (MapShape { batch: 1, height: 1, width: 3, channels: 1 }, Pool { size: 3, stride: 2, padding: 1 });
    let (x, counting) = ([-3.0, -6.0, -12.0], PoolWindows::from(windows));
    assert_eq!(pool(Pooling::Largest, &geometry(&line, windows), &x), [-3.0, -6.0]);
    assert_eq!(pool(Pooling::Mean, &PoolGeometry::of(&line, &counting).unwrap(), &x), [-1.0, -2.0]);
    let real = PoolWindows { count_padding: false, ..counting };
    assert_eq!(pool(Pooling::Mean, &PoolGeometry::of(&line, &real).unwrap(), &x), [-4.5, -9.0]);
    assert_eq!(pool(Pooling::Mean, &PoolGeometry::adaptive(&line, [1, 2]).unwrap(), &x), [-4.5, -9.0]);
}

/// Ties go to the first pixel, and a NaN is not lost.
#[test]
fn maxima_of_ties_and_of_nothing() {
    let shape = MapShape { batch: 1, height: 2, width: 2, channels: 1 };
    let square = geometry(&shape, Pool::squares(2));
    assert_eq!(gradient(Pooling::Largest, &square, &[1.0, 3.0, 3.0, 3.0], &[7.0]), [0.0, 7.0, 0.0, 0.0]);
    assert!(pool(Pooling::Largest, &square, &[1.0, f32::NAN, 3.0, 2.0])[0].is_nan());
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let of = |size, stride, padding| PoolGeometry::of(&SHAPE, &Pool { size, stride, padding }.into());
    let refused = [(6, 1, 0), (0, 1, 0), (2, 0, 0), (2, 1, 2), (usize::MAX, 1, 0), (usize::MAX, 1, usize::MAX - 1)];
    assert!(refused.into_iter().all(|(size, stride, padding)| of(size, stride, padding).is_none()));
    assert_eq!(of(5, usize::MAX, 0).unwrap().output(), MapShape { height: 1, width: 1, ..SHAPE });
    assert!([[0, 1], [1 << 60, 1]].into_iter().all(|output| PoolGeometry::adaptive(&SHAPE, output).is_none()));
}
