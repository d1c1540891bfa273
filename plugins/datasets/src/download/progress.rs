//! How far a download is, on the standard error stream: nothing is taken from the network without a word.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a line on a terminal is renewed.
const RENEWED: Duration = Duration::from_millis(200);

/// Tenths are told where the line cannot be renewed.
const STEPS: u64 = 10;

/// The progress of one file.
pub(super) struct Progress {
    bytes: u64,
    terminal: bool,
    shown: Instant,
    step: u64,
}

impl Progress {
    /// Says what is downloaded, and where to.
    pub(super) fn new(url: &str, target: &Path, bytes: u64) -> Self {
        say(&format!("downloading {url} to {} ({})\n", target.display(), megabytes(bytes)));
        Self { bytes, terminal: io::stderr().is_terminal(), shown: Instant::now(), step: 0 }
    }

    /// So many bytes are there.
    pub(super) fn show(&mut self, have: u64) {
        let step = have * STEPS / self.bytes.max(1);
        if self.terminal && self.shown.elapsed() >= RENEWED {
            self.shown = Instant::now();
            say(&format!("\r{} of {}", megabytes(have), megabytes(self.bytes)));
        } else if !self.terminal && step > self.step {
            say(&format!("{} of {}\n", megabytes(have), megabytes(self.bytes)));
        }
        self.step = step;
    }

    /// All of them are.
    pub(super) fn finish(&self) {
        if self.terminal {
            say(&format!("\r{0} of {0}\n", megabytes(self.bytes)));
        }
    }
}

/// Whether anybody reads it is no matter to the download.
fn say(text: &str) {
    let mut stream = io::stderr().lock();
    drop(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
