//! When a value is in the activation range: operator, limit and deadband, compiled into two edges.
//!
//! The deadband is the hysteresis of ISA-18.2 (OPC UA Part 9 calls it the same): for the four ordered
//! operators a value between the edges decides nothing.

use super::canonical::Quote;
use super::{Text, ValueRef, ValueType};
use std::fmt;

/// How a value is compared with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl Operator {
    /// All operators, in the order in which documents list them.
    pub const ALL: [Operator; 6] = [
        Operator::Equal,
        Operator::NotEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Less,
        Operator::LessOrEqual,
    ];

    /// As the configuration spells it.
    pub const fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
        }
    }

    /// Whether only numbers have an order for it.
    pub fn is_ordered(self) -> bool {
        !matches!(self, Operator::Equal | Operator::NotEqual)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

/// A range around a numeric limit, as the configuration gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deadband {
    /// The whole width of the range, in the property's unit: half lies on each side of the limit.
    Absolute(f64),
    /// The deviation from the limit on each side, in percent of the limit.
    Percent(f64),
}

impl Deadband {
    /// How far the range reaches to each side of `limit`.
    pub fn half_width(self, limit: f64) -> f64 {
        match self {
            Deadband::Absolute(width) => width / 2.0,
            Deadband::Percent(percent) => limit.abs() * percent / 100.0,
        }
    }
}

/// What an alarm looks for in a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A comparison with a number; both edges belong to the deadband.
    Number {
        /// The comparison.
        operator: Operator,
        /// Limit less half the deadband.
        low: f64,
        /// Limit plus half the deadband.
        high: f64,
    },
    /// Equal, or unequal, to a text.
    Text {
        /// Whether the condition holds for the limit itself (`=`) or for all else (`!=`).
        equal: bool,
        /// The text compared with.
        limit: Text,
    },
    /// Equal, or unequal, to a boolean.
    Boolean {
        /// Whether the condition holds for the limit itself (`=`) or for all else (`!=`).
        equal: bool,
        /// The boolean compared with.
        limit: bool,
    },
}

/// What a value says about a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The value is in the activation range.
    Holds,
    /// The value lies in the deadband of an ordered operator: an active alarm stays active, an idle one idle.
    Between,
    /// The value is outside the activation range.
    Fails,
    /// The value is of another type than the limit: no evidence of anything.
    WrongType,
}

impl Condition {
    /// The condition `value operator limit` with the edges that `deadband` draws around the limit.
    pub fn number(operator: Operator, limit: f64, deadband: Option<Deadband>) -> Condition {
        let half = deadband.map_or(0.0, |d| d.half_width(limit));
        Condition::Number { operator, low: limit - half, high: limit + half }
    }

    /// One text per meaning, the same in every release.
    pub(super) fn canonical(&self, quoted: Quote) -> String {
        match self {
            Condition::Number { operator, low, high } => format!("{operator} {low} {high}"),
            Condition::Text { equal, limit } => match limit.cut() {
                None => format!("text {equal} {}", quoted(limit)),
                Some(cut) => format!("text {equal} {} {} {:x}", quoted(&cut.shown), cut.length, cut.hash),
            },
            Condition::Boolean { equal, limit } => format!("boolean {equal} {limit}"),
        }
    }

    /// The type of the values that it compares.
    pub fn value_type(&self) -> ValueType {
        match self {
            Condition::Number { .. } => ValueType::Number,
            Condition::Text { .. } => ValueType::Text,
            Condition::Boolean { .. } => ValueType::Boolean,
        }
    }

    /// Decides about one value, by the table of edges.
    pub fn classify(&self, value: ValueRef<'_>) -> Verdict {
        match (self, value) {
            (Condition::Number { operator, low, high }, ValueRef::Number(v)) => {
                let (holds, fails) = match operator {
                    Operator::Equal => (*low <= v && v <= *high, true),
                    Operator::NotEqual => (v < *low || v > *high, true),
                    Operator::Greater => (v > *high, v <= *low),
                    Operator::GreaterOrEqual => (v >= *high, v < *low),
                    Operator::Less => (v < *low, v >= *high),
                    Operator::LessOrEqual => (v <= *low, v > *high),
                };
                if holds {
                    Verdict::Holds
                } else if fails {
                    Verdict::Fails
                } else {
                    Verdict::Between
                }
            }
            (Condition::Text { equal, limit }, ValueRef::Text(v)) => Verdict::of(limit.is(v) == *equal),
            (Condition::Text { equal, limit }, ValueRef::Cut(cut)) => Verdict::of((limit.cut() == Some(cut)) == *equal),
            (Condition::Boolean { equal, limit }, ValueRef::Boolean(v)) => Verdict::of((*limit == v) == *equal),
            (
                Condition::Number { .. } | Condition::Text { .. } | Condition::Boolean { .. },
                ValueRef::Number(_) | ValueRef::Text(_) | ValueRef::Cut(_) | ValueRef::Boolean(_),
            ) => Verdict::WrongType,
        }
    }
}

impl Verdict {
    fn of(holds: bool) -> Verdict {
        if holds { Verdict::Holds } else { Verdict::Fails }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(operator: Operator, values: &[f64]) -> String {
        let condition = Condition::number(operator, 15.0, Some(Deadband::Absolute(10.0)));
        values
            .iter()
            .map(|v| match condition.classify(ValueRef::Number(*v)) {
                Verdict::Holds => 'H',
                Verdict::Between => 'b',
                Verdict::Fails => 'f',
                Verdict::WrongType => '?',
            })
            .collect()
    }

    #[test]
    fn the_table_of_edges() {
        let around = [9.9, 10.0, 10.1, 15.0, 19.9, 20.0, 20.1];
        assert_eq!(verdicts(Operator::Equal, &around), "fHHHHHf");
        assert_eq!(verdicts(Operator::NotEqual, &around), "HfffffH");
        assert_eq!(verdicts(Operator::Greater, &around), "ffbbbbH");
        assert_eq!(verdicts(Operator::GreaterOrEqual, &around), "fbbbbHH");
        assert_eq!(verdicts(Operator::Less, &around), "Hbbbbff");
        assert_eq!(verdicts(Operator::LessOrEqual, &around), "HHbbbbf");
    }

    #[test]
    fn a_percentage_is_the_deviation_and_is_not_rounded() {
        let Condition::Number { low, high, .. } =
            Condition::number(Operator::NotEqual, 15.0, Some(Deadband::Percent(33.33)))
        else {
            panic!("a number")
        };
        assert!((low - 10.0005).abs() < 1e-12 && (high - 19.9995).abs() < 1e-12);
        assert!((Deadband::Percent(10.0).half_width(-10.0) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn types_are_never_converted() {
        let text = Condition::Text { equal: true, limit: "1".into() };
        assert_eq!(text.classify(ValueRef::Number(1.0)), Verdict::WrongType);
        let truth = Condition::Boolean { equal: false, limit: true };
        assert_eq!(truth.classify(ValueRef::Text("true")), Verdict::WrongType);
        assert_eq!(truth.classify(ValueRef::Boolean(false)), Verdict::Holds);
    }
}
