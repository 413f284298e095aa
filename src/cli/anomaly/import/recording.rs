//! What a recording says of the past: its messages go through the sources of the configuration, as the daemon's do.
//!
//! Only numbers count. What the broker replayed at a subscription does not: nobody knows how old it was.

use super::Args;
use super::past::Past;
use crate::cli::remote::history::Name;
use crate::config::Config;
use crate::domain::anomaly::definition::AnomalyDefinition;
use crate::domain::anomaly::series::Sample;
use crate::domain::model::ValueRef;
use crate::domain::time::Stamp;
use crate::ingest::formats::{Payload, PayloadFault};
use crate::ingest::source::Source;
use crate::replay::{self, Recorded};
use std::io::{BufRead, Read as _};

/// A line longer than this is no recorded message: MQTT itself ends at 256 MiB, and its JSON at six times that.
const MAX_LINE: u64 = 1 << 31;

/// Reads it all.
pub(super) fn read(args: &Args, config: &Config, input: &mut dyn BufRead) -> anyhow::Result<Past> {
    let model = config.anomalies.iter().find(|model| *model.name == *args.model);
    let wanted = Wanted { thing: Name::of(args.thing.as_deref()), property: args.property.as_deref(), model };
    let mut past = Past::default();
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        if input.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(past.sorted());
        }
        number += 1;
        let text = String::from_utf8_lossy(&line);
        let recorded = replay::read(&text).map_err(|problem| anyhow::anyhow!("line {number}: {problem}"))?;
        if let Some(recorded) = recorded {
            message(&recorded, config, &wanted, &mut past)?;
        }
    }
}

/// Which values are for the model. One that is not in the configuration is the daemon's affair.
struct Wanted<'a> {
    thing: Name<'a>,
    property: Option<&'a str>,
    model: Option<&'a AnomalyDefinition>,
}

impl Wanted<'_> {
    fn has(&self, thing: &str, property: &str) -> bool {
        let is_of_model = self
            .model
            .is_none_or(|model| model.covers(thing) && model.properties.iter().any(|known| **known == *property));
        is_of_model && self.thing.fits(thing) && self.property.is_none_or(|wanted| wanted == property)
    }
}

fn message(recorded: &Recorded<'_>, config: &Config, wanted: &Wanted<'_>, past: &mut Past) -> anyhow::Result<()> {
    let Some(topic) = recorded.topic.as_deref() else { return Ok(()) };
    if config.gateway.topics.is_own(topic) || recorded.payload.is_empty() {
        return Ok(());
    }
    let mut is_known = false;
    for source in config.sources.iter() {
        let Some(names) = source.pattern.names(topic) else { continue };
        is_known = true;
        if recorded.retained {
            past.unused("replayed by the broker, so nobody knows how old it was".to_owned());
            continue;
        }
        let property = source.property.as_deref().or(names.property);
        let Some(thing) = source.thing.as_deref().or(names.thing) else { continue };
        let mut found = Vec::new();
        if let Err(fault) = values(source, config.gateway.max_payload, recorded, property, &mut found) {
            past.unused(format!("{topic}: {fault}"));
        }
        for (property, at, value) in found {
            if wanted.has(thing, &property) {
                past.push(thing, &property, Sample { at, value })?;
            }
        }
    }
    if !is_known {
        past.unused("on a topic of no source".to_owned());
    }
    Ok(())
}

/// The numbers that a message carries under the rule of a source.
fn values(
    source: &Source,
    max_payload: usize,
    recorded: &Recorded<'_>,
    property: Option<&str>,
    found: &mut Vec<(String, Stamp, f64)>,
) -> Result<(), PayloadFault> {
    let payload = Payload::read(recorded.payload.as_bytes(), max_payload)?;
    let own = source.time.as_ref().map(|time| payload.time(time)).transpose()?;
    let at = own.unwrap_or(Stamp::from_micros(recorded.at.as_micros()));
    let pointer = source.value.as_ref();
    let mut take = |name: &str, value: ValueRef<'_>| {
        if let ValueRef::Number(number) = value {
            found.push((name.to_owned(), at, number));
        }
    };
    match property {
        Some(property) => payload.scalar(pointer, &source.map, |value| take(property, value)),
        None => payload.members(pointer, &source.map, &mut take, &mut |_, _| ()),
    }
}
