//! Files that only grow, a whole record at a time, and that can be cut back to where a checkpoint was made.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use zskt_api::{Error, Result};

use super::file_error::{cannot_read, cannot_write};

/// A file that records are added to, one whole record at a time.
pub struct AppendLog {
    file: File,
    path: PathBuf,
    length: u64,
}

impl AppendLog {
    /// Starts a new file.
    ///
    /// # Errors
    /// When it cannot be written, or is there already.
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { file, path, length: 0 })
    }

    /// Continues a file after its first `length` bytes; what comes after them is dropped.
    ///
    /// # Errors
    /// When it cannot be written, or is shorter.
    pub fn resume(path: PathBuf, length: u64) -> Result<Self> {
        let mut file = OpenOptions::new().write(true).open(&path).map_err(|error| cannot_write(&path, &error))?;
        let found = file.metadata().map_err(|error| cannot_read(&path, error))?.len();
        if found < length {
            let path = path.display();
            return Err(Error::new(format!(
                "{path} has {found} bytes, but the checkpoint was made when it had {length}; restore the file, or run the pipeline anew"
            )));
        }
        file.set_len(length)
            .and_then(|()| file.seek(SeekFrom::Start(length)))
            .map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { file, path, length })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it cannot be written; then none of it is.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(record) {
            // Half a record would be in the way of every reader; that this may fail too changes nothing.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(cannot_write(&self.path, &error));
        }
        self.length += record.len() as u64;
        Ok(())
    }

    /// Makes sure that all records are on the disk, and says how many bytes they are.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(|error| cannot_write(&self.path, &error))?;
        Ok(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::AppendLog;
    use std::fs;

    #[test]
    fn a_log_is_cut_back_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = AppendLog::create(path.clone()).unwrap();
        log.append(b"one\n").unwrap();
        let length = log.sync().unwrap();
        log.append(b"lost\n").unwrap();
        let mut log = AppendLog::resume(path.clone(), length).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert!(AppendLog::resume(path.clone(), 9).is_err());
        assert!(AppendLog::create(path).is_err(), "nothing is overwritten");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_said_with_path_reason_and_way_out() {
        let file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = AppendLog { file, path: "/dev/full".into(), length: 0 };
        let error = log.append(b"record").unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot write /dev/full: No space left on device (os error 28); free some space, or choose another disk with --out"
        );
    }
}
