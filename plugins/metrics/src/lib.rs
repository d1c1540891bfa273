//! Metrics.

mod accuracy;
mod agreement;
mod evaluation;
mod mean_transition_error;

pub use accuracy::{Accuracy, AccuracyInputs};
pub use agreement::{Agreement, AgreementInputs};
pub use mean_transition_error::{MeanTransitionError, TransitionInputs};

zskt_api::export! { reads: none; metric: Accuracy, Agreement, MeanTransitionError }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_metric_keeps_its_contract() -> Result<()> {
        for plugin in ["Accuracy()", "Agreement()", "MeanTransitionError(images: 5, steps: 3)"] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
