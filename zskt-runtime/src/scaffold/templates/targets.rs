//! Classes of unequal size.

use zskt_api::rand::distr::{Distribution, weighted::WeightedIndex};
use zskt_api::{ClassTargets, StreamRng, params};

params! {
    /// Each class of made images is rarer than the one before, as in long-tailed sets (Cui et al., CVPR 2019): class k is drawn with a
    /// probability in proportion to `imbalance^(-k / (classes - 1))`.
    pub struct ExampleTargets {
        /// How much more often the first class is drawn than the last.
        pub imbalance: f64 = 10.0 => 1.0..=1e6,
    }
}

impl ExampleTargets {
    fn weight(&self, class: usize, classes: usize) -> f64 {
        self.imbalance
            .powf(-(class as f64) / (classes - 1).max(1) as f64)
    }
}

impl ClassTargets for ExampleTargets {
    fn draw(&self, count: usize, classes: usize, rng: &mut StreamRng) -> Vec<u32> {
        let weights = (0..classes).map(|class| self.weight(class, classes));
        let drawn =
            WeightedIndex::new(weights).expect("weights are above zero, and there are classes");
        (0..count).map(|_| drawn.sample(rng) as u32).collect()
    }
}

zskt_api::export! { reads: none; targets: ExampleTargets }

#[cfg(test)]
mod tests {
    use zskt_api::testing::conforms;
    use zskt_api::{ClassTargets, RandomStreams, Result};

    use super::ExampleTargets;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleTargets(imbalance: 50.0)")
    }

    #[test]
    fn the_first_class_is_drawn_so_much_more_often() {
        let mut rng = RandomStreams::new(0).named("targets");
        let drawn = ExampleTargets { imbalance: 4.0 }.draw(7000, 3, &mut rng);
        let counts = [0, 1, 2].map(|class| drawn.iter().filter(|drawn| **drawn == class).count());
        let close = |(found, expected): (usize, usize)| found.abs_diff(expected) < 200;
        assert!(
            counts.into_iter().zip([4000, 2000, 1000]).all(close),
            "{counts:?}"
        );
    }
}
