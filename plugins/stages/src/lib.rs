//! Stages, and the turns they are made of.
//!
//! There is one training loop, the game: players take turns on batches of images. Adversarial belief matching,
//! distillation on real images and supervised training differ in who plays and for what.

mod game;
mod images;
mod played;
mod replays;
mod timetable;
mod train;
mod transfer;
mod turn;
mod turns;

pub use train::{Train, TrainInputs};
pub use transfer::{Transfer, TransferInputs};
pub use turns::{Maximize, Minimize, TurnInputs};

zskt_api::export! { stage: Transfer, Train; turn: Maximize, Minimize }

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
            "Maximize(optimizer: TestSgd(lr: 0.01), clip_norm: 5.0)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
