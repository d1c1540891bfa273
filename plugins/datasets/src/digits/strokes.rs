//! How each digit is written: strokes in the unit box, x to the right, y down. Some digits are written in several ways.

use std::sync::LazyLock;

/// A straight piece of a stroke: x and y of both ends.
pub type Segment = [[f32; 2]; 2];

/// Segments in every figure.
pub const SEGMENTS: usize = 20;

/// The ways to write each digit. A figure of fewer segments retraces its last one, and as every tracing shakes a little,
/// the plain stroke of a 1 becomes about as heavy as the curves of an 8.
pub static FIGURES: LazyLock<[Vec<[Segment; SEGMENTS]>; 10]> =
    LazyLock::new(|| ways_to_write().map(|ways| ways.iter().map(|strokes| segments(strokes)).collect()));

type Stroke = Vec<[f64; 2]>;

fn segments(strokes: &[Stroke]) -> [Segment; SEGMENTS] {
    let mut all = strokes.iter().flat_map(|stroke| stroke.windows(2).map(|ends| [single(ends[0]), single(ends[1])]));
    let mut last = [[0.0; 2]; 2];
    std::array::from_fn(|_| {
        last = all.next().unwrap_or(last);
        last
    })
}

fn single([x, y]: [f64; 2]) -> [f32; 2] {
    [x as f32, y as f32]
}

/// A line through these points.
fn line(points: &[[f64; 2]]) -> Stroke {
    points.to_vec()
}

/// Part of an ellipse in `pieces` straight pieces; degrees run from the right (0) downwards (90).
fn arc(centre: [f64; 2], radii: [f64; 2], from: f64, to: f64, pieces: usize) -> Stroke {
    let angle = |i: usize| (from + (to - from) * i as f64 / pieces as f64).to_radians();
    let point = |i| [centre[0] + radii[0] * f64::cos(angle(i)), centre[1] + radii[1] * f64::sin(angle(i))];
    (0..=pieces).map(point).collect()
}

fn loop_of(centre: [f64; 2], radii: [f64; 2], pieces: usize) -> Stroke {
    arc(centre, radii, 0.0, 360.0, pieces)
}

fn ways_to_write() -> [Vec<Vec<Stroke>>; 10] {
    let seven = line(&[[0.05, 0.0], [0.95, 0.0], [0.4, 1.0]]);
    [
        vec![vec![loop_of([0.5, 0.5], [0.45, 0.5], 12)]],
        vec![
            vec![line(&[[0.5, 0.0], [0.5, 1.0]])],
            vec![line(&[[0.2, 0.22], [0.55, 0.0], [0.55, 1.0]])],
            vec![line(&[[0.2, 0.22], [0.5, 0.0], [0.5, 1.0]]), line(&[[0.15, 1.0], [0.85, 1.0]])],
        ],
        vec![vec![[arc([0.5, 0.28], [0.42, 0.28], 185.0, 385.0, 8), line(&[[0.06, 1.0], [0.95, 1.0]])].concat()]],
        vec![
            vec![
                [arc([0.45, 0.25], [0.4, 0.25], 200.0, 450.0, 8), arc([0.45, 0.74], [0.46, 0.26], 270.0, 520.0, 8)]
                    .concat(),
            ],
            vec![
                [line(&[[0.08, 0.0], [0.88, 0.0], [0.42, 0.4]]), arc([0.45, 0.7], [0.45, 0.3], 280.0, 520.0, 8)]
                    .concat(),
            ],
        ],
        vec![
            vec![line(&[[0.72, 1.0], [0.72, 0.0], [0.04, 0.68], [0.97, 0.68]])],
            vec![line(&[[0.15, 0.0], [0.1, 0.55], [0.95, 0.55]]), line(&[[0.75, 0.0], [0.75, 1.0]])],
        ],
        vec![vec![
            [line(&[[0.9, 0.0], [0.18, 0.0], [0.12, 0.45]]), arc([0.47, 0.67], [0.43, 0.33], 220.0, 510.0, 8)].concat(),
        ]],
        vec![vec![line(&[[0.78, 0.0], [0.4, 0.15], [0.16, 0.42], [0.1, 0.7]]), loop_of([0.5, 0.7], [0.4, 0.3], 10)]],
        vec![vec![seven.clone()], vec![seven, line(&[[0.3, 0.5], [0.85, 0.5]])]],
        vec![vec![loop_of([0.5, 0.25], [0.36, 0.25], 10), loop_of([0.5, 0.75], [0.43, 0.25], 10)]],
        vec![
            vec![line(&[[0.22, 1.0], [0.6, 0.85], [0.84, 0.58], [0.9, 0.3]]), loop_of([0.5, 0.3], [0.4, 0.3], 10)],
            vec![loop_of([0.48, 0.28], [0.4, 0.28], 10), line(&[[0.88, 0.2], [0.85, 1.0]])],
        ],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_fits_and_the_longest_needs_every_segment() {
        let longest = ways_to_write().iter().flatten().map(|strokes| strokes.iter().map(|s| s.len() - 1).sum()).max();
        assert_eq!(longest, Some(SEGMENTS));
    }
}
