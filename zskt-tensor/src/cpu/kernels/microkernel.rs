//! The innermost loops, generic over the vector type: accumulators live in registers from the first product to the
//! last.

#![expect(unsafe_code, reason = "pointers into padded inputs, output blocks that interleave")]
#![expect(clippy::needless_range_loop, reason = "registers are counted; iterators over them are harder to read")]

use crate::cpu::simd::vector::SimdVector;

/// A strip of output rows of a convolution, for one block of output channels.
///
/// Offsets and distances are in elements.
#[derive(Clone, Copy)]
pub struct Strip<T> {
    /// The first input of the first pixel.
    pub x: *const T,
    /// Between the inputs of one kernel row and the next.
    pub x_row: usize,
    /// Between the inputs of output pixels one row apart.
    pub x_down: usize,
    /// Between the inputs of neighbouring output pixels.
    pub x_step: usize,
    /// Rows of the kernel.
    pub kernel_rows: usize,
    /// Contiguous inputs under one kernel row.
    pub run: usize,
    /// The packed weights of the channel block.
    pub weights: *const T,
    /// What the accumulators start from: the bias, padded to the block.
    pub start: *const T,
    /// The first output of the strip.
    pub y: *mut T,
    /// Between output pixels one row apart.
    pub y_down: usize,
    /// Between neighbouring output pixels.
    pub y_step: usize,
    /// Channels of the block that exist.
    pub channels: usize,
    /// Output pixels in a row; at least as many as the kernel computes at once.
    pub columns: usize,
}

/// A kernel that computes a [`Strip`].
pub type StripKernel<T> = unsafe fn(&Strip<T>);

/// Blocks of `R` rows by `Q` pixels by `V` vectors of output channels, weights packed `[kernel row][run][V · WIDTH]`.
///
/// `STEP` is the strip's `x_step` where it is known, so that inputs are addressed by constants, or 0. The last block
/// of a row is moved left to end with the row: some pixels are then computed twice, with the same result.
///
/// # Safety
///
/// The processor has the instructions of `L`, and the pointers are good for what the strip describes.
#[inline(always)]
pub unsafe fn strip<L: SimdVector, const V: usize, const R: usize, const Q: usize, const STEP: usize>(
    s: &Strip<L::Element>,
) {
    let step = if STEP == 0 { s.x_step } else { STEP };
    let mut from = 0;
    while from < s.columns {
        let column = from.min(s.columns - Q);
        // SAFETY: `column + Q` pixels of `R` rows lie in the strip, whose inputs, weights and outputs the caller has.
        unsafe {
            let mut start = [L::splat(L::Element::default()); V];
            for v in 0..V {
                start[v] = L::load(s.start.add(v * L::WIDTH));
            }
            let mut sums = [[start; Q]; R];
            let mut weights = s.weights;
            let mut row = s.x.add(column * step);
            for _ in 0..s.kernel_rows {
                let mut x = row;
                let end = row.add(s.run);
                while x < end {
                    let mut weight = start;
                    for v in 0..V {
                        weight[v] = L::load(weights.add(v * L::WIDTH));
                    }
                    for r in 0..R {
                        for q in 0..Q {
                            let input = L::splat(*x.add(r * s.x_down + q * step));
                            for v in 0..V {
                                sums[r][q][v] = sums[r][q][v].accumulate(input, weight[v]);
                            }
                        }
                    }
                    weights = weights.add(V * L::WIDTH);
                    x = x.add(1);
                }
                // Past the last row this is an address only.
                row = row.wrapping_add(s.x_row);
            }
            for r in 0..R {
                for q in 0..Q {
                    let y = s.y.add(r * s.y_down + (column + q) * s.y_step);
                    if s.channels == V * L::WIDTH {
                        for v in 0..V {
                            sums[r][q][v].store(y.add(v * L::WIDTH));
                        }
                    } else {
                        let mut lanes = [L::Element::default(); MAX_BLOCK];
                        for v in 0..V {
                            sums[r][q][v].store(lanes.as_mut_ptr().add(v * L::WIDTH));
                        }
                        for (channel, &value) in lanes.iter().enumerate().take(s.channels) {
                            *y.add(channel) = value;
                        }
                    }
                }
            }
        }
        from += Q;
    }
}

/// The most output channels a [`strip`] computes at once.
const MAX_BLOCK: usize = 32;

/// The strip for `O` output channels when these are too few to fill a vector: lanes run along the inputs instead, and
/// are summed at the end. Weights are packed `[kernel row][run / WIDTH][O][WIDTH]`; the run is a multiple of `WIDTH`.
///
/// # Safety
///
/// As for [`strip`].
#[inline(always)]
pub unsafe fn dot<L: SimdVector, const O: usize, const Q: usize>(s: &Strip<L::Element>) {
    let mut from = 0;
    while from < s.columns {
        let column = from.min(s.columns - Q);
        // SAFETY: `column + Q` pixels lie in the strip, whose inputs, weights and outputs the caller has.
        unsafe {
            let mut sums = [[L::splat(L::Element::default()); O]; Q];
            for q in 0..Q {
                for o in 0..O {
                    // The bias counts once: in the first lane.
                    let mut lanes = [L::Element::default(); MAX_BLOCK];
                    lanes[0] = *s.start.add(o);
                    sums[q][o] = L::load(lanes.as_ptr());
                }
            }
            let mut weights = s.weights;
            let mut row = s.x.add(column * s.x_step);
            for _ in 0..s.kernel_rows {
                let mut x = row;
                let end = row.add(s.run);
                while x < end {
                    let mut weight = [L::splat(L::Element::default()); O];
                    for o in 0..O {
                        weight[o] = L::load(weights.add(o * L::WIDTH));
                    }
                    for q in 0..Q {
                        let input = L::load(x.add(q * s.x_step));
                        for o in 0..O {
                            sums[q][o] = sums[q][o].accumulate(input, weight[o]);
                        }
                    }
                    weights = weights.add(O * L::WIDTH);
                    x = x.add(L::WIDTH);
                }
                // Past the last row this is an address only.
                row = row.wrapping_add(s.x_row);
            }
            for q in 0..Q {
                for o in 0..O {
                    *s.y.add((column + q) * s.y_step + o) = sums[q][o].sum();
                }
            }
        }
        from += Q;
    }
}

/// A rectangle of pixels of two maps, whose outer products (some channels of one by some of the other) are summed.
#[derive(Clone, Copy)]
pub struct Patch<T> {
    /// The side whose elements are broadcast: its first element.
    pub scalars: *const T,
    /// Between its pixels one row apart.
    pub scalars_down: usize,
    /// Between its neighbouring pixels.
    pub scalars_step: usize,
    /// The side that is read by vectors: its first element.
    pub vectors: *const T,
    /// Between its pixels one row apart.
    pub vectors_down: usize,
    /// Between its neighbouring pixels.
    pub vectors_step: usize,
    /// Rows of the rectangle.
    pub rows: usize,
    /// Columns of the rectangle.
    pub columns: usize,
    /// Where the sums go, one row per scalar.
    pub out: *mut T,
    /// Between the rows of `out`.
    pub out_step: usize,
    /// Scalars that exist; further ones are read but their sums dropped.
    pub valid: usize,
    /// Whether to add to what `out` holds.
    pub add: bool,
}

/// A kernel that computes a [`Patch`].
pub type PatchKernel<T> = unsafe fn(&Patch<T>);

/// `M` scalars by `V` vectors.
///
/// # Safety
///
/// The processor has the instructions of `L`, and the pointers are good for what the patch describes: `M` scalars and
/// `V · WIDTH` vector elements at every pixel, `valid` rows of `V · WIDTH` sums.
#[inline(always)]
pub unsafe fn patch<L: SimdVector, const V: usize, const M: usize>(p: &Patch<L::Element>) {
    // SAFETY: pixels, scalars and vectors stay within what the caller promises.
    unsafe {
        let zero = L::splat(L::Element::default());
        let mut sums = [[zero; V]; M];
        for row in 0..p.rows {
            let mut scalars = p.scalars.add(row * p.scalars_down);
            let mut vectors = p.vectors.add(row * p.vectors_down);
            for _ in 0..p.columns {
                let mut vector = [zero; V];
                for v in 0..V {
                    vector[v] = L::load(vectors.add(v * L::WIDTH));
                }
                for m in 0..M {
                    let scalar = L::splat(*scalars.add(m));
                    for v in 0..V {
                        sums[m][v] = sums[m][v].accumulate(scalar, vector[v]);
                    }
                }
                // Past the last pixel these are addresses only.
                scalars = scalars.wrapping_add(p.scalars_step);
                vectors = vectors.wrapping_add(p.vectors_step);
            }
        }
        for m in 0..M {
            if m < p.valid {
                for v in 0..V {
                    let out = p.out.add(m * p.out_step + v * L::WIDTH);
                    let sum = if p.add { sums[m][v].add(L::load(out)) } else { sums[m][v] };
                    sum.store(out);
                }
            }
        }
    }
}
