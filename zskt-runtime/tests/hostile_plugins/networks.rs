//! Architectures, a teacher and a generator.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use zskt_api::candle_core::DType;
use zskt_api::nn::{Linear, Pool, average_pool, global_average};
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, Classifier, ClassifierNetwork, ClassifierOutput, ClassifierShape,
    FeatureMap, ForwardMode, Generator, GeneratorArchitecture, GeneratorInput, ImageShape, Network, Normalization,
    OutputShape, Parameter, Result, StreamRng, TeacherSource, choice, params, standard_normal,
};

use crate::data::{CLASSES, IMAGE};

choice! {
    /// What a classifier does other than it declares.
    pub enum NetLie {
        /// Nothing.
        Honest,
        /// A class is missing.
        OtherClasses,
        /// Its activations are missing.
        NoActivations,
        /// They are half as large.
        SmallActivations,
        /// Logits of f64.
        OtherType,
        /// A layer does not fit the one before it.
        DoesNotFit,
        /// Its forward pass panics.
        Panics,
        /// A buffer moves in evaluation.
        TrainsOn,
        /// It does from the second batch on.
        TrainsOnLater,
        /// Logits of NaN.
        NanLogits,
        /// Two weights of one name.
        TwoOfOneName,
        /// A running variance of −1.
        NegativeVariance,
        /// A weight of NaN.
        NanWeight,
        /// The network has a name of its own.
        OtherName,
        /// The program ends.
        Exits,
        /// Its check panics.
        PanicsInCheck,
    }
}

params! {
    /// A linear layer on the mean colour of an image.
    pub struct HostileNet {
        /// What it does other than it declares.
        pub lie: NetLie = NetLie::Honest,
    }
}

params! {
    /// The same, from elsewhere.
    pub struct HostileTeacher {
        /// What it does other than it declares.
        pub lie: NetLie = NetLie::Honest,
    }
}

macro_rules! shape {
    ($($plugin:ident),*) => {$(
        impl ClassifierShape for $plugin {
            fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
                Ok(OutputShape { classes: CLASSES, activations: vec![image] })
            }
            fn classes(&self) -> usize {
                CLASSES
            }
        }
    )*};
}
shape!(HostileNet, HostileTeacher);

impl Architecture for HostileNet {
    fn check(&self) -> Result<(), CheckError> {
        assert!(self.lie != NetLie::PanicsInCheck, "no check");
        Ok(())
    }

    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let head = Linear::new(&builder.at("fc"), 3, CLASSES)?;
        let steps = builder.counter("steps")?;
        if self.lie == NetLie::TwoOfOneName {
            builder.counter("steps")?;
        }
        builder.buffer("running_var", &[3], if self.lie == NetLie::NegativeVariance { -1.0 } else { 1.0 })?;
        Ok(Box::new(Net { lie: self.lie, head, steps, calls: AtomicUsize::new(0) }))
    }
}

impl TeacherSource for HostileTeacher {
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }

    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let builder = Builder::random(&context.streams, &context.node, context.precision, &context.device);
        let forward = HostileNet { lie: self.lie }.build(&builder)?;
        let weights = builder.weights();
        for weight in weights.iter().filter(|weight| self.lie == NetLie::NanWeight && weight.name() == "fc.bias") {
            weight.var().set(&(weight.value() * f64::NAN)?)?;
        }
        let name = if self.lie == NetLie::OtherName { "someone".into() } else { context.node.clone() };
        Ok(Network { name, weights, forward })
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

struct Net {
    lie: NetLie,
    head: Linear,
    steps: Parameter,
    calls: AtomicUsize,
}

impl Classifier for Net {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut logits = self.head.forward(&global_average(images)?, mode)?;
        let mut activations = vec![images.clone()];
        match self.lie {
            NetLie::OtherClasses => logits = logits.narrow(1, 0, CLASSES - 1)?,
            NetLie::NoActivations => activations.clear(),
            NetLie::SmallActivations => activations = vec![average_pool(images, Pool::squares(2))?],
            NetLie::OtherType => logits = logits.to_dtype(DType::F64)?,
            NetLie::NanLogits => logits = (logits * f64::NAN)?,
            NetLie::DoesNotFit => logits = self.head.forward(&logits.narrow(1, 0, CLASSES - 1)?, mode)?,
            NetLie::Panics => panic!("no forward pass"),
            NetLie::Exits => std::process::exit(0),
            _ => {}
        }
        let late = self.lie == NetLie::TrainsOnLater && calls == 3;
        if !mode.uses_batch_statistics() && (self.lie == NetLie::TrainsOn || late) {
            self.steps.var().set(&(self.steps.value() + 1.0)?)?;
        }
        Ok(ClassifierOutput { logits, activations })
    }
}

choice! {
    /// What a generator does other than it declares.
    pub enum GeneratorLie {
        /// Nothing.
        Honest,
        /// Images of half the size.
        OtherShape,
        /// Half as many images as latents.
        HalfBatch,
        /// Images of f64.
        OtherType,
        /// A number too few is drawn.
        ShortSample,
        /// NaN is drawn.
        NanSample,
    }
}

params! {
    /// A linear layer to an image.
    pub struct HostileGenerator {
        /// What it does other than it declares.
        pub lie: GeneratorLie = GeneratorLie::Honest,
    }
}

impl GeneratorArchitecture for HostileGenerator {
    fn image(&self) -> Result<ImageShape, CheckError> {
        Ok(IMAGE)
    }

    fn build(&self, builder: &Builder, _: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        let layer = Linear::new(&builder.at("fc"), 3, IMAGE.channels * IMAGE.height * IMAGE.width)?;
        Ok(Box::new(Painter { lie: self.lie, layer }))
    }
}

struct Painter {
    lie: GeneratorLie,
    layer: Linear,
}

impl Generator for Painter {
    fn forward(&self, input: &GeneratorInput<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let batch = input.latents.dims()[0];
        let mut pixels = self.layer.forward(input.latents, mode)?;
        if self.lie == GeneratorLie::OtherType {
            pixels = pixels.to_dtype(DType::F64)?;
        }
        let images = FeatureMap::from_nchw(&pixels.reshape((batch, IMAGE.channels, IMAGE.height, IMAGE.width))?)?;
        match self.lie {
            GeneratorLie::OtherShape => average_pool(&images, Pool::squares(2)),
            GeneratorLie::HalfBatch => images.narrow(0, batch / 2),
            _ => Ok(images),
        }
    }

    fn latent_dim(&self) -> usize {
        3
    }

    fn sample(&self, batch: usize, rng: &mut StreamRng) -> Vec<f64> {
        let mut numbers = standard_normal(rng, 3 * batch);
        match self.lie {
            GeneratorLie::ShortSample => numbers.truncate(3 * batch - 1),
            GeneratorLie::NanSample => numbers[1] = f64::NAN,
            _ => {}
        }
        numbers
    }
}

zskt_api::export! { architecture: HostileNet; teacher: HostileTeacher; generator: HostileGenerator }
