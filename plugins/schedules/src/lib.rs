//! Learning-rate schedules.

mod constant;
mod cosine;
mod multi_step;
mod one_cycle;

pub use constant::Constant;
pub use cosine::Cosine;
pub use multi_step::MultiStep;
pub use one_cycle::{Anneal, OneCycle};

zskt_api::export! { schedule: Constant, Cosine, MultiStep, OneCycle }
