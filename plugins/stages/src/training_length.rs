//! How long a stage trains.

use zskt_api::{CheckError, Error, ImageSource, Result, Signature, Signatures};

/// How long a stage trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrainingLength {
    /// So many batches.
    Batches(usize),
    /// So many passes over the dataset.
    Epochs(f64),
}

impl TrainingLength {
    /// The length that a stage's parameters give.
    ///
    /// # Errors
    /// When they give none, or two.
    pub fn new(batches: Option<usize>, epochs: Option<f64>) -> Result<Self, CheckError> {
        match (batches, epochs) {
            (Some(batches), None) => Ok(Self::Batches(batches)),
            (None, Some(epochs)) => Ok(Self::Epochs(epochs)),
            (None, None) => Err(CheckError::new(
                "expected `batches`, or `epochs` where the images are a dataset: how long to train",
            )),
            (Some(_), Some(_)) => Err(CheckError::parameter(
                "epochs",
                "`batches` and `epochs` both say how long to train: give one of them",
            )),
        }
    }

    /// Why it does not fit what arrives, where it does not.
    pub fn check(self, inputs: &Signatures) -> Option<CheckError> {
        let generated = matches!(inputs.one("images"), Some(Signature::Generator(_)));
        (matches!(self, Self::Epochs(_)) && generated).then(no_epochs)
    }

    /// The length in batches, at least one.
    ///
    /// # Errors
    /// When it is in epochs and the images come from a generator.
    pub fn in_batches(self, images: &ImageSource, batch_size: usize) -> Result<usize> {
        match (self, images) {
            (Self::Batches(batches), _) => Ok(batches),
            (Self::Epochs(epochs), ImageSource::Dataset(dataset)) => {
                let per_epoch = dataset.signature().images.div_ceil(batch_size);
                Ok((epochs * per_epoch as f64).round().max(1.0) as usize)
            }
            (Self::Epochs(_), ImageSource::Generator(_)) => Err(Error::from(no_epochs())),
        }
    }
}

fn no_epochs() -> CheckError {
    CheckError::parameter("epochs", "a generator has no epochs").help("give `batches` instead")
}
