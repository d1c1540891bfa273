//! The program that runs a point: a child process, and what it says.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use serde_json::Value;

use super::slots::Slot;

/// A longer line is not one of a run.
const MAX_LINE: u64 = 16 << 20;

/// Why a program ended is said in the last of what it says.
const TAIL: u64 = 64 << 10;

/// What a child tells, or that it has nothing more to tell.
pub enum Told {
    /// An object of its `--json`.
    Object(Value),
    /// It closed its standard output: it ends.
    End,
}

/// The program that runs a point.
pub struct PointProcess {
    child: Child,
    log: PathBuf,
    /// How long the log was before.
    log_start: u64,
}

impl PointProcess {
    /// Starts this program with these arguments; what it tells goes to `told`, with the number of the point.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &Path,
        arguments: &[String],
        slot: &Slot,
        log: PathBuf,
        (point, told): (usize, Sender<(usize, Told)>),
    ) -> io::Result<Self> {
        let errors = OpenOptions::new().create(true).append(true).open(&log)?;
        let log_start = errors.metadata()?.len();
        let mut command = Command::new(program);
        command.args(arguments).arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        command.envs(slot.environment());
        set_apart(&mut command);
        let mut child = command.spawn()?;
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || read(output, point, &told));
        }
        Ok(Self { child, log, log_start })
    }

    /// Asks it to stop at its next checkpoint.
    pub fn terminate(&self) {
        #[cfg(unix)]
        if let Ok(id) = i32::try_from(self.child.id())
            && let Some(id) = rustix::process::Pid::from_raw(id)
        {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Why it ended, from what it said last, and how.
    pub fn reason(&self, status: ExitStatus) -> String {
        let said = self.tail().unwrap_or_default();
        let errors = said.rfind("error: ").map(|at| &said[at + "error: ".len()..]);
        if let Some(first) = errors.and_then(|errors| errors.lines().next()).filter(|first| !first.is_empty()) {
            return first.to_owned();
        }
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            let hint = if signal == libc::SIGKILL { ", as by the system when memory runs out" } else { "" };
            return format!("it was killed by signal {signal}{hint}");
        }
        format!("it ended with {status}; see {}", self.log.display())
    }

    fn tail(&self) -> io::Result<String> {
        let mut log = File::open(&self.log)?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(self.log_start.max(length.saturating_sub(TAIL))))?;
        let mut tail = Vec::new();
        log.take(TAIL).read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    }
}

fn read(output: ChildStdout, point: usize, told: &Sender<(usize, Told)>) {
    let (mut lines, mut line) = (BufReader::new(output), Vec::new());
    loop {
        line.clear();
        match (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => break,
        }
        if let Ok(object) = serde_json::from_slice(&line)
            && told.send((point, Told::Object(object))).is_err()
        {
            break;
        }
    }
    // Nobody waits any more where this cannot be told.
    let _ = told.send((point, Told::End));
}

/// Signals of the terminal reach the sweep alone, which hands them on; where the sweep is killed, its children stop at a checkpoint.
#[cfg(unix)]
fn set_apart(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    stop_with_parent(command);
}

#[cfg(not(unix))]
fn set_apart(_command: &mut Command) {}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only the child itself can ask for it, before it becomes another program")]
fn stop_with_parent(command: &mut Command) {
    use rustix::process::{Signal, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?)) };
}
