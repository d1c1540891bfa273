//! Losses.

mod attention_transfer;
mod cross_entropy;
mod kl_divergence;

pub use attention_transfer::AttentionTransfer;
pub use cross_entropy::CrossEntropy;
pub use kl_divergence::KlDivergence;

zskt_api::export! { reads: none; loss: KlDivergence, AttentionTransfer, CrossEntropy }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_loss_keeps_its_contract() -> Result<()> {
        for plugin in [
            "KlDivergence()",
            "KlDivergence(temperature: 4.0, weight: 0.5)",
            "AttentionTransfer()",
            "CrossEntropy()",
            "CrossEntropy(label_smoothing: 0.1, weight: 2.0)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
