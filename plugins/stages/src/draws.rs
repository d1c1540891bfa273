//! What a stage with a bank draws by itself: orders, crops, shifts, weights. Whatever else is random is drawn by plugins.

use zskt_api::ops::Shift;
use zskt_api::rand::Rng;
use zskt_api::rand::seq::SliceRandom;
use zskt_api::{Augmentation, BuildContext, Init, Parameter, Reset, Result, Role, StreamRng, Weights};

/// Where the draws of syntheses and banks come from. Each is asked for by its place in the run, so that a stage can continue anywhere.
pub trait Draws {
    /// The stream of a plugin: what it draws for synthesis number `synthesis`.
    fn stream(&mut self, what: &str, synthesis: usize) -> StreamRng;
    /// How the images of a step are cropped and mirrored.
    fn crops(&mut self, augmentation: Augmentation, images: usize, synthesis: usize, step: usize) -> Vec<Shift>;
    /// How those of a step are rolled, by `limit` at most.
    fn roll(&mut self, limit: usize, flip: bool, synthesis: usize, step: usize) -> Shift;
    /// In which order the images of a bank are learnt from in a pass of a round.
    fn order(&mut self, images: usize, round: usize, pass: usize) -> Vec<usize>;
    /// How the images of a batch from the bank are cropped and mirrored.
    fn bank_crops(&mut self, augmentation: Augmentation, images: usize, batch: usize) -> Vec<Shift>;
    /// Draws all weights of a generator anew, before round number `round`.
    fn reinitialize(&mut self, weights: &Weights, round: usize) -> Result<()>;
    /// Draws some of them anew.
    fn reset(&mut self, weights: &Weights, reset: &Reset) -> Result<()>;
}

/// Draws from the run's streams.
pub struct StreamDraws<'a> {
    context: &'a BuildContext,
    turn: &'a str,
}

impl<'a> StreamDraws<'a> {
    /// For the synthesis of this turn.
    pub fn new(context: &'a BuildContext, turn: &'a str) -> Self {
        Self { context, turn }
    }

    fn at(&self, what: &str, index: [usize; 2]) -> StreamRng {
        let Self { context: BuildContext { node, streams, .. }, turn } = self;
        streams.at(&format!("{node}/{turn}/{what}/{}", index[0]), index[1] as u64)
    }
}

impl Draws for StreamDraws<'_> {
    fn stream(&mut self, what: &str, synthesis: usize) -> StreamRng {
        self.at(what, [0, synthesis])
    }

    fn crops(&mut self, augmentation: Augmentation, images: usize, synthesis: usize, step: usize) -> Vec<Shift> {
        augmentation.draw(images, &mut self.at("crop", [synthesis, step]))
    }

    fn roll(&mut self, limit: usize, flip: bool, synthesis: usize, step: usize) -> Shift {
        let mut rng = self.at("roll", [synthesis, step]);
        let mut shift = || rng.random_range(0..=2 * limit) as isize - limit as isize;
        Shift { down: shift(), right: shift(), flip: flip && rng.random() }
    }

    fn order(&mut self, images: usize, round: usize, pass: usize) -> Vec<usize> {
        shuffled(images, &mut self.at("bank_order", [round, pass]))
    }

    fn bank_crops(&mut self, augmentation: Augmentation, images: usize, batch: usize) -> Vec<Shift> {
        augmentation.draw(images, &mut self.at("bank_crop", [0, batch]))
    }

    fn reinitialize(&mut self, weights: &Weights, round: usize) -> Result<()> {
        let BuildContext { node, streams, .. } = self.context;
        let stream = format!("{node}/{}/reinitialize", self.turn);
        weights.reinitialize(|weight| Some(weight.init()), streams, &stream, round as u64)
    }

    fn reset(&mut self, weights: &Weights, reset: &Reset) -> Result<()> {
        let BuildContext { node, streams, .. } = self.context;
        let init = |weight: &Parameter| {
            let (layer, kind) = weight.name().rsplit_once('.')?;
            let of_layers = weight.role() == Role::Parameter && reset.layers.iter().any(|reset| reset == layer);
            let std = if kind == "bias" { 0.0 } else { reset.std };
            of_layers.then_some(Init::Normal { std })
        };
        weights.reinitialize(init, streams, &format!("{node}/{}/reset", self.turn), reset.synthesis as u64)
    }
}

/// Numbers below `count` in an order by chance.
pub fn shuffled(count: usize, rng: &mut StreamRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(rng);
    order
}
