//! Convolutions of maps `[B, H, W, C]` with what is around them: the batch norm and the rectifier through which a map is read, and the
//! sums that batch norms need of a result. All tensors are dense and on one device; maps, their gradients and packed weights
//! have the precision's type in memory, everything else its type of weights.

use std::sync::{Arc, LazyLock};

use candle_core::{DType, Device, Tensor};

use crate::activation::Rectifier;
use crate::cuda::exact_sums::{UnfinishedGradients, UnfinishedMoments};
use crate::precision::Precision;
use crate::shape::ConvGeometry;

#[cfg(all(test, feature = "cuda"))]
mod by_cudnn;
pub mod tensor_cores;
#[cfg(all(test, feature = "cuda"))]
mod times;

/// Whether a convolution and both its gradients are computed by our own kernels.
///
/// # Errors
/// When the device does not say what it can.
pub fn is_ours(device: &Device, geometry: &ConvGeometry, precision: Precision) -> candle_core::Result<bool> {
    let is_empty = [geometry.batch, geometry.height, geometry.width].contains(&0);
    Ok(are_enabled(precision)
        && !is_empty
        && tensor_cores::covers(geometry, precision)
        && tensor_cores::are_supported(device)?)
}

/// Whether those in this precision are that these cover: with `ZSKT_TENSOR_CORES=0` none, for comparisons.
pub fn are_enabled(precision: Precision) -> bool {
    static ENABLED: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("ZSKT_TENSOR_CORES").is_none_or(|setting| setting != "0"));
    #[cfg(test)]
    if DISABLED.get() {
        return false;
    }
    *ENABLED && tensor_cores::are_made_for(precision)
}

#[cfg(test)]
thread_local! {
    /// Whether none is.
    pub static DISABLED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What a batch norm and its rectifier do to a map where it is read: act(gamma · (x − mean) / √(variance + epsilon) + beta),
/// rounded as the map is.
#[derive(Clone)]
pub struct Normalization {
    /// `[C]`.
    pub gamma: Tensor,
    /// `[C]`.
    pub beta: Tensor,
    /// `[C]`.
    pub mean: Tensor,
    /// `[C]`.
    pub variance: Tensor,
    /// What keeps the root from zero.
    pub epsilon: f64,
    /// The activation.
    pub rectifier: Rectifier,
    /// What mean and variance are made of by who reads them first.
    pub unfinished: Option<Arc<UnfinishedMoments>>,
}

impl Normalization {
    /// Finishes its mean and variance, if nobody has: before another kernel than that of a convolution reads them.
    ///
    /// # Errors
    /// When the device fails.
    pub fn finish(&self) -> candle_core::Result<()> {
        self.unfinished.as_deref().map_or(Ok(()), UnfinishedMoments::finish)
    }
}

/// A map as a convolution reads it: upsampled, if the geometry says so.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// The map as it is stored.
    pub values: &'a Tensor,
    /// Through which it is read.
    pub normalization: Option<&'a Normalization>,
}

/// The gradient of a convolution's result.
#[derive(Clone, Copy)]
pub enum ResultGradient<'a> {
    /// As it is.
    Dense(&'a Tensor),
    /// Through a batch norm by the batch's own statistics: a · behind + b · x + c, plus what others gave.
    Normalized {
        /// The gradient behind the batch norm, in front of its rectifier.
        behind: &'a Tensor,
        /// The convolution's result.
        x: &'a Tensor,
        /// a, b and c, `[C]` each.
        coefficients: &'a [Tensor; 3],
        /// What they are made of by who reads them first.
        unfinished: Option<&'a UnfinishedGradients>,
        /// What others gave.
        plus: Option<&'a Tensor>,
        /// Written: the gradient itself, for those that read it later.
        kept: Option<&'a Tensor>,
    },
}

impl ResultGradient<'_> {
    /// The type of its numbers.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Dense(gradient) => gradient.dtype(),
            Self::Normalized { behind, .. } => behind.dtype(),
        }
    }
}

/// What becomes of the gradient with respect to what a convolution reads.
pub enum Towards<'a> {
    /// It is the result.
    Operand {
        /// What others gave.
        plus: Option<&'a Tensor>,
    },
    /// It goes through a rectifier, and is summed over the batch for its batch norm, whose statistics are the batch's.
    BatchNorm {
        /// The map that is normalized.
        x: &'a Tensor,
        /// How it is.
        normalization: &'a Normalization,
        /// What others gave to the gradient behind the rectifier.
        plus: Option<&'a Tensor>,
        /// Where its sums go.
        sums: &'a UnfinishedGradients,
    },
    /// It goes through a rectifier and a batch norm whose statistics are constants.
    FixedNorm {
        /// The map that is normalized.
        x: &'a Tensor,
        /// How it is.
        normalization: &'a Normalization,
        /// What others gave to the gradient behind the rectifier.
        plus: Option<&'a Tensor>,
        /// What others gave to the gradient of `x`.
        behind: Option<&'a Tensor>,
    },
}

/// The gradient of a weight in parts that are still to be added up.
#[derive(Clone)]
pub struct WeightParts(
    /// `[parts, O, K, K, I / groups]`.
    pub Tensor,
);
