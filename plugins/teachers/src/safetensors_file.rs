//! Safetensors: a length, a JSON header that names every tensor's type, shape and range, and the bytes.
//!
//! The header is read through the crate's own description of a tensor, one entry at a time, so that a message can name
//! the tensor that is wrong and a header of 100 MB cannot ask for more memory than a small multiple of that.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{Read, Seek};

use safetensors::tensor::TensorInfo;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::byte_reader::ByteReader;
use crate::contents::{Contents, Storages};
use crate::defect::{Defect, shown};
use crate::element::Element;
use crate::view::{ByteOrder, Claim, View, row_major};
use crate::weights_file::Format;

/// The format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// The bytes that hold the header's length.
const PREFIX: u64 = 8;

/// Reads the header of a file of `length` bytes and checks every tensor against it.
pub(crate) fn open<R: Read + Seek>(file: R, length: u64, key: Option<&str>) -> Result<Contents<R>, Defect> {
    if let Some(key) = key {
        return Err(Defect::UnknownKey { key: key.to_string(), keys: Vec::new() });
    }
    let mut reader = ByteReader::of_file(file, length);
    let header_length = u64::from_le_bytes(reader.array("the length of the header")?);
    if header_length > LONGEST_HEADER {
        return Err(Defect::Excessive {
            place: reader.place(0),
            what: format!("a safetensors header of {header_length} bytes, where {LONGEST_HEADER} is the most"),
        });
    }
    let header = reader.bytes(header_length, "the safetensors header")?;
    let infos = parse(&header)?;
    let start = PREFIX + header_length;
    let data_length = length - start;

    let mut end_of_data = 0;
    let mut views = BTreeMap::new();
    let mut ranges = Vec::with_capacity(infos.len());
    for (name, info) in infos {
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let place = reader.place(start.saturating_add(from));
        // The format demands that the ranges follow each other without gaps and fill the file.
        if from != end_of_data || to < from {
            return Err(Defect::Damaged {
                place,
                what: format!(
                    "the header puts tensor `{}` at bytes {from}..{to} of the data, where byte {end_of_data} is next",
                    shown(&name)
                ),
            });
        }
        if to > data_length {
            return Err(Defect::CutShort {
                what: format!("tensor `{}`", shown(&name)),
                whole: "the file".to_string(),
                needs: start.saturating_add(to),
                has: length,
            });
        }
        end_of_data = to;
        let element = Element::of_safetensors(info.dtype).ok_or_else(|| Defect::Unsupported {
            what: format!("its tensor `{}` has elements of type {}", shown(&name), info.dtype),
            way_out: "save it as float32",
        })?;
        let view = View::new(Claim {
            name: &name,
            place: place.clone(),
            element,
            strides: row_major(&info.shape),
            shape: info.shape,
            offset: 0,
            storage: ranges.len(),
            storage_length: to - from,
        })?;
        if view.length() != to - from {
            return Err(Defect::Damaged {
                place,
                what: format!(
                    "tensor `{}` of shape {:?} takes {} bytes, where the header sets {} aside",
                    shown(&name),
                    view.shape,
                    view.length(),
                    to - from
                ),
            });
        }
        ranges.push(start + from..start + to);
        views.insert(name, view);
    }
    if end_of_data != data_length {
        return Err(Defect::Damaged {
            place: reader.place(start + end_of_data),
            what: format!("bytes that belong to no tensor ({})", data_length - end_of_data),
        });
    }
    if views.is_empty() {
        return Err(Defect::NoStateDict { found: "a safetensors file without tensors".to_string() });
    }
    Ok(Contents {
        format: Format::Safetensors,
        key: String::new(),
        views,
        storages: Storages::Ranges { file: reader.into_inner(), ranges },
        order: ByteOrder::Little,
    })
}

/// The header's tensors in the order of their bytes.
fn parse(header: &[u8]) -> Result<Vec<(String, TensorInfo)>, Defect> {
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    let mut infos = deserializer
        .deserialize_map(Entries)
        // Writers pad the header with spaces; anything else behind the map is an error.
        .and_then(|infos| deserializer.end().map(|()| infos))
        .map_err(|error| {
            let reason = error.to_string();
            // serde goes on to list every type there is.
            let reason = reason.split(", expected one of").next().unwrap_or_default();
            Defect::Damaged {
                // serde counts columns of the one line that a header is.
                place: (PREFIX + error.column() as u64).into(),
                what: format!("the safetensors header is not as it should be ({})", shown(reason)),
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
                return Err(A::Error::custom(format!("two tensors called `{}`", shown(&name))));
            }
            infos.push((name, map.next_value()?));
        }
        Ok(infos)
    }
}
