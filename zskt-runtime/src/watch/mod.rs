//! `zskt-run watch`: a run in the terminal while it goes on, from another shell. It reads the run's folder, and writes nothing.

mod screen;
mod speed;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use zskt_api::Diagnostic;

use crate::runs::{LogReader, Run, RunState};
use screen::{Screen, Seen};
use speed::Speed;

/// How often the run's folder is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Shows a run until the user leaves.
///
/// # Errors
/// When the folder is not a run's or is taken away, or there is no terminal.
pub fn watch(folder: &Path) -> Result<(), Diagnostic> {
    let run = Run::read(folder)?;
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let folder = folder.display();
        return Err(Diagnostic::global("`watch` draws on a terminal, and this is none").help(format!(
            "`tail -f {folder}/metrics.jsonl` gives the same line by line, `zskt-run report {folder}` a page"
        )));
    }
    let failed = |error: io::Error| Diagnostic::global(format!("the terminal does not do what `watch` needs: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = show(&mut terminal, run, failed);
    ratatui::restore();
    shown
}

/// What the user wants.
enum Wish {
    Leave,
    Redraw,
    Nothing,
}

fn show(
    terminal: &mut DefaultTerminal,
    mut run: Run,
    failed: impl Fn(io::Error) -> Diagnostic,
) -> Result<(), Diagnostic> {
    let mut reader = LogReader::new(run.files().metrics());
    let (mut screen, mut speed) = (Screen::default(), Speed::default());
    let mut look: Option<Instant> = None;
    loop {
        if look.is_none_or(|look| look.elapsed() >= BETWEEN_LOOKS) {
            look = Some(Instant::now());
            if !run.folder.is_dir() {
                return Err(Diagnostic::global(format!("{} was removed or renamed", run.folder.display())));
            }
            reader.read_on()?;
            run.state = RunState::read(&run.files(), run.files().report().exists());
            speed.note(reader.log(), run.state == RunState::Running, Instant::now());
            let seen = Seen { run: &run, log: reader.log(), speed: &speed };
            terminal.draw(|frame| screen.draw(frame, &seen)).map_err(&failed)?;
        }
        let rest = BETWEEN_LOOKS.saturating_sub(look.map(|look| look.elapsed()).unwrap_or_default());
        if !event::poll(rest).map_err(&failed)? {
            continue;
        }
        match wish(&event::read().map_err(&failed)?, &mut screen) {
            Wish::Leave => return Ok(()),
            Wish::Nothing => {}
            Wish::Redraw => {
                let seen = Seen { run: &run, log: reader.log(), speed: &speed };
                terminal.draw(|frame| screen.draw(frame, &seen)).map_err(&failed)?;
            }
        }
    }
}

fn wish(event: &Event, screen: &mut Screen) -> Wish {
    let key = match event {
        Event::Resize(..) => return Wish::Redraw,
        Event::Key(key @ KeyEvent { kind: KeyEventKind::Press, .. }) => key,
        _ => return Wish::Nothing,
    };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Wish::Leave,
        // In raw mode it is a key like any other. The run does not hear of it.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wish::Leave,
        KeyCode::Char('l') => screen.logarithmic = !screen.logarithmic,
        KeyCode::Tab | KeyCode::Down | KeyCode::Right => screen.first_chart = screen.first_chart.saturating_add(1),
        KeyCode::BackTab | KeyCode::Up | KeyCode::Left => screen.first_chart = screen.first_chart.saturating_sub(1),
        _ => return Wish::Nothing,
    }
    Wish::Redraw
}
