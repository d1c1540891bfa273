//! The teacher's classes, each image weighted by how clear its class is.

use zskt_api::candle_core::{D, Tensor};
use zskt_api::ops::log_softmax;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, params};

params! {
    /// Cross-entropy of the student's belief with the class that the teacher finds most probable, each image weighted by how clear that is,
    /// for distillation on images without labels, of which many may be of none of the classes: the mean over the batch of
    /// `(t₁ − t₂)·(−log s)`, with `t₁` and `t₂` the two largest probabilities of the teacher's belief and `s` the student's for the class of
    /// `t₁`.
    ///
    /// After WAD (Du et al., ICCV 2023, "Semi-Supervised Learning via Weight-Aware Distillation under Class Distribution Mismatch"). There
    /// `t` are the cosines of an image's features, learnt by contrast, with the mean features of each class's labelled images. Here no image
    /// has a label, and the teacher's belief takes their place; nor do images become labelled ones as training goes on.
    pub struct WeightAware {
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0,
    }
}

impl Loss for WeightAware {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        let belief = log_softmax(&teacher.logits)?.exp()?;
        let constant = belief.detach();
        let first = constant.argmax_keepdim(D::Minus1)?;
        // No probability is below 0, so that of the first, less 2, is not the second.
        let others = constant.scatter_add(&first, &first.to_dtype(belief.dtype())?.affine(0.0, -2.0)?, D::Minus1)?;
        let second = others.argmax_keepdim(D::Minus1)?;
        let clarity = (belief.gather(&first, D::Minus1)? - belief.gather(&second, D::Minus1)?)?;
        Ok(vec![first, clarity])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [class, clarity] = batch.target else { return Err(Error::new("the teacher's output is missing")) };
        let log_belief = log_softmax(&batch.student()?.logits)?.gather(class, D::Minus1)?;
        Ok(((log_belief * clarity)?.mean_all()? * -self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
