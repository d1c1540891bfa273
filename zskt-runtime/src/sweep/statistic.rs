//! Mean and spread of a figure over seeds.

/// A figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// Their mean.
    pub mean: f64,
    /// Their population standard deviation: over n, not n - 1, as papers on small numbers of seeds state it.
    pub deviation: f64,
    /// How many there are.
    pub count: usize,
}

impl Statistic {
    /// Of these values; nothing of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        // What all have in common has no spread, and no rounding may make one.
        let first = *values.first()?;
        let mean = first + values.iter().map(|value| value - first).sum::<f64>() / count as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
        Some(Self { mean, deviation: variance.sqrt(), count })
    }

    /// `0.9312 ± 0.0041`; the mean alone of a single value. `scale` is what both are multiplied by, as 100 for percent.
    pub fn show(&self, scale: f64) -> String {
        let (mean, deviation) = (self.mean * scale, self.deviation * scale);
        let decimals = match mean.abs() {
            size if !size.is_finite() || size >= 1000.0 => 0,
            size if size >= 10.0 => 2,
            size if size >= 1e-3 || size == 0.0 => 4,
            _ => return if self.count > 1 { format!("{mean:.2e} ± {deviation:.2e}") } else { format!("{mean:.2e}") },
        };
        if self.count > 1 {
            format!("{mean:.decimals$} ± {deviation:.decimals$}")
        } else {
            format!("{mean:.decimals$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Statistic;

    #[test]
    fn the_deviation_is_that_of_the_population() {
        let statistic = Statistic::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((statistic.mean, statistic.deviation, statistic.count), (5.0, 2.0, 8));
        assert_eq!(Statistic::of(&[0.1; 3]).unwrap().deviation, 0.0);
        assert_eq!(Statistic::of(&[]), None);
    }

    #[test]
    fn figures_are_shown_to_the_digits_that_matter() {
        let show = |values: &[f64], scale| Statistic::of(values).unwrap().show(scale);
        assert_eq!(show(&[0.93, 0.94], 1.0), "0.9350 ± 0.0050");
        assert_eq!(show(&[0.93, 0.94], 100.0), "93.50 ± 0.50");
        assert_eq!(show(&[0.5], 1.0), "0.5000");
        assert_eq!(show(&[4000.0, 5000.0], 1.0), "4500 ± 500");
        assert_eq!(show(&[1e-5], 1.0), "1.00e-5");
        assert_eq!(show(&[f64::NAN, 1.0], 1.0), "NaN ± NaN");
    }
}
