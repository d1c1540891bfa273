//! Operations on candle's tape whose results are computed by kernels of our own.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

use crate::cuda::launch::{Addressed, address, empty};
use crate::dense::dense;

/// The numbers of a tensor on candle's tape.
pub enum Values {
    /// They are there, and are copied.
    There(Tensor),
    /// Kernels write them into candle's memory: a copy would be one launch more.
    Written {
        /// Where they are to be.
        device: Device,
        /// What they are.
        dtype: DType,
        /// Their shape.
        shape: Shape,
        /// Writes all of them to an address.
        write: Box<dyn FnOnce(u64) -> Result<()> + Send>,
    },
}

impl From<Tensor> for Values {
    fn from(values: Tensor) -> Self {
        Self::There(values)
    }
}

impl Values {
    /// Numbers that kernels write to the address that `write` gets.
    pub fn written(
        device: &Device,
        dtype: DType,
        shape: impl Into<Shape>,
        write: impl FnOnce(u64) -> Result<()> + Send + 'static,
    ) -> Self {
        Self::Written { device: device.clone(), dtype, shape: shape.into(), write: Box::new(write) }
    }

    /// Where they are, or are to be.
    pub fn device(&self) -> &Device {
        match self {
            Self::There(values) => values.device(),
            Self::Written { device, .. } => device,
        }
    }

    /// As a tensor that is on no tape.
    ///
    /// # Errors
    /// When the device fails.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self {
            Self::There(values) => Ok(values),
            Self::Written { device, dtype, shape, write } => {
                let values = empty(shape, dtype, &device)?;
                write(address(&values)?)?;
                Ok(values)
            }
        }
    }

    /// In a storage of this device.
    fn into_storage<S: Addressed>(
        self,
        device: &S::Device,
        copied: impl FnOnce(&Storage, &Layout) -> Result<S>,
    ) -> Result<(S, Shape)> {
        match self {
            Self::There(values) => {
                // What is copied is all of it, not the part that a tensor shows.
                let values = dense(&values)?;
                let (storage, layout) = values.storage_and_layout();
                Ok((copied(&storage, layout)?, values.shape().clone()))
            }
            Self::Written { dtype, shape, write, .. } => {
                #[expect(unsafe_code, reason = "all of it is written")]
                // SAFETY: numbers of any bits are numbers.
                let storage = unsafe { device.alloc_uninit(&shape, dtype) }?;
                write(storage.address()?)?;
                Ok((storage, shape))
            }
        }
    }
}

/// An operation of one or two tensors on candle's tape: its result, and what makes their gradients out of that of the result.
pub struct Function<F> {
    /// Until they are the result.
    values: Mutex<Option<Values>>,
    backward: F,
}

impl<F> Function<F> {
    /// An operation with this result.
    pub fn new(values: Values, backward: F) -> Self {
        Self { values: Mutex::new(Some(values)), backward }
    }

    fn values(&self) -> Result<Values> {
        match self.values.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(values) => Ok(values),
            None => bail!("a function is computed once"),
        }
    }

    fn on_cpu(&self, like: &CpuStorage) -> Result<(CpuStorage, Shape)> {
        self.values()?.into_storage(like.device(), |storage, layout| match storage {
            Storage::Cpu(storage) => storage.try_clone(layout),
            _ => bail!("{NAME} on two devices"),
        })
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self, like: &candle_core::CudaStorage) -> Result<(candle_core::CudaStorage, Shape)> {
        self.values()?.into_storage(like.device(), |storage, layout| match storage {
            Storage::Cuda(storage) => storage.try_clone(layout),
            _ => bail!("{NAME} on two devices"),
        })
    }
}

/// `values`, which are a function of a tensor, on candle's tape: `backward` makes the tensor's gradient of theirs.
///
/// # Errors
/// When the device fails.
pub fn function(
    of: &Tensor,
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    of.apply_op1(Function::new(values.into(), move |gradient: &Tensor| backward(gradient).map(Some)))
}

const NAME: &str = "maps and tensors";

impl<F: Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync> CustomOp1 for Function<F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, of: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu(of)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, of: &candle_core::CudaStorage, _: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        self.on_cuda(of)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        (self.backward)(&dense(gradient)?)
    }
}

impl<F: Fn(&Tensor) -> Result<[Option<Tensor>; 2]> + Send + Sync> CustomOp2 for Function<F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, of: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu(of)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        of: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        self.on_cuda(of)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        (self.backward)(&dense(gradient)?).map(Into::into)
    }
}
