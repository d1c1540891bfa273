//! Generators.

mod conv_generator;

pub use conv_generator::ConvGenerator;

zskt_api::export! { reads: none; generator: ConvGenerator }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_generator_keeps_its_contract() -> Result<()> {
        for plugin in [
            "ConvGenerator(latent_dim: 5, channels: 4, first_map: 2, image_size: 8)",
            "ConvGenerator(latent_dim: 1, channels: 2, first_map: 1, image_size: 4, image_channels: 1)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
