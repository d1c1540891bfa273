//! The image that the kernels read: a copy with margins, or the input itself where no output needs any.

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::kernels::read::InputElement;
use crate::cpu::simd::dtype::Plain;
use crate::cpu::simd::instruction_set::InstructionSet;

/// A rectangle of pixels around (or inside) an image.
#[derive(Clone, Copy, Debug)]
pub struct PaddedInput {
    /// Rows and columns of the image.
    input: [usize; 2],
    channels: usize,
    /// Elements of a pixel of the padded input: its channels, perhaps zeros behind them.
    pixel: usize,
    /// Rows and columns of the padded input.
    size: [usize; 2],
    /// The coordinates of its corner in the image.
    corner: [isize; 2],
    /// Between the pixels of the image that are neighbours in the padded input.
    step: usize,
    /// Whether it is the image itself, not a copy.
    pub direct: bool,
}

impl PaddedInput {
    /// A copy of the coordinates `low..high` of either axis, of which the image has `0..input`, with `pixel` elements for
    /// each pixel.
    pub fn copied(input: [usize; 2], channels: usize, pixel: usize, spans: [[isize; 2]; 2]) -> Self {
        let size = spans.map(|[low, high]| (high - low) as usize);
        Self { input, channels, pixel, size, corner: spans.map(|[low, _]| low), step: 1, direct: false }
    }

    /// A copy of every `step`-th pixel, from `first` on, `size` of them; all lie in the image.
    pub fn sampled(input: [usize; 2], channels: usize, pixel: usize, first: [usize; 2], step: usize) -> Self {
        let size = [0, 1].map(|axis| (input[axis] - first[axis]).div_ceil(step));
        Self { input, channels, pixel, size, corner: first.map(|first| first as isize), step, direct: false }
    }

    /// The same padded input for an image of another size.
    #[must_use]
    pub fn of(self, input: [usize; 2]) -> Self {
        Self { input, ..self }
    }

    /// The image itself instead, where it is `available` and has all pixels, which are as in the padded input.
    #[must_use]
    pub fn or_direct(self, available: bool) -> Self {
        let inside = (0..2).all(|axis| {
            self.corner[axis] >= 0 && self.corner[axis] as usize + self.size[axis] <= self.input[axis] && self.step == 1
        });
        if available && inside && self.pixel == self.channels {
            return Self { direct: true, ..self };
        }
        self
    }

    /// Memory for the copy, and `behind` it: zeros, of which the margins will stay so. (Where [`of`](Self::of) makes an image
    /// smaller, others of its pixels are left behind it: only where pixels are independent, and theirs are dropped.)
    pub fn copy<C: Plain>(&self, behind: usize) -> Buffer<C> {
        let mut copy = Buffer::new(if self.direct { 0 } else { self.size[0] * self.pitch() } + behind);
        copy.fill(C::default());
        copy
    }

    /// Elements of a pixel.
    pub fn pixel(&self) -> usize {
        self.pixel
    }

    /// Pixels in a row.
    pub fn columns(&self) -> usize {
        self.size[1]
    }

    /// Elements between one row and the next.
    pub fn pitch(&self) -> usize {
        self.pixel * if self.direct { self.input[1] } else { self.size[1] }
    }

    /// The place of an image coordinate of an axis in the padded input.
    pub fn place(&self, axis: usize, coordinate: isize) -> usize {
        (coordinate - self.corner[axis]) as usize
    }

    /// Where the kernels read: the copy, or its corner in the image that begins at `first` in the source.
    pub fn pixels<T: KernelTable, C: Plain>(&self, source: &InputView<T>, first: usize, scratch: &[C]) -> *const C {
        match source.direct::<C>() {
            Some(image) if self.direct => {
                let [row, column] = self.corner.map(|corner| corner as usize);
                image[first + (row * self.input[1] + column) * self.pixel..].as_ptr()
            }
            _ => scratch.as_ptr(),
        }
    }

    /// Fills the rows of the [`copy`](Self::copy) up to `need`, of the image that begins at element `first` of the source; `filled` rows
    /// are there already.
    pub fn fill<T: KernelTable, C: InputElement<T>>(
        &self,
        set: InstructionSet,
        source: &InputView<T>,
        first: usize,
        scratch: &mut [C],
        filled: &mut usize,
        need: usize,
    ) {
        let need = need.min(self.size[0]);
        if self.direct || *filled >= need {
            return;
        }
        let [rows, columns] = self.input;
        let pitch = self.pitch();
        let left = (-self.corner[1]).max(0) as usize;
        let skip = self.corner[1].max(0) as usize;
        let left = left.min(self.size[1]);
        let copied = columns.saturating_sub(skip).div_ceil(self.step).min(self.size[1] - left);
        for (row, padded) in scratch[..need * pitch].chunks_exact_mut(pitch).enumerate().skip(*filled) {
            let from = (row * self.step) as isize + self.corner[0];
            if from < 0 || from as usize >= rows {
                continue;
            }
            let at = first + (from as usize * columns + skip) * self.channels;
            let middle = &mut padded[left * self.pixel..(left + copied) * self.pixel];
            if self.step == 1 && self.pixel == self.channels {
                source.write(set, at, middle);
            } else if self.step == 1 {
                // Densely at the end, then spread from the beginning: no pixel reaches one that is still to be moved.
                let dense = middle.len() - copied * self.channels;
                source.write(set, at, &mut middle[dense..]);
                for column in 0..copied {
                    let (from, to) = (dense + column * self.channels, column * self.pixel);
                    middle.copy_within(from..from + self.channels, to);
                    middle[to + self.channels..to + self.pixel].fill(C::default());
                }
            } else {
                for (column, pixel) in middle.chunks_exact_mut(self.pixel).enumerate() {
                    source.write(set, at + column * self.step * self.channels, &mut pixel[..self.channels]);
                }
            }
        }
        *filled = need;
    }
}
