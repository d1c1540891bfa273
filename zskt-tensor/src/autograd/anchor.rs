//! Anchors: where candle's tape meets that of maps.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, bail};

use crate::autograd::entry::Anchor;
use crate::autograd::pass::{BACKWARD, GradientSum, run};
use crate::candle_function::function;

/// What is wrong where candle comes to a variable by itself.
pub const NOT_GATHERED: &str = "the gradient of a weight is computed by `Gradients::of` or `zskt_tensor::backward`, not by candle's \
    `backward`; where only the gradient of images is wanted, run the network by `ForwardMode::eval` or \
    `ForwardMode::train_frozen`";

impl Anchor {
    /// One that is not joined of others.
    pub fn of(tensor: Tensor) -> Self {
        Self { rooted: false, visited: [tensor.id()].into(), tensor }
    }

    /// One for two.
    ///
    /// # Errors
    /// When the device fails.
    pub fn join(self, other: &Self) -> Result<Self> {
        if self.visited.contains(&other.tensor.id()) {
            return Ok(self);
        }
        if other.visited.contains(&self.tensor.id()) {
            return Ok(other.clone());
        }
        let tensor = self.tensor.apply_op2(&other.tensor, Join)?;
        let others = other.visited.iter().filter(|id| !self.visited.contains(id));
        let visited = std::iter::once(tensor.id()).chain(self.visited.iter().copied()).chain(others.copied()).collect();
        Ok(Self { tensor, rooted: self.rooted || other.rooted, visited })
    }
}

/// The anchor of maps made of a tensor, which runs what was made since `sequence` once all that the maps became has got its
/// gradient, and gives the tensor the gradient that was gathered.
///
/// # Errors
/// When the device fails.
pub fn anchored(tensor: &Tensor, sum: &GradientSum, sequence: u64) -> Result<Anchor> {
    let (sum, shape, dtype) = (sum.clone(), tensor.shape().clone(), tensor.dtype());
    let anchor = function(tensor, one_number(tensor.device())?, move |gradient| {
        run(sequence)?;
        sum.take().map_or_else(|| Tensor::zeros(&shape, dtype, gradient.device()), Ok)
    })?;
    Ok(Anchor::of(anchor))
}

/// The gradient by which candle visits an anchor: one is enough.
///
/// # Errors
/// When the device fails, or candle comes to variables whose gradients nobody gathers.
pub fn reach(anchor: &Tensor) -> Result<Option<Tensor>> {
    if !anchor.track_op() {
        return Ok(None);
    }
    BACKWARD.with_borrow_mut(|backward| {
        let gathers = backward.variables.is_some();
        if anchor.is_variable() {
            return if gathers { Ok(None) } else { bail!("{NOT_GATHERED}") };
        }
        // Who passed this on in a pass of candle's own is not known: nobody tells when such a pass begins.
        if gathers && !backward.reached.insert(anchor.id()) {
            return Ok(None);
        }
        let there = backward.zero.take().filter(|zero| zero.device().same_device(anchor.device()));
        let zero = there.map_or_else(|| one_number(anchor.device()), Ok)?;
        backward.zero = gathers.then(|| zero.clone());
        Ok(Some(zero))
    })
}

fn one_number(device: &Device) -> Result<Tensor> {
    Tensor::zeros((), DType::F32, device)
}

/// One anchor for two.
struct Join;

impl CustomOp2 for Join {
    fn name(&self) -> &'static str {
        "maps of two origins"
    }

    fn cpu_fwd(&self, a: &CpuStorage, layout: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((a.try_clone(layout)?, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &candle_core::CudaStorage,
        layout: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        Ok((a.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((reach(a)?, reach(b)?))
    }
}
