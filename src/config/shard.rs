//! `[shard]` and `[standby]`: which part of a larger whole this instance is.

use super::reader::Table;
use super::report::{Problem, Problems};
use crate::domain::model::{Share, Value};
use crate::domain::time::Span;

/// The largest number of instances: what a person would still call one gateway.
pub(super) const MAX_COUNT: u32 = 1_024;

/// One of several instances that share the things of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 0. None: it is to be read from the host name or from a variable, and is not there. That is fine
    /// on the machine of an operator, and not for the daemon.
    pub index: Option<u32>,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// The things that it evaluates.
    pub fn share(self) -> Share {
        Share::new(self.index.unwrap_or_default(), self.count)
    }
}

/// One of several instances of which one works and the others wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// What tells it from the others.
    pub name: String,
    /// How long the one that works has to be silent.
    pub after: Span,
}

pub(super) fn shard(table: &Table<'_, '_>, host: &str, problems: &mut Problems) -> Option<Shard> {
    let count = u32::try_from(table.integer("count", problems)).unwrap_or(MAX_COUNT);
    if !table.has("count") && !table.has("index") {
        return None;
    }
    for (name, other) in [("index", "count"), ("count", "index")] {
        if table.has(name) && table.lacks(other) {
            let help = "index = 0, 1, 2 … and count = how many there are; every instance has the same count";
            problems.add(Problem::error(table.place(name), format!("{name} needs {other}"), help));
        }
    }
    let refuse = |message: String, problems: &mut Problems| {
        let help =
            "a number from 0, \"hostname\" for the number at the end of the host name, or \"$NAME\" for a variable";
        problems.add(Problem::error(table.place("index"), message, help));
        None
    };
    let index = match table.scalar("index", problems) {
        None => None,
        Some(Value::Number(number)) => {
            match (0..MAX_COUNT).find(|index| f64::from(*index).total_cmp(&number).is_eq()) {
                None => refuse(format!("index is {number}"), problems),
                index => index,
            }
        }
        Some(Value::Text(text)) => match text.strip_prefix('$') {
            _ if &*text == "hostname" => ordinal(host),
            Some(name) if !name.is_empty() => std::env::var(name).ok().and_then(|text| text.trim().parse().ok()),
            _ => refuse(format!("index is {text:?}"), problems),
        },
        Some(Value::Boolean(boolean)) => refuse(format!("index is {boolean}"), problems),
    };
    if let Some(index) = index.filter(|index| *index >= count && table.has("count")) {
        let help = "the first one is 0; to change count, stop all instances first";
        problems.add(Problem::error(table.place("index"), format!("there is no shard {index} of {count}"), help));
    }
    Some(Shard { index, count })
}

/// The number at the end of a host name, as a StatefulSet gives it to its pods: `annunciator-2`.
fn ordinal(host: &str) -> Option<u32> {
    let first = host.split('.').next()?;
    first.rsplit_once('-')?.1.parse().ok()
}

pub(super) fn standby(table: &Table<'_, '_>, problems: &mut Problems) -> Option<Standby> {
    let after = table.duration_within("after", Span::from_secs(1), Span::from_secs(86_400), problems);
    let Some(name) = table.text("name", problems) else {
        if table.has("after") {
            table.missing("standby has no name", "name = \"a\" here, name = \"b\" on the other one", problems);
        }
        return None;
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        let help = "letters, digits, dashes and underscores: it is part of topics and of the names of events";
        problems.add(Problem::error(table.place("name"), format!("{name:?} cannot be the name of an instance"), help));
    }
    Some(Standby { name, after })
}

#[cfg(test)]
mod tests {
    use super::ordinal;

    #[test]
    fn pods_are_numbered_at_the_end() {
        for (host, index) in [
            ("annunciator-0", Some(0)),
            ("plant-annunciator-12.annunciator.plant.svc", Some(12)),
            ("annunciator", None),
            ("gw-01x", None),
            ("", None),
        ] {
            assert_eq!(ordinal(host), index, "{host}");
        }
    }
}
