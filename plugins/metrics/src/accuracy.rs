//! Accuracy.

use std::sync::Arc;

use zskt_api::{
    ClassifierNetwork, Dataset, Measurement, Metric, MetricContext, Objective, Result, Score, Signature, Signatures,
    params, ports,
};

use crate::evaluation::{classes_before, predicted_classes, share, without_prediction};

/// The matrix of more classes is larger than all else that a run reports.
const MOST_CONFUSED: usize = 100;

/// Of so few classes, five are too many to say anything.
const FEW: usize = 10;

params! {
    /// The share of images whose most probable class is their label: `top1`, `per_class` (in the order of the classes;
    /// `null` for a class without images), how many `images` there were, and for how many of them the logits are `not_finite`:
    /// these count as wrong. Of more than ten classes there is `top5`, too, the share of images whose label is among the five most probable
    /// classes. Up to 100 classes there is a `confusion` matrix: for each label, how many images were taken for each class. A stage
    /// chooses its best weights by `top1`.
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

    fn figures(&self, inputs: &Signatures) -> Option<Vec<&'static str>> {
        let mut figures = vec!["top1", "images", "not_finite"];
        match inputs.one("dataset") {
            Some(Signature::Dataset(dataset)) if dataset.classes <= FEW => {}
            _ => figures.push("top5"),
        }
        Some(figures)
    }

    fn evaluate(&self, inputs: &AccuracyInputs, context: &MetricContext) -> Result<Measurement> {
        let classes = inputs.dataset.signature().classes;
        let (mut seen, mut right, mut not_finite) = (vec![0; classes], vec![0; classes], 0);
        let mut confusion = (classes <= MOST_CONFUSED).then(|| vec![vec![0usize; classes]; classes]);
        let found = context.predictions(&inputs.classifier, &inputs.dataset)?;
        let labels = found.labels.to_vec1::<u32>()?;
        let predictions = predicted_classes(&found.logits)?;
        let before = (classes > FEW).then(|| classes_before(&found.logits, &labels)).transpose()?;
        let mut among_five = 0;
        for (image, (label, predicted)) in labels.into_iter().zip(predictions).enumerate() {
            seen[label as usize] += 1;
            right[label as usize] += usize::from(predicted == Some(label));
            let is_among_five =
                |before: &Vec<usize>| predicted == Some(label) || predicted.is_some() && before[image] < 5;
            among_five += usize::from(before.as_ref().is_some_and(is_among_five));
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
        let top5 = before.map(|_| share(among_five, images));
        let within = top5.map_or_else(String::new, |top5| format!(", {:.2} % among the first five", 100.0 * top5));
        let mut found = Measurement::new(format!("{:.2} % of {images} images right{within}{wrong}", 100.0 * top1))
            .figure("top1", top1)
            .figure_by_class("per_class", per_class)
            .figure("images", images)
            .figure("not_finite", not_finite);
        if let Some(top5) = top5 {
            found = found.figure("top5", top5);
        }
        Ok(match confusion {
            Some(confusion) => found.figure_by_class("confusion", confusion),
            None => found,
        })
    }
}
