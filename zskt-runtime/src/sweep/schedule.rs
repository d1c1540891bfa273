//! Runs the points of a sweep on this machine, some at once, until all have ended or the user asks to stop.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::child::{PointProcess, Told};
use super::live_table::LiveTable;
use super::progress::{PointProgress, PointState};
use super::record::{Record, SweepFolder};
use super::shell;
use super::slots::{self, Slot};
use super::summary::{self, PointSummary, Summary};
use crate::run::{Interrupted, RunFiles};
use crate::runs::RunState;

/// How long is waited for news before looking whether the user asked to stop.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often is looked at what other programs run.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// A run that found something else than its pipeline expects ends with this.
const SHORT_OF_EXPECTATIONS: i32 = 3;

/// A run that was asked to stop, or has used up its budget, ends with one of these.
const STOPPED: [i32; 2] = [130, 124];

/// How the points of a sweep ended.
pub struct Outcome {
    /// How many failed.
    pub failed: usize,
    /// How many are not finished for another reason.
    pub unfinished: usize,
    /// Whether the user asked to stop.
    pub interrupted: bool,
}

/// What is run, and how.
pub struct Schedule<'s> {
    /// This program.
    pub program: &'s Path,
    /// The folder of the sweep.
    pub folder: &'s SweepFolder,
    /// What it holds.
    pub record: &'s Record,
    /// The places of the points to run.
    pub asked: &'s [usize],
    /// Where they run; those that are needed share the threads.
    pub slots: &'s [Slot],
    /// Whether the first failure ends the sweep.
    pub fail_fast: bool,
}

/// The place of a point, and what its program told.
type News = (usize, Told);

struct Session<'s> {
    schedule: &'s Schedule<'s>,
    points: Vec<PointProgress>,
    slots: Vec<Slot>,
    /// The child of each slot, with the place of its point.
    children: Vec<Option<(usize, PointProcess)>>,
    table: &'s mut LiveTable,
    told: (Sender<News>, Receiver<News>),
    stopping: bool,
}

impl Schedule<'_> {
    /// Runs what is not finished.
    pub fn run(&self, table: &mut LiveTable, interrupted: &Interrupted) -> Outcome {
        let name = |place: &usize| PointProgress::new(self.record.points[*place].folder.clone());
        let mut session = Session {
            schedule: self,
            points: self.asked.iter().map(name).collect(),
            slots: Vec::new(),
            children: Vec::new(),
            table,
            told: channel(),
            stopping: false,
        };
        session.look_at(|state| *state == PointState::Waiting);
        let left = session.points.iter().filter(|point| point.state != PointState::Finished).count();
        session.slots = slots::share(self.slots, left);
        session.children = session.slots.iter().map(|_| None).collect();
        session.run(interrupted);
        let count = |is: fn(&PointState) -> bool| session.points.iter().filter(|point| is(&point.state)).count();
        let failed = count(|state| matches!(state, PointState::Failed(_)));
        let finished = count(|state| *state == PointState::Finished);
        Outcome { failed, unfinished: session.points.len() - finished - failed, interrupted: interrupted() }
    }
}

impl Outcome {
    /// Of these points, as their folders tell.
    pub fn of(summary: &Summary, asked: &[usize]) -> Self {
        let count = |is: fn(&PointSummary) -> bool| asked.iter().filter(|place| is(&summary.points[**place])).count();
        let (failed, finished) = (count(PointSummary::has_failed), count(PointSummary::is_finished));
        Self { failed, unfinished: asked.len() - finished - failed, interrupted: false }
    }
}

impl Session<'_> {
    fn run(&mut self, interrupted: &Interrupted) {
        let mut looked = Instant::now();
        loop {
            let stop = interrupted()
                || self.schedule.fail_fast
                    && self.points.iter().any(|point| matches!(point.state, PointState::Failed(_)));
            if stop && !self.stopping {
                self.stopping = true;
                self.children.iter().flatten().for_each(|(_, child)| child.terminate());
            }
            if !self.stopping {
                self.fill_slots();
            }
            let is_busy = self.children.iter().any(Option::is_some);
            let is_waiting = |point: &PointProgress| matches!(point.state, PointState::Waiting | PointState::Elsewhere);
            if !is_busy && (self.stopping || !self.points.iter().any(is_waiting)) {
                return;
            }
            match self.told.1.recv_timeout(PATIENCE) {
                Ok((point, Told::Object(object))) => {
                    self.points[point].note(&object, &self.schedule.record.headline);
                    self.table.object(&self.points[point], object);
                }
                Ok((point, Told::End)) => self.end(point),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if looked.elapsed() >= BETWEEN_LOOKS {
                looked = Instant::now();
                self.look_at(|state| *state == PointState::Elsewhere);
            }
            self.table.show(&self.points, self.slots.len());
        }
    }

    /// Looks at the folders of those points that are in such a state.
    fn look_at(&mut self, is: impl Fn(&PointState) -> bool) {
        for place in 0..self.points.len() {
            if is(&self.points[place].state) {
                let state = self.found(place);
                self.set(place, state);
            }
        }
    }

    /// What the folder of a point tells: whatever is neither finished nor run by others waits to be run.
    fn found(&self, place: usize) -> PointState {
        let Schedule { folder, record, asked, .. } = self.schedule;
        let point = &record.points[asked[place]];
        match summary::state(folder, point) {
            Some(Ok(run)) if run.state == RunState::Running => PointState::Elsewhere,
            Some(Ok(run)) if run.state == RunState::Finished => PointState::Finished,
            // A run that another program begins has not written anything yet.
            None if RunState::read(&RunFiles::new(folder.run(point)), false) == RunState::Running => {
                PointState::Elsewhere
            }
            // What is wrong with a folder is said by the program that is to go on in it.
            _ => PointState::Waiting,
        }
    }

    fn set(&mut self, place: usize, state: PointState) {
        if self.points[place].state != state {
            self.points[place].end(state);
            self.table.changed(&self.points[place]);
        }
    }

    fn fill_slots(&mut self) {
        for slot in 0..self.children.len() {
            while self.children[slot].is_none() {
                let waits = |point: &PointProgress| point.state == PointState::Waiting;
                let Some(place) = self.points.iter().position(waits) else { return };
                // Another program may have taken it meanwhile.
                match self.found(place) {
                    PointState::Waiting => self.start(slot, place),
                    state => self.set(place, state),
                }
            }
        }
    }

    fn start(&mut self, slot: usize, place: usize) {
        let Schedule { program, folder, record, asked, .. } = self.schedule;
        let point = &record.points[asked[place]];
        let arguments = shell::arguments(folder, record, point);
        let told = (place, self.told.0.clone());
        match PointProcess::start(program, &arguments, &self.slots[slot], folder.log(point), told) {
            Ok(child) => {
                self.points[place].begin();
                self.table.changed(&self.points[place]);
                self.children[slot] = Some((place, child));
            }
            Err(error) => self.set(place, PointState::Failed(format!("its program cannot be started: {error}"))),
        }
    }

    fn end(&mut self, place: usize) {
        let slot = self.children.iter().position(|child| child.as_ref().is_some_and(|(of, _)| *of == place));
        let Some((_, mut child)) = slot.and_then(|slot| self.children[slot].take()) else { return };
        let state = match child.wait() {
            Ok(status) => self.state_after(place, &child, status),
            Err(error) => PointState::Failed(format!("nobody knows how it ended: {error}")),
        };
        self.set(place, state);
    }

    fn state_after(&self, place: usize, child: &PointProcess, status: ExitStatus) -> PointState {
        match status.code() {
            Some(0 | SHORT_OF_EXPECTATIONS) => PointState::Finished,
            Some(code) if STOPPED.contains(&code) => PointState::Interrupted,
            // Asked to stop before it could listen.
            None if self.stopping => PointState::Interrupted,
            // Another program took it before this child could, and may have finished it meanwhile.
            _ => match self.found(place) {
                found @ (PointState::Elsewhere | PointState::Finished) => found,
                _ => PointState::Failed(child.reason(status)),
            },
        }
    }
}
