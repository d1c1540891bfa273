//! The numbers of a map, of any precision.

use candle_core::WithDType;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::simd::dtype::{Bf16, MapSlice, MapSliceMut};
use crate::cpu::simd::float::Float;
use crate::precision::Precision;

/// The numbers of a map in memory, channels last.
#[derive(Debug)]
pub enum MapStorage {
    /// Single precision.
    F32(Buffer<f32>),
    /// Double precision.
    F64(Buffer<f64>),
    /// Half the memory of single precision.
    Bf16(Buffer<Bf16>),
}

impl MapStorage {
    /// `len` numbers with anything in them.
    pub fn new(precision: Precision, len: usize) -> Self {
        match precision {
            Precision::F32 | Precision::Tf32 => Self::F32(Buffer::new(len)),
            Precision::F64 => Self::F64(Buffer::new(len)),
            Precision::Bf16 => Self::Bf16(Buffer::new(len)),
        }
    }
}

/// A type that tensors, maps and kernels have in common.
pub trait Scalar: Float + WithDType {
    /// The square root.
    fn root(self) -> Self;

    /// The numbers, to compute with in this type.
    fn of(values: &MapStorage) -> MapSlice<'_, Self>;

    /// The numbers, to be written.
    fn of_mut(values: &mut MapStorage) -> MapSliceMut<'_, Self>;
}

macro_rules! number {
    ($type:ty, $full:ident) => {
        impl Scalar for $type {
            fn root(self) -> Self {
                self.sqrt()
            }

            fn of(values: &MapStorage) -> MapSlice<'_, Self> {
                match values {
                    MapStorage::$full(numbers) => MapSlice::Full(numbers),
                    MapStorage::Bf16(numbers) => MapSlice::Half(numbers),
                    other => unreachable!("{other:?} is not computed with in this type"),
                }
            }

            fn of_mut(values: &mut MapStorage) -> MapSliceMut<'_, Self> {
                match values {
                    MapStorage::$full(numbers) => MapSliceMut::Full(numbers),
                    MapStorage::Bf16(numbers) => MapSliceMut::Half(numbers),
                    other => unreachable!("{other:?} is not computed with in this type"),
                }
            }
        }
    };
}

number!(f32, F32);
number!(f64, F64);

/// Runs code for the type that maps of a precision are computed with.
macro_rules! dispatch_precision {
    ($precision:expr, $number:ident => $body:expr) => {
        match $precision {
            $crate::Precision::F32 | $crate::Precision::Tf32 | $crate::Precision::Bf16 => {
                type $number = f32;
                $body
            }
            $crate::Precision::F64 => {
                type $number = f64;
                $body
            }
        }
    };
}
pub(crate) use dispatch_precision;
