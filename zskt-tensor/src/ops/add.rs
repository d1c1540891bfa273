//! The sum at the end of a residual block.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, Storage};
use crate::trace::{self, TracedOperation};

/// The sum of two feature maps of the same shape, in the precision of the first.
///
/// # Errors
/// When the shapes or devices differ, only one is in f64, or the device fails.
pub fn add(a: &FeatureMap, b: &FeatureMap) -> Result<FeatureMap> {
    if a.shape() != b.shape() {
        return Err(Error::new(format!("cannot add {a:?} and {b:?}")));
    }
    let sum = match (&a.0, &b.to_precision(a.precision())?.0) {
        (Storage::Cpu(a), Storage::Cpu(b)) => a.add(b)?.into(),
        (Storage::Cuda(a), Storage::Cuda(b)) if Backend::device(a).same_device(Backend::device(b)) => {
            Backend::add(a, b)?.into()
        }
        _ => return Err(Error::new(format!("cannot add {a:?} and {b:?}: they are on different devices"))),
    };
    Ok(trace::map(&[a, b], || TracedOperation::Add, sum))
}

impl std::ops::Add for &FeatureMap {
    type Output = Result<FeatureMap>;

    /// The sum of two feature maps of the same shape, as at the end of a residual block.
    fn add(self, other: Self) -> Result<FeatureMap> {
        add(self, other)
    }
}
