//! Whether the generator still makes images of many classes, as its teacher sees them.

use super::beliefs::Beliefs;

/// Below this share of the largest entropy that there is, images are of hardly more than one class: of ten classes, of 1.26.
const COLLAPSED: f64 = 0.1;

/// The classes of made images: the mean of a teacher's beliefs.
pub struct ClassEntropy {
    mean_belief: Vec<f64>,
}

impl ClassEntropy {
    /// Of what a teacher believes of images.
    pub fn of(teacher: &Beliefs) -> Self {
        Self { mean_belief: teacher.mean() }
    }

    /// The entropy of the mean belief in nats, at most ln of the classes.
    pub fn nats(&self) -> f64 {
        self.mean_belief.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum()
    }

    fn share(&self) -> f64 {
        self.nats() / (self.mean_belief.len() as f64).ln()
    }

    /// Whether there is hardly more than one class.
    pub fn is_collapsed(&self) -> bool {
        self.share() < COLLAPSED
    }

    /// What to tell the user then.
    pub fn warning(&self) -> String {
        let largest = self.mean_belief.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
        let (class, share) = largest.map_or((0, 0.0), |(class, share)| (class, 100.0 * share));
        format!(
            "the generator has collapsed: its images are {share:.0} % of class {class}, as the teacher sees them (entropy of its mean \
             belief {:.3} nats, {:.0} % of the largest); what the student learns on them is of that class alone; a lower learning rate \
             of the generator's turn, or a loss that asks for many classes, may help",
            self.nats(),
            100.0 * self.share()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::ClassEntropy;

    #[test]
    fn entropy_in_nats_and_what_is_too_little() {
        let of = |mean_belief: &[f64]| ClassEntropy { mean_belief: mean_belief.to_vec() };
        assert!((of(&[0.1; 10]).nats() - 10f64.ln()).abs() < 1e-12);
        assert_eq!(of(&[0.0, 1.0, 0.0]).nats(), 0.0);
        let two_classes = of(&[0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let nearly_one = of(&[0.0, 0.97, 0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(!two_classes.is_collapsed() && nearly_one.is_collapsed());
        assert!(nearly_one.warning().contains("97 % of class 1"), "{}", nearly_one.warning());
    }
}
