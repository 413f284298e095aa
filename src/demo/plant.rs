//! The simulated things: three presses, what each says in every second of a round, and what is watched on them.

use crate::config::Config;
use crate::domain::time::Span;
use anyhow::Context as _;
use std::path::Path;

/// The alarms on the presses.
const CONFIG: &str = include_str!("demo.toml");
/// Who the daemon is, and with it the base of its topics.
pub(super) const BASE: &str = "annunciator/demo";
/// What the presses publish.
pub(super) const VALUES: &str = "things/#";

/// The range of the standard alarm.
pub(super) const RANGE: (f64, f64) = (10.0, 20.0);
/// The limit of the average alarm.
pub(super) const MEAN_LIMIT: f64 = 19.0;
/// Seconds for which each of the conditions has to hold.
pub(super) const OBSERVE_SECONDS: usize = 5;
/// Values of one window of the average alarm: a sample exactly as old as the window is still in it.
pub(super) const WINDOW_VALUES: usize = OBSERVE_SECONDS + 1;

/// From one value to the next: a little less than the second that it stands for. What a sensor sends after five seconds
/// comes just before or just after the observe-time is over, as chance will have it. Here it comes a quarter of a second
/// before, so that every round shows the same values on a busy machine, too.
pub(super) const PACE: Span = Span::from_millis(950);
/// Seconds of one round.
pub(super) const ROUND: usize = 22;

/// One of the presses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Press {
    /// Its thing id.
    pub(super) thing: &'static str,
    /// The alarm for which it is there.
    pub(super) alarm: &'static str,
    /// What it says in each second of a round; none: nothing.
    values: [Option<u8>; ROUND],
}

/// The presses, in the order in which they are shown.
pub(super) const PRESSES: [Press; 3] = [
    Press {
        thing: "press-1",
        alarm: "press-1/pressure/range",
        values: all([12, 14, 13, 22, 24, 23, 18, 16, 15, 23, 25, 24, 26, 23, 22, 24, 25, 23, 22, 19, 15, 14]),
    },
    Press {
        thing: "press-2",
        alarm: "press-2/pressure/mean",
        values: all([10, 22, 23, 14, 16, 30, 19, 11, 17, 28, 28, 17, 18, 29, 29, 29, 18, 15, 15, 26, 10, 20]),
    },
    Press { thing: "press-3", alarm: "press-3/pressure/silent", values: silent_at_6_and_from_10_to_19() },
];

impl Press {
    /// What it says in a second of the round, as it goes over the line.
    pub(super) fn payload(&self, second: usize) -> Option<String> {
        self.values.get(second).copied().flatten().map(|value| value.to_string())
    }

    /// Where it says it.
    pub(super) fn topic(&self) -> String {
        format!("things/{}/properties/pressure", self.thing)
    }

    /// Whose topic this is: the place in [`PRESSES`].
    pub(super) fn of_topic(topic: &str) -> Option<usize> {
        PRESSES.iter().position(|press| press.topic() == topic)
    }

    /// Whose alarm this is: the place in [`PRESSES`].
    pub(super) fn of_alarm(alarm: &str) -> Option<usize> {
        PRESSES.iter().position(|press| press.alarm == alarm)
    }
}

const fn all(values: [u8; ROUND]) -> [Option<u8>; ROUND] {
    let mut said = [None; ROUND];
    let mut second = 0;
    while second < ROUND {
        said[second] = Some(values[second]);
        second += 1;
    }
    said
}

const fn silent_at_6_and_from_10_to_19() -> [Option<u8>; ROUND] {
    let mut said = all([15; ROUND]);
    said[6] = None;
    let mut second = 10;
    while second < 20 {
        said[second] = None;
        second += 1;
    }
    said
}

/// The daemon's configuration for a broker on this port of this machine, and a store in this folder.
pub(super) fn config(port: u16, state_dir: &Path) -> anyhow::Result<Config> {
    let (mut config, _) = Config::parse(Path::new("demo.toml"), CONFIG)
        .map_err(|problems| anyhow::anyhow!(problems.to_text()))
        .context("the demo's own configuration is wrong")?;
    config.mqtt.host = super::broker::HOST.to_string();
    config.mqtt.port = port;
    config.gateway.state_dir = state_dir.to_owned();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_presses_say_what_the_recordings_of_the_examples_say() {
        for (press, name) in PRESSES.iter().zip(["seed-1-standard", "seed-2-average", "seed-3-no-value"]) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/traces/{name}.jsonl"));
            let mut recorded = vec![None; ROUND];
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let second = usize::try_from(line["t"].as_u64().unwrap()).unwrap();
                recorded[second] = Some(line["payload"].as_str().unwrap().to_owned());
            }
            let said: Vec<_> = (0..ROUND).map(|second| press.payload(second)).collect();
            assert_eq!(said, recorded, "{}", press.thing);
        }
    }

    #[test]
    fn the_configuration_is_the_one_that_is_told() {
        let config = config(1, Path::new("nowhere")).unwrap();
        assert_eq!(config.gateway.base, BASE);
        for press in PRESSES {
            let covered = config.model.definitions.iter().filter(|definition| definition.covers(press.thing));
            let mut alarms = covered.map(|definition| definition.facts(&press.thing.into()).id.to_string());
            assert!(alarms.any(|alarm| alarm == press.alarm), "{}", press.alarm);
        }
    }
}
