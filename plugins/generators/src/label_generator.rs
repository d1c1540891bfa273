//! A generator that is told by vectors of class names which classes to show.

use std::path::PathBuf;

use zskt_api::candle_core::Tensor;
use zskt_api::nn::{Activation, BatchNorm2d};
use zskt_api::ops::linear;
use zskt_api::{
    Builder, CheckError, Error, FeatureMap, ForwardMode, Generator, GeneratorArchitecture, GeneratorInput, ImageShape,
    Init, Normalization, Parameter, Result, StreamRng, params, standard_normal,
};

use crate::conv_body::{self, BodyShape, ConvBody, Output};
use crate::label_vectors::LabelVectors;

params! {
    /// NAYER's generator (Tran et al., CVPR 2024): a vector for each label, batch norm, a noisy linear layer for each `classes` images of
    /// a batch, which is drawn anew before each synthesis, and what `ConvGenerator(output: Sigmoid, bias: false)` makes of that. It takes
    /// no latents. Vectors of class names, as a text model gives them, are metadata, which the data-free proof names; without them each
    /// class has a vector drawn at random.
    pub struct LabelGenerator {
        /// Classes it makes images of.
        pub classes: usize => 1..=65536,
        /// The largest batch: the `images` of its `Synthesize`, or the stage's `batch_size`.
        pub batch_size: usize => 1..=65536,
        /// A weights file (safetensors) with a tensor `[classes, D]`, called `table` or alone in it.
        pub vectors: Option<PathBuf> = None,
        /// Length of vectors drawn at random.
        pub vector_dim: usize = 512 => 1..=65536,
        /// Numbers that the noisy layers give.
        pub noisy_dim: usize = 1000 => 1..=65536,
        /// Channels of the first map and behind each doubling but the last, which leaves half as many.
        pub channels: usize = 128 => 2..=4096,
        /// Rows and columns of the first map, which doubled so often are those of the image.
        pub first_map: usize = 8 => 1..=256,
        /// How often they are doubled: as `ConvGenerator`'s.
        pub doublings: usize = 2 => 1..=8,
        /// Rows and columns of the image.
        pub image_size: usize = 32 => 4..=1024,
        /// Channels of the image.
        pub image_channels: usize = 3 => 1..=1024,
    }
}

impl LabelGenerator {
    fn file(&self) -> Option<std::result::Result<LabelVectors, CheckError>> {
        self.vectors.as_deref().map(|path| LabelVectors::open(path, self.classes))
    }

    fn layers(&self) -> usize {
        self.batch_size.div_ceil(self.classes)
    }

    /// Refuses what no memory holds, for vectors of this length.
    fn check_room(&self, length: usize) -> std::result::Result<(), CheckError> {
        /// Layers, and numbers of all of them: 40 and 20 million in the paper's of CIFAR-10.
        const MOST: [usize; 2] = [1024, 1 << 28];
        let (layers, numbers) = (self.layers(), self.layers().saturating_mul(length).saturating_mul(self.noisy_dim));
        if layers > MOST[0] {
            let reason =
                format!("a batch of {} images of {} classes has {layers} noisy layers", self.batch_size, self.classes);
            return Err(CheckError::parameter("batch_size", reason).help(format!("at most {} are made", MOST[0])));
        }
        if numbers > MOST[1] {
            let reason =
                format!("{layers} noisy layers from {length} to {} numbers have {numbers} weights", self.noisy_dim);
            return Err(CheckError::parameter("noisy_dim", reason).help(format!("at most {} are made", MOST[1])));
        }
        Ok(())
    }
}

impl GeneratorArchitecture for LabelGenerator {
    fn image(&self) -> std::result::Result<ImageShape, CheckError> {
        if self.vectors.is_none() {
            self.check_room(self.vector_dim)?;
        }
        conv_body::image([self.first_map, self.doublings, self.image_size], self.channels, self.image_channels)
    }

    fn check(&self) -> std::result::Result<(), CheckError> {
        let Some(vectors) = self.file().transpose()? else { return Ok(()) };
        self.check_room(vectors.length())?;
        vectors.read().map(|_| ()).map_err(|error| CheckError::parameter("vectors", error.to_string()))
    }

    fn metadata(&self) -> Option<String> {
        let path = self.vectors.as_ref()?.display();
        Some(match self.file()? {
            Ok(vectors) => format!("the label vectors of `{path}`, {}", vectors.shown()),
            Err(_) => format!("the label vectors of `{path}`"),
        })
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes)
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.batch_size)
    }

    fn needs_normalization(&self) -> bool {
        true
    }

    fn build(&self, builder: &Builder, normalization: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        let table = match self.file().transpose()? {
            Some(vectors) => vectors.read()?.to_device(builder.device())?.to_dtype(builder.precision().dtype())?,
            None => builder.constant("table", &[self.classes, self.vector_dim], Init::Normal { std: 1.0 })?,
        };
        let length = if self.vectors.is_some() { table.dim(1)? } else { self.vector_dim };
        let shape = BodyShape {
            inputs: self.noisy_dim,
            first_channels: self.channels,
            channels: self.channels,
            first_map: self.first_map,
            doublings: self.doublings,
            image_channels: self.image_channels,
            bias: false,
            epsilon: BatchNorm2d::EPSILON,
            output: Output::Sigmoid,
        };
        let layers =
            (0..self.layers()).map(|layer| NoisyLayer::new(&builder.at("noisy").at(layer), length, self.noisy_dim));
        Ok(Box::new(Network {
            classes: self.classes,
            table,
            norm: BatchNorm2d::new(&builder.at("bn_label"), length, Activation::Identity)?,
            layers: layers.collect::<Result<_>>()?,
            body: ConvBody::new(&builder.at("body"), &shape, normalization)?,
        }))
    }
}

/// A linear layer whose weights are noise that is learnt on for one synthesis.
struct NoisyLayer {
    weight: Parameter,
    bias: Parameter,
}

impl NoisyLayer {
    fn new(builder: &Builder, input: usize, output: usize) -> Result<Self> {
        Ok(Self {
            weight: builder.parameter("weight", &[output, input], Init::Normal { std: 1.0 })?,
            bias: builder.parameter("bias", &[output], Init::Constant(0.0))?,
        })
    }

    fn redraw(&self, rng: &mut StreamRng) -> Result<()> {
        let weight = self.weight.value();
        let numbers = standard_normal(rng, weight.elem_count());
        let numbers = Tensor::from_vec(numbers, weight.shape(), weight.device())?;
        self.weight.var().set(&numbers.to_dtype(weight.dtype())?)?;
        self.bias.var().set(&self.bias.value().zeros_like()?)?;
        Ok(())
    }
}

struct Network {
    classes: usize,
    /// `[classes, D]`
    table: Tensor,
    norm: BatchNorm2d,
    layers: Vec<NoisyLayer>,
    body: ConvBody,
}

impl Generator for Network {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let labels = input.labels.ok_or_else(|| Error::new("it makes images of classes, and is not told of which"))?;
        let (count, most) = (labels.dim(0)?, self.layers.len() * self.classes);
        if count > most {
            return Err(Error::new(format!("a batch of {count}, but its noisy layers are for {most} images")));
        }
        let rows = self.table.index_select(labels, 0)?.unsqueeze(2)?.unsqueeze(3)?;
        let rows = self.norm.forward(&FeatureMap::from_nchw(&rows)?, mode)?.flatten()?;
        let inputs = self.layers.iter().zip((0..count).step_by(self.classes)).map(|(layer, first)| {
            let rows = rows.narrow(0, first, self.classes.min(count - first))?;
            linear(&rows, &layer.weight.tensor(mode), &layer.bias.tensor(mode))
        });
        self.body.forward(&Tensor::cat(&inputs.collect::<Result<Vec<_>>>()?, 0)?, mode)
    }

    fn latent_dim(&self) -> usize {
        0
    }

    fn redraw(&self, rng: &mut StreamRng) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.redraw(rng))
    }
}

#[cfg(test)]
mod tests {
    use zskt_api::{PluginInstance, testing};

    #[test]
    fn layers_that_no_memory_holds_are_refused_at_their_place() -> zskt_api::Result<()> {
        let refused = |parameters: &str| -> zskt_api::Result<_> {
            let PluginInstance::Generator(plugin) = testing::plugin(&format!("LabelGenerator({parameters})"))? else {
                return Ok(None);
            };
            Ok(plugin.image().err().and_then(|fault| fault.parameter))
        };
        assert_eq!(refused("classes: 10, batch_size: 400")?, None);
        assert_eq!(refused("classes: 1, batch_size: 2000")?.as_deref(), Some("batch_size"));
        assert_eq!(
            refused("classes: 10, batch_size: 40, noisy_dim: 60000, vector_dim: 60000")?.as_deref(),
            Some("noisy_dim")
        );
        Ok(())
    }
}
