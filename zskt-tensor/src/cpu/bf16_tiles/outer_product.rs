//! Sums of outer products over pixels: the gradient of a convolution's weights.
#![expect(unsafe_code, reason = "reads and writes memory through pointers, with AVX-512")]

use std::ptr::{null, null_mut};

use half::bf16;

use std::arch::x86_64::*;

use crate::cpu::bf16_tiles::tile::{Block, DEPTH, PAIR, ROWS, TILE, Tiles, narrow_block};
use crate::cpu::bf16_tiles::unit::Unit;

/// A convolution whose weight gradient [`TileOuter`] computes. Lengths are in elements unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterShape {
    /// Input channels, a multiple of 16.
    pub channels: usize,
    /// Output channels, a multiple of 16.
    pub outputs: usize,
    /// Rows of the kernel, at least 1.
    pub kernel_rows: usize,
    /// Columns of the kernel, at least 1.
    pub kernel_columns: usize,
    /// Pixels of the padded input, in both directions, from an output pixel to the next; at least 1.
    pub stride: usize,
    /// Rows of output pixels, at least 1. An "image" here may as well be a band of rows of one.
    pub rows: usize,
    /// Columns of output pixels, at least 1.
    pub columns: usize,
    /// Elements between neighbouring rows of the padded input.
    pub pitch: usize,
    /// How many images one summation may take in, at least 1: the more, the less often the sums travel to the
    /// registers and back, which matters where an image has few pixels and the sums are many.
    pub images: usize,
}

/// Sums of outer products over pixels, in two steps: [`put`](Self::put) lays an image's operands down in scratch
/// memory, [`add`](Self::add) adds the products of all images that lie there to the sums.
///
/// Output pixels count in pairs of neighbouring columns (an odd row ends with half a pair); a tile product of AMX takes
/// 16 pairs. The gradient of the output goes into left tiles, for AMX transposed, `[16 outputs][image][16
/// pairs][output][32 pixels]`, for dot products `[16 outputs][image][pair][output][2]`. The input goes pair by pair into
/// right tiles, one copy for every column of the kernel, so that a tile's rows never straddle cache lines (which would
/// make loads three times as slow) and another row of the kernel only begins some pairs later: `[kernel column][16
/// channels][image][row mod stride][row div stride][pair][channel][2]`.
///
/// How many pixels to `put` before an `add` matters: with few, the sums' way to the registers and back prevails, with
/// many the operands leave the caches. On 8x8 maps with 64 or 128 channels, four images at a time are 1.5 times as
/// fast as one; a 32x32 map is fastest in bands of 4 rows with 16 channels and outputs (1.3 times), whole with 16 to
/// 64, and in bands of 8 rows with 128 (1.2 times, a scratch memory of 1 MB otherwise).
#[derive(Clone, Copy, Debug)]
pub struct TileOuter {
    unit: Unit,
    shape: OuterShape,
    /// Pairs in a row of output pixels.
    row: usize,
    /// Pairs per image; with AMX, those of whole tile products.
    pairs: usize,
    /// Rows of the kernel taken modulo the stride.
    phases: usize,
    /// Pairs of one phase, with those that products read behind the last row.
    phase: usize,
}

impl TileOuter {
    /// # Panics
    /// If the shape isn't as its fields say.
    pub fn new(unit: Unit, shape: &OuterShape) -> Self {
        let s = *shape;
        assert!(s.channels.is_multiple_of(ROWS) && s.outputs.is_multiple_of(ROWS), "channels of {s:?}");
        assert!(s.kernel_rows.min(s.kernel_columns).min(s.stride) > 0, "kernel of {s:?}");
        assert!(s.rows.min(s.columns).min(s.images) > 0, "pixels of {s:?}");
        let row = s.columns.div_ceil(2);
        let pairs = match unit {
            Unit::Amx => (s.rows * row).next_multiple_of(ROWS),
            Unit::DotProducts => s.rows * row,
        };
        let phase = (s.kernel_rows - 1) / s.stride * row + pairs;
        Self { unit, shape: s, row, pairs, phases: s.stride.min(s.kernel_rows), phase }
    }

    /// bf16 elements of scratch memory, aligned to 64 bytes.
    pub fn scratch(&self) -> usize {
        let s = &self.shape;
        s.outputs / ROWS * self.left_column() + s.kernel_columns * s.channels / ROWS * self.right_column()
    }

    /// Elements of the sums, `[kernel row][kernel column][output][channel]`; fast if aligned to 64 bytes.
    pub fn sums(&self) -> usize {
        let s = &self.shape;
        s.kernel_rows * s.kernel_columns * s.outputs * s.channels
    }

    /// Elements of the left tiles of 16 outputs, of all images.
    fn left_column(&self) -> usize {
        self.shape.images * self.pairs * PAIR
    }

    /// Elements of the right tiles of 16 channels and one column of the kernel, of an image.
    fn right_image(&self) -> usize {
        self.phases * self.phase * PAIR
    }

    /// The same of all images.
    fn right_column(&self) -> usize {
        self.shape.images * self.right_image()
    }

    /// Lays an image's operands down in its place in the scratch memory.
    ///
    /// `x` is the padded input, `[row][pitch / channels][channels]`, which begins with the input of the first output pixel
    /// under the first element of the kernel; `dy` is the gradient of the output, `[rows][columns][outputs]`, dense.
    ///
    /// # Panics
    /// If there's no place `image`.
    ///
    /// # Safety
    /// - The processor has AVX-512, which every [`Unit`] comes with.
    /// - Of the padded input, `(rows - 1) * stride + kernel_rows` rows of `((columns - 1) * stride + kernel_columns) *
    ///   channels` elements can be read, of `dy` all; nothing beyond is.
    /// - `scratch` is aligned to 64 bytes and has [`scratch`](Self::scratch) elements, which nobody else uses
    ///   meanwhile.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn put(&self, image: usize, x: *const bf16, dy: *const bf16, scratch: *mut bf16) {
        assert!(image < self.shape.images, "place {image} of {}", self.shape.images);
        debug_assert!(scratch.addr().is_multiple_of(64));
        // SAFETY: the caller vouches for the memory; both offsets lie within the scratch memory.
        unsafe {
            self.put_left(dy, scratch.add(image * self.pairs * PAIR));
            let right = scratch.add(self.shape.outputs / ROWS * self.left_column());
            self.put_right(x, right.add(image * self.right_image()));
        }
    }

    /// Copies or transposes the output's gradient; `to` is the image's first left tile.
    #[inline(always)]
    unsafe fn put_left(&self, dy: *const bf16, to: *mut bf16) {
        let s = &self.shape;
        if self.unit == Unit::DotProducts {
            for (row, output) in
                (0..s.rows).flat_map(|row| (0..s.outputs).step_by(ROWS).map(move |output| (row, output)))
            {
                // SAFETY: the row and the outputs exist, and so do the row's pairs in the outputs' tile.
                unsafe {
                    let to = to.add(output / ROWS * self.left_column() + row * self.row * PAIR);
                    put_row(dy.add(row * s.columns * s.outputs + output), s.outputs, s.columns, to);
                }
            }
            return;
        }
        let pairs = s.rows * self.row;
        for step in 0..self.pairs / ROWS {
            for output in (0..s.outputs).step_by(ROWS) {
                // SAFETY: pair `j` is within the image where `j < pairs`: its first pixel is in column `2 * (j mod
                // row) < columns`, its second is read only if there is one. The tile is within its column.
                unsafe {
                    let mut tile = [_mm512_setzero_si512(); ROWS];
                    if s.columns.is_multiple_of(2) && (step + 1) * ROWS <= pairs {
                        let from = dy.add(step * DEPTH * s.outputs + output);
                        for (i, row) in tile.iter_mut().enumerate() {
                            *row = pair(from.add(2 * i * s.outputs), s.outputs);
                        }
                    } else {
                        for (j, row) in (step * ROWS..pairs).zip(&mut tile) {
                            let column = 2 * (j % self.row);
                            let from = dy.add((j / self.row * s.columns + column) * s.outputs + output);
                            *row = if column + 1 < s.columns { pair(from, s.outputs) } else { half(from) };
                        }
                    }
                    transpose(&mut tile);
                    let to = to.add(output / ROWS * self.left_column() + step * TILE);
                    for (i, row) in tile.iter().enumerate() {
                        _mm512_store_si512(to.add(i * DEPTH).cast(), *row);
                    }
                }
            }
        }
    }

    /// Copies the input, pair by pair; `to` is the image's first right tile.
    #[inline(always)]
    unsafe fn put_right(&self, x: *const bf16, to: *mut bf16) {
        let s = &self.shape;
        let tiles = s.kernel_columns * s.channels / ROWS;
        for phase in 0..self.phases {
            // The rows that some row of the kernel reads in this phase.
            let rows = s.rows + (s.kernel_rows - 1 - phase) / s.stride;
            for row in 0..rows {
                for tile in 0..tiles {
                    // Of a kernel column's channels, then the next column's: the way they lie in the padded input.
                    let from = (row * s.stride + phase) * s.pitch + tile * ROWS;
                    let to_row = tile * self.right_column() + (phase * self.phase + row * self.row) * PAIR;
                    // SAFETY: the padded input has row `(rows - 1) * stride + phase`, and the columns of all pairs but the
                    // second of an odd row's last, which isn't read. A phase has room for `phase` pairs, at least
                    // `rows * row`.
                    unsafe { put_row(x.add(from), s.stride * s.channels, s.columns, to.add(to_row)) };
                }
            }
            for tile in 0..tiles {
                let end = tile * self.right_column() + (phase * self.phase + rows * self.row) * PAIR;
                // Left tiles hold zeros there, but zero times what happens to lie in memory may be no number.
                // SAFETY: these are the rest of the phase's pairs.
                unsafe { to.add(end).write_bytes(0, (self.phase - rows * self.row) * PAIR) };
            }
        }
    }

    /// Adds the contribution of the first `images` images in the scratch memory to the sums.
    ///
    /// # Panics
    /// If there aren't that many places.
    ///
    /// # Safety
    /// `scratch` is as [`put`](Self::put) left it, for each of the images; `sums` points to [`sums`](Self::sums)
    /// elements, which nobody else uses meanwhile.
    pub unsafe fn add(&self, tiles: &Tiles, images: usize, scratch: *const bf16, sums: *mut f32) {
        debug_assert!(tiles.unit() == self.unit);
        let s = &self.shape;
        assert!(images <= s.images, "{images} images in {} places", s.images);
        if images == 0 {
            return;
        }
        let (bf16, sums_stride) = (size_of::<bf16>(), s.channels * size_of::<f32>());
        let (a_stride, a_step, chunks) = match self.unit {
            Unit::Amx => (DEPTH * bf16, TILE * bf16, self.pairs / ROWS),
            Unit::DotProducts => (2 * bf16, PAIR * bf16, self.pairs),
        };
        let mut block = Block {
            a: [null(); 4],
            b: [null(); 4],
            from: [null(); 6],
            to: [null_mut(); 6],
            a_stride,
            a_step,
            a_gap: 0,
            b_gap: (self.right_image() * bf16) as isize - (self.pairs * PAIR * bf16) as isize,
            chunks,
            rows: images,
            from_stride: sums_stride,
            to_stride: sums_stride,
        };
        let (left, channels) = (s.outputs / ROWS, s.channels / ROWS);
        // A column of tiles belongs to a row of the kernel and 16 channels, the channels running faster: neighbours
        // add to the same pairs of cache lines.
        let right = s.kernel_rows * channels;
        // SAFETY: see `scratch` for the size of the left tiles.
        let b = unsafe { scratch.add(left * self.left_column()) };
        for column in 0..s.kernel_columns {
            let mut n = 0;
            while n < right {
                let wide = if left == 1 { narrow_block(right - n) } else { (right - n).min(2) };
                let mut first = [null_mut(); 4];
                for (j, first) in first.iter_mut().enumerate().take(wide) {
                    let (row, channel) = ((n + j) / channels, (n + j) % channels);
                    let pairs = row % s.stride * self.phase + row / s.stride * self.row;
                    let tap = row * s.kernel_columns + column;
                    // SAFETY: the row is one of the kernel's, the channels are of the input's.
                    unsafe {
                        block.b[j] = b.add((column * channels + channel) * self.right_column() + pairs * PAIR);
                        *first = sums.add(tap * s.outputs * s.channels + channel * ROWS);
                    }
                }
                let mut m = 0;
                while m < left {
                    let high = (left - m).min(2);
                    for i in 0..high {
                        // SAFETY: `m + i < left`, and the outputs of that tile are within the sums.
                        unsafe {
                            block.a[i] = scratch.add((m + i) * self.left_column());
                            for (j, first) in first.iter().enumerate().take(wide) {
                                let sum = first.add((m + i) * ROWS * s.channels);
                                block.from[i * wide + j] = sum;
                                block.to[i * wide + j] = sum;
                            }
                        }
                    }
                    // SAFETY: all tiles are within the scratch memory and the sums.
                    unsafe { block.product(tiles, high, wide) };
                    m += high;
                }
                n += wide;
            }
        }
    }
}

/// Copies 16 channels of a row of pixels, `step` elements apart, pair by pair, the last pixel of an odd number with
/// zeros beside it.
///
/// # Safety
/// The pixels can be read, the pairs written, and `to` is aligned to 64 bytes.
#[inline(always)]
unsafe fn put_row(from: *const bf16, step: usize, pixels: usize, to: *mut bf16) {
    // SAFETY: the caller vouches for the memory, and runs on a processor with AVX-512.
    unsafe {
        for i in 0..pixels / 2 {
            _mm512_store_si512(to.add(i * PAIR).cast(), pair(from.add(2 * i * step), step));
        }
        if !pixels.is_multiple_of(2) {
            _mm512_store_si512(to.add(pixels / 2 * PAIR).cast(), half(from.add((pixels - 1) * step)));
        }
    }
}

/// 16 channels of two pixels, `step` elements apart, interleaved: `[channel][pixel]`.
///
/// # Safety
/// The 16 elements from `first` and from `first + step` on can be read.
#[inline(always)]
unsafe fn pair(first: *const bf16, step: usize) -> __m512i {
    // SAFETY: the caller vouches for the memory, and runs on a processor with AVX-512.
    unsafe {
        let both = _mm512_castsi256_si512(_mm256_loadu_si256(first.cast()));
        let both = _mm512_inserti64x4::<1>(both, _mm256_loadu_si256(first.add(step).cast()));
        _mm512_permutexvar_epi16(interleave(), both)
    }
}

/// [`pair`] with zeros for the second pixel.
///
/// # Safety
/// The 16 elements from `first` on can be read.
#[inline(always)]
unsafe fn half(first: *const bf16) -> __m512i {
    // SAFETY: the caller vouches for the memory, and runs on a processor with AVX-512.
    unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(first.cast())) }
}

/// The permutation that takes elements in turn from the two halves of a register.
#[inline(always)]
unsafe fn interleave() -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: the constant has the 64 bytes that are read, and the caller runs on a processor with AVX-512.
    unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) }
}

/// Transposes 16 rows of 16 numbers of 32 bits.
///
/// # Safety
/// The caller runs on a processor with AVX-512.
#[inline(always)]
unsafe fn transpose(rows: &mut [__m512i; ROWS]) {
    // SAFETY: the caller runs on a processor with AVX-512; no memory is touched.
    unsafe {
        let mut t = [_mm512_setzero_si512(); ROWS];
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
        }
        for i in 0..4 {
            let (a, b, c, d) = (t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]);
            rows[4 * i] = _mm512_unpacklo_epi64(a, c);
            rows[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
            rows[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
            rows[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
        }
        for i in 0..4 {
            t[i] = _mm512_shuffle_i32x4::<0x88>(rows[i], rows[i + 4]);
            t[i + 4] = _mm512_shuffle_i32x4::<0xdd>(rows[i], rows[i + 4]);
            t[i + 8] = _mm512_shuffle_i32x4::<0x88>(rows[i + 8], rows[i + 12]);
            t[i + 12] = _mm512_shuffle_i32x4::<0xdd>(rows[i + 8], rows[i + 12]);
        }
        for i in 0..4 {
            rows[i] = _mm512_shuffle_i32x4::<0x88>(t[i], t[i + 8]);
            rows[i + 8] = _mm512_shuffle_i32x4::<0xdd>(t[i], t[i + 8]);
            rows[i + 4] = _mm512_shuffle_i32x4::<0x88>(t[i + 4], t[i + 12]);
            rows[i + 12] = _mm512_shuffle_i32x4::<0xdd>(t[i + 4], t[i + 12]);
        }
    }
}
