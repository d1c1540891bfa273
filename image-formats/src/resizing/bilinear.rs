//! Pillow's bilinear resampling of 8-bit images (`Resample.c`), to the bit: teachers were trained and measured on what it makes of
//! photographs, and other resamplings cost accuracy. Rows are resampled first and rounded to 8 bits, then columns; where an
//! image becomes smaller, the filter becomes as much wider, which smooths. (Since 13.0, Pillow takes columns first where height shrinks
//! more than width, which changes some pixels by one; teachers were trained with the releases before.)

/// Bits behind the point of a weight: sums of 8-bit pixels stay below 2³¹.
const PRECISION: u32 = 32 - 8 - 2;

/// Along one axis, which pixels each new one is made of, and by which weights.
pub(super) struct Weights {
    /// Pixels there are.
    from: usize,
    /// For each new pixel the first of those it is made of, and their weights.
    of: Vec<(usize, Vec<i32>)>,
}

impl Weights {
    /// For `from` pixels that become `to`.
    pub(super) fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        // Between pixels that move apart the filter reaches one pixel, as always in other libraries.
        let support = scale.max(1.0);
        let of = (0..to).map(|pixel| {
            let center = (pixel as f64 + 0.5) * scale;
            // As C converts: towards zero.
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let triangle = |at: usize| (1.0 - ((at as f64 - center + 0.5) * (1.0 / support)).abs()).max(0.0);
            let weights: Vec<f64> = (first..end).map(triangle).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (0.5 + weight / sum * f64::from(1 << PRECISION)) as i32;
            (first, weights.iter().map(fixed).collect())
        });
        Self { from, of: of.collect() }
    }

    fn changes_nothing(&self) -> bool {
        self.from == self.of.len()
    }
}

/// One plane, row after row, resampled along both axes.
pub(super) fn resize(plane: &[u8], rows: &Weights, columns: &Weights) -> Vec<u8> {
    let width = columns.of.len();
    let wide: Vec<u8> = if columns.changes_nothing() {
        plane.to_vec()
    } else {
        let line = |line: &[u8]| -> Vec<u8> {
            let pixel = |(first, weights): &(usize, Vec<i32>)| {
                let sum: i32 =
                    weights.iter().zip(&line[*first..]).map(|(weight, pixel)| weight * i32::from(*pixel)).sum();
                rounded(sum)
            };
            columns.of.iter().map(pixel).collect()
        };
        plane.chunks_exact(columns.from).flat_map(line).collect()
    };
    if rows.changes_nothing() {
        return wide;
    }
    let mut sums = vec![0; width];
    let mut out = Vec::with_capacity(rows.of.len() * width);
    for (first, weights) in &rows.of {
        sums.fill(0);
        for (weight, line) in weights.iter().zip(wide[first * width..].chunks_exact(width)) {
            for (sum, pixel) in sums.iter_mut().zip(line) {
                *sum += weight * i32::from(*pixel);
            }
        }
        out.extend(sums.iter().map(|sum| rounded(*sum)));
    }
    out
}

/// A sum of weighted pixels as a pixel.
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}
