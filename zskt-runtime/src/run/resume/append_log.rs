//! Files that only grow, a whole record at a time, and that can be cut back to where a checkpoint was made.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zskt_api::{Error, Result};

use super::file_error::{WayOut, cannot_read, cannot_write};
use super::file_identity::is_same_file;
use crate::{checksum, input_file};

/// A file that records are added to, one whole record at a time. Nobody else writes to it meanwhile, and that is checked.
pub struct AppendLog {
    file: File,
    path: PathBuf,
    length: u64,
    /// The running sum of these bytes.
    sum: Sha256,
}

/// The records that a checkpoint counts on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMark {
    /// How many bytes they are.
    bytes: u64,
    /// Their SHA-256 sum, in hexadecimal digits.
    sha256: String,
}

impl LogMark {
    /// Whether a file begins with these records.
    ///
    /// # Errors
    /// When it does not, or cannot be read.
    pub fn check(&self, path: &Path) -> Result<()> {
        let (file, bytes) = input_file::open(path).map_err(|error| cannot_read(path, error))?;
        if bytes < self.bytes {
            return Err(Error::new(format!("it has {bytes} bytes, and had {}", self.bytes)));
        }
        let sum = checksum::of_reader(file.take(self.bytes), || false).map_err(|error| cannot_read(path, error))?;
        if sum.is_none_or(|(sum, _)| sum != self.sha256) {
            return Err(Error::new(format!("its first {} bytes are not what they were", self.bytes)));
        }
        Ok(())
    }
}

impl AppendLog {
    /// Starts a new file.
    ///
    /// # Errors
    /// When it cannot be written, or is there already.
    pub fn create(path: PathBuf, way_out: WayOut) -> Result<Self> {
        let file = File::create_new(&path).map_err(|error| cannot_write(&path, &error, way_out))?;
        Ok(Self { file, path, length: 0, sum: Sha256::new() })
    }

    /// Opens a file that holds the records of a mark, and perhaps more. It stays as it is until it is [cut](Self::cut).
    ///
    /// # Errors
    /// When it cannot be written, is a link, or does not begin with these records.
    pub fn open(path: PathBuf, mark: &LogMark) -> Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::new(format!("{} is missing; restore the file, or run the pipeline anew", path.display()))
            }
            _ => cannot_write(&path, &error, WayOut::CopyOfFolder),
        })?;
        let (opened, named) = file
            .metadata()
            .and_then(|opened| Ok((opened, fs::symlink_metadata(&path)?)))
            .map_err(|error| cannot_read(&path, error))?;
        let shown = path.display();
        if !is_same_file(&opened, &named) || !named.is_file() {
            return Err(Error::new(format!(
                "{shown} is a link, and what it leads to is not written to; put the file itself there"
            )));
        }
        let LogMark { bytes: length, sha256 } = mark;
        if opened.len() < *length {
            return Err(Error::new(format!(
                "{shown} has {} bytes, but the checkpoint was made when it had {length}; restore the file, or run the pipeline anew",
                opened.len()
            )));
        }
        let mut sum = Sha256::new();
        io::copy(&mut (&mut file).take(*length), &mut sum).map_err(|error| cannot_read(&path, error))?;
        if format!("{:x}", sum.clone().finalize()) != *sha256 {
            return Err(Error::new(format!(
                "{shown} is damaged: the SHA-256 sum of its first {length} bytes is another than when the checkpoint was made; \
                 restore the file, or run the pipeline anew"
            )));
        }
        Ok(Self { file, path, length: *length, sum })
    }

    /// How many bytes its records are.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// Drops what comes after the records of the mark; gives its path if there was anything.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn cut(&mut self) -> Result<Option<&Path>> {
        let mut cut = || {
            let more = self.file.metadata()?.len() > self.length;
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            Ok(more)
        };
        let more = cut().map_err(|error| cannot_write(&self.path, &error, WayOut::CopyOfFolder))?;
        Ok(more.then_some(&self.path))
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it cannot be written; then none of it is. When another program has changed the file.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        self.check_untouched()?;
        if let Err(error) = self.file.write_all(record) {
            // Half a record would be in the way of every reader; that this may fail too changes nothing.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(cannot_write(&self.path, &error, WayOut::CopyOfFolder));
        }
        self.length += record.len() as u64;
        self.sum.update(record);
        Ok(())
    }

    /// Makes sure that all records are on the disk, and marks them.
    ///
    /// # Errors
    /// When they cannot be written. When another program has changed the file.
    pub fn sync(&mut self) -> Result<LogMark> {
        self.check_untouched()?;
        self.file.sync_data().map_err(|error| cannot_write(&self.path, &error, WayOut::CopyOfFolder))?;
        Ok(LogMark { bytes: self.length, sha256: format!("{:x}", self.sum.clone().finalize()) })
    }

    fn check_untouched(&self) -> Result<()> {
        let (path, length) = (self.path.display(), self.length);
        let happened = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("{path} is gone: it, or the folder, was removed or renamed while the run wrote to it")
            }
            Err(error) => return Err(cannot_read(&self.path, error)),
            Ok(named) => {
                let opened = self.file.metadata().map_err(|error| cannot_read(&self.path, error))?;
                if !is_same_file(&opened, &named) {
                    format!("another file took the place of {path} while the run wrote to it")
                } else if named.len() != length {
                    format!("{path} has {} bytes, but the run wrote {length}: another program changed it", named.len())
                } else {
                    return Ok(());
                }
            }
        };
        Err(Error::new(format!("{happened}; keep other programs away from the folder of a run")))
    }
}

#[cfg(test)]
mod tests {
    use super::{AppendLog, LogMark, WayOut};
    use std::fs;

    #[test]
    fn a_log_is_cut_back_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = AppendLog::create(path.clone(), WayOut::OtherFolder).unwrap();
        log.append(b"one\n").unwrap();
        let mark = log.sync().unwrap();
        log.append(b"lost\n").unwrap();
        let longer = log.sync().unwrap();
        let mut log = AppendLog::open(path.clone(), &mark).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\nlost\n", "opening it changes nothing");
        log.cut().unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        let both = log.sync().unwrap();
        assert!(AppendLog::open(path.clone(), &both).is_ok(), "the sum goes on where the mark ended");
        assert!(AppendLog::open(path.clone(), &longer).is_err(), "it is too short");
        fs::write(&path, b"One\ntwo\n").unwrap();
        let error = AppendLog::open(path.clone(), &mark).err().unwrap().to_string();
        assert!(error.contains("is damaged"), "{error}");
        assert!(AppendLog::create(path, WayOut::OtherFolder).is_err(), "nothing is overwritten");
    }

    #[test]
    fn what_others_do_to_a_log_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let others: [(&str, &dyn Fn()); 4] = [
            ("is gone", &|| fs::rename(&path, folder.path().join("log.1")).unwrap()),
            ("another file took the place", &|| {
                // Both at once, for the number of a file that is gone is given to the next.
                fs::write(folder.path().join("copy"), "one\n").unwrap();
                fs::rename(folder.path().join("copy"), &path).unwrap();
            }),
            ("has 0 bytes, but the run wrote 4", &|| fs::write(&path, "").unwrap()),
            ("has 8 bytes, but the run wrote 4", &|| fs::write(&path, "one\ntwo\n").unwrap()),
        ];
        for (expected, change) in others {
            let _ = fs::remove_file(&path);
            let mut log = AppendLog::create(path.clone(), WayOut::OtherFolder).unwrap();
            log.append(b"one\n").unwrap();
            change();
            for error in [log.append(b"two\n").err(), log.sync().err()] {
                let error = error.unwrap().to_string();
                assert!(error.contains(expected) && error.contains("log"), "{error}");
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let [path, elsewhere] = ["log", "thesis"].map(|name| folder.path().join(name));
        fs::write(&elsewhere, "years of work").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(AppendLog::open(path.clone(), &LogMark::default()).err().unwrap().to_string().contains("is a link"));
        assert!(AppendLog::create(path, WayOut::OtherFolder).is_err());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"years of work");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_said_with_path_reason_and_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let told = |mut log: AppendLog| {
            log.file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            log.path = "/dev/full".into();
            log.append(b"record").unwrap_err().to_string()
        };
        let log = AppendLog::create(path, WayOut::OtherFolder).unwrap();
        // What was logged would be lost elsewhere.
        let reason = "cannot write /dev/full: No space left on device (os error 28); free some space, or";
        let expected = format!("{reason} copy the folder to another disk and go on with the copy: --resume COPY");
        assert_eq!(told(log), expected);
    }
}
