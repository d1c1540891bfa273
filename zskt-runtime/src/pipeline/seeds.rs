//! Several seeds as text: `0..3` (0, 1 and 2, as in Rust), `0..=2`, `0,1,2`, or some of these with commas between.

use std::ops::Range;

/// More seeds than any sweep has.
const MOST: usize = 10_000;

/// What is wrong with a text of seeds.
#[derive(Debug, PartialEq, Eq)]
pub struct SeedsError {
    /// Where, as bytes of the text.
    pub place: Range<usize>,
    /// What.
    pub message: String,
}

/// The seeds that a text lists, in its order.
///
/// # Errors
/// What of it is not a seed or a range of seeds.
pub fn parse_seeds(text: &str) -> Result<Vec<u64>, SeedsError> {
    let mut seeds = Vec::new();
    let mut start = 0;
    for item in text.split(',') {
        let place = start..start + item.len();
        start = place.end + 1;
        let wrong = |message: String| SeedsError { place: place.clone(), message };
        let number = |text: &str| {
            let trimmed = text.trim();
            let number = trimmed.parse::<u64>().ok().filter(|_| !trimmed.starts_with('+'));
            number.ok_or_else(|| wrong(format!("{trimmed:?} is not a seed")))
        };
        let range = match item.split_once("..") {
            None => {
                let seed = number(item)?;
                seed..=seed
            }
            Some((first, last)) => match last.strip_prefix('=') {
                Some(last) => number(first)?..=number(last)?,
                None => {
                    let (first, end) = (number(first)?, number(last)?);
                    let none = || wrong(format!("`{}` holds no seed: the end is left out", item.trim()));
                    first..=end.checked_sub(1).filter(|last| first <= *last).ok_or_else(none)?
                }
            },
        };
        if range.is_empty() {
            return Err(wrong(format!("`{}` holds no seed", item.trim())));
        }
        if range.end() - range.start() >= MOST as u64 || seeds.len() >= MOST {
            return Err(wrong(format!("more than {MOST} seeds")));
        }
        for seed in range {
            if seeds.contains(&seed) {
                return Err(wrong(format!("the seed {seed} is given twice")));
            }
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::parse_seeds;

    #[test]
    fn seeds_are_ranges_or_lists() {
        let seeds = |text| parse_seeds(text).map_err(|error| (error.place, error.message));
        assert_eq!(seeds("0..3"), Ok(vec![0, 1, 2]));
        assert_eq!(seeds("0..=2"), Ok(vec![0, 1, 2]));
        assert_eq!(seeds(" 4, 7..9 "), Ok(vec![4, 7, 8]));
        assert_eq!(seeds("18446744073709551615"), Ok(vec![u64::MAX]));
        assert_eq!(seeds("0,x"), Err((2..3, "\"x\" is not a seed".into())));
        assert_eq!(seeds(""), Err((0..0, "\"\" is not a seed".into())));
        assert_eq!(seeds("1,2,1"), Err((4..5, "the seed 1 is given twice".into())));
        assert_eq!(seeds("0..0"), Err((0..4, "`0..0` holds no seed: the end is left out".into())));
        assert_eq!(seeds("3..=1"), Err((0..5, "`3..=1` holds no seed".into())));
        assert_eq!(seeds("0..99999999999"), Err((0..14, "more than 10000 seeds".into())));
        assert!(seeds("0..=18446744073709551615").is_err() && seeds("-1").is_err() && seeds("..").is_err());
    }
}
