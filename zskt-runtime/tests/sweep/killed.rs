//! What is killed, the sweep and some of its points, goes on as if it had not been.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::{folder, outcome, sweep};

/// Twelve points: three seeds, two learning rates, two batch sizes.
const TWELVE: [&str; 7] =
    ["teaching.ron", "--seeds", "0..3", "--set", "learn.optimizer.lr=1e-3,1e-2", "--set", "teaching.batch_size=4,8"];

/// The table as its file has it, without what depends on the clock and on memory.
fn table(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("table.json")).expect("the sweep leaves it");
    let mut table: Value = serde_json::from_str(&text).expect("it is JSON");
    let lists = ["configurations", "points"].map(|list| table[list].as_array().expect("a list").clone());
    for (name, mut list) in ["configurations", "points"].into_iter().zip(lists) {
        for entry in &mut list {
            let figures = entry["figures"].as_object_mut().expect("each has figures");
            figures.retain(|key, _| !key.contains("second") && !key.contains("memory"));
            assert!(
                figures.contains_key("accuracy.top1") && figures.contains_key("teaching.best.accuracy.top1"),
                "{figures:?}"
            );
        }
        table[name] = list.into();
    }
    table
}

#[test]
fn a_sweep_that_is_killed_again_and_again_ends_as_one_that_never_was() {
    let folder = folder();
    let whole = outcome(sweep(folder.path(), &TWELVE).args(["--out", "whole", "--jobs", "2", "--quiet"]));
    assert_eq!(whole.0, Some(0), "{}", whole.2);
    let seed = 4;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    for kill in 0..5 {
        let mut command = sweep(folder.path(), &TWELVE);
        let child =
            command.args(["--out", "killed", "--jobs", "2", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = child.spawn().expect("the program starts");
        // At some line of what it says, whatever the speed of the machine.
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        lines.take(random.random_range(1..40)).for_each(drop);
        let id = child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        // Of those that run the points some are killed at once, others are left to notice that nobody waits for them any more.
        let killed = children.split_whitespace().filter(|_| random.random_bool(0.5)).map(str::to_owned);
        let killed: Vec<_> = std::iter::once(id.to_string()).chain(killed).collect();
        let signal = if kill == 2 { "-TERM" } else { "-KILL" };
        Command::new("kill").arg(signal).args(&killed).stderr(Stdio::null()).status().expect("there is kill");
        child.wait().expect("it was started");
    }
    let (code, said, complaint) =
        outcome(sweep(folder.path(), &TWELVE).args(["--out", "killed", "--jobs", "2", "--quiet"]));
    assert_eq!(code, Some(0), "{said}{complaint}");
    assert_eq!(table(&folder.path().join("killed")), table(&folder.path().join("whole")));
}
