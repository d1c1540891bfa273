//! Plugins that do other things than they declare, each caught and named.
//!
//! This is a program and its test in one: the test starts itself as a `zskt-run` to which the plugins are linked, so that exit codes and
//! messages are those that a user meets.

mod cases;
mod data;
mod learning;
mod networks;
mod stages;

use std::path::Path;
use std::process::{Command, ExitCode};

use cases::{CASES, Case, GAME, WALK};

/// Set where this is to be the program.
const PROGRAM: &str = "ZSKT_HOSTILE_PROGRAM";

fn main() -> ExitCode {
    if std::env::var_os(PROGRAM).is_some() {
        return zskt_runtime::main();
    }
    // As cargo's own harness: the cases whose names contain the first argument.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let folder = tempfile::tempdir().expect("there is room");
    let folder = folder.path();
    for (name, text) in [("game", GAME), ("walk", WALK)] {
        std::fs::write(folder.join(name).with_extension("ron"), text).expect("there is room");
    }
    let mut failures = 0;
    for case in CASES.iter().filter(|case| case.name.contains(&filter)) {
        let failure = judge(case, folder);
        println!("test {} ... {}", case.name, if failure.is_none() { "ok" } else { "FAILED" });
        failures += usize::from(failure.is_some());
        failure.iter().for_each(|failure| println!("{failure}"));
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is wrong with how a case ends; nothing where all is as expected.
fn judge(case: &Case, folder: &Path) -> Option<String> {
    let program = std::env::current_exe().expect("it has a file");
    let mut command = Command::new(program);
    command.env(PROGRAM, "1").env_remove("RUST_BACKTRACE").current_dir(folder);
    command.args([&format!("{}.ron", case.pipeline), "--quiet", "--out", case.name]);
    command.args(case.sets.iter().map(|set| format!("--set={set}")));
    let output = command.output().expect("it starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    // An honest run ends well, each other with a failure or a refusal, and never by a signal.
    let expected: &[i32] = if case.said.is_empty() { &[0] } else { &[1, 2] };
    if !code.is_some_and(|code| expected.contains(&code)) {
        return Some(format!("exit code {code:?}, expected one of {expected:?}:\n{complaint}"));
    }
    let missing: Vec<_> = case.said.iter().filter(|part| !complaint.contains(**part)).collect();
    (!missing.is_empty()).then(|| format!("{missing:?} is not in:\n{complaint}"))
}
