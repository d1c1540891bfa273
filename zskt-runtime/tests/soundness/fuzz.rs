//! Whatever is written in a pipeline: it is answered, and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use super::{SOUND, check};

const PIECES: [&str; 24] = [
    "(", ")", "[", "]", "{", "}", ",", ":", "=", "\"", "'", "->", ".", "/*", "//", "#", "-", "r#\"", "\\", "ß∑",
    "1e999", "None", " ", "\n",
];

/// A way to break a text.
#[derive(Clone, Debug)]
enum Mutation {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Copy { from: Index, length: usize, to: Index },
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Self::Insert(at, piece)),
            (any::<Index>(), 1..30_usize).prop_map(|(at, length)| Self::Remove(at, length)),
            (any::<Index>(), 1..40_usize, any::<Index>()).prop_map(|(from, length, to)| Self::Copy {
                from,
                length,
                to
            }),
        ]
    }

    fn apply(&self, text: &mut Vec<char>) {
        let place = |index: &Index| index.index(text.len());
        let end = |start: usize, length: usize| (start + length).min(text.len());
        match self {
            Self::Insert(at, piece) => {
                let at = place(at);
                text.splice(at..at, piece.chars());
            }
            Self::Remove(at, length) => {
                let at = place(at);
                text.drain(at..end(at, *length));
            }
            Self::Copy { from, length, to } => {
                let (from, to) = (place(from), place(to));
                let copy = text[from..end(from, *length)].to_vec();
                text.splice(to..to, copy);
            }
        }
    }
}

/// The same cases each time: what is wrong today must not be found tomorrow.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

#[test]
fn a_text_cut_short_is_refused() {
    for end in (0..SOUND.trim_end().len()).filter(|end| SOUND.is_char_boundary(*end)) {
        assert!(check(&SOUND[..end], &[]).is_err(), "{}", &SOUND[..end]);
    }
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn a_broken_text_is_answered(mutations in vec(Mutation::any(), 1..=4)) {
        let mut text: Vec<char> = SOUND.chars().collect();
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        let text: String = text.into_iter().collect();
        if let Ok(plan) = check(&text, &[]) {
            let again = check(&plan.resolved, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
            prop_assert_eq!(again.resolved, plan.resolved);
        }
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn a_broken_override_is_answered(
        beginning in select(&["seek", "imitate.optimizer.lr=3", "transfer.batches=", "data_free=[\"student\"]", "digits=", "x."][..]),
        pieces in vec(select(&PIECES[..]), 0..5),
    ) {
        drop(check(SOUND, &[&(beginning.to_owned() + &pieces.concat())]));
    }
}
