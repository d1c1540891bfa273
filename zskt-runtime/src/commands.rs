//! What each command does, and its exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use zskt_api::{Problem, Registry, nearest};

use crate::cli::{Cli, Command, Format, PluginCommand, RunArguments};
use crate::draw::{self, Picture};
use crate::library::Library;
use crate::pipeline::{self, Texts};
use crate::plan::Plan;
use crate::{check, diagnostics, inspect, library, plugin_crate, run, size, wording};

/// How a command ends when it does not end well.
enum Failure {
    /// The pipeline, a parameter, a plugin or the command line is wrong; the message says so.
    Refused(String),
    /// It failed on the way.
    Failed(String),
    /// The user asked to stop.
    Interrupted,
}

type Outcome = Result<(), Failure>;

/// Runs the program on a command line.
pub fn execute(arguments: Vec<OsString>) -> ExitCode {
    let command_line: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to say when even this cannot be printed.
            let _ = error.print();
            if let Some(first) = command_line.get(1).filter(|_| error.exit_code() != 0) {
                let _ = io::stderr().write_all(meant_command(first).as_bytes());
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli, command_line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => complain(&message, 2),
        Err(Failure::Failed(message)) => complain(&message, 1),
        Err(Failure::Interrupted) => ExitCode::from(130),
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    let _ = io::stderr().write_all(message.as_bytes());
    ExitCode::from(code)
}

/// An error of one line.
fn error(message: impl std::fmt::Display) -> String {
    format!("error: {message}\n")
}

/// Prints a result. Who reads only its beginning has read enough.
fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(failure) if failure.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(error(format!("cannot write: {failure}"))))
        }
        _ => Ok(()),
    }
}

fn dispatch(cli: Cli, command_line: Vec<String>) -> Outcome {
    let refused = |message: String| Failure::Refused(error(message));
    library::image_is_ours().map_err(refused)?;
    if cli.command.is_some()
        && let Some(given) = cli.run.given()
    {
        return Err(refused(format!("`{given}` stands before a command\nhelp: what a command takes follows it")));
    }
    // A library that is refused must not be in the way of building it anew.
    if !matches!(cli.command, Some(Command::Plugin { .. })) {
        library::load(&library::of_environment().map_err(refused)?).map_err(|(_, message)| refused(message))?;
        library::load(&cli.libraries()).map_err(|(_, message)| refused(message))?;
    }
    match cli.command {
        None => run_pipeline(cli.run, command_line),
        Some(Command::Validate { pipelines, overrides, skip_files, .. }) => {
            validate(&pipelines, &overrides.sets, skip_files)
        }
        Some(Command::Graph { pipeline, overrides, format, skip_files, .. }) => {
            let picture = Picture::of(&prove(&read(&pipeline, &overrides.sets)?.0, skip_files)?);
            print(&match format {
                Format::Mermaid => draw::mermaid(&picture),
                Format::Dot => draw::dot(&picture),
                Format::Svg => draw::svg(&picture),
            })
        }
        Some(Command::Plugin { command }) => print(&plugin(&command).map_err(refused)?),
        Some(Command::Plugins { json, .. }) => print(&inspect::list(registry()?, json)),
        Some(Command::Inspect { name, json, .. }) => {
            print(&inspect::describe(registry()?, &name, json).map_err(refused)?)
        }
    }
}

fn plugin(command: &PluginCommand) -> Result<String, String> {
    match command {
        PluginCommand::New { name, kind, sdk, linked } => {
            plugin_crate::new(name, *kind, sdk.as_deref(), linked.as_deref())
        }
        PluginCommand::Build { folder, sdk } => plugin_crate::build(folder, sdk.as_deref()),
        PluginCommand::Check { library } => plugin_crate::check(library),
    }
}

/// All plugins. Libraries must be loaded before.
fn registry() -> Result<&'static Registry, Failure> {
    Registry::get().map_err(|message| Failure::Refused(error(message)))
}

fn run_pipeline(arguments: RunArguments, command_line: Vec<String>) -> Outcome {
    let RunArguments { pipeline, overrides, out, resume, quiet, json } = arguments;
    let path = match (&pipeline, &resume) {
        (Some(pipeline), _) => pipeline.clone(),
        (None, Some(directory)) => directory.join("pipeline.ron"),
        (None, None) => return Err(Failure::Refused(error("no pipeline is given"))),
    };
    if let (None, Some(directory)) = (&pipeline, &resume)
        && !path.is_file()
    {
        let text = format!("`{}` is not the folder of a run: there is no pipeline.ron in it", directory.display());
        return Err(Failure::Refused(error(text)));
    }
    let plan = prove(&read(&path, &overrides.sets)?.0, false)?;
    let options = run::Options { pipeline_path: pipeline, out, resume, quiet, json, command_line };
    match run::run(plan, options) {
        run::Outcome::Done => Ok(()),
        run::Outcome::Interrupted => Err(Failure::Interrupted),
        run::Outcome::Failed(failure) => Err(Failure::Failed(error(failure))),
        run::Outcome::Refused(message) => Err(Failure::Refused(error(message))),
    }
}

fn validate(pipelines: &[PathBuf], sets: &[String], skip_files: bool) -> Outcome {
    let everyones = library::loaded();
    // All of them first: which plugins there are is settled when the first pipeline is proven.
    let texts: Vec<_> = pipelines.iter().map(|path| read(path, sets)).collect();
    let mut complaints = String::new();
    for (path, texts) in pipelines.iter().zip(texts) {
        let proven = texts.and_then(|(texts, own)| {
            let plan = prove(&texts, skip_files)?;
            let unnamed = unnamed_plugin(&plan, &[&everyones[..], &own].concat());
            unnamed.map_or(Ok(plan), |unnamed| Err(Failure::Refused(error(format!("`{}` {unnamed}", path.display())))))
        });
        match proven {
            Ok(plan) => print(&format!("ok {}: {}\n", path.display(), summary(&plan)))?,
            Err(Failure::Refused(message)) => complaints += &message,
            Err(other) => return Err(other),
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(Failure::Refused(complaints)) }
}

/// What to say of a pipeline with a plugin that is there only because another pipeline names its library.
fn unnamed_plugin(plan: &Plan, named: &[Library]) -> Option<String> {
    let nodes: Vec<_> = plan.nodes.iter().map(|node| node.ron.as_str()).collect();
    let library =
        library::used(&nodes).into_iter().find(|library| !named.iter().any(|named| named.file == library.file))?;
    let plugin = library.plugin_in(&nodes)?.name;
    Some(format!(
        "uses the plugin `{plugin}` of the library `{}`, which it does not name\nhelp: name it in the pipeline's `plugins`, or with --plugin",
        library.path.display()
    ))
}

/// A sound pipeline in one line.
fn summary(plan: &Plan) -> String {
    let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let edges = plan.nodes.iter().map(|node| node.inputs.len()).sum();
    let stages = plan.nodes.iter().filter(|node| node.registration.kind == zskt_api::Kind::Stage).count();
    let mut parts =
        vec![format!("{}, {}, {}", count(plan.nodes.len(), "node"), count(edges, "edge"), count(stages, "stage"))];
    let sizes =
        plan.nodes.iter().filter_map(|node| Some(format!("{} {}", node.name, wording::count(size::parameters(node)?))));
    let sizes = sizes.collect::<Vec<_>>().join(", ");
    if !sizes.is_empty() {
        parts.push(format!("parameters: {sizes}"));
    }
    let proofs = plan.data_free.iter().map(|proof| match proof.through_teacher.as_slice() {
        [] => proof.network.clone(),
        datasets => format!("{} (its teacher knows {})", proof.network, datasets.join(", ")),
    });
    let proofs = proofs.collect::<Vec<_>>().join(", ");
    parts.push(if proofs.is_empty() { "no claim to be data-free".into() } else { format!("data-free: {proofs}") });
    format!("{}: {}", plan.name, parts.join("; "))
}

/// Reads a pipeline, and loads the libraries that it names.
fn read(path: &Path, sets: &[String]) -> Result<(Texts, Vec<Library>), Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(failure) => return Err(Failure::Refused(unreadable(path, &failure))),
    };
    let texts = Texts::new(path.display().to_string(), text, sets);
    let (paths, spans): (Vec<_>, Vec<_>) = pipeline::libraries(&texts).into_iter().unzip();
    match library::load(&paths) {
        Ok(libraries) => Ok((texts, libraries)),
        Err((index, message)) => {
            let problem = match message.split_once("\nhelp: ") {
                Some((message, help)) => Problem::at(spans[index], message).help(help),
                None => Problem::at(spans[index], message),
            };
            Err(unsound(&[problem], &texts))
        }
    }
}

/// Proves a pipeline sound.
fn prove(texts: &Texts, skip_files: bool) -> Result<Plan, Failure> {
    let registry = registry()?;
    match run::caught(|| check::prove(texts, registry, skip_files)) {
        Ok(proven) => proven.map_err(|problems| unsound(&problems, texts)),
        Err(panic) => {
            Err(Failure::Refused(error(format!("a plugin panicked while `{}` was checked{panic}", texts.name(0)))))
        }
    }
}

fn unsound(problems: &[Problem], texts: &Texts) -> Failure {
    Failure::Refused(diagnostics::render(problems, texts, diagnostics::colours()))
}

fn unreadable(path: &Path, failure: &io::Error) -> String {
    let shown = path.display();
    if failure.kind() == io::ErrorKind::InvalidData {
        return error(format!("`{shown}` is no text: a pipeline is written in UTF-8"));
    }
    let mut message = error(format!("cannot read the pipeline `{shown}`: {}", wording::reason(failure)));
    if failure.kind() == io::ErrorKind::NotFound {
        message += &meant_command(&path.to_string_lossy());
    }
    message
}

/// A hint, where something that was taken for a pipeline looks more like a command.
fn meant_command(word: &str) -> String {
    let command = Cli::command();
    let commands: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    let near = nearest(word, commands.iter().copied());
    let near = near.filter(|_| !word.contains(['.', '/', '-']) && !commands.contains(&word));
    near.map(|near| format!("help: did you mean `zskt-run {near}`?\n")).unwrap_or_default()
}
