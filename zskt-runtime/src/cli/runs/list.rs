//! `runs list`: all runs, which is best, and in what they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zskt_api::{Diagnostic, Objective, Registry, nearest_name};

use super::{Answer, cell, disk_bytes, figure, moment};
use crate::runs::{Headlines, Run, RunState};
use crate::text_format;

/// Where runs lie that nobody said another place for.
const RUNS: &str = "runs";
/// With more parameters that differ, each run has a list of its own of them.
const MOST_COLUMNS: usize = 6;
/// So many are in such a list.
const MOST_LISTED: usize = 4;

/// What to list, and how.
pub struct Request<'a> {
    /// Runs, and folders of runs.
    pub folders: &'a [PathBuf],
    /// The figure or parameter to sort by.
    pub sort: Option<&'a str>,
    /// Whether the smallest comes first, whatever is better.
    pub ascending: bool,
    /// Whether the answer is for a program.
    pub json: bool,
}

/// A run, and what is shown of it.
struct Row {
    run: Run,
    figures: BTreeMap<String, f64>,
    parameters: BTreeMap<String, String>,
    bytes: u64,
}

/// The runs of folders, and what looks like a run and cannot be read.
///
/// # Errors
/// When a folder cannot be read.
pub fn find(folders: &[PathBuf]) -> Result<(Vec<Run>, Vec<Diagnostic>), Diagnostic> {
    let usual = [PathBuf::from(RUNS)];
    let folders = if folders.is_empty() { &usual } else { folders };
    let (mut runs, mut damaged) = (Vec::new(), Vec::new());
    for folder in folders {
        let (found, problems) = Run::find(folder)?;
        runs.extend(found);
        damaged.extend(problems);
    }
    runs.sort_by(|one, other| (one.began(), &one.folder).cmp(&(other.began(), &other.folder)));
    runs.dedup_by(|one, other| one.folder == other.folder);
    Ok((runs, damaged))
}

/// Lists runs.
///
/// # Errors
/// When a folder cannot be read, or no run has what they are to be sorted by.
pub fn list(request: &Request<'_>, registry: &Registry) -> Result<Answer, Diagnostic> {
    let (runs, mut damaged) = find(request.folders)?;
    let headlines = Headlines::of_runs(&runs, registry);
    let mut rows = Vec::new();
    for run in runs {
        let figures = match run.figures() {
            Ok(figures) => figures.0,
            Err(problem) => {
                damaged.push(problem);
                BTreeMap::new()
            }
        };
        let (parameters, bytes) = (run.configuration().parameters, disk_bytes(&run.folder));
        rows.push(Row { run, figures, parameters, bytes });
    }
    if let Some(key) = request.sort {
        sort(&mut rows, key, request.ascending, &headlines)?;
    }
    let differing = differing(&rows);
    let text = if request.json { json_of(&rows, &differing) } else { table(&rows, &differing, &headlines, request) };
    let complaint = damaged.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n");
    Ok(Answer { text, complaint: Some(complaint).filter(|complaint| !complaint.is_empty()) })
}

/// The best first: by a figure as its metric says what is better, else the largest; by a parameter the smallest, or by its text. Runs without it come last.
fn sort(rows: &mut [Row], key: &str, ascending: bool, headlines: &Headlines) -> Result<(), Diagnostic> {
    let is_figure = rows.iter().any(|row| row.figures.contains_key(key));
    if !is_figure && !rows.iter().any(|row| row.parameters.contains_key(key)) {
        let known: BTreeSet<_> =
            rows.iter().flat_map(|row| row.figures.keys().chain(row.parameters.keys())).map(String::as_str).collect();
        let problem = Diagnostic::global(format!("no run has a figure or parameter `{key}`"));
        let near = nearest_name(key, known);
        let headlines: Vec<_> = headlines.0.iter().map(|headline| headline.key.as_str()).collect();
        return Err(problem.help(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("figures to sort by are {}, and what `runs show` has", text_format::some_of(headlines)),
        }));
    }
    let ascending = ascending || !is_figure || headlines.objective(key) == Some(Objective::Minimize);
    let number = |row: &Row| {
        let parameter = || row.parameters.get(key).and_then(|value| value.parse().ok());
        row.figures.get(key).copied().or_else(parameter).filter(|value: &f64| !value.is_nan())
    };
    // What is no number, such as a plugin.
    fn text<'r>(row: &'r Row, key: &str) -> (bool, Option<&'r String>) {
        let text = row.parameters.get(key);
        (text.is_none(), text)
    }
    rows.sort_by(|one, other| {
        let by_number = match (number(one), number(other)) {
            (Some(one), Some(other)) if ascending => one.total_cmp(&other),
            (Some(one), Some(other)) => other.total_cmp(&one),
            (one, other) => other.is_some().cmp(&one.is_some()),
        };
        by_number.then_with(|| text(one, key).cmp(&text(other, key)))
    });
    Ok(())
}

/// The parameters that are not the same in all runs, but for what they are called.
fn differing(rows: &[Row]) -> Vec<String> {
    let keys: BTreeSet<_> = rows.iter().flat_map(|row| row.parameters.keys()).collect();
    let differs = |key: &&&String| {
        let mut values = rows.iter().map(|row| row.parameters.get(**key));
        let first = values.next();
        **key != "name" && values.any(|value| Some(value) != first)
    };
    keys.iter().filter(differs).map(|key| (*key).clone()).collect()
}

fn table(rows: &[Row], differing: &[String], headlines: &Headlines, request: &Request<'_>) -> String {
    if rows.is_empty() {
        return "no runs\n".into();
    }
    let has = |key: &str| rows.iter().any(|row| row.figures.contains_key(key));
    let mut figures: Vec<String> = Vec::new();
    for headline in &headlines.0 {
        let best = format!(".best.{}", headline.key);
        let of_best = rows.iter().flat_map(|row| row.figures.keys()).filter(|key| key.ends_with(&best)).cloned();
        figures.extend(of_best.collect::<BTreeSet<_>>());
        figures.extend(has(&headline.key).then(|| headline.key.clone()));
    }
    let sorted_by = request.sort.filter(|key| has(key)).map(str::to_owned);
    figures.retain(|key| Some(key) != sorted_by.as_ref());
    let figures: Vec<String> = sorted_by.into_iter().chain(figures).collect();
    let columns = if differing.len() > MOST_COLUMNS { &[] } else { differing };
    let mut header = vec!["run".to_owned(), "state".to_owned()];
    header.extend(figures.iter().chain(columns).map(|key| cell(key)));
    if columns.len() < differing.len() {
        header.push("differs in".into());
    }
    header.extend(["began", "took", "disk"].map(str::to_owned));
    let common = common_values(rows, differing);
    let mut lines = vec![header];
    let mut reasons = Vec::new();
    for row in rows {
        let name = shown_name(&row.run.folder, request.folders);
        if let RunState::Failed(why) = &row.run.state {
            reasons.push(format!("{name} failed: {}\n", text_format::one_line(why)));
        }
        let mut line = vec![name, state(row)];
        line.extend(
            figures.iter().map(|key| row.figures.get(key).map(|value| figure(key, *value)).unwrap_or_default()),
        );
        line.extend(columns.iter().map(|key| row.parameters.get(key).map(|value| cell(value)).unwrap_or_default()));
        if columns.len() < differing.len() {
            line.push(deviations(row, &common));
        }
        line.push(moment(row.run.began()));
        line.push(row.figures.get("seconds").map(|seconds| text_format::duration(*seconds)).unwrap_or_default());
        line.push(text_format::bytes(row.bytes));
        lines.push(line);
    }
    let last = lines[0].len() - 1;
    let numbers = 2..2 + figures.len();
    let table = text_format::table(&lines, |column| numbers.contains(&column) || column + 1 >= last);
    let disk = text_format::bytes(rows.iter().map(|row| row.bytes).sum());
    let count = text_format::count(rows.len());
    format!("{table}{}{count} run{}, {disk}\n", reasons.concat(), if rows.len() == 1 { "" } else { "s" })
}

/// The state of a run, and whether what it found is what its pipeline expects.
fn state(row: &Row) -> String {
    row.run.state_by(&row.figures)
}

/// The folder of a run within the one that was asked for.
fn shown_name(folder: &Path, roots: &[PathBuf]) -> String {
    let usual = [PathBuf::from(RUNS)];
    let roots = if roots.is_empty() { &usual } else { roots };
    let within = roots.iter().filter_map(|root| folder.strip_prefix(root).ok()).find(|rest| *rest != Path::new(""));
    text_format::one_line(&within.unwrap_or(folder).display().to_string())
}

/// What most runs have of each parameter that differs.
fn common_values<'r>(rows: &'r [Row], differing: &'r [String]) -> BTreeMap<&'r str, Option<&'r String>> {
    let common = differing.iter().map(|key| {
        let mut counts: BTreeMap<Option<&String>, usize> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row.parameters.get(key)).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(_, count)| *count).and_then(|(value, _)| value);
        (key.as_str(), most)
    });
    common.collect()
}

/// In what a run differs from most.
fn deviations(row: &Row, common: &BTreeMap<&str, Option<&String>>) -> String {
    let own = common.iter().filter(|(key, most)| row.parameters.get(**key) != **most);
    let own: Vec<_> = own
        .map(|(key, _)| match row.parameters.get(*key) {
            Some(value) => format!("{key}={}", cell(value)),
            None => format!("no {key}"),
        })
        .collect();
    let more = own.len().saturating_sub(MOST_LISTED);
    let shown = own.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>().join(" ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn json_of(rows: &[Row], differing: &[String]) -> String {
    let row = |row: &Row| {
        let configuration: Map<_, _> =
            differing.iter().filter_map(|key| Some((key.clone(), row.parameters.get(key)?.clone().into()))).collect();
        let why = match &row.run.state {
            RunState::Failed(why) => Some(why),
            _ => None,
        };
        json!({
            "folder": row.run.folder.display().to_string(),
            "name": row.run.name,
            "state": row.run.state.to_string(),
            "failure": why,
            "falls_short": row.run.falls_short(&row.figures),
            "began": row.run.began(),
            "disk_bytes": row.bytes,
            "figures": row.figures,
            "differs_in": configuration,
        })
    };
    format!("{}\n", Value::Array(rows.iter().map(row).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Headlines, Row, sort};
    use crate::runs::{Run, RunState};

    #[test]
    fn runs_are_sorted_by_numbers_and_by_texts() {
        let row = |lr: Option<&str>| {
            let run = Run {
                folder: lr.unwrap_or("none").into(),
                name: "n".into(),
                state: RunState::Finished,
                manifest: Value::Null,
                report: None,
                pipeline: String::new(),
            };
            let parameters = lr.map(|lr| ("a.lr".to_owned(), lr.to_owned())).into_iter().collect();
            Row { run, figures: Default::default(), parameters, bytes: 0 }
        };
        let mut rows = [Some("Sgd"), None, Some("10.0"), Some("Adam"), Some("9.5")].map(row);
        sort(&mut rows, "a.lr", false, &Headlines::default()).unwrap();
        let order = rows.map(|row| row.run.folder.display().to_string());
        assert_eq!(order, ["9.5", "10.0", "Adam", "Sgd", "none"]);
    }
}
