//! Downloads of datasets, where a pipeline asks for them: with progress, from where an earlier one stopped, and compared with the known sum.
//!
//! The proxy is that of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`). A file is there under its name only when it is whole and right.

mod official;
mod progress;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::StatusCode;
use zskt_api::{CheckError, Context, DatasetSignature, Error, Result};

pub(crate) use official::{cifar, fashion_mnist, k_mnist, mnist, svhn};
use progress::Progress;

/// How often it is tried again where the connection broke, as long as each time brings more.
const ATTEMPTS: usize = 5;

/// How long nothing may come before a connection counts as broken.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes that are read and written at once.
const PIECE: usize = 1 << 16;

/// A file on the network.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFile {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The address of what it lies in, which ends with `/`.
    pub(crate) base: String,
    /// How long it is.
    pub(crate) bytes: u64,
    /// Its SHA-256 sum, in hexadecimal digits.
    pub(crate) sha256: String,
}

/// Whether the official files of a dataset are where a pipeline says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Files are there, whatever is in them.
    There,
    /// They are not, and the pipeline asks for them.
    ToDownload,
    /// They are not, and could be had.
    Missing,
}

impl Presence {
    /// Of files that were found under `path`, or were not; a file in place of a folder is what it is.
    pub(crate) fn of(found: bool, path: &Path, download: bool) -> Self {
        match (found || path.is_file(), download) {
            (true, _) => Self::There,
            (false, true) => Self::ToDownload,
            (false, false) => Self::Missing,
        }
    }

    /// What was described, or its fault, with the offer to download what is missing.
    pub(crate) fn explain(
        self,
        described: Result<DatasetSignature, CheckError>,
    ) -> Result<DatasetSignature, CheckError> {
        described.map_err(|fault| match self {
            Self::Missing if fault.parameter.as_deref() == Some("path") => {
                let help = fault.help.as_ref().map(|help| format!("{help}; ")).unwrap_or_default();
                fault.help(format!("{help}with `download: true` it is downloaded to that folder"))
            }
            _ => fault,
        })
    }
}

/// Downloads those of the files that are not in the folder yet.
///
/// # Errors
/// When there is no network, or what comes is not the file that is known: with what to do without.
pub(crate) fn fetch(files: &[RemoteFile], folder: &Path) -> Result<()> {
    fetch_within(IDLE, files, folder)
}

fn fetch_within(idle: Duration, files: &[RemoteFile], folder: &Path) -> Result<()> {
    let missing: Vec<_> = files.iter().filter(|file| !folder.join(file.name).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(folder).context(folder.display())?;
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(idle))
            .http_status_as_error(false)
            .build(),
    );
    missing.into_iter().try_for_each(|file| Download { file, agent: &agent, target: folder.join(file.name) }.run())
}

struct Download<'f> {
    file: &'f RemoteFile,
    agent: &'f Agent,
    target: PathBuf,
}

impl Download<'_> {
    fn run(&self) -> Result<()> {
        let RemoteFile { name, bytes, sha256, .. } = self.file;
        let url = self.url();
        let partial = self.target.with_file_name(format!("{name}.partial"));
        let shown = partial.display();
        let mut output = File::options().read(true).write(true).create(true).truncate(false).open(&partial);
        let output = output.as_mut().map_err(|error| Error::new(format!("{shown}: {error}")))?;
        match output.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(format!("{shown} is being downloaded by another process; wait for it")));
            }
            // Not every file system has locks.
            Err(TryLockError::Error(_)) => {}
        }
        let mut progress = Progress::new(&url, &self.target, *bytes);
        let mut attempt = 1;
        loop {
            let before = output.metadata().context(&shown)?.len();
            match self.append(output, &mut progress) {
                Ok(()) => break,
                Err(Broken::Disk(error)) => return Err(Error::new(format!("{shown}: {error}"))),
                Err(Broken::Network(reason)) => {
                    let more = output.metadata().context(&shown)?.len() > before;
                    if !more || attempt == ATTEMPTS {
                        return Err(self.failed(&reason, &partial));
                    }
                    attempt += 1;
                }
            }
        }
        progress.finish();
        let found = sum(output).context(&shown)?;
        if found != *sha256 {
            fs::remove_file(&partial).context(&shown)?;
            return Err(Error::new(format!(
                "{url} gave another file than the one that is known: its SHA-256 sum is {found}, expected {sha256}; it was removed. {}",
                self.by_hand()
            )));
        }
        output.sync_all().context(&shown)?;
        fs::rename(&partial, &self.target).context(&shown)
    }

    /// Gets what is missing at the file's end.
    fn append(&self, output: &mut File, progress: &mut Progress) -> Result<(), Broken> {
        let expected = self.file.bytes;
        let mut have = output.seek(SeekFrom::End(0)).map_err(Broken::Disk)?;
        if have == expected {
            return Ok(());
        }
        if have > expected {
            have = restart(output)?;
        }
        let mut request = self.agent.get(self.url());
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| Broken::Network(error.to_string()))?;
        match response.status() {
            StatusCode::OK => have = restart(output)?,
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get("Content-Range").and_then(|range| range.to_str().ok());
                if !range.is_some_and(|range| range.starts_with(&format!("bytes {have}-"))) {
                    restart(output)?;
                    return Err(Broken::Network("it sent another part of the file than it was asked for".into()));
                }
            }
            status => return Err(Broken::Network(format!("it answered {status}"))),
        }
        let length =
            response.headers().get("Content-Length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let Some(offered) = length.map(|length| have.saturating_add(length)).filter(|offered| *offered != expected) {
            restart(output)?;
            return Err(Broken::Network(format!("it offers {offered} bytes, expected {expected}")));
        }
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        while have < expected {
            let read = body.read(&mut piece).map_err(|error| Broken::Network(error.to_string()))?;
            if read == 0 {
                return Err(Broken::Network(format!("it stopped after {have} of {expected} bytes")));
            }
            // What it sends beyond is not wanted; the sum tells whether the beginning is.
            let wanted = read.min(usize::try_from(expected - have).unwrap_or(read));
            output.write_all(&piece[..wanted]).map_err(Broken::Disk)?;
            have += wanted as u64;
            progress.show(have);
        }
        Ok(())
    }

    fn url(&self) -> String {
        format!("{}{}", self.file.base, self.file.name)
    }

    fn failed(&self, reason: &str, partial: &Path) -> Error {
        let some = fs::metadata(partial).is_ok_and(|found| found.len() > 0);
        if !some {
            // Nothing is kept of it.
            drop(fs::remove_file(partial));
        }
        let again = if some { "; run it again, and it goes on where it stopped" } else { "" };
        Error::new(format!("cannot download {}: {reason}{again}. {}", self.url(), self.by_hand()))
    }

    fn by_hand(&self) -> String {
        let RemoteFile { bytes, sha256, .. } = self.file;
        let target = self.target.display();
        format!("Without a network here, get it elsewhere and put it at {target} ({bytes} bytes, SHA-256 {sha256})")
    }
}

/// What ended a download before its end.
enum Broken {
    Network(String),
    Disk(io::Error),
}

fn restart(output: &mut File) -> Result<u64, Broken> {
    output.set_len(0).and_then(|()| output.rewind()).map_err(Broken::Disk)?;
    Ok(0)
}

fn sum(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    io::copy(file, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
