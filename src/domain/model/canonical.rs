//! One text per meaning, the same in every release: what the fingerprints in the store are made of.
//!
//! The texts are those that 0.1.0 wrote by the standard library's `Debug`, which may change with the library. Here they are
//! spelled out, so that an alarm whose definition is the same goes on after an update. They differ for characters that
//! nobody can see; [`earlier`] is asked for those.

use std::fmt::Write as _;

/// How a text is quoted.
pub(super) type Quote = fn(&str) -> String;

/// A text in double quotes. Backslashes, double quotes and control characters are escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            control if control.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{{{:x}}}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A text as 0.1.0 quoted it.
pub(super) fn earlier(text: &str) -> String {
    format!("{text:?}")
}

/// A list of texts.
pub(super) fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(text).collect();
    format!("[{}]", items.join(", "))
}

/// A number with a fraction or an exponent, so that it is no whole one; as short as it can be read back.
pub(super) fn number(number: f64) -> String {
    /// From here on, and below the other one, numbers have an exponent.
    const LARGE: f64 = 1e16;
    const SMALL: f64 = 1e-4;
    let size = number.abs();
    if !size.is_finite() || number == 0.0 || (SMALL..LARGE).contains(&size) {
        let text = number.to_string();
        return if size.is_finite() && !text.contains('.') { text + ".0" } else { text };
    }
    format!("{number:e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::model::{AlarmDefinition, Severity, Trigger};
    use crate::domain::time::Span;
    use std::path::Path;

    const PINNED: [(u64, u64); 5] = [
        (8035110696427399247, 17429490674800647594),
        (12202710583865308510, 11232438752743123104),
        (9380153783514211880, 7687628055155498246),
        (14051723582753094180, 13890461488656907855),
        (6185953548823395908, 17506213869052876443),
    ];

    #[test]
    fn texts_and_numbers_are_spelled_as_they_were() {
        let texts =
            ["", "a b", "tank \"3\"\\", "80 °C ≥ ünder 水位 'x'", "a\tb\nc\r\0", "\u{7f}\u{1b}\u{85}", "🔥/#+%"];
        for text in texts {
            assert_eq!(quoted(text), earlier(text));
        }
        assert_eq!(quoted("a\"\\\n\u{1}"), "\"a\\\"\\\\\\n\\u{1}\"", "and do not depend on the library");
        let numbers = [0.0, -0.0, 1.0, -1.5, 0.1, 1e-5, 9.9e-6, 1e15, 1e16, 1.5e16, 123_456.789, 5e-324, f64::MAX];
        for value in numbers {
            assert_eq!(number(value), format!("{value:?}"));
        }
        assert_eq!(["1.0", "1e16", "9.9e-6"], [1.0, 1e16, 9.9e-6].map(number));
        assert_eq!(list(&["a", "b"], |text| quoted(text)), format!("{:?}", ["a", "b"]));
    }

    const DEFINITIONS: &str = r#"
        [[source]]
        topic = "t/{thing}/{property}"
        [[alarm]]
        thing = ["a", "b-*"]
        property = "p"
        level = "HH"
        type = "standard"
        operator = "!="
        limit = 15.5
        deadband = "10 %"
        observe_time = "5s"
        clear_delay = "1s"
        severity = "critical"
        title = "Tank \"3\" ≥ 80 °C"
        description = "two\nlines\t"
        on_gap = "reset"
        [[alarm]]
        thing = "a"
        property = "p"
        level = "mean"
        type = "average"
        operator = ">="
        limit = 1e20
        observe_time = "1m"
        window = "2m"
        on_gap = "count"
        enabled = false
        [[alarm]]
        thing = "a"
        property = "q"
        level = "quiet"
        type = "no-value"
        observe_time = "1m"
        severity = "info"
        [[alarm]]
        thing = "a"
        property = "q"
        level = "text"
        type = "standard"
        operator = "="
        limit = "bro\\ken"
        [[alarm]]
        thing = "a"
        property = "q"
        level = "on"
        type = "standard"
        operator = "="
        limit = true
    "#;

    /// Stores in the field hold these numbers. A test that has to be changed here makes alarms begin anew.
    #[test]
    fn fingerprints_are_those_that_stores_have() {
        let parsed = Config::parse(Path::new("x"), DEFINITIONS);
        let (config, _) = parsed.unwrap_or_else(|problems| panic!("{}", problems.to_text()));
        let definitions = &config.model.definitions;
        let numbers = |definition: &AlarmDefinition| (definition.trigger_fingerprint(), definition.fingerprint());
        let found: Vec<(u64, u64)> = definitions.iter().map(numbers).collect();
        assert_eq!(found, PINNED);
        assert!(definitions.iter().all(|definition| numbers(definition) == definition.earlier_fingerprints()));
        let severities = vec![(Severity::Warning, 2.0), (Severity::Error, 1e-7)];
        let score = Trigger::score(severities, Span::from_secs(1), Span::ZERO);
        assert_eq!(score.canonical(quoted), "score [(Warning, 2.0), (Error, 1e-7)] 1000000 0");
        assert_eq!(Trigger::Anomaly { model: "m".into() }.canonical(quoted), "anomaly \"m\"");
    }
}
