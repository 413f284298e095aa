//! The commands about models and their anomalies, parsed and checked.

use super::{Fields, MAX_LISTED};
use crate::domain::anomaly::series::Sample;
use crate::domain::model::Selector;
use crate::domain::time::Stamp;
use serde_json::Value;

/// Maximum number of samples in one command: about 150 KB as text.
pub const MAX_IMPORTED: usize = 5_000;
/// Maximum number of points of a series in one answer.
const MAX_POINTS: u64 = 2_000;
/// Default number of points of a series in one answer.
const POINTS: u64 = 500;
/// Default number of anomalies in one answer.
const LISTED: usize = 50;

/// The commands about models.
#[derive(Debug, Clone, PartialEq)]
pub enum AnomalyCommand {
    /// Builds a model from its recorded values.
    Build {
        /// The model's name.
        model: String,
        /// Start of the time range; `None`: the earliest value.
        from: Option<Stamp>,
        /// End of the time range; `None`: the latest value.
        to: Option<Stamp>,
    },
    /// Cancels a build that is waiting or running.
    Cancel {
        /// The model's name.
        model: String,
    },
    /// Evaluates the values of a past time range.
    Reprocess {
        /// The model's name.
        model: String,
        /// Start of the time range.
        from: Stamp,
        /// End of the time range.
        to: Stamp,
        /// Ids and patterns of things; empty: all things of the model.
        things: Vec<String>,
        /// True if the anomalies found raise alarms.
        alarms: bool,
    },
    /// Switches or triggers the evaluation of new values.
    Refresh {
        /// The model's name.
        model: String,
        /// The mode: periodic, off, or once.
        set: Set,
        /// Ids and patterns of things; `None`: no change.
        things: Option<Vec<String>>,
    },
    /// A query for anomalies.
    List(AnomalyQuery),
    /// Deletes anomalies.
    Delete(Deleted),
    /// A query for the states of models, and for the values of one.
    Models(ModelQuery),
    /// Adds past values to a model's history.
    Import {
        /// The model's name.
        model: String,
        /// The thing's id.
        thing: String,
        /// The property's name, which is one of the model's.
        property: String,
        /// The values with their times.
        samples: Vec<Sample>,
    },
}

impl AnomalyCommand {
    /// The id of the thing, if the command is about a single one.
    pub fn thing(&self) -> Option<&str> {
        match self {
            AnomalyCommand::Import { thing, .. } => Some(thing),
            AnomalyCommand::Models(query) => query.thing.as_deref(),
            AnomalyCommand::Build { .. }
            | AnomalyCommand::Cancel { .. }
            | AnomalyCommand::Reprocess { .. }
            | AnomalyCommand::Refresh { .. }
            | AnomalyCommand::List(_)
            | AnomalyCommand::Delete(_) => None,
        }
    }
}

/// The mode in which a model evaluates new values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Periodically, as configured.
    On,
    /// No longer.
    Off,
    /// Once, immediately; the periodic mode does not change.
    Now,
}

impl Set {
    const ALL: [Set; 3] = [Set::On, Set::Off, Set::Now];

    const fn as_str(self) -> &'static str {
        match self {
            Set::On => "on",
            Set::Off => "off",
            Set::Now => "now",
        }
    }
}

/// The filter and the page of `anomaly-list`, which lists the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnomalyQuery {
    /// A model's name or a pattern; `None`: all.
    pub model: Option<String>,
    /// A thing's id or a pattern; `None`: all.
    pub thing: Option<String>,
    /// Only anomalies that are open or ended at this time or later.
    pub from: Option<Stamp>,
    /// Only anomalies that began at this time or earlier.
    pub to: Option<Stamp>,
    /// Only open (true) or only ended (false) anomalies; `None`: both.
    pub open: Option<bool>,
    /// Maximum number of anomalies in the answer.
    pub limit: usize,
    /// Only anomalies that follow the one with this id in the list, which are older.
    pub before: Option<String>,
}

/// The anomalies to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// The one with this id.
    One(String),
    /// Anomalies of one model.
    Of {
        /// The model's name.
        model: String,
        /// A thing's id or a pattern; `None`: all things.
        thing: Option<String>,
        /// Only anomalies that are open or ended at this time or later.
        from: Option<Stamp>,
        /// Only anomalies that began at this time or earlier.
        to: Option<Stamp>,
    },
}

/// The models that `anomaly-model` shows, and the values of one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelQuery {
    /// A model's name or a pattern.
    pub model: String,
    /// The thing with the values; `None`: no values are shown.
    pub thing: Option<String>,
    /// The property with the values; `None`: the first of the model's.
    pub property: Option<String>,
    /// Start of the time range.
    pub from: Option<Stamp>,
    /// End of the time range.
    pub to: Option<Stamp>,
    /// Maximum number of points; 0: no values are shown.
    pub points: usize,
}

impl Fields {
    pub(super) fn build(&self) -> Result<AnomalyCommand, String> {
        let model = self.required("model")?;
        if self.flag("cancel")? == Some(true) {
            return Ok(AnomalyCommand::Cancel { model });
        }
        let (from, to) = self.range()?;
        Ok(AnomalyCommand::Build { model, from, to })
    }

    pub(super) fn reprocess(&self) -> Result<AnomalyCommand, String> {
        let (Some(from), Some(to)) = self.range()? else {
            return Err("anomaly-reprocess needs \"from\" and \"to\": the time to look at".into());
        };
        let (model, things) = (self.required("model")?, self.patterns("things")?.unwrap_or_default());
        Ok(AnomalyCommand::Reprocess { model, from, to, things, alarms: self.flag("alarms")?.unwrap_or(false) })
    }

    pub(super) fn refresh(&self) -> Result<AnomalyCommand, String> {
        let set = self.words("set", Set::ALL.into_iter(), Set::as_str)?;
        let [set] = set.as_slice() else {
            return Err("anomaly-refresh needs \"set\": on, off or now".into());
        };
        Ok(AnomalyCommand::Refresh { model: self.required("model")?, set: *set, things: self.patterns("things")? })
    }

    pub(super) fn anomalies(&self) -> Result<AnomalyCommand, String> {
        let (from, to) = self.range()?;
        Ok(AnomalyCommand::List(AnomalyQuery {
            model: self.pattern("model")?,
            thing: self.pattern("thing")?,
            from,
            to,
            open: self.flag("open")?,
            limit: self.limit(LISTED)?.min(MAX_LISTED),
            before: self.text("before")?,
        }))
    }

    pub(super) fn models(&self) -> Result<AnomalyCommand, String> {
        let (from, to) = self.range()?;
        let points = self.number("points")?.unwrap_or(POINTS);
        if points > MAX_POINTS {
            return Err(format!("\"points\" is {points}; it can be 0 to {MAX_POINTS}"));
        }
        Ok(AnomalyCommand::Models(ModelQuery {
            model: self.pattern("model")?.unwrap_or_else(|| "*".to_owned()),
            thing: self.text("thing")?,
            property: self.text("property")?,
            from,
            to,
            points: usize::try_from(points).unwrap_or_default(),
        }))
    }

    pub(super) fn import(&self) -> Result<AnomalyCommand, String> {
        Ok(AnomalyCommand::Import {
            model: self.required("model")?,
            thing: self.required("thing")?,
            property: self.required("property")?,
            samples: self.samples()?,
        })
    }

    pub(super) fn deleted(&self) -> Result<Deleted, String> {
        if let Some(id) = self.text("id")? {
            return match ["model", "thing", "from", "to"].into_iter().find(|member| self.value(member).is_some()) {
                Some(other) => Err(format!("\"id\" names one anomaly already: leave {other:?} out")),
                None => Ok(Deleted::One(id)),
            };
        }
        let (from, to) = self.range()?;
        let model = self.text("model")?;
        let model = model.ok_or("anomaly-delete needs \"id\", or \"model\" (and \"thing\", \"from\", \"to\")")?;
        Ok(Deleted::Of { model, thing: self.pattern("thing")?, from, to })
    }

    fn range(&self) -> Result<(Option<Stamp>, Option<Stamp>), String> {
        let (from, to) = (self.stamp("from")?, self.stamp("to")?);
        match (from, to) {
            (Some(from), Some(to)) if from > to => Err(format!("\"from\" ({from}) is after \"to\" ({to})")),
            _ => Ok((from, to)),
        }
    }

    fn flag(&self, member: &str) -> Result<Option<bool>, String> {
        match self.value(member) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!("{member:?} is {other}; it can be true or false")),
        }
    }

    /// A list of names and patterns over names; `None` if the member is absent.
    fn patterns(&self, member: &str) -> Result<Option<Vec<String>>, String> {
        let given = match self.value(member) {
            None => return Ok(None),
            Some(Value::Array(texts)) => texts.as_slice(),
            Some(text) => std::slice::from_ref(text),
        };
        let text = |value: &Value| {
            let text = value.as_str().ok_or_else(|| format!("{member:?} has {value}; it has to be a list of texts"))?;
            Selector::parse(text).map(|_| text.to_owned()).map_err(|error| format!("{member:?}: {error}"))
        };
        given.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    fn samples(&self) -> Result<Vec<Sample>, String> {
        const LIKE: &str = "it has to be a list like [[1767225600000,21.5],…]: milliseconds since 1970, and the value";
        let Some(Value::Array(rows)) = self.value("samples") else {
            return Err(format!("anomaly-import needs \"samples\": {LIKE}"));
        };
        if rows.len() > MAX_IMPORTED {
            return Err(format!("{} samples in one command; {MAX_IMPORTED} at most", rows.len()));
        }
        let sample = |row: &Value| {
            let time = row.get(0).and_then(|time| time.as_i64().or_else(|| whole(time.as_f64()?)));
            let value = row.get(1).and_then(Value::as_f64).filter(|value| value.is_finite());
            match (time.and_then(|millis| millis.checked_mul(1_000)), value) {
                (Some(micros), Some(value)) => Ok(Sample { at: Stamp::from_micros(micros), value }),
                _ => Err(format!("\"samples\" has {row}; {LIKE}")),
            }
        };
        rows.iter().map(sample).collect()
    }
}

/// Rounds a float to an integer, because fractions of a millisecond are not kept; `None` beyond 2^53.
fn whole(number: f64) -> Option<i64> {
    /// The largest magnitude up to which every integer has an exact `f64`: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 2^53")]
    (number.abs() <= EXACT).then(|| number.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::super::{Command, DaemonCommand, parse};
    use super::*;
    use crate::domain::time::Span;

    fn read(verb: &str, payload: &str) -> Result<AnomalyCommand, String> {
        let read = parse(verb, payload.as_bytes(), false, Span::from_secs(60)).map_err(|refusal| refusal.error)?;
        let Command::Daemon(DaemonCommand::Anomaly(command)) = read.command else { panic!("{read:?}") };
        Ok(command)
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_work() {
        for (verb, payload, wanted) in [
            ("anomaly-build", "{}", "anomaly-build needs \"model\""),
            ("anomaly-build", r#"{"model":"m","cancel":1}"#, "\"cancel\" is 1; it can be true or false"),
            (
                "anomaly-reprocess",
                r#"{"model":"m"}"#,
                "anomaly-reprocess needs \"from\" and \"to\": the time to look at",
            ),
            ("anomaly-refresh", r#"{"model":"m"}"#, "anomaly-refresh needs \"set\": on, off or now"),
            ("anomaly-refresh", r#"{"model":"m","set":"up"}"#, "\"set\" is \"up\"; it can be on, off, now"),
            ("anomaly-delete", "{}", "anomaly-delete needs \"id\", or \"model\" (and \"thing\", \"from\", \"to\")"),
            ("anomaly-model", r#"{"points":5000}"#, "\"points\" is 5000; it can be 0 to 2000"),
            (
                "anomaly-build",
                r#"{"model":"m","from":"2026-05-02T00:00:00Z","to":"2026-05-01T00:00:00Z"}"#,
                "\"from\" (2026-05-02T00:00:00Z) is after \"to\" (2026-05-01T00:00:00Z)",
            ),
        ] {
            assert_eq!(read(verb, payload), Err(wanted.to_owned()), "{verb} {payload}");
        }
        let wrong = r#"{"model":"m","thing":"t","property":"p","samples":[[1,2],[3,"x"]]}"#;
        assert!(read("anomaly-import", wrong).unwrap_err().starts_with("\"samples\" has [3,\"x\"]; it has to be"));
    }

    #[test]
    fn what_is_right_is_understood() {
        let import = r#"{"model":"m","thing":"t","property":"p","samples":[[1500,2],[2000.0,-3.5]]}"#;
        let Ok(AnomalyCommand::Import { samples, .. }) = read("anomaly-import", import) else { panic!() };
        let sample = |millis: i64, value| Sample { at: Stamp::from_micros(millis * 1_000), value };
        assert_eq!(samples, [sample(1_500, 2.0), sample(2_000, -3.5)]);
        let cancel = read("anomaly-build", r#"{"model":"m","cancel":true}"#);
        assert_eq!(cancel, Ok(AnomalyCommand::Cancel { model: "m".to_owned() }));
    }

    #[test]
    fn an_import_may_be_larger_than_other_commands() {
        let row = |n: u32| format!("[{},{n}.125]", 1_790_000_000_000 + u64::from(n));
        let rows: Vec<String> = (0..).map(row).take(MAX_IMPORTED).collect();
        let import = format!(r#"{{"model":"m","thing":"t","property":"p","samples":[{}]}}"#, rows.join(","));
        assert!(
            matches!(read("anomaly-import", &import), Ok(AnomalyCommand::Import { samples, .. }) if samples.len() == 5_000)
        );
    }
}
