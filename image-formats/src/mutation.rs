//! Files with a few bytes changed, for tests: whatever a file holds, it is read or refused.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

/// A place in a file. Its structure is told at its beginning and its end.
#[derive(Debug, Clone)]
enum Place {
    Anywhere(f64),
    Beginning(usize),
    End(usize),
}

#[derive(Debug, Clone)]
enum Change {
    Cut,
    Flip(u8),
    /// So many bytes of a number, in either order: a length or a count beyond all bounds.
    Number(u64, usize, bool),
    Remove(usize),
    Repeat(usize),
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        (0.0..1.0).prop_map(Place::Anywhere),
        (0..300_usize).prop_map(Place::Beginning),
        (1..600_usize).prop_map(Place::End),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![Just(0), Just(u64::MAX), Just(1 << 31), Just((1 << 31) - 1), Just(1 << 40), any::<u64>()];
    prop_oneof![
        1 => Just(Change::Cut),
        4 => (0_u8..8).prop_map(Change::Flip),
        4 => (number, 1..=8_usize, any::<bool>()).prop_map(|(number, width, big)| Change::Number(number, width, big)),
        1 => (1..100_usize).prop_map(Change::Remove),
        1 => (1..500_usize).prop_map(Change::Repeat),
    ]
}

fn apply(bytes: &mut Vec<u8>, place: &Place, change: &Change) {
    let length = bytes.len();
    let at = match *place {
        Place::Anywhere(fraction) => (fraction * length as f64) as usize,
        Place::Beginning(at) => at.min(length),
        Place::End(distance) => length.saturating_sub(distance),
    };
    match *change {
        Change::Cut => bytes.truncate(at),
        Change::Flip(bit) => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << bit),
        Change::Number(number, width, big) => {
            let digits =
                if big { number.rotate_left(64 - 8 * width as u32).to_be_bytes() } else { number.to_le_bytes() };
            bytes[at..].iter_mut().zip(&digits[..width]).for_each(|(byte, digit)| *byte = *digit);
        }
        Change::Remove(count) => drop(bytes.drain(at..(at + count).min(length))),
        Change::Repeat(count) => bytes.extend_from_within(at..(at + count).min(length)),
    }
}

/// Calls `check` with many mutants of a file, the same ones each time; more of them where `PROPTEST_CASES` says so.
pub(crate) fn for_each_mutant(file: &[u8], check: impl Fn(Vec<u8>)) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200);
    let config =
        ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() };
    let run = TestRunner::new(config).run(&vec((place(), change()), 1..=4), |changes| {
        let mut bytes = file.to_vec();
        changes.iter().for_each(|(place, change)| apply(&mut bytes, place, change));
        check(bytes);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Makes a pipe at a path.
#[cfg(unix)]
pub(crate) fn make_pipe(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}
