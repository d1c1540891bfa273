//! Optimizers.

mod adam;
mod adam_state;
mod adam_w;
mod saved_state;
mod sgd;

pub use adam::Adam;
pub use adam_w::AdamW;
pub use sgd::Sgd;

zskt_api::export! { reads: none; optimizer: Adam, AdamW, Sgd }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_optimizer_keeps_its_contract() -> Result<()> {
        for plugin in [
            "Adam(weight_decay: 0.1)",
            "AdamW(betas: [0.8, 0.99])",
            "Sgd()",
            "Sgd(momentum: 0.9, weight_decay: 0.1)",
            "Sgd(momentum: 0.9, nesterov: true)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
