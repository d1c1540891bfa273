//! What is computed of a convolution.

use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// A convolution `[B, H, W, I] * [O, K, K, I / groups] → [B, H', W', O]`, or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Its shape; nothing is upsampled.
    pub geometry: ConvGeometry,
    /// What is computed.
    pub direction: Direction,
    /// How exactly.
    pub precision: Precision,
}

/// What is computed of a convolution, from which two tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The convolution, from input and weight.
    Forward,
    /// The gradient of the input, from that of the output and the weight.
    Input,
    /// The gradient of the weight, from the input and the gradient of the output.
    Weight,
}

#[cfg(any(test, feature = "cuda"))]
impl Convolution {
    /// `[B, H, W, I]`.
    pub fn input(&self) -> [usize; 4] {
        let ConvGeometry { batch, in_channels, height, width, .. } = self.geometry;
        [batch, height, width, in_channels]
    }

    /// `[O, K, K, I / groups]`.
    pub fn weight(&self) -> [usize; 4] {
        let ConvGeometry { out_channels, kernel, .. } = self.geometry;
        [out_channels, kernel, kernel, self.geometry.group_inputs()]
    }

    /// `[B, H', W', O]`.
    pub fn output(&self) -> [usize; 4] {
        let geometry = &self.geometry;
        [geometry.batch, geometry.out_height(), geometry.out_width(), geometry.out_channels]
    }

    /// The shape of what is computed.
    pub fn result(&self) -> [usize; 4] {
        match self.direction {
            Direction::Forward => self.output(),
            Direction::Input => self.input(),
            Direction::Weight => self.weight(),
        }
    }
}
