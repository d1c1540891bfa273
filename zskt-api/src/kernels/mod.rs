//! The arithmetic of the networks on a CPU, on dense channels-last maps (`[batch, height, width, channels]`).
//!
//! Every result is the same, bit for bit, however many threads compute it: work is divided by its size alone, and
//! partial sums are added in a fixed order. It does depend on the instruction set, which is chosen once at run time.
//!
//! Convolutions, forward and backward, copy an image from a [`Source`] into a canvas with margins, where the inputs under
//! one row of the kernel are contiguous, accumulate small blocks of pixels and channels in registers from there, and hand the
//! sums to a [`Sink`]. Normalization, activation and upsampling are part of the source, residual sums, statistics and the
//! derivative of the activation before it part of the sink: both work on a few rows that are in the first-level cache.

mod canvas;
mod correlate;
mod dispatch;
mod element;
mod instructions;
mod lanes;
mod memory;
mod micro;
mod multiply_add;
mod operand;
mod outer;
mod real;
mod sink;
mod source;
mod taps;
mod winograd;

pub mod amx;
pub mod axes;
pub mod backward;
pub mod conv2d;
pub mod elementwise;
pub mod energy;
pub mod linear;
pub mod parallel;
pub mod pass;
pub mod pooling;
pub mod upsample;

pub use correlate::Correlation;
pub use element::{Bf16, Numbers, NumbersMut};
pub use instructions::Instructions;
pub use memory::Buffer;
pub use operand::Operand;
pub use outer::{ImageSums, MultiplyAdd};
pub use real::Real;
pub use sink::{Plus, Sink, Sums, Then};
pub use source::{Activation, Affine, PerChannel, Source};

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

    /// Elements of the weight, `[out_channels, in_channels, kernel, kernel]`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_channels * self.kernel * self.kernel
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

    /// Elements of one image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }
}
