//! Alarms as records: the lasting part, the part that changes with values, and the samples of a window.
//!
//! They mirror the engine's memory on purpose: that may change with the program, these only with a new version.

use super::ValueRecord;
use super::codes::Code as _;
use crate::domain::engine::{
    Acknowledgement, AlarmMemory, Cause, LastChange, Shelving, SoftMemory, Standing, State, Timer, WindowSample,
};
use crate::domain::model::{AlarmFacts, AlarmId, AlarmType, Severity, Value};
use crate::domain::time::{Moment, Stamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub(super) struct AlarmRecord<'a> {
    thing: &'a str,
    property: &'a str,
    level: &'a str,
    alarm_type: u8,
    severity: u8,
    title: &'a str,
    trigger_fingerprint: u64,
    definition_fingerprint: u64,
    state: u8,
    occurrence: u64,
    activated_since: Option<i64>,
    acknowledged: Option<(i64, String, Option<String>)>,
    last: Option<LastRecord>,
    shelved: Option<ShelvingRecord>,
    #[serde(default, deserialize_with = "super::if_there")]
    is_uncertain: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ShelvingRecord {
    at: i64,
    until: i64,
    ends: i64,
    by: Option<String>,
    comment: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct LastRecord {
    seq: u64,
    at: i64,
    cause: u8,
    value: Option<ValueRecord>,
    average: Option<f64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SoftRecord {
    since: i64,
    value: Option<ValueRecord>,
    value_at: Option<i64>,
    lives_until_told: bool,
    timer: Option<(i64, u64)>,
    mean: Option<f64>,
    samples: (u64, u64),
    /// Since when, how severe, and whether it is quiet.
    #[serde(default, deserialize_with = "super::if_there")]
    anomaly: Option<(i64, u8, bool)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SamplesRecord {
    pub(super) first: u64,
    pub(super) samples: Vec<(i64, f64)>,
}

/// The samples that the window held, if all of them are there.
pub(super) fn samples_of(soft: &SoftMemory, blocks: &[SamplesRecord]) -> Option<Vec<WindowSample>> {
    let mut samples = Vec::new();
    let mut next = soft.samples.start;
    for block in blocks {
        for (number, (at, value)) in (block.first..).zip(&block.samples) {
            if number == next && number < soft.samples.end {
                samples.push(WindowSample { at: Moment::from_micros(*at), value: *value });
                next += 1;
            }
        }
    }
    (next == soft.samples.end).then_some(samples)
}

impl<'a> From<&'a AlarmMemory> for AlarmRecord<'a> {
    fn from(memory: &'a AlarmMemory) -> AlarmRecord<'a> {
        let facts = &memory.facts;
        AlarmRecord {
            thing: &facts.thing,
            property: &facts.property,
            level: &facts.level,
            alarm_type: facts.alarm_type.code(),
            severity: facts.severity.code(),
            title: &facts.title,
            trigger_fingerprint: memory.trigger_fingerprint,
            definition_fingerprint: memory.definition_fingerprint,
            state: memory.state.code(),
            occurrence: memory.occurrence,
            activated_since: memory.activated_since.map(Stamp::as_micros),
            acknowledged: memory.acknowledged.as_ref().map(|Acknowledgement { at, by, comment }| {
                (at.as_micros(), by.to_string(), comment.as_ref().map(ToString::to_string))
            }),
            last: memory.last.as_ref().map(|last| LastRecord {
                seq: last.seq,
                at: last.at.as_micros(),
                cause: last.cause.code(),
                value: last.value.as_ref().map(ValueRecord::from),
                average: last.average,
            }),
            shelved: memory.shelved.as_ref().map(|Shelving { at, until, ends, by, comment }| ShelvingRecord {
                at: at.as_micros(),
                until: until.as_micros(),
                ends: ends.as_micros(),
                by: by.as_deref().map(str::to_owned),
                comment: comment.as_deref().map(str::to_owned),
            }),
            is_uncertain: memory.is_uncertain,
        }
    }
}

impl AlarmRecord<'_> {
    pub(super) fn into_memory(self, handle: u32) -> Option<AlarmMemory> {
        let facts = AlarmFacts {
            id: AlarmId::new(self.thing, self.property, self.level),
            thing: self.thing.into(),
            property: self.property.into(),
            level: self.level.into(),
            alarm_type: AlarmType::of(self.alarm_type)?,
            severity: Severity::of(self.severity)?,
            title: self.title.into(),
        };
        let last = self.last.and_then(|last| {
            Some(LastChange {
                seq: last.seq,
                at: Stamp::from_micros(last.at),
                cause: Cause::of(last.cause)?,
                value: last.value.map(Value::from),
                average: last.average,
            })
        });
        Some(AlarmMemory {
            handle,
            facts,
            trigger_fingerprint: self.trigger_fingerprint,
            definition_fingerprint: self.definition_fingerprint,
            state: State::of(self.state)?,
            occurrence: self.occurrence,
            activated_since: self.activated_since.map(Stamp::from_micros),
            acknowledged: self.acknowledged.map(|(at, by, comment)| Acknowledgement {
                at: Stamp::from_micros(at),
                by: Arc::from(by),
                comment: comment.map(Arc::from),
            }),
            last,
            shelved: self.shelved.map(|ShelvingRecord { at, until, ends, by, comment }| Shelving {
                at: Stamp::from_micros(at),
                until: Stamp::from_micros(until),
                ends: Moment::from_micros(ends),
                by: by.map(Arc::from),
                comment: comment.map(Arc::from),
            }),
            is_uncertain: self.is_uncertain,
        })
    }
}

impl From<&SoftMemory> for SoftRecord {
    fn from(memory: &SoftMemory) -> SoftRecord {
        SoftRecord {
            since: memory.since.as_micros(),
            value: memory.value.as_ref().map(ValueRecord::from),
            value_at: memory.value_at.map(Stamp::as_micros),
            lives_until_told: memory.lives_until_told,
            timer: memory.timer.map(|timer| (timer.deadline.as_micros(), timer.order)),
            mean: memory.mean,
            samples: (memory.samples.start, memory.samples.end),
            anomaly: memory
                .anomaly
                .map(|Standing { since, severity, is_quiet }| (since.as_micros(), severity.code(), is_quiet)),
        }
    }
}

impl SoftRecord {
    pub(super) fn into_memory(self, handle: u32) -> SoftMemory {
        SoftMemory {
            handle,
            since: Moment::from_micros(self.since),
            value: self.value.map(Value::from),
            value_at: self.value_at.map(Stamp::from_micros),
            lives_until_told: self.lives_until_told,
            timer: self.timer.map(|(deadline, order)| Timer { deadline: Moment::from_micros(deadline), order }),
            mean: self.mean,
            samples: self.samples.0..self.samples.1,
            anomaly: self.anomaly.and_then(|(since, severity, is_quiet)| {
                let severity = Severity::of(severity)?;
                Some(Standing { since: Stamp::from_micros(since), severity, is_quiet })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::store::record::{frame, unframe};

    fn soft() -> SoftMemory {
        SoftMemory {
            handle: 7,
            since: Moment::from_micros(5),
            value: Some(Value::Number(4.5)),
            value_at: None,
            lives_until_told: false,
            timer: None,
            mean: None,
            samples: 0..0,
            anomaly: Some(Standing { since: Stamp::from_micros(-3), severity: Severity::Error, is_quiet: true }),
        }
    }

    fn read(bytes: &[u8]) -> SoftMemory {
        unframe::<SoftRecord>(bytes).unwrap_or_else(|_| panic!("it cannot be read")).into_memory(7)
    }

    #[test]
    fn an_anomaly_that_goes_on_comes_back() {
        assert_eq!(read(&frame(&SoftRecord::from(&soft()))), soft());
    }

    /// As written before there were anomaly alarms: since 5, the number 4.5, and nothing else.
    #[test]
    fn what_was_written_before_there_were_anomalies_is_read() {
        let mut body = vec![10, 1, 0];
        body.extend_from_slice(&4.5_f64.to_le_bytes());
        body.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
        let mut old = vec![1];
        old.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        old.extend_from_slice(&body);
        assert_eq!(read(&old), SoftMemory { anomaly: None, ..soft() });
    }
}
