//! A tensor as a view of a storage: where it starts and how far apart its elements lie.

use candle_core::{DType, Device, Tensor};

use crate::dtype::TorchDtype;
use crate::error::{ErrorKind, Location, printable};

/// PyTorch's own limit.
const MAX_DIMENSIONS: usize = 64;

/// A tensor without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type of its elements.
    pub dtype: DType,
    /// The size of each dimension.
    pub shape: Vec<usize>,
}

/// Where a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StorageNumber {
    /// Among those of the file.
    InFile(usize),
    /// Among those that the pickle itself holds.
    InPickle(usize),
}

/// A view that was checked: it lies within its storage.
#[derive(Debug)]
pub(crate) struct TensorView {
    pub(crate) info: TensorInfo,
    pub(crate) storage: StorageNumber,
    pub(crate) order: ByteOrder,
    element_size: usize,
    strides: Vec<usize>,
    /// In elements, as the strides are.
    offset: usize,
    /// How many elements there are.
    count: usize,
}

/// A tensor as a file declares it.
pub(crate) struct DeclaredTensor<'a> {
    /// The tensor's name, for messages.
    pub(crate) name: &'a str,
    /// Where the file describes the tensor, for messages.
    pub(crate) location: Location,
    pub(crate) dtype: TorchDtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
    pub(crate) offset: usize,
    pub(crate) storage: StorageNumber,
    /// How many bytes the storage has.
    pub(crate) storage_length: u64,
    pub(crate) order: ByteOrder,
}

impl TensorView {
    /// Believes the declaration if the storage bears it out.
    pub(crate) fn new(declared: DeclaredTensor<'_>) -> Result<Self, ErrorKind> {
        let DeclaredTensor { name, location, dtype, shape, strides, offset, storage, storage_length, order } = declared;
        let Some(candle_dtype) = dtype.candle else {
            return Err(ErrorKind::Unsupported {
                what: format!(
                    "its tensor `{}` has elements of type {}, which nothing here can use",
                    printable(name),
                    dtype.name
                ),
                help: "save it as float32",
            });
        };
        let damaged = |what: String| ErrorKind::Damaged {
            location: location.clone(),
            what: format!("tensor `{}` {what}", printable(name)),
        };
        if shape.len() != strides.len() {
            return Err(damaged(format!("has {} dimensions and {} strides", shape.len(), strides.len())));
        }
        if shape.len() > MAX_DIMENSIONS {
            return Err(damaged(format!("has {} dimensions", shape.len())));
        }
        // The product leaves zeros out so that no partial product can overflow later either.
        let room = shape.iter().try_fold(dtype.size, |room, &size| room.checked_mul(size.max(1)));
        if room.is_none_or(|room| room > isize::MAX as usize) {
            return Err(damaged(format!("of shape {shape:?} is larger than any memory")));
        }
        let count = shape.iter().product();
        if count > 0 {
            let end = shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |last, (&size, &stride)| last.checked_add((size - 1).checked_mul(stride)?))
                .and_then(|last| last.checked_add(1)?.checked_mul(dtype.size))
                .map(|end| end as u64);
            if end.is_none_or(|end| end > storage_length) {
                return Err(damaged(format!(
                    "(shape {shape:?}, strides {strides:?}, offset {offset}, {}) reaches outside its \
                     storage of {storage_length} bytes",
                    dtype.name
                )));
            }
        }
        let info = TensorInfo { dtype: candle_dtype, shape };
        Ok(Self { info, storage, order, element_size: dtype.size, strides, offset, count })
    }

    /// How many bytes the tensor takes.
    pub(crate) fn length(&self) -> u64 {
        (self.count * self.element_size) as u64
    }

    /// Takes the tensor out of its storage.
    pub(crate) fn tensor(&self, storage: &[u8]) -> candle_core::Result<Tensor> {
        let size = self.element_size;
        let start = self.offset * size;
        let gathered;
        let bytes = if self.count == 0 {
            &[]
        } else if self.is_contiguous() && self.order == ByteOrder::Little {
            &storage[start..start + self.count * size]
        } else {
            gathered = self.gather(&storage[start..]);
            gathered.as_slice()
        };
        Tensor::from_raw_buffer(bytes, self.info.dtype, &self.info.shape, &Device::Cpu)
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.info.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }

    /// The elements in row-major order, little end first.
    fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let size = self.element_size;
        let mut gathered = Vec::with_capacity(self.count * size);
        let mut index = vec![0; self.info.shape.len()];
        // A dimension of one element may have any stride: going one step too far must not overflow.
        let mut at = 0_usize;
        for _ in 0..self.count {
            let element = &storage[at * size..(at + 1) * size];
            match self.order {
                ByteOrder::Little => gathered.extend_from_slice(element),
                ByteOrder::Big => gathered.extend(element.iter().rev()),
            }
            // Count up like an odometer, the last dimension fastest.
            for ((digit, &length), &stride) in index.iter_mut().zip(&self.info.shape).zip(&self.strides).rev() {
                *digit += 1;
                at = at.wrapping_add(stride);
                if *digit < length {
                    break;
                }
                at = at.wrapping_sub(length.wrapping_mul(stride));
                *digit = 0;
            }
        }
        gathered
    }
}

/// Which end of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// The strides of a tensor whose elements lie in row-major order without gaps.
pub(crate) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}
