//! `sweep`: reads what is asked for, proves every point sound, and has them run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zskt_api::{Diagnostic, Error, PluginInstance, Registry};

use super::arguments::SweepArguments;
use super::commands::{Failure, check, load_libraries, load_named, print, read_text, refuse_tilde, unsound, warn};
use crate::catalogue::{self, Reference};
use crate::device_request::DeviceRequest;
use crate::library::{self, Library};
use crate::pipeline::{self, Sources};
use crate::plan::Plan;
use crate::run::{self, EventKind};
use crate::runs::Configuration;
use crate::sweep::{
    self, Design, LiveTable, Outcome, Point, Record, RecordedAxis, RecordedPoint, Request, SEED, Schedule, Submission,
    Summary, SweepFolder,
};
use crate::text_format;

/// The figures that a table shows where a pipeline's plugins say which matter most.
fn headline(plan: &Plan) -> Vec<String> {
    let mut figures: Vec<String> = Vec::new();
    for node in &plan.nodes {
        if let PluginInstance::Metric(metric) = &node.instance {
            figures.extend(metric.score().map(|score| format!("{}.{}", node.name, score.figure)));
        }
    }
    for node in &plan.nodes {
        if let Some(chosen_by) = &node.selection {
            let figure = format!("{}.{}", chosen_by.selection.metric, chosen_by.score.figure);
            figures.extend(["best", "last"].map(|which| format!("{}.{which}.{figure}", node.name)));
        }
    }
    let stated =
        plan.published.iter().map(|(figure, _)| figure).chain(plan.expect.iter().map(|expected| &expected.figure));
    figures.extend(stated.map(|figure| figure.text.clone()));
    let mut seen = HashSet::new();
    figures.retain(|figure| seen.insert(figure.clone()));
    figures
}

/// Sweeps, as the command line asks for it.
pub fn sweep(arguments: &SweepArguments, libraries: &[PathBuf]) -> Result<(), Failure> {
    if let Some(path) = &arguments.collect {
        let folder = SweepFolder { path: path.clone() };
        let all: Vec<_> = (0..folder.read()?.points.len()).collect();
        return finish_as_found(&folder, &all, arguments.json);
    }
    let began_with = packages_of(arguments)?;
    load_named(libraries, &began_with)?;
    refuse_tilde(arguments.out.as_deref())?;
    if let Some(engine) = arguments.on.filter(|_| !arguments.list) {
        engine.check()?;
    }
    let slots = sweep::slots(arguments.jobs.map(usize::from), &arguments.devices)?;
    let (folder, record, asked) = match (&arguments.pipeline, &arguments.resume) {
        (_, Some(path)) => again(path, arguments, libraries)?,
        (Some(pipeline), None) => begin(pipeline, arguments, libraries, &began_with)?,
        (None, None) => return Err(Diagnostic::global("no pipeline is given").into()),
    };
    if arguments.list {
        tell(&format!("{} in {}", text_format::counted(asked.len(), "point"), folder.path.display()));
        let commands = commands(&folder, &record)?;
        return print(&asked.iter().map(|place| format!("{}\n", commands[*place])).collect::<String>());
    }
    if let Some(engine) = arguments.on {
        return submit(engine, arguments, &folder, &record, &asked);
    }
    let interrupted = run::listen();
    let program = program()?;
    let mut table = LiveTable::new(arguments.quiet, arguments.json);
    table.line(&format!("sweep of {} in {}", text_format::counted(asked.len(), "point"), folder.path.display()));
    let schedule = Schedule {
        program: &program,
        folder: &folder,
        record: &record,
        asked: &asked,
        slots: &slots,
        fail_fast: arguments.fail_fast,
    };
    let outcome = schedule.run(&mut table, &interrupted);
    drop(table);
    finish(&folder, &asked, arguments.json, |_| outcome)
}

/// The packages that the sweep began with, if it did.
fn packages_of(arguments: &SweepArguments) -> Result<Vec<Reference>, Diagnostic> {
    let folder = arguments.resume.as_ref().or(arguments.out.as_ref()).map(|path| SweepFolder { path: path.clone() });
    let Some(folder) = folder.filter(|folder| folder.record().exists()) else { return Ok(Vec::new()) };
    Ok(catalogue::packages_among(&folder.read()?.libraries))
}

/// What each point is told to load: the libraries that are `named`, and that very version of each package which is loaded now, whatever is
/// installed when the point runs. A file that is also a package's goes by the name of that, for a point refuses what it is told twice.
fn of_each_point(named: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    // They are loaded already.
    let files = named.iter().map(|path| Ok((path, library::load(path, &[])?.file)));
    let files: Vec<_> = files.collect::<Result<_, Diagnostic>>()?;
    let packages: Vec<_> = library::loaded().into_iter().filter(|library| library.package.is_some()).collect();
    let is_package = |file: &Path| packages.iter().any(|library| library.file == file);
    let files = files.into_iter().filter(|(_, file)| !is_package(file)).map(|(path, _)| path.clone());
    Ok(files.chain(packages.iter().map(Library::lasting_name)).collect())
}

/// Makes the table, on the screen and in the folder, and gives how the points that were asked for ended, as the exit code says it.
fn finish(
    folder: &SweepFolder,
    asked: &[usize],
    json: bool,
    outcome: impl FnOnce(&Summary) -> Outcome,
) -> Result<(), Failure> {
    let summary = folder.write_tables().map_err(Failure::Failed)?;
    if json {
        print(&format!("{}\n", EventKind::Table.with(summary.json())))?;
    } else {
        print(&format!("\n{}table: {}\n", summary.text(), folder.table("md").display()))?;
    }
    let resume = format!("zskt-run sweep --resume {}", shown(folder));
    let Outcome { failed, unfinished, interrupted } = outcome(&summary);
    if interrupted && unfinished > 0 {
        tell(&format!("interrupted; continue with: {resume}"));
        return Err(Failure::Interrupted);
    }
    let problems = [(failed, "failed"), (unfinished, "are not finished")].into_iter().filter(|(count, _)| *count > 0);
    let problems: Vec<_> = problems.map(|(count, what)| format!("{count} of {} points {what}", asked.len())).collect();
    if problems.is_empty() {
        let is_short = |place: &usize| !summary.points[*place].misses.is_empty();
        return if asked.iter().any(is_short) { Err(Failure::ShortOfExpectations) } else { Ok(()) };
    }
    let logs = folder.logs();
    Err(Failure::Failed(Error::new(format!(
        "{}; {} has what they said; try them again with: {resume}",
        problems.join(", "),
        logs.display()
    ))))
}

/// The same where others ran the points: they ended as their folders tell.
fn finish_as_found(folder: &SweepFolder, asked: &[usize], json: bool) -> Result<(), Failure> {
    finish(folder, asked, json, |summary| Outcome::of(summary, asked))
}

/// A folder's place as a shell reads it.
fn shown(folder: &SweepFolder) -> String {
    sweep::quoted(&folder.path.display().to_string())
}

/// Says something beside the result.
fn tell(text: &str) {
    // Nobody need listen.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// This program, for others to start.
fn program() -> Result<PathBuf, Diagnostic> {
    std::env::current_exe()
        .map_err(|error| Diagnostic::global(format!("the system does not say where this program is: {error}")))
}

/// A command for each point.
fn commands(folder: &SweepFolder, record: &Record) -> Result<Vec<String>, Diagnostic> {
    let program = program()?;
    let working_folder = std::env::current_dir().map_err(|error| {
        Diagnostic::global(format!("the system does not say what the working directory is: {error}"))
    })?;
    let command = |point| sweep::command(&program, &working_folder, folder, record, point);
    let commands: Vec<_> = record.points.iter().map(command).collect();
    if let Some(broken) = commands.iter().find(|command| command.contains(char::is_control)) {
        let broken = text_format::one_line(broken);
        let problem = Diagnostic::global(format!("a command with control characters cannot be one line: {broken}"));
        return Err(problem.help("choose another folder with --out, and write line breaks in values as \"\\n\""));
    }
    Ok(commands)
}

fn submit(
    engine: sweep::Engine,
    arguments: &SweepArguments,
    folder: &SweepFolder,
    record: &Record,
    asked: &[usize],
) -> Result<(), Failure> {
    let options = sweep::words(arguments.engine_options.as_deref().unwrap_or_default());
    let options = options.ok_or_else(|| Diagnostic::global("a quote is not closed in the engine's options"))?;
    let summary = Summary::read(folder, record);
    let left = asked.iter().copied().filter(|place| !summary.points[*place].is_finished());
    let (running, todo): (Vec<_>, Vec<_>) = left.partition(|place| summary.points[*place].is_running());
    let path = std::path::absolute(&folder.path).unwrap_or_else(|_| folder.path.clone());
    let name = path.file_name().map_or("sweep".into(), |name| name.display().to_string());
    let jobs = arguments.jobs.map(usize::from);
    let submission = Submission {
        folder,
        path,
        name,
        commands: commands(folder, record)?,
        todo,
        jobs,
        options,
        wait: arguments.wait,
    };
    if !running.is_empty() {
        tell(&format!("{} of {} points run already, and are left out", running.len(), asked.len()));
    }
    let is_done = running.is_empty() && submission.todo.is_empty();
    if is_done {
        tell("all points are finished");
    } else if submission.todo.is_empty() {
        tell("no other point is left to run");
    } else {
        tell(&submission.submit(engine)?);
    }
    if arguments.wait || is_done {
        return finish_as_found(folder, asked, arguments.json);
    }
    tell(&format!("when they are done, or before: zskt-run sweep --collect {}", shown(folder)));
    Ok(())
}

/// What a folder has of a sweep, the places of the points to run, and the folder.
type Begun = (SweepFolder, Record, Vec<usize>);

/// Begins a sweep, or goes on with it, or adds points to it.
fn begin(
    path: &Path,
    arguments: &SweepArguments,
    libraries: &[PathBuf],
    began_with: &[Reference],
) -> Result<Begun, Failure> {
    let mut sources = read_text(path, &[])?;
    let section = pipeline::sweep_section(&sources);
    let request = Request { seeds: arguments.seeds.as_deref(), sets: &arguments.sets, zips: &arguments.zips };
    let mut problems = Vec::new();
    let design = Design::read(&mut sources, section, &request, &mut problems);
    if !problems.is_empty() {
        return Err(unsound(&problems, &sources));
    }
    let base = sources.with(design.base().changes);
    load_libraries(&base, began_with)?;
    let points = design.points();
    let (proven, warnings) = prove_all(&sources, &points, !arguments.devices.is_empty(), false)?;
    warn(&warnings, &sources);
    let axis = |axis: &sweep::Axis| RecordedAxis {
        key: axis.key.clone(),
        values: axis.values.iter().map(|value| value.text.clone()).collect(),
    };
    let axes: Vec<_> = design.axes().map(axis).collect();
    let configuration =
        pipeline::changed(&base, Registry::get()?).map(|text| Configuration::of(&text)).unwrap_or_default();
    let configuration = sweep::without_axes(configuration, &axes);
    // What is published of the pipeline as it is written is published of no other.
    let of_all = axes.iter().any(|axis| axis.key == pipeline::PUBLISHED) || axes.iter().all(|axis| axis.key == SEED);
    let of_base = if of_all { None } else { check(&base, false)?.ok().map(|plan| Configuration::of(&plan.resolved)) };
    let is_base = |resolved: &str| {
        of_base.as_ref().is_some_and(|base| {
            base.differences(&Configuration::of(resolved)).iter().all(|difference| difference.key == SEED)
        })
    };
    let recorded = |(point, plan): (&Point, &Proven)| RecordedPoint {
        folder: String::new(),
        settings: point.settings.iter().cloned().collect(),
        sets: point.sets.clone(),
        published: if of_all || is_base(&plan.resolved) { plan.published.clone() } else { BTreeMap::new() },
        expect: plan.expect.clone(),
        pipeline_sha256: plan.sum.clone(),
    };
    let mut headline: Vec<String> = Vec::new();
    for figure in proven.iter().flat_map(|plan| &plan.headline) {
        if !headline.contains(figure) {
            headline.push(figure.clone());
        }
    }
    let name = proven.first().map_or("", |plan| plan.name.as_str());
    let folder = SweepFolder {
        path: arguments.out.clone().unwrap_or_else(|| sweep::default_folder(name, &configuration, &axes)),
    };
    let record = Record {
        zskt: env!("CARGO_PKG_VERSION").into(),
        pipeline: path.display().to_string(),
        base: configuration.parameters,
        edges: configuration.edges,
        libraries: of_each_point(libraries)?,
        axes,
        headline,
        points: points.iter().zip(&proven).map(recorded).collect(),
    };
    let prove = |record: &Record, places: &[usize]| -> Result<(), Failure> {
        let asked = places.iter().map(|place| &record.points[*place]);
        let others = changed_points(&folder, asked, !arguments.devices.is_empty())?;
        if others.is_empty() {
            return Ok(());
        }
        let problem = Diagnostic::global(format!(
            "{} is not what the sweep began with: {} has another pipeline for {}",
            path.display(),
            folder.pipeline().display(),
            text_format::some_of(others.iter().map(String::as_str))
        ));
        Err(problem.help("choose another folder with --out").into())
    };
    let (record, asked) = folder.begin(&record, sources.text(0), prove)?;
    Ok((folder, record, asked))
}

/// The names of those points that the pipeline which the folder keeps no longer makes the runs that they were.
fn changed_points<'p>(
    folder: &SweepFolder,
    points: impl Iterator<Item = &'p RecordedPoint>,
    gives_devices: bool,
) -> Result<Vec<String>, Failure> {
    let kept = read_text(&folder.pipeline(), &[])?;
    let (mut changed, mut has_libraries) = (Vec::new(), false);
    for point in points {
        let sources = Sources::new(kept.name(0), kept.text(0), &point.sets);
        if !std::mem::replace(&mut has_libraries, true) {
            load_libraries(&sources, &[])?;
        }
        // What is probably not meant was told when the sweep began.
        let (proven, _) = prove_all(&sources, &[Point::of(&sources)], gives_devices, false)?;
        if proven.iter().any(|plan| plan.sum != point.pipeline_sha256) {
            changed.push(point.folder.clone());
        }
    }
    Ok(changed)
}

/// Goes on with all points of a sweep.
fn again(path: &Path, arguments: &SweepArguments, libraries: &[PathBuf]) -> Result<Begun, Failure> {
    let folder = SweepFolder { path: path.to_owned() };
    let mut record = folder.read()?;
    record.add_libraries(&of_each_point(libraries)?, path)?;
    record.libraries = of_each_point(&record.libraries)?;
    let problems = changed_points(&folder, record.points.iter(), !arguments.devices.is_empty())?;
    if !problems.is_empty() {
        let shown = text_format::some_of(problems.iter().map(String::as_str));
        let problem = Diagnostic::global(format!(
            "{} is not what the sweep began with: it is now another pipeline for {shown}",
            folder.pipeline().display()
        ));
        return Err(problem.help("a plugin has changed, or zskt; begin the sweep anew in another folder").into());
    }
    let asked = (0..record.points.len()).collect();
    Ok((folder, record, asked))
}

/// Proves every point of a pipeline's own sweep sound, and says how many there are; nothing where it has none.
pub fn validate(sources: &Sources, skip_files: bool) -> Result<Option<usize>, Failure> {
    let Some(section) = pipeline::sweep_section(sources) else { return Ok(None) };
    let (mut sources, mut problems) = (sources.clone(), Vec::new());
    // As a sweep with the same `--set` arguments.
    let sets: Vec<_> = sources.overrides().iter().map(|change| sources.text(change.source).to_owned()).collect();
    let request = Request { sets: &sets, ..Request::default() };
    let design = Design::read(&mut sources, Some(section), &request, &mut problems);
    if !problems.is_empty() {
        return Err(unsound(&problems, &sources));
    }
    let points = design.points();
    prove_all(&sources, &points, false, skip_files)?;
    Ok(Some(points.len()))
}

/// What a sweep needs to know of a point's plan.
struct Proven {
    name: String,
    resolved: String,
    sum: String,
    headline: Vec<String>,
    published: BTreeMap<String, String>,
    expect: BTreeMap<String, String>,
}

/// Proves all points sound, and gives what is probably not meant, or says everything that is wrong with any, each once.
fn prove_all(
    sources: &Sources,
    points: &[Point],
    gives_devices: bool,
    skip_files: bool,
) -> Result<(Vec<Proven>, Vec<Diagnostic>), Failure> {
    let (mut proven, mut problems, mut warnings) = (Vec::with_capacity(points.len()), Vec::new(), Vec::new());
    let mut sums: HashMap<String, usize> = HashMap::new();
    for (index, point) in points.iter().enumerate() {
        let plan = match check(&sources.with(point.changes.clone()), skip_files)? {
            Ok(plan) => plan,
            Err(found) => {
                problems.extend(found);
                continue;
            }
        };
        if gives_devices && plan.device != DeviceRequest::Auto {
            let message =
                format!("the pipeline asks for device `{}`, so none can be dealt out by --devices", plan.device);
            problems.push(
                Diagnostic::global(message).help("leave `device` out of the pipeline, or say `--set device=auto`"),
            );
        }
        let sum = run::of_pipeline(&plan.resolved);
        if let Some(first) = sums.insert(sum.clone(), index) {
            let shown = |point: &Point| {
                let settings: Vec<_> = point.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("`{}`", settings.join(" "))
            };
            problems.push(Diagnostic::global(format!(
                "two points are the same run: {} and {}",
                shown(&points[first]),
                shown(point)
            )));
        }
        let published = plan.published.iter().map(|(figure, text)| (figure.text.clone(), text.clone())).collect();
        let expect = plan.expect.iter();
        let expect = expect.map(|expected| (expected.figure.text.clone(), expected.bounds.to_string())).collect();
        proven.push(Proven {
            name: plan.name.clone(),
            sum,
            headline: headline(&plan),
            published,
            expect,
            resolved: plan.resolved,
        });
        warnings.extend(plan.warnings);
    }
    for found in [&mut problems, &mut warnings] {
        found.sort_by_key(|problem: &Diagnostic| (problem.span.is_none(), problem.span));
        let mut seen = BTreeSet::new();
        found.retain(|problem| seen.insert((problem.span, problem.message.clone())));
    }
    if problems.iter().any(Diagnostic::is_error) {
        return Err(unsound(&problems, sources));
    }
    Ok((proven, warnings))
}
