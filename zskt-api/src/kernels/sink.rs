//! What becomes of the kernels' results, row by row, while they are still in the first-level cache.

#![expect(unsafe_code, reason = "rows are written by tasks that interleave")]

use super::element::{Bf16, Element, Numbers, NumbersMut};
use super::instructions::{Instructions, Pass};
use super::real::Real;
use super::source::Activation;

/// Channels that are worked on at once, in registers.
const LANES: usize = 16;

/// What is added to a result.
#[derive(Clone, Copy)]
pub enum Plus<'a, T> {
    /// Nothing.
    Nothing,
    /// The same element of another map, before anything else is done.
    Map(Numbers<'a, T>),
    /// What its place holds already, of which nothing else is to be done.
    Itself,
}

/// What is done with a result on its way to memory.
#[derive(Clone, Copy)]
pub enum Then<'a, T> {
    /// Nothing more.
    Store,
    /// Per channel, sums of the elements and of their squares.
    Moments,
    /// The result is a gradient behind the activation of `x`: stored is the gradient in front of it, `g'`; the sums are of
    /// `g'` and of `g' · (x − mean)`.
    Through {
        /// The map in front of the activation.
        x: Numbers<'a, T>,
        /// The activation.
        activation: &'a Activation<T>,
        /// Per channel, what the sums take from `x`.
        mean: &'a [T],
    },
}

/// What becomes of results. All maps that take part have the precision of the one that is written.
#[derive(Clone, Copy)]
pub struct Sink<'a, T> {
    /// What is added.
    pub plus: Plus<'a, T>,
    /// What is done then.
    pub then: Then<'a, T>,
}

impl<T> Sink<'_, T> {
    /// Stores results as they are.
    pub const STORE: Self = Sink { plus: Plus::Nothing, then: Then::Store };

    /// Whether all maps that take part have `len` elements.
    pub fn fits(&self, len: usize) -> bool {
        let plus = if let Plus::Map(map) = &self.plus { map.len() == len } else { true };
        plus && if let Then::Through { x, .. } = &self.then { x.len() == len } else { true }
    }
}

/// Two sums for each channel, in double precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// The first sum of each channel.
    pub first: Vec<f64>,
    /// The second sum of each channel.
    pub second: Vec<f64>,
}

impl Sums {
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
pub enum Map<T> {
    /// Numbers as they are computed with.
    Full(*mut T),
    /// Numbers in half the memory.
    Half(*mut Bf16),
}

// SAFETY: whoever writes through the pointer answers for the parts being disjoint; numbers may change threads.
unsafe impl<T: Send> Send for Map<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Map<T> {}

impl<T> Map<T> {
    /// The map, and how many elements it has.
    pub fn of(numbers: NumbersMut<T>) -> (Self, usize) {
        match numbers {
            NumbersMut::Full(numbers) => (Self::Full(numbers.as_mut_ptr()), numbers.len()),
            NumbersMut::Half(numbers) => (Self::Half(numbers.as_mut_ptr()), numbers.len()),
        }
    }
}

/// A row of results.
pub struct Row<'a, T> {
    /// The results, pixel by pixel.
    pub results: &'a [T],
    /// Between neighbouring pixels of the results.
    pub pitch: usize,
    /// Pixels in the row.
    pub pixels: usize,
    /// The map the row belongs to.
    pub map: Map<T>,
    /// The first of its elements in the map.
    pub at: usize,
    /// Between neighbouring pixels of the row in the map.
    pub step: usize,
    /// The channels to work on: the first, and the one after the last.
    pub channels: [usize; 2],
    /// The sums so far.
    pub sums: &'a mut Sums,
}

impl<T: Real> Sink<'_, T> {
    /// Finishes a row.
    ///
    /// # Safety
    ///
    /// The map has the row's pixels, and nobody else touches these channels of theirs meanwhile.
    pub unsafe fn finish(&self, set: Instructions, row: Row<'_, T>) {
        set.run(self, row);
    }
}

impl<T: Real> Pass<Row<'_, T>> for Sink<'_, T> {
    #[inline(always)]
    fn run(&self, row: Row<'_, T>) {
        match row.map {
            Map::Full(map) => Typed { sink: self, map, of: full }.row(row),
            Map::Half(map) => Typed { sink: self, map, of: half }.row(row),
        }
    }
}

#[inline(always)]
fn full<T>(numbers: Numbers<'_, T>) -> &[T] {
    let Numbers::Full(numbers) = numbers else { unreachable!("all maps of a sink have one precision") };
    numbers
}

#[inline(always)]
fn half<T>(numbers: Numbers<'_, T>) -> &[Bf16] {
    let Numbers::Half(numbers) = numbers else { unreachable!("all maps of a sink have one precision") };
    numbers
}

/// A sink whose maps hold elements of a known type.
struct Typed<'a, T, E> {
    sink: &'a Sink<'a, T>,
    map: *mut E,
    of: fn(Numbers<'a, T>) -> &'a [E],
}

impl<T: Real, E: Element<T>> Typed<'_, T, E> {
    #[inline(always)]
    fn row(&self, mut row: Row<'_, T>) {
        let [mut first, end] = row.channels;
        while first + LANES <= end {
            self.block(&mut row, first, LANES);
            first += LANES;
        }
        if first < end {
            self.block(&mut row, first, end - first);
        }
    }

    /// The channels from `first` on, `count` of them, at most [`LANES`].
    #[inline(always)]
    fn block(&self, row: &mut Row<'_, T>, first: usize, count: usize) {
        let mut totals = [[0.0; LANES]; 2];
        let ([scale, shift, mean], slope) = match &self.sink.then {
            Then::Through { activation, mean, .. } => {
                let values = [activation.scale.values(), activation.shift.values(), mean];
                (values.map(|values| lanes(&values[first..], count)), activation.slope)
            }
            _ => ([[T::ZERO; LANES]; 3], T::ZERO),
        };
        for pixel in 0..row.pixels {
            let mut values: [T; LANES] = lanes(&row.results[pixel * row.pitch + first..], count);
            let at = row.at + pixel * row.step + first;
            // SAFETY: the caller has the pixel, and these channels of it for itself.
            let place = unsafe { std::slice::from_raw_parts_mut(self.map.add(at), count) };
            if let Plus::Map(map) = &self.sink.plus {
                plus(&mut values, &(self.of)(*map)[at..], count);
            }
            match &self.sink.then {
                Then::Store => {}
                Then::Moments => {
                    for lane in 0..LANES {
                        // As it will be read.
                        let value = E::narrow(values[lane]).widen().to_f64();
                        totals[0][lane] += value;
                        totals[1][lane] += value * value;
                    }
                }
                Then::Through { x, .. } => {
                    let x: [T; LANES] = lanes(&(self.of)(*x)[at..], count);
                    for lane in 0..LANES {
                        values[lane] = Activation::through(values[lane], x[lane], scale[lane], shift[lane], slope);
                        let value = values[lane].to_f64();
                        totals[0][lane] += value;
                        totals[1][lane] += value * (x[lane] - mean[lane]).to_f64();
                    }
                }
            }
            if let Plus::Itself = self.sink.plus {
                plus(&mut values, place, count);
            }
            if let Some(place) = place.first_chunk_mut::<LANES>() {
                *place = values.map(E::narrow);
            } else {
                place.iter_mut().zip(values).for_each(|(place, value)| *place = E::narrow(value));
            }
        }
        if !matches!(self.sink.then, Then::Store) {
            let Sums { first: sums, second } = &mut *row.sums;
            for lane in 0..count {
                sums[first + lane] += totals[0][lane];
                second[first + lane] += totals[1][lane];
            }
        }
    }
}

#[inline(always)]
fn plus<T: Real, E: Element<T>>(values: &mut [T; LANES], added: &[E], count: usize) {
    let added: [T; LANES] = lanes(added, count);
    values.iter_mut().zip(added).for_each(|(value, added)| *value += added);
}

/// Up to [`LANES`] elements, then zeros.
#[inline(always)]
fn lanes<T: Real, E: Element<T>>(from: &[E], count: usize) -> [T; LANES] {
    if count == LANES {
        let all: &[E; LANES] = from.first_chunk().expect("there are as many");
        return all.map(E::widen);
    }
    let mut lanes = [T::ZERO; LANES];
    lanes.iter_mut().zip(&from[..count]).for_each(|(lane, value)| *lane = value.widen());
    lanes
}
