//! Agreement.

use std::sync::Arc;

use zskt_api::candle_core::{D, DType, Tensor};
use zskt_api::ops::log_softmax;
use zskt_api::{
    ClassifierNetwork, Dataset, Measurement, Metric, MetricContext, Objective, Result, Score, Signatures, params, ports,
};

use crate::evaluation::{predicted_classes, share, without_prediction};

/// Images whose divergences are computed together.
const AT_ONCE: usize = 4096;

params! {
    /// How far a student believes what its teacher believes: `share`, of the images on which both predict the same class,
    /// right or not; `mean_kl`, the Kullback–Leibler divergence of the student's belief from the teacher's in nats,
    /// averaged over the images; how many `images` there were, and for how many of them the logits of either are
    /// `not_finite`: on these they do not agree, and with any of these there is no mean divergence (`null`). A stage chooses its
    /// best weights by `share`.
    pub struct Agreement {}
}

ports! {
    /// Whose beliefs are compared on what.
    pub struct AgreementInputs {
        /// The network that knows.
        pub teacher: Arc<ClassifierNetwork>,
        /// The network that learnt from it.
        pub student: Arc<ClassifierNetwork>,
        /// The images to compare them on.
        pub dataset: Arc<dyn Dataset>,
    }
}

impl Metric for Agreement {
    type Inputs = AgreementInputs;

    fn score(&self) -> Option<Score> {
        Some(Score { figure: "share", objective: Objective::Maximize })
    }

    fn figures(&self, _: &Signatures) -> Option<Vec<&'static str>> {
        Some(vec!["share", "mean_kl", "images", "not_finite"])
    }

    fn evaluate(&self, inputs: &AgreementInputs, context: &MetricContext) -> Result<Measurement> {
        let teacher = &context.predictions(&inputs.teacher, &inputs.dataset)?.logits;
        let student = &context.predictions(&inputs.student, &inputs.dataset)?.logits;
        let (mut agreed, mut not_finite) = (0, 0);
        for pair in predicted_classes(teacher)?.into_iter().zip(predicted_classes(student)?) {
            match pair {
                (Some(teacher), Some(student)) => agreed += usize::from(teacher == student),
                _ => not_finite += 1,
            }
        }
        let images = student.dim(0)?;
        let mut divergence = 0.0;
        for start in (0..images).step_by(AT_ONCE) {
            let some = |logits: &Tensor| log_softmax(&logits.narrow(0, start, AT_ONCE.min(images - start))?);
            let (teacher, student) = (some(teacher)?, some(student)?);
            let of_image = (teacher.exp()? * (teacher - student)?)?.sum(D::Minus1)?.to_dtype(DType::F64)?;
            divergence += of_image.to_vec1::<f64>()?.into_iter().sum::<f64>();
        }
        let share = share(agreed, images);
        let mean_kl = divergence / images.max(1) as f64;
        let percent = 100.0 * share;
        let apart = without_prediction(not_finite, "so that there is no mean KL");
        // Rounding leaves a little less than zero of equal networks; no minus is shown for it.
        let shown = (mean_kl * 1e4).round() / 1e4 + 0.0;
        let summary = match not_finite {
            0 => format!("same class on {percent:.2} % of {images} images, mean KL {shown:.4}"),
            _ => format!("same class on {percent:.2} % of {images} images{apart}"),
        };
        Ok(Measurement::new(summary)
            .figure("share", share)
            .figure("mean_kl", mean_kl)
            .figure("images", images)
            .figure("not_finite", not_finite))
    }
}
