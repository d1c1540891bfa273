//! Functions of tensors that kernels of our own compute: on this tape where they can be, else on candle's.

use candle_core::{Result, Tensor, bail};

use crate::autograd::tape::to_tensor;
use crate::autograd::tensor_input::{Destination, TensorInput};
use crate::candle_function::{Function, Values};

/// `values`, which are a function of one or two tensors: `backward` makes the gradients of those that are not constants of theirs. Where it
/// can be, the function is on this tape.
///
/// # Errors
/// When the device fails.
pub fn function_of<const COUNT: usize>(
    of: [&Tensor; COUNT],
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; COUNT]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if let Some(inputs) = inputs_on_tape(of) {
        return function_of_inputs(inputs, values, backward);
    }
    let values = values.into();
    match of[..] {
        [of] => of.apply_op1(Function::new(values, move |gradient: &Tensor| {
            Ok(backward(gradient)?.into_iter().next().flatten())
        })),
        [a, b] => a.apply_op2(
            b,
            Function::new(values, move |gradient: &Tensor| {
                let mut gradients = backward(gradient)?.into_iter();
                Ok([gradients.next().flatten(), gradients.next().flatten()])
            }),
        ),
        _ => bail!("a function of {COUNT} tensors on candle's tape"),
    }
}

/// The inputs of an operation on this tape: nothing where one of them is on candle's only, or none is on this.
pub fn inputs_on_tape<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Option<Vec<TensorInput>> {
    let inputs = tensors.into_iter().map(TensorInput::on_tape).collect::<Option<Vec<_>>>()?;
    inputs.iter().any(|input| matches!(input.0, Destination::Made(_))).then_some(inputs)
}

/// `values`, which are a function of these inputs.
///
/// # Errors
/// When the device fails.
pub fn function_of_inputs<G: IntoIterator<Item = Option<Tensor>>>(
    inputs: Vec<TensorInput>,
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<G> + Send + Sync + 'static,
) -> Result<Tensor> {
    for input in &inputs {
        if let Destination::Made(made) = &input.0 {
            made.note_reader();
        }
    }
    to_tensor([], &inputs.clone().iter().collect::<Vec<_>>(), values, move |gradient| {
        for (input, gradient) in inputs.iter().zip(backward(gradient)?) {
            gradient.map_or(Ok(()), |gradient| input.accumulate(|| Ok(gradient)))?;
        }
        Ok(())
    })
}
