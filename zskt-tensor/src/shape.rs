//! The shapes of images, of stacks of feature maps, and of convolutions.

use std::fmt;

/// The shape of one image, `[C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct ImageShape {
    /// Colour channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// `[channels, height, width]`.
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// The shape of a square convolution: stride and padding are the same for both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// How often every row and column is repeated before the convolution; only without a stride.
    pub upsampling: usize,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Input pixels between neighbouring outputs.
    pub stride: usize,
    /// Zero pixels added on every side.
    pub padding: usize,
    /// Equal parts of the channels: each part of the outputs is made of its part of the inputs alone.
    pub groups: usize,
}

impl ConvGeometry {
    /// Output rows.
    pub fn out_height(&self) -> usize {
        self.extent(self.height)
    }

    /// Output columns.
    pub fn out_width(&self) -> usize {
        self.extent(self.width)
    }

    /// Elements of the input, `[batch, height, width, in_channels]`.
    #[cfg(test)]
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.in_channels
    }

    /// Elements of the output, `[batch, out_height, out_width, out_channels]`.
    #[cfg(test)]
    pub fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.out_channels
    }

    /// Input channels that an output is made of.
    pub fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Elements of the weight, `[out_channels, in_channels / groups, kernel, kernel]`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.group_inputs() * self.kernel * self.kernel
    }

    /// Multiplications and additions of a pass, as papers count them.
    pub fn multiply_adds(&self) -> u64 {
        [self.batch, self.out_height(), self.out_width(), self.weight_len()]
            .into_iter()
            .fold(1, |product: u64, count| product.saturating_mul(count as u64))
    }

    fn extent(&self, input: usize) -> usize {
        debug_assert!(self.kernel > 0 && self.stride > 0, "a kernel and a stride have at least one pixel");
        let input = input * self.upsampling;
        debug_assert!(input + 2 * self.padding >= self.kernel, "the kernel fits into the padded input");
        (input + 2 * self.padding).saturating_sub(self.kernel) / self.stride + 1
    }
}

/// The shape of a stack of feature maps, `[batch, height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, the fastest axis.
    pub channels: usize,
}

impl MapShape {
    /// Elements of all the maps.
    pub fn len(&self) -> usize {
        self.batch * self.image_len()
    }

    /// Whether a map of these extents can be in memory, whatever its numbers: kernels count without looking for overflows.
    pub fn is_countable(extents: [Option<usize>; 4]) -> bool {
        let numbers = extents.into_iter().try_fold(1_usize, |product, extent| product.checked_mul(extent?));
        numbers.is_some_and(|numbers| numbers <= isize::MAX as usize / size_of::<f64>())
    }

    /// Elements of one image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }
}
