//! How maps take part in candle's tape.
//!
//! candle decides the order in which gradients are computed, and which are needed at all; it would also add and copy
//! them as tensors. So a map that a gradient may flow through has a *token* on the tape, a tensor of a single zero, and
//! each operation is recorded between the tokens of its inputs and outputs, its weights being ordinary tensors. The
//! gradients of maps lie with the maps, where the kernels of the next operation read and write them.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, WithDType, bail,
};

/// An operation on the tape.
pub trait Node: Send + Sync + 'static {
    /// Its name in error messages.
    const NAME: &'static str;

    /// Computes the gradients of those inputs that are tracked: for maps where the maps are, returning [`passed`] for their
    /// tokens; for tensors as tensors.
    ///
    /// # Errors
    /// When a gradient is missing or the device fails.
    fn backward(&self, inputs: &[&Tensor], gradient: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// A token that is not tracked.
pub fn untracked() -> Result<Tensor> {
    Tensor::zeros((), DType::F32, &Device::Cpu)
}

/// What an operation returns for the token of a map, once the gradient is with the map.
pub fn passed(token: &Tensor) -> Result<Option<Tensor>> {
    token.track_op().then(untracked).transpose()
}

/// What an operation returns for a tensor: its gradient, if it is tracked.
pub fn gradient<T: WithDType>(of: &Tensor, values: impl FnOnce() -> Result<Vec<T>>) -> Result<Option<Tensor>> {
    of.track_op().then(|| Tensor::from_vec(values()?, of.shape(), of.device())).transpose()
}

/// Records an operation whose output is a map, and returns the map's token.
pub fn map<N: Node>(inputs: &[&Tensor], node: N) -> Result<Tensor> {
    tensor(inputs, vec![0.0_f32], (), node)
}

/// Records an operation whose output is a tensor.
pub fn tensor<N: Node, T: WithDType>(
    inputs: &[&Tensor],
    values: Vec<T>,
    shape: impl Into<Shape>,
    node: N,
) -> Result<Tensor> {
    let shape = shape.into();
    let op = Recorded { node, output: Mutex::new(Some((T::to_cpu_storage_owned(values), shape))) };
    match inputs {
        [a] => a.apply_op1(op),
        [a, b] => a.apply_op2(b, op),
        [a, b, c] => a.apply_op3(b, c, op),
        _ => bail!("{}: an operation on the tape has one to three inputs", N::NAME),
    }
}

/// An operation whose output is there already.
struct Recorded<N> {
    node: N,
    output: Mutex<Option<(CpuStorage, Shape)>>,
}

impl<N: Node> Recorded<N> {
    fn output(&self) -> Result<(CpuStorage, Shape)> {
        match self.output.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(output) => Ok(output),
            None => bail!("{} is recorded once", N::NAME),
        }
    }
}

impl<N: Node> CustomOp1 for Recorded<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.output()
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut gradients = self.node.backward(&[a], gradient)?.into_iter();
        Ok(gradients.next().flatten())
    }
}

impl<N: Node> CustomOp2 for Recorded<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.output()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.node.backward(&[a, b], gradient)?.into_iter();
        Ok((gradients.next().flatten(), gradients.next().flatten()))
    }
}

impl<N: Node> CustomOp3 for Recorded<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.output()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.node.backward(&[a, b, c], gradient)?.into_iter();
        Ok((gradients.next().flatten(), gradients.next().flatten(), gradients.next().flatten()))
    }
}
