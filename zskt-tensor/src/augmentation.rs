//! What is done to an image each time it is learnt from.

use rand::Rng;

use crate::ops::Shift;
use crate::random::StreamRng;

/// What is done to an image each time it is learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augmentation {
    /// Pixels of black padding at each side before a random crop to the old size.
    pub crop: usize,
    /// Whether half of the images are mirrored left to right.
    pub flip: bool,
}

impl Augmentation {
    /// Chooses for each of so many images where it is cropped, and whether it is mirrored: by how much its crop moves it.
    pub fn draw(&self, count: usize, rng: &mut StreamRng) -> Vec<Shift> {
        let Self { crop, flip } = *self;
        let draw = |_| {
            let (down, right) = (rng.random_range(0..=2 * crop), rng.random_range(0..=2 * crop));
            let by = |drawn: usize| crop as isize - drawn as isize;
            Shift { down: by(down), right: by(right), flip: flip && rng.random() }
        };
        (0..count).map(draw).collect()
    }
}
