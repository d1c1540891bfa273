//! Safetensors: a length, a JSON header that names every tensor's type, shape and range, and the bytes.
//!
//! The header is read through the crate's own description of a tensor, one entry at a time, so that a message can name
//! the tensor that is wrong and a header of 100 MB cannot ask for more memory than a small multiple of that.

use std::collections::HashSet;
use std::fmt;
use std::io::{Read, Seek};

use safetensors::tensor::TensorInfo;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::byte_reader::ByteReader;
use crate::configuration::Configuration;
use crate::dtype::TorchDtype;
use crate::error::{ErrorKind, Location, printable};
use crate::format::Format;
use crate::state_dict::{LONGEST_NAME, MOST_TENSORS};
use crate::tensor_archive::{Storages, TensorArchive, TensorDict};
use crate::view::{ByteOrder, DeclaredTensor, StorageNumber, TensorView, row_major};

/// The format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// The bytes that hold the header's length.
const PREFIX: u64 = 8;

/// Reads the header of a file of `length` bytes and checks every tensor against it.
pub(crate) fn open<R: Read + Seek>(file: R, length: u64) -> Result<TensorArchive<R>, ErrorKind> {
    let mut reader = ByteReader::of_file(file, length);
    let header_length = u64::from_le_bytes(reader.array("the length of the header")?);
    if header_length > LONGEST_HEADER {
        return Err(ErrorKind::Excessive {
            location: reader.location(0),
            what: format!("a safetensors header of {header_length} bytes, where {LONGEST_HEADER} is the most"),
        });
    }
    let header = reader.bytes(header_length, "the safetensors header")?;
    let infos = parse(&header)?;
    let start = PREFIX + header_length;
    let data_length = length - start;

    let mut end_of_data = 0;
    let mut tensors = TensorDict::new(String::new());
    let mut ranges = Vec::with_capacity(infos.len());
    for (name, info) in infos {
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let location = reader.location(start.saturating_add(from));
        // The format demands that the ranges follow each other without gaps and fill the file.
        if from != end_of_data || to < from {
            return Err(ErrorKind::Damaged {
                location,
                what: format!(
                    "the header puts tensor `{}` at bytes {from}..{to} of the data, where byte {end_of_data} is next",
                    printable(&name)
                ),
            });
        }
        if to > data_length {
            return Err(ErrorKind::CutShort {
                what: format!("tensor `{}`", printable(&name)),
                whole: "the file".to_string(),
                needs: start.saturating_add(to),
                has: length,
            });
        }
        end_of_data = to;
        let view = view(&name, info, ranges.len(), to - from, location);
        ranges.push(start + from..start + to);
        tensors.push(name, view)?;
    }
    if end_of_data != data_length {
        return Err(ErrorKind::Damaged {
            location: reader.location(start + end_of_data),
            what: format!("bytes that belong to no tensor ({})", data_length - end_of_data),
        });
    }
    if tensors.tensors.is_empty() {
        return Err(ErrorKind::NoStateDict { found: "a safetensors file without tensors".to_string() });
    }
    Ok(TensorArchive {
        format: Format::Safetensors,
        configuration: Configuration::of_header(&header),
        dicts: vec![tensors],
        inline: Vec::new(),
        storages: Storages::Ranges { file: reader.into_inner(), ranges },
    })
}

/// What the header says of one tensor, whose bytes are storage number `storage`, of `length` bytes.
fn view(
    name: &str,
    info: TensorInfo,
    storage: usize,
    length: u64,
    location: Location,
) -> Result<TensorView, ErrorKind> {
    let dtype = TorchDtype::of_safetensors(info.dtype).ok_or_else(|| ErrorKind::Unsupported {
        what: format!("its tensor `{}` has elements of type {}", printable(name), info.dtype),
        help: "save it as float32",
    })?;
    let view = TensorView::new(DeclaredTensor {
        name,
        location: location.clone(),
        dtype,
        strides: row_major(&info.shape),
        shape: info.shape,
        offset: 0,
        storage: StorageNumber::InFile(storage),
        storage_length: length,
        order: ByteOrder::Little,
    })?;
    if view.length() != length {
        return Err(ErrorKind::Damaged {
            location,
            what: format!(
                "tensor `{}` of shape {:?} takes {} bytes, where the header sets {length} aside",
                printable(name),
                view.info.shape,
                view.length(),
            ),
        });
    }
    Ok(view)
}

/// The header's tensors in the order of their bytes.
fn parse(header: &[u8]) -> Result<Vec<(String, TensorInfo)>, ErrorKind> {
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    let mut infos = deserializer
        .deserialize_map(Entries)
        // Writers pad the header with spaces; anything else behind the map is an error.
        .and_then(|infos| deserializer.end().map(|()| infos))
        .map_err(|error| {
            let reason = error.to_string();
            // serde goes on to list every type there is.
            let reason = reason.split(", expected one of").next().unwrap_or_default();
            ErrorKind::Damaged {
                // serde counts columns of the one line that a header is.
                location: (PREFIX + error.column() as u64).into(),
                what: format!("the safetensors header is not as it should be ({})", printable(reason)),
            }
        })?;
    infos.sort_by(|(left_name, left), (right_name, right)| {
        (left.data_offsets, left_name).cmp(&(right.data_offsets, right_name))
    });
    Ok(infos)
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, TensorInfo)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from names to tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut infos: Vec<(String, TensorInfo)> = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("two tensors called `{}`", printable(&name))));
            }
            if infos.len() == MOST_TENSORS {
                return Err(A::Error::custom(format!("more than {MOST_TENSORS} tensors")));
            }
            if name.len() > LONGEST_NAME {
                let length = name.len();
                return Err(A::Error::custom(format!("a name of {length} bytes, `{}`", printable(&name))));
            }
            infos.push((name, map.next_value()?));
        }
        Ok(infos)
    }
}
