//! Pooling over squares that do not overlap.
//!
//! Rows and columns that do not fill a square are dropped, and get no gradient.

use crate::cpu::simd::float::Float;
use crate::cpu::threads;
use crate::shape::MapShape;

/// The shape after pooling by squares of `kernel` pixels.
pub fn pooled(shape: &MapShape, kernel: usize) -> MapShape {
    MapShape { height: shape.height / kernel, width: shape.width / kernel, ..*shape }
}

/// The largest element of every square (`[batch, height / kernel, width / kernel, channels]`), and the index of its
/// pixel in the image, `row · width + column`: the first one if there are several, and a NaN if there is one.
pub fn max_pool2d<T: Float>(shape: &MapShape, kernel: usize, x: &[T]) -> (Vec<T>, Vec<u32>) {
    assert_eq!(x.len(), shape.len(), "the map has the shape it should have");
    let out = pooled(shape, kernel);
    // One pass for the indices, one that picks the elements: the second is short and keeps both loops simple.
    let indices = threads::build(out.len(), out.image_len(), |at, writer| {
        let image = &x[at / out.image_len().max(1) * shape.image_len()..];
        squares(&out, |row, column| {
            writer.extend((0..shape.channels).map(|channel| {
                let first = row * kernel * shape.width + column * kernel;
                let mut best = first;
                for y in 0..kernel {
                    for pixel in first + y * shape.width..first + y * shape.width + kernel {
                        let [value, most] = [pixel, best].map(|pixel| image[pixel * shape.channels + channel]);
                        #[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
                        if value > most || value != value {
                            best = pixel;
                        }
                    }
                }
                best as u32
            }));
        });
    });
    let largest = threads::build(out.len(), out.image_len(), |at, writer| {
        let image = &x[at / out.image_len().max(1) * shape.image_len()..];
        for pixel in indices[at..].chunks_exact(shape.channels).take(out.height * out.width) {
            let value = |(channel, &index): (usize, &u32)| image[index as usize * shape.channels + channel];
            writer.extend(pixel.iter().enumerate().map(value));
        }
    });
    (largest, indices)
}

/// The gradient with respect to the input of [`max_pool2d`], from `dy` and the indices it returned.
pub fn max_pool2d_backward<T: Float>(shape: &MapShape, kernel: usize, dy: &[T], indices: &[u32]) -> Vec<T> {
    let out = pooled(shape, kernel);
    assert_eq!(dy.len(), out.len(), "the gradient has the shape it should have");
    assert_eq!(indices.len(), out.len(), "one index per gradient");
    let mut dx = vec![T::ZERO; shape.len()];
    threads::update(&mut dx, shape.image_len().max(1), |at, dx| {
        let from = at / shape.image_len().max(1) * out.image_len();
        for (position, (&gradient, &index)) in dy[from..].iter().zip(&indices[from..]).take(out.image_len()).enumerate()
        {
            dx[index as usize * shape.channels + position % shape.channels] = gradient;
        }
    });
    dx
}

/// The mean of every square, `[batch, height / kernel, width / kernel, channels]`.
pub fn avg_pool2d<T: Float>(shape: &MapShape, kernel: usize, x: &[T]) -> Vec<T> {
    assert_eq!(x.len(), shape.len(), "the map has the shape it should have");
    square_sums(shape, kernel, x, T::ONE / T::from_f64((kernel * kernel) as f64))
}

/// The sum of every square, times `scale`.
pub fn square_sums<T: Float>(shape: &MapShape, kernel: usize, x: &[T], scale: T) -> Vec<T> {
    let out = pooled(shape, kernel);
    let (channels, row) = (shape.channels, shape.width * shape.channels);
    threads::build(out.len(), out.image_len(), |at, writer| {
        let image = &x[at / out.image_len().max(1) * shape.image_len()..];
        let mut sums = vec![T::ZERO; channels];
        squares(&out, |y, x| {
            let square = &image[y * kernel * row + x * kernel * channels..];
            if kernel == 2 {
                // The usual case, with nothing between loads and store.
                let (top, bottom) = (square[..2 * channels].split_at(channels), square[row..].split_at(channels));
                let pixels = top.0.iter().zip(top.1).zip(bottom.0.iter().zip(bottom.1));
                writer.extend(pixels.map(|((&a, &b), (&c, &d))| ((a + b) + (c + d)) * scale));
                return;
            }
            sums.fill(T::ZERO);
            for line in 0..kernel {
                for pixel in square[line * row..][..kernel * channels].chunks_exact(channels) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += value;
                    }
                }
            }
            writer.extend(sums.iter().map(|&sum| sum * scale));
        });
    })
}

/// The gradient with respect to the input of [`avg_pool2d`], from `dy`.
pub fn avg_pool2d_backward<T: Float>(shape: &MapShape, kernel: usize, dy: &[T]) -> Vec<T> {
    let out = pooled(shape, kernel);
    assert_eq!(dy.len(), out.len(), "the gradient has the shape it should have");
    let scale = T::ONE / T::from_f64((kernel * kernel) as f64);
    let channels = shape.channels;
    threads::build(shape.len(), shape.image_len(), |at, writer| {
        let image = &dy[at / shape.image_len().max(1) * out.image_len()..];
        for row in 0..shape.height {
            for column in 0..shape.width {
                let (y, x) = (row / kernel, column / kernel);
                if y < out.height && x < out.width {
                    let pixel = &image[(y * out.width + x) * channels..][..channels];
                    writer.extend(pixel.iter().map(|&gradient| gradient * scale));
                } else {
                    writer.fill(T::ZERO, channels);
                }
            }
        }
    })
}

/// Calls `square` with the row and column of every square.
fn squares(out: &MapShape, mut square: impl FnMut(usize, usize)) {
    for row in 0..out.height {
        for column in 0..out.width {
            square(row, column);
        }
    }
}

#[cfg(test)]
mod tests;
