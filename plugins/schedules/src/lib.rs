//! Learning-rate schedules.

mod constant;
mod cosine;
mod multi_step;
mod one_cycle;

pub use constant::Constant;
pub use cosine::Cosine;
pub use multi_step::MultiStep;
pub use one_cycle::{Anneal, OneCycle};

zskt_api::export! { reads: none; schedule: Constant, Cosine, MultiStep, OneCycle }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_schedule_keeps_its_contract() -> Result<()> {
        for plugin in [
            "Constant",
            "Cosine(floor: 0.1)",
            "MultiStep(milestones: [0.3, 0.6])",
            "OneCycle()",
            "OneCycle(warm_up: 0.0, anneal: Linear)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
