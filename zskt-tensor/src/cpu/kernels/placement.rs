//! A map's place within a larger one.

use crate::cpu::simd::float::Float;
use crate::cpu::threads;
use crate::shape::MapShape;

/// Where a map lies in a larger one of as many images.
#[derive(Clone, Copy)]
pub struct Placement {
    /// The shape of the map.
    pub part: MapShape,
    /// The shape of the larger one.
    pub whole: MapShape,
    /// The row, the column and the channel where the map begins.
    pub at: [usize; 3],
}

impl Placement {
    /// Where the larger map has the channels of a pixel of an image.
    fn pixel(&self, row: usize, column: usize) -> usize {
        let [first_row, first_column, channel] = self.at;
        ((first_row + row) * self.whole.width + first_column + column) * self.whole.channels + channel
    }

    /// The pixels of an image of the map, in order, as the larger map's image has them.
    fn pixels(&self) -> impl Iterator<Item = usize> {
        (0..self.part.height).flat_map(move |row| (0..self.part.width).map(move |column| self.pixel(row, column)))
    }

    /// Writes the map to its place.
    pub fn put<T: Float>(&self, part: &[T], whole: &mut [T]) {
        assert!(part.len() == self.part.len() && whole.len() == self.whole.len(), "the maps have their shapes");
        let len = self.whole.image_len();
        if part.is_empty() {
            return;
        }
        threads::update(whole, len.max(1), |at, whole| {
            let part = &part[at / len * self.part.image_len()..];
            for (place, pixel) in self.pixels().zip(part.chunks_exact(self.part.channels)) {
                whole[place..place + pixel.len()].copy_from_slice(pixel);
            }
        });
    }

    /// What is at the place of the map.
    pub fn take<T: Float>(&self, whole: &[T]) -> Vec<T> {
        assert_eq!(whole.len(), self.whole.len(), "the map has its shape");
        if whole.is_empty() {
            return Vec::new();
        }
        let len = self.part.image_len();
        threads::build(self.part.len(), len, |at, writer| {
            let image = &whole[at / len.max(1) * self.whole.image_len()..];
            for place in self.pixels() {
                writer.extend(image[place..place + self.part.channels].iter().copied());
            }
        })
    }
}
