//! `expect: {"accuracy.top1": "0.90.."}`: what a run has to reach.

use std::fmt;

use zskt_api::{Diagnostic, Name, Value};

use super::syntax::text;

/// A figure of a run, and where it has to lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The figure, as `accuracy.top1`.
    pub figure: Name,
    /// Where it has to lie.
    pub bounds: Bounds,
}

/// An interval that holds its ends; an end that is not given bounds nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Not less than this.
    pub least: Option<f64>,
    /// Not more than this.
    pub most: Option<f64>,
}

impl Bounds {
    /// What `0.9..`, `..0.2` or `0.8..0.9` says.
    pub fn parse(text: &str) -> Option<Self> {
        let (least, most) = text.split_once("..")?;
        let end = |text: &str| match text.trim() {
            "" => Some(None),
            number => number.parse().ok().filter(|number: &f64| number.is_finite()).map(Some),
        };
        let bounds = Self { least: end(least)?, most: end(most)? };
        match bounds {
            Self { least: None, most: None } => None,
            Self { least: Some(least), most: Some(most) } if least > most => None,
            bounds => Some(bounds),
        }
    }

    /// Whether a figure lies there; one that is not a number never does.
    pub fn hold(&self, figure: f64) -> bool {
        self.least.is_none_or(|least| figure >= least)
            && self.most.is_none_or(|most| figure <= most)
            && !figure.is_nan()
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: Option<f64>| end.map(|end| end.to_string()).unwrap_or_default();
        write!(out, "{}..{}", end(self.least), end(self.most))
    }
}

/// Reads the bounds of one figure.
pub fn read_bounds(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Bounds> {
    let written = text(value, problems)?;
    let bounds = Bounds::parse(&written);
    if bounds.is_none() {
        problems.push(
            Diagnostic::at(value.span, format!("{written:?} does not say where a figure has to lie"))
                .label("expected \"0.9..\", \"..0.2\" or \"0.8..0.9\""),
        );
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::Bounds;

    #[test]
    fn bounds_hold_their_ends_and_nothing_beyond() {
        let bounds = Bounds::parse("0.8..0.9").unwrap();
        assert_eq!([0.79, 0.8, 0.85, 0.9, 0.91].map(|figure| bounds.hold(figure)), [false, true, true, true, false]);
        assert_eq!(bounds.to_string(), "0.8..0.9");
        assert!(Bounds::parse("2000..").unwrap().hold(1e9) && Bounds::parse("..-1").unwrap().hold(-2.0));
        assert!(!Bounds::parse("0..").unwrap().hold(f64::NAN));
        for wrong in ["", "..", "0.9", "a..", "0.9..0.8", "nan..", "0..1..2"] {
            assert_eq!(Bounds::parse(wrong), None, "{wrong}");
        }
    }
}
