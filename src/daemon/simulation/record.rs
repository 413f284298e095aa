//! The record of a world: what is rare in it is counted, and on request everything that happens is written down.
//!
//! What the daemon says in its log belongs to it: a branch of the loop that matters to technicians says so, and a test
//! that reads along needs no place in the product to count. Each thread has a record of its own, because a world has one
//! thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Metadata, Subscriber};

/// How often each rare thing has happened.
pub(super) type Counts = BTreeMap<String, u64>;

thread_local! {
    static COUNTS: RefCell<Counts> = const { RefCell::new(BTreeMap::new()) };
    static LINES: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Counts something rare.
pub(super) fn count(rare: &str) {
    COUNTS.with_borrow_mut(|counts| match counts.get_mut(rare) {
        Some(count) => *count += 1,
        None => drop(counts.insert(rare.to_owned(), 1)),
    });
}

/// The counts of this thread so far.
pub(super) fn take_counts() -> Counts {
    COUNTS.take()
}

/// From now on everything is written down.
pub(super) fn write_down() {
    LINES.set(Some(String::new()));
}

/// What was written down.
pub(super) fn written() -> String {
    LINES.take().unwrap_or_default()
}

/// A line of what happens, if it is written down.
pub(super) fn line(line: impl FnOnce() -> String) {
    LINES.with_borrow_mut(|lines| {
        if let Some(lines) = lines {
            lines.push_str(&line());
            lines.push('\n');
        }
    });
}

/// Metrics tell what the system says of the process, in which other tests run.
pub(super) fn without_figures_of_the_machine(payload: &str) -> String {
    const FIGURE: &str = "\"written_bytes\":";
    match payload.split_once(FIGURE) {
        Some((before, after)) => {
            format!("{before}{FIGURE}0{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        None => payload.to_owned(),
    }
}

/// Reads the daemon's log: each of its lines is counted by what it says, and by its cause.
#[derive(Debug)]
pub(super) struct Reader;

/// The fields of a line.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    cause: String,
    all: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "cause" => self.cause = format!(": {value:?}"),
            _ => {}
        }
        LINES.with_borrow(|lines| {
            if lines.is_some() {
                write!(self.all, " {}={value:?}", field.name()).unwrap();
            }
        });
    }
}

impl Subscriber for Reader {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // After the colon stands what the world has made up.
        let cause = fields.cause.split_once(": \"not connected").map_or(&*fields.cause, |_| ": \"not connected\"");
        count(&format!("log: {}{cause}", fields.message));
        line(|| format!("{:>16}{}", "the daemon says:", fields.all));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
