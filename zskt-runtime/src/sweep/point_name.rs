//! What the folder of a point is called: `seed=0,student.widen_factor=2`.

use crate::checksum;

/// Longer names are cut off: file systems take 255 bytes, and others add to them.
const LONGEST: usize = 200;

/// How many digits of its sum tell a name from others that would look the same.
const SUM_DIGITS: usize = 8;

/// A name for a point that says what is set in it. It can be a folder's name anywhere, needs no quotes in a shell, and is not longer than
/// 200 bytes. Where that leaves too little of it, or `taken` says that another point has it, it ends with a part of its sum.
pub fn point_name(settings: &[(String, String)], taken: impl Fn(&str) -> bool) -> String {
    let parts: Vec<_> = settings.iter().map(|(key, value)| format!("{}={}", plain(key), plain(value))).collect();
    let name = if parts.is_empty() { "base".to_owned() } else { parts.join(",") };
    if name.len() <= LONGEST && !taken(&name) {
        return name;
    }
    let sum = checksum::of_bytes(format!("{settings:?}").as_bytes());
    let kept = name.len().min(LONGEST - SUM_DIGITS - 1);
    format!("{}-{}", name[..kept].trim_end_matches(['.', ',', '=', '_']), &sum[..SUM_DIGITS])
}

/// A text without what a shell or a file system takes for something else: each run of that becomes `_`.
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    for character in text.trim().chars() {
        if character.is_ascii_alphanumeric() || "-+.".contains(character) {
            out.push(character);
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    out.truncate(out.trim_end_matches('_').len());
    if out.is_empty() { "_".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::point_name;

    fn name(settings: &[(&str, &str)]) -> String {
        let settings: Vec<_> = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        point_name(&settings, |_| false)
    }

    #[test]
    fn a_point_is_called_by_what_is_set_in_it() {
        assert_eq!(name(&[("seed", "0"), ("student.widen_factor", "2")]), "seed=0,student.widen_factor=2");
        assert_eq!(name(&[("o", "Sgd(lr: 1e-3, nesterov: true)")]), "o=Sgd_lr_1e-3_nesterov_true");
        assert_eq!(name(&[("t", "\"../../w/ä.pth\"")]), "t=.._.._w_.pth");
        assert_eq!(name(&[("t", "\"\"")]), "t=_");
        assert_eq!(name(&[]), "base");
    }

    #[test]
    fn a_name_is_short_and_unlike_any_other() {
        let long = "9".repeat(300);
        let names = [name(&[("a", &long)]), name(&[("a", &format!("{long}1"))])];
        assert!(names.iter().all(|name| name.len() <= 200 && name.starts_with("a=999")) && names[0] != names[1]);
        let settings = [("a".to_owned(), "[1, 2]".to_owned())];
        assert_eq!(point_name(&settings, |_| false), "a=1_2");
        assert!(point_name(&settings, |name| name == "a=1_2").starts_with("a=1_2-"));
    }
}
