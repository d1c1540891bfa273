//! Generators.

mod conv_body;
mod conv_generator;
mod label_generator;
mod label_vectors;
mod pixels;

pub use conv_body::Output;
pub use conv_generator::ConvGenerator;
pub use label_generator::LabelGenerator;
pub use pixels::Pixels;

zskt_api::export! { reads: none; generator: ConvGenerator, LabelGenerator, Pixels }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_generator_keeps_its_contract() -> Result<()> {
        for plugin in [
            "ConvGenerator(latent_dim: 5, channels: 4, first_map: 2, image_size: 8)",
            "ConvGenerator(latent_dim: 1, channels: 2, first_map: 1, image_size: 4, image_channels: 1)",
            "ConvGenerator(latent_dim: 5, channels: 4, first_map: 1, image_size: 4, output: Sigmoid, bias: false, first_channels: Some(6))",
            "ConvGenerator(latent_dim: 5, channels: 4, first_map: 1, image_size: 4, output: Tanh, eps: 0.8)",
            "LabelGenerator(classes: 3, batch_size: 5, vector_dim: 4, noisy_dim: 3, channels: 4, first_map: 1, image_size: 4)",
            "Pixels(images: 2, image_size: 4, clip: true)",
            "Pixels(images: 3, image_size: 2, image_channels: 1)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
