//! Metrics.

mod accuracy;
mod agreement;
mod evaluation;
mod mean_transition_error;

pub use accuracy::{Accuracy, AccuracyInputs};
pub use agreement::{Agreement, AgreementInputs};
pub use mean_transition_error::{MeanTransitionError, TransitionInputs};

zskt_api::export! { metric: Accuracy, Agreement, MeanTransitionError }
