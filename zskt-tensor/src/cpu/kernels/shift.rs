//! Images that are moved and mirrored.

use crate::cpu::simd::float::Float;
use crate::cpu::threads;
use crate::ops::{Border, Shift};
use crate::shape::MapShape;

/// Each image of a map `[batch, height, width, channels]`, moved by its shift, then mirrored.
pub fn shift<T: Float>(shape: &MapShape, shifts: &[Shift], border: &Border<'_>, x: &[T]) -> Vec<T> {
    assert_eq!(x.len(), shape.len(), "the map has its shape");
    assert_eq!(shifts.len(), shape.batch, "each image has a shift");
    let MapShape { height, width, channels, .. } = *shape;
    let len = shape.image_len().max(1);
    let fill: Vec<T> = match border {
        Border::Fill(fill) => fill.iter().map(|number| T::from_f64(*number)).collect(),
        Border::Wrap => Vec::new(),
    };
    threads::build(x.len(), len, |at, writer| {
        let (Some(image), Some(shift)) = (x.get(at..at + len), shifts.get(at / len)) else { return };
        for row in 0..height {
            let from = source(row, shift.down, height, border);
            for column in 0..width {
                let column = if shift.flip { width - 1 - column } else { column };
                match from.zip(source(column, shift.right, width, border)) {
                    Some((row, column)) => {
                        writer.extend(image[(row * width + column) * channels..][..channels].iter().copied());
                    }
                    None => writer.extend(fill.iter().copied()),
                }
            }
        }
    })
}

/// Where that comes from what lies at a place of an axis after the move; `None` where nothing of the image is.
fn source(place: usize, by: isize, extent: usize, border: &Border<'_>) -> Option<usize> {
    match border {
        Border::Fill(_) => place.checked_add_signed(-by).filter(|place| *place < extent),
        Border::Wrap => (place + extent).checked_add_signed(-by).map(|place| place % extent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_move_down_and_right_before_they_are_mirrored() {
        let shape = MapShape { batch: 2, height: 2, width: 3, channels: 1 };
        let x: Vec<f64> = (1..=12).map(f64::from).collect();
        let moved = |shifts: [(isize, isize, bool); 2], border| {
            shift(&shape, &shifts.map(|(down, right, flip)| Shift { down, right, flip }), &border, &x)
        };
        let nothing = Border::Fill(&[-1.0]);
        assert_eq!(
            moved([(1, 0, false), (0, 1, true)], nothing),
            [-1.0, -1.0, -1.0, 1.0, 2.0, 3.0, 8.0, 7.0, -1.0, 11.0, 10.0, -1.0]
        );
        assert_eq!(
            moved([(-1, -2, false), (2, 0, false)], nothing),
            [6.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]
        );
        assert_eq!(
            moved([(1, 1, false), (0, 2, true)], Border::Wrap),
            [6.0, 4.0, 5.0, 3.0, 1.0, 2.0, 7.0, 9.0, 8.0, 10.0, 12.0, 11.0]
        );
    }
}
