//! Convolutions of tensors `[B, C, H, W]`: by cuDNN, with the gradients that are asked for and no others.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// A convolution `[B, I, H, W] * [O, I, K, K] → [B, O, H', W']`, or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// `[B, I, H, W]`.
    pub x: [usize; 4],
    /// `[O, I, K, K]`.
    pub weight: [usize; 4],
    /// Zeros at each side.
    pub padding: usize,
    /// From one result to the next.
    pub stride: usize,
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

/// Convolves `x` with `weight`.
///
/// # Errors
/// When the shapes do not fit or the device fails.
pub fn conv2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let dims = |tensor: &Tensor| tensor.dims4().map(|(a, b, c, d)| [a, b, c, d]);
    let (x_dims, w_dims) = (dims(x)?, dims(weight)?);
    let [_, channels, height, width] = x_dims;
    let [_, expected, kernel, other] = w_dims;
    if expected != channels || kernel != other || kernel == 0 || stride == 0 {
        bail!("a kernel {w_dims:?} with stride {stride} does not fit {channels} channels");
    }
    if height + 2 * padding < kernel || width + 2 * padding < kernel {
        bail!("a {kernel}×{kernel} kernel does not fit into {height}×{width} padded by {padding}");
    }
    let op = Convolution { x: x_dims, weight: w_dims, padding, stride, direction: Direction::Forward };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

#[cfg(any(test, feature = "cuda"))]
impl Convolution {
    /// `[B, O, H', W']`.
    pub fn output(&self) -> [usize; 4] {
        let [batch, _, height, width] = self.x;
        let [channels, _, kernel, _] = self.weight;
        let out = |size: usize| (size + 2 * self.padding - kernel) / self.stride + 1;
        [batch, channels, out(height), out(width)]
    }

    /// The shape of what is computed.
    pub fn result(&self) -> [usize; 4] {
        match self.direction {
            Direction::Forward => self.output(),
            Direction::Input => self.x,
            Direction::Weight => self.weight,
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
