//! What is told while a run goes on: plain lines, or on a terminal a picture that
//! stays at its bottom and never floods it.
#![allow(clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use castle_core::{Event, EventKind, StepOutcome};

use crate::colour::{Paint, Tone};
use crate::width;

/// How long a step that goes on waiting is silent where lines stay, in milliseconds
/// of castle's time.
const QUIET_MS: u64 = 15_000;
/// How many running steps the picture shows.
const ROWS: usize = 8;
/// The time between two pictures. More often, nobody sees.
const FRAME: Duration = Duration::from_millis(50);
/// The longest row of the picture; terminals cut what they cannot show.
const ROW_MAX: usize = 120;
const BAR: usize = 24;

/// The teller of a run.
#[derive(Debug)]
pub struct Progress {
    paint: Paint,
    moves: bool,
    scene: Mutex<Scene>,
}

#[derive(Debug, Default)]
struct Scene {
    /// How many steps the plan had.
    planned: usize,
    ended: BTreeSet<String>,
    running: Vec<Running>,
    now: Duration,
    /// How many rows stand on the screen.
    rows: usize,
    drawn_at: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    step: String,
    began: Duration,
    why: Option<String>,
    told_ms: Option<u64>,
}

impl Progress {
    /// A teller that moves the cursor, if it may.
    pub fn new(paint: Paint, moves: bool) -> Self {
        Self { paint, moves, scene: Mutex::default() }
    }

    /// Whether it draws a picture, which is worth renewing as time goes by.
    pub fn moves(&self) -> bool {
        self.moves
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A plan is about to be run.
    pub fn planned(&self, steps: usize) {
        *self.scene() = Scene { planned: steps, ..Scene::default() };
    }

    /// Something happened.
    pub fn event(&self, event: &Event) {
        let mut scene = self.scene();
        scene.now = event.at();
        let line = scene.take(event, self.moves, self.paint);
        self.show(&mut scene, line.as_deref());
    }

    /// Time went by.
    pub fn tick(&self, now: Duration) {
        let mut scene = self.scene();
        scene.now = now;
        self.show(&mut scene, None);
    }

    /// A line by the way.
    pub fn note(&self, text: &str) {
        self.show(&mut self.scene(), Some(text));
    }

    /// The run is over: the picture goes.
    pub fn finish(&self) {
        let mut scene = self.scene();
        let erased = scene.erased();
        scene.running.clear();
        scene.planned = 0;
        eprint!("{erased}");
    }

    #[allow(clippy::disallowed_methods)] // how often a terminal is drawn is no business of castle's clock
    fn show(&self, scene: &mut Scene, line: Option<&str>) {
        let line = line.map(width::noted);
        if !self.moves {
            if let Some(line) = line {
                eprintln!("{line}");
            }
            return;
        }
        let now = Instant::now();
        if line.is_none() && scene.drawn_at.is_some_and(|at| now.duration_since(at) < FRAME) {
            return;
        }
        scene.drawn_at = Some(now);
        let mut text = scene.erased();
        if let Some(line) = line {
            text += &line;
            text.push('\n');
        }
        text += &scene.picture(self.paint);
        let mut screen = std::io::stderr().lock();
        // Nobody is told that nobody can be told.
        let _ = screen.write_all(text.as_bytes()).and_then(|()| screen.flush());
    }
}

impl Scene {
    /// Takes note of an event. The line that stays, if one does.
    fn take(&mut self, event: &Event, moves: bool, paint: Paint) -> Option<String> {
        let at = format!("{:8.1} s", event.at().as_secs_f64());
        let line = match &event.kind {
            EventKind::StepStarted { step, because } => {
                let running = Running { step: step.clone(), began: event.at(), why: None, told_ms: None };
                self.running.push(running);
                format!("{step} begins: {because}")
            }
            EventKind::StepWaiting { step, why } => {
                let running = self.running.iter_mut().find(|running| running.step == *step)?;
                running.why = Some(why.clone());
                if moves || running.told_ms.is_some_and(|told| event.at_ms < told + QUIET_MS) {
                    return None;
                }
                running.told_ms = Some(event.at_ms);
                format!("{step} waits: {why}")
            }
            EventKind::StepEnded { step, outcome, error } => {
                let began = self.running.iter().position(|running| running.step == *step);
                let took = began.map(|index| event.at().saturating_sub(self.running.remove(index).began));
                self.ended.insert(step.clone());
                let took = took.map_or_else(String::new, |took| format!(" ({:.1} s)", took.as_secs_f64()));
                match (outcome, error) {
                    (StepOutcome::Done, _) => format!("{step} {}{took}", paint.tone(Tone::Good, "done")),
                    (outcome, error) => {
                        let outcome = format!("{outcome:?}").to_lowercase();
                        let why = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
                        format!("{step} {}{took}{why}", paint.tone(Tone::Bad, outcome))
                    }
                }
            }
            EventKind::RoundFailed { why } => paint.tone(Tone::Note, why),
            EventKind::Milestone { name } => paint.tone(Tone::Good, format_args!("* {name}")),
            EventKind::Nudged { item, reason } => format!("{item} is asked to go on: {reason}"),
            EventKind::Notice { text } => text.clone(),
            _ => return None,
        };
        // The picture shows what runs; only what is over stays above it.
        let passes = moves && matches!(event.kind, EventKind::StepStarted { .. });
        (!passes).then(|| format!("{at}  {line}"))
    }

    /// What removes the picture from the screen.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.rows) {
            0 => String::new(),
            rows => format!("\r\u{1b}[{rows}A\u{1b}[J"),
        }
    }

    /// The running steps, each with its last reason, and how much is done.
    fn picture(&mut self, paint: Paint) -> String {
        if self.planned == 0 && self.running.is_empty() {
            return String::new();
        }
        let mut rows: Vec<String> = Vec::new();
        for running in self.running.iter().take(ROWS) {
            let elapsed = self.now.saturating_sub(running.began).as_secs_f64();
            let why = running.why.as_ref().map_or_else(String::new, |why| format!("  {why}"));
            rows.push(cut(&format!("  {elapsed:7.1} s  {}{why}", running.step)));
        }
        if self.running.len() > ROWS {
            rows.push(format!("             and {} more", self.running.len() - ROWS));
        }
        // What is tried once more was not in the plan, so the plan may have grown.
        let (done, all) = (self.ended.len(), self.planned.max(self.ended.len() + self.running.len()));
        let full = BAR * done / all.max(1);
        let bar = format!("{}{}", paint.tone(Tone::Good, "█".repeat(full)), "░".repeat(BAR - full));
        rows.push(format!("{:8.1} s  {bar} {done} of {all} steps", self.now.as_secs_f64()));
        self.rows = rows.len();
        // Without wrapping, a row stays a row in a narrow terminal.
        let mut text = String::from("\u{1b}[?7l");
        for row in rows {
            let _ = writeln!(text, "{row}");
        }
        text + "\u{1b}[?7h"
    }
}

/// A row of the picture: one line, and not longer than anybody's screen.
fn cut(row: &str) -> String {
    let row: String = row.chars().map(width::shown).collect();
    match row.char_indices().nth(ROW_MAX) {
        Some((end, _)) => format!("{}…", &row[..end]),
        None => row,
    }
}
