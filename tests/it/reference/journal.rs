//! The journal of one alarm, and what can be read in it: its state, its occurrence, the mean, what is running and since
//! when. And the rules that need no journal: what a value says of a condition, which names fit a pattern.

use super::case::{Band, Definition, Kind, Scalar};
use serde_json::{Value, json};

/// What is known of one alarm: everything.
#[derive(Debug)]
pub(super) struct Alarm<'a> {
    pub(super) id: String,
    pub(super) thing: &'static str,
    /// Its definition, and the place of that in the file.
    pub(super) definition: &'a Definition,
    pub(super) place: usize,
    pub(super) journal: Vec<Note>,
}

/// One entry of a journal.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) at: i64,
    /// Entries are numbered over all journals, in the order in which things happened.
    pub(super) number: usize,
    pub(super) what: Noted,
}

#[derive(Debug, Clone)]
pub(super) enum Noted {
    /// A value that counts, and what it says.
    Value { value: Scalar, stamp: Option<i64>, says: Says },
    /// A sample of an average, the gaps that were over when it came, and the mean as it was then calculated.
    Sample { value: f64, taken: i64, gaps_before: usize, mean: Option<f64> },
    /// The latest value was judged once more, because the alarm was enabled.
    Judged(Says),
    /// The clock of silence was started.
    Clock,
    /// A gap ended after which everything starts anew.
    Anew,
    /// The alarm changed.
    Event(Event),
}

/// What a value says about a condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Says {
    Holds,
    Between,
    Fails,
    Nothing,
}

/// A change of an alarm, as it is published.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) seq: usize,
    pub(super) alarm: String,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) at: i64,
    pub(super) since: Option<i64>,
    pub(super) occurrence: usize,
    pub(super) cause: &'static str,
    pub(super) value: Option<Scalar>,
    pub(super) value_at: Option<i64>,
    /// Of average alarms only.
    pub(super) average: Option<Option<f64>>,
    pub(super) by: Option<&'static str>,
    pub(super) comment: Option<&'static str>,
}

/// A delay that is running: since when, and how long it takes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) since: i64,
    pub(super) number: usize,
    pub(super) length: i64,
}

impl Event {
    /// The members that are compared.
    pub(super) fn json(&self) -> Value {
        let mut json = json!({
            "seq": self.seq, "alarm": self.alarm, "from": self.from, "to": self.to, "at": rfc3339(self.at),
            "occurrence": self.occurrence, "cause": self.cause, "value": self.value.as_ref().map(Scalar::json),
        });
        let optional = [
            ("since", self.since.map(|since| json!(rfc3339(since)))),
            ("value_at", self.value_at.map(|stamp| json!(rfc3339(stamp)))),
            ("average", self.average.map(|mean| json!(mean))),
            ("by", self.by.map(|by| json!(by))),
            ("comment", self.comment.map(|comment| json!(comment))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                json[name] = value;
            }
        }
        json
    }

    fn is_acknowledgement(&self) -> bool {
        self.cause == "command" && (self.to == "acknowledged" || self.to == "idled")
    }
}

/// Times in these recordings lie in the first day of 1970.
fn rfc3339(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let fraction = format!(".{micros:06}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("1970-01-01T{:02}:{:02}:{:02}{fraction}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

impl Alarm<'_> {
    /// All changes, oldest first.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.journal.iter().filter_map(Note::event)
    }

    pub(super) fn state(&self) -> &'static str {
        let initial = if self.definition.enabled { "enabled" } else { "off" };
        self.events().next_back().map_or(initial, |event| event.to)
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.state(), "activated" | "acknowledged")
    }

    /// Whether somebody has taken note of the latest occurrence.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.events().rev().take_while(|event| event.to != "activated").any(Event::is_acknowledgement)
    }

    /// The latest value that counted, and its stamp.
    pub(super) fn latest(&self) -> Option<(&Scalar, Option<i64>)> {
        self.journal.iter().rev().find_map(|note| {
            if let Noted::Value { value, stamp, .. } = &note.what { Some((value, *stamp)) } else { None }
        })
    }

    /// What the latest value says; of a standard alarm that has heard one.
    pub(super) fn judge_latest(&self) -> Option<Says> {
        match (&self.definition.kind, self.latest()) {
            (Kind::Standard { operator, limit, band, .. }, Some((value, _))) => classify(operator, limit, band, value),
            _ => None,
        }
    }

    /// How old a sample of an average may be.
    pub(super) fn window(&self) -> i64 {
        match self.definition.kind {
            Kind::Average { window, observe, .. } => window.unwrap_or(observe),
            Kind::Standard { .. } | Kind::NoValue { .. } => 0,
        }
    }

    /// The part of the journal since all samples were last dropped.
    pub(super) fn since_forgotten(&self) -> &[Note] {
        let forgets =
            |note: &Note| matches!(note.what, Noted::Anew) || note.event().is_some_and(|event| event.to == "off");
        let start = self.journal.iter().rposition(forgets).map_or(0, |place| place + 1);
        &self.journal[start..]
    }

    /// The mean as last calculated, whatever became of its samples.
    pub(super) fn mean(&self) -> Option<f64> {
        self.journal.iter().rev().find_map(|note| if let Noted::Sample { mean, .. } = note.what { mean } else { None })
    }

    /// The delay that is running, if one is.
    pub(super) fn running(&self) -> Option<Running> {
        let active = self.is_active();
        if self.state() == "off" {
            return None;
        }
        let running = |note: &Note, length| Running { since: note.at, number: note.number, length };
        match self.definition.kind {
            // Silence lasts since the clock was started the last time.
            Kind::NoValue { observe } => self
                .journal
                .iter()
                .rfind(|note| matches!(note.what, Noted::Clock | Noted::Anew))
                .filter(|_| !active)
                .map(|note| running(note, observe)),
            Kind::Standard { observe, clear, .. } | Kind::Average { observe, clear, .. } => {
                let (wanted, length) = if active { (Says::Fails, clear) } else { (Says::Holds, observe) };
                self.wanted_since(wanted).map(|note| running(note, length))
            }
        }
    }

    /// The entry since which all evidence has said `wanted`, in the present state.
    fn wanted_since(&self, wanted: Says) -> Option<&Note> {
        let changes = |note: &Note| note.event().is_some_and(|event| !event.is_acknowledgement());
        let start = self.journal.iter().rposition(changes).map_or(0, |place| place + 1);
        let mut since = None;
        for note in &self.journal[start..] {
            match self.evidence(note) {
                Some(says) if says == wanted => since = since.or(Some(note)),
                Some(_) => since = None,
                None => {}
            }
            // Without its samples nothing is known of an average; a value is still the latest one.
            if matches!(note.what, Noted::Anew) {
                let knows = matches!(self.definition.kind, Kind::Standard { .. });
                since = since.filter(|_| knows).map(|_| note);
            }
        }
        since
    }

    fn evidence(&self, note: &Note) -> Option<Says> {
        match (&note.what, &self.definition.kind) {
            (Noted::Value { says: Says::Nothing, .. }, _) => None,
            (Noted::Value { says, .. } | Noted::Judged(says), _) => Some(*says),
            (Noted::Sample { mean: Some(mean), .. }, Kind::Average { operator, limit, .. }) => {
                classify(operator, &Scalar::Number(*limit), &Band::None, &Scalar::Number(*mean))
            }
            _ => None,
        }
    }
}

impl Note {
    fn event(&self) -> Option<&Event> {
        if let Noted::Event(event) = &self.what { Some(event) } else { None }
    }
}

impl Scalar {
    fn json(&self) -> Value {
        match self {
            Scalar::Number(number) => json!(number),
            Scalar::Text(text) => json!(text),
            Scalar::Truth(truth) => json!(truth),
        }
    }
}

/// The table of the deadband. None: the value is of another type than the limit.
pub(super) fn classify(operator: &str, limit: &Scalar, band: &Band, value: &Scalar) -> Option<Says> {
    let (becomes_true, becomes_false) = match (limit, value) {
        (Scalar::Number(limit), Scalar::Number(v)) => {
            let (low, high) = band.edges(*limit);
            let inside = low <= *v && *v <= high;
            match operator {
                "=" => (inside, !inside),
                "!=" => (!inside, inside),
                ">" => (*v > high, *v <= low),
                ">=" => (*v >= high, *v < low),
                "<" => (*v < low, *v >= high),
                _ => (*v <= low, *v > high),
            }
        }
        (Scalar::Text(_), Scalar::Text(_)) | (Scalar::Truth(_), Scalar::Truth(_)) => {
            let holds = (limit == value) == (operator == "=");
            (holds, !holds)
        }
        _ => return None,
    };
    Some(match (becomes_true, becomes_false) {
        (true, _) => Says::Holds,
        (false, true) => Says::Fails,
        (false, false) => Says::Between,
    })
}

impl Band {
    /// Both edges of the range around `limit`.
    pub(super) fn edges(&self, limit: f64) -> (f64, f64) {
        let half = match self {
            Band::None => 0.0,
            Band::Width(width) => width / 2.0,
            Band::Percent(percent) => limit.abs() * percent / 100.0,
        };
        (limit - half, limit + half)
    }
}

/// Whether a name of a thing or an alarm stands for several.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether `name` fits the pattern.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => fits(&pattern[1..], name) || (!name.is_empty() && fits(pattern, &name[1..])),
        (Some('?'), Some(_)) => fits(&pattern[1..], &name[1..]),
        (Some(a), Some(b)) => a == b && fits(&pattern[1..], &name[1..]),
        (Some(_), None) | (None, Some(_)) => false,
    }
}
