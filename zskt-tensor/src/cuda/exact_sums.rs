//! Sums over a batch that convolutions leave as integers, each in limbs (parts of a wide fixed-point number, `kernels/conv/exact_sums.cuh`),
//! and what is made of them by whoever reads it first.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use crate::cuda::conv::tensor_cores;
use crate::statistics::BatchNormStatistics;

/// `LIMBS` in the kernels.
const LIMBS: usize = 4;

/// Integers that are set to zero at once, as many as those of a hundred layers: a launch for each would cost more than it computes.
const CHUNK: usize = 1 << 17;

thread_local! {
    /// Zeros that nobody has taken yet, from a place on.
    static ZEROS: RefCell<Option<(Tensor, usize)>> = const { RefCell::new(None) };
    static LEFT: RefCell<Left> = const { RefCell::new(Left { moments: Vec::new(), gradients: Vec::new() }) };
}

/// What kernels have left to be finished: by who reads it first, or by [`finish_all`].
struct Left {
    moments: Vec<Arc<UnfinishedMoments>>,
    gradients: Vec<Arc<UnfinishedGradients>>,
}

/// Two sums of each channel, `i64` `[4, 2, C]`, of which nothing is added up yet.
///
/// # Errors
/// When the device has no room.
pub fn zeros(channels: usize, device: &Device) -> Result<Tensor> {
    let count = LIMBS * 2 * stride_of_channels(channels);
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

/// How far the sums of one kind are from those of the other, `ALL_CHANNELS` in the kernels: room for a vector of channels at least.
pub fn stride_of_channels(channels: usize) -> usize {
    channels.max(8)
}

/// Zeros from before are not taken any more: a graph sets its own to zero.
#[cfg(feature = "cuda")]
pub fn forget_zeros() {
    ZEROS.take();
}

/// Nothing that was made before is known any more: it is a graph's.
#[cfg(feature = "cuda")]
pub fn forget_all() {
    forget_zeros();
    LEFT.replace(Left { moments: Vec::new(), gradients: Vec::new() });
}

/// Moments whose sums a kernel has left: [`moments_of`] their statistics has them.
pub fn leave_moments(moments: Arc<UnfinishedMoments>) {
    LEFT.with_borrow_mut(|left| {
        left.moments.retain(|moments| !moments.is_finished());
        left.moments.push(moments);
    });
}

/// Gradients whose sums a kernel has left.
pub fn leave_gradients(gradients: Arc<UnfinishedGradients>) {
    LEFT.with_borrow_mut(|left| {
        left.gradients.retain(|gradients| !gradients.is_finished());
        left.gradients.push(gradients);
    });
}

/// The moments that these statistics will have, unless they are there.
pub fn moments_of(statistics: &BatchNormStatistics) -> Option<Arc<UnfinishedMoments>> {
    LEFT.with_borrow(|left| left.moments.iter().find(|moments| moments.sums.mean.id() == statistics.mean.id()).cloned())
}

/// Finishes all that nobody has read: before a backward pass gives its gradients away, before running statistics are read, and where a
/// graph begins or ends.
///
/// # Errors
/// When the device fails.
pub fn finish_all() -> Result<()> {
    let Left { moments, gradients } = LEFT.replace(Left { moments: Vec::new(), gradients: Vec::new() });
    moments.iter().try_for_each(|moments| moments.finish())?;
    gradients.iter().try_for_each(|gradients| gradients.finish())
}

/// What is made of sums, once, by the kernel that reads it first.
pub struct Unfinished<T: Finishable> {
    /// What it is made of.
    pub sums: T,
    /// Whether sums were left and nothing has been made of them.
    is_left: Mutex<bool>,
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
    /// Of sums that no kernel has left yet.
    pub fn new(sums: T) -> Self {
        Self { sums, is_left: Mutex::new(false) }
    }

    /// A kernel that leaves them was launched.
    pub fn leave(&self) {
        *self.lock() = true;
    }

    fn is_finished(&self) -> bool {
        !*self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Launches a kernel that reads what is made of the sums, which it gets if it is to do so.
    ///
    /// # Errors
    /// When that fails: nothing is made of them then.
    pub fn read<'a, R>(&'a self, launch: impl FnOnce(Option<&'a T>) -> Result<R>) -> Result<R> {
        let mut is_left = self.lock();
        let read = launch(is_left.then_some(&self.sums))?;
        *is_left = false;
        Ok(read)
    }

    /// Finishes them by a kernel of their own, if nobody has.
    ///
    /// # Errors
    /// When the device fails.
    pub fn finish(&self) -> Result<()> {
        self.read(|sums| sums.map_or(Ok(()), Finishable::finish))
    }
}
