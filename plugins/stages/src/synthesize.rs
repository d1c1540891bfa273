//! The turn plugin `Synthesize`.

use zskt_api::{
    Augmentation, CheckError, GeneratorParts, KeptImages, Latents, Mode, Nested, Objective, Optimizer, Reset, Result,
    Rounds, Schedule, Signature, Signatures, Synthesis, SynthesisSignature, Transforms, Turn, TurnPlugin,
    TurnSignature, above, nearest_name, params,
};

use crate::turn_plugins::{TurnInputs, losses, player};

params! {
    /// A turn that makes images for the turns after it, in rounds: an inner game takes `steps` steps on the generator, and perhaps on its
    /// latents, until its images are what the losses ask for. They go into a bank, as 8 bits per channel, from which the student of the
    /// stage learns. Every synthesis begins with new latents, new classes where the stage has `targets`, and a new optimizer.
    ///
    /// With `Pixels` as generator this is DeepInversion, with `outer` Fast-Datafree, with `LabelGenerator` NAYER.
    pub struct Synthesize {
        /// Images of one synthesis.
        pub images: usize = 256 => 1..=1_000_000,
        /// Steps of one synthesis.
        pub steps: usize => 1..=1_000_000,
        /// How a gradient moves the generator, and the latents.
        pub optimizer: Nested<dyn Optimizer>,
        /// How learning rates change over the steps of a synthesis; `None` leaves them as they are.
        pub schedule: Option<Nested<dyn Schedule>> = None,
        /// The largest global L2 norm that a gradient of the generator keeps; longer ones are scaled down to it.
        pub clip_norm: Option<f64> = None => above(0.0),
        /// The learning rate of the latents; `None` leaves them as they were drawn.
        pub latents_lr: Option<f64> = None => above(0.0),
        /// Makes each synthesis change a copy of the generator, and moves the generator itself once for each, by the sum of the copy's
        /// gradients: first-order meta-learning.
        pub outer: Option<Nested<dyn Optimizer>> = None,
        /// Which images of a synthesis are kept.
        pub keep: KeptImages = KeptImages::Best,
        /// Batches of the stage between two rounds; the first comes before the first batch.
        pub every: usize => 1..=1_000_000_000,
        /// Syntheses in a round.
        pub syntheses: usize = 1 => 1..=1_000_000,
        /// Rounds before the first batch, beside its own.
        pub warm_up: usize = 0 => 0..=1_000_000,
        /// Syntheses in each of these; `None` for as many as in others.
        pub warm_up_syntheses: Option<usize> = None => 1..=1_000_000,
        /// Syntheses before losses that look at the student count, which it has to learn something for; `None` for those of the warm-up.
        pub student_after: Option<usize> = None,
        /// How the student is run: by the running statistics of its batch norms, or by those of the batch.
        pub opponent: Mode = Mode::Eval,
        /// Pixels of black padding at each side before a random crop of each image, in each step.
        pub crop: usize = 0 => 0..=1024,
        /// Pixels by which all images are rolled together at most, in each step, wrapping round.
        pub roll: usize = 0 => 0..=1024,
        /// Whether images are mirrored by chance in each step: each for itself, or all together where they are rolled.
        pub flip: bool = false,
        /// What moving averages of the statistics that `BatchNormMatching` looks at keep from synthesis to synthesis; `None` for those of
        /// each batch alone.
        pub statistics_momentum: Option<f64> = None => 0.0..1.0,
        /// Rounds after which all weights of the generator are drawn anew, counted from the end of the warm-up, and within it.
        pub reinitialize_every: Option<usize> = None => 1..=1_000_000_000,
        /// The synthesis, counted from 1, before which some layers are drawn anew, once.
        pub reset_at: Option<usize> = None => 1..=1_000_000_000,
        /// Which, by the names of their weights without the last part: weights from N(0, 0.02²), biases 0. Those are the first two of
        /// `ConvGenerator`.
        pub reset_layers: Vec<String> = vec!["fc".to_owned(), "bn0".to_owned()],
        /// Pixels of black padding before a random crop of each image that the student learns from.
        pub bank_crop: usize = 4 => 0..=1024,
        /// Whether half of the images that the student learns from are mirrored.
        pub bank_flip: bool = true,
        /// Images that the bank holds at most; when it is full, the oldest leave.
        pub bank_size: Option<usize> = None => 1..=1_000_000_000,
    }
}

/// Standard deviation of weights that are reset.
const RESET_STD: f64 = 0.02;

/// How many layers of a generator a message lists.
const MOST_SHOWN: usize = 20;

impl Synthesize {
    fn rounds(&self) -> Rounds {
        let warm_up_syntheses = self.warm_up_syntheses.unwrap_or(self.syntheses);
        let student_after = self.student_after.unwrap_or(self.warm_up * warm_up_syntheses);
        Rounds { every: self.every, syntheses: self.syntheses, warm_up: self.warm_up, warm_up_syntheses, student_after }
    }
}

/// What a generator called `name` lacks of what a synthesis names: layers to draw anew, latents to learn.
pub fn misfits(parts: &GeneratorParts, name: &str, reset_layers: &[String], learns_latents: bool) -> Vec<CheckError> {
    let missing = |layer: &&String| !parts.layers.contains(*layer);
    let mut faults: Vec<_> = reset_layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| missing(layer))
        .map(|(index, layer)| {
            let known = parts.layers.iter().map(String::as_str);
            let message = format!("`{name}` has no layer `{layer}` to draw anew");
            let nearest =
                nearest_name(layer, known.clone()).map_or(String::new(), |near| format!("did you mean `{near}`? "));
            let shown: Vec<_> = known.take(MOST_SHOWN).collect();
            let more = parts.layers.len() - shown.len();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let help = format!("{nearest}its layers are {}{more}", shown.join(", "));
            CheckError::parameter(format!("reset_layers[{index}]"), message).help(help)
        })
        .collect();
    if learns_latents && parts.latent_dim == 0 {
        let message = format!("`{name}` takes no latents that could be learnt");
        faults.push(CheckError::parameter("latents_lr", message).help("leave it out"));
    }
    faults
}

impl TurnPlugin for Synthesize {
    type Inputs = TurnInputs;

    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        let Some(Signature::Generator(generator)) = inputs.one("player") else { return Vec::new() };
        let layers = if self.reset_at.is_some() { &self.reset_layers[..] } else { &[] };
        if layers.is_empty() && self.latents_lr.is_none() {
            return Vec::new();
        }
        let parts = generator.architecture.parts();
        parts.map_or_else(Vec::new, |parts| misfits(&parts, &generator.network, layers, self.latents_lr.is_some()))
    }

    fn signature(&self, inputs: &Signatures) -> Option<TurnSignature> {
        let ignores_student_at_first = self.rounds().student_after > 0;
        let averages_statistics = self.statistics_momentum.is_some();
        let synthesis = Some(SynthesisSignature { images: self.images, averages_statistics, ignores_student_at_first });
        Some(TurnSignature { network: player(inputs)?, losses: losses(inputs)?, synthesis })
    }

    fn build(&self, node: &str, inputs: TurnInputs) -> Result<Turn> {
        let layers = &self.reset_layers;
        let reset = self.reset_at.map(|synthesis| Reset { synthesis, layers: layers.clone(), std: RESET_STD });
        Ok(Turn {
            name: node.to_owned(),
            player: inputs.player,
            objective: Objective::Minimize,
            steps: self.steps,
            losses: inputs.loss,
            optimizer: self.optimizer.plugin(),
            schedule: self.schedule.as_ref().map(Nested::plugin),
            clip_norm: self.clip_norm,
            latents: Latents::Fresh,
            opponent: self.opponent,
            synthesis: Some(Synthesis {
                images: self.images,
                rounds: self.rounds(),
                keep: self.keep,
                transforms: Transforms { crop: self.crop, roll: self.roll, flip: self.flip },
                latents_lr: self.latents_lr,
                outer: self.outer.as_ref().map(Nested::plugin),
                statistics_momentum: self.statistics_momentum,
                reinitialize_every: self.reinitialize_every,
                reset,
                augmentation: Augmentation { crop: self.bank_crop, flip: self.bank_flip },
                capacity: self.bank_size,
            }),
        })
    }
}
