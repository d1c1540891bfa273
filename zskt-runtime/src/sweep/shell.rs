//! Commands as lines that a shell reads.

use std::path::{Path, PathBuf};

use super::record::{Record, RecordedPoint, SweepFolder};
pub use crate::shell_quoting::quoted;

/// The arguments with which this program begins the run of a point, goes on with it, or finds that there is nothing left to do.
pub fn arguments(folder: &SweepFolder, record: &Record, point: &RecordedPoint) -> Vec<String> {
    let shown = |path: PathBuf| path.display().to_string();
    let mut arguments = vec![shown(folder.pipeline())];
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    point.sets.iter().for_each(|set| option("--set", set.clone()));
    record.libraries.iter().for_each(|library| option("--plugin", shown(library.clone())));
    option("--out", shown(folder.run(point)));
    arguments.push("--continue".into());
    arguments
}

/// The same as a command that can be run from anywhere.
pub fn command(
    program: &Path,
    working_folder: &Path,
    folder: &SweepFolder,
    record: &Record,
    point: &RecordedPoint,
) -> String {
    let words = arguments(folder, record, point);
    let words: Vec<_> = std::iter::once(program.display().to_string()).chain(words).map(|word| quoted(&word)).collect();
    // The program in place of the shell: signals reach it.
    format!("cd {} && exec {} --quiet", quoted(&working_folder.display().to_string()), words.join(" "))
}

/// The words of a text, as a shell parts them; what `$` and `*` mean there they do not mean here. Nothing where a quote is not closed.
pub fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut characters = text.chars();
    while let Some(next) = characters.next() {
        match (quote, next) {
            (Some(open), _) if open == next => quote = None,
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(characters.next()?),
            (None, _) if next.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(next),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::{quoted, words};

    #[test]
    fn a_word_comes_through_a_shell_as_it_was() {
        assert_eq!(quoted("student.depth=16"), "student.depth=16");
        assert_eq!(quoted("o=Sgd(lr: 0.1)"), "'o=Sgd(lr: 0.1)'");
        for word in ["", "it's", "a b", "$HOME", "\"", "\\", "ü"] {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), word);
            assert_eq!(words(&quoted(word)), Some(vec![word.to_owned()]));
        }
    }

    #[test]
    fn options_are_parted_as_by_a_shell() {
        let parted = words(r#" --time=1:00:00  --comment "two words" --x='a"b' a\ b"#).unwrap();
        assert_eq!(parted, ["--time=1:00:00", "--comment", "two words", "--x=a\"b", "a b"]);
        assert_eq!((words("\"open"), words("")), (None, Some(vec![])));
    }
}
