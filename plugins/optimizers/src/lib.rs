//! Optimizers.

mod adam;
mod adam_w;
mod moments;
mod sgd;

pub use adam::Adam;
pub use adam_w::AdamW;
pub use sgd::Sgd;

zskt_api::export! { optimizer: Adam, AdamW, Sgd }
