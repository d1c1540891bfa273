//! Class targets: which classes made images are to show.

mod balanced;
mod uniform;

pub use balanced::Balanced;
pub use uniform::Uniform;

zskt_api::export! { reads: none; targets: Uniform, Balanced }

#[cfg(test)]
mod tests {
    use zskt_api::testing::conforms;
    use zskt_api::{ClassTargets, RandomStreams, Result};

    use super::{Balanced, Uniform};

    #[test]
    fn all_class_targets_keep_their_contract() -> Result<()> {
        for plugin in ["Uniform", "Uniform(sorted: true)", "Balanced"] {
            conforms(plugin)?;
        }
        Ok(())
    }

    #[test]
    fn balanced_targets_differ_by_one_at_most_and_uniform_ones_by_chance() {
        let mut rng = RandomStreams::new(0).named("targets");
        let counts = |drawn: &[u32]| {
            let mut counts = [0; 4];
            drawn.iter().for_each(|class| counts[*class as usize] += 1);
            counts
        };
        let mut remainders = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let drawn = Balanced {}.draw(10, 4, &mut rng);
            assert_eq!(drawn[..8], [0, 1, 2, 3, 0, 1, 2, 3]);
            remainders.insert(drawn[8..].to_vec());
        }
        assert!(remainders.len() > 4, "what is left over is drawn, and not always {remainders:?}");
        let sorted = Uniform { sorted: true }.draw(1000, 4, &mut rng);
        assert!(sorted.is_sorted());
        let counts = counts(&sorted);
        assert!(counts.iter().all(|count| (190..310).contains(count)) && counts != [250; 4], "{counts:?}");
    }
}
