//! The last rows that were read of an image, with margins of zeros: all that kernels need that go down an image row by row.

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::instruction_set::InstructionSet;

/// Rows of an image in a ring.
pub struct RowRing<T> {
    /// Rows and columns of the image.
    image: [usize; 2],
    channels: usize,
    /// Pixels before and after those of the image.
    margins: [usize; 2],
    /// Rows that are there at once.
    rows: usize,
    /// The rows, then one of zeros, then what vectors read behind the last pixel.
    pixels: Buffer<T>,
    /// Where the image begins in the source.
    first: usize,
    /// The next row to be read.
    next: usize,
}

impl<T: KernelTable> RowRing<T> {
    /// Room for so many rows at once, with columns from `left` to `right`.
    pub fn new(image: [usize; 2], channels: usize, rows: usize, [left, right]: [isize; 2], behind: usize) -> Self {
        let margins = [(-left).max(0) as usize, (right - image[1] as isize).max(0) as usize];
        let pitch = (margins[0] + image[1] + margins[1]) * channels;
        let mut pixels = Buffer::new((rows + 1) * pitch + behind);
        pixels.fill(T::ZERO);
        Self { image, channels, margins, rows, pixels, first: 0, next: 0 }
    }

    /// Begins with the image at element `first` of the source, from a row on.
    pub fn begin(&mut self, first: usize, row: isize) {
        (self.first, self.next) = (first, row.max(0) as usize);
    }

    /// Reads the rows before `end` that are not there yet.
    pub fn read(&mut self, set: InstructionSet, source: &InputView<T>, end: isize) {
        let (pitch, columns) = (self.pitch(), self.image[1] * self.channels);
        while self.next < self.image[0] && (self.next as isize) < end {
            let at = self.next % self.rows * pitch + self.margins[0] * self.channels;
            source.write(set, self.first + self.next * columns, &mut self.pixels[at..at + columns]);
            self.next += 1;
        }
    }

    /// The pixel of a row and a column, of zeros outside of the image; of the last rows that were read.
    pub fn pixel(&self, row: isize, column: isize) -> *const T {
        let slot = if row < 0 || row as usize >= self.image[0] {
            self.rows
        } else {
            debug_assert!((row as usize) < self.next && row as usize + self.rows >= self.next, "the row is there");
            row as usize % self.rows
        };
        let column = (column + self.margins[0] as isize) as usize;
        self.pixels[slot * self.pitch() + column * self.channels..].as_ptr()
    }

    fn pitch(&self) -> usize {
        (self.margins[0] + self.image[1] + self.margins[1]) * self.channels
    }
}
