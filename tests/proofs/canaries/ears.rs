//! Everything that any library tells its log, down to the last trace.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A subscriber and a logger that keep all they hear.
#[derive(Clone, Default)]
pub struct Ears {
    heard: Arc<Mutex<String>>,
    spans: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

impl Ears {
    /// Listens from now on to everything in this process.
    pub fn open() -> Self {
        let ears = Self::default();
        tracing::subscriber::set_global_default(ears.clone()).expect("nobody else listens in this process");
        log::set_boxed_logger(Box::new(ears.clone())).expect("nobody else listens in this process");
        log::set_max_level(log::LevelFilter::Trace);
        ears
    }

    /// What was heard so far.
    pub fn heard(&self) -> String {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Listens no more: a subscriber cannot be taken away.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        log::set_max_level(log::LevelFilter::Off);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn write(&self, line: &str) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push_str(line);
        heard.push('\n');
    }
}

/// One line of fields, in both of their forms.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A text takes everything.
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {field}={value}");
    }
}

impl Subscriber for Ears {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1);
        if self.is_closed() {
            return id;
        }
        let mut line = Line(format!("{} {}", span.metadata().target(), span.metadata().name()));
        span.record(&mut line);
        self.write(&line.0);
        id
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        if self.is_closed() {
            return;
        }
        let mut line = Line(String::new());
        values.record(&mut line);
        self.write(&line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if self.is_closed() {
            return;
        }
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        self.write(&line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl log::Log for Ears {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.write(&format!("{} {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}
