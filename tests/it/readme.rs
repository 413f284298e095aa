//! The README's first alarm, done as it says.

use crate::support::{Broker, Daemon, Watcher};
use serde_json::Value;
use std::path::Path;

/// The blocks of one language, in order.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    readme.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_first_alarm_is_as_it_says() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let broker = Broker::start();
    let config = blocks(&readme, "toml")[0]
        .replace("localhost:1883", &format!("localhost:{}", broker.port))
        .replace("\"state\"", "\"STATE\"");
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::with(&config);
    watcher.next("the daemon", |seen| seen.topic == "annunciator/gw-01/status");
    let messages: Vec<(&str, &str)> = blocks(&readme, "sh")
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| line.strip_prefix("mosquitto_pub -t things/"))
        .map(|rest| rest.split_once(" -m ").unwrap())
        .collect();
    let promised: Vec<(&str, &str)> =
        blocks(&readme, "text")[0].lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(messages.len(), promised.len(), "one event for each message");
    for ((topic, payload), (event_topic, members)) in messages.into_iter().zip(promised) {
        watcher.publish(&format!("things/{topic}"), payload);
        let got = watcher.next(event_topic, |seen| seen.topic == event_topic).json();
        let promise: Value = serde_json::from_str(&members.replace(", …", "")).unwrap();
        for (key, want) in promise.as_object().unwrap() {
            assert_eq!(got[key], *want, "{key} of {got}");
        }
    }
}

#[test]
fn every_configuration_in_it_is_right() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for block in blocks(&readme, "toml") {
        if let Err(problems) = annunciator::config::Config::parse(Path::new("README.md"), block) {
            panic!("{}\n{block}", problems.to_text());
        }
    }
}
