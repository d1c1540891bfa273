//! What kernels know of a convolution when they are compiled.

use std::fmt;

use candle_core::{DType, Result, bail};

use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// The numbers of maps: `Number` in the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Numbers {
    /// bf16.
    Bf16,
    /// f32, of which each is multiplied as the sum of two in bf16.
    F32,
}

impl Numbers {
    /// Of maps in this precision, where there are kernels for it.
    pub fn of(precision: Precision) -> Option<Self> {
        match precision {
            Precision::Bf16 => Some(Self::Bf16),
            Precision::Tf32 => Some(Self::F32),
            Precision::F32 | Precision::F64 => None,
        }
    }

    /// Of maps of this type.
    ///
    /// # Errors
    /// When there are no kernels for it.
    pub fn of_maps(dtype: DType) -> Result<Self> {
        match dtype {
            DType::BF16 => Ok(Self::Bf16),
            DType::F32 => Ok(Self::F32),
            other => bail!("expected bf16 or f32, found {other:?}"),
        }
    }

    /// Their type.
    pub fn dtype(self) -> DType {
        match self {
            Self::Bf16 => DType::BF16,
            Self::F32 => DType::F32,
        }
    }

    /// Numbers in bf16 that one is multiplied as: `PLANES` in the kernels.
    pub fn planes(self) -> usize {
        match self {
            Self::Bf16 => 1,
            Self::F32 => 2,
        }
    }

    /// Bytes of so many channels of a pixel in shared memory: an odd multiple of 16, so that eight neighbours lie in all banks.
    pub fn pitch(self, channels: usize) -> usize {
        channels * self.planes() * 2 + 16
    }

    #[cfg(any(test, feature = "cuda"))]
    fn template(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F32 => "float",
        }
    }
}

/// Its numbers, its channels and its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Numbers of its maps.
    pub numbers: Numbers,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Rows and columns of the kernel, 3 (padded by 1) or 1 (not padded).
    pub side: usize,
    /// 1 or 2.
    pub stride: usize,
    /// 1 or 2.
    pub upsampling: usize,
}

impl Layer {
    /// Of a convolution, where kernels can be made for its kind.
    pub fn of(geometry: &ConvGeometry, numbers: Numbers) -> Option<Self> {
        let ConvGeometry { in_channels: inputs, out_channels: outputs, kernel: side, stride, upsampling, .. } =
            *geometry;
        // Eights of one pixel are read at once, and sixteen channels multiplied.
        let comes_in_sixteens = |channels: usize| channels > 0 && channels.is_multiple_of(16) && channels <= 2048;
        let channels = |channels| comes_in_sixteens(channels) || (1..8).contains(&channels);
        let covered = geometry.groups == 1
            && matches!((side, geometry.padding), (3, 1) | (1, 0))
            && matches!((side, stride, upsampling), (_, 1 | 2, 1) | (3, 1, 2))
            && channels(inputs)
            && channels(outputs)
            && (comes_in_sixteens(inputs) || comes_in_sixteens(outputs));
        covered.then_some(Self { numbers, inputs, outputs, side, stride, upsampling })
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.side * self.side
    }

    /// The type of its maps' numbers in the kernels.
    #[cfg(any(test, feature = "cuda"))]
    pub fn number(&self) -> &'static str {
        self.numbers.template()
    }

    /// The arguments of templates, but for the numbers.
    #[cfg(any(test, feature = "cuda"))]
    pub fn template(&self) -> String {
        let Self { inputs, outputs, side, stride, upsampling, .. } = self;
        format!("{inputs}, {outputs}, {side}, {stride}, {upsampling}")
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { numbers, inputs, outputs, side, stride, upsampling } = self;
        if *numbers == Numbers::F32 {
            f.write_str("f32_")?;
        }
        write!(f, "{inputs}_{outputs}_k{side}s{stride}u{upsampling}")
    }
}

/// Rows × columns of so many images: what a block has in shared memory at once, of the result or of its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockTile {
    /// Images.
    pub images: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl BlockTile {
    /// Its pixels.
    pub fn pixels(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// How many cover all results of a convolution.
    pub fn count(&self, geometry: &ConvGeometry) -> usize {
        let (height, width) = (geometry.out_height(), geometry.out_width());
        geometry.batch.div_ceil(self.images) * height.div_ceil(self.rows) * width.div_ceil(self.columns)
    }

    /// The arguments of templates.
    #[cfg(any(test, feature = "cuda"))]
    pub fn template(&self) -> String {
        format!("{}, {}, {}", self.images, self.rows, self.columns)
    }

    /// Bytes in shared memory of the input pixels under the tile, so many channels of them.
    pub fn footprint(&self, layer: &Layer, channels: usize) -> usize {
        let extent = |outputs: usize| match (layer.side, layer.stride, layer.upsampling) {
            (3, 2, _) => 2 * outputs + 1,
            (3, _, 2) => outputs / 2 + 2,
            (3, ..) => outputs + 2,
            _ => outputs,
        };
        self.images * extent(self.rows) * extent(self.columns) * layer.numbers.pitch(channels)
    }

    /// How many rows and columns, the most columns of those that leave the fewest idle.
    pub fn rows_and_columns(height: usize, width: usize) -> (usize, usize) {
        let columns = [32, 16, 8].into_iter().min_by_key(|columns| width.next_multiple_of(*columns)).unwrap_or(8);
        (if height <= 4 { 4 } else { 8 }, columns)
    }
}

impl fmt::Display for BlockTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}x{}x{}", self.images, self.rows, self.columns)
    }
}
