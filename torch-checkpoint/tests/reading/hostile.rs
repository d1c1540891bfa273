//! Bad files: each ends in one message that says what was found, where, and what to do about it.

use proptest::collection::vec;
use proptest::prelude::*;
use torch_checkpoint::{ErrorKind, ReadError, StateDict, WeightsFile, read};

use crate::written::{archive, call, dict, fixture, int, legacy, list, pair, pickle, safetensors, storage, text, view};

/// The message without the path that it begins with.
fn text_of(error: &ReadError) -> String {
    let start = format!("cannot take weights from `{}`: ", error.path.display());
    error.to_string().strip_prefix(&start).expect("the path comes first").to_string()
}

/// The message for a file with these bytes.
fn message(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let message = text_of(&read(file.path(), None).expect_err("a bad file"));
    // The checksum of a storage takes reading it; what is wrong with one tensor is told to who needs it.
    match WeightsFile::open(file.path()) {
        Err(error) => assert_eq!(text_of(&error), message),
        Ok(file) => {
            let tensors = file.state_dicts().iter().flat_map(StateDict::tensors);
            let is_told = |kind: &ErrorKind| message == format!("{kind}; {}", kind.help());
            let known = tensors.filter_map(|tensor| tensor.info.as_ref().err()).any(is_told);
            assert!(known || message.contains("checksum"), "{message}");
        }
    }
    message
}

#[track_caller]
fn check(cases: &[(&str, Vec<u8>, &str)]) {
    for (name, bytes, expected) in cases {
        assert_eq!(message(bytes), *expected, "{name}");
    }
}

/// A sound archive's entries with this pickle.
fn zipped(object: &[u8]) -> Vec<u8> {
    archive(&[("x/data.pkl", &pickle(object)), ("x/data/0", &[0; 8])])
}

/// A legacy file with one tensor.
fn with_view(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    legacy(&dict(&[("a.weight", view(storage("0", 2), offset, shape, strides))]), &[("0", &[1.0, 2.0])])
}

#[test]
fn paths_that_are_not_files() {
    let folder = tempfile::tempdir().unwrap();
    let missing = read(&folder.path().join("teacher.pth"), None).unwrap_err();
    assert_eq!(text_of(&missing), "there is no such file; relative paths start at the working directory");
    let folder = read(folder.path(), None).unwrap_err();
    let expected = "it is a folder without weights; give a .safetensors, .pth or .pth.tar file, or a folder with one of \
                    `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin`, `pytorch_model.bin.index.json`";
    assert_eq!(text_of(&folder), expected);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_unopened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("teacher.pth");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), "/dev/zero".as_ref()] {
        let message = text_of(&read(path, None).unwrap_err());
        assert!(message.starts_with("it is a device or a pipe, not a file; "), "{message}");
    }
}

#[test]
fn more_tensors_than_any_network_has() {
    let entries: Vec<_> =
        (0..100_001).map(|index| format!(r#""w{index}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    let message = message(&safetensors(&format!("{{{}}}", entries.join(",")), &[]));
    assert!(
        message.contains("the safetensors header is not as it should be (more than 100000 tensors at line 1"),
        "{message}"
    );
}

/// Damaged before its archive is made, so that no sum tells.
#[test]
fn mutants_of_pickles_and_headers_are_read_or_refused() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let object = dict(&[("a.weight", view(storage("0", 2), 0, &[2, 1], &[1, 1])), ("epoch", int(3))]);
    let header = r#"{"a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}"#;
    let read = |bytes: Vec<u8>| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        drop(read(file.path(), None));
    };
    let bytes = prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(b'.'), Just(b'R'), Just(b'9'), Just(b'"')];
    proptest!(config, |(changes in vec((any::<prop::sample::Index>(), bytes, 0..3_usize), 1..5))| {
        let mutant = |sound: &[u8]| {
            let mut mutant = sound.to_vec();
            for (at, byte, removed) in &changes {
                let at = at.index(mutant.len());
                mutant.splice(at..(at + removed).min(sound.len()).min(mutant.len()).max(at), [*byte]);
            }
            mutant
        };
        read(archive(&[("x/data.pkl", &mutant(&pickle(&object))), ("x/data/0", &[0; 8])]));
        read(safetensors(&String::from_utf8_lossy(&mutant(header.as_bytes())), &[0; 8]));
    });
}

#[test]
fn files_of_another_kind() {
    check(&[
        ("empty", vec![], "it is empty (0 bytes); copy or download it again"),
        (
            "git lfs",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2781600\n".to_vec(),
            "it is a Git LFS pointer instead of the file itself; fetch the file with `git lfs pull`",
        ),
        (
            "web page",
            b"\n<!DOCTYPE html><html><body>404</body></html>".to_vec(),
            "it is a web page (HTML); download the file itself: the link led to a page about it, or to an error",
        ),
        (
            "text",
            b"epoch,accuracy\n1,0.5\n".to_vec(),
            "it is text that begins with `epoch,accuracy\\n1,0.5`; give a .safetensors file or one written by `torch.save`",
        ),
        (
            "other bytes",
            vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            "it is of a format that is not known here (it begins with the bytes [00, 01, 02, 03, 04, 05, 06, 07]); give a \
             .safetensors file or one written by `torch.save`",
        ),
        ("zeros", vec![0; 1000], "it is filled with zeros; copy or download it again"),
        (
            "another zip archive",
            archive(&[("weights/best.pth", b"..")]),
            "it is a zip archive without PyTorch's `data.pkl` (it holds `weights/best.pth`); if the weights are packed \
             inside it, unpack them first",
        ),
        (
            "a program",
            archive(&[("x/data.pkl", b"."), ("x/constants.pkl", b".")]),
            "it is a TorchScript program; load it with `torch.jit.load` and save its `state_dict()`",
        ),
        (
            "a bare pickle",
            pickle(&dict(&[("a", int(1))])),
            "it is a pickle that `torch.save` did not write (a dict of 1; nothing in it was run); load it where it comes \
             from and `torch.save` its state dict",
        ),
    ]);
}

#[test]
fn checkpoints_without_a_state_dict() {
    check(&[
        (
            "a whole network",
            legacy(&call("models.wide", "ResNet\x1b[2J", &[]), &[]),
            "it holds no state dict: found an object made by `models.wide.ResNet\\u{1b}[2J`; save `model.state_dict()`",
        ),
        (
            "no tensors",
            legacy(&dict(&[("epoch", int(1)), ("nets", list(&[pair()]))]), &[("0", &[1.0, 2.0])]),
            "it holds no state dict: found a dict of 2 with `epoch: an integer`, `nets: a list of 1`; save \
             `model.state_dict()`",
        ),
        (
            "a command instead of weights",
            zipped(&call("posix", "system", &[text("touch /tmp/was-here")])),
            "it holds no state dict: found an object made by `posix.system`; save `model.state_dict()`",
        ),
    ]);
}

#[test]
fn a_command_among_the_weights_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let command = call("os", "system", &[text(&format!("touch '{}'", trace.display()))]);
    let path = folder.path().join("teacher.pth");
    std::fs::write(&path, zipped(&dict(&[("a.weight", pair()), ("epoch", command)]))).unwrap();
    assert_eq!(read(&path, None).unwrap().len(), 1);
    assert!(!trace.exists());
}

#[test]
fn tensors_outside_their_storage() {
    let place = "it is damaged at byte 34: tensor `a.weight`";
    let again = "copy, download or save it again";
    let outside = |view: &str| format!("{place} ({view}, float32) reaches outside its storage of 8 bytes; {again}");
    let cases = [
        (with_view(0, &[3], &[1]), outside("shape [3], strides [1], offset 0")),
        (with_view(1, &[2], &[1]), outside("shape [2], strides [1], offset 1")),
        (with_view(0, &[2, 2], &[1, 1]), outside("shape [2, 2], strides [1, 1], offset 0")),
        (with_view(i64::MAX, &[2], &[1]), outside(&format!("shape [2], strides [1], offset {}", i64::MAX))),
        (with_view(0, &[2], &[i64::MAX]), outside(&format!("shape [2], strides [{}], offset 0", i64::MAX))),
        (
            with_view(0, &[i64::MAX, i64::MAX], &[0, 0]),
            format!("{place} of shape [{0}, {0}] is larger than any memory; {again}", i64::MAX),
        ),
        (
            with_view(0, &[0, i64::MAX, 8], &[0, 0, 0]),
            format!("{place} of shape [0, {}, 8] is larger than any memory; {again}", i64::MAX),
        ),
        (with_view(0, &[2], &[1, 1]), format!("{place} has 1 dimensions and 2 strides; {again}")),
        (
            with_view(0, &[-1], &[1]),
            format!(
                "it is damaged at byte 34: the pickle does not describe the tensor `a.weight` as PyTorch does; {again}"
            ),
        ),
        (
            // Within the storage, but a million times over.
            with_view(0, &[1 << 20, 1 << 20], &[0, 0]),
            "it is refused at byte 0: its tensors take far more memory than its 232 bytes (the largest is `a.weight`: \
             [1048576, 1048576]); only a hostile or badly damaged file looks like this: do not use it"
                .to_string(),
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(message(&bytes), expected);
    }
    // A dimension of one element may have any stride.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), with_view(0, &[1, 2], &[i64::MAX, 1])).unwrap();
    assert_eq!(read(file.path(), None).unwrap()["a.weight"].dims(), [1, 2]);
}

#[test]
fn pickles_that_want_too_much() {
    let prefix = |rest: &[u8]| [b"\x80\x02".as_slice(), rest].concat();
    let endless = "it is refused at byte 8388609: its pickle has more than 8388608 operations; only a hostile or badly \
                   damaged file looks like this: do not use it";
    // A value that contains itself, a million deep, or 2^40 times over must cost no more than its own bytes.
    let itself = [b"}q\x00X\x05\0\0\0model".as_slice(), b"h\x00s"].concat();
    let deep = [vec![b']'; 1 << 20], vec![b'a'; (1 << 20) - 1]].concat();
    let doubling = [b"}q\x00".to_vec(), b"}q\x01X\x01\0\0\0ah\x00sX\x01\0\0\0bh\x00sq\x00".repeat(40)].concat();
    check(&[
        (
            "a text of 4 GiB",
            prefix(b"X\xff\xff\xff\xff"),
            "it is cut short: a text ends at byte 4294967302 of the file, which has 7 bytes; copy or download it again",
        ),
        (
            "bytes of 16 EiB",
            prefix(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"),
            "it is cut short: a run of bytes ends at byte 18446744073709551615 of the file, which has 11 bytes; copy or \
             download it again",
        ),
        ("no end", [b"\x80\x02".to_vec(), vec![b'('; 9 << 20]].concat(), endless),
        (
            "an empty stack",
            prefix(b"R."),
            "it is damaged at byte 2: the pickle takes a value that it did not make; copy, download or save it again",
        ),
        (
            "a memo from nowhere",
            prefix(b"h\x07."),
            "it is damaged at byte 2: the pickle recalls a memo that it did not make; copy, download or save it again",
        ),
        (
            "an extension",
            prefix(b"\x82\x01."),
            "it is damaged at byte 2: 0x82 is not a pickle operation that PyTorch writes; copy, download or save it again",
        ),
        (
            "itself",
            legacy(&itself, &[]),
            "it holds no state dict: found a dict of 1 with `model: a dict of 1`; save `model.state_dict()`",
        ),
        ("deep", legacy(&deep, &[]), "it holds no state dict: found a list of 1; save `model.state_dict()`"),
        (
            "doubling",
            legacy(&doubling, &[]),
            "it holds no state dict: found a dict of 2 with `a: a dict of 2`, `b: a dict of 2`; save `model.state_dict()`",
        ),
    ]);
}

#[test]
fn archives_that_lie() {
    let sound = zipped(&dict(&[("a.weight", pair())]));
    // The method is at byte 8 of an entry's own header and at byte 10 of its header in the directory.
    let mut compressed = sound.clone();
    for (signature, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let header = compressed.windows(4).position(|window| window == signature).unwrap();
        compressed[header + at] = 8;
    }
    let mut corrupt = sound.clone();
    let content = corrupt.windows(8).position(|window| window == b"x/data/0").unwrap() + 8;
    corrupt[content] = 1;
    // Two entries of the directory lead to the same kilobytes.
    let large = |key| view(storage(key, 1000), 0, &[1000], &[1]);
    let object = pickle(&dict(&[("a.weight", large("0")), ("b.weight", large("1"))]));
    let mut doubled = archive(&[("x/data.pkl", &object), ("x/data/0", &[0; 4000]), ("x/data/1", b"")]);
    let header = |name: &[u8]| doubled.windows(8).rposition(|window| window == name).unwrap() - 46;
    let (from, to) = (header(b"x/data/0"), header(b"x/data/1"));
    for field in [16..28, 42..46] {
        doubled.copy_within(from + field.start..from + field.end, to + field.start);
    }
    check(&[
        (
            "compressed",
            compressed,
            "entry `x/data.pkl` of the archive is compressed, and PyTorch stores entries as they are; unpack it, load it \
             with PyTorch, and `torch.save` its state dict",
        ),
        (
            "a flipped bit",
            corrupt,
            "it is damaged at byte 190: entry `x/data/0`: Invalid checksum; copy, download or save it again",
        ),
        (
            "the same bytes twice",
            doubled,
            "it is refused at byte 0 of `x/data.pkl`: the archive's entries lie on top of each other; only a hostile or \
             badly damaged file looks like this: do not use it",
        ),
        (
            "half",
            sound[..sound.len() / 2].to_vec(),
            "it is damaged at byte 184: the zip archive's directory, which lies at its end, cannot be read, as when a \
             download stops early (invalid Zip \
             archive: Could not find EOCD); copy, download or save it again",
        ),
        (
            "a storage that is not there",
            archive(&[("x/data.pkl", &pickle(&dict(&[("a.weight", pair())])))]),
            "it is damaged at byte 0 of `x/data.pkl`: tensor `a.weight` lies in storage `0`, which the archive lacks; \
             copy, download or save it again",
        ),
        (
            "a storage of another size",
            archive(&[("x/data.pkl", &pickle(&dict(&[("a.weight", pair())]))), ("x/data/0", &[0; 7])]),
            "it is damaged at byte 0 of `x/data.pkl`: storage `0` should have 8 bytes, and its entry has 7; copy, \
             download or save it again",
        ),
        (
            "neither end first",
            archive(&[("x/data.pkl", b"N."), ("x/byteorder", b"middle")]),
            "it is damaged at byte 0 of `byteorder`: the byte order is `middle`, not `little` or `big`; copy, download or \
             save it again",
        ),
    ]);
}

#[test]
fn safetensors_headers_that_lie() {
    let one = |dtype: &str, shape: &str, range: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{range}}}}}"#)
    };
    check(&[
        (
            "a header beyond the file",
            safetensors(&one("F32", "[2]", "[0,8]"), &[0; 8])[..40].to_vec(),
            "it is cut short: the safetensors header ends at byte 62 of the file, which has 40 bytes; copy or download it \
             again",
        ),
        (
            "a header of 16 EiB",
            [[0xff; 8].as_slice(), b"{}"].concat(),
            "it is of a format that is not known here (it begins with the bytes [ff, ff, ff, ff, ff, ff, ff, ff]); give a \
             .safetensors file or one written by `torch.save`",
        ),
        (
            "a header of 1 GB",
            [1_000_000_000_u64.to_le_bytes().as_slice(), b"{}"].concat(),
            "it is refused at byte 0: a safetensors header of 1000000000 bytes, where 100000000 is the most; only a \
             hostile or badly damaged file looks like this: do not use it",
        ),
        (
            "half the tensors",
            safetensors(&one("F32", "[2]", "[0,8]"), &[0; 4]),
            "it is cut short: tensor `a` ends at byte 70 of the file, which has 66 bytes; copy or download it again",
        ),
        (
            "too many bytes",
            safetensors(&one("F32", "[2]", "[0,8]"), &[0; 9]),
            "it is damaged at byte 70: bytes that belong to no tensor (1); copy, download or save it again",
        ),
        (
            "too few bytes",
            safetensors(&one("F32", "[3]", "[0,8]"), &[0; 8]),
            "it is damaged at byte 62: tensor `a` (shape [3], strides [1], offset 0, float32) reaches outside its storage \
             of 8 bytes; copy, download or save it again",
        ),
        (
            "an overflow",
            safetensors(&one("F32", "[4294967296,4294967296]", "[0,8]"), &[0; 8]),
            "it is damaged at byte 82: tensor `a` of shape [4294967296, 4294967296] is larger than any memory; copy, \
             download or save it again",
        ),
        (
            "backwards",
            safetensors(&one("F32", "[2]", "[8,0]"), &[0; 8]),
            "it is damaged at byte 70: the header puts tensor `a` at bytes 8..0 of the data, where byte 0 is next; copy, \
             download or save it again",
        ),
        (
            "a type of the future",
            safetensors(&one("F99", "[2]", "[0,8]"), &[0; 8]),
            "it is damaged at byte 27: the safetensors header is not as it should be (unknown variant `F99`); copy, \
             download or save it again",
        ),
        (
            "integers of 8 bits",
            safetensors(&one("I8", "[2]", "[0,2]"), &[0; 2]),
            "its tensor `a` has elements of type int8, which nothing here can use; save it as float32",
        ),
        (
            "no tensors",
            safetensors("{}", &[]),
            "it holds no state dict: found a safetensors file without tensors; save `model.state_dict()`",
        ),
    ]);
}

#[test]
fn a_key_for_a_file_without_wrappers() {
    let error = read(&fixture("small.safetensors"), Some("student_state_dict")).unwrap_err();
    let expected = "it has no state dict under the key `student_state_dict`; its tensors are not wrapped in anything: leave \
                    `key` out";
    assert_eq!(text_of(&error), expected);
}
