//! Every fixture, cut off and with bytes changed anywhere: never a panic, never memory that the file cannot justify. It is
//! a program of its own, because it looks at the memory of the whole process.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use torch_checkpoint::{NamedTensor, TensorInfo, WeightsFile, read};

/// The legacy files have no checksums, so changes reach everything behind them.
const FIXTURES: [&str; 6] = [
    "small.safetensors",
    "checkpoint.pth",
    "checkpoint.legacy.pth.tar",
    "views.pth",
    "views.legacy.pth.tar",
    "big_endian.pth",
];

/// What the process has ever reserved, in bytes: a declared length that is believed shows even if nobody writes there.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0, |kib| kib.parse::<u64>().unwrap() * 1024)
}

/// A change to a file: where it happens is a fraction of the file's length.
#[derive(Debug, Clone)]
enum Change {
    Cut(f64),
    Set(f64, u8),
    Flip(f64, u8),
    /// Eight bytes of ones: a length or a size beyond all bounds.
    Flood(f64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => (0.0..1.0).prop_map(Change::Cut),
        4 => (0.0..1.0, any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (0.0..1.0, 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => (0.0..1.0).prop_map(Change::Flood),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let length = bytes.len();
    let place = |at: f64| (at * length as f64) as usize;
    match *change {
        Change::Cut(at) => bytes.truncate(place(at)),
        Change::Set(at, byte) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old = byte),
        Change::Flip(at, bit) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old ^= 1 << bit),
        Change::Flood(at) => bytes.iter_mut().skip(place(at)).take(8).for_each(|old| *old = 0xff),
    }
}

#[test]
fn mutants_of_files_end_in_a_message() {
    // Room for the tests' own threads and buffers; the fixtures have a few kilobytes.
    const ROOM: u64 = 256 << 20;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let before = peak();
    let file = tempfile::NamedTempFile::new().unwrap();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let cases = (prop::sample::select(FIXTURES.as_slice()), prop::collection::vec(change(), 1..4));
    proptest!(config, |((name, changes) in cases)| {
        let mut bytes = fs::read(fixtures.join(name)).unwrap();
        for change in &changes {
            apply(&mut bytes, change);
        }
        fs::write(file.path(), &bytes).unwrap();
        let known = WeightsFile::open(file.path());
        match read(file.path(), None) {
            // What can be read has a header that can be read, and the tensors that it promised.
            Ok(weights) => {
                let known = known.unwrap();
                for NamedTensor { name, info, .. } in known.state_dicts()[0].tensors() {
                    let found = &weights[name];
                    let found = TensorInfo { dtype: found.dtype(), shape: found.dims().to_vec() };
                    prop_assert_eq!(info.as_ref().unwrap(), &found);
                }
            }
            Err(error) => prop_assert!(error.to_string().starts_with("cannot take weights from `"), "{}", error),
        }
    });
    let grown = peak() - before;
    assert!(grown < ROOM, "{grown} bytes for files of a few kilobytes");
}
