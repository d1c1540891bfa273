//! Runs that differ in nothing but their seed, and what they have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::figure_text::brief;
use crate::runs::Configuration;
use crate::sweep::Statistic;

/// A mean with a band is drawn of no more points.
pub const MOST_POINTS: usize = 300;
/// More is not a label any more.
const MOST_KEYS: usize = 4;

/// Runs of one configuration, by their places in a list.
pub struct Group {
    /// What tells it from the other groups; empty for the only one.
    pub label: String,
    /// The runs, in the order of the list.
    pub runs: Vec<usize>,
}

/// The runs of each configuration, in the order of the first of each.
pub fn groups(configurations: &[Configuration]) -> Vec<Group> {
    let without_seed = |configuration: &Configuration| {
        let mut configuration = configuration.clone();
        configuration.parameters.remove("seed");
        configuration
    };
    let mut groups: Vec<(Configuration, Vec<usize>)> = Vec::new();
    for (index, configuration) in configurations.iter().map(without_seed).enumerate() {
        match groups.iter_mut().find(|(known, _)| *known == configuration) {
            Some((_, runs)) => runs.push(index),
            None => groups.push((configuration, vec![index])),
        }
    }
    let all: Vec<_> = groups.iter().map(|(configuration, _)| configuration).collect();
    let keys = differing(&all);
    let label = |configuration: &Configuration| {
        let value = |key: &&str| Some(format!("{key}={}", brief(configuration.parameters.get(*key)?)));
        let mut parts: Vec<_> = keys.iter().filter_map(value).take(MOST_KEYS).collect();
        if keys.len() > MOST_KEYS {
            parts.push("…".into());
        }
        parts.join(", ")
    };
    let labels: Vec<_> = all.iter().map(|configuration| label(configuration)).collect();
    groups.into_iter().zip(labels).map(|((_, runs), label)| Group { label, runs }).collect()
}

/// The parameters that are not the same in all configurations. Of a plugin that differs, only itself: others have other parameters.
pub fn differing<'c>(configurations: &[&'c Configuration]) -> Vec<&'c str> {
    let keys: BTreeSet<&str> = configurations.iter().flat_map(|of| of.parameters.keys().map(String::as_str)).collect();
    let differs = |key: &&str| {
        let mut values = configurations.iter().map(|of| of.parameters.get(*key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let mut differing: Vec<&str> = Vec::new();
    for key in keys.into_iter().filter(differs) {
        let of_other_plugin = |known: &&str| key.strip_prefix(*known).is_some_and(|rest| rest.starts_with('.'));
        if !differing.iter().any(of_other_plugin) {
            differing.push(key);
        }
    }
    differing
}

/// The mean of several curves.
#[derive(Debug, PartialEq)]
pub struct MeanCurve {
    /// Where all have points.
    pub points: Vec<(f64, f64)>,
    /// The population standard deviation at each.
    pub deviations: Vec<f64>,
}

impl MeanCurve {
    /// Of these curves; nothing of one, or where they have nothing in common. Curves with points at other places are compared in as
    /// many intervals as they allow.
    pub fn of(curves: &[Vec<(f64, f64)>]) -> Option<Self> {
        let places = |curve: &[(f64, f64)]| curve.iter().map(|point| point.0.to_bits()).collect::<Vec<_>>();
        let (first, rest) = curves.split_first().filter(|(_, rest)| !rest.is_empty())?;
        let same = first.len() <= MOST_POINTS && rest.iter().all(|curve| places(curve) == places(first));
        let binned: Vec<_> = if same { curves.to_vec() } else { in_intervals(curves)? };
        let mut mean = Self { points: Vec::new(), deviations: Vec::new() };
        for place in 0..binned.first()?.len() {
            let values: Vec<_> = binned.iter().map(|curve| curve[place].1).collect();
            let over = Statistic::of(&values)?;
            mean.points.push((binned[0][place].0, over.mean));
            mean.deviations.push(over.deviation);
        }
        (!mean.points.is_empty()).then_some(mean)
    }
}

/// The means of each curve over the same intervals, of those in which every curve has a point.
fn in_intervals(curves: &[Vec<(f64, f64)>]) -> Option<Vec<Vec<(f64, f64)>>> {
    let from = curves.iter().filter_map(|curve| curve.first()).map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    let to = curves.iter().filter_map(|curve| curve.last()).map(|point| point.0).fold(f64::INFINITY, f64::min);
    let within = |curve: &Vec<(f64, f64)>| curve.iter().filter(|(x, _)| (from..=to).contains(x)).count();
    let fewest = curves.iter().map(within).min()?;
    let count = (fewest / 2).clamp(1, MOST_POINTS) as f64;
    let width = (to - from) / count;
    if !(width > 0.0 && width.is_finite()) {
        return None;
    }
    let binned = curves.iter().map(|curve| {
        let mut bins: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for (x, y) in curve.iter().filter(|(x, _)| (from..=to).contains(x)) {
            let bin = bins.entry(((x - from) / width).min(count - 1.0) as usize).or_default();
            *bin = (bin.0 + y, bin.1 + 1.0);
        }
        bins
    });
    let binned: Vec<_> = binned.collect();
    let common: Vec<_> = binned[0].keys().filter(|bin| binned.iter().all(|bins| bins.contains_key(bin))).collect();
    let mean = |bins: &BTreeMap<usize, (f64, f64)>| {
        common.iter().map(|bin| (from + (**bin as f64 + 0.5) * width, bins[bin].0 / bins[bin].1)).collect()
    };
    Some(binned.iter().map(mean).collect())
}

#[cfg(test)]
mod tests {
    use super::{MeanCurve, groups};
    use crate::runs::Configuration;

    fn configuration(parameters: &[(&str, &str)]) -> Configuration {
        let parameters = parameters.iter().map(|(key, value)| (String::from(*key), String::from(*value)));
        Configuration { parameters: parameters.collect(), ..Configuration::default() }
    }

    #[test]
    fn runs_of_one_configuration_are_one_group() {
        let runs = [("0", "1"), ("0", "2"), ("1", "1"), ("2", "2")];
        let runs =
            runs.map(|(seed, width)| configuration(&[("seed", seed), ("student.widen_factor", width), ("name", "n")]));
        let found = groups(&runs);
        let found: Vec<_> = found.iter().map(|group| (group.label.as_str(), group.runs.clone())).collect();
        assert_eq!(found, [("student.widen_factor=1", vec![0, 2]), ("student.widen_factor=2", vec![1, 3])]);
        assert_eq!(groups(&runs[..1])[0].label, "");
    }

    #[test]
    fn of_another_plugin_its_parameters_are_no_difference() {
        let runs =
            [configuration(&[("s", "LeNet"), ("s.size", "28")]), configuration(&[("s", "Vgg"), ("s.depth", "11")])];
        assert_eq!(groups(&runs)[1].label, "s=Vgg");
    }

    #[test]
    fn the_band_is_one_population_standard_deviation() {
        let curve = |values: [f64; 3]| values.into_iter().enumerate().map(|(x, y)| (x as f64, y)).collect::<Vec<_>>();
        let mean = MeanCurve::of(&[curve([1.0, 2.0, 3.0]), curve([3.0, 2.0, 5.0])]);
        assert_eq!(mean, Some(MeanCurve { points: curve([2.0, 2.0, 4.0]), deviations: vec![1.0, 0.0, 1.0] }));
        // Logged at other batches: the means of intervals are compared.
        let [even, odd] =
            [0, 1].map(|first| (first..1000).step_by(2).map(|x| (f64::from(x), f64::from(x))).collect::<Vec<_>>());
        let MeanCurve { points, deviations } = MeanCurve::of(&[even, odd]).unwrap();
        assert!((100..=300).contains(&points.len()) && deviations.iter().all(|deviation| *deviation < 2.0));
        assert!(points.iter().all(|(x, y)| (x - y).abs() < 3.0));
        assert!(MeanCurve::of(&[vec![(0.0, 1.0)], vec![(1.0, 1.0)]]).is_none(), "nothing in common");
    }
}
