//! All short histories, so that no combination is left to chance: every sequence of values, pauses, gaps and
//! acknowledgements up to a small length, for one alarm of each shape.

use super::case::{Band, Case, Definition, Kind, Line, Payload, SECOND, Scalar, What};

/// The observe-time of the alarms that have one.
const OBSERVE: i64 = 2 * SECOND;
/// Time between two lines: none, less than the observe-time, exactly the observe-time, more.
const STEPS: [i64; 4] = [0, SECOND, OBSERVE, 5 * SECOND];
/// What a line can be.
const LETTERS: usize = 6;

/// One alarm of each shape. The range of the ordered ones is 2 … 6, and that of the means ends at 4.
fn definitions() -> Vec<Definition> {
    let standard = |operator, observe, clear| Kind::Standard {
        operator,
        limit: Scalar::Number(4.0),
        band: Band::Width(4.0),
        observe,
        clear,
    };
    let average = |operator, window, clear| Kind::Average { operator, limit: 4.0, window, observe: OBSERVE, clear };
    let silence = Kind::NoValue { observe: OBSERVE };
    let shapes = [
        ("a", standard(">", 0, 0), "pause"),
        ("b", standard(">=", OBSERVE, OBSERVE), "pause"),
        ("c", standard("<", OBSERVE, 0), "count"),
        ("d", standard("!=", SECOND, SECOND), "reset"),
        ("e", average(">", None, 0), "pause"),
        ("f", average(">=", Some(SECOND), SECOND), "reset"),
        ("g", average("<", None, SECOND), "count"),
        ("h", silence.clone(), "pause"),
        ("i", silence.clone(), "count"),
        ("j", silence, "reset"),
    ];
    let alarm = |(level, kind, on_gap)| Definition {
        things: vec!["press-1"],
        property: "flow",
        level,
        kind,
        on_gap,
        enabled: true,
    };
    shapes.map(alarm).to_vec()
}

fn line(at: i64, outbound_event: usize, up: &mut bool) -> Line {
    let value = |number| {
        let payload = Payload::Value(Scalar::Number(number));
        What::Message { thing: "press-1", property: "flow", payload, retained: false }
    };
    let what = match outbound_event {
        0 => value(0.0),
        1 => value(4.0),
        2 => value(8.0),
        3 => {
            *up = !*up;
            What::Link { up: *up }
        }
        4 => What::Command { verb: "acknowledge", alarm: "*".into(), by: Some("kim"), comment: None },
        _ => What::Tick,
    };
    Line { at, what }
}

/// The history with this number: its outbound events and pauses are the digits.
fn history(mut number: usize, length: usize) -> Vec<Line> {
    let mut digit = |base: usize| {
        let digit = number % base;
        number /= base;
        digit
    };
    let (mut at, mut up) = (10 * SECOND, true);
    let mut lines = Vec::new();
    for index in 0..length {
        if index > 0 {
            at += STEPS[digit(STEPS.len())];
        }
        lines.push(line(at, digit(LETTERS), &mut up));
    }
    if !up {
        lines.push(Line { at: at + SECOND, what: What::Link { up: true } });
    }
    lines.push(Line::tick(at + 20 * SECOND));
    lines
}

#[test]
fn all_short_histories_yield_what_the_reference_says() {
    let mut case = Case { definitions: definitions(), lines: Vec::new() };
    let config = super::config(&case);
    for length in 1..=3_u32 {
        let histories = LETTERS * (LETTERS * STEPS.len()).pow(length - 1);
        for number in 0..histories {
            case.lines = history(number, usize::try_from(length).unwrap());
            super::check(&case, &config, &format!("history {number} of length {length}"));
        }
    }
}
