//! Performance of the alarm system as payloads: a part of `base/metrics`, and the answer to `stats`.

use super::{PlainNumber, Rfc3339, reply, to_bytes};
use crate::api::status::Metrics;
use crate::domain::alarm_metrics::{Entry, FLOOD, FLOOD_END, Flood, Ranking, Report, Standing};
use crate::domain::time::{Now, Stamp};
use serde::Serialize;
use serde_json::Value;

/// The performance figures of one moment, for `base/metrics`, `stats` and HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Counts and rankings of past activations.
    pub report: Report,
    /// Numbers of alarms that are active, shelved and stale.
    pub standing: Standing,
    /// The time at which the figures were taken.
    pub now: Now,
}

#[derive(Serialize)]
struct Counted<'a> {
    alarm: &'a str,
    activations: u64,
    #[serde(skip_serializing_if = "is_zero")]
    fleeting: u64,
    share: PlainNumber,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> From<&'a Entry> for Counted<'a> {
    fn from(entry: &'a Entry) -> Counted<'a> {
        let Entry { alarm, activations, fleeting, share } = entry;
        Counted {
            alarm: alarm.as_str(),
            activations: *activations,
            fleeting: *fleeting,
            share: PlainNumber(rounded(*share)),
        }
    }
}

fn listed(ranking: &Ranking) -> Vec<Counted<'_>> {
    ranking.worst.iter().map(Counted::from).collect()
}

/// Rounds to three decimal places; further digits are noise in a payload.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[derive(Serialize)]
struct FloodPayload {
    since: Rfc3339,
    activations: u64,
    peak: u64,
}

/// The numeric figures, under the same names in both payloads.
#[derive(Serialize)]
struct Numbers {
    observed_seconds: u64,
    last_10_minutes: u64,
    peak_10_minutes: u64,
    mean_10_minutes: PlainNumber,
    last_day: u64,
    floods: u64,
    flood_share: PlainNumber,
    standing: usize,
    shelved: usize,
    stale: usize,
    chattering: usize,
    fleeting: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    flood: Option<FloodPayload>,
}

impl From<&Figures> for Numbers {
    fn from(Figures { report, standing, now }: &Figures) -> Numbers {
        let flood = |flood: Flood| FloodPayload {
            since: Rfc3339(now.stamp(flood.since)),
            activations: flood.activations,
            peak: flood.peak,
        };
        Numbers {
            observed_seconds: u64::try_from(report.observed.as_micros() / 1_000_000).unwrap_or(0),
            last_10_minutes: report.last_interval,
            peak_10_minutes: report.peak_interval,
            mean_10_minutes: PlainNumber(rounded(report.mean_interval)),
            last_day: report.last_day,
            floods: report.floods,
            flood_share: PlainNumber(rounded(report.flood_share)),
            standing: standing.standing,
            shelved: standing.shelved,
            stale: standing.stale,
            chattering: report.chattering.count,
            fleeting: report.fleeting.count,
            flood: report.flood.map(flood),
        }
    }
}

/// `base/metrics`: counters since the start, gauges, and the performance of the alarm system.
pub fn metrics(metrics: &Metrics, figures: &Figures) -> Vec<u8> {
    #[derive(Serialize)]
    struct Compact<'a> {
        #[serde(flatten)]
        numbers: Numbers,
        top: Vec<Counted<'a>>,
    }
    #[derive(Serialize)]
    struct Payload<'a> {
        #[serde(flatten)]
        metrics: &'a Metrics,
        performance: Compact<'a>,
    }
    let performance = Compact { numbers: figures.into(), top: listed(&figures.report.frequent) };
    to_bytes(&Payload { metrics, performance })
}

/// The answer to `stats`: the same numbers, and the alarms behind them.
pub(crate) fn answer(request: &Value, figures: &Figures) -> Vec<u8> {
    #[derive(Serialize)]
    struct Stale<'a> {
        alarm: &'a str,
        since: Rfc3339,
    }
    #[derive(Serialize)]
    struct Lists<'a> {
        frequent: Vec<Counted<'a>>,
        chattering: Vec<Counted<'a>>,
        fleeting: Vec<Counted<'a>>,
        stale: Vec<Stale<'a>>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        from: Rfc3339,
        to: Rfc3339,
        #[serde(flatten)]
        numbers: Numbers,
        worst: Lists<'a>,
        /// True if the least frequent alarms are missing from the lists, because too many alarms were activated.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    }
    let Figures { report, standing, now } = figures;
    let stale = standing.oldest.iter().map(|(alarm, since)| Stale { alarm: alarm.as_str(), since: Rfc3339(*since) });
    let body = Body {
        from: Rfc3339(now.wall - report.observed),
        to: Rfc3339(now.wall),
        numbers: figures.into(),
        worst: Lists {
            frequent: listed(&report.frequent),
            chattering: listed(&report.chattering),
            fleeting: listed(&report.fleeting),
            stale: stale.collect(),
        },
        partial: report.is_partial,
    };
    reply::answer(request, None, body)
}

/// The text of the status problem during a flood. It stays the same until the flood ends, so that the status is not
/// published again.
pub fn flood_note(since: Stamp) -> String {
    format!("since {since}: over {FLOOD} within 10 minutes, and not yet below {FLOOD_END}")
}
