//! Figures as a person reads them.

use std::borrow::Cow;

use crate::sweep::Statistic;
use crate::text_format;

/// The last part of a figure's key or a curve's, that says what it is: `loss` of `distill/imitate.loss`.
pub fn kind(key: &str) -> &str {
    // Each of a turn's losses is one, whatever its node is called.
    if key.contains(".loss.") {
        return "loss";
    }
    let parts = key.rsplit(['.', '/']);
    let named = parts.clone().find(|part| !part.chars().all(|c| c.is_ascii_digit()));
    // Whose it is, is no matter of its kind.
    named.map_or(key, |name| if name.ends_with("_confidence") { "confidence" } else { name })
}

/// Whether a figure counts images, which is not what a run is judged by.
pub fn is_count(key: &str) -> bool {
    matches!(kind(key), "images" | "not_finite" | "diverged")
}

/// A figure in the unit that its kind has.
pub fn text(key: &str, value: f64) -> String {
    match kind(key) {
        "top1" | "top5" | "share" => format!("{:.2} %", 100.0 * value),
        "seconds" => text_format::duration(value),
        "median_batch_seconds" => text_format::short_duration(value),
        "flop" => text_format::flop(value),
        "peak_memory_bytes" => text_format::bytes(value.max(0.0) as u64),
        _ => number(value),
    }
}

/// A figure over several runs.
pub fn mean_text(key: &str, Statistic { mean, deviation, .. }: Statistic) -> String {
    match kind(key) {
        "top1" | "top5" | "share" => format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * deviation),
        _ => format!("{} ± {}", text(key, mean), text(key, deviation)),
    }
}

/// A whole number with its thousands apart, any other to four digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size < 1e15 && value.fract() == 0.0 => {
            let digits = text_format::count(size as usize);
            if value < 0.0 { format!("−{digits}") } else { digits }
        }
        _ if !value.is_finite() => value.to_string(),
        ..1e-3 | 1e7.. => format!("{value:.3e}"),
        _ => format!("{value:.*}", (3.0 - size.log10().floor()).max(0.0) as usize),
    }
}

/// A text as long as somebody reads it.
pub fn shortened(text: &str) -> Cow<'_, str> {
    cut(text, 500)
}

/// A text that has one of many places beside and below each other.
pub fn brief(text: &str) -> Cow<'_, str> {
    cut(text, 80)
}

fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// What is written above figures or curves of a kind.
pub fn title(kind: &str) -> String {
    let known = match kind {
        "top1" => "accuracy",
        "top5" => "accuracy among the first five",
        "share" => "agreement",
        "confusion" => "confusion matrix",
        "mean_kl" => "mean KL divergence",
        "class_entropy" => "class entropy of pseudo-images",
        "teacher_classes" => "pseudo-images by class, seen by the teacher",
        "student_classes" => "pseudo-images by class, seen by the student",
        "confidence" => "confidence on pseudo-images",
        "weight_change" => "change of the weights in a batch",
        "seconds" => "time",
        "images_per_second" => "images/s",
        "flop" => "work",
        "peak_memory_bytes" => "memory",
        other => other,
    };
    known.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::{kind, mean_text, number, text};
    use crate::sweep::Statistic;

    #[test]
    fn figures_are_shown_in_their_units() {
        assert_eq!(text("accuracy.top1", 0.5595), "55.95 %");
        assert_eq!(text("accuracy.top5", 0.9), "90.00 %");
        assert_eq!(text("distill.best.accuracy.top1", 1.0), "100.00 %");
        assert_eq!(text("peak_memory_bytes", 442_511_360.0), "442 MB");
        assert_eq!(text("distill.flop", 5.95e12), "5.95 TFLOP");
        let statistic = Statistic { mean: 0.5, deviation: 0.012, count: 3 };
        assert_eq!(mean_text("a.top1", statistic), "50.00 ± 1.20 %");
        assert_eq!(
            [12345.0, 0.123456, -2.0, 1e-9, f64::NAN].map(number),
            ["12,345", "0.1235", "−2", "1.000e-9", "NaN"]
        );
        assert_eq!([kind("distill/monitor/teacher_classes.3"), kind("x"), kind("3")], ["teacher_classes", "x", "3"]);
    }
}
