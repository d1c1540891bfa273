//! What becomes of the kernels' results, row by row, while they are still in the first-level cache.

#![expect(unsafe_code, reason = "rows are written by tasks that interleave")]

use half::bf16;

use crate::cpu::kernels::prologue::Activation;
use crate::cpu::simd::dtype::{MapSlice, MapSliceMut};
use crate::cpu::simd::float::Float;
use crate::cpu::simd::vector::{SimdLoadStore, SimdVector};

/// What is added to a result.
#[derive(Clone, Copy)]
pub enum Residual<'a, T> {
    /// Nothing.
    None,
    /// The same element of another map, before anything else is done.
    Add(MapSlice<'a, T>),
    /// What its place holds already, of which nothing else is to be done.
    Accumulate,
}

/// What is done with a result on its way to memory.
#[derive(Clone, Copy)]
pub enum EpilogueOp<'a, T> {
    /// Nothing more.
    Store,
    /// Per channel, sums of the elements, before they are rounded to the map's precision, and of their squares.
    Moments,
    /// The result is a gradient behind the activation of `x`: stored is the gradient in front of it, `g'`; the sums are of
    /// `g'` and of `g' · (x − mean)`.
    ActivationGradient {
        /// The map in front of the activation.
        x: MapSlice<'a, T>,
        /// The activation.
        activation: &'a Activation<T>,
        /// Per channel, what the sums take from `x`.
        mean: &'a [T],
    },
}

/// What becomes of results. All maps that take part have the precision of the one that is written.
#[derive(Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// What is added.
    pub residual: Residual<'a, T>,
    /// What is done then.
    pub op: EpilogueOp<'a, T>,
}

impl<T> Epilogue<'_, T> {
    /// Stores results as they are.
    pub const STORE: Self = Epilogue { residual: Residual::None, op: EpilogueOp::Store };

    /// Whether all maps that take part have `len` elements.
    pub fn fits(&self, len: usize) -> bool {
        let plus = if let Residual::Add(map) = &self.residual { map.len() == len } else { true };
        plus && if let EpilogueOp::ActivationGradient { x, .. } = &self.op { x.len() == len } else { true }
    }
}

/// Two sums for each channel, in double precision.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSums {
    /// The first sum of each channel.
    pub first: Vec<f64>,
    /// The second sum of each channel.
    pub second: Vec<f64>,
}

impl ChannelSums {
    /// Nothing summed yet.
    pub fn zeros(channels: usize) -> Self {
        Self { first: vec![0.0; channels], second: vec![0.0; channels] }
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        let pairs = [(&mut self.first, &other.first), (&mut self.second, &other.second)];
        for (sums, others) in pairs {
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        }
    }
}

/// The map that results go to, shared by tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
pub enum OutputPointer<T> {
    /// Numbers as they are computed with.
    Full(*mut T),
    /// Numbers in half the memory.
    Half(*mut bf16),
}

// SAFETY: whoever writes through the pointer answers for the parts being disjoint; numbers may change threads.
unsafe impl<T: Send> Send for OutputPointer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for OutputPointer<T> {}

impl<T> OutputPointer<T> {
    /// The map, and how many elements it has.
    pub fn of(numbers: MapSliceMut<T>) -> (Self, usize) {
        match numbers {
            MapSliceMut::Full(numbers) => (Self::Full(numbers.as_mut_ptr()), numbers.len()),
            MapSliceMut::Half(numbers) => (Self::Half(numbers.as_mut_ptr()), numbers.len()),
        }
    }
}

/// Rows of results.
pub struct OutputRows<'a, T> {
    /// The results, pixel by pixel.
    pub results: &'a [T],
    /// Between neighbouring pixels of the results.
    pub pitch: usize,
    /// Between pixels of the results one row apart.
    pub row: usize,
    /// Rows.
    pub rows: usize,
    /// Pixels in a row.
    pub pixels: usize,
    /// The map the rows belong to.
    pub map: OutputPointer<T>,
    /// The first of their elements in the map.
    pub at: usize,
    /// Between neighbouring pixels of a row in the map.
    pub step: usize,
    /// Between pixels of the map one row apart.
    pub down: usize,
    /// The channels to work on: the first, and the one after the last.
    pub channels: [usize; 2],
    /// The sums so far.
    pub sums: &'a mut ChannelSums,
}

/// Elements of the widest vector.
pub const WIDEST: usize = 16;

/// Which [`EpilogueOp`], without its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpilogueKind {
    /// [`EpilogueOp::Store`]
    Store,
    /// [`EpilogueOp::Moments`]
    Moments,
    /// [`EpilogueOp::ActivationGradient`]
    ActivationGradient,
}

/// A vector of channels of some rows, for the kernels.
pub struct ChannelBlock<'a, T, E> {
    pub results: *const T,
    pub pitch: usize,
    pub row: usize,
    pub map: *mut E,
    pub step: usize,
    pub down: usize,
    pub rows: usize,
    pub pixels: usize,
    /// What is added before, or null.
    pub residual: *const E,
    /// Whether what is there is added after.
    pub itself: bool,
    /// The map in front of the activation, or null.
    pub x: *const E,
    /// Scale, shift and mean.
    pub channels: &'a [[T; WIDEST]; 3],
    /// Of the activation, below zero.
    pub slope: T,
    /// Of the activation, from where on it is constant.
    pub limit: T,
    /// Channels that exist.
    pub count: usize,
    pub totals: &'a mut [[f64; WIDEST]; 2],
}

/// A kernel that finishes a [`ChannelBlock`].
pub type FinishKernel<T, E> = unsafe fn(&mut ChannelBlock<'_, T, E>);

/// Finishes a block: `THEN` is an [`EpilogueKind`]; `ALL` is whether all channels of the vector exist.
///
/// Sums are taken in the type of the results over the block alone, and in double precision over blocks. Those of
/// [`EpilogueKind::Moments`] are of differences from the first pixel, lest a large mean drown the variance.
///
/// # Safety
///
/// The processor has the instructions of `L`, and the pointers are good for all pixels of the block.
#[inline(always)]
pub unsafe fn finish<L: SimdVector, E: SimdLoadStore<L>, const THEN: u8, const ALL: bool>(
    block: &mut ChannelBlock<'_, L::Element, E>,
) {
    // SAFETY: pixels and channels stay within the block.
    unsafe {
        let b = &*block;
        let load = |from: *const E| if ALL { E::load(from) } else { load_some(from, b.count) };
        let zero = L::splat(L::Element::ZERO);
        // Not by closures, which would be compiled without the instructions.
        let [scale, shift, mean] = b.channels;
        let (scale, shift, mean) = (L::load(scale.as_ptr()), L::load(shift.as_ptr()), L::load(mean.as_ptr()));
        let (slope, limit) = (L::splat(b.slope), L::splat(b.limit));
        let (mut first, mut second, mut pivot) = (zero, zero, zero);
        for row in 0..b.rows {
            for pixel in 0..b.pixels {
                let results = b.results.add(row * b.row + pixel * b.pitch);
                let at = row * b.down + pixel * b.step;
                let mut value = if ALL { L::load(results) } else { load_results(results, b.count) };
                if !b.residual.is_null() {
                    value = value.add(load(b.residual.add(at)));
                }
                if THEN == EpilogueKind::Moments as u8 {
                    if row == 0 && pixel == 0 {
                        pivot = value;
                    }
                    let difference = value.subtract(pivot);
                    first = first.add(difference);
                    second = second.accumulate(difference, difference);
                }
                if THEN == EpilogueKind::ActivationGradient as u8 {
                    let x = load(b.x.add(at));
                    // In the order in which the forward pass computes it, for both to be on one side of zero.
                    let before = scale.multiply(x).add(shift);
                    value = before.select(value, slope.multiply(value));
                    value = limit.subtract(before).select(value, zero);
                    first = first.add(value);
                    second = second.accumulate(value, x.subtract(mean));
                }
                let place = b.map.add(at);
                if b.itself {
                    value = value.add(load(place));
                }
                if ALL { E::store(value, place) } else { store_some(value, place, b.count) }
            }
        }
        if THEN != EpilogueKind::Store as u8 {
            let [mut firsts, mut seconds, mut pivots] = [[L::Element::ZERO; WIDEST]; 3];
            first.store(firsts.as_mut_ptr());
            second.store(seconds.as_mut_ptr());
            pivot.store(pivots.as_mut_ptr());
            let pixels = (b.rows * b.pixels) as f64;
            let [first_totals, second_totals] = &mut *block.totals;
            for lane in 0..L::WIDTH {
                let (first, second, pivot) = (firsts[lane].to_f64(), seconds[lane].to_f64(), pivots[lane].to_f64());
                first_totals[lane] = first + pixels * pivot;
                second_totals[lane] = second + pivot * (2.0 * first + pixels * pivot);
            }
        }
    }
}

/// The first `count` lanes of a vector, then zeros.
///
/// # Safety
///
/// The processor has the instructions of `L`, and there are `count` elements at `from`.
#[inline(always)]
unsafe fn load_some<L: SimdVector, E: SimdLoadStore<L>>(from: *const E, count: usize) -> L {
    let mut memory = [E::default(); WIDEST];
    // SAFETY: the array has room for the widest vector, the caller has the elements.
    unsafe {
        std::ptr::copy_nonoverlapping(from, memory.as_mut_ptr(), count);
        E::load(memory.as_ptr())
    }
}

/// The first `count` results, then zeros.
///
/// # Safety
///
/// The processor has the instructions of `L`, and there are `count` results at `from`.
#[inline(always)]
unsafe fn load_results<L: SimdVector>(from: *const L::Element, count: usize) -> L {
    let mut memory = [L::Element::ZERO; WIDEST];
    // SAFETY: the array has room for the widest vector, the caller has the results.
    unsafe {
        std::ptr::copy_nonoverlapping(from, memory.as_mut_ptr(), count);
        L::load(memory.as_ptr())
    }
}

/// Writes the first `count` lanes of a vector.
///
/// # Safety
///
/// The processor has the instructions of `L`, and there is room for `count` elements at `to`.
#[inline(always)]
unsafe fn store_some<L: SimdVector, E: SimdLoadStore<L>>(vector: L, to: *mut E, count: usize) {
    let mut memory = [E::default(); WIDEST];
    // SAFETY: the array has room for the widest vector, the caller for the elements.
    unsafe {
        E::store(vector, memory.as_mut_ptr());
        std::ptr::copy_nonoverlapping(memory.as_ptr(), to, count);
    }
}
