//! Randomness from named, seeded streams: the same seed gives the same run, and a new consumer disturbs no other.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

/// The generator behind every stream.
pub type StreamRng = ChaCha8Rng;

/// All the random streams of a run.
#[derive(Clone, Debug)]
pub struct RandomStreams {
    seed: u64,
}

impl RandomStreams {
    /// The streams of one seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A generator that depends on the seed, the name and the index alone. A loop asks for one per iteration, so that
    /// nothing about randomness has to be kept in a checkpoint.
    pub fn at(&self, name: &str, index: u64) -> StreamRng {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(index.to_le_bytes());
        hash.update(name.as_bytes());
        StreamRng::from_seed(hash.finalize().into())
    }

    /// The first generator of a name.
    pub fn named(&self, name: &str) -> StreamRng {
        self.at(name, 0)
    }
}

/// `count` draws from N(0, 1).
pub fn standard_normal(rng: &mut StreamRng, count: usize) -> Vec<f64> {
    StandardNormal.sample_iter(rng).take(count).collect()
}
