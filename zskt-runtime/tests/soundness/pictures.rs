//! Pictures of a pipeline.

use zskt_runtime::{Picture, dot, mermaid, svg};

use super::{SOUND, check};

fn picture() -> Picture {
    Picture::of(&check(SOUND, &[]).unwrap_or_else(|complaint| panic!("{complaint}")))
}

#[test]
fn mermaid_shows_shapes_sizes_and_gradients() {
    insta::assert_snapshot!(mermaid(&picture()));
}

#[test]
fn dot_shows_the_same() {
    insta::assert_snapshot!(dot(&picture()));
}

#[test]
fn boxes_of_the_svg_do_not_overlap_and_lie_within() {
    let picture = picture();
    let svg = svg(&picture);
    let number = |line: &str, name: &str| -> f64 {
        let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{name} in {line}"));
        rest.split('"').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {line}"))
    };
    let boxes: Vec<_> = svg
        .lines()
        .filter(|line| line.starts_with("<rect x="))
        .map(|line| ["x", "y", "width", "height"].map(|name| number(line, name)))
        .collect();
    assert_eq!(boxes.len(), picture.boxes.len());
    let header = svg.lines().next().unwrap_or_default();
    let (width, height) = (number(header, "width"), number(header, "height"));
    for (index, [x, y, w, h]) in boxes.iter().enumerate() {
        assert!(*x >= 0.0 && *y >= 0.0 && x + w <= width && y + h <= height);
        for [other_x, other_y, other_w, other_h] in &boxes[..index] {
            let apart = x + w <= *other_x || other_x + other_w <= *x || y + h <= *other_y || other_y + other_h <= *y;
            assert!(apart, "boxes {index} and another overlap");
        }
    }
}
