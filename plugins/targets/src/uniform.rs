//! Each image's class by chance.

use zskt_api::rand::Rng;
use zskt_api::{ClassTargets, StreamRng, params};

params! {
    /// The class of each image is drawn alone, all classes being equally probable: as in CMI, Fast-Datafree and DeepInversion.
    pub struct Uniform {
        /// Whether the images of a batch are in the order of their classes.
        pub sorted: bool = false,
    }
}

impl ClassTargets for Uniform {
    fn draw(&self, count: usize, classes: usize, rng: &mut StreamRng) -> Vec<u32> {
        let mut drawn: Vec<u32> = (0..count).map(|_| rng.random_range(0..classes as u32)).collect();
        if self.sorted {
            drawn.sort_unstable();
        }
        drawn
    }
}
