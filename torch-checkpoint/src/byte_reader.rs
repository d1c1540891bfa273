//! Reading bytes whose number is known: a length that a file declares is believed only as far as there are bytes.

use std::io::{Read, Seek};

use crate::error::{ErrorKind, Location};

/// A reader that knows where it is and where its bytes end.
pub(crate) struct ByteReader<R> {
    inner: R,
    entry: Option<String>,
    position: u64,
    end: u64,
}

impl<R: Read> ByteReader<R> {
    /// Reads the file of `end` bytes that `inner` stands at the start of.
    pub(crate) fn of_file(inner: R, end: u64) -> Self {
        Self { inner, entry: None, position: 0, end }
    }

    /// Reads an archive's entry of `end` bytes.
    pub(crate) fn of_entry(inner: R, end: u64, entry: String) -> Self {
        Self { inner, entry: Some(entry), position: 0, end }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn location(&self, offset: u64) -> Location {
        Location { entry: self.entry.clone(), offset }
    }

    /// The next byte.
    pub(crate) fn byte(&mut self, what: &str) -> Result<u8, ErrorKind> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ErrorKind> {
        self.require(N as u64, what)?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    /// The next `count` bytes. Memory is taken only for bytes that are there.
    pub(crate) fn bytes(&mut self, count: u64, what: &str) -> Result<Vec<u8>, ErrorKind> {
        self.require(count, what)?;
        let mut bytes = vec![0; count as usize];
        self.inner.read_exact(&mut bytes)?;
        self.position += count;
        Ok(bytes)
    }

    /// Passes over `count` bytes without keeping them.
    pub(crate) fn skip(&mut self, count: u64, what: &str) -> Result<(), ErrorKind> {
        self.require(count, what)?;
        let skipped = std::io::copy(&mut self.inner.by_ref().take(count), &mut std::io::sink())?;
        self.position += skipped;
        Ok(())
    }

    /// The text up to the next line feed, which is passed over.
    pub(crate) fn line(&mut self, max_length: usize, what: &str) -> Result<String, ErrorKind> {
        let start = self.position;
        let mut line = Vec::new();
        loop {
            match self.byte(what)? {
                b'\n' => break,
                byte if line.len() < max_length => line.push(byte),
                _ => {
                    return Err(ErrorKind::Excessive {
                        location: self.location(start),
                        what: format!("{what} never ends"),
                    });
                }
            }
        }
        String::from_utf8(line)
            .map_err(|_| ErrorKind::Damaged { location: self.location(start), what: format!("{what} is not UTF-8") })
    }

    /// Checks that `count` bytes are left.
    fn require(&self, count: u64, what: &str) -> Result<(), ErrorKind> {
        if count <= self.end - self.position {
            return Ok(());
        }
        Err(ErrorKind::CutShort {
            what: what.to_string(),
            whole: self.entry.as_ref().map_or_else(|| "the file".to_string(), |entry| format!("`{entry}`")),
            needs: self.position.saturating_add(count),
            has: self.end,
        })
    }
}

impl<R: Read + Seek> ByteReader<R> {
    /// Passes over `count` bytes without reading them.
    pub(crate) fn seek_past(&mut self, count: u64, what: &str) -> Result<(), ErrorKind> {
        self.require(count, what)?;
        // `require` keeps `count` within the file, and a file is shorter than i64::MAX.
        self.inner.seek_relative(count as i64)?;
        self.position += count;
        Ok(())
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }
}
