//! Convolutions of tensors `[B, C, H, W]`: by cuDNN, with the gradients that are asked for and no others.

#[cfg(not(test))]
use candle_core::bail;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use crate::kernels::ConvGeometry;

/// A convolution `[B, I, H, W] * [O, I, K, K] → [B, O, H', W']`, or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Its shape; nothing is upsampled.
    pub geometry: ConvGeometry,
    /// What is computed.
    pub direction: Direction,
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

/// Convolves `x` with `weight`, whose shapes the geometry has.
///
/// # Errors
/// When the device fails.
pub fn conv2d(x: &Tensor, weight: &Tensor, geometry: ConvGeometry) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&weight.contiguous()?, Convolution { geometry, direction: Direction::Forward })
}

#[cfg(any(test, feature = "cuda"))]
impl Convolution {
    /// `[B, I, H, W]`.
    pub fn input(&self) -> [usize; 4] {
        let ConvGeometry { batch, in_channels, height, width, .. } = self.geometry;
        [batch, in_channels, height, width]
    }

    /// `[O, I, K, K]`.
    pub fn weight(&self) -> [usize; 4] {
        let ConvGeometry { out_channels, in_channels, kernel, .. } = self.geometry;
        [out_channels, in_channels, kernel, kernel]
    }

    /// `[B, O, H', W']`.
    pub fn output(&self) -> [usize; 4] {
        let geometry = &self.geometry;
        [geometry.batch, geometry.out_channels, geometry.out_height(), geometry.out_width()]
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

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "convolution on the device"
    }

    #[cfg(not(test))]
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("maps on the CPU have kernels of their own")
    }

    #[cfg(test)]
    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        super::tests::convolve(self, a, al, b, bl)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &candle_core::CudaStorage,
        al: &Layout,
        b: &candle_core::CudaStorage,
        bl: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cudnn::convolve(self, a, al, b, bl)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x, weight) = (x.contiguous()?, weight.contiguous()?);
        let towards = |direction| Self { direction, ..*self };
        let of_x = || gradient.apply_op2_no_bwd(&weight, &towards(Direction::Input));
        let of_weight = || x.apply_op2_no_bwd(&gradient, &towards(Direction::Weight));
        Ok((x.track_op().then(of_x).transpose()?, weight.track_op().then(of_weight).transpose()?))
    }
}
