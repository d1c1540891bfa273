//! Models written field by field, so that they can be wrong anywhere.

use std::path::Path;

/// A field that holds bytes: a message, or text.
pub fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A field that holds a whole number.
pub fn int(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value as u64)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A model of IR version 8 and operator set 17 with this graph.
pub fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    [int(1, 8), field(2, "pytorch"), field(3, "2.9"), field(7, graph.concat()), field(8, int(2, 17))].concat()
}

pub fn node(operation: &str, name: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name)).collect();
    let outputs: Vec<u8> = outputs.iter().flat_map(|name| field(2, name)).collect();
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    field(1, [inputs, outputs, field(3, name), field(4, operation), attributes].concat())
}

/// A tensor of `f32`s as bytes.
pub fn tensor(name: &str, dims: &[i64], numbers: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    [dims_of(dims), int(2, 1), field(8, name), field(9, raw)].concat()
}

/// A tensor of `f32`s in another file.
pub fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(key, value)| field(13, [field(1, key), field(2, value)].concat()));
    [dims_of(dims), int(2, 1), field(8, name), entries.collect(), int(14, 1)].concat()
}

pub fn dims_of(dims: &[i64]) -> Vec<u8> {
    dims.iter().flat_map(|size| int(1, *size)).collect()
}

pub fn initializer(tensor: impl AsRef<[u8]>) -> Vec<u8> {
    field(5, tensor)
}

/// An input of `f32`s; a size below zero is free.
pub fn input(name: &str, sizes: &[i64]) -> Vec<u8> {
    field(11, port(name, sizes))
}

pub fn output(name: &str) -> Vec<u8> {
    field(12, port(name, &[]))
}

pub fn port(name: &str, sizes: &[i64]) -> Vec<u8> {
    let dims = sizes.iter().flat_map(|size| field(1, if *size < 0 { field(2, "N") } else { int(1, *size) }));
    let tensor = [int(1, 1), field(2, dims.collect::<Vec<u8>>())].concat();
    [field(1, name), field(2, field(1, tensor))].concat()
}

/// A model of one layer: what other models are made wrong from.
pub fn sound() -> Vec<Vec<u8>> {
    vec![
        input("x", &[-1, 3, 4, 4]),
        initializer(tensor("w", &[2, 3, 1, 1], &[0.5; 6])),
        node("Conv", "conv", &["x", "w"], &["y"], &[[field(1, "strides"), int(8, 1), int(8, 1), int(20, 7)].concat()]),
        output("y"),
    ]
}

/// What reading a model in this folder says, without the path that it begins with.
pub fn message_in(folder: &Path, bytes: &[u8]) -> String {
    let path = folder.join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    let error = onnx_model::read(&path).expect_err("a bad model").to_string();
    let start = format!("cannot read the ONNX model `{}`: ", path.display());
    error.strip_prefix(&start).expect("the path comes first").to_owned()
}

pub fn message(bytes: &[u8]) -> String {
    message_in(tempfile::tempdir().unwrap().path(), bytes)
}
