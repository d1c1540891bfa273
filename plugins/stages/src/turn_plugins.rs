//! The turn plugins: `Minimize` and `Maximize`.

use std::sync::Arc;

use zskt_api::{
    Loss, Nested, Objective, Optimizer, Player, Result, Schedule, Signature, Signatures, Turn, TurnPlugin,
    TurnSignature, above, params, ports,
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
            }
        }

        impl TurnPlugin for $name {
            type Inputs = TurnInputs;

            fn signature(&self, inputs: &Signatures) -> Option<TurnSignature> {
                let network = inputs.one("player")?.network()?.to_owned();
                // What is wrong with a loss has been reported; without it, the others may not be what is meant.
                if !inputs.is_known("loss") {
                    return None;
                }
                let losses = inputs.all("loss").filter_map(|(_, signature)| match signature {
                    Signature::Loss(loss) => Some(Arc::clone(loss)),
                    _ => None,
                });
                Some(TurnSignature { network, losses: losses.collect() })
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
