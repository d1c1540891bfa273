//! What a network believes of made images: how sure it is, and of which classes they are.

use zskt_api::candle_core::DType;
use zskt_api::ops::log_softmax;
use zskt_api::{ClassifierNetwork, FeatureMap, ForwardMode, LoggedDistribution, LoggedScalar, Result};

/// Bins of probabilities from 0 to 1.
const BINS: usize = 20;

/// The probabilities of all classes, image by image.
pub struct Beliefs {
    images: Vec<Vec<f64>>,
}

impl Beliefs {
    /// Of these images, `[B, C, H, W]`.
    pub fn of(network: &ClassifierNetwork, images: &FeatureMap) -> Result<Self> {
        let logits = network.forward.forward(images, ForwardMode::eval())?.logits.to_dtype(DType::F64)?;
        Ok(Self { images: log_softmax(&logits)?.exp()?.to_vec2()? })
    }

    /// The mean over the images.
    pub fn mean(&self) -> Vec<f64> {
        let classes = self.images.first().map_or(0, Vec::len);
        let share = |class: usize| self.images.iter().map(|belief| belief[class]).sum::<f64>() / self.count();
        (0..classes).map(share).collect()
    }

    /// How probable the most probable class of an image is, on average.
    pub fn confidence(&self, player: &str) -> LoggedScalar {
        let sum: f64 = self.most_probable().map(|(_, probability)| probability).sum();
        LoggedScalar::new(format!("{player}_confidence"), sum / self.count())
    }

    /// How often which class is the most probable one, and how probable it is.
    pub fn distributions(&self, player: &str) -> [LoggedDistribution; 2] {
        let (classes, confidences): (Vec<_>, Vec<_>) = self.most_probable().unzip();
        let count = self.images.first().map_or(0, Vec::len);
        [
            LoggedDistribution {
                name: format!("{player}_confidences"),
                edges: (0..=BINS).map(|edge| edge as f64 / BINS as f64).collect(),
                values: confidences,
            },
            LoggedDistribution {
                name: format!("{player}_classes"),
                edges: (0..=count).map(|edge| edge as f64 - 0.5).collect(),
                values: classes.into_iter().map(|class| class as f64).collect(),
            },
        ]
    }

    fn most_probable(&self) -> impl Iterator<Item = (usize, f64)> {
        let of_image = |belief: &Vec<f64>| {
            belief.iter().copied().enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best })
        };
        self.images.iter().filter_map(of_image)
    }

    fn count(&self) -> f64 {
        self.images.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Beliefs;

    #[test]
    fn what_is_most_probable_and_how_often() {
        let beliefs = Beliefs { images: vec![vec![0.75, 0.25, 0.0], vec![0.25, 0.25, 0.5], vec![1.0, 0.0, 0.0]] };
        assert_eq!(beliefs.mean(), [2.0 / 3.0, 0.5 / 3.0, 0.5 / 3.0]);
        assert_eq!(beliefs.confidence("teacher").value, 0.75);
        let [confidences, classes] = beliefs.distributions("teacher");
        assert_eq!((confidences.name.as_str(), confidences.values), ("teacher_confidences", vec![0.75, 0.5, 1.0]));
        assert_eq!((classes.values, classes.edges), (vec![0.0, 2.0, 0.0], vec![-0.5, 0.5, 1.5, 2.5]));
    }
}
