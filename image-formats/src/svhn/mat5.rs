//! MATLAB's MAT-files of version 5 (`save -v6` and `-v7`): a header of 128 bytes, then one variable after the other.
//!
//! Source: MathWorks, "MAT-File Level 5 File Format". Only what numeric arrays need is here. Every size in such a file
//! is a claim: nothing is allocated on its strength alone.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;

use crate::error::grouped;
use crate::{ReadError, input_file, size_limits};

const HEADER: u64 = 128;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// MATLAB's limit on names is 63; the file format sets none.
const MAX_NAME: u32 = 4096;
const MAX_DIMENSIONS: u32 = 32;

/// An open MAT-file.
pub(super) struct MatFile {
    path: PathBuf,
    file: BufReader<File>,
    swapped: bool,
    /// Where the next variable begins.
    next: u64,
    length: u64,
}

/// A variable whose header has been read and whose numbers have not.
pub(super) struct Variable<'f> {
    /// Its name in MATLAB.
    pub(super) name: String,
    /// Its size along each dimension; the first varies fastest.
    pub(super) dimensions: Vec<usize>,
    /// How its numbers are stored; `None` for what is not an array of real numbers: text, cells, sparse matrices.
    pub(super) storage: Option<Storage>,
    context: Context,
    /// The numbers begin here.
    body: Box<dyn Read + 'f>,
    /// Their bytes, as far as they have not been read.
    left: u64,
}

/// How a number is stored. MATLAB stores an array of doubles as bytes where their values allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    Int8,
    Uint8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Single,
    Double,
    Int64,
    Uint64,
}

impl Storage {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Int8,
            2 => Self::Uint8,
            3 => Self::Int16,
            4 => Self::Uint16,
            5 => Self::Int32,
            6 => Self::Uint32,
            7 => Self::Single,
            9 => Self::Double,
            12 => Self::Int64,
            13 => Self::Uint64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Int32 | Self::Uint32 | Self::Single => 4,
            Self::Double | Self::Int64 | Self::Uint64 => 8,
        }
    }
}

impl MatFile {
    /// Opens a file and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let (file, length) = input_file::open(path)?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut header = [0; HEADER as usize];
        let expected = "expected a MATLAB file of version 5, as `save -v7` writes it";
        if length < HEADER {
            let reason = format!("not a MATLAB file: {length} bytes, its header alone has {HEADER}");
            return Err(ReadError::new(path, reason).with_help(expected));
        }
        file.read_exact(&mut header).map_err(|error| ReadError::io(path, "cannot be read", &error))?;
        if header.starts_with(b"MATLAB 7.3") {
            let reason = "a MATLAB file of version 7.3, which is HDF5";
            return Err(ReadError::new(path, reason).with_help("save it again with `save -v7`"));
        }
        let swapped = match &header[126..128] {
            b"IM" => false,
            b"MI" => true,
            _ => {
                return Err(
                    ReadError::new(path, "not a MATLAB file of version 5: no MI at byte 126").with_help(expected)
                );
            }
        };
        Ok(Self { path: path.to_path_buf(), file, swapped, next: HEADER, length })
    }

    /// The next variable; `None` at the end of the file.
    pub(super) fn next_variable(&mut self) -> Result<Option<Variable<'_>>, ReadError> {
        while self.next < self.length {
            let start = self.next;
            let place = format!("byte {start}");
            let fail = |reason: String| ReadError::new(&self.path, reason).at(place.clone());
            let early = |error: std::io::Error| fail(format!("the file ends early: {error}"));
            self.file.seek(SeekFrom::Start(start)).map_err(early)?;
            let (kind, bytes) = tag(&mut self.file, self.swapped).map_err(early)?;
            let left = self.length - start - 8;
            if bytes > left {
                return Err(fail(format!(
                    "an element of {} bytes begins here, {} are left in the file",
                    grouped(bytes),
                    grouped(left)
                ))
                .with_help("is the download finished? download it again"));
            }
            // Compressed elements are not padded to a multiple of eight bytes.
            let padded = if kind == COMPRESSED { bytes } else { bytes.next_multiple_of(8) };
            self.next = start + 8 + padded;
            // Nothing else is a variable.
            if kind == MATRIX || kind == COMPRESSED {
                let context = Context { path: self.path.clone(), swapped: self.swapped, place };
                let body = Read::by_ref(&mut self.file).take(bytes);
                return if kind == MATRIX {
                    context.variable(Box::new(body), bytes).map(Some)
                } else {
                    context.compressed(body, bytes).map(Some)
                };
            }
        }
        Ok(None)
    }
}

/// What reading one variable needs to know of its file.
struct Context {
    path: PathBuf,
    swapped: bool,
    place: String,
}

impl Context {
    fn fail(&self, reason: String) -> ReadError {
        ReadError::new(&self.path, reason).at(&*self.place)
    }

    fn compressed<'f>(self, body: Take<&'f mut BufReader<File>>, bytes: u64) -> Result<Variable<'f>, ReadError> {
        let mut inflated = ZlibDecoder::new(body);
        let (kind, size) = tag(&mut inflated, self.swapped)
            .map_err(|error| self.fail(format!("compressed data cannot be inflated: {error}")))?;
        if kind != MATRIX || size > size_limits::unpacked(bytes) {
            let reason = format!("compressed data that claims to be {} bytes of type {kind}", grouped(size));
            return Err(self.fail(reason).with_help(format!("expected an array, type {MATRIX}")));
        }
        self.variable(Box::new(inflated), size)
    }

    /// Reads the sub-elements before the numbers: flags, dimensions, name, and the tag of the numbers.
    fn variable<'f>(self, mut body: Box<dyn Read + 'f>, size: u64) -> Result<Variable<'f>, ReadError> {
        let swapped = self.swapped;
        let early = |error: std::io::Error| self.fail(format!("the array cannot be read: {error}"));
        let element = Element::read(&mut body, swapped).map_err(early)?;
        if (element.kind, element.bytes) != (6, 8) {
            return Err(self.fail(format!("the array begins with {element}, expected its flags: 8 bytes of type 6")));
        }
        let contents = element.contents(&mut body).map_err(early)?;
        let flags = number(swapped, [contents[0], contents[1], contents[2], contents[3]]);

        let element = Element::read(&mut body, swapped).map_err(early)?;
        if element.kind != 5 || !element.bytes.is_multiple_of(4) || element.bytes > 4 * MAX_DIMENSIONS {
            return Err(self.fail(format!("the array continues with {element}, expected its dimensions: type 5")));
        }
        let contents = element.contents(&mut body).map_err(early)?;
        let sizes = contents.as_chunks::<4>().0.iter().map(|&bytes| number(swapped, bytes) as usize);
        let dimensions: Vec<usize> = sizes.collect();

        let element = Element::read(&mut body, swapped).map_err(early)?;
        if element.kind != 1 || element.bytes > MAX_NAME {
            return Err(self.fail(format!("the array continues with {element}, expected its name: type 1")));
        }
        let name = String::from_utf8_lossy(&element.contents(&mut body).map_err(early)?).into_owned();

        let mut storage = None;
        let mut left = 0;
        // Classes 6 to 15 are the numeric ones, double to uint64; 0x0800 marks complex numbers.
        if (6..=15).contains(&(flags & 0xff)) && flags & 0x0800 == 0 {
            let element = Element::read(&mut body, swapped).map_err(early)?;
            let Some(numbers) = Storage::from_code(element.kind) else {
                return Err(self.fail(format!("the numbers of `{name}` are {element}, which is not a type of number")));
            };
            left = u64::from(element.bytes);
            let needed = count(&dimensions).and_then(|count| count.checked_mul(numbers.bytes()));
            if needed.map(|bytes| bytes as u64) != Some(left) || left > size {
                let (shape, bytes) = (format!("{dimensions:?}"), grouped(left));
                let reason =
                    format!("the dimensions of `{name}`, {shape}, do not fit its {bytes} bytes of {numbers:?}");
                return Err(self.fail(reason));
            }
            if let Some(inline) = element.small {
                body = Box::new(Cursor::new(inline).take(left).chain(body));
            }
            storage = Some(numbers);
        }
        Ok(Variable { name, dimensions, storage, context: self, body, left })
    }
}

impl Variable<'_> {
    /// How many numbers there are; `None` for what is not an array of real numbers.
    pub(super) fn count(&self) -> Option<usize> {
        self.storage.and_then(|_| count(&self.dimensions))
    }

    /// The next numbers of an array of [`Storage::Uint8`], in MATLAB's order.
    pub(super) fn read_bytes(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        if self.storage != Some(Storage::Uint8) {
            return Err(self.problem(format!("expected bytes, uint8, found {}", self.describe())));
        }
        self.read(bytes)
    }

    /// All numbers, in MATLAB's order.
    pub(super) fn numbers(&mut self) -> Result<Vec<f64>, ReadError> {
        let (Some(storage), Some(count)) = (self.storage, self.count()) else {
            return Err(self.problem(format!("expected numbers, found {}", self.describe())));
        };
        let mut numbers = Vec::new();
        let mut bytes = vec![0; storage.bytes() * 8192];
        while numbers.len() < count {
            let bytes = &mut bytes[..storage.bytes() * (count - numbers.len()).min(8192)];
            self.read(bytes)?;
            let swapped = self.context.swapped;
            numbers.extend(bytes.chunks_exact_mut(storage.bytes()).map(|number| {
                if swapped {
                    number.reverse();
                }
                // Little-endian now: the first bytes of a wider number.
                let mut wide = [0; 8];
                wide[..number.len()].copy_from_slice(number);
                let bits = u64::from_le_bytes(wide);
                match storage {
                    Storage::Int8 => f64::from(bits as i8),
                    Storage::Int16 => f64::from(bits as i16),
                    Storage::Int32 => f64::from(bits as i32),
                    Storage::Int64 => bits as i64 as f64,
                    Storage::Uint8 | Storage::Uint16 | Storage::Uint32 | Storage::Uint64 => bits as f64,
                    Storage::Single => f64::from(f32::from_bits(bits as u32)),
                    Storage::Double => f64::from_bits(bits),
                }
            }));
        }
        Ok(numbers)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        let read = self.body.read_exact(bytes).and_then(|()| {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            // Only at the end of its stream does zlib compare checksums.
            if self.left == 0 { std::io::copy(&mut self.body.by_ref().take(4096), &mut std::io::sink()) } else { Ok(0) }
        });
        read.map(drop).map_err(|error| {
            self.problem(format!("its numbers cannot be read: {error}"))
                .with_help("is the download finished? download it again")
        })
    }

    /// A problem with this variable.
    pub(super) fn problem(&self, reason: impl Into<String>) -> ReadError {
        ReadError::new(&self.context.path, reason).at(format!("variable `{}`", self.name))
    }

    /// `uint8 [32, 32, 3, 73257]`.
    pub(super) fn describe(&self) -> String {
        match self.storage {
            Some(storage) => format!("{} {:?}", format!("{storage:?}").to_lowercase(), self.dimensions),
            None => "something that is not an array of real numbers".into(),
        }
    }
}

fn count(dimensions: &[usize]) -> Option<usize> {
    dimensions.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

/// The type of an element and the number of its bytes.
fn tag(reader: &mut impl Read, swapped: bool) -> std::io::Result<(u32, u64)> {
    let mut tag = [0; 8];
    reader.read_exact(&mut tag)?;
    let [a, b, c, d, bytes @ ..] = tag;
    Ok((number(swapped, [a, b, c, d]), u64::from(number(swapped, bytes))))
}

/// The tag of a sub-element; one of at most four bytes carries them itself.
struct Element {
    kind: u32,
    bytes: u32,
    small: Option<[u8; 4]>,
}

impl Element {
    fn read(body: &mut impl Read, swapped: bool) -> std::io::Result<Self> {
        let mut tag = [0; 8];
        body.read_exact(&mut tag)?;
        let [a, b, c, d, rest @ ..] = tag;
        let first = number(swapped, [a, b, c, d]);
        let (kind, bytes) = (first & 0xffff, first >> 16);
        if bytes == 0 {
            Ok(Self { kind: first, bytes: number(swapped, rest), small: None })
        } else if bytes <= 4 {
            Ok(Self { kind, bytes, small: Some(rest) })
        } else {
            Err(std::io::Error::other(format!("a small element of {bytes} bytes, more than four")))
        }
    }

    /// What it holds; only for elements whose size has been checked.
    fn contents(&self, body: &mut impl Read) -> std::io::Result<Vec<u8>> {
        if let Some(inline) = self.small {
            return Ok(inline[..self.bytes as usize].to_vec());
        }
        let mut contents = vec![0; self.bytes.next_multiple_of(8) as usize];
        body.read_exact(&mut contents)?;
        contents.truncate(self.bytes as usize);
        Ok(contents)
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of type {}", grouped(self.bytes), self.kind)
    }
}

fn number(swapped: bool, bytes: [u8; 4]) -> u32 {
    if swapped { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
