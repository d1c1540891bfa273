//! Whatever is written in a pipeline: it is answered, and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use zskt_api::Registry;
use zskt_runtime::{Sources, prove, render};

use super::{SOUND, check};

const PIECES: [&str; 40] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "=",
    "\"",
    "'",
    "->",
    ".",
    "/*",
    "//",
    "#",
    "-",
    "r#\"",
    "\\",
    "ß∑",
    "1e999",
    "None",
    " ",
    "\n",
    "\u{a0}",
    "\u{feff}",
    "\u{2028}",
    "“",
    "\0",
    "\\u{d800}",
    "Some(",
    "0x1F",
    "1_0",
    "NaN",
    "-inf",
    "18446744073709551616",
    "9007199254740993",
    "4294967296",
    "true",
    "~/",
];

/// The pipelines that zskt comes with.
fn shipped() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines");
    let folders = ["", "/methods", "/methods/digits", "/paper"].map(|within| format!("{folder}{within}"));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder"));
    let mut texts: Vec<_> = files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ron"))
        .map(|path| std::fs::read_to_string(path).expect("a pipeline"))
        .collect();
    texts.sort();
    texts
}

#[test]
fn the_pipelines_that_zskt_comes_with_are_sound() {
    let texts = shipped();
    assert!(texts.len() >= 20, "only {} pipelines are there", texts.len());
    let proven = |text: &str, sets: &[String]| {
        let sources = Sources::new("pipeline.ron", text, sets);
        let plan = prove(&sources, Registry::get().expect("names are unique"), true);
        plan.map_err(|problems| render(&problems, &sources, false)).unwrap_or_else(|complaint| panic!("{complaint}"))
    };
    let mut variants = 0;
    for text in texts {
        let name = proven(&text, &[]).name;
        if text.contains("variants: {") {
            variants += 1;
            let plan = proven(&text, &["variant=cifar100".into()]);
            assert_eq!(plan.name, format!("{name}-cifar100"));
            assert!(
                !plan.resolved.contains("classes: 10,") && plan.resolved.contains("Cifar100("),
                "{}",
                plan.resolved
            );
        }
    }
    assert_eq!(variants, 7, "each method has one");
}

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
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
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
    fn mutants_of_our_pipelines_are_answered(
        text in select(shipped()),
        mutations in vec(Mutation::any(), 1..=6),
        set in select(&["seed=1", "student=LeNet()", "student.depth=\u{a0}", "nodes={}", "device=cuda:0", "transfer.batches=(((", "plugins=[]"][..]),
    ) {
        let mut text: Vec<char> = text.chars().collect();
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        let text: String = text.into_iter().collect();
        // Broken or not: the files that it names are not there.
        let sources = Sources::new("pipeline.ron", text, &[set.to_owned()]);
        let problems = prove(&sources, Registry::get().expect("names are unique"), true).err().unwrap_or_default();
        prop_assert!(problems.is_empty() || render(&problems, &sources, true).contains("nothing was run"));
    }

    #[test]
    fn mutants_of_a_pipeline_are_answered(mutations in vec(Mutation::any(), 1..=4)) {
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
    fn mutants_of_overrides_are_answered(
        beginning in select(&["seek", "imitate.optimizer.lr=3", "transfer.batches=", "data_free=[\"student\"]", "digits=", "x."][..]),
        pieces in vec(select(&PIECES[..]), 0..5),
    ) {
        drop(check(SOUND, &[&(beginning.to_owned() + &pieces.concat())]));
    }
}
