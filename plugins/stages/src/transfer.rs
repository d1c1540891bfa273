//! Transfer: a student learns from a teacher.

use std::sync::Arc;

use zskt_api::{
    ClassifierNetwork, Fault, ImageSource, PortType, Ports, Product, Result, Signature, Signatures, Stage,
    StageContext, Trainee, Turn, above, params, ports,
};

use crate::game::{Game, check, trained};
use crate::timetable::{Length, Timetable};

params! {
    /// A student learns from a teacher, on images that a generator makes or a dataset holds. In each batch the turns are
    /// played in the order of their edges. With a generator that maximizes and a student that minimizes the divergence of
    /// their beliefs, this is the zero-shot transfer of Micaelli & Storkey (NeurIPS 2019); with a dataset it is distillation.
    pub struct Transfer {
        /// Batches to play.
        pub batches: Option<usize> = None => 1..=1_000_000_000,
        /// Passes over the dataset to play, instead of `batches`.
        pub epochs: Option<f64> = None => above(0.0),
        /// Images in a batch.
        pub batch_size: usize = 128 => 1..=1_000_000,
        /// Batches between evaluations of the metrics that hang on this stage; `None` evaluates them at its end only.
        pub evaluate_every: Option<usize> = None => 1..=1_000_000_000,
        /// Batches between checkpoints.
        pub checkpoint_every: usize = 500 => 1..=1_000_000_000,
        /// Batches between previews of the images; `None` shows the first, the last and eight in between.
        pub preview_every: Option<usize> = None => 1..=1_000_000_000,
        /// Whether a GPU may record a batch as a CUDA graph and replay it, where the images come from a generator and the
        /// optimizers allow it; a batch that cannot be recorded, or whose replay gives other figures, is played as ever.
        pub replay: bool = true,
    }
}

ports! {
    /// Who plays.
    pub struct TransferInputs {
        /// The network that knows: frozen, only its beliefs count.
        pub teacher: Arc<ClassifierNetwork>,
        /// The network that learns.
        pub student: Trainee,
        /// What the images come from.
        pub images: ImageSource,
        /// The turns of each batch, in the order of their edges.
        pub turns: Vec<Arc<Turn>>,
    }
}

impl Stage for Transfer {
    type Inputs = TransferInputs;

    const OUTPUT: PortType = PortType::Classifier;

    fn check(&self, inputs: &Signatures) -> Vec<Fault> {
        let mut faults = check(inputs, &TransferInputs::ports(), true);
        faults.extend(Length { batches: self.batches, epochs: self.epochs }.check(inputs));
        faults
    }

    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        trained(inputs)
    }

    fn run(&self, inputs: TransferInputs, context: &mut StageContext<'_>) -> Result<Product> {
        let TransferInputs { teacher, student: Trainee(student), images, turns } = inputs;
        let length = Length { batches: self.batches, epochs: self.epochs };
        let batches = length.in_batches(&images, self.batch_size);
        let timetable = Timetable {
            batches,
            batch_size: self.batch_size,
            evaluate_every: self.evaluate_every,
            checkpoint_every: self.checkpoint_every,
            preview_every: self.preview_every.unwrap_or(batches.div_ceil(9)),
            replay: self.replay,
        };
        let game = Game { teacher: Some(teacher), student, images, turns, timetable };
        game.players_are_seated()?;
        game.play(context)?;
        Ok(Product::Classifier(game.student))
    }
}
