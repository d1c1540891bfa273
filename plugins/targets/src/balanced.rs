//! All classes equally often.

use zskt_api::rand::Rng;
use zskt_api::{ClassTargets, StreamRng, params};

params! {
    /// One image of each class after the other, again and again; what is left over where the batch is no multiple of the classes is drawn
    /// by chance, as in NAYER.
    pub struct Balanced {}
}

impl ClassTargets for Balanced {
    fn draw(&self, count: usize, classes: usize, rng: &mut StreamRng) -> Vec<u32> {
        let even = count - count % classes;
        let drawn = (0..even).map(|image| (image % classes) as u32);
        let left = (even..count).map(|_| rng.random_range(0..classes as u32)).collect::<Vec<_>>();
        drawn.chain(left).collect()
    }
}
