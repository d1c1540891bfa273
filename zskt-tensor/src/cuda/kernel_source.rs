//! The kernels of `kernels/*.cu`, and the variants in which they are compiled.

use candle_core::{DType, Result, bail};

use crate::precision::Precision;

/// Threads of a block, `BLOCK` in the kernels.
pub const BLOCK: usize = 256;

/// All kernels, as one text.
#[cfg(any(test, feature = "cuda"))]
pub const SOURCE: &str = concat!(
    include_str!("kernels/prelude.cu"),
    include_str!("kernels/batch_norm.cu"),
    include_str!("kernels/pointwise.cu"),
    include_str!("kernels/pooling.cu"),
    include_str!("kernels/depthwise.cu"),
    include_str!("kernels/placement.cu"),
    include_str!("kernels/shift.cu"),
    include_str!("kernels/attention_map.cu"),
    include_str!("kernels/log_softmax.cu"),
    include_str!("kernels/linear.cu"),
    include_str!("kernels/update.cu"),
    include_str!("kernels/gather_scalars.cu"),
    include_str!("kernels/digest.cu"),
    include_str!("kernels/layout.cu"),
);

/// How the kernels are compiled: for which numbers, and how many channels a thread reads at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelVariant {
    /// `NUMBER_F32`, `NUMBER_F64` or `NUMBER_BF16`.
    pub number: &'static str,
    /// `PACK`.
    pub vector_width: usize,
}

impl KernelVariant {
    /// Every variant there is.
    #[cfg(any(test, feature = "cuda"))]
    pub const ALL: [Self; 6] = [
        Self { number: "NUMBER_F32", vector_width: 4 },
        Self { number: "NUMBER_F32", vector_width: 1 },
        Self { number: "NUMBER_F64", vector_width: 2 },
        Self { number: "NUMBER_F64", vector_width: 1 },
        Self { number: "NUMBER_BF16", vector_width: 8 },
        Self { number: "NUMBER_BF16", vector_width: 1 },
    ];

    /// For maps of this precision and so many channels: 16 bytes at once where that divides them.
    pub fn of(precision: Precision, channels: usize) -> Self {
        let (number, widest) = match precision {
            Precision::F32 | Precision::Tf32 => ("NUMBER_F32", 4),
            Precision::F64 => ("NUMBER_F64", 2),
            Precision::Bf16 => ("NUMBER_BF16", 8),
        };
        Self { number, vector_width: if channels.is_multiple_of(widest) { widest } else { 1 } }
    }

    /// For tensors of weights.
    ///
    /// # Errors
    /// When they are neither `f32` nor `f64`.
    pub fn of_tensors(dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self { number: "NUMBER_F32", vector_width: 1 }),
            DType::F64 => Ok(Self { number: "NUMBER_F64", vector_width: 1 }),
            other => bail!("expected f32 or f64, found {other:?}"),
        }
    }

    /// Whether work that launches some kernels launches this, too: weights, of which maps in bf16 are made, are in f32.
    #[cfg(feature = "cuda")]
    pub fn is_used_beside(self, other: Self) -> bool {
        self.number == other.number || (self.number, other.number) == ("NUMBER_F32", "NUMBER_BF16")
    }

    /// The compiler's options.
    #[cfg(any(test, feature = "cuda"))]
    pub fn options(self) -> [String; 2] {
        [format!("-D{}", self.number), format!("-DPACK={}", self.vector_width)]
    }

    /// Bytes of a `Real`.
    pub fn real_size(self) -> usize {
        if self.number == "NUMBER_F64" { 8 } else { 4 }
    }
}
