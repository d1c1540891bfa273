//! Numbers, sizes, durations and lists as a person reads them.

/// `2243546` as `2,243,546`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 channel`, `2 channels`.
pub fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `one`, `one and two`, `one, two and three`, each in quotes.
pub fn list(names: &[&str], last_word: &str) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    join(&quoted, last_word)
}

/// `one`, `one and two`, `one, two and three`, as they are.
pub fn join(texts: &[String], last_word: &str) -> String {
    match texts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {last_word} {last}", rest.join(", ")),
        _ => texts.concat(),
    }
}

/// `one, two, three`; of many names the first, and how many more there are.
pub fn some_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const MOST: usize = 20;
    let mut names = names.into_iter();
    let first = names.by_ref().take(MOST).map(shortened).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 => first,
        more => format!("{first} and {} more", count(more)),
    }
}

/// A name, cut off where it is too long to be read.
fn shortened(name: &str) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 60;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

/// A length of time: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`, `2 d 07 h`.
pub fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// A short length of time: `850 µs`, `42.1 ms`, `1.52 s`.
pub fn short_duration(seconds: f64) -> String {
    match seconds {
        ..1e-3 => format!("{:.0} µs", seconds * 1e6),
        ..1.0 => format!("{} ms", figure(seconds * 1e3)),
        _ => format!("{} s", figure(seconds)),
    }
}

/// An amount of memory: `97 kB`, `512 MB`, `1.25 GB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// An amount of computation: `35.2 GFLOP`, `1.76 TFLOP`.
pub fn flop(operations: f64) -> String {
    const UNITS: [&str; 6] = ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"];
    let thousands = (operations.max(1.0).log10() / 3.0).floor().clamp(0.0, UNITS.len() as f64 - 1.0);
    format!("{} {}", figure(operations / 1000_f64.powf(thousands)), UNITS[thousands as usize])
}

/// Rows whose columns are aligned: to the right those that `is_number` names.
pub fn table(rows: &[Vec<String>], is_number: impl Fn(usize) -> bool) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match is_number(column) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:width$}"),
        });
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

/// A number to three digits: `0.0123`, `1.52`, `42.1`, `3021`, `1.2e-7`.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 || !value.is_finite() => value.to_string(),
        ..1e-3 | 1e7.. => format!("{value:.2e}"),
        _ => format!("{value:.*}", (2.0 - size.log10().floor()).max(0.0) as usize),
    }
}

/// A text of a plugin's, fit for one line of a terminal: control characters are shown by the pictures that Unicode has of them
/// (`␛`), and what would break a line or turn its direction as `�`.
pub fn one_line(text: &str) -> String {
    let shown = |character: char| match character {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '␡',
        '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '\u{fffd}'
        }
        _ if character.is_control() => '\u{fffd}',
        _ => character,
    };
    text.chars().map(shown).collect()
}

/// Why a file cannot be read, without the number that the system gives it.
pub fn reason(failure: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match failure.kind() {
        ErrorKind::NotFound => "there is no such file".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "it is a folder".into(),
        _ => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{count, duration, figure, list, one_line, short_duration, some_of};

    #[test]
    fn figures_are_short_and_say_enough() {
        assert_eq!([0, 999, 1000, 2_243_546].map(count), ["0", "999", "1,000", "2,243,546"]);
        assert_eq!(
            [0.04, 12.4, 59.6, 200.0, 3900.0].map(duration),
            ["0.0 s", "12 s", "1 min 00 s", "3 min 20 s", "1 h 05 min"]
        );
        assert_eq!([0.00085, 0.0421, 1.523].map(short_duration), ["850 µs", "42.1 ms", "1.52 s"]);
        assert_eq!([0.0, 0.01234, -1.5, 3021.4, 1.2e-7].map(figure), ["0", "0.0123", "-1.50", "3021", "1.20e-7"]);
        assert_eq!(list(&["a", "b", "c"], "or"), "\"a\", \"b\" or \"c\"");
        assert_eq!(some_of(["a", "b"]), "a, b");
        assert_eq!(some_of(vec!["n"; 1020]), format!("{}n and 1,000 more", "n, ".repeat(19)));
        assert_eq!(some_of(["ä".repeat(61).as_str()]), "ä".repeat(60) + "…");
    }

    #[test]
    fn no_text_of_a_plugin_leaves_its_line() {
        assert_eq!(one_line("97 %\n\u{1b}[2J\u{9b}1m\u{202e}à 日 é"), "97 %␊␛[2J\u{fffd}1m\u{fffd}à 日 é");
    }
}
