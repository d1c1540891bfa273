//! The kernels against plain loops in f64 over the same rounded numbers. By every unit that there is.
#![expect(unsafe_code, reason = "calls the kernels")]

use std::sync::mpsc::channel;
use std::thread;

use half::bf16;

use crate::cpu::bf16_tiles::amx::strip::{TileStrip, strip};
use crate::cpu::bf16_tiles::dot_product::strip::{self as dot_strip, DotStrip};
use crate::cpu::bf16_tiles::outer_product::{OuterShape, TileOuter};
use crate::cpu::bf16_tiles::shape::StripShape;
use crate::cpu::bf16_tiles::tile::Tiles;
use crate::cpu::bf16_tiles::unit::Unit;
use rand::{Rng, SeedableRng};

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::simd::dtype::{Element, Plain};
use crate::random::StreamRng;

/// Memory with these numbers.
fn filled<E: Plain>(len: usize, value: impl FnMut() -> E) -> Buffer<E> {
    let mut memory = Buffer::new(len);
    memory.fill_with(value);
    memory
}

/// What there is to test.
fn units() -> impl Iterator<Item = Unit> {
    Unit::ALL.into_iter().filter(|unit| unit.available())
}

/// Test data.
struct Random(StreamRng);

impl Random {
    fn new(seed: u64) -> Self {
        Self(StreamRng::seed_from_u64(seed))
    }
    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }
    fn one_of(&mut self, choices: &[usize]) -> usize {
        choices[self.below(choices.len())]
    }
    /// In -1 to 1.
    fn number(&mut self) -> f32 {
        self.0.random_range(-1.0..1.0)
    }
    fn bf16(&mut self) -> bf16 {
        bf16::narrow(self.number())
    }
}

const NAN: bf16 = bf16::from_bits(0x7fc0);

/// Panics if `got` isn't the sum that was computed, with its sum of magnitudes, in f64.
fn check(got: f32, (sum, magnitude): (f64, f64), what: &str) {
    assert!((f64::from(got) - sum).abs() <= 1e-5 * magnitude, "{what}: {got}, not {sum}");
}

/// Computes a strip from random numbers and checks every output.
fn strip_against_loops(random: &mut Random, shape: StripShape, outputs: usize, pixels: usize, y_gap: usize) {
    let what = format!("{shape:?}, {outputs} outputs, {pixels} pixels");
    let read = shape.read(pixels);
    let x_row = random.one_of(&[32, 48, 33, read]);
    let y_step = shape.outputs + y_gap;
    let end = (shape.kernel_rows - 1) * x_row + read;
    let mut x = filled(end + 64, || random.bf16());
    // Whoever reads beyond computes NaN.
    x[end..].fill(NAN);
    let start = filled(shape.outputs, || random.number());
    let weights: Vec<f32> = (0..outputs * shape.kernel_rows * shape.run).map(|_| random.number()).collect();
    let weight = |o: usize, r: usize, k: usize| weights[(o * shape.kernel_rows + r) * shape.run + k];
    let mut packed = filled(shape.packed_len(), bf16::default);
    shape.pack(outputs, weight, &mut packed);
    const UNTOUCHED: f32 = 12345.0;
    let guard = 64;
    let mut y = filled((shape.written(pixels) - 1) * y_step + shape.outputs + guard, || UNTOUCHED);
    let (inputs, weights) = (x.as_ptr(), packed.as_ptr());
    if shape.unit == Unit::Amx {
        let (start, y) = (start.as_ptr(), y.as_mut_ptr());
        let s = TileStrip { shape, x: inputs, x_row, weights, start, y, y_step, pixels };
        // SAFETY: the buffers have just the sizes that the shape gives.
        unsafe { strip(&Tiles::enter(shape.unit), &s) };
    } else {
        for block in 0..shape.outputs / 16 {
            let s = DotStrip {
                shape,
                x: inputs,
                x_row,
                x_down: 0,
                weights: packed[block * shape.column()..].as_ptr(),
                start: start[block * 16..].as_ptr(),
                y: y[block * 16..].as_mut_ptr(),
                y_step,
                y_down: 0,
                rows: 1,
                columns: pixels,
            };
            // SAFETY: as above, and the processor has the unit.
            unsafe { dot_strip::strip(&s) };
        }
    }
    for p in 0..pixels {
        for o in 0..shape.outputs {
            let mut sum = f64::from(start[o]);
            let mut magnitude = sum.abs();
            if o < outputs {
                for r in 0..shape.kernel_rows {
                    for k in 0..shape.run {
                        let x: f64 = x[p * shape.x_step + r * x_row + k].widen();
                        let product = x * <bf16 as Element<f64>>::widen(bf16::narrow(weight(o, r, k)));
                        sum += product;
                        magnitude += product.abs();
                    }
                }
            }
            check(y[p * y_step + o], (sum, magnitude), &format!("{what}: pixel {p}, output {o}"));
        }
    }
    for p in pixels..shape.written(pixels) {
        let outputs = &y[p * y_step..][..shape.outputs];
        assert!(outputs.iter().all(|y| !y.is_nan()), "{what}: read too far for pixel {p}");
    }
    // Between the pixels and behind the last written one nothing changes.
    let untouched = |i: usize| i % y_step >= shape.outputs || i / y_step >= shape.written(pixels);
    for (i, value) in y.iter().enumerate() {
        assert!(!untouched(i) || *value == UNTOUCHED, "{what}: {i} was written");
    }
}

#[test]
fn strips_agree_with_plain_loops() {
    units().for_each(strips_by);
}

fn strips_by(unit: Unit) {
    let mut random = Random::new(1);
    for pixels in [1, 2, 3, 4, 5, 6, 11, 15, 16, 17, 31, 32, 33, 47, 64, 65, 80, 81, 97, 113, 129, 161] {
        for (channels, stride, columns, outputs) in [(16, 1, 3, 16), (32, 1, 3, 32), (32, 2, 1, 48), (48, 1, 2, 16)] {
            let shape =
                StripShape { unit, x_step: stride * channels, kernel_rows: 2, run: columns * channels, outputs };
            strip_against_loops(&mut random, shape, outputs, pixels, 0);
        }
    }
    for _ in 0..80 {
        let channels = random.one_of(&[16, 32, 48, 64, 80, 128]);
        let outputs = random.one_of(&[16, 32, 48, 80]);
        let shape = StripShape {
            unit,
            x_step: random.one_of(&[1, 2, 3]) * channels,
            kernel_rows: random.one_of(&[1, 2, 3, 5]),
            run: random.one_of(&[1, 2, 3, 5]) * channels,
            outputs,
        };
        let real = outputs - random.below(16);
        let (pixels, gap) = (1 + random.below(100), random.one_of(&[0, 0, 16, 5]));
        strip_against_loops(&mut random, shape, real, pixels, gap);
    }
    // Steps and runs that are no multiple of anything.
    for (x_step, run) in [(7, 7), (1, 1), (17, 40), (33, 3)] {
        let shape = StripShape { unit, x_step, kernel_rows: 3, run, outputs: 32 };
        strip_against_loops(&mut random, shape, 29, 40, 0);
    }
}

/// Puts two rounds of images and checks that the sums grew by what they contribute.
fn outer_against_loops(random: &mut Random, unit: Unit, shape: &OuterShape, images: usize) {
    let s = *shape;
    let outer = TileOuter::new(unit, shape);
    let canvas_rows = (s.rows - 1) * s.stride + s.kernel_rows;
    let used = ((s.columns - 1) * s.stride + s.kernel_columns) * s.channels;
    let mut sums = filled(outer.sums(), || random.number());
    let before = sums.to_vec();
    // What scratch memory holds at first doesn't matter, even NaN.
    let mut scratch = filled(outer.scratch(), || NAN);
    let mut all = Vec::new();
    for _ in 0..2 {
        for image in 0..images {
            let length = s.rows * s.columns * s.outputs;
            // Whoever reads elsewhere computes NaN.
            let mut x = vec![NAN; canvas_rows * s.pitch + 64];
            let mut dy = vec![NAN; length + 64];
            x.chunks_mut(s.pitch).take(canvas_rows).for_each(|row| row[..used].fill_with(|| random.bf16()));
            dy[..length].fill_with(|| random.bf16());
            // SAFETY: the buffers have the sizes that are asked for.
            unsafe { outer.put(image, x.as_ptr(), dy.as_ptr(), scratch.as_mut_ptr()) };
            all.push((x, dy));
        }
        let sums = sums.as_mut_ptr();
        // SAFETY: the same.
        unsafe { outer.add(&Tiles::enter(unit), images, scratch.as_ptr(), sums) };
    }
    for (i, &got) in sums.iter().enumerate() {
        let (channel, output) = (i % s.channels, i / s.channels % s.outputs);
        let tap = i / s.channels / s.outputs;
        let (kernel_row, kernel_column) = (tap / s.kernel_columns, tap % s.kernel_columns);
        let mut sum = f64::from(before[i]);
        let mut magnitude = sum.abs();
        for (x, dy) in &all {
            for row in 0..s.rows {
                for column in 0..s.columns {
                    let at = (row * s.stride + kernel_row) * s.pitch
                        + (column * s.stride + kernel_column) * s.channels
                        + channel;
                    let dy = dy[(row * s.columns + column) * s.outputs + output];
                    let product = <bf16 as Element<f64>>::widen(x[at]) * <bf16 as Element<f64>>::widen(dy);
                    sum += product;
                    magnitude += product.abs();
                }
            }
        }
        check(got, (sum, magnitude), &format!("{unit:?}, {s:?}, {images} images: element {i}"));
    }
}

#[test]
fn outer_products_agree_with_plain_loops() {
    units().for_each(outer_products_by);
}

fn outer_products_by(unit: Unit) {
    let mut random = Random::new(2);
    for (rows, columns) in [(32, 32), (16, 16), (8, 8), (7, 5), (1, 1), (5, 7), (2, 3), (1, 16), (33, 1), (4, 4)] {
        for (kernel, stride) in [(1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (5, 1), (5, 2)] {
            if rows * columns > 64 && kernel > 3 {
                continue; // slow where tests aren't optimised
            }
            let pitch = ((columns - 1) * stride + kernel) * 16;
            let shape = OuterShape {
                channels: 16,
                outputs: 16,
                kernel_rows: kernel,
                kernel_columns: kernel,
                stride,
                rows,
                columns,
                pitch,
                images: 1,
            };
            outer_against_loops(&mut random, unit, &shape, 1);
        }
    }
    for _ in 0..40 {
        let (channels, stride) = (random.one_of(&[16, 32, 48, 80]), random.one_of(&[1, 2, 3]));
        let (kernel_columns, columns) = (random.one_of(&[1, 2, 3, 5]), 1 + random.below(9));
        let images = 1 + random.below(3);
        let shape = OuterShape {
            channels,
            outputs: random.one_of(&[16, 32, 48, 80]),
            kernel_rows: random.one_of(&[1, 2, 3, 4, 5]),
            kernel_columns,
            stride,
            rows: 1 + random.below(9),
            columns,
            pitch: ((columns - 1) * stride + kernel_columns) * channels + random.one_of(&[0, 8, 160]),
            images,
        };
        let used = 1 + random.below(images);
        outer_against_loops(&mut random, unit, &shape, used);
    }
}

/// The grant is the process's: it covers threads from before and after it was asked for. (With the other tests in
/// the same process somebody may have asked before; alone, this test is the first.)
#[test]
fn threads_of_any_age_may_use_tiles() {
    fn use_tiles() {
        let unit = Unit::Amx;
        let shape = StripShape { unit, x_step: 32, kernel_rows: 1, run: 32, outputs: 16 };
        strip_against_loops(&mut Random::new(3), shape, 16, 20, 0);
    }
    let (send, receive) = channel::<bool>();
    let early = thread::spawn(move || {
        if receive.recv().expect("the test sends") {
            use_tiles();
        }
    });
    let there = Unit::Amx.available();
    send.send(there).expect("the thread waits");
    early.join().expect("an earlier thread may use tiles");
    if there {
        use_tiles();
        thread::spawn(use_tiles).join().expect("a later thread may use tiles");
    }
}

#[test]
fn tiles_can_be_entered_again_while_held() {
    let unit = Unit::Amx;
    if !unit.available() {
        return;
    }
    let shape = StripShape { unit, x_step: 32, kernel_rows: 1, run: 32, outputs: 16 };
    let outer = Tiles::enter(unit);
    strip_against_loops(&mut Random::new(4), shape, 16, 20, 0);
    let inner = Tiles::enter(unit);
    drop(outer);
    strip_against_loops(&mut Random::new(5), shape, 16, 20, 0);
    drop(inner);
    strip_against_loops(&mut Random::new(6), shape, 16, 20, 0);
}
