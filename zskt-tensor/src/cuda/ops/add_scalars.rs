//! The sum of scalars, on GPUs.

use candle_core::{DType, Result, Tensor};

use crate::autograd::{function_of_inputs, inputs_on_tape};
use crate::candle_function::Values;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Address, Count, Nothing, Tensor as Of};
use crate::cuda::launch::launch;
use crate::cuda::tensor_array::{TENSORS, put_array};

/// The sum, where all that gradients flow into was made on our tape, which has them without a kernel; else nothing.
///
/// # Errors
/// When the device fails.
pub fn add_scalars(scalars: &[Tensor]) -> Result<Option<Tensor>> {
    let Some(first) = scalars.first() else { return Ok(None) };
    let alike = scalars.iter().all(|scalar| scalar.rank() == 0 && scalar.dtype() == first.dtype());
    if !alike || scalars.len() > TENSORS || !matches!(first.dtype(), DType::F32 | DType::F64) {
        return Ok(None);
    }
    let Some(inputs) = inputs_on_tape(scalars) else { return Ok(None) };
    let (device, variant, count) = (first.device().clone(), KernelVariant::of_tensors(first.dtype())?, scalars.len());
    let given: Vec<_> = scalars.iter().map(Tensor::detach).collect();
    let write = move |sum| {
        let mut arguments = Vec::with_capacity(TENSORS + 2);
        put_array::<TENSORS>(&mut arguments, given.iter().map(Of), Nothing);
        arguments.extend([Address(sum), Count(count)]);
        launch(&device, variant, "add_scalars", 1, &arguments)
    };
    let sum = Values::written(first.device(), first.dtype(), (), write);
    function_of_inputs(inputs, sum, move |gradient| Ok(vec![Some(gradient.clone()); count])).map(Some)
}
