//! Transposed convolution: a convolution's gradient with respect to its input, as a layer.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops;
use crate::precision::Precision;
use crate::trace;

/// The shape of a transposed convolution, which makes `(H − 1) · stride − 2 · padding + kernel + output_padding` rows of `H`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTranspose2dShape {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Pixels of the output from one input to the next.
    pub stride: usize,
    /// Pixels that are left out at each side of the output.
    pub padding: usize,
    /// Rows and columns that are added below and to the right: of the sizes that the convolution takes to this input, which one.
    /// Fewer than the stride.
    pub output_padding: usize,
    /// Equal parts of the channels: each part of the outputs is made of its part of the inputs alone.
    pub groups: usize,
}

impl ConvTranspose2dShape {
    /// Twice as many rows and columns, by a kernel of 4×4.
    pub fn doubling(input: usize, output: usize) -> Self {
        Self { input, output, kernel: 4, stride: 2, padding: 1, output_padding: 0, groups: 1 }
    }

    fn check(&self) -> Result<()> {
        let Self { input, output, kernel, stride, output_padding, groups, .. } = *self;
        if groups == 0 || !input.is_multiple_of(groups) || !output.is_multiple_of(groups) {
            let message = format!("{groups} groups do not divide {input} input channels and {output} output channels");
            return Err(Error::new(message));
        }
        if kernel == 0 || stride == 0 {
            return Err(Error::new("the kernel and the stride of a transposed convolution are 1 or more"));
        }
        if output_padding >= stride {
            return Err(Error::new(format!("an output padding of {output_padding} is not below the stride, {stride}")));
        }
        Ok(())
    }
}

/// A two-dimensional transposed convolution, `[B, input, H, W]` to `[B, output, H', W']`.
pub struct ConvTranspose2d {
    shape: ConvTranspose2dShape,
    weight: Parameter,
    bias: Option<Parameter>,
    precision: Precision,
}

impl ConvTranspose2d {
    /// With a bias, initialized as PyTorch does: uniform within ±1/√(output/groups·kernel²).
    ///
    /// # Errors
    /// When the shape is impossible, or the device has no room.
    pub fn new(builder: &Builder, shape: ConvTranspose2dShape) -> Result<Self> {
        shape.check()?;
        let fan = shape.output / shape.groups * shape.kernel * shape.kernel;
        let init = Init::Uniform { bound: 1.0 / (fan as f64).sqrt() };
        let bias = builder.parameter("bias", &[shape.output], init)?;
        Ok(Self { bias: Some(bias), ..Self::without_bias(builder, shape, init)? })
    }

    /// Without a bias.
    ///
    /// # Errors
    /// When the shape is impossible, or the device has no room.
    pub fn without_bias(builder: &Builder, shape: ConvTranspose2dShape, init: Init) -> Result<Self> {
        shape.check()?;
        let ConvTranspose2dShape { input, output, kernel, groups, .. } = shape;
        let weight = builder.parameter("weight", &[input, output / groups, kernel, kernel], init)?;
        Ok(Self { shape, weight, bias: None, precision: builder.precision() })
    }

    /// Convolves, transposed.
    ///
    /// # Errors
    /// When the channels do not fit, nothing is left of the output, or the device fails.
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        self.weight.in_layer(|| self.convolved(x, mode))
    }

    fn convolved(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        trace::refuse("a transposed convolution is made of several operations");
        let ConvTranspose2dShape { output, kernel, stride, padding, output_padding, groups, .. } = self.shape;
        let image = x.image();
        let sizes = [image.height, image.width].map(|size| {
            let all = size.checked_sub(1)?.checked_mul(stride)?.checked_add(kernel)?.checked_add(output_padding)?;
            all.checked_sub(padding.checked_mul(2)?).filter(|size| *size > 0)
        });
        let [Some(height), Some(width)] = sizes else {
            let message = format!(
                "nothing is left of what a transposed convolution makes of {image} without a margin of {padding}"
            );
            return Err(Error::new(message));
        };
        // Outputs `stride` apart are a convolution of the input by every `stride`-th tap: all of them at once, as channels.
        let phases = phases_of(&self.weight.tensor(mode), stride, groups)?;
        let taps = kernel.div_ceil(stride);
        let map = ops::conv2d(x, &phases, None, 1, taps - 1, groups, self.precision)?;
        let batch = map.batch();
        let [rows, columns] = [map.image().height, map.image().width];
        let numbers =
            map.channels_last()?.reshape(vec![batch, rows, columns, groups, stride, stride, output / groups])?;
        let numbers = numbers.permute(vec![0, 1, 4, 2, 5, 3, 6])?.contiguous()?;
        let mut numbers = numbers.reshape((batch, rows * stride, columns * stride, output))?;
        for (axis, size) in [(1, height), (2, width)] {
            // What is added behind the last input's kernel is zero.
            let missing = (padding + size).saturating_sub(numbers.dim(axis)?);
            numbers = numbers.pad_with_zeros(axis, 0, missing)?.narrow(axis, padding, size)?;
        }
        if let Some(bias) = &self.bias {
            numbers = numbers.broadcast_add(&bias.tensor(mode))?;
        }
        FeatureMap::from_channels_last(&numbers.contiguous()?)?.to_precision(self.precision)
    }
}

/// The weight `[I, O / groups, K, K]` of a transposed convolution as that of a convolution which makes, for each input, the `stride`² outputs
/// from its own place on: `[O · stride², I / groups, T, T]`, channels by group, row, column and output, with `T` taps of every `stride`-th.
fn phases_of(weight: &Tensor, stride: usize, groups: usize) -> Result<Tensor> {
    let (input, output, kernel, _) = weight.dims4()?;
    let taps = kernel.div_ceil(stride);
    let missing = taps * stride - kernel;
    let weight = weight.pad_with_zeros(2, 0, missing)?.pad_with_zeros(3, 0, missing)?;
    let inputs = input / groups;
    let weight = weight.reshape(vec![groups, inputs, output, taps, stride, taps, stride])?;
    // The output at `stride · q + r` takes the tap `stride · t + r` of the input at `q − t`: the last tap comes first.
    let weight = reversed(&reversed(&weight, 3)?, 5)?;
    let weight = weight.permute(vec![0, 4, 6, 2, 1, 3, 5])?.contiguous()?;
    Ok(weight.reshape((groups * stride * stride * output, inputs, taps, taps))?)
}

fn reversed(tensor: &Tensor, axis: usize) -> Result<Tensor> {
    let parts = (0..tensor.dim(axis)?).rev().map(|at| tensor.narrow(axis, at, 1));
    Ok(Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, axis)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::{ConvTranspose2d, ConvTranspose2dShape};
    use crate::nn::{Builder, Init};
    use crate::precision::Precision;

    #[test]
    fn it_begins_as_pytorchs_does() {
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        let shape = ConvTranspose2dShape { groups: 2, ..ConvTranspose2dShape::doubling(8, 6) };
        ConvTranspose2d::new(&builder, shape).unwrap();
        let weights = builder.weights();
        let begins = weights.iter().map(|weight| (weight.name(), weight.var().dims().to_vec(), weight.init()));
        let mut begins: Vec<_> = begins.collect();
        // torch.nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2): uniform within ±1/√(3 · 16).
        let init = Init::Uniform { bound: 1.0 / 48_f64.sqrt() };
        begins.sort_by_key(|(name, ..)| std::cmp::Reverse(*name));
        assert_eq!(begins, [("weight", vec![8, 3, 4, 4], init), ("bias", vec![6], init)]);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        let doubling = ConvTranspose2dShape::doubling(8, 6);
        for shape in [
            ConvTranspose2dShape { groups: 3, ..doubling },
            ConvTranspose2dShape { output_padding: 2, ..doubling },
            ConvTranspose2dShape { stride: 0, ..doubling },
        ] {
            assert!(ConvTranspose2d::new(&builder, shape).is_err(), "{shape:?}");
        }
    }
}
