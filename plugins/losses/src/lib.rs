//! Losses.

mod attention_transfer;
mod batch_norm_matching;
mod cross_entropy;
mod feature_activation;
mod information_entropy;
mod jensen_shannon;
mod kl_divergence;
mod learning_with_less;
mod mean_absolute_error;
mod one_hot;
mod total_variation;
mod weight_aware;

pub use attention_transfer::AttentionTransfer;
pub use batch_norm_matching::BatchNormMatching;
pub use cross_entropy::CrossEntropy;
pub use feature_activation::FeatureActivation;
pub use information_entropy::{InformationEntropy, Logarithm};
pub use jensen_shannon::JensenShannon;
pub use kl_divergence::{KlDivergence, Reduction};
pub use learning_with_less::LearningWithLess;
pub use mean_absolute_error::MeanAbsoluteError;
pub use one_hot::{OneHot, ShownClass};
pub use total_variation::{TotalVariation, VariationNorm};
pub use weight_aware::WeightAware;

zskt_api::export! {
    reads: none;
    loss: KlDivergence, AttentionTransfer, CrossEntropy, MeanAbsoluteError, JensenShannon, OneHot, InformationEntropy,
        FeatureActivation, BatchNormMatching, TotalVariation, LearningWithLess, WeightAware
}

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_loss_keeps_its_contract() -> Result<()> {
        for plugin in [
            "KlDivergence()",
            "KlDivergence(temperature: 4.0, weight: 0.5)",
            "KlDivergence(temperature: 4.0, weight: -1.0, reduction: BatchMean, temperature_squared: true, agreeing_only: true)",
            "AttentionTransfer()",
            "CrossEntropy()",
            "CrossEntropy(label_smoothing: 0.1, weight: 2.0)",
            "MeanAbsoluteError(weight: -1.0)",
            "JensenShannon()",
            "OneHot()",
            "OneHot(class: Label)",
            "InformationEntropy(weight: 20.0)",
            "InformationEntropy(logarithm: Common)",
            "FeatureActivation()",
            "BatchNormMatching()",
            "TotalVariation()",
            "TotalVariation(norm: L2)",
            "LearningWithLess()",
            "LearningWithLess(temperature: 4.0, confidence: 0.3, uncertainty: 0.0, weight: 2.0)",
            "WeightAware(weight: 0.5)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
