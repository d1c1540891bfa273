//! Minimal filtering of 3×3 kernels (Winograd 1980; Lavin & Gray, CVPR 2016): outputs in tiles of `m × m` pixels, each
//! from a square of `m + 2` inputs a side, by `(m + 2)²` products per pair of channels where the definition takes `9 m²`.
//!
//! With `d` the inputs of a square and `g` the kernel, its outputs are `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`; summed over input
//! channels, the products between the brackets are `(m + 2)²` products of matrices, `[tiles, inputs] · [inputs, outputs]`.
//!
//! A weight gradient is the same game with its roles exchanged, `F(3×3, 4×4)`: what `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` sends back to `g` of
//! a square of 4×4 gradients `e` is `Gᵀ [(A e Aᵀ) ⊙ (Bᵀ d B)] G`, whose brackets may be summed over all squares first.
//!
//! `F(2×2, 3×3)` evaluates polynomials at 0, ±1 and ∞: its rounding errors are of the size of the definition's own.
//! `F(4×4, 3×3)` takes 0, ±5/8, ±3/2 and ∞ (the points of oneDNN), for errors three to five times as large: about 2e-6 of
//! the largest output.

#![expect(unsafe_code, reason = "pointers into padded inputs")]
#![expect(clippy::needless_range_loop, reason = "registers are counted; iterators over them are harder to read")]

use crate::cpu::kernels::microkernel::{PatchKernel, StripKernel};
use crate::cpu::simd::float::Float;
use crate::cpu::simd::vector::SimdVector;

/// The points ±5/8 of `F(4×4, 3×3)`; what is computed of either for `A` and `B` is exact.
const NEAR: f64 = 0.625;
/// The points ±3/2.
const FAR: f64 = 1.5;
/// Elements between the numbers of one point and those of the next, for them to differ in their places in the cache.
pub const APART: usize = 16;

/// A kernel that transforms [`inputs`].
pub type InputTransform<T> = unsafe fn(&WinogradTiles<T>, *const T, *mut T);
/// A kernel that transforms [`outputs`].
pub type OutputTransform<T> = unsafe fn(&WinogradTiles<T>, *const T, *const T, *mut T);

/// A kernel that transforms [`gradients`].
pub type GradientTransform<T> = unsafe fn(&WinogradTiles<T>, *const T, *mut T);
/// A kernel that transforms sums of products into [`weight_gradients`].
pub type WeightGradientTransform<T> = unsafe fn(usize, *const T, *mut T);

/// The transforms of a weight gradient: of inputs, of gradients and of the sums.
pub type GradientTransforms<T> = (InputTransform<T>, GradientTransform<T>, WeightGradientTransform<T>);

/// The kernels: the transforms of inputs and of outputs, and the product of matrices with the tiles it computes at once.
#[derive(Clone, Copy)]
pub struct WinogradKernels<T> {
    /// [`inputs`]
    pub inputs: InputTransform<T>,
    /// [`outputs`]
    pub outputs: OutputTransform<T>,
    /// The product.
    pub product: StripKernel<T>,
}

/// The kernels of a weight gradient: the transforms of both maps and of the sums, and the outer products.
#[derive(Clone, Copy)]
pub struct WinogradGradientKernels<T> {
    /// [`inputs`]
    pub inputs: InputTransform<T>,
    /// [`gradients`]
    pub gradients: GradientTransform<T>,
    /// [`weight_gradients`]
    pub weight_gradients: WeightGradientTransform<T>,
    /// The outer products.
    pub product: PatchKernel<T>,
}

/// Tiles of outputs, in rows; distances are in elements.
#[derive(Clone, Copy)]
pub struct WinogradTiles<T> {
    /// Outputs on a side of a square: 2 or 4.
    pub size: usize,
    /// Rows and columns of tiles.
    pub count: [usize; 2],
    /// Channels that are transformed.
    pub channels: usize,
    /// Between pixels one row apart.
    pub down: usize,
    /// Between neighbouring pixels.
    pub step: usize,
    /// From one point's numbers to the next one's: [`point`] of all tiles, or of those that they are among.
    pub point: usize,
    /// Of these.
    pub of: std::marker::PhantomData<T>,
}

impl<T> WinogradTiles<T> {
    pub fn all(&self) -> usize {
        self.count[0] * self.count[1]
    }
}

/// Elements of one point's numbers, for so many tiles and channels.
pub fn point(tiles: usize, channels: usize) -> usize {
    tiles * channels + APART
}

/// Products of a square of outputs.
pub fn points(size: usize) -> usize {
    (size + 2) * (size + 2)
}

/// What `G` divides by at the points ±[`NEAR`] and ±[`FAR`].
const OVER: [f64; 2] = {
    let (near, far) = (NEAR * NEAR, FAR * FAR);
    [2.0 * near * (near - far), 2.0 * far * (far - near)]
};

/// `G` times three numbers; the first `size + 2` count.
pub fn kernel_line<T: Float>(size: usize, [x, y, z]: [T; 3]) -> [T; 6] {
    if size == 2 {
        let half = T::from_f64(0.5);
        return [x, half * (x + y + z), half * (x - y + z), z, T::ZERO, T::ZERO];
    }
    let (near, far) = (NEAR * NEAR, FAR * FAR);
    let at = |point: f64, over: f64| {
        let [one, point, square] = [1.0, point, point * point].map(|power| T::from_f64(power / over));
        (one * x + square * z, point * y)
    };
    let (even, odd) = at(NEAR, OVER[0]);
    let (even_far, odd_far) = at(FAR, OVER[1]);
    [T::from_f64(1.0 / (near * far)) * x, even + odd, even - odd, even_far + odd_far, even_far - odd_far, z]
}

/// `Bᵀ` times the numbers of a line. (Closures, also those of `array::map`, would be compiled without the instructions.)
#[inline(always)]
unsafe fn input_line<L: SimdVector, const SIDE: usize>(d: [L; SIDE]) -> [L; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut line = d;
        if SIDE == 4 {
            line[0] = d[0].subtract(d[2]);
            line[1] = d[1].add(d[2]);
            line[2] = d[2].subtract(d[1]);
            line[3] = d[1].subtract(d[3]);
        } else {
            let (near, far) = (NEAR * NEAR, FAR * FAR);
            let (product, sum) = (constant::<L>(near * far), constant::<L>(-near - far));
            line[0] = d[4].accumulate(sum, d[2]).accumulate(product, d[0]);
            line[5] = d[5].accumulate(sum, d[3]).accumulate(product, d[1]);
            let (even, odd) = (d[4].accumulate(constant(-far), d[2]), d[3].accumulate(constant(-far), d[1]));
            line[1] = even.accumulate(constant(NEAR), odd);
            line[2] = even.accumulate(constant(-NEAR), odd);
            let (even, odd) = (d[4].accumulate(constant(-near), d[2]), d[3].accumulate(constant(-near), d[1]));
            line[3] = even.accumulate(constant(FAR), odd);
            line[4] = even.accumulate(constant(-FAR), odd);
        }
        line
    }
}

/// `Aᵀ` times the numbers of a line; the first two or four count.
#[inline(always)]
unsafe fn output_line<L: SimdVector, const SIDE: usize>(m: [L; SIDE]) -> [L; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (even, odd) = (m[1].add(m[2]), m[1].subtract(m[2]));
        if SIDE == 4 {
            return [m[0].add(even), odd.subtract(m[3]), even, odd];
        }
        let (even_far, odd_far) = (m[3].add(m[4]), m[3].subtract(m[4]));
        [
            m[0].add(even).add(even_far),
            constant::<L>(NEAR).multiply(odd).accumulate(constant(FAR), odd_far),
            constant::<L>(NEAR * NEAR).multiply(even).accumulate(constant(FAR * FAR), even_far),
            m[5].accumulate(constant(NEAR * NEAR * NEAR), odd).accumulate(constant(FAR * FAR * FAR), odd_far),
        ]
    }
}

/// `A` times four gradients.
#[inline(always)]
unsafe fn gradient_line<L: SimdVector>(e: [L; 4]) -> [L; 6] {
    // SAFETY: the caller's promise.
    unsafe {
        let (near, far) = (constant::<L>(NEAR * NEAR), constant::<L>(FAR * FAR));
        let (even, odd) = (e[0].accumulate(near, e[2]), e[1].accumulate(near, e[3]));
        let (even_far, odd_far) = (e[0].accumulate(far, e[2]), e[1].accumulate(far, e[3]));
        [
            e[0],
            even.accumulate(constant(NEAR), odd),
            even.accumulate(constant(-NEAR), odd),
            even_far.accumulate(constant(FAR), odd_far),
            even_far.accumulate(constant(-FAR), odd_far),
            e[3],
        ]
    }
}

/// `Gᵀ` times six sums of products.
#[inline(always)]
unsafe fn weight_gradient_line<L: SimdVector>(m: [L; 6]) -> [L; 3] {
    // SAFETY: the caller's promise.
    unsafe {
        let [near, far] = [1.0 / OVER[0], 1.0 / OVER[1]];
        let (even, odd) = (m[1].add(m[2]), m[1].subtract(m[2]));
        let (even_far, odd_far) = (m[3].add(m[4]), m[3].subtract(m[4]));
        let first = constant::<L>(1.0 / (NEAR * NEAR * FAR * FAR)).multiply(m[0]);
        [
            first.accumulate(constant(near), even).accumulate(constant(far), even_far),
            constant::<L>(near * NEAR).multiply(odd).accumulate(constant(far * FAR), odd_far),
            m[5].accumulate(constant(near * NEAR * NEAR), even).accumulate(constant(far * FAR * FAR), even_far),
        ]
    }
}

#[inline(always)]
unsafe fn constant<L: SimdVector>(value: f64) -> L {
    // SAFETY: the caller's promise.
    unsafe { L::splat(L::Element::from_f64(value)) }
}

/// `Bᵀ d B` of every square of inputs at `x`, whose neighbours overlap by two pixels, into `to`: `[point][square][channel]`.
///
/// # Safety
///
/// The processor has the instructions of `L`, whole vectors of channels, and both pointers are good for all tiles.
#[inline(always)]
pub unsafe fn inputs<L: SimdVector>(s: &WinogradTiles<L::Element>, x: *const L::Element, to: *mut L::Element) {
    // SAFETY: the caller's promise.
    unsafe { if s.size == 2 { inputs_of::<L, 4>(s, x, to) } else { inputs_of::<L, 6>(s, x, to) } }
}

#[inline(always)]
unsafe fn inputs_of<L: SimdVector, const SIDE: usize>(
    s: &WinogradTiles<L::Element>,
    x: *const L::Element,
    to: *mut L::Element,
) {
    // SAFETY: pixels and channels stay within the tiles.
    unsafe {
        let point = s.point;
        for square in 0..s.all() {
            let (row, column) = (square / s.count[1], square % s.count[1]);
            let x = x.add((SIDE - 2) * (row * s.down + column * s.step));
            for channel in (0..s.channels).step_by(L::WIDTH) {
                let mut d = [[L::splat(L::Element::ZERO); SIDE]; SIDE];
                for c in 0..SIDE {
                    let mut line = d[c];
                    for r in 0..SIDE {
                        line[r] = L::load(x.add(r * s.down + c * s.step + channel));
                    }
                    d[c] = input_line(line);
                }
                let to = to.add(square * s.channels + channel);
                for r in 0..SIDE {
                    let mut line = d[0];
                    for c in 0..SIDE {
                        line[c] = d[c][r];
                    }
                    let line = input_line(line);
                    for c in 0..SIDE {
                        line[c].store(to.add((r * SIDE + c) * point));
                    }
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
pub unsafe fn outputs<L: SimdVector>(
    s: &WinogradTiles<L::Element>,
    m: *const L::Element,
    start: *const L::Element,
    y: *mut L::Element,
) {
    // SAFETY: the caller's promise.
    unsafe { if s.size == 2 { outputs_of::<L, 4>(s, m, start, y) } else { outputs_of::<L, 6>(s, m, start, y) } }
}

#[inline(always)]
unsafe fn outputs_of<L: SimdVector, const SIDE: usize>(
    s: &WinogradTiles<L::Element>,
    m: *const L::Element,
    start: *const L::Element,
    y: *mut L::Element,
) {
    // SAFETY: pixels and channels stay within the tiles.
    unsafe {
        let (point, size) = (s.point, SIDE - 2);
        for square in 0..s.all() {
            let (row, column) = (square / s.count[1], square % s.count[1]);
            let y = y.add(size * (row * s.down + column * s.step));
            for channel in (0..s.channels).step_by(L::WIDTH) {
                let m = m.add(square * s.channels + channel);
                let start = L::load(start.add(channel));
                let mut columns = [[start; 4]; SIDE];
                for c in 0..SIDE {
                    let mut line = [start; SIDE];
                    for r in 0..SIDE {
                        line[r] = L::load(m.add((r * SIDE + c) * point));
                    }
                    columns[c] = output_line(line);
                }
                for r in 0..size {
                    let mut line = [start; SIDE];
                    for c in 0..SIDE {
                        line[c] = columns[c][r];
                    }
                    let line = output_line(line);
                    let y = y.add(r * s.down + channel);
                    for c in 0..size {
                        line[c].add(start).store(y.add(c * s.step));
                    }
                }
            }
        }
    }
}

/// `A e Aᵀ` of every square of 4×4 gradients at `e`, into `to`: `[point][square][channel]`.
///
/// # Safety
///
/// As for [`inputs`].
#[inline(always)]
pub unsafe fn gradients<L: SimdVector>(s: &WinogradTiles<L::Element>, e: *const L::Element, to: *mut L::Element) {
    // SAFETY: pixels and channels stay within the tiles.
    unsafe {
        for square in 0..s.all() {
            let (row, column) = (square / s.count[1], square % s.count[1]);
            let e = e.add(4 * (row * s.down + column * s.step));
            for channel in (0..s.channels).step_by(L::WIDTH) {
                let mut columns = [[L::splat(L::Element::ZERO); 6]; 4];
                for c in 0..4 {
                    let mut line = [columns[0][0]; 4];
                    for r in 0..4 {
                        line[r] = L::load(e.add(r * s.down + c * s.step + channel));
                    }
                    columns[c] = gradient_line(line);
                }
                let to = to.add(square * s.channels + channel);
                for r in 0..6 {
                    let line = gradient_line([columns[0][r], columns[1][r], columns[2][r], columns[3][r]]);
                    for c in 0..6 {
                        line[c].store(to.add((r * 6 + c) * s.point));
                    }
                }
            }
        }
    }
}

/// `Gᵀ m G` of sums of products `m`, 36 times [`point`] of `1` and `len`, into `to`: `[tap][len]`.
///
/// # Safety
///
/// The processor has the instructions of `L`, `len` is in whole vectors, and both pointers are good for all of it.
#[inline(always)]
pub unsafe fn weight_gradients<L: SimdVector>(len: usize, m: *const L::Element, to: *mut L::Element) {
    // SAFETY: the caller's promise.
    unsafe {
        let point = point(1, len);
        for at in (0..len).step_by(L::WIDTH) {
            let mut columns = [[L::splat(L::Element::ZERO); 3]; 6];
            for c in 0..6 {
                let mut line = [columns[0][0]; 6];
                for r in 0..6 {
                    line[r] = L::load(m.add((r * 6 + c) * point + at));
                }
                columns[c] = weight_gradient_line(line);
            }
            for r in 0..3 {
                let mut line = [columns[0][0]; 6];
                for c in 0..6 {
                    line[c] = columns[c][r];
                }
                let line = weight_gradient_line(line);
                for c in 0..3 {
                    line[c].store(to.add((r * 3 + c) * len + at));
                }
            }
        }
    }
}
