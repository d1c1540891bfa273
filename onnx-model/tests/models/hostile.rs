//! Bad models: each ends in one message that says what was found, where, and what to do about it.

use crate::written::{dims_of, field, initializer, input, int, message, model, node, output, port, sound, tensor};

const DAMAGED: &str = "; copy, download or export it again, and try `onnx.checker.check_model` on it";
const HOSTILE: &str = "; only a hostile or badly damaged file looks like this: do not use it";

#[track_caller]
fn damaged(graph: &[Vec<u8>], what: &str) {
    assert_eq!(message(&model(graph)), format!("it is damaged: {what}{DAMAGED}"));
}

/// The sound model with another part in place of one.
fn with(index: usize, part: Vec<u8>) -> Vec<Vec<u8>> {
    let mut parts = sound();
    parts[index] = part;
    parts
}

#[test]
fn paths_that_are_not_models() {
    let folder = tempfile::tempdir().unwrap();
    let text = |path: &std::path::Path| onnx_model::read(path).unwrap_err().kind.to_string();
    assert_eq!(text(&folder.path().join("none.onnx")), "there is no such file");
    assert_eq!(text(folder.path()), "it is a directory, not a file");
    #[cfg(unix)]
    assert_eq!(text("/dev/zero".as_ref()), "it is a device or a pipe, not a file");
    for (bytes, found) in [
        (
            b"version https://git-lfs.github.com/spec/v1".as_slice(),
            "it is a Git LFS pointer instead of the file itself",
        ),
        (b"<!DOCTYPE html>", "it is a web page (HTML)"),
        (b"PK\x03\x04", "it is a zip archive, as PyTorch's and Keras's own files are"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras's own files are"),
        (b"", "it is empty (0 bytes)"),
        (b"hello", "it is damaged: as Protocol Buffers it has a field of a kind that ONNX has none of"),
    ] {
        let message = message(bytes);
        assert!(message.starts_with(found), "{message}");
    }
}

#[test]
fn graphs_that_contradict_themselves() {
    let again = |part: Vec<u8>| [sound(), vec![part]].concat();
    damaged(
        &again(initializer(tensor("w", &[1], &[1.0]))),
        "the value `w` is defined twice, again by the initializers",
    );
    damaged(&again(input("x", &[1])), "the value `x` is defined twice, again by the inputs");
    let twice = node("Relu", "other", &["x"], &["y"], &[]);
    damaged(&again(twice), "the value `y` is defined twice, again by `other` (Relu)");
    let dangling = node("Relu", "other", &["nowhere\x1b[2J"], &["z"], &[]);
    damaged(&again(dangling), "`other` (Relu) takes `nowhere\\u{1b}[2J`, which nothing makes");
    let itself = node("Add", "", &["x", "z"], &["z"], &[]);
    damaged(&again(itself), "the Add that makes `z` takes what depends on its own output");
    let circle = [node("Relu", "a", &["q"], &["p"], &[]), node("Relu", "b", &["p"], &["q"], &[])].concat();
    damaged(&again(circle), "`a` (Relu) takes what depends on its own output");
    damaged(&again(node("", "other", &[], &["z"], &[])), "`other` () does not say which operation it is");
    let value = [field(1, "axis"), int(3, 1), int(20, 2)].concat();
    let attributes = [value.clone(), value];
    damaged(&again(node("Concat", "c", &["x"], &["z"], &attributes)), "`c` (Concat) has the attribute `axis` twice");
    damaged(&with(3, output("z")), "its output `z` is nothing that a node makes");
    damaged(&sound()[..3], "its graph has no output");
    damaged(
        &with(0, field(11, [field(1, "x"), field(2, field(1, field(2, field(1, int(1, -5)))))].concat())),
        "`x` has a dimension of negative size",
    );
    assert_eq!(message(&int(1, 8)), format!("it is damaged: it holds no graph{DAMAGED}"));
}

#[test]
fn tensors_that_lie() {
    let bad =
        |dims: &[i64], rest: &[Vec<u8>]| with(1, initializer([dims_of(dims), field(8, "w"), rest.concat()].concat()));
    let float = int(2, 1);
    let two = field(9, [0; 8]);
    damaged(&bad(&[3], &[float.clone(), two.clone()]), "tensor `w` of shape [3] takes 12 bytes, and 8 are there");
    damaged(&bad(&[-1], &[float.clone(), two.clone()]), "tensor `w` has the dimensions [-1]");
    let large = [1 << 40, 1 << 40];
    damaged(
        &bad(&large, std::slice::from_ref(&float)),
        &format!("tensor `w` of shape {large:?} is larger than any memory"),
    );
    damaged(
        &bad(&[0, i64::MAX, 8], std::slice::from_ref(&float)),
        &format!("tensor `w` of shape [0, {}, 8] is larger than any memory", i64::MAX),
    );
    damaged(&bad(&[1; 65], &[float.clone(), field(9, [0; 4])]), "tensor `w` has 65 dimensions");
    let unsupported = |graph: &[Vec<u8>], what: &str| {
        assert_eq!(message(&model(graph)), format!("{what}; export it in float32"));
    };
    unsupported(&bad(&[2], &[int(2, 8)]), "its tensor `w` has elements of type string, which is not read");
    unsupported(&bad(&[2], &[int(2, 99)]), "its tensor `w` has elements of type number 99, which is not read");
    unsupported(&bad(&[2], &[float, two, field(3, [])]), "its tensor `w` lies in segments");
}

#[test]
fn files_that_want_too_much() {
    // Each empty message takes two bytes, and some hundred of memory.
    let empty: Vec<u8> = field(1, []).repeat(1 << 20);
    let refused = format!("it is refused: its messages take far more memory than its own size{HOSTILE}");
    assert_eq!(message(&model(&[empty])), refused);
    let attributes: Vec<u8> = field(5, []).repeat(1 << 20);
    assert_eq!(message(&model(&[field(1, attributes)])), refused);
    // A group within a group, a million deep.
    let message = message(&vec![0x0b; 1 << 20]);
    assert!(message.starts_with("it is damaged: as Protocol Buffers it has a field of a kind"), "{message}");
}

#[test]
fn versions_that_are_not_known() {
    let graph = field(7, sound().concat());
    let version = |version: i64| message(&[int(1, version), graph.clone()].concat());
    let help = "export it again with another version of `onnx`";
    assert_eq!(version(2), format!("it is of IR version 2, and 3 to 13 are read; {help}"));
    assert_eq!(version(99), format!("it is of IR version 99, and 3 to 13 are read; {help}"));
    let sparse = [sound(), vec![field(15, port("s", &[]))]].concat();
    assert_eq!(message(&model(&sparse)), "it has sparse tensors; export dense ones");
}
