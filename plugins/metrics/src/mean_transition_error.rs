//! Transition curves and mean transition error (Micaelli & Storkey 2019, section 4.5).

use std::sync::Arc;

use zskt_api::candle_core::{DType, Tensor, Var};
use zskt_api::ops::log_softmax;
use zskt_api::{
    ClassifierNetwork, Dataset, Error, FeatureMap, ForwardMode, Measurement, Metric, MetricContext, Objective, Result,
    Score, Signatures, above, params, ports,
};

use crate::evaluation::predicted_classes;

params! {
    /// How alike two networks are away from the data. From each image on which student and teacher predict the same class,
    /// right or not, and towards each of the other classes j, the image takes plain gradient steps down the student's
    /// cross-entropy with j; before each step the probability of j is recorded for both networks. `mean_transition_error` is
    /// the mean absolute difference of the two probabilities over images, classes and the first `counted` steps;
    /// `student_curve` and `teacher_curve` are the mean probabilities at each step, `student_curve_standard_errors` and
    /// `teacher_curve_standard_errors` the standard errors of these means over the pairs of an image and a class. Images for which a logit of either is NaN or
    /// infinite are passed over and counted as `not_finite`; pairs of an image and a class whose steps lead to such probabilities
    /// count as `diverged`, and make means and their standard errors `null`. It is measured at the end of a stage only.
    pub struct MeanTransitionError {
        /// Images to start from: the first in the dataset on which both networks agree.
        pub images: usize = 1000 => 1..=10_000_000,
        /// Gradient steps.
        pub steps: usize = 200 => 1..=1_000_000,
        /// Steps that count for the error; fewer if there are fewer.
        pub counted: usize = 100 => 1..=1_000_000,
        /// How far a gradient moves the image.
        pub learning_rate: f64 = 1.0 => above(0.0),
        /// Pairs of an image and a class that are moved together; the figures do not depend on it.
        pub batch_size: usize = 256 => 1..=1_000_000,
    }
}

ports! {
    /// Whose beliefs are followed, from where.
    pub struct TransitionInputs {
        /// The network that knows.
        pub teacher: Arc<ClassifierNetwork>,
        /// The network whose gradient moves the images.
        pub student: Arc<ClassifierNetwork>,
        /// Where the images come from.
        pub dataset: Arc<dyn Dataset>,
    }
}

/// An image and the class it is moved to.
struct Pair {
    image: Tensor,
    target: u32,
}

impl Metric for MeanTransitionError {
    type Inputs = TransitionInputs;

    fn score(&self) -> Option<Score> {
        Some(Score { figure: "mean_transition_error", objective: Objective::Minimize })
    }

    fn figures(&self, _: &Signatures) -> Option<Vec<&'static str>> {
        Some(vec!["mean_transition_error", "images", "not_finite", "diverged"])
    }

    fn during_stages(&self) -> bool {
        // Each image costs thousands of gradient steps.
        false
    }

    fn evaluate(&self, inputs: &TransitionInputs, context: &MetricContext) -> Result<Measurement> {
        let classes = inputs.dataset.signature().classes as u32;
        let (mut pairs, mut images, mut not_finite) = (Vec::new(), 0, 0);
        context.each_batch(inputs.dataset.as_ref(), |batch| {
            let predicted = |network: &ClassifierNetwork| {
                predicted_classes(&network.forward.forward(&batch.images, ForwardMode::eval())?.logits)
            };
            let all = batch.images.channels_last()?;
            let both = predicted(&inputs.teacher)?.into_iter().zip(predicted(&inputs.student)?);
            for (index, pair) in both.enumerate() {
                if images == self.images {
                    break;
                }
                let (Some(teacher), Some(student)) = pair else {
                    not_finite += 1;
                    continue;
                };
                if teacher == student {
                    let image = all.narrow(0, index, 1)?;
                    let others = (0..classes).filter(|class| *class != student);
                    pairs.extend(others.map(|target| Pair { image: image.clone(), target }));
                    images += 1;
                }
            }
            Ok(images < self.images)
        })?;
        let passed_over = match not_finite {
            0 => String::new(),
            _ => format!("; {not_finite} images were passed over, for they have logits that are NaN or infinite"),
        };
        if images == 0 {
            let nothing = "the networks agree on no image: there is nothing to start from";
            return Ok(Measurement::new(format!("{nothing}{passed_over}"))
                .figure("mean_transition_error", zskt_api::serde_json::Value::Null)
                .figure("images", 0)
                .figure("not_finite", not_finite));
        }
        let mut transitions = Transitions::new(self.steps);
        for pairs in pairs.chunks(self.batch_size) {
            self.follow(pairs, inputs, context, &mut transitions)?;
        }
        let Transitions { student, teacher, difference, diverged } = transitions;
        let (count, counted) = (pairs.len() as f64, self.counted.min(self.steps));
        let error = difference[..counted].iter().sum::<f64>() / (counted as f64 * count);
        let found = match error.is_finite() {
            true => format!("mean transition error {error:.4}"),
            false => "no mean transition error".into(),
        };
        let lost = match diverged {
            0 => String::new(),
            _ => format!("; the steps of {diverged} pairs of an image and a class led to what is NaN or infinite"),
        };
        Ok(Measurement::new(format!("{found} from {images} images over {counted} steps{passed_over}{lost}"))
            .figure("mean_transition_error", error)
            .figure("images", images)
            .figure("not_finite", not_finite)
            .figure("diverged", diverged)
            .figure("student_curve", student.means(count))
            .figure("student_curve_standard_errors", student.standard_errors(count))
            .figure("teacher_curve", teacher.means(count))
            .figure("teacher_curve_standard_errors", teacher.standard_errors(count)))
    }
}

/// What both networks make of all pairs, by step.
struct Transitions {
    student: Curve,
    teacher: Curve,
    /// Sums over pairs of how far the two probabilities are apart.
    difference: Vec<f64>,
    /// Pairs of which a probability was not finite.
    diverged: usize,
}

impl Transitions {
    fn new(steps: usize) -> Self {
        Self { student: Curve::new(steps), teacher: Curve::new(steps), difference: vec![0.0; steps], diverged: 0 }
    }
}

/// Probabilities of the class that an image is moved to, summed over pairs, by step.
struct Curve {
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Curve {
    fn new(steps: usize) -> Self {
        Self { sums: vec![0.0; steps], squares: vec![0.0; steps] }
    }

    fn add(&mut self, step: usize, probability: f64) {
        self.sums[step] += probability;
        self.squares[step] += probability * probability;
    }

    fn means(&self, count: f64) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / count).collect()
    }

    /// Of the means over `count` pairs; of a single pair, or where one diverged, nothing is known.
    fn standard_errors(&self, count: f64) -> Vec<Option<f64>> {
        let of_mean = |(sum, square): (&f64, &f64)| {
            let variance = (square - sum * sum / count) / (count - 1.0);
            (count > 1.0 && variance.is_finite()).then(|| (variance.max(0.0) / count).sqrt())
        };
        self.sums.iter().zip(&self.squares).map(of_mean).collect()
    }
}

impl MeanTransitionError {
    fn follow(
        &self,
        pairs: &[Pair],
        inputs: &TransitionInputs,
        context: &MetricContext,
        transitions: &mut Transitions,
    ) -> Result<()> {
        let images: Vec<&Tensor> = pairs.iter().map(|pair| &pair.image).collect();
        let mut images = Tensor::cat(&images, 0)?;
        let targets: Vec<u32> = pairs.iter().map(|pair| pair.target).collect();
        let targets = Tensor::from_vec(targets, (pairs.len(), 1), &context.build.device)?;
        let mut diverged = vec![false; pairs.len()];
        for step in 0..self.steps {
            if (context.interrupted)() {
                return Err(Error::interrupted());
            }
            let moved = Var::from_tensor(&images)?;
            let at = FeatureMap::from_channels_last(moved.as_tensor())?;
            let of_target = |network: &ClassifierNetwork, at: &FeatureMap| -> Result<Tensor> {
                let logits = network.forward.forward(at, ForwardMode::eval())?.logits;
                Ok(log_softmax(&logits)?.gather(&targets, 1)?)
            };
            let student = of_target(&inputs.student, &at)?;
            let teacher = of_target(&inputs.teacher, &at.detach())?;
            let probabilities = |log: &Tensor| -> Result<Vec<f64>> {
                Ok(log.detach().exp()?.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
            };
            let both = probabilities(&student)?.into_iter().zip(probabilities(&teacher)?);
            for (diverged, (student, teacher)) in diverged.iter_mut().zip(both) {
                *diverged |= !(student - teacher).is_finite();
                transitions.student.add(step, student);
                transitions.teacher.add(step, teacher);
                transitions.difference[step] += (student - teacher).abs();
            }
            // Each pair has a loss of its own, so the gradient of the sum moves each by its own gradient.
            let gradients = student.sum_all()?.neg()?.backward()?;
            let gradient = gradients.get(moved.as_tensor()).ok_or_else(|| Error::new("the images have no gradient"))?;
            images = (images - (gradient * self.learning_rate)?)?;
        }
        transitions.diverged += diverged.into_iter().filter(|diverged| *diverged).count();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Curve;

    #[test]
    fn nothing_is_known_of_a_mean_that_diverged() {
        let mut curve = Curve::new(2);
        for probability in [0.25, 0.75] {
            curve.add(0, probability);
            curve.add(1, f64::NAN);
        }
        assert_eq!(curve.standard_errors(2.0), [Some(0.25), None]);
    }
}
