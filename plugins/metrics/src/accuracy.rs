//! Accuracy.

use std::sync::Arc;

use zskt_api::{
    ClassifierNetwork, Dataset, Measurement, Metric, MetricContext, Objective, Result, Score, params, ports,
};

use crate::evaluation::{predicted_classes, share, without_prediction};

/// The matrix of more classes is larger than all else that a run reports.
const MOST_CONFUSED: usize = 100;

params! {
    /// The share of images whose most probable class is their label: `top1`, `per_class` (in the order of the classes;
    /// `null` for a class without images), how many `images` there were, and for how many of them the logits are `not_finite`:
    /// these count as wrong. Up to 100 classes there is a `confusion` matrix: for each label, how many images were taken for
    /// each class. A stage chooses its best weights by `top1`.
    pub struct Accuracy {}
}

ports! {
    /// What is measured on what.
    pub struct AccuracyInputs {
        /// The network to measure.
        pub classifier: Arc<ClassifierNetwork>,
        /// The images to measure it on.
        pub dataset: Arc<dyn Dataset>,
    }
}

impl Metric for Accuracy {
    type Inputs = AccuracyInputs;

    fn score(&self) -> Option<Score> {
        Some(Score { figure: "top1", objective: Objective::Maximize })
    }

    fn evaluate(&self, inputs: &AccuracyInputs, context: &MetricContext) -> Result<Measurement> {
        let classes = inputs.dataset.signature().classes;
        let (mut seen, mut right, mut not_finite) = (vec![0; classes], vec![0; classes], 0);
        let mut confusion = (classes <= MOST_CONFUSED).then(|| vec![vec![0usize; classes]; classes]);
        let found = context.predictions(&inputs.classifier, &inputs.dataset)?;
        for (label, predicted) in found.labels.to_vec1::<u32>()?.into_iter().zip(predicted_classes(&found.logits)?) {
            seen[label as usize] += 1;
            right[label as usize] += usize::from(predicted == Some(label));
            not_finite += usize::from(predicted.is_none());
            let taken_for = predicted.zip(confusion.as_mut());
            if let Some(count) = taken_for.and_then(|(class, of)| of[label as usize].get_mut(class as usize)) {
                *count += 1;
            }
        }
        let (images, all_right) = (seen.iter().sum::<usize>(), right.iter().sum::<usize>());
        let top1 = share(all_right, images);
        let per_class: Vec<Option<f64>> =
            seen.iter().zip(&right).map(|(seen, right)| (*seen > 0).then(|| share(*right, *seen))).collect();
        let wrong = without_prediction(not_finite, "which counts as wrong");
        let found = Measurement::new(format!("{:.2} % of {images} images right{wrong}", 100.0 * top1))
            .figure("top1", top1)
            .figure_by_class("per_class", per_class)
            .figure("images", images)
            .figure("not_finite", not_finite);
        Ok(match confusion {
            Some(confusion) => found.figure_by_class("confusion", confusion),
            None => found,
        })
    }
}
