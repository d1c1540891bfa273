//! The turn plugins: `Minimize` and `Maximize`.

use std::sync::Arc;

use zskt_api::{
    Latents, Loss, Mode, Nested, Objective, Optimizer, Player, Result, Schedule, Signature, Signatures, Turn,
    TurnPlugin, TurnSignature, above, params, ports,
};

ports! {
    /// What a turn is made of.
    pub struct TurnInputs {
        /// The network that is updated.
        pub player: Player,
        /// The losses that it makes small, or large; several are added up.
        pub loss: Vec<Arc<dyn Loss>>,
    }
}

/// The network that a turn updates.
pub fn player(inputs: &Signatures) -> Option<String> {
    Some(inputs.one("player")?.network()?.to_owned())
}

/// The losses of a turn; `None` where one is at fault, which has been reported: without it, the others may not be what is meant.
pub fn losses(inputs: &Signatures) -> Option<Vec<Arc<dyn Loss>>> {
    let loss = |(_, signature): (usize, &Signature)| match signature {
        Signature::Loss(loss) => Some(Arc::clone(loss)),
        _ => None,
    };
    inputs.is_known("loss").then(|| inputs.all("loss").filter_map(loss).collect())
}

macro_rules! turn {
    ($(#[doc = $doc:literal])* $name:ident, $objective:expr) => {
        params! {
            $(#[doc = $doc])*
            pub struct $name {
                /// Updates per batch.
                pub steps: usize = 1 => 1..=1_000_000,
                /// How a gradient moves the player.
                pub optimizer: Nested<dyn Optimizer>,
                /// How the learning rate changes over the stage; `None` leaves it as it is.
                pub schedule: Option<Nested<dyn Schedule>> = None,
                /// The largest global L2 norm that a gradient keeps; longer ones are scaled down to it.
                pub clip_norm: Option<f64> = None => above(0.0),
                /// Where images are made: `Shared` takes the latents of the batch for every step, `Fresh` draws others for each.
                pub latents: Latents = Latents::Shared,
                /// How the network of the other player is run, which is the student in a generator's turn and the generator in a
                /// student's: `Train` by the batch's statistics, as adversarial belief matching does, `Eval` by the running ones.
                pub opponent: Mode = Mode::Train,
            }
        }

        impl TurnPlugin for $name {
            type Inputs = TurnInputs;

            fn signature(&self, inputs: &Signatures) -> Option<TurnSignature> {
                Some(TurnSignature { network: player(inputs)?, losses: losses(inputs)?, synthesis: None })
            }

            fn build(&self, node: &str, inputs: TurnInputs) -> Result<Turn> {
                Ok(Turn {
                    name: node.to_owned(),
                    player: inputs.player,
                    objective: $objective,
                    steps: self.steps,
                    losses: inputs.loss,
                    optimizer: self.optimizer.plugin(),
                    schedule: self.schedule.as_ref().map(Nested::plugin),
                    clip_norm: self.clip_norm,
                    latents: self.latents,
                    opponent: self.opponent,
                    synthesis: None,
                })
            }
        }
    };
}

turn! {
    /// A turn in which the player makes the losses small: the student imitates its teacher.
    Minimize, Objective::Minimize
}

turn! {
    /// A turn in which the player makes the losses large: the generator learns to make images on which the student disagrees
    /// with its teacher.
    Maximize, Objective::Maximize
}
