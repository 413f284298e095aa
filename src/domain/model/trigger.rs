//! The kinds of alarms: what each looks at, and what it needs for that.
//!
//! Evidence for them is taken from values in `domain::engine`.

use super::canonical::{self, Quote};
use super::{Condition, Operator, Severity};
use crate::domain::time::Span;
use std::sync::Arc;

/// The kinds of triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmType {
    /// Looks at the latest value.
    Standard,
    /// Looks at the mean of a window.
    Average,
    /// Looks for silence.
    NoValue,
    /// Looks at how unusual the thing behaves.
    Anomaly,
}

impl AlarmType {
    /// All types.
    pub const ALL: [AlarmType; 4] = [AlarmType::Standard, AlarmType::Average, AlarmType::NoValue, AlarmType::Anomaly];

    /// As configuration and events spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            AlarmType::Standard => "standard",
            AlarmType::Average => "average",
            AlarmType::NoValue => "no-value",
            AlarmType::Anomaly => "anomaly",
        }
    }
}

/// What activates an alarm, and what returns it to idled.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// The latest value alone.
    Standard {
        /// What is looked for in the value.
        condition: Condition,
        /// On-delay: how long the condition must hold, from 0.
        observe_time: Span,
        /// Off-delay: how long it must have ended, from 0.
        clear_delay: Span,
    },
    /// The mean of the samples in a window.
    Average {
        /// What is looked for in the mean; always on numbers, without a deadband.
        condition: Condition,
        /// The age at which a sample leaves the mean, at least 100 ms.
        window: Span,
        /// On-delay, at least 100 ms.
        observe_time: Span,
        /// Off-delay, from 0.
        clear_delay: Span,
    },
    /// Silence.
    NoValue {
        /// How long nothing has to come, at least 100 ms.
        observe_time: Span,
    },
    /// What a model finds: whoever scores by it orders the alarm ([`crate::domain::engine::Engine::order`]).
    Anomaly {
        /// The model's name.
        model: Arc<str>,
    },
    /// A score that somebody else publishes: the latest value, with a severity for each height.
    Score {
        /// At or above the lowest threshold.
        condition: Condition,
        /// The least score of each severity that is used, mildest first.
        severities: Vec<(Severity, f64)>,
        /// How long the score must have been there, from 0.
        observe_time: Span,
        /// How long it must have been below, from 0.
        clear_delay: Span,
    },
}

impl Trigger {
    /// The kind of trigger.
    pub fn alarm_type(&self) -> AlarmType {
        match self {
            Trigger::Standard { .. } => AlarmType::Standard,
            Trigger::Average { .. } => AlarmType::Average,
            Trigger::NoValue { .. } => AlarmType::NoValue,
            Trigger::Anomaly { .. } | Trigger::Score { .. } => AlarmType::Anomaly,
        }
    }

    /// One text per meaning: see [`canonical`].
    pub(super) fn canonical(&self, quoted: Quote) -> String {
        let micros = |span: &Span| span.as_micros();
        match self {
            Trigger::Standard { condition, observe_time, clear_delay } => {
                format!("standard {} {} {}", condition.canonical(quoted), micros(observe_time), micros(clear_delay))
            }
            Trigger::Average { condition, window, observe_time, clear_delay } => format!(
                "average {} {} {} {}",
                condition.canonical(quoted),
                micros(window),
                micros(observe_time),
                micros(clear_delay)
            ),
            Trigger::NoValue { observe_time } => format!("no-value {}", micros(observe_time)),
            Trigger::Anomaly { model } => format!("anomaly {}", quoted(model)),
            Trigger::Score { severities, observe_time, clear_delay, .. } => {
                let least = |(severity, least): &(Severity, f64)| {
                    format!("({}, {})", severity.canonical(), canonical::number(*least))
                };
                let severities = canonical::list(severities, least);
                format!("score {severities} {} {}", micros(observe_time), micros(clear_delay))
            }
        }
    }

    /// How long the trigger has to be there before the alarm is activated.
    pub fn observe_time(&self) -> Span {
        match self {
            Trigger::Standard { observe_time, .. }
            | Trigger::Average { observe_time, .. }
            | Trigger::Score { observe_time, .. }
            | Trigger::NoValue { observe_time } => *observe_time,
            Trigger::Anomaly { .. } => Span::ZERO,
        }
    }

    /// How long the trigger has to be gone before an active alarm returns to idled.
    pub fn clear_delay(&self) -> Span {
        match self {
            Trigger::Standard { clear_delay, .. }
            | Trigger::Average { clear_delay, .. }
            | Trigger::Score { clear_delay, .. } => *clear_delay,
            Trigger::NoValue { .. } | Trigger::Anomaly { .. } => Span::ZERO,
        }
    }

    /// What is looked for in values or their mean; none where it is not about one of them.
    pub fn condition(&self) -> Option<&Condition> {
        match self {
            Trigger::Standard { condition, .. }
            | Trigger::Average { condition, .. }
            | Trigger::Score { condition, .. } => Some(condition),
            Trigger::NoValue { .. } | Trigger::Anomaly { .. } => None,
        }
    }

    /// A trigger for a score: it is reached at the lowest of these thresholds, which are given mildest first.
    pub fn score(severities: Vec<(Severity, f64)>, observe_time: Span, clear_delay: Span) -> Trigger {
        let lowest = severities.iter().map(|(_, least)| *least).fold(f64::INFINITY, f64::min);
        let condition = Condition::number(Operator::GreaterOrEqual, lowest, None);
        Trigger::Score { condition, severities, observe_time, clear_delay }
    }

    /// The quantity that is compared with the condition, in words; none where the trigger is not about one.
    pub fn subject(&self) -> Option<(String, &Condition)> {
        match self {
            Trigger::Standard { condition, .. } => Some(("the value".to_owned(), condition)),
            Trigger::Average { condition, window, .. } => Some((format!("the mean of the last {window}"), condition)),
            Trigger::Score { condition, .. } => Some(("the score".to_owned(), condition)),
            Trigger::NoValue { .. } | Trigger::Anomaly { .. } => None,
        }
    }
}
