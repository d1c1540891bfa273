//! What a plan computes, in fewer steps: activations as part of normalizations, constants of neighbours together.

use std::collections::HashSet;

use zskt_api::Result;
use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::nn::{Activation, Padding};

use super::lowering::Lowered;
use super::plan::{Layer, Plan, Slot};

/// Joins steps, and leaves out those that nothing is made of.
///
/// # Errors
/// When constants cannot be computed.
pub fn fuse(lowered: Lowered) -> Result<Lowered> {
    let mut fusion = Fusion { uses: uses(&lowered.plan), lowered };
    let count = fusion.lowered.plan.steps.len();
    // What takes the place of each step.
    let mut places: Vec<_> = (0..count).map(Slot).collect();
    for index in 0..count {
        for input in &mut fusion.lowered.plan.steps[index].inputs {
            *input = places[input.0];
        }
        fusion.gate(index);
        fusion.padding(index);
        if let Some(before) = fusion.join(index)? {
            fusion.uses[before.0] = fusion.uses[index];
            places[index] = before;
        }
    }
    let Lowered { mut plan, weights } = fusion.lowered;
    plan.logits = places[plan.logits.0];
    for slot in &mut plan.activations {
        *slot = places[slot.0];
    }
    Ok(pruned(Lowered { plan, weights }))
}

/// How many steps, and outputs, are made of each step.
fn uses(plan: &Plan) -> Vec<usize> {
    let mut uses = vec![0; plan.steps.len()];
    let outputs = plan.activations.iter().chain([&plan.logits]);
    for slot in plan.steps.iter().flat_map(|step| &step.inputs).chain(outputs) {
        uses[slot.0] += 1;
    }
    uses
}

struct Fusion {
    lowered: Lowered,
    uses: Vec<usize>,
}

impl Fusion {
    fn layer(&self, slot: Slot) -> &Layer {
        &self.lowered.plan.steps[slot.0].layer
    }

    /// `x · sigmoid(x)` as one activation; `x · hard_sigmoid(x)` as PyTorch has it, too.
    fn gate(&mut self, index: usize) {
        let step = &self.lowered.plan.steps[index];
        let (Layer::Multiply, &[a, b]) = (&step.layer, &step.inputs[..]) else { return };
        for (x, gate) in [(a, b), (b, a)] {
            let whole = match self.layer(gate) {
                Layer::Activation(Activation::Sigmoid) => Activation::Silu,
                Layer::Activation(Activation::HardSigmoid { alpha, beta })
                    if (alpha - 1.0 / 6.0).abs() < 1e-7 && *beta == 0.5 =>
                {
                    Activation::HardSwish
                }
                _ => continue,
            };
            if self.uses[gate.0] == 1 && self.lowered.plan.steps[gate.0].inputs == [x] {
                let step = &mut self.lowered.plan.steps[index];
                step.layer = Layer::Activation(whole);
                step.inputs = vec![x];
                self.uses[gate.0] = 0;
                self.uses[x.0] -= 1;
                return;
            }
        }
    }

    /// Equal zeros at all sides as the padding of the convolution behind them.
    fn padding(&mut self, index: usize) {
        let step = &self.lowered.plan.steps[index];
        let (Layer::Convolution { .. }, &[before]) = (&step.layer, &step.inputs[..]) else { return };
        let Layer::Pad(Padding { channels: [0, 0], rows: [zeros, below], columns }) = *self.layer(before) else {
            return;
        };
        if below == zeros && columns == [zeros; 2] && self.uses[before.0] == 1 {
            let of = self.lowered.plan.steps[before.0].inputs.clone();
            let step = &mut self.lowered.plan.steps[index];
            step.inputs = of;
            if let Layer::Convolution { shape, .. } = &mut step.layer {
                shape.padding += zeros;
            }
            self.uses[before.0] = 0;
        }
    }

    /// Makes a step part of the only one that it is made of, if both can be one.
    fn join(&mut self, index: usize) -> Result<Option<Slot>> {
        let &[before] = &self.lowered.plan.steps[index].inputs[..] else { return Ok(None) };
        if self.uses[before.0] != 1 {
            return Ok(None);
        }
        let joined = match (self.layer(before).clone(), self.layer(Slot(index)).clone()) {
            (
                Layer::Normalization { channels, epsilon, momentum, activation: Activation::Identity },
                Layer::Activation(activation),
            ) => Layer::Normalization { channels, epsilon, momentum, activation },
            (Layer::Affine { channels, activation: Activation::Identity }, Layer::Activation(activation)) => {
                Layer::Affine { channels, activation }
            }
            (Layer::Affine { activation: Activation::Identity, .. }, layer @ Layer::Affine { .. }) => {
                let (scale, shift) = (self.weight(index, "scale")?, self.weight(index, "shift")?);
                let (first, term) = (self.weight(before.0, "scale")?, self.weight(before.0, "shift")?);
                self.set(before.0, "scale", (&first * &scale)?);
                self.set(before.0, "shift", ((term * scale)? + shift)?);
                layer
            }
            (
                layer @ (Layer::Convolution { .. } | Layer::Linear { .. }),
                Layer::Affine { activation: Activation::Identity, channels },
            ) => {
                let scale = self.weight(index, "scale")?.to_vec1::<f64>()?;
                if scale.iter().any(|factor| *factor != 1.0) {
                    return Ok(None);
                }
                let shift = self.weight(index, "shift")?;
                let has_bias = !matches!(layer, Layer::Convolution { bias: false, .. });
                let bias = if has_bias {
                    self.weight(before.0, "bias")?
                } else {
                    Tensor::zeros(channels, DType::F64, &Device::Cpu)?
                };
                self.set(before.0, "bias", (bias + shift)?);
                match layer {
                    Layer::Convolution { shape, .. } => Layer::Convolution { shape, bias: true },
                    layer => layer,
                }
            }
            _ => return Ok(None),
        };
        self.lowered.plan.steps[before.0].layer = joined;
        Ok(Some(before))
    }

    fn name(&self, index: usize, weight: &str) -> String {
        format!("{}.{weight}", self.lowered.plan.steps[index].name)
    }

    fn weight(&self, index: usize, weight: &str) -> Result<Tensor> {
        let name = self.name(index, weight);
        let tensor = self.lowered.weights.get(&name);
        let tensor = tensor.ok_or_else(|| zskt_api::Error::new(format!("the weight `{name}` is gone")))?;
        Ok(tensor.to_dtype(DType::F64)?)
    }

    fn set(&mut self, index: usize, weight: &str, tensor: Tensor) {
        let name = self.name(index, weight);
        self.lowered.weights.insert(name, tensor);
    }
}

/// Without the steps that no output is made of, and their weights.
fn pruned(Lowered { plan, mut weights }: Lowered) -> Lowered {
    let mut needed: HashSet<_> = plan.activations.iter().copied().chain([plan.logits, Slot(0)]).collect();
    for (index, step) in plan.steps.iter().enumerate().rev() {
        if needed.contains(&Slot(index)) {
            needed.extend(step.inputs.iter().copied());
        }
    }
    let mut places = vec![Slot(0); plan.steps.len()];
    let mut steps = Vec::with_capacity(needed.len());
    for (index, mut step) in plan.steps.into_iter().enumerate() {
        if needed.contains(&Slot(index)) {
            places[index] = Slot(steps.len());
            for input in &mut step.inputs {
                *input = places[input.0];
            }
            steps.push(step);
        }
    }
    let names: HashSet<_> = steps.iter().map(|step| step.name.as_str()).collect();
    weights.retain(|name, _| name.rsplit_once('.').is_some_and(|(layer, _)| names.contains(layer)));
    let activations = plan.activations.iter().map(|slot| places[slot.0]).collect();
    let plan = Plan { steps, logits: places[plan.logits.0], activations, ..plan };
    Lowered { plan, weights }
}
