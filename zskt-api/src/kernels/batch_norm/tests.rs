use super::*;

/// Gradients agree with differences of the layer itself, for odd and for whole groups of channels.
#[test]
fn gradients_are_the_derivatives() {
    for channels in [3, 16, 37] {
        let pixels = 11;
        let number = |index: usize| ((index * 7919 + 13) % 1009) as f64 / 500.0 - 1.0;
        let x: Vec<f64> = (0..pixels * channels).map(number).collect();
        let dy: Vec<f64> = (0..x.len()).map(|index| number(index + 5000)).collect();
        let gamma: Vec<f64> = (0..channels).map(|c| number(c + 17) + 1.5).collect();
        let beta: Vec<f64> = (0..channels).map(|c| number(c + 31)).collect();
        let slope = 0.1;
        let layer = |mean: &[f64], variance: &[f64]| {
            let inv_std: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + 1e-5).sqrt()).collect();
            let scale: Vec<f64> = gamma.iter().zip(&inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
            let shift = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect::<Vec<f64>>();
            (inv_std, scale, shift)
        };
        let (mean, variance) = moments(&x, channels);
        let (inv_std, scale, shift) = layer(&mean, &variance);
        let activation = Activation { scale: &scale, shift: &shift, slope };
        let normalization = Normalization { mean: &mean, inv_std: &inv_std };
        let sums = backward_sums(&x, &dy, channels, &activation, &normalization);
        let batch = backward_batch_statistics(&x, &dy, channels, &activation, &normalization, &sums);
        let running = backward_running_statistics(&x, &dy, channels, &activation);

        let loss = |x: &[f64], statistics_of: &[f64]| -> f64 {
            let (mean, variance) = moments(statistics_of, channels);
            let (_, scale, shift) = layer(&mean, &variance);
            apply(x, channels, &scale, &shift, slope).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        let step = 1e-6;
        for index in 0..x.len() {
            let [low, high] = [-step, step].map(|step| {
                let mut x = x.clone();
                x[index] += step;
                x
            });
            let difference = (loss(&high, &high) - loss(&low, &low)) / (2.0 * step);
            assert!((difference - batch[index]).abs() < 1e-6, "{channels}: {difference} {}", batch[index]);
            let difference = (loss(&high, &x) - loss(&low, &x)) / (2.0 * step);
            assert!((difference - running[index]).abs() < 1e-6, "{channels}: {difference} {}", running[index]);
        }
        let projection: f64 = (0..pixels)
            .map(|pixel| {
                let at = pixel * channels;
                let gradient = if scale[0] * x[at] + shift[0] > 0.0 { dy[at] } else { slope * dy[at] };
                gradient * (x[at] - mean[0]) * inv_std[0]
            })
            .sum();
        assert!((projection - sums.projection[0]).abs() < 1e-12);
    }
}

#[test]
fn statistics_survive_a_large_mean_and_many_threads() {
    let channels = 20;
    let x: Vec<f32> = (0..channels * 9000).map(|index| 1e4 + ((index / channels) % 3) as f32).collect();
    let results = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| moments(&x, channels))
    });
    assert_eq!(results[0], results[1]);
    for (mean, variance) in results[0].0.iter().zip(&results[0].1) {
        assert!((mean - 10_001.0).abs() < 1e-9 && (variance - 2.0 / 3.0).abs() < 1e-9, "{mean} {variance}");
    }
}

/// As for `relu` in `PyTorch`, the derivative at 0 is that of the negative side.
#[test]
fn zero_is_on_the_negative_side() {
    let activation = Activation { scale: &[1.0_f32], shift: &[0.0], slope: 0.25 };
    assert_eq!(backward_running_statistics(&[0.0, 1.0, -1.0], &[1.0, 1.0, 1.0], 1, &activation), [0.25, 1.0, 0.25]);
    assert_eq!(apply(&[0.0_f32, 2.0, -2.0], 1, &[1.0], &[0.0], 0.0), [0.0, 2.0, 0.0]);
}
