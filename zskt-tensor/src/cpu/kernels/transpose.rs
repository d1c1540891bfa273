//! The order of axes.

use crate::cpu::simd::float::Float;
use crate::cpu::threads;

/// Each of `count` matrices `[rows, columns]`, one after the other, as `[columns, rows]`.
pub fn transposed<T: Float>(matrices: &[T], count: usize, rows: usize, columns: usize) -> Vec<T> {
    assert_eq!(matrices.len(), count * rows * columns, "the matrices have the shape they should have");
    let matrix = rows * columns;
    let mut out = vec![T::ZERO; matrices.len()];
    threads::update(&mut out, threads::task_len(matrix), |at, out| {
        for (out, matrix) in out.chunks_exact_mut(matrix).zip(matrices[at..].chunks_exact(matrix)) {
            for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                for (row, out) in out.iter_mut().enumerate() {
                    *out = matrix[row * columns + column];
                }
            }
        }
    });
    out
}
