//! Fully connected layers.

use candle_core::backend::BackendDevice;
use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, bail};

use crate::autograd::{function_of_inputs, gathered, inputs_on_tape};
use crate::candle_function::Values;
use crate::cuda::kernel_source::{BLOCK, KernelVariant};
use crate::cuda::launch::Argument::{Address, Count, Tensor as Of};
use crate::cuda::launch::{Addressed, blocks_of_packs, empty, launch};
use crate::dense::dense;
use crate::precision::Precision;

/// The most multiplications of a layer that our kernels do: what cuBLAS needs several launches for is less than one of them takes.
const SMALL: usize = 1 << 20;

/// Numbers of a row that a block sums up, `SUMS` in the kernels.
const SUMS: usize = 32;

/// `x · weightᵀ + bias`.
///
/// # Errors
/// When their types differ, or the device fails.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    // The kernels would read other types as they read this one.
    if [weight, bias].iter().any(|tensor| tensor.dtype() != x.dtype()) {
        bail!("a weight of {:?} with a bias of {:?} does not fit {:?}", weight.dtype(), bias.dtype(), x.dtype());
    }
    let op = Linear { device: x.device().clone(), dtype: x.dtype() };
    let of = [x.contiguous()?, weight.contiguous()?, bias.contiguous()?];
    let ((batch, inputs), outputs) = (x.dims2()?, bias.elem_count());
    match (op.variant(batch, inputs, outputs), inputs_on_tape(&of)) {
        (Some(variant), Some(entries)) => {
            let given = of.clone();
            let write = move |y| {
                let numbers = given.each_ref().map(Of);
                let rest = [Address(y), Count(inputs), Count(outputs)];
                launch(&op.device, variant, "linear", batch, &[&numbers[..], &rest].concat())
            };
            let y = Values::written(x.device(), x.dtype(), (batch, outputs), write);
            function_of_inputs(entries, y, move |gradient| {
                let (of_x, of_learned) = Linear::gradients(variant, of.each_ref(), gradient)?;
                let [of_weight, of_bias] = of_learned.map_or([None, None], |learned| learned.map(Some));
                Ok([of_x, of_weight, of_bias])
            })
        }
        _ => of[0].apply_op3(&of[1], &of[2], op),
    }
}

/// The sums of the columns of a matrix.
fn column_sums(x: &Tensor) -> Result<Tensor> {
    let (x, (rows, columns)) = (x.contiguous()?, x.dims2()?);
    let sums = empty(columns, x.dtype(), x.device())?;
    let arguments = [Of(&x), Of(&sums), Count(rows), Count(columns)];
    launch(x.device(), KernelVariant::of_tensors(x.dtype())?, "column_sums", columns.div_ceil(SUMS), &arguments)?;
    Ok(sums)
}

/// One operation on candle's tape, which would add up the gradients of four.
struct Linear {
    device: Device,
    dtype: DType,
}

impl Linear {
    /// By our kernels, where the layer is small.
    fn variant(&self, batch: usize, inputs: usize, outputs: usize) -> Option<KernelVariant> {
        let small = (1..=SMALL).contains(&(batch * inputs * outputs));
        KernelVariant::of_tensors(self.dtype).ok().filter(|_| small)
    }

    fn forward<S: Addressed>(
        &self,
        (x, x_layout): (&S, &Layout),
        (weight, weight_layout): (&S, &Layout),
        (bias, bias_layout): (&S, &Layout),
    ) -> Result<(S, Shape)> {
        let ((batch, inputs), (outputs, _)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        let shape = Shape::from((batch, outputs));
        let numbers = |storage: &S, layout: &Layout| {
            let start = layout.start_offset() * self.dtype.size_in_bytes();
            Ok::<_, candle_core::Error>(Address(storage.address()? + start as u64))
        };
        if let Some(variant) = self.variant(batch, inputs, outputs) {
            #[expect(unsafe_code, reason = "the kernel writes all of it")]
            // SAFETY: numbers of any bits are numbers.
            let y = unsafe { x.device().alloc_uninit(&shape, self.dtype) }?;
            let sources = [numbers(x, x_layout)?, numbers(weight, weight_layout)?, numbers(bias, bias_layout)?];
            let rest = [Address(y.address()?), Count(inputs), Count(outputs)];
            launch(&self.device, variant, "linear", batch, &[&sources[..], &rest].concat())?;
            return Ok((y, shape));
        }
        let y = x.matmul(weight, (1, batch, outputs, inputs), x_layout, &weight_layout.transpose(0, 1)?)?;
        let variant = KernelVariant::of(Precision::of(self.dtype)?, outputs);
        let (packs, columns) = (batch * outputs / variant.vector_width, outputs / variant.vector_width);
        let arguments = [Address(y.address()?), numbers(bias, bias_layout)?, Count(packs), Count(columns)];
        launch(&self.device, variant, "add_bias", blocks_of_packs(packs), &arguments)?;
        Ok((y, shape))
    }

    /// The gradients of `x`, and of the weight and the bias, where they are wanted.
    fn gradients(
        variant: KernelVariant,
        [x, weight, bias]: [&Tensor; 3],
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<[Tensor; 2]>)> {
        let (gradient, (batch, inputs), outputs) = (dense(&gradient.detach())?, x.dims2()?, bias.elem_count());
        let like = |tensor: &Tensor| empty(tensor.shape(), tensor.dtype(), tensor.device());
        let of_x = x.track_op().then(|| like(x)).transpose()?;
        let learned = weight.track_op() || bias.track_op();
        let of_learned = learned.then(|| Ok::<_, candle_core::Error>([like(weight)?, like(bias)?])).transpose()?;
        let [of_weight, of_bias] = of_learned.as_ref().map_or([None; 2], |[weight, bias]| [Some(weight), Some(bias)]);
        let blocks_of_x = of_x.as_ref().map_or(0, |of_x| of_x.elem_count().div_ceil(BLOCK));
        let blocks = (inputs + 1).div_ceil(SUMS);
        let all = blocks_of_x + if learned { outputs * blocks } else { 0 };
        let arguments = [
            Of(&gradient),
            Of(x),
            Of(weight),
            of_x.as_ref().into(),
            of_weight.into(),
            of_bias.into(),
            Count(batch),
            Count(inputs),
            Count(outputs),
            Count(blocks_of_x),
            Count(blocks),
        ];
        launch(x.device(), variant, "linear_gradient", all, &arguments)?;
        Ok((of_x, of_learned))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, xl), (w, wl), (b, bl))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        xl: &Layout,
        w: &candle_core::CudaStorage,
        wl: &Layout,
        b: &candle_core::CudaStorage,
        bl: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        self.forward((x, xl), (w, wl), (b, bl))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((batch, inputs), outputs) = (x.dims2()?, b.elem_count());
        if let Some(variant) = self.variant(batch, inputs, outputs) {
            let (of_x, of_learned) = Self::gradients(variant, [x, w, b], gradient)?;
            let of_x = of_x.map_or(Ok(None), |of_x| gathered(x, || Ok(of_x)))?;
            let Some([of_w, of_b]) = of_learned else { return Ok((of_x, None, None)) };
            return Ok((of_x, gathered(w, || Ok(of_w))?, gathered(b, || Ok(of_b))?));
        }
        let of_x = gathered(x, || gradient.matmul(&w.detach()))?;
        let of_w = gathered(w, || gradient.t()?.matmul(&x.detach()))?;
        Ok((of_x, of_w, gathered(b, || column_sums(gradient))?))
    }
}
