//! Optimizers.

mod adam;
mod adam_state;
mod adam_w;
mod saved_state;
mod sgd;

pub use adam::Adam;
pub use adam_w::AdamW;
pub use sgd::Sgd;

zskt_api::export! { optimizer: Adam, AdamW, Sgd }
