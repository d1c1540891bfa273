//! Stages, and the turns they are made of.
//!
//! There is one training loop, in which turns update a network each on every batch. Adversarial belief matching,
//! distillation on real images and supervised training differ in which networks are updated and by which losses.

mod batch_metrics;
mod batch_sampler;
mod check;
mod cuda_graph_runner;
mod draws;
mod gradient_reach;
mod intervals;
mod loss_sum;
mod loss_trial;
#[cfg(test)]
mod method_tests;
mod monitors;
mod no_room;
mod selection;
mod state_snapshot;
mod synthesis;
mod synthesize;
mod train;
mod training_length;
mod training_loop;
mod training_options;
mod transfer;
mod turn_plugins;
mod turn_runtime;

pub use monitors::OnWarning;
pub use synthesize::Synthesize;
pub use train::{Train, TrainInputs};
pub use transfer::{Transfer, TransferInputs};
pub use turn_plugins::{Maximize, Minimize, TurnInputs};

zskt_api::export! { reads: none; stage: Transfer, Train; turn: Maximize, Minimize, Synthesize }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    zskt_api::export! { optimizer: zskt_api::testing::TestSgd }

    #[test]
    fn every_stage_and_turn_keeps_its_contract() -> Result<()> {
        for plugin in [
            "Train(batches: 3, batch_size: 8)",
            "Train(epochs: 1.0, batch_size: 7, evaluate_every: 1)",
            "Transfer(batches: 3, batch_size: 4, checkpoint_every: 2)",
            "Minimize(steps: 2, optimizer: TestSgd())",
            "Synthesize(steps: 2, every: 3, optimizer: TestSgd())",
            "Maximize(optimizer: TestSgd(lr: 0.01), clip_norm: 5.0)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
