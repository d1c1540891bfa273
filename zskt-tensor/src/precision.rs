//! How exact the numbers of a network are.

use candle_core::{DType, bail};

/// How exact weights, and the maps between layers, are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single precision throughout.
    F32,
    /// Single precision, but convolutions on a GPU multiply numbers rounded to 11 significant bits (TF32), as its tensor
    /// cores do, or to 16. On the CPU the same as [`F32`](Self::F32).
    Tf32,
    /// Double precision throughout, for comparisons.
    F64,
    /// Maps and their gradients in bf16, half the memory; weights, sums, statistics and everything that is not a feature
    /// map in f32. Where the processor has instructions for it that are faster (AMX, or AVX-512's dot products on AMD's),
    /// convolutions multiply bf16 numbers and add in f32.
    Bf16,
}

impl Precision {
    /// All of them, by their names in pipelines.
    pub const NAMES: [(&'static str, Self); 4] =
        [("f32", Self::F32), ("tf32", Self::Tf32), ("bf16", Self::Bf16), ("f64", Self::F64)];

    /// Their names, each between these marks, to be told as a choice.
    pub fn choice(mark: char) -> String {
        let names = Self::NAMES.map(|(name, _)| format!("{mark}{name}{mark}"));
        let [first @ .., last] = &names;
        format!("{} or {last}", first.join(", "))
    }

    /// Its name in pipelines.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
        }
    }

    /// The precision of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find_map(|(known, precision)| (known == name).then_some(precision))
    }

    /// The precision in which tensors of this type become maps.
    ///
    /// # Errors
    /// When it is neither `f32` nor `f64`.
    pub fn of(dtype: DType) -> candle_core::Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32),
            DType::F64 => Ok(Self::F64),
            other => bail!("expected f32 or f64, found {other:?}"),
        }
    }

    /// The type of the numbers of a map in memory.
    pub fn storage_dtype(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 => DType::F32,
            Self::F64 => DType::F64,
            Self::Bf16 => DType::BF16,
        }
    }

    /// The type of weights, and of tensors that are not feature maps.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 | Self::Bf16 => DType::F32,
            Self::F64 => DType::F64,
        }
    }
}
