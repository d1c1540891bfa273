//! What each command does, and its exit code.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, Parser};
use zskt_api::tensor::catch_out_of_memory;
use zskt_api::{Diagnostic, Error, Normalization, PluginRegistration, Registry, Severity, nearest_name};

use super::arguments::{Cli, Command, Format, PluginCommand, RunArguments};
pub use super::libraries::{load_libraries, load_named};
use super::libraries::{load_libraries_of, load_libraries_of_begun, packages_of};
use super::runs::{self, Answer};
use super::{diagnostics, inspect, manual, sweep, version};
use crate::catalogue::PackageRequest;
use crate::draw::{self, Picture};
use crate::library::Library;
use crate::pipeline::{self, Sources};
use crate::plan::Plan;
use crate::plugin_calls::{CaughtUnwind, catch_panics};
use crate::run::{self, RunOutcome, StartError, data_free};
use crate::{
    catalogue, check, export, home_folder, input_file, inspect_file, library, new_pipeline, parameter_count,
    report_page, scaffold, text_format, watch,
};

/// More than any pipeline has; one of 100,000 lines has 4 MB.
const MAX_PIPELINE: u64 = 64 << 20;

/// Why a command did not do what was asked for.
pub enum Failure {
    /// Pipelines, or what else was asked for, are wrong, and nothing was done.
    Refused(Vec<Refusal>),
    /// It failed on the way.
    Failed(Error),
    /// The user asked to stop.
    Interrupted,
    /// The budget was used up.
    OutOfBudget,
    /// The run found something else than its pipeline expects.
    ShortOfExpectations,
}

/// Why one thing that was asked for cannot be done.
pub enum Refusal {
    /// A pipeline is unsound: what is wrong with it, shown.
    Unsound(String),
    /// Something else is wrong.
    Global(Diagnostic),
}

impl From<Diagnostic> for Failure {
    fn from(problem: Diagnostic) -> Self {
        Self::Refused(vec![Refusal::Global(problem)])
    }
}

impl Refusal {
    fn render(&self) -> String {
        match self {
            Self::Unsound(shown) => shown.clone(),
            Self::Global(problem) => diagnostics::render_global(problem),
        }
    }
}

/// Runs the program on a command line.
pub fn execute(arguments: Vec<OsString>) -> ExitCode {
    let command_line: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to say when even this cannot be printed.
            let _ = error.print();
            if let Some(first) = command_line.get(1).filter(|_| error.exit_code() != 0) {
                let hint = meant_command(first).map(|hint| format!("help: {hint}\n")).unwrap_or_default();
                let _ = io::stderr().write_all(hint.as_bytes());
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // What no plugin was called for: the images of an export, the sums of weights.
    let outcome = catch_out_of_memory(|| Ok(dispatch(cli, command_line)));
    match outcome.unwrap_or_else(|error| Err(Failure::Failed(error))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(refusals)) => complain(&refusals.iter().map(Refusal::render).collect::<String>(), 2),
        Err(Failure::Failed(error)) => complain(&format!("error: {error}\n"), 1),
        Err(Failure::Interrupted) => ExitCode::from(130),
        Err(Failure::ShortOfExpectations) => ExitCode::from(3),
        // As timeout(1) has it, which ends what takes too long.
        Err(Failure::OutOfBudget) => ExitCode::from(124),
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    let _ = io::stderr().write_all(message.as_bytes());
    ExitCode::from(code)
}

/// Prints a result. Who reads only its beginning has read enough.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(failure) if failure.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(Error::new(format!("cannot write: {failure}"))))
        }
        _ => Ok(()),
    }
}

fn dispatch(cli: Cli, command_line: Vec<String>) -> Result<(), Failure> {
    library::image_is_ours()?;
    if cli.command.is_some()
        && let Some(given) = cli.run.given()
    {
        let problem = Diagnostic::global(format!("`{given}` comes before a command"));
        return Err(problem.help("write what a command takes after it").into());
    }
    if cli.version {
        return print(&version::describe(cli.run.json));
    }
    // A library that is refused must not be in the way of building it anew.
    let libraries = cli.libraries();
    match &cli.command {
        Some(Command::Plugin { .. } | Command::Completions { .. }) => {}
        // What began goes on with the packages that it began with.
        None | Some(Command::Sweep(_)) => {}
        Some(Command::Export { run, .. }) => load_named(&libraries, &packages_of(run))?,
        _ => load_named(&libraries, &[])?,
    }
    match cli.command {
        None => run_pipeline(cli.run, &libraries, command_line),
        Some(Command::Validate { pipelines, overrides, skip_files, deny_warnings, .. }) => {
            validate(&pipelines, &overrides.sets, skip_files, deny_warnings)
        }
        Some(Command::Graph { pipeline, overrides, format, skip_files, .. }) => {
            let picture = Picture::of(&prove(&read(&pipeline, &overrides.sets)?.0, skip_files)?);
            print(&match format {
                Format::Mermaid => draw::mermaid(&picture),
                Format::Dot => draw::dot(&picture),
                Format::Svg => draw::svg(&picture),
            })
        }
        Some(Command::Sweep(arguments)) => sweep::sweep(&arguments, &libraries),
        Some(Command::Plugin { command }) => print(&plugin(&command)?),
        Some(Command::Plugins { json, .. }) => print(&inspect::list(Registry::get()?, json)),
        Some(Command::New { teacher, key, ignore, output, data, student, mean, std, method, to, .. }) => {
            let request = new_pipeline::Request {
                teacher: &teacher,
                key: key.as_deref(),
                ignore: &ignore,
                output: output.as_deref(),
                data: data.as_deref(),
                student: student.as_deref(),
                normalization: mean.zip(std).map(|(mean, std)| Normalization { mean, std }),
                method,
                to: to.as_deref(),
            };
            print(&new_pipeline::new(&request, Registry::get()?)?)
        }
        Some(Command::Export { run, format, network, best, to, with_normalization, .. }) => {
            load_libraries_of(&run, &packages_of(&run))?;
            let request = export::Request {
                run: &run,
                network: network.as_deref(),
                best,
                format,
                to: to.as_deref(),
                with_normalization,
            };
            print(&export::export(&request, Registry::get()?, tell)?)
        }
        Some(Command::Report { runs, to, .. }) => {
            let request = report_page::Request { folders: &runs, to: to.as_deref() };
            print(&report_page::make(&request, Registry::get()?, tell)?)
        }
        Some(Command::Watch { run }) => Ok(watch::watch(&run)?),
        Some(Command::Completions { shell }) => print(&manual::completions(shell)),
        Some(Command::Manual { folder, .. }) => Ok(manual::write(&folder, Registry::get()?)?),
        Some(Command::Runs { command, .. }) => {
            let Answer { text, complaint } = runs::execute(command.as_ref(), Registry::get()?)?;
            print(&text)?;
            complaint.map_or(Ok(()), |complaint| Err(Failure::Failed(Error::new(complaint))))
        }
        Some(Command::Inspect { name, key, samples, json, .. }) => {
            let registry = Registry::get()?;
            let is_path = name.exists() || name.components().count() > 1 || name.extension().is_some();
            let plugin = name.to_str().filter(|plugin| registry.named(plugin).next().is_some() || !is_path);
            print(&match plugin {
                Some(plugin) => inspect::describe(registry, plugin, json)?,
                None => {
                    let (key, samples) = (key.as_deref(), samples.as_deref());
                    inspect_file::describe(&inspect_file::Request { path: &name, key, samples, json }, registry)?
                }
            })
        }
    }
}

/// Tells of something that is wrong with a part of what was asked for.
fn tell(problem: &Diagnostic) {
    let _ = io::stderr().write_all(diagnostics::render_global(problem).as_bytes());
}

fn plugin(command: &PluginCommand) -> Result<String, Diagnostic> {
    match command {
        PluginCommand::New { name, kind, sdk, linked } => scaffold::new(name, *kind, sdk.as_deref(), linked.as_deref()),
        PluginCommand::Build { folder, sdk } => scaffold::build(folder, sdk.as_deref()),
        PluginCommand::Check { library } => scaffold::check(library),
        PluginCommand::Package { folder, sdk, index, replace } => catalogue::package(&PackageRequest {
            folder,
            sdk: sdk.as_deref(),
            index: index.as_deref(),
            replace: *replace,
            inspect: &|plugin| inspect::describe(Registry::get()?, &plugin.full_name(), true),
            tell: &tell,
        }),
        PluginCommand::Add { package, index, replace } => catalogue::add(package, index.as_deref(), *replace, tell),
        PluginCommand::Search { words, index, json } => catalogue::search(words, index.as_deref(), *json, tell),
        PluginCommand::List { json } => catalogue::list(*json),
        PluginCommand::Remove { package } => catalogue::remove(package),
    }
}

fn run_pipeline(arguments: RunArguments, libraries: &[PathBuf], command_line: Vec<String>) -> Result<(), Failure> {
    let began = Instant::now();
    let RunArguments { pipeline, overrides, out, resume, go_on, dry, budget, quiet, json } = arguments;
    let path = match (&pipeline, &resume) {
        (Some(pipeline), _) => pipeline.clone(),
        (None, Some(directory)) => directory.join("pipeline.ron"),
        (None, None) => return Err(Diagnostic::global("no pipeline is given").into()),
    };
    if let (None, Some(directory)) = (&pipeline, &resume) {
        run::restore_pipeline(directory)?;
        if !path.is_file() {
            let message =
                format!("`{}` is not the folder of a run: there is no pipeline.ron in it", directory.display());
            return Err(Diagnostic { help: home_folder::hint(directory), ..Diagnostic::global(message) }.into());
        }
    }
    refuse_tilde(out.as_deref())?;
    let sources = read_text(&path, &overrides.sets)?;
    let begun = resume.as_ref().or(out.as_ref().filter(|_| go_on));
    let began_with = begun.map(|run| packages_of(run)).unwrap_or_default();
    load_named(libraries, &began_with)?;
    match begun {
        Some(run) => load_libraries_of_begun(run, &sources, &began_with)?,
        None => load_libraries(&sources, &began_with)?,
    };
    let plan = prove(&sources, false)?;
    warn(&plan.warnings, &sources);
    if !quiet && !json && pipeline.is_some() && pipeline::sweep_section(&sources).is_some() {
        let path = path.display();
        let note = format!(
            "note: {path} has a sweep, and this is a single run without it; all of it: zskt-run sweep {path}\n"
        );
        let _ = io::stderr().write_all(note.as_bytes());
    }
    let limit = budget.filter(|_| !dry).map(|limit| run::Budget { limit, began });
    let options =
        run::Options { pipeline_path: pipeline, out, resume, go_on, budget: limit, quiet, json, command_line };
    if dry || budget.is_some() && options.begun().is_none() {
        let with = |changes: &[String]| {
            let sets = [&overrides.sets[..], changes].concat();
            prove(&Sources::new(sources.name(0), sources.text(0), &sets), false).ok()
        };
        // A plan is measured or run: its plugins remember what was built of them.
        match estimate(prove(&sources, false)?, &with, &options) {
            Ok(estimate) => {
                if dry {
                    print(&if json { format!("{}\n", estimate.json()) } else { estimate.table() })?;
                }
                if let Some(warning) = budget.and_then(|budget| estimate.exceeds(budget)) {
                    let _ = writeln!(io::stderr(), "warning: {warning}");
                }
            }
            // The run is what was asked for.
            Err(Failure::Failed(error)) if !dry => {
                let _ = writeln!(io::stderr(), "warning: whether the budget will do is not known: {error}");
            }
            // The run says so.
            Err(Failure::Interrupted) if !dry && limit.is_some_and(|limit| limit.is_used_up()) => {}
            Err(failure) => return Err(failure),
        }
    }
    if dry {
        return Ok(());
    }
    match run::run(plan, options) {
        RunOutcome::Done => Ok(()),
        RunOutcome::ShortOfExpectations => Err(Failure::ShortOfExpectations),
        RunOutcome::Interrupted => Err(Failure::Interrupted),
        RunOutcome::OutOfBudget => Err(Failure::OutOfBudget),
        RunOutcome::Failed(error) => Err(Failure::Failed(error)),
        RunOutcome::Refused(problem) => Err(problem.into()),
    }
}

/// Measures what a run would take.
fn estimate(
    plan: Plan,
    with: &(dyn Fn(&[String]) -> Option<Plan> + Sync),
    options: &run::Options,
) -> Result<run::Estimate, Failure> {
    run::estimate(plan, with, options).map_err(|error| match error {
        StartError::Refused(problem) => problem.into(),
        StartError::Failed(error) if error.is_interrupted() => Failure::Interrupted,
        StartError::Failed(error) => Failure::Failed(error),
    })
}

/// A folder called `~` is not meant.
pub fn refuse_tilde(out: Option<&Path>) -> Result<(), Diagnostic> {
    let Some((out, hint)) = out.and_then(|out| Some((out, home_folder::hint(out)?))) else { return Ok(()) };
    Err(Diagnostic::global(format!("--out would make a folder called `~`: {}", out.display())).help(hint))
}

fn validate(pipelines: &[PathBuf], sets: &[String], skip_files: bool, deny_warnings: bool) -> Result<(), Failure> {
    let everyones = library::loaded();
    // All of them first: which plugins there are is settled when the first pipeline is proven.
    let sources: Vec<_> = pipelines.iter().map(|path| read(path, sets)).collect();
    let mut refusals = Vec::new();
    for (path, sources) in pipelines.iter().zip(sources) {
        let proven = sources.and_then(|(sources, own)| {
            let plan = prove(&sources, skip_files)?;
            if deny_warnings && !plan.warnings.is_empty() {
                let denied = |warning| Diagnostic { severity: Severity::Error, ..warning };
                let denied: Vec<_> = plan.warnings.into_iter().map(denied).collect();
                return Err(unsound(&denied, &sources));
            }
            warn(&plan.warnings, &sources);
            match unnamed_plugin(&plan, &[&everyones[..], &own].concat()) {
                None => Ok((plan, sweep::validate(&sources, skip_files)?)),
                Some((plugin, library)) => Err(Diagnostic::global(format!(
                    "`{}` uses the plugin `{}` of the library `{}`, which it does not name",
                    path.display(),
                    plugin.name,
                    library.path.display()
                ))
                .help("name it in the pipeline's `plugins`, or with --plugin")
                .into()),
            }
        });
        match proven {
            Ok((plan, points)) => {
                let swept = points
                    .map(|points| format!("; a sweep of {}", text_format::counted(points, "point")))
                    .unwrap_or_default();
                print(&format!("ok {}: {}{swept}\n", path.display(), summary(&plan)))?;
            }
            Err(Failure::Refused(refused)) => refusals.extend(refused),
            Err(other) => return Err(other),
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(Failure::Refused(refusals)) }
}

/// A plugin of a plan that is there only because another pipeline names its library.
fn unnamed_plugin(plan: &Plan, named: &[Library]) -> Option<(&'static PluginRegistration, Library)> {
    let plugins = || plan.nodes.iter().flat_map(|node| node.plugins.iter().copied());
    let is_named = |library: &Library| named.iter().any(|named| named.file == library.file);
    let library = library::of_plugins(plugins()).into_iter().find(|library| !is_named(library))?;
    let plugin = plugins().find(|plugin| library.has(plugin))?;
    Some((plugin, library))
}

/// A sound pipeline in one line.
fn summary(plan: &Plan) -> String {
    let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let edges = plan.nodes.iter().map(|node| node.inputs.len()).sum();
    let stages = plan.nodes.iter().filter(|node| node.registration.kind == zskt_api::PluginKind::Stage).count();
    let mut parts =
        vec![format!("{}, {}, {}", count(plan.nodes.len(), "node"), count(edges, "edge"), count(stages, "stage"))];
    // Equal networks have as many parameters: counting them takes making one.
    let mut counted = HashMap::new();
    let sizes: Vec<_> = plan
        .nodes
        .iter()
        .filter_map(|node| {
            let count = *counted.entry(&node.ron).or_insert_with(|| parameter_count::of(&node.instance));
            Some(format!("{} {}", node.name, text_format::count(count?)))
        })
        .collect();
    let sizes = text_format::some_of(sizes.iter().map(String::as_str));
    if !sizes.is_empty() {
        parts.push(format!("parameters: {sizes}"));
    }
    parts.push(match data_free(plan) {
        None => "no claim to be data-free".into(),
        Some(statement) => format!("data-free: {statement}"),
    });
    format!("{}: {}", plan.name, parts.join("; "))
}

/// Reads a pipeline, and loads the libraries that it names.
fn read(path: &Path, sets: &[String]) -> Result<(Sources, Vec<Library>), Failure> {
    let sources = read_text(path, sets)?;
    let libraries = load_libraries(&sources, &[])?;
    Ok((sources, libraries))
}

/// Reads the text of a pipeline.
pub fn read_text(path: &Path, sets: &[String]) -> Result<Sources, Diagnostic> {
    let bytes = input_file::read(path, MAX_PIPELINE).map_err(|failure| unreadable(path, &failure))?;
    let text = String::from_utf8(bytes).map_err(|text| not_utf8(path, text.as_bytes()))?;
    Ok(Sources::new(path.display().to_string(), text, sets))
}

/// Shows what is probably not meant.
pub fn warn(warnings: &[Diagnostic], sources: &Sources) {
    if !warnings.is_empty() {
        let shown = diagnostics::render(warnings, sources, diagnostics::colours());
        let _ = io::stderr().write_all(shown.as_bytes());
    }
}

/// Proves a pipeline sound.
fn prove(sources: &Sources, skip_files: bool) -> Result<Plan, Failure> {
    check(sources, skip_files)?.map_err(|problems| unsound(&problems, sources))
}

/// Proves a pipeline sound, or gives what is wrong with it.
pub fn check(sources: &Sources, skip_files: bool) -> Result<Result<Plan, Vec<Diagnostic>>, Failure> {
    let registry = Registry::get()?;
    match catch_panics(|| check::prove(sources, registry, skip_files)) {
        Ok(proven) => Ok(proven),
        Err(CaughtUnwind::Error(error)) => Err(Diagnostic::global(error.to_string()).into()),
        Err(CaughtUnwind::Panic { plugin, text }) => {
            let who = plugin.map_or("a plugin".to_owned(), |plugin| plugin.to_string());
            let message = format!("{who} panicked while `{}` was checked{text}", sources.name(0));
            Err(Diagnostic::global(message).into())
        }
    }
}

/// What is wrong with a pipeline, shown.
pub fn unsound(problems: &[Diagnostic], sources: &Sources) -> Failure {
    Failure::Refused(vec![Refusal::Unsound(diagnostics::render(problems, sources, diagnostics::colours()))])
}

fn unreadable(path: &Path, failure: &io::Error) -> Diagnostic {
    let shown = path.display();
    let problem = Diagnostic::global(format!("cannot read the pipeline `{shown}`: {}", text_format::reason(failure)));
    let meant = || home_folder::hint(path).or_else(|| meant_command(&path.to_string_lossy()));
    let help = if failure.kind() == io::ErrorKind::NotFound { meant() } else { None };
    Diagnostic { help, ..problem }
}

fn not_utf8(path: &Path, bytes: &[u8]) -> Diagnostic {
    let problem = Diagnostic::global(format!("`{}` is not valid UTF-8", path.display()));
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return problem.help("it is UTF-16: save it as UTF-8");
    }
    problem
}

/// A hint, where something that was taken for a pipeline looks more like a command.
fn meant_command(word: &str) -> Option<String> {
    if word == "run" {
        return Some("a pipeline is run without a command: `zskt-run PIPELINE.ron`".into());
    }
    let command = Cli::command();
    let commands: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    let near = nearest_name(word, commands.iter().copied());
    let near = near.filter(|_| !word.contains(['.', '/', '-']) && !commands.contains(&word));
    near.map(|near| format!("did you mean `zskt-run {near}`?"))
}
