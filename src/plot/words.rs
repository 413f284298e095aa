//! Alarms and numbers in words: when does it come, when does it go.
//!
//! It decides about sentences and nothing else. They have to say the same as [`Condition::classify`] does.

use crate::domain::model::{AlarmDefinition, Condition, Operator, Trigger};
use crate::domain::time::{Span, Stamp};

/// Where a recording in seconds may begin: nothing real has happened in the first day of 1970.
const BY_HAND: Span = Span::from_secs(86_400);

/// What an alarm waits for: `comes when the value is above 20 for 5s, goes when it is 10 or below`.
pub(crate) fn alarm(definition: &AlarmDefinition) -> String {
    let (kind, severity) = (definition.trigger.alarm_type().as_str(), severity(definition));
    let trigger = trigger(&definition.trigger);
    match &*definition.title {
        "" => format!("{trigger} ({kind}, {severity})"),
        title => format!("{trigger} ({kind}, {severity}) · “{title}”"),
    }
}

/// How bad it would be: `warning`, or `warning from 3, critical from 6`.
fn severity(definition: &AlarmDefinition) -> String {
    let Trigger::Score { severities, .. } = &definition.trigger else { return definition.severity.as_str().to_owned() };
    let from = severities.iter().map(|(severity, least)| format!("{} from {}", severity.as_str(), number(*least)));
    from.collect::<Vec<_>>().join(", ")
}

fn trigger(trigger: &Trigger) -> String {
    if let Some((subject, condition)) = trigger.subject() {
        let (comes, goes) = edges(condition);
        let (comes_after, goes_after) = (after(trigger.observe_time()), after(trigger.clear_delay()));
        return format!("comes when {subject} is {comes}{comes_after}, goes when it is {goes}{goes_after}");
    }
    match trigger {
        Trigger::Anomaly { model } => format!("comes when model “{model}” finds an anomaly, goes when it is over"),
        Trigger::NoValue { observe_time } => {
            format!("comes when there was no value for {observe_time}, goes with the next value")
        }
        Trigger::Standard { .. } | Trigger::Average { .. } | Trigger::Score { .. } => String::new(),
    }
}

fn after(delay: Span) -> String {
    if delay == Span::ZERO { String::new() } else { format!(" for {delay}") }
}

/// When the condition begins to hold, and when it ends.
fn edges(condition: &Condition) -> (String, String) {
    match condition {
        Condition::Number { operator, low, high } => {
            let range = if low < high { format!("{} … {}", number(*low), number(*high)) } else { number(*low) };
            let (low, high) = (number(*low), number(*high));
            match operator {
                Operator::Equal if low == high => (format!("equal to {range}"), "anything else".into()),
                Operator::Equal => (format!("within {range}"), "outside".into()),
                Operator::NotEqual if low == high => (format!("anything but {range}"), format!("equal to {range}")),
                Operator::NotEqual => (format!("outside {range}"), "within".into()),
                Operator::Greater => (format!("above {high}"), format!("{low} or below")),
                Operator::GreaterOrEqual => (format!("{high} or above"), format!("below {low}")),
                Operator::Less => (format!("below {low}"), format!("{high} or above")),
                Operator::LessOrEqual => (format!("{low} or below"), format!("above {high}")),
            }
        }
        Condition::Text { equal, limit } => choice(*equal, &format!("“{limit}”")),
        Condition::Boolean { equal, limit } => choice(*equal, &limit.to_string()),
    }
}

fn choice(equal: bool, limit: &str) -> (String, String) {
    let (is, is_not) = (limit.to_owned(), format!("anything but {limit}"));
    if equal { (is, is_not) } else { (is_not, is) }
}

/// A number as people write it: six digits that mean something, no more.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !(1e-4..1e9).contains(&size) {
        let text = format!("{value:.5e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", trim(digits)),
            None => text,
        };
    }
    let digits = (1..=9).find(|digits| size < 10_f64.powi(*digits)).unwrap_or(9);
    let leading_zeros = (0..4).take_while(|n| size < 10_f64.powi(-1 - n)).count();
    let decimals = usize::try_from(6 - digits).unwrap_or(0) + leading_zeros;
    trim(&format!("{value:.decimals$}"))
}

fn trim(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

/// A length of time as it matters to people, to two digits: `4.2 s`, `1.2 h`.
pub(crate) fn about(span: Span) -> String {
    let seconds = span.as_secs_f64();
    let units = [("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)];
    let (unit, size) = units.into_iter().find(|(_, size)| seconds >= *size).unwrap_or(("µs", 1e-6));
    let value = seconds / size;
    let value = if value < 10.0 { (value * 10.0).round() / 10.0 } else { value.round() };
    format!("{} {unit}", number(value))
}

/// How often: `once`, `3 times`.
pub(crate) fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

/// Whether a recording that begins at `start` was written by hand, in seconds.
pub(crate) fn is_by_hand(start: Stamp) -> bool {
    (Span::ZERO..BY_HAND).contains(&(start - Stamp::default()))
}

/// A time in a recording that begins at `start`: `14 s`, or `2026-05-01T12:00:14Z`.
pub(crate) fn time(at: Stamp, start: Stamp) -> String {
    if is_by_hand(start) { format!("{} s", number((at - Stamp::default()).as_secs_f64())) } else { at.to_string() }
}

/// The same in few outbound events: `12:00:14`, with the date if it is not that of the start.
pub(crate) fn short_time(at: Stamp, start: Stamp) -> String {
    let text = time(at, start);
    let Some((date, clock)) = text.split_once('T') else { return text };
    let clock: String = clock.trim_end_matches('Z').chars().take("12:00:14.123".len()).collect();
    if start.to_string().starts_with(date) { clock } else { format!("{date} {clock}") }
}

/// At most `most` characters of a text, on one line, and none that XML forbids.
pub(crate) fn fit(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) { '\u{fffd}' } else { c };
    if text.chars().count() <= most {
        return text.chars().map(clean).collect();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).map(clean).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Deadband;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let written: Vec<String> =
            [0.0, 15.0, 10.0005, 0.1 + 0.2, -273.15, 1_234_567.0, 0.000_25, 1e12, 1.5e-9].map(number).into();
        assert_eq!(written, ["0", "15", "10.0005", "0.3", "-273.15", "1234567", "0.00025", "1e12", "1.5e-9"]);
    }

    #[test]
    fn each_operator_has_its_sentence() {
        let words = |operator, deadband| {
            let condition = Condition::number(operator, 15.0, deadband);
            trigger(&Trigger::Standard { condition, observe_time: Span::from_secs(5), clear_delay: Span::ZERO })
        };
        let band = Some(Deadband::Absolute(10.0));
        for (operator, deadband, want) in [
            (Operator::Greater, band, "above 20 for 5s, goes when it is 10 or below"),
            (Operator::GreaterOrEqual, band, "20 or above for 5s, goes when it is below 10"),
            (Operator::Less, band, "below 10 for 5s, goes when it is 20 or above"),
            (Operator::LessOrEqual, band, "10 or below for 5s, goes when it is above 20"),
            (Operator::Equal, band, "within 10 … 20 for 5s, goes when it is outside"),
            (Operator::NotEqual, band, "outside 10 … 20 for 5s, goes when it is within"),
            (Operator::NotEqual, None, "anything but 15 for 5s, goes when it is equal to 15"),
        ] {
            assert_eq!(words(operator, deadband), format!("comes when the value is {want}"));
        }
    }

    #[test]
    fn times_and_lengths_are_as_short_as_they_can_be() {
        let [start, same_day, next_day] =
            ["2026-05-01T10:00:00Z", "2026-05-01T12:00:14.123456Z", "2026-05-02T12:00:14Z"]
                .map(|t| Stamp::parse(t).unwrap());
        assert_eq!(time(same_day, start), "2026-05-01T12:00:14.123456Z");
        assert_eq!(short_time(same_day, start), "12:00:14.123");
        assert_eq!(short_time(next_day, start), "2026-05-02 12:00:14");
        assert_eq!(short_time(Stamp::from_micros(14_500_000), Stamp::default()), "14.5 s");
        assert_eq!(
            [4_194_304, 70_000_000, 7, 0].map(|n| about(Span::from_micros(n))),
            ["4.2 s", "1.2 min", "7 µs", "0 µs"]
        );
    }

    #[test]
    fn what_xml_forbids_is_replaced() {
        assert_eq!(fit("a\u{0}b\u{1b}", 9), "a\u{fffd}b\u{fffd}");
        assert_eq!(fit("abcdef", 4), "abc…");
    }
}
