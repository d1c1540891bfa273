//! Depthwise convolutions: each channel by itself, vectors run over the channels.

#![expect(unsafe_code, reason = "pointers into rows of pixels")]
#![expect(clippy::needless_range_loop, reason = "registers are counted; iterators over them are harder to read")]

use crate::cpu::simd::vector::SimdVector;

/// Rows of inputs that some outputs are made of. Distances are in elements.
pub struct TapRows<'a, T> {
    /// For each row of taps the input under the first tap of the first output; for [`narrow_row`] that under the first output itself, and null
    /// for rows outside of the image.
    pub rows: &'a [*const T],
    /// Taps in a row.
    pub taps: usize,
    /// Between the inputs of neighbouring taps.
    pub tap_step: usize,
    /// Between the inputs of neighbouring outputs.
    pub x_step: usize,
    /// Outputs.
    pub outputs: usize,
    /// Channels.
    pub channels: usize,
}

/// A row of outputs to be computed.
pub struct DepthwiseRow<'a, T> {
    /// Its inputs.
    pub inputs: TapRows<'a, T>,
    /// The weight of the first tap for the first vector; those of neighbouring taps are a vector apart.
    pub weights: *const T,
    /// Between the weights of one row of taps and the next, and of one vector and the next.
    pub weight_steps: [usize; 2],
    /// What sums start from, `[vector][WIDTH]`.
    pub start: *const T,
    /// The first output.
    pub y: *mut T,
    /// Between neighbouring outputs.
    pub y_step: usize,
}

/// A row of gradients whose products with inputs are to be added up.
pub struct DepthwiseProducts<'a, T> {
    /// The inputs.
    pub inputs: TapRows<'a, T>,
    /// The first gradient; they are `channels` apart.
    pub gradients: *const T,
    /// The sums so far, `[vector][tap row][tap][WIDTH]`.
    pub sums: *mut T,
}

/// A kernel that computes a [`DepthwiseRow`].
pub type DepthwiseKernel<T> = unsafe fn(&DepthwiseRow<'_, T>);

/// A kernel that adds up [`DepthwiseProducts`].
pub type DepthwiseProductsKernel<T> = unsafe fn(&DepthwiseProducts<'_, T>);

/// Outputs that are computed at once.
pub const OUTPUTS: usize = 4;

/// Rows of so few outputs are computed at once, all their inputs in registers.
pub const NARROW: usize = 8;

/// The first channel of each vector. The last vector is moved back to end with the channels; where there are fewer channels
/// than lanes, lanes behind them hold anything.
pub fn vectors(channels: usize, width: usize) -> impl Iterator<Item = usize> {
    (0..channels).step_by(width).map(move |first| first.min(channels.saturating_sub(width)))
}

/// Computes a row, `Q` outputs at a time, from `K`×`K` taps whose inputs are `S` pixels apart from output to output; 0 is any
/// number. The last outputs are moved back to end with the row, and some computed twice.
///
/// # Safety
///
/// The processor has the instructions of `L`, there are `Q` outputs, and the pointers are good for all of the row, inputs and
/// outputs for a whole vector behind the last pixel.
#[inline(always)]
pub unsafe fn row<L: SimdVector, const K: usize, const S: usize, const Q: usize>(r: &DepthwiseRow<'_, L::Element>) {
    let TapRows { rows, taps, tap_step, x_step, outputs, channels } = r.inputs;
    let x_step = if S == 0 { x_step } else { S * tap_step };
    let [next_row, next_vector] = r.weight_steps;
    // SAFETY: the caller's promise.
    unsafe {
        for (vector, first) in vectors(channels, L::WIDTH).enumerate() {
            let start = L::load(r.start.add(vector * L::WIDTH));
            let packed = r.weights.add(vector * next_vector);
            let mut weights = [[start; K]; K];
            for y in 0..K {
                for x in 0..K {
                    weights[y][x] = L::load(packed.add(y * next_row + x * L::WIDTH));
                }
            }
            let mut from = 0;
            while from < outputs {
                let output = from.min(outputs - Q);
                let offset = first + output * x_step;
                let mut sums = [start; Q];
                if K > 0 {
                    for y in 0..K {
                        let inputs = rows.get_unchecked(y).add(offset);
                        for x in 0..K {
                            for q in 0..Q {
                                let input = L::load(inputs.add(q * x_step + x * tap_step));
                                sums[q] = sums[q].accumulate(input, weights[y][x]);
                            }
                        }
                    }
                } else {
                    for (y, inputs) in rows.iter().enumerate() {
                        let (mut inputs, mut weights) = (inputs.add(offset), packed.add(y * next_row));
                        for _ in 0..taps {
                            let weight = L::load(weights);
                            for q in 0..Q {
                                sums[q] = sums[q].accumulate(L::load(inputs.add(q * x_step)), weight);
                            }
                            weights = weights.add(L::WIDTH);
                            inputs = inputs.add(tap_step);
                        }
                    }
                }
                for q in 0..Q {
                    sums[q].store(r.y.add(first + (output + q) * r.y_step));
                }
                from += Q;
            }
        }
    }
}

/// Computes a row of `W` outputs from 3×3 taps around each. Nothing lies beside the row: taps that would meet that are left out.
///
/// # Safety
///
/// The processor has the instructions of `L`, there are three rows, and the pointers that are not null are good for all of the row, inputs
/// and outputs for a whole vector behind the last pixel.
#[inline(always)]
pub unsafe fn narrow_row<L: SimdVector, const W: usize>(r: &DepthwiseRow<'_, L::Element>) {
    let TapRows { rows, channels, .. } = r.inputs;
    let [next_row, next_vector] = r.weight_steps;
    // SAFETY: the caller's promise.
    unsafe {
        for (vector, first) in vectors(channels, L::WIDTH).enumerate() {
            let mut sums = [L::load(r.start.add(vector * L::WIDTH)); W];
            for (y, row) in rows.iter().enumerate().filter(|(_, row)| !row.is_null()) {
                let weights = r.weights.add(vector * next_vector + y * next_row);
                let weights = [0, 1, 2].map(|tap| L::load(weights.add(tap * L::WIDTH)));
                let inputs: [L; W] = std::array::from_fn(|x| L::load(row.add(first + x * channels)));
                for q in 0..W {
                    for tap in 0..3 {
                        if (1..=W).contains(&(q + tap)) {
                            sums[q] = sums[q].accumulate(inputs[q + tap - 1], weights[tap]);
                        }
                    }
                }
            }
            for q in 0..W {
                sums[q].store(r.y.add(first + q * r.y_step));
            }
        }
    }
}

/// Adds the products of a row of `W` gradients with the inputs under each of 3×3 taps, as [`narrow_row`] takes them.
///
/// # Safety
///
/// As for [`narrow_row`].
#[inline(always)]
pub unsafe fn narrow_products<L: SimdVector, const W: usize>(p: &DepthwiseProducts<'_, L::Element>) {
    let TapRows { rows, channels, .. } = p.inputs;
    // SAFETY: the caller's promise.
    unsafe {
        for (vector, first) in vectors(channels, L::WIDTH).enumerate() {
            let gradients: [L; W] = std::array::from_fn(|q| L::load(p.gradients.add(first + q * channels)));
            for (y, row) in rows.iter().enumerate().filter(|(_, row)| !row.is_null()) {
                let sums = p.sums.add((vector * 3 + y) * 3 * L::WIDTH);
                let mut totals = [0, 1, 2].map(|tap| L::load(sums.add(tap * L::WIDTH)));
                let inputs: [L; W] = std::array::from_fn(|x| L::load(row.add(first + x * channels)));
                for q in 0..W {
                    for tap in 0..3 {
                        if (1..=W).contains(&(q + tap)) {
                            totals[tap] = totals[tap].accumulate(inputs[q + tap - 1], gradients[q]);
                        }
                    }
                }
                for tap in 0..3 {
                    totals[tap].store(sums.add(tap * L::WIDTH));
                }
            }
        }
    }
}

/// Adds the products of a row of gradients with the inputs under each of `K`×`K` taps, or any number of taps where `K` is 0.
///
/// # Safety
///
/// As for [`row`], for any number of outputs.
#[inline(always)]
pub unsafe fn products<L: SimdVector, const K: usize, const S: usize>(p: &DepthwiseProducts<'_, L::Element>) {
    const Q: usize = OUTPUTS;
    let TapRows { rows, taps, tap_step, x_step, outputs, channels } = p.inputs;
    let x_step = if S == 0 { x_step } else { S * tap_step };
    // SAFETY: the caller's promise.
    unsafe {
        let zero = L::splat(L::Element::default());
        for (vector, first) in vectors(channels, L::WIDTH).enumerate() {
            let gradients = p.gradients.add(first);
            let sums = p.sums.add(vector * rows.len() * taps * L::WIDTH);
            if K > 0 {
                let mut totals = [[zero; K]; K];
                for y in 0..K {
                    for x in 0..K {
                        totals[y][x] = L::load(sums.add((y * K + x) * L::WIDTH));
                    }
                }
                let mut output = 0;
                while output + Q <= outputs {
                    let mut gradient = [zero; Q];
                    for q in 0..Q {
                        gradient[q] = L::load(gradients.add((output + q) * channels));
                    }
                    for y in 0..K {
                        let inputs = rows.get_unchecked(y).add(first + output * x_step);
                        for x in 0..K {
                            for q in 0..Q {
                                let input = L::load(inputs.add(q * x_step + x * tap_step));
                                totals[y][x] = totals[y][x].accumulate(input, gradient[q]);
                            }
                        }
                    }
                    output += Q;
                }
                while output < outputs {
                    let gradient = L::load(gradients.add(output * channels));
                    for y in 0..K {
                        let inputs = rows.get_unchecked(y).add(first + output * x_step);
                        for x in 0..K {
                            totals[y][x] = totals[y][x].accumulate(L::load(inputs.add(x * tap_step)), gradient);
                        }
                    }
                    output += 1;
                }
                for y in 0..K {
                    for x in 0..K {
                        totals[y][x].store(sums.add((y * K + x) * L::WIDTH));
                    }
                }
            } else {
                for (y, inputs) in rows.iter().enumerate() {
                    for x in 0..taps {
                        let place = sums.add((y * taps + x) * L::WIDTH);
                        let inputs = inputs.add(first + x * tap_step);
                        // Several, not to wait for each other.
                        let mut totals = [zero; Q];
                        totals[0] = L::load(place);
                        for output in 0..outputs {
                            let gradient = L::load(gradients.add(output * channels));
                            let input = L::load(inputs.add(output * x_step));
                            totals[output % Q] = totals[output % Q].accumulate(input, gradient);
                        }
                        totals[0].add(totals[1]).add(totals[2].add(totals[3])).store(place);
                    }
                }
            }
        }
    }
}
