//! Nearest-neighbour upsampling by an integer factor.

use crate::cpu::kernels::pooling;
use crate::cpu::simd::float::Float;
use crate::cpu::threads;
use crate::shape::MapShape;

/// `[batch, height · factor, width · factor, channels]`: every pixel of `x`, repeated in both directions.
pub fn forward<T: Float>(shape: &MapShape, factor: usize, x: &[T]) -> Vec<T> {
    assert_eq!(x.len(), shape.len(), "the map has the shape it should have");
    let row = shape.width * shape.channels;
    let group = row * factor * factor;
    let part = threads::task_len(group);
    threads::build(x.len() * factor * factor, part, |at, writer| {
        for row in x[at / (factor * factor)..].chunks_exact(row.max(1)).take(part / group) {
            for _ in 0..factor {
                for pixel in row.chunks_exact(shape.channels) {
                    for _ in 0..factor {
                        writer.extend(pixel.iter().copied());
                    }
                }
            }
        }
    })
}

/// The gradient with respect to `x`, from `dy` (`[batch, height · factor, width · factor, channels]`): the sum over
/// the copies.
pub fn backward<T: Float>(shape: &MapShape, factor: usize, dy: &[T]) -> Vec<T> {
    assert_eq!(dy.len(), shape.len() * factor * factor, "the gradient has the shape it should have");
    let large = MapShape { height: shape.height * factor, width: shape.width * factor, ..*shape };
    pooling::square_sums(&large, factor, dy, T::ONE)
}
