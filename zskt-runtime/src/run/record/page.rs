//! `report.html`, which is made of what else is in the folder, and is no part of the run.

use zskt_api::Registry;

use super::console::notice;
use crate::draw::{self, Picture};
use crate::plan::Plan;
use crate::plugin_calls::catch_panics;
use crate::report_page;
use crate::run::resume::RunDirectory;
use crate::runs::{Run, RunState};

/// Writes the page of a finished run. What is in the way of that is told, and is no reason to fail.
pub fn write(directory: &RunDirectory, plan: &Plan) {
    let path = directory.page();
    let made = catch_panics(|| {
        if path.exists() && !report_page::is_page(&path) {
            return Err("another file of that name is there, and nothing is ever overwritten".to_owned());
        }
        let run = Run::read(directory.path()).map_err(|problem| problem.message)?;
        // Its lock is our own.
        let run = Run { state: RunState::Finished, ..run };
        let registry = Registry::get().map_err(|problem| problem.message)?;
        let graph = draw::svg(&Picture::of(plan));
        report_page::of_run(&run, Some(&graph), registry).map_err(|problem| problem.message)
    });
    // Drawing the graph asks plugins for the size of their networks.
    let made = made.unwrap_or_else(|_| Err("a plugin panicked while the graph was drawn".into()));
    let written = made.and_then(|page| directory.write(&path, page.as_bytes()).map_err(|error| error.to_string()));
    if let Err(why) = written {
        notice(&format!("warning: {} is not written: {why}", path.display()));
    }
}
