//! Numbers counted by bins.

use serde_json::{Value, json};
use zskt_api::LoggedDistribution;

/// A histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The smallest number; 0 where there is none.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many numbers are in some bin.
    pub values: usize,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub sum_squares: f64,
    /// Where the first bin begins.
    pub start: f64,
    /// Where each bin ends.
    pub limits: Vec<f64>,
    /// How many numbers are in each.
    pub counts: Vec<f64>,
}

impl Histogram {
    /// Of a distribution: what is not finite, or in no bin, is not counted. Nothing of one whose edges do not ascend.
    pub fn of(distribution: &LoggedDistribution) -> Option<Self> {
        let (start, limits) = distribution.edges.split_first()?;
        let ascends = distribution.edges.windows(2).all(|pair| pair[0] < pair[1]);
        let last = *limits.last().filter(|last| ascends && start.is_finite() && last.is_finite())?;
        let mut histogram = Self {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            values: 0,
            sum: 0.0,
            sum_squares: 0.0,
            start: *start,
            limits: limits.to_vec(),
            counts: vec![0.0; limits.len()],
        };
        for value in distribution.values.iter().copied().filter(|value| (*start..=last).contains(value)) {
            // The last bin has its end, the others only their start.
            let bin = limits.partition_point(|limit| *limit <= value).min(limits.len() - 1);
            histogram.counts[bin] += 1.0;
            histogram.min = histogram.min.min(value);
            histogram.max = histogram.max.max(value);
            histogram.values += 1;
            histogram.sum += value;
            histogram.sum_squares += value * value;
        }
        if histogram.values == 0 {
            (histogram.min, histogram.max) = (0.0, 0.0);
        }
        Some(histogram)
    }

    /// Edges and counts, for the log.
    pub fn to_json(&self) -> Value {
        let edges: Vec<f64> = std::iter::once(self.start).chain(self.limits.iter().copied()).collect();
        json!({ "edges": edges, "counts": self.counts })
    }
}

#[cfg(test)]
mod tests {
    use zskt_api::LoggedDistribution;

    use super::Histogram;

    #[test]
    fn numbers_are_in_the_bin_that_they_begin_and_the_last_bin_has_its_end() {
        let of = |edges: &[f64], values: &[f64]| {
            Histogram::of(&LoggedDistribution { name: "x".into(), edges: edges.into(), values: values.into() })
        };
        let found = of(&[0.0, 0.5, 1.0], &[0.0, 0.49, 0.5, 1.0, 1.01, -0.1, f64::NAN]).expect("a histogram");
        assert_eq!((found.counts.as_slice(), found.values), (&[2.0, 2.0][..], 4));
        assert_eq!((found.min, found.max, found.sum), (0.0, 1.0, 1.99));
        assert_eq!(found.to_json(), serde_json::json!({"edges": [0.0, 0.5, 1.0], "counts": [2.0, 2.0]}));
        let empty = of(&[0.0, 1.0], &[]).expect("a histogram of nothing");
        assert_eq!((empty.min, empty.max, empty.values), (0.0, 0.0, 0));
        for edges in [&[][..], &[1.0], &[1.0, 1.0], &[0.0, f64::NAN], &[0.0, f64::INFINITY]] {
            assert_eq!(of(edges, &[0.5]), None, "{edges:?}");
        }
    }
}
