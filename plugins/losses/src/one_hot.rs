//! How sure the teacher is of each image.

use zskt_api::candle_core::{D, Tensor};
use zskt_api::ops::log_softmax;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, choice, params};

choice! {
    /// Which class an image is to show.
    pub enum ShownClass {
        /// The one that the teacher finds most probable.
        MostProbable,
        /// Its label: of a made image, the stage's class target.
        Label,
    }
}

params! {
    /// Cross-entropy of the teacher's belief with one class, averaged over the batch: small for images that the teacher is sure of (the
    /// one-hot loss of DAFL, Chen et al., ICCV 2019). It does not look at the student.
    pub struct OneHot {
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0,
        /// With which class: `MostProbable` as in DAFL and DFQ, `Label` as in DeepInversion, CMI, Fast-Datafree and NAYER.
        pub class: ShownClass = ShownClass::MostProbable,
    }
}

impl Loss for OneHot {
    fn needs(&self) -> LossInputs {
        LossInputs { student: false, teacher: true, labels: self.class == ShownClass::Label, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(vec![log_softmax(&teacher.logits)?])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [log_belief] = batch.target else { return Err(Error::new("the teacher's output is missing")) };
        let class = match self.class {
            ShownClass::MostProbable => log_belief.detach().argmax_keepdim(D::Minus1)?,
            ShownClass::Label => batch.labels()?.unsqueeze(1)?,
        };
        Ok((log_belief.gather(&class, D::Minus1)?.mean_all()? * -self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
