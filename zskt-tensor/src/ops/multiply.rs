//! Products of maps.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, Storage};
use crate::trace::{self, TracedOperation};

/// The product of two feature maps, number by number, in the precision of the first. The second has the shape of the first,
/// `[B, C, H, W]`, or is `[B, C, 1, 1]`, one factor for each channel of each image, as in squeeze-and-excitation (Hu et al., CVPR
/// 2018), or `[1, C, 1, 1]`, for all images. (Constants for each channel are cheaper as a [`batch_norm`](crate::ops::batch_norm).)
///
/// # Errors
/// When the shapes or devices do not fit, only one is in f64, or the device fails.
pub fn multiply(a: &FeatureMap, b: &FeatureMap) -> Result<FeatureMap> {
    let (whole, factor) = (a.shape(), b.shape());
    let per_channel = factor.channels == whole.channels
        && [factor.height, factor.width] == [1, 1]
        && [1, whole.batch].contains(&factor.batch);
    if factor != whole && !per_channel {
        return Err(Error::new(format!("cannot multiply {a:?} by {b:?}")));
    }
    let product = match (&a.0, &b.to_precision(a.precision())?.0) {
        (Storage::Cpu(a), Storage::Cpu(b)) => Backend::multiply(a, b)?.into(),
        (Storage::Cuda(a), Storage::Cuda(b)) if Backend::device(a).same_device(Backend::device(b)) => {
            Backend::multiply(a, b)?.into()
        }
        _ => return Err(Error::new(format!("cannot multiply {a:?} by {b:?}: they are on different devices"))),
    };
    Ok(trace::map(&[a, b], || TracedOperation::Multiply, product))
}
