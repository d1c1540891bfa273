//! What is known of a pipeline's claim to need no data, in words and for a program.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use zskt_api::PluginRegistration;

use crate::plan::{DataFreeProof, OutsideReader, Plan};
use crate::text_format;

/// What is known of the pipeline's claim to need no data, as a sentence; nothing without the claim.
pub fn statement(plan: &Plan) -> Option<String> {
    let (proven, open): (Vec<_>, Vec<_>) = plan.data_free.iter().partition(|proof| proof.is_proven());
    let statements =
        [(!proven.is_empty()).then(|| proven_statement(&proven)), (!open.is_empty()).then(|| open_statement(&open))];
    let statements: Vec<_> = statements.into_iter().flatten().collect();
    (!statements.is_empty()).then(|| statements.join("; "))
}

fn proven_statement(proofs: &[&DataFreeProof]) -> String {
    let declared = sorted(proofs.iter().flat_map(|proof| &proof.on_its_word).map(OutsideReader::to_string));
    let condition = match declared.as_slice() {
        [] => String::new(),
        [one] => format!(", if {one} reads nothing from outside, as it declares"),
        _ => format!(", if {} read nothing from outside, as they declare", text_format::join(&declared, "and")),
    };
    let networks: Vec<_> = proofs.iter().map(|proof| proof.network.as_str()).collect();
    let mut statement =
        format!("proven{condition}: no image of any dataset reaches {}", text_format::list(&networks, "or"));
    let datasets = sorted(proofs.iter().flat_map(|proof| &proof.through_teacher).map(String::as_str));
    if !datasets.is_empty() {
        let (them, knowledge) = (if networks.len() > 1 { "them" } else { "it" }, "only as the teacher's knowledge");
        statement.push_str(&format!("; {} reached {them} {knowledge}", text_format::list(&datasets, "and")));
    }
    statement
}

fn open_statement(proofs: &[&DataFreeProof]) -> String {
    let networks: Vec<_> = proofs.iter().map(|proof| proof.network.as_str()).collect();
    let readers = proofs.iter().flat_map(|proof| &proof.unknown);
    let readers = sorted(readers.map(|reader| format!("{reader} {}", reader.reads())));
    format!(
        "not proven: the pipeline brings no image of a dataset to {}, but {}",
        text_format::list(&networks, "or"),
        text_format::join(&readers, "and")
    )
}

fn sorted<T: Ord>(texts: impl Iterator<Item = T>) -> Vec<T> {
    texts.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The same for a program, as `report.json` has it.
pub fn entry(plan: &Plan) -> Option<Value> {
    let reader = |reader: &OutsideReader| {
        let OutsideReader { place, registration: PluginRegistration { name, crate_name, crate_version, .. }, reads } =
            reader;
        json!({ "place": place, "plugin": name, "crate": crate_name, "version": crate_version, "reads": reads })
    };
    let networks = plan.data_free.iter().map(|proof| {
        let entry = json!({
            "proven": proof.is_proven(),
            "through_teacher": proof.through_teacher,
            "not_known": proof.unknown.iter().map(reader).collect::<Vec<_>>(),
            "as_declared": proof.on_its_word.iter().map(reader).collect::<Vec<_>>(),
        });
        (proof.network.clone(), entry)
    });
    let networks: Map<_, _> = networks.collect();
    Some(json!({ "statement": statement(plan)?, "networks": networks }))
}
