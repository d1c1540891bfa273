//! The image that the kernels read: a copy with margins, or the input itself where no output needs any.

use super::real::Real;

/// A rectangle of pixels around (or inside) an image.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    /// Rows and columns of the image.
    input: [usize; 2],
    channels: usize,
    /// Rows and columns of the canvas.
    size: [usize; 2],
    /// The coordinates of its corner in the image.
    corner: [isize; 2],
    /// Whether it is the image itself, not a copy.
    pub direct: bool,
}

impl Canvas {
    /// A canvas with the coordinates `low..high` of either axis, of which the image has `0..input`.
    pub fn new(input: [usize; 2], channels: usize, spans: [[isize; 2]; 2]) -> Self {
        let inside = |(&[low, high], input): (&[isize; 2], usize)| low >= 0 && high <= input as isize;
        if spans.iter().zip(input).all(inside) {
            return Self { input, channels, size: input, corner: [0, 0], direct: true };
        }
        Self::copied(input, channels, spans)
    }

    /// The same, as a copy even where the image itself would do.
    pub fn copied(input: [usize; 2], channels: usize, spans: [[isize; 2]; 2]) -> Self {
        let size = spans.map(|[low, high]| (high - low) as usize);
        Self { input, channels, size, corner: spans.map(|[low, _]| low), direct: false }
    }

    /// Elements of the copy.
    pub fn scratch(&self) -> usize {
        if self.direct { 0 } else { self.size[0] * self.pitch() }
    }

    /// Elements between one row and the next.
    pub fn pitch(&self) -> usize {
        self.size[1] * self.channels
    }

    /// The place of an image coordinate of an axis on the canvas.
    pub fn place(&self, axis: usize, coordinate: isize) -> usize {
        (coordinate - self.corner[axis]) as usize
    }

    /// Where the kernels read.
    pub fn pixels<T>(&self, image: &[T], scratch: &[T]) -> *const T {
        if self.direct { image.as_ptr() } else { scratch.as_ptr() }
    }

    /// Makes sure that the rows before `need` are there; `filled` are already.
    ///
    /// Rows are copied just ahead of their use, to be still in the cache then.
    pub fn fill<T: Real>(&self, image: &[T], scratch: &mut [T], filled: &mut usize, need: usize) {
        if self.direct || need <= *filled {
            return;
        }
        let [rows, columns] = self.input;
        let pitch = self.pitch();
        let left = (-self.corner[1]).max(0) as usize;
        let skip = self.corner[1].max(0) as usize;
        let left = left.min(self.size[1]);
        let copied = columns.saturating_sub(skip).min(self.size[1] - left);
        for (row, canvas) in scratch[..need * pitch].chunks_exact_mut(pitch).enumerate().skip(*filled) {
            let from = row as isize + self.corner[0];
            if from < 0 || from as usize >= rows {
                canvas.fill(T::ZERO);
                continue;
            }
            let source = (from as usize * columns + skip) * self.channels;
            let (margin, rest) = canvas.split_at_mut(left * self.channels);
            let (middle, right) = rest.split_at_mut(copied * self.channels);
            margin.fill(T::ZERO);
            middle.copy_from_slice(&image[source..source + copied * self.channels]);
            right.fill(T::ZERO);
        }
        *filled = need;
    }
}
