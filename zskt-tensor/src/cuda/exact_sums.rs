//! Sums over a batch that convolutions leave as integers, and what is made of them by whoever reads it first.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Result, Tensor, TensorId};

use crate::cuda::conv::tensor_cores;
use crate::statistics::BatchNormStatistics;

/// `LIMBS` in the kernels.
const LIMBS: usize = 4;

/// Integers that are set to zero at once, as many as those of a hundred layers: a launch for each would cost more than it computes.
const CHUNK: usize = 1 << 17;

thread_local! {
    /// Zeros that nobody has taken yet, from a place on.
    static ZEROS: RefCell<Option<(Tensor, usize)>> = const { RefCell::new(None) };
    /// Moments that no batch norm has taken yet, by their means.
    static MOMENTS: RefCell<Vec<(TensorId, Arc<UnfinishedMoments>)>> = const { RefCell::new(Vec::new()) };
}

/// Two sums of each channel, `i64` `[4, 2, C]`, of which nothing is added up yet.
///
/// # Errors
/// When the device has no room.
pub fn zeros(channels: usize, device: &Device) -> Result<Tensor> {
    let count = LIMBS * 2 * channels.max(8);
    ZEROS.with_borrow_mut(|zeros| {
        let left = zeros
            .as_ref()
            .filter(|(chunk, used)| chunk.device().same_device(device) && used + count <= chunk.elem_count());
        let (chunk, used) = match left {
            Some((chunk, used)) => (chunk.clone(), *used),
            None => (Tensor::zeros(CHUNK.max(count), DType::I64, device)?, 0),
        };
        let taken = chunk.narrow(0, used, count)?;
        *zeros = Some((chunk, used + count));
        Ok(taken)
    })
}

/// Zeros from before are not taken any more: where a graph begins or ends, which sets its own to zero.
#[cfg(feature = "cuda")]
pub fn forget_zeros() {
    ZEROS.take();
}

/// Says that moments belong to these statistics, until [`moments_of`] asks.
pub fn leave_moments(statistics: &BatchNormStatistics, moments: Arc<UnfinishedMoments>) {
    MOMENTS.with_borrow_mut(|all| all.push((statistics.mean.id(), moments)));
}

/// The moments that these statistics will have, where nobody has asked before.
pub fn moments_of(statistics: &BatchNormStatistics) -> Option<Arc<UnfinishedMoments>> {
    MOMENTS.with_borrow_mut(|all| {
        let at = all.iter().position(|(mean, _)| *mean == statistics.mean.id())?;
        Some(all.swap_remove(at).1)
    })
}

/// What a kernel that reads a result first has to finish, once.
pub struct Unfinished<T: Finishable> {
    /// What it is made of.
    pub sums: T,
    is_finished: AtomicBool,
}

/// The mean and the variance of a map.
pub type UnfinishedMoments = Unfinished<MomentSums>;

/// The gradients of a batch norm's parameters, and the coefficients of the gradient of what it normalizes.
pub type UnfinishedGradients = Unfinished<GradientSums>;

/// Sums of a map's numbers and of their squares.
pub struct MomentSums {
    /// `[4, 2, C]`.
    pub limbs: Tensor,
    /// `[C]`, written when they are finished.
    pub mean: Tensor,
    /// The biased variance, `[C]`, written then.
    pub variance: Tensor,
    /// Running mean, variance and count of batches, which are moved then, and by what momentum.
    pub running: Option<([Tensor; 3], f64)>,
    /// Numbers of each channel.
    pub pixels: usize,
}

/// Sums of a gradient and of its products with the centred map.
pub struct GradientSums {
    /// `[4, 2, C]`.
    pub limbs: Tensor,
    /// Gamma, mean and variance of the batch norm, `[C]` each.
    pub norm: [Tensor; 3],
    /// What keeps the root from zero.
    pub epsilon: f64,
    /// The gradient of gamma, `[C]`, written when they are finished.
    pub of_gamma: Tensor,
    /// The gradient of beta, likewise.
    pub of_beta: Tensor,
    /// a, b and c of [`ResultGradient::Normalized`](crate::cuda::conv::ResultGradient::Normalized), likewise.
    pub coefficients: [Tensor; 3],
    /// Numbers of each channel.
    pub pixels: usize,
}

/// Sums that a kernel of their own can finish.
pub trait Finishable {
    /// Writes what is made of them.
    ///
    /// # Errors
    /// When the device fails.
    fn finish(&self) -> Result<()>;
}

impl Finishable for MomentSums {
    fn finish(&self) -> Result<()> {
        tensor_cores::finish_moments(self)
    }
}

impl Finishable for GradientSums {
    fn finish(&self) -> Result<()> {
        tensor_cores::finish_gradients(self)
    }
}

impl<T: Finishable> Unfinished<T> {
    /// Of sums that are on their way.
    pub fn new(sums: T) -> Self {
        Self { sums, is_finished: AtomicBool::new(false) }
    }

    /// The sums, if nobody has finished them: the caller does.
    pub fn take(&self) -> Option<&T> {
        (!self.is_finished.swap(true, Ordering::Relaxed)).then_some(&self.sums)
    }

    /// Nothing was added up.
    pub fn forget(self) {
        self.is_finished.store(true, Ordering::Relaxed);
    }

    /// Finishes them, if nobody has.
    ///
    /// # Errors
    /// When the device fails.
    pub fn finish(&self) -> Result<()> {
        self.take().map_or(Ok(()), Finishable::finish)
    }
}

impl<T: Finishable> Drop for Unfinished<T> {
    fn drop(&mut self) {
        // Nobody has read the result, but what is made of the sums may be read by others. A device that fails does so again.
        let _ = self.finish();
    }
}
