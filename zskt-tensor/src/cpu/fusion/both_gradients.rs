//! Both gradients of a convolution, by any kernels: image by image, where these can.

use crate::cpu::conv::data_gradient::data_gradient;
use crate::cpu::conv::fused_backward;
use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::weight_gradient::WeightGradientSums;
use crate::cpu::fusion::lazy_map::LazyInput;
use crate::cpu::fusion::storage::Scalar;
use crate::cpu::kernels::epilogue::ChannelSums;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::shape::ConvGeometry;

/// Which gradients are wanted.
#[derive(Clone, Copy)]
pub struct WantedGradients {
    /// That of the input.
    pub input: bool,
    /// That of the weight.
    pub weight: bool,
}

/// Calls its second argument with the sums of the weight gradient for inputs that are read in this way.
pub type WithSums<'a, T> = dyn Fn(&InputView<T>, &mut dyn FnMut(&dyn WeightGradientSums<T>)) + 'a;

/// Gives `x` its gradient, by the kernels of an operand, and returns that of the weight, if they are wanted; `weights` calls
/// its argument with the sums of the latter.
pub fn gradients<C: Operand>(
    g: &ConvGeometry,
    weight: &[C::Accumulator],
    x: &LazyInput,
    dy: &InputView<C::Accumulator>,
    wanted: WantedGradients,
    weights: &WithSums<'_, C::Accumulator>,
) -> Option<Vec<C::Accumulator>>
where
    C::Accumulator: Scalar,
{
    let backward_input = |weight| data_gradient::<C>(InstructionSet::best(), g, weight);
    let conv = wanted.input.then(|| backward_input(weight));
    let mut of_weight = None;
    // Weight gradients with what becomes of the data gradient, if anything.
    let mut both = |data: Option<fused_backward::Data<'_, C>>| {
        let (mut data, mut sums) = (data, ChannelSums::zeros(0));
        x.read(|x| {
            weights(x, &mut |weights| {
                let (of_data, gradient) = fused_backward::run(data.take(), weights, g.batch, x, dy);
                (sums, of_weight) = (of_data, Some(gradient));
            });
        });
        sums
    };
    match &conv {
        Some(conv) if wanted.weight && conv.images().is_some() => {
            x.accumulate(|epilogue, out| both(Some(fused_backward::Data { conv, epilogue: *epilogue, out })));
        }
        conv => {
            if let Some(conv) = conv {
                x.accumulate(|epilogue, out| conv.run(dy, epilogue, out));
            }
            if wanted.weight {
                both(None);
            }
        }
    }
    of_weight
}
