//! From candle's tensors to the kernels' slices.

use candle_core::{CpuStorage, Layout, Result, Storage, StorageRef, Tensor, bail};

use crate::cpu::storage::Scalar;

/// The numbers of a dense tensor on the CPU.
pub fn slice<'a, T: Scalar>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("a dense tensor is expected here, found strides {:?}", layout.stride()),
    }
}

/// A dense tensor held for reading.
pub struct Dense<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Dense<'a> {
    /// Holds a tensor.
    pub fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage, layout }
    }

    /// Its numbers.
    pub fn slice<T: Scalar>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => slice(storage, self.layout),
            _ => bail!("this operation runs on the CPU only"),
        }
    }
}

/// Runs code for the element type that a tensor has at run time.
macro_rules! dispatch_dtype {
    ($dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $element = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $element = f64;
                $body
            }
            other => candle_core::bail!("expected f32 or f64, found {other:?}"),
        }
    };
}
pub(crate) use dispatch_dtype;
