//! A model, cut off and with bytes changed anywhere: never a panic, never memory that the file cannot justify. It is a program of its
//! own, because it looks at the memory of the whole process.

#[path = "models/written.rs"]
#[expect(dead_code, reason = "what the other tests use of it")]
mod written;

use proptest::prelude::*;
use written::{field, initializer, int, model, node, sound, tensor};

/// What the process has ever reserved, in bytes: a declared length that is believed shows even if nobody writes there.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0, |kib| kib.parse::<u64>().unwrap() * 1024)
}

/// Every kind of message and field.
fn whole() -> Vec<u8> {
    let attribute = |name: &str, kind: i64, value: Vec<u8>| [field(1, name), value, int(20, kind)].concat();
    let attributes = [
        attribute("i", 2, int(3, -7)),
        attribute("s", 3, field(4, "SAME_UPPER")),
        attribute("t", 4, field(5, tensor("", &[2], &[1.0, 2.0]))),
        attribute("ints", 7, [int(8, 1), int(8, 300)].concat()),
        attribute("floats", 6, field(7, 1.5_f32.to_le_bytes())),
        attribute("strings", 8, field(9, "a")),
        attribute("g", 5, field(6, [])),
    ];
    let typed = [int(1, 3), int(2, 7), field(8, "sizes"), field(7, [1, 2, 3])].concat();
    let more = [initializer(typed), node("Other", "other", &["x", "", "sizes"], &["z", ""], &attributes)];
    model(&[sound(), more.to_vec()].concat())
}

#[test]
fn mutants_of_a_model_are_read_or_end_in_a_message() {
    const ROOM: u64 = 256 << 20;
    let bytes = whole();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    onnx_model::read(file.path()).unwrap();
    let before = peak();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let length = bytes.len();
    let changes = prop::collection::vec((0..length, any::<u8>(), 0..4_usize), 1..4);
    proptest!(config, |(changes in changes)| {
        let mut bytes = bytes.clone();
        for (place, byte, kind) in changes {
            match kind {
                0 => bytes.truncate(place),
                1 => bytes.iter_mut().skip(place).take(8).for_each(|old| *old = 0xff),
                2 => bytes.iter_mut().skip(place).take(1).for_each(|old| *old ^= 1 << (byte % 8)),
                _ => bytes.iter_mut().skip(place).take(1).for_each(|old| *old = byte),
            }
        }
        std::fs::write(file.path(), &bytes).unwrap();
        if let Err(error) = onnx_model::read(file.path()) {
            prop_assert!(error.to_string().starts_with("cannot read the ONNX model `"), "{}", error);
        }
    });
    let grown = peak() - before;
    assert!(grown < ROOM, "{grown} bytes for files of less than a kilobyte");
}
