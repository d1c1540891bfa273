//! `new`: a pipeline for a teacher's file, from what is in it.

mod checkpoint;
mod dataset;
mod draft;
mod method;
mod nearest;
mod student;
mod teacher;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

pub use method::Method;

use torch_checkpoint::Pattern;
use zskt_api::{Diagnostic, ImageShape, Normalization, Registry, Severity};

use crate::pipeline::{Sources, unambiguous};
use crate::shell_quoting::quoted;
use crate::{check, text_format};
use dataset::FoundDataset;
use draft::Draft;
use student::ChosenStudent;
use teacher::FoundTeacher;

/// What is said before the reason why no pipeline can be made of what was asked for.
const UNFITTING: &str = "these do not go together";

/// What a pipeline is to be made of.
pub struct Request<'a> {
    /// The teacher's file or folder.
    pub teacher: &'a Path,
    /// Which network of it, where it has several.
    pub key: Option<&'a str>,
    /// Names of weights that the teacher is without.
    pub ignore: &'a [Pattern],
    /// The output of an ONNX model that has the logits, where it has several.
    pub output: Option<&'a str>,
    /// Images to measure on: a folder or file, or a dataset plugin with its parameters.
    pub data: Option<&'a Path>,
    /// The student's architecture: a plugin, with parameters or without.
    pub student: Option<&'a str>,
    /// How its images were normalized, where its file does not tell.
    pub normalization: Option<Normalization>,
    /// How the student learns; `None` for what is recommended, where it goes with the teacher.
    pub method: Option<Method>,
    /// The file to write; `None` for one that is named like the teacher's.
    pub to: Option<&'a Path>,
}

/// Writes a pipeline that has been proven sound, and says what was found and what to do next.
///
/// # Errors
/// When the teacher's file holds no network that is known, or nothing fits it, or the file cannot be written.
pub fn new(request: &Request<'_>, registry: &Registry) -> Result<String, Diagnostic> {
    if let Some(normalization) = &request.normalization {
        are_of_unit_pixels(normalization)?;
    }
    let data = request.data.map(|data| FoundDataset::find(data, registry)).transpose()?;
    let teacher = FoundTeacher::read(request, data.as_ref(), registry)?;
    let data = data.map(|data| data.made_for(&teacher, registry)).transpose()?;
    let image = teacher.image();
    if let Some(normalization) = &request.normalization {
        is_for(image, normalization)?;
    }
    if image.height != image.width || !image.height.is_multiple_of(4) {
        let message = format!(
            "`new` writes pipelines for square images whose side is a multiple of four, and the teacher takes {image}"
        );
        return Err(Diagnostic::global(message).help("write the pipeline by hand, with a generator of your own"));
    }
    if let (Some(method), Some(usual)) = (request.method, teacher.missing_normalization())
        && method.needs_normalization()
    {
        let message =
            format!("{} needs to know how the teacher's images were normalized, which nothing tells", method.title());
        let help = format!(
            "say it with --mean and --std, as in `{usual}`, zeros and ones where the teacher takes pixels from 0 to 1 as they are"
        );
        return Err(Diagnostic::global(message).help(help));
    }
    let student = ChosenStudent::choose(request.student, &teacher, registry)?;
    let path = request.to.map_or_else(|| file_name(request.teacher), Path::to_owned);
    let draft = |method: Method| method.pipeline(&teacher, &student, data.as_ref());
    let written = |draft: &Draft| unambiguous(&draft.to_text(), registry);
    let proven = |draft: &Draft| prove(&path, &written(draft), registry);
    let mut drafted = draft(request.method.unwrap_or(Method::RECOMMENDED));
    let mut chosen = None;
    match (proven(&drafted), request.method) {
        (Ok(()), Some(_)) => {}
        (Ok(()), None) => chosen = Some(format!("{}; --method takes another", Method::RECOMMENDED.title())),
        (Err(problem), Some(_)) => return Err(problem.context(UNFITTING)),
        (Err(problem), None) => {
            drafted = draft(Method::FOR_ANY_TEACHER);
            proven(&drafted).map_err(|problem| problem.context(UNFITTING))?;
            let [any, recommended] = [Method::FOR_ANY_TEACHER, Method::RECOMMENDED].map(Method::title);
            let reason = &problem.message;
            drafted.head.extend([
                "".into(),
                format!("{recommended} takes less work, and cannot be used with this teacher: {reason}"),
            ]);
            chosen = Some(format!("{any}, for {recommended}, which takes less work, cannot be used: {reason}"));
        }
    }
    write(&path, &written(&drafted))?;

    let mut said = teacher.said();
    said.extend(data.iter().map(FoundDataset::said));
    said.push(student.said());
    said.extend(chosen.map(|chosen| format!("method   {chosen}")));
    let pipeline = quoted(&path.to_string_lossy());
    said.push(format!(
        "wrote {}\n\n  zskt-run {pipeline} --dry    # what it will take: time, FLOP, memory; nothing is kept\n  zskt-run {pipeline}",
        path.display()
    ));
    if !drafted.short.is_empty() {
        let short = "a thirtieth of the work or less, for a student that is not as good";
        said.push(format!("  zskt-run {pipeline} --set variant=short    # {short}"));
    }
    said.push(String::new());
    Ok(said.join("\n"))
}

/// Pixels from 0 to 255 are the usual mistake.
fn are_of_unit_pixels(Normalization { mean, std }: &Normalization) -> Result<(), Diagnostic> {
    for (option, numbers) in [("--mean", mean), ("--std", std)] {
        if let Some(large) = numbers.iter().find(|number| **number > 1.0) {
            let divided: Vec<_> =
                numbers.iter().map(|number| format!("{}", (number / 255.0 * 1e4).round() / 1e4)).collect();
            let problem = Diagnostic::global(format!("{option} is of pixels from 0 to 1, and {large} is more"));
            let help = format!("if it is of pixels from 0 to 255, divide by 255: {option} {}", divided.join(","));
            return Err(problem.help(help));
        }
    }
    Ok(())
}

/// There has to be a mean and a standard deviation for each channel.
fn is_for(image: ImageShape, Normalization { mean, std }: &Normalization) -> Result<(), Diagnostic> {
    for (option, numbers) in [("--mean", mean), ("--std", std)] {
        if numbers.len() != image.channels {
            let numbers = text_format::counted(numbers.len(), "number");
            let problem = Diagnostic::global(format!("{option} has {numbers}, and the teacher takes images {image}"));
            return Err(problem.help(format!("give one for each channel: {}", image.channels)));
        }
    }
    Ok(())
}

/// What a file is called, without what tells its format: `resnet18` of `resnet18.pth.tar`.
fn stem(path: &Path) -> Option<String> {
    const TWOFOLD: [&str; 4] = [".pth.tar", ".pt.tar", ".safetensors.index.json", ".bin.index.json"];
    let name = path.file_name()?.to_string_lossy();
    let twofold = TWOFOLD.iter().find_map(|ending| name.strip_suffix(ending)).filter(|stem| !stem.is_empty());
    twofold.map(str::to_owned).or_else(|| Some(path.file_stem()?.to_string_lossy().into_owned()))
}

/// The pipeline of a teacher's file, in the working directory.
fn file_name(teacher: &Path) -> PathBuf {
    let stem = teacher.canonicalize().ok().and_then(|path| stem(&path)).unwrap_or_else(|| "teacher".to_owned());
    // What the program would take for an option or a command is no name for a file.
    PathBuf::from(format!("{}.ron", stem.trim_start_matches(['-', '.'])))
}

/// What is written has to be sound: who finds a mistake in it, finds one of this program.
fn prove(path: &Path, text: &str, registry: &Registry) -> Result<(), Diagnostic> {
    let sources = Sources::new(path.display().to_string(), text, &[]);
    let Err(problems) = check::prove(&sources, registry, false) else { return Ok(()) };
    let found = problems.into_iter().find(|problem| problem.severity == Severity::Error);
    let reason = found.as_ref().map_or("", |problem| &problem.message);
    let problem = Diagnostic::global(text_format::one_line(reason));
    Err(match found.and_then(|problem| problem.help) {
        Some(help) => problem.help(help),
        None => problem,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Diagnostic> {
    let refused = |failure: std::io::Error| {
        let problem = Diagnostic::global(format!("cannot write {}: {}", path.display(), text_format::reason(&failure)));
        match failure.kind() {
            std::io::ErrorKind::AlreadyExists => {
                problem.help("nothing is ever overwritten: give another file with --to")
            }
            _ => problem,
        }
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(refused)?;
    file.write_all(text.as_bytes()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::stem;

    #[test]
    fn a_pipeline_is_called_as_the_file_without_its_endings() {
        for (file, expected) in [
            ("t/mbv2.pth.tar", "mbv2"),
            ("resnet-1.5.pth", "resnet-1.5"),
            ("model.safetensors.index.json", "model"),
            ("folder", "folder"),
            (".pth.tar", ".pth"),
        ] {
            assert_eq!(stem(Path::new(file)).as_deref(), Some(expected), "{file}");
        }
    }
}
