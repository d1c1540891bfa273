//! HyperQueue: a task for each line of a file.

use std::ffi::OsString;

use zskt_api::Diagnostic;

use super::{Submission, call, text};

/// Its program.
pub const PROGRAM: &str = "hq";

/// What each task runs: its line, with as many threads as it has cores.
const TASK: &str = "if [ -n \"$HQ_CPUS\" ]; then RAYON_NUM_THREADS=$(echo \"$HQ_CPUS\" | tr , '\\n' | grep -c .); export RAYON_NUM_THREADS; fi; eval \"$HQ_ENTRY\"";

pub fn submit(submission: &Submission<'_>) -> Result<String, Diagnostic> {
    let todo = submission.write_todo()?;
    let log = |ending: &str| text(&submission.logs().join(format!("hq-%{{JOB_ID}}-%{{TASK_ID}}.{ending}")));
    let mut arguments: Vec<OsString> =
        ["submit", "--name", &submission.name, "--each-line"].map(OsString::from).to_vec();
    arguments.extend([text(&todo), "--stdout".into(), log("out"), "--stderr".into(), log("err")]);
    arguments.extend(submission.wait.then(|| "--wait".into()));
    arguments.extend(submission.options.iter().map(OsString::from));
    arguments.extend(["--", "sh", "-c", TASK].map(OsString::from));
    let said = call(PROGRAM, &arguments, submission.wait)?;
    Ok(format!("{said}\n{} of {} points; `hq job list` shows them", submission.todo.len(), submission.commands.len()))
}
