//! What is known of a pipeline's claim to need no data, in words and for a program.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use zskt_api::PluginRegistration;

use crate::plan::{DataFreeProof, OutsideReader, Plan, PlanNode, StageSelection};
use crate::text_format;

/// What is known of the pipeline's claim to need no data, as a sentence; nothing without the claim.
pub fn statement(plan: &Plan) -> Option<String> {
    let (proven, open): (Vec<_>, Vec<_>) = plan.data_free.iter().partition(|proof| proof.is_proven());
    let statements = [
        (!proven.is_empty()).then(|| proven_statement(&proven)),
        (!open.is_empty()).then(|| open_statement(&open)),
        selection_statement(plan),
    ];
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
    let metadata = sorted(proofs.iter().flat_map(|proof| &proof.metadata));
    if !metadata.is_empty() {
        let read: Vec<_> = metadata.iter().map(|read| format!("`{}` reads {}", read.place, read.what)).collect();

        statement.push_str(&format!("; metadata, not images: {}", text_format::join(&read, "and")));
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

/// What is not free of data, though the training is: which weights are called the best.
fn selection_statement(plan: &Plan) -> Option<String> {
    let statement = |(stage, chosen_by): (&str, &StageSelection)| {
        let (metric, images) = (&chosen_by.selection.metric, chosen_by.on_images());
        format!("the best weights of \"{stage}\" are chosen by \"{metric}\"{images}, the last are not")
    };
    let statements: Vec<_> = selections(plan).map(statement).collect();
    (!statements.is_empty()).then(|| statements.join("; "))
}

/// The stages that train networks of the claim, and choose their best weights on images.
fn selections(plan: &Plan) -> impl Iterator<Item = (&str, &StageSelection)> {
    let claimed = |node: &PlanNode| plan.data_free.iter().any(|proof| node.trains.contains(&proof.network));
    let chosen = plan.nodes.iter().filter(move |node| claimed(node));
    chosen.filter_map(|node| Some((node.name.as_str(), node.selection.as_ref().filter(|by| !by.chosen_on.is_empty())?)))
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
            "metadata": proof.metadata,
            "not_known": proof.unknown.iter().map(reader).collect::<Vec<_>>(),
            "as_declared": proof.on_its_word.iter().map(reader).collect::<Vec<_>>(),
        });
        (proof.network.clone(), entry)
    });
    let networks: Map<_, _> = networks.collect();
    let chosen_on: Map<_, _> =
        selections(plan).map(|(stage, chosen_by)| (stage.to_owned(), json!(chosen_by.chosen_on))).collect();
    let mut entry = json!({ "statement": statement(plan)?, "networks": networks });
    if !chosen_on.is_empty() {
        entry["best_chosen_on"] = chosen_on.into();
    }
    Some(entry)
}
