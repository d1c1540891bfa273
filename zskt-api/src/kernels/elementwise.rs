//! Sums of maps, and sums over their pixels.

use super::buffer;
use super::real::Real;

/// Element by element, `a + b`.
pub fn add<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    assert_eq!(a.len(), b.len(), "both have the same shape");
    buffer::build(a.len(), buffer::part(1), |at, writer| {
        writer.extend(a[at..].iter().zip(&b[at..]).map(|(&a, &b)| a + b));
    })
}

/// The sum over the rows of `x` (`[rows, columns]`), in double precision: `[columns]`.
pub fn column_sums<T: Real>(x: &[T], columns: usize) -> Vec<T> {
    let part = buffer::part(columns);
    let partials = buffer::map(x.len().div_ceil(part).max(1), |index| {
        let mut sums = vec![0.0; columns];
        for row in x[(index * part).min(x.len())..].chunks_exact(columns).take(part / columns.max(1)) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value.to_f64();
            }
        }
        sums
    });
    let sum = |column: usize| partials.iter().map(|sums| sums[column]).sum();
    (0..columns).map(|column| T::from_f64(sum(column))).collect()
}
