//! Weights files written byte by byte: what PyTorch would not write, or no longer does.

use std::io::{Cursor, Write};
use std::path::PathBuf;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Pickle operations that leave one value on the stack.
pub type Value = Vec<u8>;

/// A file of the tests.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn text(text: &str) -> Value {
    [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

pub fn int(int: i64) -> Value {
    [b"\x8a\x08".as_slice(), int.to_le_bytes().as_slice()].concat()
}

pub fn global(module: &str, name: &str) -> Value {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn tuple(elements: &[Value]) -> Value {
    [b"(", elements.concat().as_slice(), b"t"].concat()
}

pub fn list(elements: &[Value]) -> Value {
    [b"](", elements.concat().as_slice(), b"e"].concat()
}

pub fn dict(items: &[(&str, Value)]) -> Value {
    let items: Vec<Value> = items.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", items.concat().as_slice(), b"u"].concat()
}

pub fn call(module: &str, name: &str, arguments: &[Value]) -> Value {
    [global(module, name), tuple(arguments), b"R".to_vec()].concat()
}

/// A whole pickle.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A storage of floats.
pub fn storage(key: &str, count: i64) -> Value {
    let id = [text("storage"), global("torch", "FloatStorage"), text(key), text("cpu"), int(count)];
    [tuple(&id), b"Q".to_vec()].concat()
}

/// A tensor with the given storage, offset, shape and strides.
pub fn view(storage: Value, offset: i64, shape: &[i64], strides: &[i64]) -> Value {
    let sizes = |sizes: &[i64]| tuple(&sizes.iter().copied().map(int).collect::<Vec<_>>());
    let arguments = [storage, int(offset), sizes(shape), sizes(strides), b"\x89".to_vec(), b")".to_vec()];
    call("torch._utils", "_rebuild_tensor_v2", &arguments)
}

/// A tensor of two floats in storage "0".
pub fn pair() -> Value {
    view(storage("0", 2), 0, &[2], &[1])
}

/// The object and its storages as PyTorch saved them before 1.6.
pub fn legacy(object: &[u8], storages: &[(&str, &[f32])]) -> Vec<u8> {
    let keys: Vec<Value> = storages.iter().map(|(key, _)| text(key)).collect();
    let mut file = [
        pickle(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"),
        pickle(&int(1001)),
        pickle(&dict(&[])),
        pickle(object),
        pickle(&list(&keys)),
    ]
    .concat();
    for (_, floats) in storages {
        file.extend((floats.len() as u64).to_le_bytes());
        file.extend(floats.iter().flat_map(|float| float.to_le_bytes()));
    }
    file
}

/// An archive as PyTorch saves it since 1.6.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A safetensors file with this header.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
}
