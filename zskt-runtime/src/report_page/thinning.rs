//! Fewer points for the same picture: of neighbouring points the smallest and the largest, so that no peak is lost; or for means, the
//! means of intervals.

/// At most `most` of these points, which are in order, with the first and the last.
pub fn thin<X: Copy>(points: &[(X, f64)], most: usize) -> Vec<(X, f64)> {
    let most = most.max(4);
    let [first, middle @ .., last] = points else { return points.to_vec() };
    if points.len() <= most {
        return points.to_vec();
    }
    let buckets = most / 2 - 1;
    let mut thinned = vec![*first];
    for bucket in 0..buckets {
        let bounds = [bucket, bucket + 1].map(|bucket| bucket * middle.len() / buckets);
        let within = middle[bounds[0]..bounds[1]].iter().enumerate();
        let extremes = [
            within.clone().min_by(|a, b| a.1.1.total_cmp(&b.1.1)).map(|(index, _)| index),
            within.max_by(|a, b| a.1.1.total_cmp(&b.1.1)).map(|(index, _)| index),
        ];
        let mut extremes: Vec<_> = extremes.into_iter().flatten().collect();
        extremes.sort_unstable();
        extremes.dedup();
        thinned.extend(extremes.into_iter().map(|index| middle[bounds[0] + index]));
    }
    thinned.push(*last);
    thinned
}

/// At most `most` of these points, which are in order: the means of as many intervals of the same width, each in its middle.
pub fn mean_of_intervals(points: &[(usize, f64)], most: usize) -> Vec<(f64, f64)> {
    let most = most.max(4);
    let ([(first, _), .., (last, _)], true) = (points, points.len() > most) else {
        return points.iter().map(|(x, y)| (*x as f64, *y)).collect();
    };
    let width = ((last - first) as f64 + 1.0) / most as f64;
    let mut means: Vec<(f64, f64)> = Vec::new();
    let interval = |x: usize| (((x - first) as f64 / width) as usize).min(most - 1);
    for points in points.chunk_by(|a, b| interval(a.0) == interval(b.0)) {
        let middle = *first as f64 + (interval(points[0].0) as f64 + 0.5) * width;
        means.push((middle, points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64));
    }
    means
}

#[cfg(test)]
mod tests {
    use super::{mean_of_intervals, thin};

    #[test]
    fn intervals_of_a_long_curve_have_their_means() {
        let points: Vec<_> = (1..=1_000_000).map(|batch| (batch, (batch % 2) as f64)).collect();
        let means = mean_of_intervals(&points, 500);
        assert!(means.len() == 500 && means.iter().all(|(_, y)| *y == 0.5));
        assert_eq!([means[0].0, means[499].0], [1001.0, 999_001.0]);
        assert_eq!(mean_of_intervals(&points[..2], 500), [(1.0, 1.0), (2.0, 0.0)]);
        assert_eq!(mean_of_intervals(&[], 500), []);
    }

    #[test]
    fn a_long_curve_keeps_its_ends_and_its_peaks() {
        let mut points: Vec<_> = (0..1_000_003).map(|step| (f64::from(step), f64::from(step % 7))).collect();
        points[400_001].1 = 1e9;
        points[900_001].1 = -1e9;
        let thinned = thin(&points, 2000);
        assert!((1000..=2000).contains(&thinned.len()), "{}", thinned.len());
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
        for kept in [points[0], points[400_001], points[900_001], points[1_000_002]] {
            assert!(thinned.contains(&kept), "{kept:?}");
        }
        assert_eq!(thin(&points[..3], 2000), points[..3]);
        assert_eq!(thin::<f64>(&[], 2000), []);
    }
}
