//! Slurm: an array job with a task for each point.

use std::ffi::OsString;
use std::path::Path;

use zskt_api::Diagnostic;

use super::{Submission, call, text};
use crate::sweep::shell::quoted;

/// Its program.
pub const PROGRAM: &str = "sbatch";

/// How long before its time is up a task is asked to stop at a checkpoint, in seconds.
const NOTICE: usize = 120;

pub fn submit(submission: &Submission<'_>, commands: &Path) -> Result<String, Diagnostic> {
    let script = submission.write("slurm.sh", &script(submission, commands)?)?;
    let mut arguments = vec![OsString::from("--parsable")];
    arguments.extend(submission.wait.then(|| "--wait".into()));
    arguments.extend(submission.options.iter().map(OsString::from));
    arguments.push(text(&script));
    let job = call(PROGRAM, &arguments, submission.wait)?;
    Ok(format!(
        "job {job}: {} of {} points; `squeue --job {job}` shows them",
        submission.todo.len(),
        submission.commands.len()
    ))
}

/// Options of the command line come after those of the script, and replace them.
fn script(submission: &Submission<'_>, commands: &Path) -> Result<String, Diagnostic> {
    let path = submission.path.display().to_string();
    // It would end the quotes, or the line, in which sbatch reads an option.
    if path.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        let message = format!(
            "sbatch cannot be told of a folder whose path has double quotes, backslashes or control characters: {path:?}"
        );
        return Err(Diagnostic::global(message).help("choose another folder with --out"));
    }
    let throttle = submission.jobs.map(|jobs| format!("%{jobs}")).unwrap_or_default();
    // sbatch takes `%` for one of its own patterns.
    let logs = submission.logs().display().to_string().replace('%', "%%");
    let (name, array, commands) = (&submission.name, ranges(&submission.todo), quoted(&commands.display().to_string()));
    Ok(format!(
        "#!/bin/sh\n\
         #SBATCH --job-name=\"{name}\"\n\
         #SBATCH --array={array}{throttle}\n\
         #SBATCH --output=\"{logs}/slurm-%A_%a.log\"\n\
         #SBATCH --open-mode=append\n\
         #SBATCH --signal=B:TERM@{NOTICE}\n\
         # Task N runs line N + 1. It begins the run, goes on with it, or finds it finished: it may be repeated, and requeued.\n\
         if [ -n \"$SLURM_CPUS_PER_TASK\" ]; then export RAYON_NUM_THREADS=\"$SLURM_CPUS_PER_TASK\"; fi\n\
         eval \"$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" {commands})\"\n"
    ))
}

/// `0-3,7`.
fn ranges(places: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for place in places {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *place => *last = *place,
            _ => ranges.push((*place, *place)),
        }
    }
    let shown =
        |(first, last): &(usize, usize)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Submission, ranges, script};
    use crate::sweep::SweepFolder;

    #[test]
    fn a_folder_cannot_add_options_to_the_script() {
        let of = |path: &str| {
            let folder = SweepFolder { path: path.into() };
            let submission = Submission {
                folder: &folder,
                path: path.into(),
                name: "s".into(),
                commands: vec!["true".into()],
                todo: vec![0],
                jobs: None,
                options: Vec::new(),
                wait: false,
            };
            script(&submission, Path::new("commands"))
        };
        assert!(of("/it's here").unwrap().contains("--output=\"/it's here/logs/"));
        for evil in ["/a\n#SBATCH --uid=0", "/a\" --uid=0", "/a\\"] {
            assert!(of(evil).is_err(), "{evil}");
        }
    }

    #[test]
    fn tasks_are_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[3]), "3");
    }
}
