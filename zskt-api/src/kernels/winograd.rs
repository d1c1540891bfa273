//! Minimal filtering of 3×3 kernels (Winograd 1980; Lavin & Gray, CVPR 2016): outputs in squares of 2×2 pixels, each from
//! a square of 4×4 inputs, by 16 products per pair of channels where the definition takes 36. F(2×2, 3×3) needs halves
//! only, so its rounding errors are of the size of the definition's own.
//!
//! With `d` the inputs of a square and `g` the kernel, its outputs are `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`; summed over input
//! channels, the products between the brackets are 16 products of matrices, `[squares, inputs] · [inputs, outputs]`.

#![expect(unsafe_code, reason = "pointers into scratch images")]
#![expect(clippy::needless_range_loop, reason = "registers are counted; iterators over them are harder to read")]

use super::lanes::Lanes;
use super::memory::Buffer;
use super::micro::{Strip, StripKernel};
use super::parallel;
use super::real::Real;
use super::taps::Taps;
use std::ops::Range;

/// Products of a square.
pub const POINTS: usize = 16;

/// A kernel that transforms [`inputs`].
pub type Inputs<T> = unsafe fn(&Squares<T>, *const T, *mut T);
/// A kernel that transforms [`outputs`].
pub type Outputs<T> = unsafe fn(&Squares<T>, *const T, *const T, *mut T);

/// The kernels: the transforms of inputs and of outputs, and the product of matrices with the squares it computes at once.
#[derive(Clone, Copy)]
pub struct Kernels<T> {
    /// [`inputs`]
    pub inputs: Inputs<T>,
    /// [`outputs`]
    pub outputs: Outputs<T>,
    /// The product.
    pub product: StripKernel<T>,
}

/// Squares of outputs, in rows; distances are in elements.
#[derive(Clone, Copy)]
pub struct Squares<T> {
    /// Rows and columns of squares.
    pub count: [usize; 2],
    /// Channels that are transformed.
    pub channels: usize,
    /// Between pixels one row apart.
    pub down: usize,
    /// Between neighbouring pixels.
    pub step: usize,
    /// Of these.
    pub of: std::marker::PhantomData<T>,
}

impl<T> Squares<T> {
    fn all(&self) -> usize {
        self.count[0] * self.count[1]
    }
}

/// `G g Gᵀ` of every pair of channels, `[block of outputs][point][input][block]`.
pub fn weights<T: Real>(taps: &Taps<T>, rows: &[Range<usize>], columns: &[Range<usize>], block: usize) -> Buffer<T> {
    let half = T::from_f64(0.5);
    let transformed = |a: T, b: T, c: T| [a, half * (a + b + c), half * (a - b + c), c];
    let mut packed = Buffer::new(POINTS * taps.outputs * taps.inputs);
    let matrix = taps.inputs * block;
    parallel::update(&mut packed, POINTS * matrix, |at, packed| {
        let first = at / (POINTS * matrix) * block;
        for (lane, input) in (0..block).flat_map(|lane| (0..taps.inputs).map(move |input| (lane, input))) {
            let output = first + lane;
            let mut g = [[T::ZERO; 3]; 4];
            for row in 0..3 {
                for column in 0..3 {
                    g[row][column] = taps.weight(output, input, &rows[row], &columns[column]);
                }
            }
            for column in 0..3 {
                let transformed = transformed(g[0][column], g[1][column], g[2][column]);
                for row in 0..4 {
                    g[row][column] = transformed[row];
                }
            }
            let mut place = input * block + lane;
            for [a, b, c] in g {
                for value in transformed(a, b, c) {
                    packed[place] = value;
                    place += matrix;
                }
            }
        }
    });
    packed
}

/// `Bᵀ d B` of every square of inputs at `x`, whose neighbours overlap by two pixels, into `to`: `[point][square][channel]`.
///
/// # Safety
///
/// The processor has the instructions of `L`, whole vectors of channels, and both pointers are good for all squares.
#[inline(always)]
pub unsafe fn inputs<L: Lanes>(s: &Squares<L::Element>, x: *const L::Element, to: *mut L::Element) {
    // SAFETY: pixels and channels stay within the squares.
    unsafe {
        let point = s.all() * s.channels;
        for square in 0..s.all() {
            let (row, column) = (square / s.count[1], square % s.count[1]);
            let x = x.add(2 * (row * s.down + column * s.step));
            for channel in (0..s.channels).step_by(L::WIDTH) {
                let mut d = [[L::splat(L::Element::ZERO); 4]; 4];
                for r in 0..4 {
                    for c in 0..4 {
                        d[r][c] = L::load(x.add(r * s.down + c * s.step + channel));
                    }
                    let [a, b, c, e] = d[r];
                    d[r] = [a.subtract(c), b.add(c), c.subtract(b), b.subtract(e)];
                }
                let to = to.add(square * s.channels + channel);
                for c in 0..4 {
                    let [a, b, e, f] = [d[0][c], d[1][c], d[2][c], d[3][c]];
                    a.subtract(e).store(to.add(c * point));
                    b.add(e).store(to.add((4 + c) * point));
                    e.subtract(b).store(to.add((8 + c) * point));
                    b.subtract(f).store(to.add((12 + c) * point));
                }
            }
        }
    }
}

/// `Aᵀ m A` of every square of products `m`, `[point][square][channel]`, plus `start` (`[channel]`), as outputs at `y`.
///
/// # Safety
///
/// As for [`inputs`].
#[inline(always)]
pub unsafe fn outputs<L: Lanes>(
    s: &Squares<L::Element>,
    m: *const L::Element,
    start: *const L::Element,
    y: *mut L::Element,
) {
    // SAFETY: pixels and channels stay within the squares.
    unsafe {
        let point = s.all() * s.channels;
        for square in 0..s.all() {
            let (row, column) = (square / s.count[1], square % s.count[1]);
            let y = y.add(2 * (row * s.down + column * s.step));
            for channel in (0..s.channels).step_by(L::WIDTH) {
                let m = m.add(square * s.channels + channel);
                let start = L::load(start.add(channel));
                let mut halves = [[start; 4]; 2];
                for c in 0..4 {
                    // Not by a closure, which would be compiled without the instructions.
                    let a = L::load(m.add(c * point));
                    let b = L::load(m.add((4 + c) * point));
                    let e = L::load(m.add((8 + c) * point));
                    let f = L::load(m.add((12 + c) * point));
                    halves[0][c] = a.add(b).add(e);
                    halves[1][c] = b.subtract(e).subtract(f);
                }
                for r in 0..2 {
                    let [a, b, e, f] = halves[r];
                    let y = y.add(r * s.down + channel);
                    a.add(b).add(e).add(start).store(y);
                    b.subtract(e).subtract(f).add(start).store(y.add(s.step));
                }
            }
        }
    }
}

/// What a correlation with 3×3 taps of some rows takes, in squares.
pub struct Correlation<'a, T> {
    /// The kernels.
    pub kernels: Kernels<T>,
    /// The first input of the first output.
    pub x: *const T,
    /// The squares of inputs.
    pub inputs: Squares<T>,
    /// The squares of outputs, of one block of channels.
    pub outputs: Squares<T>,
    /// The transformed weights, of all blocks.
    pub weights: &'a [T],
    /// What is added to the outputs.
    pub start: &'a [T],
    /// Where the first output goes.
    pub y: *mut T,
    /// Room for [`scratch`] elements.
    pub scratch: *mut T,
}

/// Elements of scratch memory for so many squares.
pub fn scratch(squares: usize, inputs: usize, block: usize) -> usize {
    POINTS * squares * (inputs + block) + block
}

/// Computes a correlation for some blocks of output channels.
///
/// # Safety
///
/// The processor has the instructions of the kernels, whole vectors of channels and blocks, and the pointers are good for
/// all squares.
pub unsafe fn run<T: Real>(c: &Correlation<'_, T>, blocks: Range<usize>) {
    let (squares, inputs, block) = (c.inputs.all(), c.inputs.channels, c.outputs.channels);
    let matrix = inputs * block;
    // SAFETY: the scratch memory has room for both sides of the products, and for a block of zeros.
    unsafe {
        let products = c.scratch.add(POINTS * squares * inputs);
        let zeros = products.add(POINTS * squares * block);
        std::slice::from_raw_parts_mut(zeros, block).fill(T::ZERO);
        (c.kernels.inputs)(&c.inputs, c.x, c.scratch);
        for index in blocks {
            for point in 0..POINTS {
                (c.kernels.product)(&Strip {
                    x: c.scratch.add(point * squares * inputs),
                    x_row: 0,
                    x_down: 0,
                    x_step: inputs,
                    kernel_rows: 1,
                    run: inputs,
                    weights: c.weights[(index * POINTS + point) * matrix..].as_ptr(),
                    start: zeros,
                    y: products.add(point * squares * block),
                    y_down: 0,
                    y_step: block,
                    channels: block,
                    columns: squares,
                });
            }
            (c.kernels.outputs)(&c.outputs, products, c.start[index * block..].as_ptr(), c.y.add(index * block));
        }
    }
}
