//! Attention maps: the mean over channels of the squared activation.

use super::MapShape;
use super::buffer;
use super::real::Real;

/// `[batch, height, width]`: the mean over the channels of `x²`.
pub fn forward<T: Real>(shape: &MapShape, x: &[T]) -> Vec<T> {
    assert_eq!(x.len(), shape.len(), "the map has the shape it should have");
    let channels = shape.channels;
    let scale = T::ONE / T::from_f64(channels as f64);
    let pixels = shape.batch * shape.height * shape.width;
    buffer::build(pixels, buffer::part(channels) / channels, |at, writer| {
        writer.extend(x[at * channels..].chunks_exact(channels).map(|pixel| square_sum(pixel) * scale));
    })
}

/// The gradient with respect to `x`, from `dy` (`[batch, height, width]`): `2 · x · dy / channels`.
pub fn backward<T: Real>(shape: &MapShape, x: &[T], dy: &[T]) -> Vec<T> {
    assert_eq!(x.len(), shape.len(), "the map has the shape it should have");
    assert_eq!(dy.len() * shape.channels, shape.len(), "one gradient per pixel");
    let channels = shape.channels;
    let scale = T::from_f64(2.0 / channels as f64);
    let part = buffer::part(channels);
    buffer::build(x.len(), part, |at, writer| {
        let gradients = dy[at / channels..].iter().take(part / channels);
        for (pixel, &gradient) in x[at..].chunks_exact(channels).zip(gradients) {
            let factor = gradient * scale;
            writer.extend(pixel.iter().map(|&value| value * factor));
        }
    })
}

/// The sum of squares, in eight interleaved sums for the compiler to put into vectors.
fn square_sum<T: Real>(values: &[T]) -> T {
    let mut sums = [T::ZERO; 8];
    let (eights, rest) = values.as_chunks::<8>();
    for eight in eights {
        for (sum, &value) in sums.iter_mut().zip(eight) {
            *sum += value * value;
        }
    }
    let rest = rest.iter().fold(T::ZERO, |sum, &value| sum + value * value);
    sums.into_iter().fold(rest, |sum, value| sum + value)
}
