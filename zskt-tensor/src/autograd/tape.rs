//! What is put on the tape: operations on maps, and what lies between these and tensors.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use crate::autograd::anchor::{anchored, reach};
use crate::autograd::entry::{Anchor, Node, TapeEntry};
use crate::autograd::made_tensor::MadeTensor;
use crate::autograd::pass::{GradientSum, next_sequence};
use crate::autograd::tensor_input::{Destination, TensorInput};
use crate::candle_function::{Function, Values};
use crate::dense::dense;

/// Records an operation on maps and tensors: the place on the tape of its output, if a gradient may flow there.
///
/// # Errors
/// When the device fails.
pub fn record<'a, N: Node + 'static>(
    device: &Device,
    maps: impl IntoIterator<Item = Option<&'a Arc<TapeEntry>>>,
    tensors: &[&TensorInput],
    node: impl FnOnce() -> N,
) -> Result<Option<Arc<TapeEntry>>> {
    let anchor = anchor_of(device, maps, tensors)?;
    Ok(anchor.map(|anchor| Arc::new(TapeEntry { sequence: next_sequence(), node: Box::new(node()), anchor })))
}

/// The anchor of what is made of maps and tensors, if a gradient may flow to any of them.
fn anchor_of<'a>(
    device: &Device,
    maps: impl IntoIterator<Item = Option<&'a Arc<TapeEntry>>>,
    tensors: &[&TensorInput],
) -> Result<Option<Anchor>> {
    let of_maps = maps.into_iter().flatten().map(|entry| &entry.anchor);
    let of_tensors = tensors.iter().filter_map(|tensor| match &tensor.0 {
        Destination::Derived(_, anchor) => Some(anchor),
        Destination::Made(made) => Some(&made.entry.anchor),
        _ => None,
    });
    let mut anchor: Option<Anchor> = None;
    for other in of_maps.chain(of_tensors) {
        anchor = Some(match anchor {
            None => other.clone(),
            Some(anchor) => anchor.join(other)?,
        });
    }
    let variable = tensors.iter().any(|tensor| matches!(tensor.0, Destination::Variable(_)));
    if variable && !anchor.as_ref().is_some_and(|anchor| anchor.rooted) {
        let root = Anchor { rooted: true, ..Anchor::of(Var::zeros((), DType::F32, device)?.into_inner()) };
        anchor = Some(match anchor {
            None => root,
            Some(anchor) => anchor.join(&root)?,
        });
    }
    Ok(anchor)
}

/// Records the making of a map from `tensor`, if that is tracked; `gradient` takes the gradient that the map has gathered and
/// makes the tensor's of it, `reset` drops it.
///
/// # Errors
/// When the device fails.
pub fn from_tensor(
    tensor: &Tensor,
    gradient: impl Fn() -> Result<Tensor> + Send + Sync + 'static,
    reset: impl Fn() + Send + Sync + 'static,
) -> Result<Option<Arc<TapeEntry>>> {
    if !tensor.track_op() {
        return Ok(None);
    }
    let (sum, sequence) = (GradientSum::default(), next_sequence());
    let anchor = anchored(tensor, &sum, sequence)?;
    Ok(Some(Arc::new(TapeEntry { sequence, node: Box::new(FromTensor { sum, gradient, reset }), anchor })))
}

struct FromTensor<G, R> {
    sum: GradientSum,
    gradient: G,
    reset: R,
}

impl<G: Fn() -> Result<Tensor> + Send + Sync, R: Fn() + Send + Sync> Node for FromTensor<G, R> {
    fn backward(&self) -> Result<()> {
        self.sum.add((self.gradient)()?)
    }

    fn reset(&self) {
        (self.reset)();
    }
}

/// A tensor made of maps and of tensors: `values`, whose gradient `backward` gives to these.
///
/// # Errors
/// When the device fails.
pub fn to_tensor<'a>(
    maps: impl IntoIterator<Item = &'a Arc<TapeEntry>>,
    tensors: &[&TensorInput],
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let values = values.into();
    match anchor_of(values.device(), maps.into_iter().map(Some), tensors)? {
        None => values.into_tensor(),
        Some(anchor) => {
            let (backward, sum) = (Arc::new(backward), GradientSum::default());
            let node = Box::new(ToTensor { sum: sum.clone(), backward: Arc::clone(&backward) });
            let entry = Arc::new(TapeEntry { sequence: next_sequence(), node, anchor: anchor.clone() });
            let made = Arc::new(MadeTensor::new(entry, sum));
            let (known, before) = (Arc::clone(&made), anchor.tensor.clone());
            let tensor = anchor.tensor.apply_op1(Function::new(values, move |gradient: &Tensor| {
                if known.is_read() {
                    known.accumulate(gradient.clone())?;
                } else {
                    // At once, for maps to gather their gradients in candle's order: the order of a sum's terms is in its bits.
                    backward(gradient)?;
                }
                reach(&before)
            }))?;
            made.make_known(&tensor);
            Ok(tensor)
        }
    }
}

struct ToTensor<B> {
    sum: GradientSum,
    backward: Arc<B>,
}

impl<B: Fn(&Tensor) -> Result<()> + Send + Sync> Node for ToTensor<B> {
    fn backward(&self) -> Result<()> {
        match self.sum.take() {
            Some(gradient) => (self.backward)(&dense(&gradient)?),
            None => bail!("a tensor has got no gradient"),
        }
    }

    fn reset(&self) {
        drop(self.sum.take());
    }
}
