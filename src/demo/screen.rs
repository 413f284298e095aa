//! What people see: one line per second with the values of the presses, and one for every event.
//!
//! Values and events are those that came over MQTT. What is between them is the screen's own: the mean that it shows
//! beside the values, and how many of the five seconds are over. It decides nothing.

use super::paint::{Brush, Look, Mark};
use super::plant::{BASE, MEAN_LIMIT, OBSERVE_SECONDS, PRESSES, Press, RANGE, VALUES, WINDOW_VALUES};
use super::subscriber::Event;
use std::collections::VecDeque;
use std::io::{self, Write};

/// Columns of a line: a terminal has 80.
const WIDTH: usize = 79;

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Screen<W> {
    out: W,
    brush: Brush,
    /// The second of the round.
    second: usize,
    /// Whether the line of this second is still to be shown.
    pending: bool,
    columns: [Column; PRESSES.len()],
    /// The latest values of the press whose mean is watched.
    window: VecDeque<f64>,
}

/// What is known of a press.
#[derive(Debug, Clone, Copy, Default)]
struct Column {
    /// Its value, if one has come since the last line.
    value: Option<f64>,
    /// Whether a value is expected in this second.
    expected: bool,
    /// For how many seconds the condition of its alarm has held.
    held: Option<usize>,
    alarm: Alarm,
}

/// How its alarm is, as the daemon says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Alarm {
    #[default]
    Quiet,
    Activated,
    Acknowledged,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(out: W, coloured: bool) -> Screen<W> {
        Screen {
            out,
            brush: Brush { coloured },
            second: 0,
            pending: false,
            columns: [Column::default(); PRESSES.len()],
            window: VecDeque::with_capacity(WINDOW_VALUES + 1),
        }
    }

    /// What there is to see, and how to see it elsewhere.
    pub(super) fn welcome(&mut self, host: &str, port: u16) -> io::Result<()> {
        let (low, high) = RANGE;
        let title = "Annunciator demo: three presses, an MQTT broker and the real daemon";
        let title = self.brush.paint(Look::Strong, title);
        let watch = format!("mosquitto_sub -h {host} -p {port} -v -t '{BASE}/#' -t '{VALUES}'");
        let watch = self.brush.paint(Look::Command, &watch);
        let acknowledge = format!(
            "mosquitto_pub -h {host} -p {port} -t {BASE}/commands/acknowledge \\\n    \
             -m '{{\"alarm\":\"press-1/pressure/range\",\"by\":\"you\"}}'"
        );
        let acknowledge = self.brush.paint(Look::Command, &acknowledge);
        self.print(&format!(
            "{title}\n\n  \
             press-1  standard alarm  outside {low}…{high} for {OBSERVE_SECONDS} s\n  \
             press-2  average alarm   mean of {OBSERVE_SECONDS} s above {MEAN_LIMIT} for {OBSERVE_SECONDS} s\n  \
             press-3  no-value alarm  no value for {OBSERVE_SECONDS} s\n\n\
             All of it goes over MQTT. To see the topics, in another terminal:\n\n  \
             {watch}\n\n\
             To acknowledge the alarm of press-1 while it is active:\n\n  \
             {acknowledge}\n\n\
             Ctrl-C ends the demo."
        ))
    }

    /// A new round begins.
    pub(super) fn round(&mut self, number: usize) -> io::Result<()> {
        self.finish_second()?;
        let (low, high) = RANGE;
        let rule: String = format!("── round {number} ").chars().chain(std::iter::repeat('─')).take(WIDTH).collect();
        let rule = self.brush.paint(Look::Faint, &rule);
        let (first, second) = (format!("press-1 in {low}…{high}"), format!("press-2 mean up to {MEAN_LIMIT}"));
        let heads = self.brush.paint(Look::Strong, &format!("     {first:<26}  {second:<30}  press-3 speaks"));
        self.print(&format!("\n{rule}\n{heads}"))
    }

    /// A new second begins; these presses will say something in it.
    pub(super) fn second(&mut self, second: usize, expected: [bool; PRESSES.len()]) -> io::Result<()> {
        self.finish_second()?;
        self.second = second;
        self.pending = true;
        for (column, expected) in self.columns.iter_mut().zip(expected) {
            column.expected = expected;
        }
        Ok(())
    }

    /// A press has said something.
    pub(super) fn value(&mut self, press: usize, value: f64) -> io::Result<()> {
        if let Some(column) = self.columns.get_mut(press) {
            column.value = Some(value);
        }
        let is_complete = self.columns.iter().all(|column| column.value.is_some() || !column.expected);
        if is_complete { self.finish_second() } else { Ok(()) }
    }

    /// The daemon has said something.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        // What caused it comes first.
        self.finish_second()?;
        let (alarm, look) = match event.to.as_str() {
            "activated" => (Alarm::Activated, Look::Alarm),
            "acknowledged" => (Alarm::Acknowledged, Look::Acknowledged),
            _ => (Alarm::Quiet, Look::AllClear),
        };
        if let Some(column) = Press::of_alarm(&event.alarm).and_then(|press| self.columns.get_mut(press)) {
            column.alarm = alarm;
        }
        let to = if alarm == Alarm::Activated { event.to.to_uppercase() } else { event.to.clone() };
        let line = format!("{:>2}s  {:<23}  {to:<12}  {}", self.second, event.alarm, why(event));
        // On a terminal the colour goes to the end of the line.
        let line = if self.brush.coloured { format!("{line:<WIDTH$}") } else { line };
        self.print(&self.brush.paint(look, &line))
    }

    /// Nothing more will come.
    pub(super) fn show_end(&mut self, activations: u64) -> io::Result<()> {
        self.finish_second()?;
        let times = if activations == 1 { "activation" } else { "activations" };
        let title = format!("The demo has ended: {activations} {times}, nothing left behind.");
        let title = self.brush.paint(Look::Strong, &title);
        let run = self.brush.paint(Look::Command, "annunciator run -c FILE");
        let check = self.brush.paint(Look::Command, "annunciator check -c FILE");
        self.print(&format!("\n{title}\nFor things of your own: {check}, {run}"))
    }

    /// Shows the line of the second, if that was not done.
    fn finish_second(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.pending) {
            return Ok(());
        }
        let [first, second, third] = self.columns.each_mut().map(|column| column.value.take());
        let (first, first_end) = self.in_range(first);
        let (second, second_end) = self.mean(second);
        let (third, third_end) = self.heard(third);
        let line = format!("{:>2}s  {first}  {second}  {third}", self.second);
        self.print(line.trim_end())?;
        for end in [first_end, second_end, third_end].into_iter().flatten() {
            self.print(&format!("     {end}: too short for an alarm"))?;
        }
        Ok(())
    }

    /// The press whose value is watched, and what has just ended.
    fn in_range(&mut self, value: Option<f64>) -> (String, Option<String>) {
        let (low, high) = RANGE;
        let mark = value.map(|value| Mark { value, zone: usize::from(value >= low) + usize::from(value > high) });
        let end = self.columns[0].observe(mark.map(|mark| mark.zone != 1), 0);
        let gauge = self.brush.gauge(mark, 1, &[low, high]);
        let text = format!("{} {gauge} {}", number(value), self.progress(0));
        (text, end.map(|seconds| format!("press-1 is back in {low}…{high} after {seconds} s")))
    }

    /// The press whose mean is watched, and what has just ended.
    fn mean(&mut self, value: Option<f64>) -> (String, Option<String>) {
        self.window.extend(value);
        while self.window.len() > WINDOW_VALUES {
            self.window.pop_front();
        }
        let mean = u32::try_from(self.window.len()).ok().filter(|count| *count > 0);
        let mean = mean.map(|count| self.window.iter().sum::<f64>() / f64::from(count));
        let mark = mean.map(|value| Mark { value, zone: usize::from(value > MEAN_LIMIT) });
        // Silence changes no mean.
        let end = self.columns[1].observe(mark.filter(|_| value.is_some()).map(|mark| mark.zone != 0), 0);
        let gauge = self.brush.gauge(mark, 0, &[MEAN_LIMIT]);
        let mean = mean.map_or_else(|| "   –".to_owned(), |mean| format!("{mean:>4.1}"));
        let word = self.brush.paint(Look::Faint, "mean");
        let text = format!("{} {word} {mean} {gauge} {}", number(value), self.progress(1));
        (text, end.map(|seconds| format!("the mean of press-2 was above {MEAN_LIMIT} for {seconds} s")))
    }

    /// The press whose silence is watched, and what has just ended.
    fn heard(&mut self, value: Option<f64>) -> (String, Option<String>) {
        // In the first second without a value the last one is a second old.
        let end = self.columns[2].observe(Some(value.is_none()), 1);
        let sign = match value {
            Some(_) => self.brush.paint(Look::Good, "●    "),
            None => self.brush.paint(Look::Warning, "quiet"),
        };
        let text = format!("{} {sign} {}", number(value), self.progress(2));
        (text, end.map(|seconds| format!("press-3 speaks again after {seconds} s")))
    }

    /// How many of the five seconds are over, or that they are.
    fn progress(&self, press: usize) -> String {
        let Column { alarm, held, .. } = self.columns[press];
        match (alarm, held) {
            (Alarm::Activated, _) => self.brush.paint(Look::Alarm, "ALARM"),
            (Alarm::Acknowledged, _) => self.brush.paint(Look::Acknowledged, "alarm"),
            (Alarm::Quiet, None) => " ".repeat(OBSERVE_SECONDS),
            (Alarm::Quiet, Some(seconds)) => self.brush.bar(seconds, OBSERVE_SECONDS),
        }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(format!("{text}\n").as_bytes())?;
        self.out.flush()
    }
}

impl Column {
    /// Counts the seconds for which the condition holds, from `first` on; none: nothing new is known. If it has just
    /// ended without an alarm: after how many seconds.
    fn observe(&mut self, holds: Option<bool>, first: usize) -> Option<usize> {
        let held = self.held.map(|seconds| seconds + 1);
        self.held = match holds {
            Some(true) => Some(held.unwrap_or(first)),
            Some(false) => None,
            None => held,
        };
        held.filter(|_| self.held.is_none() && self.alarm == Alarm::Quiet)
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| " –".to_owned(), |value| format!("{value:>2}"))
}

/// What has happened, in words.
fn why(event: &Event) -> String {
    let (low, high) = RANGE;
    let value = event.value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    let mean = event.average.map_or_else(|| "none".to_owned(), |average| format!("{average:.1}"));
    let by = event.by.as_deref().unwrap_or("somebody");
    match (event.alarm_type.as_str(), event.to.as_str(), event.cause.as_str()) {
        (_, "acknowledged", _) => format!("by {by}"),
        (_, _, "command") => format!("by command of {by}"),
        ("standard", "activated", _) => format!("outside {low}…{high} for {OBSERVE_SECONDS} s ({value})"),
        ("standard", "idled", _) => format!("back in {low}…{high} ({value})"),
        ("average", "activated", _) => format!("mean above {MEAN_LIMIT} for {OBSERVE_SECONDS} s ({mean})"),
        ("average", "idled", _) => format!("mean not above {MEAN_LIMIT} any more ({mean})"),
        ("no-value", "activated", _) => format!("no value for {OBSERVE_SECONDS} s (last was {value})"),
        ("no-value", "idled", _) => format!("a value again ({value})"),
        (_, _, cause) => format!("({cause})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round as it looks, with the events where the daemon sends them.
    #[test]
    fn a_round_in_characters() {
        let mut shown = Vec::new();
        let mut screen = Screen::new(&mut shown, false);
        let event = |alarm: &str, alarm_type: &str, to: &str, cause: &str, value: f64, average: Option<f64>| Event {
            alarm: alarm.into(),
            alarm_type: alarm_type.into(),
            to: to.into(),
            cause: cause.into(),
            value: Some(value),
            average,
            by: None,
        };
        for second in 5..=20 {
            let payloads = PRESSES.map(|press| press.payload(second));
            screen.second(second, payloads.clone().map(|payload| payload.is_some())).unwrap();
            for (press, payload) in payloads.iter().enumerate() {
                if let Some(payload) = payload {
                    screen.value(press, payload.parse().unwrap()).unwrap();
                }
            }
            if second == 14 {
                let activated = event("press-1/pressure/range", "standard", "activated", "observe-time", 22.0, None);
                screen.event(&activated).unwrap();
            } else if second == 19 {
                screen.event(&event("press-1/pressure/range", "standard", "idled", "value", 19.0, None)).unwrap();
            }
        }
        let shown = String::from_utf8(shown).unwrap();
        let has = |line: &str| assert!(shown.lines().any(|shown| shown == line), "{line}\nis not in\n{shown}");
        has(" 5s  23 ·····│·····│·●··· ▯▯▯▯▯  30 mean 30.0 ·····│····● ▯▯▯▯▯  15 ●");
        has("     press-1 is back in 10…20 after 1 s: too short for an alarm");
        has(" 6s  18 ·····│····●│·····        19 mean 24.5 ·····│··●·· ▮▯▯▯▯   – quiet ▮▯▯▯▯");
        has("     press-3 speaks again after 2 s: too short for an alarm");
        has("14s  22 ·····│·····│·●··· ▮▮▮▮▮  29 mean 24.8 ·····│··●·· ▮▮▮▮▮   – quiet ▮▮▮▮▮");
        has("14s  press-1/pressure/range   ACTIVATED     outside 10…20 for 5 s (22)");
        has("19s  press-1/pressure/range   idled         back in 10…20 (19)");
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
    }
}
