//! Whether made images are of all classes.

use zskt_api::candle_core::Tensor;
use zskt_api::ops::log_softmax;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, TeacherOutput, choice, params};

/// The smallest mean probability: an entropy has no use for less.
const SMALLEST: f64 = 1e-30;

choice! {
    /// The base of a logarithm.
    pub enum Logarithm {
        /// e.
        Natural,
        /// 10.
        Common,
    }
}

params! {
    /// Minus the entropy of the teacher's mean belief over the batch, `Σ p̄·log p̄`: small for batches in which all classes are as frequent
    /// (the information entropy loss of DAFL, Chen et al., ICCV 2019). It does not look at the student.
    pub struct InformationEntropy {
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0,
        /// `Common` is that of DAFL's authors, `Natural` that of all after them.
        pub logarithm: Logarithm = Logarithm::Natural,
    }
}

impl Loss for InformationEntropy {
    fn needs(&self) -> LossInputs {
        LossInputs { student: false, teacher: true, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        // A class that no image shows has a logarithm, too.
        Ok(vec![log_softmax(&teacher.logits)?.exp()?.mean(0)?.maximum(SMALLEST)?])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [mean] = batch.target else { return Err(Error::new("the teacher's output is missing")) };
        let base = match self.logarithm {
            Logarithm::Natural => 1.0,
            Logarithm::Common => std::f64::consts::LN_10,
        };
        Ok(((mean * mean.log()?)?.sum_all()? * (self.weight / base))?)
    }

    fn replays(&self) -> bool {
        true
    }
}
