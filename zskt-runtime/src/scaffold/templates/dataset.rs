//! Striped images, one direction for each class.

use std::f64::consts::PI;
use std::path::PathBuf;
use std::sync::Arc;

use zskt_api::rand::Rng;
use zskt_api::{
    BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, ImageSet, ImageShape,
    Normalization, RandomStreams, Result, params,
};

params! {
    /// Gray stripes under noise; their direction is the class. No file is needed, and every image depends on `seed` and its
    /// number alone.
    pub struct ExampleDataset {
        /// How many images.
        pub count: usize => 1..=1_000_000,
        /// Height and width in pixels.
        pub size: usize = 16 => 8..=256,
        /// Directions.
        pub classes: usize = 10 => 2..=100,
        /// Another seed makes other images.
        pub seed: usize = 0,
    }
}

impl ExampleDataset {
    fn image(&self, index: usize) -> Vec<u8> {
        let mut rng = RandomStreams::new(self.seed as u64).at("stripes", index as u64);
        let (sin, cos) = (PI * (index % self.classes) as f64 / self.classes as f64).sin_cos();
        let phase = rng.random_range(0.0..2.0 * PI);
        let mut gray = Vec::with_capacity(self.size * self.size);
        for y in 0..self.size {
            for x in 0..self.size {
                let wave = (1.2 * (x as f64 * cos + y as f64 * sin) + phase).sin();
                gray.push((128.0 + 60.0 * wave + rng.random_range(-60.0..60.0)) as u8);
            }
        }
        gray.repeat(3)
    }
}

impl DatasetSource for ExampleDataset {
    fn describe(&self) -> std::result::Result<DatasetSignature, CheckError> {
        let image = ImageShape::new(3, self.size, self.size);
        Ok(DatasetSignature {
            image,
            classes: self.classes,
            images: self.count,
        })
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        let pixels = (0..self.count)
            .flat_map(|index| self.image(index))
            .collect();
        let labels = (0..self.count)
            .map(|index| (index % self.classes) as u32)
            .collect();
        let images = ImageSet::new(
            ImageShape::new(3, self.size, self.size),
            self.classes,
            pixels,
            labels,
        )?;
        // The teacher's, where it has one.
        let normalization = context.normalization.clone().unwrap_or(Normalization {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        });
        Ok(Arc::new(
            images.normalize(&normalization.mean, &normalization.std)?,
        ))
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

zskt_api::export! { reads: none; dataset: ExampleDataset }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    use super::ExampleDataset;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleDataset(count: 20, size: 8)")
    }

    #[test]
    fn an_image_depends_on_seed_and_number_alone() {
        let set = |count, seed| ExampleDataset {
            count,
            size: 8,
            classes: 10,
            seed,
        };
        assert_eq!(set(5, 1).image(3), set(50, 1).image(3));
        assert_ne!(set(5, 1).image(3), set(5, 2).image(3));
        assert_ne!(set(5, 1).image(3), set(5, 1).image(4));
    }
}
