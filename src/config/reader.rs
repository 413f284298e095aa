//! Tables of a [`super::document`], looked at with the declarations of [`super::keys`] in hand.
//!
//! Nothing here stops at a problem: it is noted with its place, a default takes the value's seat, and the reading goes
//! on, so that one run finds everything.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "TOML's kinds of values are not ours: whatever is not asked for is refused"
)]

use super::keys::{Key, Section, Shape};
use super::report::{Place, Problem, Problems};
use super::{duration, files};
use crate::domain::model::{Deadband, Value};
use crate::domain::time::Span;
use crate::ingest::formats::Map;
use crate::io::secret::Secret;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// One `[section]` or one element of `[[section]]`.
#[derive(Clone, Copy)]
pub(super) struct Table<'d, 't> {
    pub(super) file: usize,
    /// Where the piece of the text begins in which the places of its values are counted.
    pub(super) offset: usize,
    pub(super) section: &'static Section,
    pub(super) entries: &'d DeTable<'t>,
    /// The header's place, for what is missing.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether statements were taken out of it: then nobody knows what is missing.
    pub(super) broken: bool,
}

impl<'d, 't> Table<'d, 't> {
    /// Unknown and missing keys.
    pub(super) fn check(&self, problems: &mut Problems) {
        for (name, _) in self.entries {
            if !self.section.keys.iter().any(|key| key.name == name.get_ref().as_ref()) {
                let place = self.at(name.span());
                let help = suggestion(name.get_ref(), self.section.keys.iter().map(|key| key.name));
                problems.add(Problem::error(
                    place,
                    format!("unknown key {} in {}", name.get_ref(), self.section.name),
                    help,
                ));
            }
        }
        for key in self.section.keys.iter().filter(|key| key.required && self.find(key.name).is_none()) {
            let message = format!("{} has no {}", self.section.name, key.name);
            self.missing(message, format!("{}: {}", key.name, key.doc), problems);
        }
    }

    /// Notes that something is missing, unless it may be in what could not be read.
    pub(super) fn missing(&self, message: impl Into<String>, help: impl Into<String>, problems: &mut Problems) {
        if !self.broken {
            problems.add(Problem::error(self.header(), message, help));
        }
    }

    /// Whether statements of it could not be read.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the key is certainly not there.
    pub(super) fn lacks(&self, name: &str) -> bool {
        !self.broken && !self.has(name)
    }

    /// A stretch of the piece of the text that the table stands in.
    fn at(&self, span: Range<usize>) -> Place {
        Place { file: self.file, span: span.start + self.offset..span.end + self.offset }
    }

    /// Where the table begins.
    pub(super) fn header(&self) -> Place {
        Place { file: self.file, span: self.start..self.end }
    }

    /// Where the key's value stands; the table's beginning if it does not.
    pub(super) fn place(&self, name: &str) -> Place {
        self.find(name).map_or_else(|| self.header(), |value| self.at(value.span()))
    }

    /// Whether the key is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.entries.get(name)
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.section.keys.iter().find(|key| key.name == name)
    }

    /// Notes that the value is not what it should be.
    fn reject(&self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str, problems: &mut Problems) {
        let message = format!("{name} must be {wanted}, not {}", kind_of(value.get_ref()));
        let help = self.key(name).map_or("", |key| key.doc);
        problems.add(Problem::error(self.at(value.span()), message, help));
    }

    pub(super) fn text(&self, name: &str, problems: &mut Problems) -> Option<String> {
        let Some(value) = self.find(name) else {
            let default = self.key(name).map_or("", |key| key.default);
            return (!default.is_empty()).then(|| default.trim_matches('"').to_owned());
        };
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.reject(name, value, "a string", problems);
                None
            }
        }
    }

    /// The path of a file or folder.
    pub(super) fn path(&self, name: &str, problems: &mut Problems) -> Option<PathBuf> {
        let path = self.text(name, problems)?;
        if path.is_empty() {
            problems.add(Problem::error(self.place(name), format!("{name} is empty"), "give it a path"));
            return None;
        }
        Some(path.into())
    }

    /// A path of a file that the daemon reads.
    pub(super) fn file(&self, name: &str, problems: &mut Problems) -> Option<PathBuf> {
        let path = self.path(name, problems)?;
        if is_missing(&path) {
            problems.add(missing(name, &path, self.place(name)));
        }
        Some(path)
    }

    /// Strings with their places; one that stands alone counts as a list of one.
    pub(super) fn texts(&self, name: &str, problems: &mut Problems) -> Vec<(String, Place)> {
        let Some(value) = self.find(name) else { return Vec::new() };
        let elements: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        if elements.is_empty() {
            self.reject(name, value, "a string or a list with at least one string", problems);
        }
        let mut texts = Vec::new();
        for element in elements {
            match element.get_ref() {
                DeValue::String(text) => {
                    texts.push((text.to_string(), self.at(element.span())));
                }
                _ => self.reject(name, element, "a string or a list of strings", problems),
            }
        }
        texts
    }

    /// One of the words that the key knows; its default where it is missing or wrong.
    pub(super) fn word(&self, name: &str, problems: &mut Problems) -> Option<&'static str> {
        let key = self.key(name)?;
        let Shape::OneOf(words) = key.shape else { return None };
        let default = words.iter().find(|word| **word == key.default.trim_matches('"')).copied();
        let Some(value) = self.find(name) else { return default };
        let DeValue::String(text) = value.get_ref() else {
            self.reject(name, value, &format!("one of {}", listed(words)), problems);
            return default;
        };
        let found = words.iter().find(|word| **word == text.as_ref()).copied();
        if found.is_none() {
            let message = format!("{name} cannot be {text:?}");
            let place = self.at(value.span());
            let near =
                nearest(text, words.iter().copied()).map(|w| format!("did you mean {w:?}? ")).unwrap_or_default();
            problems.add(Problem::error(place, message, format!("{near}It is one of {}", listed(words))));
        }
        found.or(default)
    }

    pub(super) fn integer(&self, name: &str, problems: &mut Problems) -> usize {
        let Some(Key { shape: Shape::Integer(min, max), default, .. }) = self.key(name) else { return 0 };
        let default = default.parse().unwrap_or(0);
        let Some(value) = self.find(name) else { return default };
        let number = match value.get_ref() {
            DeValue::Integer(integer) => Some(whole(integer)),
            _ => None,
        };
        match number {
            Some(number) if (i128::from(*min)..=i128::from(*max)).contains(&number) => {
                usize::try_from(number).unwrap_or(default)
            }
            Some(_) => {
                let place = self.at(value.span());
                let message = format!("{name} cannot be {}", kind_of(value.get_ref()));
                problems.add(Problem::error(place, message, format!("a whole number from {min} to {max}")));
                default
            }
            None => {
                self.reject(name, value, &format!("a whole number from {min} to {max}"), problems);
                default
            }
        }
    }

    pub(super) fn boolean(&self, name: &str, problems: &mut Problems) -> bool {
        let default = self.key(name).is_some_and(|key| key.default == "true");
        let Some(value) = self.find(name) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.reject(name, value, "true or false", problems);
            default
        })
    }

    /// The duration, or the key's default, or zero; none for what is no duration.
    pub(super) fn duration(&self, name: &str, problems: &mut Problems) -> Option<Span> {
        let Some(value) = self.find(name) else {
            let default = self.key(name).map_or("", |key| key.default).trim_matches('"');
            return Some(duration::parse(default).unwrap_or(Span::ZERO));
        };
        self.span_of(name, value, "a duration like \"5s\", or whole milliseconds", problems)
    }

    /// A duration, or a list of them, with their places.
    pub(super) fn durations(&self, name: &str, problems: &mut Problems) -> Vec<(Span, Place)> {
        let Some(value) = self.find(name) else { return Vec::new() };
        let elements: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let place = |value: &Spanned<DeValue<'_>>| self.at(value.span());
        let wanted = "a duration like \"15m\", or a list of durations";
        if elements.is_empty() {
            self.reject(name, value, wanted, problems);
        }
        let span = |value| self.span_of(name, value, wanted, problems).map(|span| (span, place(value)));
        elements.into_iter().filter_map(span).collect()
    }

    fn span_of(&self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str, problems: &mut Problems) -> Option<Span> {
        let parsed = match value.get_ref() {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(integer) => duration::from_millis(whole(integer), integer.as_str()),
            _ => {
                self.reject(name, value, wanted, problems);
                return None;
            }
        };
        parsed
            .map_err(|message| {
                let place = self.at(value.span());
                problems.add(Problem::error(place, format!("{name}: {message}"), self.key(name).map_or("", |k| k.doc)));
            })
            .ok()
    }

    /// The duration if it lies between the two; zero for what does not.
    pub(super) fn duration_within(&self, name: &str, least: Span, most: Span, problems: &mut Problems) -> Span {
        let Some(span) = self.duration(name, problems) else { return Span::ZERO };
        if span < least || span > most {
            let message = format!("{name} is {span}");
            problems.add(Problem::error(self.place(name), message, format!("between {least} and {most}")));
        }
        span
    }

    /// A number in this range, or the key's default.
    pub(super) fn number_within(&self, name: &str, least: f64, most: f64, problems: &mut Problems) -> f64 {
        let default = self.key(name).and_then(|key| key.default.parse().ok()).unwrap_or_default();
        let Some(value) = self.find(name) else { return default };
        match scalar(value.get_ref()) {
            Some(Value::Number(number)) if (least..=most).contains(&number) => number,
            Some(Value::Number(number)) => {
                let message = format!("{name} cannot be {number}");
                problems.add(Problem::error(self.place(name), message, format!("a number from {least} to {most}")));
                default
            }
            Some(Value::Text(_) | Value::Boolean(_)) | None => {
                self.reject(name, value, &format!("a number from {least} to {most}"), problems);
                default
            }
        }
    }

    /// A table inside, with its own keys.
    pub(super) fn inner(&self, name: &str, problems: &mut Problems) -> Option<Table<'d, 't>> {
        let (Some(Key { shape: Shape::Table(section), .. }), Some(value)) = (self.key(name), self.find(name)) else {
            return None;
        };
        let Some(entries) = value.get_ref().as_table() else {
            let first = section.keys.first().map_or("", |key| key.name);
            self.reject(name, value, &format!("a table like {{ {first} = … }}"), problems);
            return None;
        };
        let Place { span: Range { start, end }, .. } = self.at(value.span());
        let inner = Table { section, entries, start, end, ..*self };
        inner.check(problems);
        Some(inner)
    }

    /// A number, string or boolean.
    pub(super) fn scalar(&self, name: &str, problems: &mut Problems) -> Option<Value> {
        let value = self.find(name)?;
        let found = scalar(value.get_ref());
        if found.is_none() {
            self.reject(name, value, "a finite number, a string or a boolean", problems);
        }
        found
    }

    /// A width, or a percentage.
    pub(super) fn deadband(&self, name: &str, problems: &mut Problems) -> Option<Deadband> {
        let value = self.find(name)?;
        let found = match (scalar(value.get_ref()), value.get_ref()) {
            (Some(Value::Number(width)), _) => Some(Deadband::Absolute(width)),
            (_, DeValue::String(text)) => text
                .trim()
                .strip_suffix('%')
                .and_then(|number| number.trim().parse::<f64>().ok())
                .filter(|percent| percent.is_finite())
                .map(Deadband::Percent),
            _ => None,
        };
        match found {
            None => {
                self.reject(name, value, "a finite number (the whole width) or a percentage like \"10 %\"", problems);
                None
            }
            Some(Deadband::Absolute(number) | Deadband::Percent(number)) if number < 0.0 => {
                let place = self.at(value.span());
                problems.add(Problem::error(place, format!("{name} is negative"), "a width is 0 or more"));
                None
            }
            fine => fine,
        }
    }

    /// Where a secret is.
    pub(super) fn secret(&self, name: &str, problems: &mut Problems) -> Option<Secret> {
        let value = self.find(name)?;
        let forms = "{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";
        let mut refuse = |span: Range<usize>, message: &str| {
            let help = format!("write {name} = {forms}");
            problems.add(Problem::error(self.at(span), format!("{name}: {message}"), help));
            None
        };
        let Some(table) = value.get_ref().as_table() else {
            return refuse(value.span(), "secrets do not belong into this file");
        };
        let mut entries = table.iter();
        let (Some((kind, place)), None) = (entries.next(), entries.next()) else {
            return refuse(value.span(), "say one place, and only one");
        };
        let secret = match kind.get_ref().as_ref() {
            "file" => |text: &str| Secret::File(text.into()),
            "env" => |text: &str| Secret::Env(text.to_owned()),
            "credential" => |text: &str| Secret::Credential(text.to_owned()),
            other => return refuse(kind.span(), &format!("{other} is no place for secrets")),
        };
        match place.get_ref().as_str() {
            None => refuse(place.span(), &format!("{} must be a string", kind.get_ref())),
            Some("") => refuse(place.span(), &format!("{} is empty", kind.get_ref())),
            Some(text) if kind.get_ref() == "credential" && text.contains('/') => {
                refuse(place.span(), "a credential has a name, not a path")
            }
            Some(text) => {
                let secret = secret(text);
                if let Secret::File(path) = &secret
                    && is_missing(path)
                {
                    let place = self.at(place.span());
                    problems.add(missing(name, path, place).without_source());
                }
                let at = self.at(place.span());
                files::check_secret(name, &secret, at, problems);
                if secret.is_open_to_everybody() {
                    let message = format!("{name}: every user of this machine can read the {secret}");
                    let place = self.at(place.span());
                    problems
                        .add(Problem::warning(place, message, "chmod 600 it, or use a credential").without_source());
                }
                Some(secret)
            }
        }
    }

    /// A table from texts to numbers, each with the place of its text and of its number.
    pub(super) fn numbers(&self, name: &str, problems: &mut Problems) -> Option<Vec<(String, Place, f64, Place)>> {
        let value = self.find(name)?;
        let Some(table) = value.get_ref().as_table() else {
            self.reject(name, value, "a table like { warning = 3.5, critical = 6 }", problems);
            return None;
        };
        let place = |span| self.at(span);
        let mut numbers = Vec::new();
        for (text, number) in table {
            match scalar(number.get_ref()) {
                Some(Value::Number(found)) => {
                    numbers.push((text.get_ref().to_string(), place(text.span()), found, place(number.span())));
                }
                Some(Value::Text(_) | Value::Boolean(_)) | None => {
                    self.reject(name, number, "a finite number for each severity", problems)
                }
            }
        }
        Some(numbers)
    }

    /// A table from texts to scalars.
    pub(super) fn map(&self, name: &str, problems: &mut Problems) -> Map {
        let Some(value) = self.find(name) else { return Map::new() };
        let Some(table) = value.get_ref().as_table() else {
            self.reject(name, value, "a table like { ON = true, OFF = false }", problems);
            return Map::new();
        };
        let mut map = Map::new();
        for (text, replacement) in table {
            match scalar(replacement.get_ref()) {
                Some(scalar) => {
                    map.insert(text.get_ref().to_string(), scalar);
                }
                None => self.reject(name, replacement, "from texts to finite numbers, strings or booleans", problems),
            }
        }
        map
    }
}

/// A scalar of the model; none for what is no finite number, string or boolean.
fn scalar(value: &DeValue<'_>) -> Option<Value> {
    let number = match value {
        DeValue::String(text) => return Some(Value::Text(text.as_ref().into())),
        DeValue::Boolean(boolean) => return Some(Value::Boolean(*boolean)),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse::<f64>().ok()?,
        #[expect(clippy::cast_precision_loss, reason = "values are 64-bit floats")]
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix()).ok()? as f64,
        DeValue::Float(float) => float.as_str().parse::<f64>().ok()?,
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    };
    number.is_finite().then_some(Value::Number(number))
}

/// An integer as far as one can count; beyond that the nearest one, which is out of every range.
fn whole(integer: &DeInteger<'_>) -> i128 {
    let limit = if integer.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
    i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(limit)
}

pub(super) fn kind_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(integer) => {
            let prefix = match integer.radix() {
                2 => "0b",
                8 => "0o",
                16 => "0x",
                _ => "",
            };
            format!("the integer {prefix}{}", integer.as_str())
        }
        DeValue::Float(float) => format!("the number {}", float.as_str()),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(array) if array.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The known word that a typo was most likely meant to be.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Whether there is surely nothing at this path. What cannot be looked at from here may be there for the daemon's user.
fn is_missing(path: &Path) -> bool {
    path.try_exists().is_ok_and(|exists| !exists)
}

/// No error, because a configuration may be checked on another machine than its own.
fn missing(name: &str, path: &Path, place: Place) -> Problem {
    let message = format!("{name}: there is no file {} on this machine", path.display());
    Problem::warning(place, message, "put it there before the daemon needs it, or name the right one")
}
