//! Whatever is written in a pipeline: it is answered, and nothing panics.

use super::{SOUND, check};

/// A small generator of numbers that are random enough to break a text in many places.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }
}

const PIECES: [&str; 24] = [
    "(", ")", "[", "]", "{", "}", ",", ":", "=", "\"", "'", "->", ".", "/*", "//", "#", "-", "r#\"", "\\", "ß∑",
    "1e999", "None", " ", "\n",
];

#[test]
fn a_text_cut_short_is_refused() {
    for end in (0..SOUND.trim_end().len()).filter(|end| SOUND.is_char_boundary(*end)) {
        assert!(check(&SOUND[..end], &[]).is_err(), "{}", &SOUND[..end]);
    }
}

#[test]
fn a_broken_text_is_answered() {
    let mut numbers = Numbers(1);
    for _ in 0..3000 {
        let mut text: Vec<char> = SOUND.chars().collect();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(text.len());
            match numbers.below(4) {
                0 => drop(text.remove(at)),
                1 => drop(text.splice(at..at, PIECES[numbers.below(PIECES.len())].chars())),
                2 => drop(text.splice(at..(at + numbers.below(30)).min(text.len()), [])),
                _ => {
                    let from = numbers.below(text.len());
                    let copy: Vec<char> = text[from..(from + numbers.below(40)).min(text.len())].to_vec();
                    text.splice(at..at, copy);
                }
            }
        }
        let text: String = text.into_iter().collect();
        if let Ok(plan) = check(&text, &[]) {
            let again = check(&plan.resolved, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
            assert_eq!(again.resolved, plan.resolved);
        }
    }
}

#[test]
fn a_broken_override_is_answered() {
    let mut numbers = Numbers(2);
    for _ in 0..2000 {
        let mut set: String =
            ["seek", "imitate.optimizer.lr=3", "transfer.batches=", "data_free=[\"student\"]", "digits=", "x."]
                [numbers.below(6)]
            .into();
        for _ in 0..numbers.below(5) {
            set += PIECES[numbers.below(PIECES.len())];
        }
        drop(check(SOUND, &[&set]));
    }
}
