//! What `torch.save` wrote before PyTorch 1.6: five pickles in a row (a magic number, the format's version, facts about
//! the machine, the object, the storages' keys), then each storage: its number of elements and its bytes, little end
//! first whatever the machine.

use std::collections::HashMap;
use std::io::{Read, Seek};

use crate::byte_reader::ByteReader;
use crate::configuration::Configuration;
use crate::error::{ErrorKind, printable};
use crate::format::Format;
use crate::numpy_array::InlineStorages;
use crate::pickle::{Pickle, Value};
use crate::rebuild::{self, StorageReference, TensorReference};
use crate::state_dict;
use crate::tensor_archive::{Storages, TensorArchive, TensorDict};
use crate::view::{ByteOrder, TensorView};

/// 0x1950a86a20f9469cfc6c, little end first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

const VERSION: i64 = 1001;

/// Reads everything but the storages of a file of `length` bytes and checks every tensor against it.
pub(crate) fn open<R: Read + Seek>(file: R, length: u64) -> Result<TensorArchive<R>, ErrorKind> {
    let mut reader = ByteReader::of_file(file, length);
    let magic = Pickle::read(&mut reader)?;
    if !matches!(magic.get(magic.root()), Value::Long(magic) if **magic == MAGIC) {
        return Err(ErrorKind::NotWeights {
            found: format!(
                "a pickle that `torch.save` did not write ({}; nothing in it was run)",
                magic.describe(magic.root())
            ),
            help: "load it where it comes from and `torch.save` its state dict",
        });
    }
    let start = reader.position();
    let version = Pickle::read(&mut reader)?;
    if version.int(version.root()) != Some(VERSION) {
        return Err(ErrorKind::Damaged {
            location: reader.location(start),
            what: format!("the version of the format is not {VERSION}"),
        });
    }
    let _machine = Pickle::read(&mut reader)?;
    let object_location = reader.location(reader.position());
    let object = Pickle::read(&mut reader)?;
    let keys_location = reader.location(reader.position());
    let keys = Pickle::read(&mut reader)?;
    let damaged = |what: &str| ErrorKind::Damaged { location: keys_location.clone(), what: what.to_string() };

    // A storage's size is only known in elements, and of which size those are only where the object refers to it.
    let mut references: HashMap<&str, StorageReference<'_>> = HashMap::new();
    for value in object.values() {
        if let Value::Persistent(id) = value
            && let Some(storage) = rebuild::storage(&object, *id)
        {
            references.entry(storage.key).or_insert(storage);
        }
    }
    let mut numbers = HashMap::new();
    let mut ranges = Vec::new();
    for key in keys.elements(keys.root()).ok_or_else(|| damaged("the storages' keys are not a list"))? {
        let key = keys.text(*key).ok_or_else(|| damaged("a storage's key is not a text"))?;
        let reference = references.get(key).ok_or_else(|| damaged("a storage that the object does not refer to"))?;
        let location = reader.location(reader.position());
        let what = format!("storage `{}`", printable(key));
        let count = u64::from_le_bytes(reader.array(&what)?);
        if count.checked_mul(reference.dtype.size as u64) != Some(reference.length) {
            return Err(ErrorKind::Damaged {
                location,
                what: format!(
                    "{what} has {count} elements, where {} was announced",
                    reference.length / reference.dtype.size as u64
                ),
            });
        }
        let start = reader.position();
        reader.seek_past(reference.length, &what)?;
        numbers.insert(key, ranges.len());
        ranges.push(start..reader.position());
    }

    let mut inline = InlineStorages::new(&object);
    let mut dicts = Vec::new();
    for dict in state_dict::find(&object, length, &object_location)? {
        let mut tensors = TensorDict::new(dict.path);
        for (name, id) in dict.tensors {
            let mut view = |name: &str| -> Result<TensorView, ErrorKind> {
                let reference = match rebuild::tensor(&object, name, id, &object_location)? {
                    TensorReference::Array(array) => return inline.view(array, name, &object_location),
                    TensorReference::View(view) => view,
                };
                let StorageReference { key, length, .. } = reference.storage;
                let number = numbers.get(key);
                let number = number.filter(|_| references.get(key).is_some_and(|first| first.length == length));
                let number = *number.ok_or_else(|| ErrorKind::Damaged {
                    location: object_location.clone(),
                    what: format!(
                        "tensor `{}` lies in storage `{}`, which the file lacks",
                        printable(name),
                        printable(key)
                    ),
                })?;
                reference.view(name, number, ByteOrder::Little, object_location.clone())
            };
            let view = view(&name);
            tensors.push(name.into_owned(), view)?;
        }
        dicts.push(tensors);
    }
    Ok(TensorArchive {
        format: Format::TorchLegacy,
        configuration: Configuration::default(),
        dicts,
        inline: inline.into_storages(),
        storages: Storages::Ranges { file: reader.into_inner(), ranges },
    })
}
