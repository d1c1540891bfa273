//! What TensorBoard shows of a measurement: numbers and short lists as curves, longer lists as histograms, matrices as pictures.

use image::{DynamicImage, Rgb, RgbImage};
use serde_json::Value;
use zskt_api::{LoggedDistribution, Result};

use super::histogram::Histogram;
use super::png_picture::PngPicture;
use crate::run::resume::MeasuredMetric;

/// A list with more entries has no curve for each.
const MOST_CURVES: usize = 20;
/// Bins of a histogram.
const BINS: usize = 30;
/// A matrix with more rows or columns is no picture.
const LARGEST_MATRIX: usize = 1000;
/// Pixels that a side of a matrix has at least, as far as whole pixels for each entry allow.
const SIDE: usize = 320;
/// The colours of nothing and of the largest entry, red, green and blue.
const LEAST: [f64; 3] = [255.0, 255.0, 255.0];
const MOST: [f64; 3] = [8.0, 48.0, 107.0];

/// Points of curves: figures that are numbers, and the entries of short lists of them, under the names of the classes where they are by class.
pub fn points(metric: &str, measured: &MeasuredMetric) -> Vec<(String, f64)> {
    let mut points = Vec::new();
    for (name, value) in &measured.figures {
        points.extend(value.as_f64().map(|value| (format!("{metric}/{name}"), value)));
        let entries = value.as_array().filter(|list| list.len() <= MOST_CURVES).into_iter().flatten().enumerate();
        let is_by_class = measured.by_class.contains(name)
            && value.as_array().is_some_and(|list| list.len() == measured.class_names.len());
        points.extend(entries.filter_map(|(place, value)| {
            let index = place.to_string();
            // What digits are called says no more than their number.
            let class = measured.class_names.get(place).filter(|class| is_by_class && **class != index);
            let entry = class.map_or_else(|| index.clone(), |class| format!("{index} {}", class.replace('/', "_")));
            Some((format!("{metric}/{name}/{entry}"), value.as_f64()?))
        }));
    }
    points
}

/// Longer lists.
pub fn histograms(metric: &str, measured: &MeasuredMetric) -> Vec<(String, Histogram)> {
    let of_list = |(name, value): (&String, &Value)| {
        let list = value.as_array().filter(|list| list.len() > MOST_CURVES)?;
        let values: Vec<_> = list.iter().filter_map(Value::as_f64).collect();
        let (low, high) = range(&values)?;
        let width = if high > low { (high - low) / BINS as f64 } else { 1.0 };
        let mut edges: Vec<_> = (0..BINS).map(|bin| low + width * bin as f64).collect();
        // Rounding must not leave out the largest.
        edges.push(high.max(low + width * BINS as f64));
        let histogram = Histogram::of(&LoggedDistribution { name: name.clone(), edges, values })?;
        Some((format!("{metric}/{name}"), histogram))
    };
    measured.figures.iter().filter_map(of_list).collect()
}

/// Matrices as pictures: of one of counts by class, with a row for each label and a column for each class, each row is shaded by itself, of
/// others all entries together, from the smallest to the largest.
///
/// # Errors
/// When a picture cannot be encoded.
pub fn heat_maps(metric: &str, measured: &MeasuredMetric) -> Result<Vec<(String, PngPicture)>> {
    let matrices = measured.figures.iter().filter_map(|(name, value)| Some((name, matrix(value)?)));
    let picture = |(name, matrix): (&String, Vec<Vec<f64>>)| {
        let by_class = measured.by_class.contains(name);
        Ok((format!("{metric}/{name}"), PngPicture::encode(&heat_map(&matrix, by_class))?))
    };
    matrices.map(picture).collect()
}

fn matrix(value: &Value) -> Option<Vec<Vec<f64>>> {
    let rows = value.as_array().filter(|rows| (1..=LARGEST_MATRIX).contains(&rows.len()))?;
    let row = |row: &Value| -> Option<Vec<f64>> {
        row.as_array()?.iter().map(|value| if value.is_null() { Some(f64::NAN) } else { value.as_f64() }).collect()
    };
    let matrix = rows.iter().map(row).collect::<Option<Vec<_>>>()?;
    let columns = matrix[0].len();
    let is_sound = (1..=LARGEST_MATRIX).contains(&columns) && matrix.iter().all(|row| row.len() == columns);
    is_sound.then_some(matrix)
}

fn heat_map(matrix: &[Vec<f64>], by_class: bool) -> DynamicImage {
    let (rows, columns) = (matrix.len(), matrix[0].len());
    let are_counts =
        by_class && rows == columns && matrix.iter().flatten().all(|value| *value >= 0.0 && value.fract() == 0.0);
    let all = range(&matrix.concat()).unwrap_or_default();
    let zoom = SIDE.div_ceil(rows.max(columns));
    let sums: Vec<f64> = matrix.iter().map(|row| row.iter().sum()).collect();
    let shade = |row: usize, column: usize| {
        let (low, high) = if are_counts { (0.0, sums[row]) } else { all };
        let share = (matrix[row][column] - low) / (high - low);
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let colour = |channel: usize| (LEAST[channel] + share * (MOST[channel] - LEAST[channel])).round() as u8;
        Rgb([0, 1, 2].map(colour))
    };
    let pixel = |x: u32, y: u32| shade(y as usize / zoom, x as usize / zoom);
    RgbImage::from_fn((columns * zoom) as u32, (rows * zoom) as u32, pixel).into()
}

/// The smallest and the largest of the numbers that are finite.
fn range(values: &[f64]) -> Option<(f64, f64)> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    Some((finite().reduce(f64::min)?, finite().reduce(f64::max)?))
}

#[cfg(test)]
mod tests {
    use image::GenericImageView;
    use serde_json::json;
    use zskt_api::Measurement;

    use super::{PngPicture, heat_maps, histograms, points};
    use crate::run::resume::MeasuredMetric;

    #[test]
    fn lists_are_curves_by_class_or_histograms_and_matrices_are_pictures() {
        let long: Vec<f64> = (0..30).map(f64::from).collect();
        let found = Measurement::new("found")
            .figure("top1", 0.5)
            .figure_by_class("per_class", json!([0.25, null, 0.75]))
            .figure("each_third", json!([1, 2, 3]))
            .figure("pair", json!([1, 2]))
            .figure("long", long)
            .figure_by_class("confusion", json!([[3, 1, 0], [0, 0, 0], [0, 0, 5]]))
            .figure("distances", json!([[0, 1, 2], [1, 0, 4], [2, 4, 0]]))
            .figure("ragged", json!([[1], [2, 3]]));
        let names = ["cat", "dog", "T-shirt/top"].map(str::to_owned);
        let measured = MeasuredMetric::new(found, &names);
        let expected = [
            // As many as there are classes, and yet not of these.
            ("m/each_third/0", 1.0),
            ("m/each_third/1", 2.0),
            ("m/each_third/2", 3.0),
            ("m/pair/0", 1.0),
            ("m/pair/1", 2.0),
            ("m/per_class/0 cat", 0.25),
            ("m/per_class/2 T-shirt_top", 0.75),
            ("m/top1", 0.5),
        ];
        assert_eq!(points("m", &measured), expected.map(|(tag, value)| (tag.to_owned(), value)));
        let histograms = histograms("m", &measured);
        assert_eq!((histograms[0].0.as_str(), histograms[0].1.values, histograms.len()), ("m/long", 30, 1));
        let pictures = heat_maps("m", &measured).expect("pictures");
        let [(tag, picture), (other, distances)] = &pictures[..] else { panic!("{} pictures", pictures.len()) };
        assert_eq!((tag.as_str(), other.as_str()), ("m/confusion", "m/distances"));
        let side = picture.width / 3;
        assert!(side > 100 && picture.height == picture.width);
        let pixel = |picture: &PngPicture, row: u32, column: u32| {
            let read = image::load_from_memory(&picture.png).expect("a picture");
            read.get_pixel(column * side + side / 2, row * side + side / 2).0
        };
        let at = |row, column| pixel(picture, row, column);
        // A label without images is as white as what is never predicted.
        assert_eq!((at(0, 2), at(1, 1), at(2, 2)), ([255; 4], [255; 4], [8, 48, 107, 255]));
        assert!(at(0, 1)[0] > at(0, 0)[0], "one of four is paler than three of four");
        assert!(
            pixel(distances, 0, 2)[0] > pixel(distances, 1, 2)[0],
            "what is no count of a class is shaded with all others"
        );
    }
}
