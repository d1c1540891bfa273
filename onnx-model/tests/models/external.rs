//! Tensors in files beside the model, and nowhere else.

use std::fs;

use crate::written::{external, initializer, message_in, model, sound};

const HELP: &str =
    "; put the file that it was exported with beside the model, under its own name, or save the model as one file";

/// The sound model, its weight at this place of another file.
fn at(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut parts = sound();
    parts[1] = initializer(external("w", &[2, 3, 1, 1], entries));
    model(&parts)
}

#[test]
fn external_data_is_read_from_the_models_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let numbers: Vec<u8> = (0..8).flat_map(|number| (number as f32).to_le_bytes()).collect();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/weights.bin"), numbers).unwrap();
    let data = ("location", "data/weights.bin");
    fs::write(&path, at(&[data, ("offset", "8"), ("length", "24")])).unwrap();
    let model = onnx_model::read(&path).unwrap();
    assert_eq!(model.graph.initializers.values().next().unwrap().to_f64(), [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(model.external_files, [folder.path().join("data/weights.bin")]);
    let says = |entries: &[(&str, &str)], what: &str| {
        let message = message_in(folder.path(), &at(entries));
        assert_eq!(message, format!("the external data of tensor `w` {what}{HELP}"));
    };
    says(&[data, ("offset", "16")], "takes 24 bytes from byte 16 of `data/weights.bin`, which has 32");
    says(
        &[data, ("offset", "18446744073709551615")],
        "takes 24 bytes from byte 18446744073709551615 of `data/weights.bin`, which has 32",
    );
    says(&[data, ("offset", "-8")], "has the offset `-8`, which is not a size");
    says(&[data, ("length", "8")], "has 8 bytes, and the tensor takes 24");
    says(&[("offset", "0")], "has no location");
    says(&[("location", "none.bin")], "lies in `none.bin`, which is not there");
    says(&[("location", "data")], "lies in `data`, which is not a file");
}

#[test]
fn no_other_file_is_read() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(outer.path().join("secret"), [0; 64]).unwrap();
    let absolute = outer.path().join("secret");
    for location in ["../secret", "a/../../secret", absolute.to_str().unwrap(), "C:\\secret", "..\\secret", ""] {
        let message = message_in(&folder, &at(&[("location", location)]));
        assert!(message.contains("which is not a path within the model's folder; "), "{message}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, folder.join("link")).unwrap();
        std::os::unix::fs::symlink(outer.path(), folder.join("folder")).unwrap();
        for location in ["link", "folder/secret"] {
            let message = message_in(&folder, &at(&[("location", location)]));
            assert!(message.contains("a link that leads out of the model's folder; "), "{message}");
        }
        std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
        let message = message_in(&folder, &at(&[("location", "pipe")]));
        assert!(message.contains("lies in `pipe`, which is not a file; "), "{message}");
    }
}

#[test]
fn tensors_do_not_multiply_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data"), [0; 48]).unwrap();
    let place = |offset: usize| [("location".to_owned(), "data".to_owned()), ("offset".to_owned(), offset.to_string())];
    let parts = |offsets: &[usize]| {
        let tensors = offsets.iter().enumerate().map(|(index, offset)| {
            let entries = place(*offset);
            let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            initializer(external(&format!("w{index}"), &[6], &entries))
        });
        model(&[sound(), tensors.collect()].concat())
    };
    // The same range as often as you like, as tied weights have it; ranges that overlap never.
    let path = folder.path().join("model.onnx");
    fs::write(&path, parts(&[0, 0, 0, 24, 24])).unwrap();
    onnx_model::read(&path).unwrap();
    let message = message_in(folder.path(), &parts(&[0, 4, 8]));
    assert!(message.starts_with("it is refused: its tensors lie on top of each other in `data`; "), "{message}");
}
