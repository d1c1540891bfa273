//! GNU parallel: on this machine, or over ssh on others that see the same files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::process::{Command, Stdio};
use std::thread;

use zskt_api::Diagnostic;

use super::{Submission, not_started, text};

/// Its program.
pub const PROGRAM: &str = "parallel";

/// What a run is given to stop at a checkpoint, in milliseconds, after the signal that asks for it.
const STOP: &str = "TERM,60000,TERM,10000,KILL,25";

/// How many threads the kernels of a run have.
const THREADS: &str = "RAYON_NUM_THREADS";

pub fn submit(submission: &Submission<'_>) -> Result<String, Diagnostic> {
    let todo = submission.write_todo()?;
    let jobs = submission.jobs.unwrap_or(1);
    let joblog = submission.path.join("parallel.joblog");
    // A call that still runs keeps writing to its own.
    let _ = fs::remove_file(&joblog);
    let mut arguments: Vec<OsString> = vec!["--jobs".into(), jobs.to_string().into(), "--joblog".into(), text(&joblog)];
    // Runs on other machines have the variable as well.
    arguments.extend(["--env", THREADS, "--termseq", STOP].map(OsString::from));
    arguments.extend(submission.options.iter().map(OsString::from));
    arguments.extend(["::::".into(), text(&todo)]);
    let log = submission.logs().join("parallel.log");
    let failed = |error: io::Error| not_started(PROGRAM, &error);
    let output = File::options().create(true).append(true).open(&log).map_err(failed)?;
    let mut command = Command::new(PROGRAM);
    command.args(&arguments).stdin(Stdio::null()).stderr(output.try_clone().map_err(failed)?).stdout(output);
    // Each run gets its share of the threads; a number that the user gives is left alone.
    if std::env::var_os(THREADS).is_none() {
        let at_once = jobs.min(submission.todo.len()).max(1);
        let share = thread::available_parallelism().map_or(1, usize::from) / at_once;
        command.env(THREADS, share.max(1).to_string());
    }
    if submission.wait {
        let status = command.status().map_err(failed)?;
        return Ok(format!("parallel ended with {status}; {} has what it said", log.display()));
    }
    // It goes on when the terminal is closed.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn().map_err(failed)?;
    Ok(format!(
        "parallel runs {} of {} points as process {}; {} has what it says",
        submission.todo.len(),
        submission.commands.len(),
        child.id(),
        log.display()
    ))
}
