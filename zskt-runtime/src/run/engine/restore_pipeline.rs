//! The pipeline of a run that is gone on with by its folder alone: the checkpoint has it where the file is damaged, missing or another.

use std::io;
use std::path::Path;

use zskt_api::{Diagnostic, Error};

use crate::input_file;
use crate::pipeline::{is_well_formed, resumed_part};
use crate::run::record::notice;
use crate::run::resume::{Checkpoint, RunDirectory, RunFiles};
use crate::shell_quoting::quoted;

/// Writes the pipeline of a run again, if it is not the one that the run's checkpoint has, and tells that. What was there is kept beside it. Does
/// nothing in a folder without a checkpoint.
///
/// # Errors
/// When neither the pipeline nor a checkpoint can be read, the pipeline cannot be written, or another process writes to the folder.
pub fn restore_pipeline(folder: &Path) -> Result<(), Diagnostic> {
    let files = RunFiles::new(folder.to_owned());
    let (path, shown) = (files.pipeline(), folder.display());
    let found = match input_file::read_whole(&path) {
        Ok(bytes) => String::from_utf8(bytes).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // That is said where it is read to be run.
        Err(_) => return Ok(()),
    };
    let is_sound = found.as_deref().is_some_and(is_well_formed);
    let mut problems = Vec::new();
    let mut kept = None;
    for checkpoint in files.checkpoints().iter().filter(|checkpoint| checkpoint.exists()) {
        match Checkpoint::read_state(checkpoint) {
            Ok(state) => {
                kept = Some(state.pipeline);
                break;
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    let Some(kept) = kept else {
        // Where the pipeline is sound, the run tells of its checkpoints itself.
        if is_sound || problems.is_empty() {
            return Ok(());
        }
        problems.dedup();
        let state = if path.exists() { "damaged" } else { "missing" };
        let message = format!("cannot resume {shown}: {} is {state}, and {}", path.display(), problems.join("\nand "));
        return Err(Diagnostic::global(message).help("restore one of them from a copy, or run without --resume"));
    };
    // Where it is computed, and what is said of its figures, may be changed.
    let goes_on = |found: &String| *found == kept || is_sound && resumed_part(found) == resumed_part(&kept);
    if found.as_ref().is_some_and(goes_on) {
        return Ok(());
    }
    let failed = |error: Error| Diagnostic::global(format!("cannot resume {shown}: {error}"));
    let directory = RunDirectory::open(folder.to_owned())?;
    let Some(found) = found.filter(|_| is_sound) else {
        notice(&directory.write_again(&path, kept.as_bytes()).map_err(failed)?);
        return Ok(());
    };
    let aside = directory.set_aside(&path).map_err(failed)?.display().to_string();
    directory.write(&path, kept.as_bytes()).map_err(failed)?;
    notice(&format!(
        "{} is not what the run wrote, which was changed in\n  {}\nthe run goes on as it began: what was there is kept as {aside}, and the run's own is \
         written again; if it was changed on purpose, begin a new run with it: zskt-run {} --out FOLDER",
        path.display(),
        RunDirectory::changes(&kept, &found),
        quoted(&aside)
    ));
    Ok(())
}
