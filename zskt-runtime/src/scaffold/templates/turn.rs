//! A student's turn with images of its own in each step.

use std::sync::Arc;

use zskt_api::{
    CheckError, Latents, Loss, Mode, Nested, Objective, Optimizer, Player, Result, Schedule,
    Signature, Signatures, Turn, TurnPlugin, TurnSignature, params, ports,
};

params! {
    /// The student makes the losses small, on images that are made anew for each step by a generator as it is in evaluation. The
    /// steps' gradients are kept short.
    pub struct ExampleTurn {
        /// Updates per batch.
        pub steps: usize = 5 => 1..=1_000_000,
        /// How a gradient moves the student.
        pub optimizer: Nested<dyn Optimizer>,
        /// How the learning rate changes over the stage; `None` leaves it as it is.
        pub schedule: Option<Nested<dyn Schedule>> = None,
    }
}

ports! {
    /// What the turn is made of.
    pub struct ExampleTurnInputs {
        /// The student.
        pub player: Player,
        /// What is made small: the sum of all that arrive.
        pub loss: Vec<Arc<dyn Loss>>,
    }
}

impl TurnPlugin for ExampleTurn {
    type Inputs = ExampleTurnInputs;

    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        let Some(Signature::Generator(generator)) = inputs.one("player") else {
            return Vec::new();
        };
        let message = format!(
            "`{}` makes images, and this is a student's turn",
            generator.network
        );
        vec![CheckError::port("player", message).help("use `Maximize` for a generator")]
    }

    fn signature(&self, inputs: &Signatures) -> Option<TurnSignature> {
        let loss = |(_, signature): (usize, &Signature)| match signature {
            Signature::Loss(loss) => Some(Arc::clone(loss)),
            _ => None,
        };
        Some(TurnSignature {
            network: inputs.one("player")?.network()?.to_owned(),
            // Where one is at fault, the others may not be what is meant.
            losses: inputs
                .is_known("loss")
                .then(|| inputs.all("loss").filter_map(loss).collect())?,
            synthesis: None,
        })
    }

    fn build(&self, node: &str, inputs: ExampleTurnInputs) -> Result<Turn> {
        Ok(Turn {
            name: node.to_owned(),
            player: inputs.player,
            objective: Objective::Minimize,
            steps: self.steps,
            losses: inputs.loss,
            optimizer: self.optimizer.plugin(),
            schedule: self.schedule.as_ref().map(Nested::plugin),
            clip_norm: Some(1.0),
            latents: Latents::Fresh,
            opponent: Mode::Eval,
            synthesis: None,
        })
    }
}

zskt_api::export! { reads: none; turn: ExampleTurn }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::{TestSgd, conforms};

    // The optimizer that the turn is tried with.
    zskt_api::export! { optimizer: TestSgd }

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleTurn(steps: 3, optimizer: TestSgd())")
    }
}
