//! What the pages of a column claim to unpack to: the Parquet reader takes that much memory without asking.
//!
//! A page is a header, a struct `PageHeader` in Thrift's compact protocol, and its bytes. Sources: Parquet's `parquet.thrift`, and
//! "Thrift Compact protocol encoding".

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crate::error::grouped;
use crate::size_limits::{UNPACKED, unpacked};

/// Structs within structs, as statistics within headers.
const MAX_DEPTH: usize = 8;

/// Checks the pages in `length` bytes from `start` on.
///
/// # Errors
/// What the first page claims that unpacks too far, or that there is something else than pages.
pub(super) fn check(file: &File, start: u64, length: u64) -> io::Result<()> {
    let mut pages = BufReader::with_capacity(512, file);
    let end = start.saturating_add(length);
    let mut at = start;
    while at < end {
        pages.seek(SeekFrom::Start(at))?;
        let (mut unpacked_size, mut size) = (0, 0);
        read_struct(&mut pages, 0, &mut |field, value| match field {
            2 => unpacked_size = value,
            3 => size = value,
            _ => {}
        })?;
        let (Ok(size), Ok(unpacked_size)) = (u64::try_from(size), u64::try_from(unpacked_size)) else {
            return Err(io::Error::other("a page of a negative size"));
        };
        if unpacked_size > unpacked(size) {
            return Err(io::Error::other(format!(
                "a page of {} bytes claims to unpack to {}, more than {UNPACKED} times as many, as no column of images does",
                grouped(size),
                grouped(unpacked_size)
            )));
        }
        at = pages.stream_position()?.saturating_add(size);
    }
    Ok(())
}

/// Reads a struct to its end, and hands on its integers with the numbers of their fields.
fn read_struct(input: &mut BufReader<&File>, depth: usize, integer: &mut dyn FnMut(i64, i64)) -> io::Result<()> {
    let damaged = || io::Error::other("the header of a page is damaged");
    if depth == MAX_DEPTH {
        return Err(damaged());
    }
    let mut field = 0;
    loop {
        let byte = read_byte(input)?;
        field = match byte >> 4 {
            0 if byte == 0 => return Ok(()),
            0 => zigzag(read_varint(input)?),
            step => field + i64::from(step),
        };
        match byte & 0xf {
            // Booleans are in the type itself.
            1 | 2 => {}
            3 => input.seek_relative(1)?,
            4..=6 => integer(field, zigzag(read_varint(input)?)),
            7 => input.seek_relative(8)?,
            8 => {
                let length = i64::try_from(read_varint(input)?).map_err(|_| damaged())?;
                input.seek_relative(length)?;
            }
            12 => read_struct(input, depth + 1, &mut |_, _| {})?,
            // Lists, sets and maps, of which a page's header has none.
            _ => return Err(damaged()),
        }
    }
}

fn read_byte(input: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn read_varint(input: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = read_byte(input)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(value)
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
