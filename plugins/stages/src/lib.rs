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
