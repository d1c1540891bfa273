//! What the gradients of a turn's first update reach. A weight or a loss without a gradient fails nothing: training goes on without it, and
//! without a word.

use std::collections::HashSet;
use std::sync::Arc;

use zskt_api::{Gradients, Loss, Parameter, Player, Turn};

use crate::loss_sum::LossSum;

/// Weights that a warning names when there are more.
const MOST_SHOWN: usize = 2;

/// What the first update of a turn reached.
pub struct GradientReach {
    turn: String,
    /// The network that it updates.
    network: String,
    /// Weights of it that have no gradient.
    missed: Vec<String>,
    /// Losses that give none, as a message calls them.
    constant: Vec<String>,
}

impl GradientReach {
    /// Of an update by these losses. Nothing is computed for it.
    pub fn of(
        turn: &Turn,
        losses: &[Arc<dyn Loss>],
        sum: &LossSum,
        parameters: &[Parameter],
        gradients: &Gradients,
    ) -> Self {
        let network = match &turn.player {
            Player::Classifier(network) => &network.name,
            Player::Generator(network) => &network.name,
        };
        // One weight may have several names.
        let id = |parameter: &Parameter| parameter.var().as_tensor().id();
        let reached: HashSet<_> = gradients.iter().map(|(parameter, _)| id(parameter)).collect();
        let missed = parameters.iter().filter(|parameter| !reached.contains(&id(parameter)));
        let constant = sum.constants().map(|index| match losses.get(index).and_then(|loss| loss.node()) {
            Some(node) => format!("`{node}`"),
            None => format!("number {}", index + 1),
        });
        Self {
            turn: turn.name.clone(),
            network: network.clone(),
            missed: missed.map(|parameter| parameter.name().to_owned()).collect(),
            constant: constant.collect(),
        }
    }
}

/// What is probably not meant of the turns of a stage. Of several that update one network, each weight has to be reached by one.
pub fn warnings(turns: &[GradientReach]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, first) in turns.iter().enumerate() {
        let of_network = |other: &&GradientReach| other.network == first.network;
        if turns[..index].iter().any(|other| of_network(&other)) {
            continue;
        }
        let missed: Vec<_> = first
            .missed
            .iter()
            .filter(|name| turns.iter().filter(of_network).all(|other| other.missed.contains(*name)))
            .collect();
        let names: Vec<_> = turns.iter().filter(of_network).map(|turn| format!("`{}`", turn.turn)).collect();
        if !missed.is_empty() {
            warnings.push(format!(
                "no gradient reaches {} of `{}` in turn {}, which does not train what it does not reach; usual causes: a `detach()`, a \
                 layer in `ForwardMode::eval()`, an operation without a gradient, a weight that `forward` does not use, losses that look \
                 at another part of the network; what is not to be trained is a buffer (`Builder::buffer`)",
                listed(&missed),
                first.network,
                names.join(" or ")
            ));
        }
    }
    for GradientReach { turn, network, constant, .. } in turns {
        warnings.extend(constant.iter().map(|loss| {
            format!(
                "the loss {loss} gives no gradient in turn `{turn}`, beside others that do: it does not depend on `{network}`, or there is \
                 a `detach()` or an operation without a gradient in between"
            )
        }));
    }
    warnings
}

/// The first of some names, and how many more there are.
fn listed(names: &[&String]) -> String {
    let shown: Vec<_> = names.iter().take(MOST_SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len() - shown.len() {
        0 => shown.join(" and "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{GradientReach, warnings};

    #[test]
    fn a_weight_that_another_turn_reaches_is_no_reason_to_warn() {
        let reach = |turn: &str, missed: &[&str]| GradientReach {
            turn: turn.into(),
            network: "student".into(),
            missed: missed.iter().map(ToString::to_string).collect(),
            constant: Vec::new(),
        };
        assert_eq!(warnings(&[reach("hint", &["fc.weight", "fc.bias"]), reach("imitate", &["stem"])]), [""; 0]);
        let told = warnings(&[reach("hint", &["fc.weight", "fc.bias"]), reach("imitate", &["fc.bias"])]);
        assert_eq!(told.len(), 1);
        let expected = "no gradient reaches `fc.bias` of `student` in turn `hint` or `imitate`";
        assert!(told[0].starts_with(expected), "{told:?}");
    }
}
