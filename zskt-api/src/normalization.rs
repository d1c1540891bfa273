//! How images are scaled before a network sees them.

use std::fmt;

use crate::CheckError;

/// What a network takes for zero and for one: it sees `(pixel − mean) / std`, channel by channel, of pixels from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// A mean for each channel.
    pub mean: Vec<f64>,
    /// A standard deviation for each channel.
    pub std: Vec<f64>,
}

impl Normalization {
    /// Means and standard deviations further apart than this are not roundings of one another. On CIFAR-10 the usual mistake, the mean of
    /// the images' deviations for that of all pixels, is off by 0.05.
    const ROUNDING: f64 = 0.005;

    /// Both, where both are given.
    pub fn of(mean: Option<&Vec<f64>>, std: Option<&Vec<f64>>) -> Option<Self> {
        Some(Self { mean: mean?.clone(), std: std?.clone() })
    }

    /// Pixels as they are.
    pub fn identity(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], std: vec![1.0; channels] }
    }

    /// Checks parameters `mean` and `std` of which neither, or both have to be given, with a number for each channel.
    ///
    /// # Errors
    /// The parameter at fault.
    pub fn check(mean: Option<&[f64]>, std: Option<&[f64]>) -> Result<(), CheckError> {
        match (mean, std) {
            (None, None) => Ok(()),
            (Some(mean), Some(std)) if mean.len() == std.len() => Ok(()),
            (Some(mean), Some(std)) => {
                let reason = format!("{} means, but {} standard deviations", mean.len(), std.len());
                Err(CheckError::parameter("std", reason).help("give one for each channel"))
            }
            (mean, _) => {
                let name = if mean.is_some() { "mean" } else { "std" };
                let reason = "`mean` and `std` go together, and only one of them is given";
                Err(CheckError::parameter(name, reason).help("give both, or neither"))
            }
        }
    }

    /// Whether images can be normalized so: a file may say anything.
    pub fn is_sound(&self) -> bool {
        let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        self.mean.len() == self.std.len()
            && finite(&self.mean)
            && finite(&self.std)
            && self.std.iter().all(|std| *std > 0.0)
    }

    /// Whether it is of pixels from 0 to 1, as the parameters `mean` and `std` of plugins are.
    pub fn is_of_unit_pixels(&self) -> bool {
        self.is_sound()
            && self.mean.iter().all(|mean| (0.0..=1.0).contains(mean))
            && self.std.iter().all(|std| (0.001..=1.0).contains(std))
    }

    /// The same of pixels from 0 to 1, to four digits, where it is of pixels from 0 to 255.
    pub fn of_bytes(&self) -> Option<Self> {
        let divided = |numbers: &[f64]| numbers.iter().map(|number| (number / 255.0 * 1e4).round() / 1e4).collect();
        let scaled = Self { mean: divided(&self.mean), std: divided(&self.std) };
        (!self.is_of_unit_pixels() && scaled.is_of_unit_pixels()).then_some(scaled)
    }

    /// Whether the other is the same, but for rounding.
    pub fn is_close_to(&self, other: &Self) -> bool {
        let close = |one: &[f64], other: &[f64]| {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() <= Self::ROUNDING)
        };
        close(&self.mean, &other.mean) && close(&self.std, &other.std)
    }
}

impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mean {:?} and std {:?}", self.mean, self.std)
    }
}
