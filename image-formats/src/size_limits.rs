//! How much memory a file may ask for: a multiple of its own size. A small file can claim to hold anything, and compression
//! bears it out.

use std::io::{self, Read};

/// What an archive, a page or an array may unpack to, as a multiple of its size. Images that can be told apart compress ten
/// times at best.
pub(crate) const UNPACKED: u64 = 100;

/// What decoded images may take, as a multiple of the size of their files: PNGs and JPEGs of one colour come near it.
pub(crate) const DECODED: u64 = 1100;

/// What the smallest file may unpack to.
const FREE: u64 = 16 << 20;

/// What so many bytes may unpack to.
pub(crate) fn unpacked(bytes: u64) -> u64 {
    bytes.saturating_mul(UNPACKED).saturating_add(FREE)
}

/// What images encoded in so many bytes may decode to.
pub(crate) fn decoded(bytes: u64) -> u64 {
    bytes.saturating_mul(DECODED).saturating_add(FREE)
}

/// What is unpacked from a file, up to the limit; beyond it, an error.
pub(crate) struct LimitedReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> LimitedReader<R> {
    /// Of a file of so many bytes.
    pub(crate) fn new(inner: R, bytes: u64) -> Self {
        Self { inner, left: unpacked(bytes) }
    }
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {UNPACKED} times its size, as no archive of images does"))
        })?;
        Ok(read)
    }
}
