//! A score that somebody else publishes, on a real broker: the alarm appears, rises, is told of, and survives.

use crate::support::servers::Server;
use crate::support::{Broker, Daemon, Protocol, Watcher, config, for_both_versions};
use serde_json::{Value, json};

for_both_versions! {
    an_alarm_appears_with_its_anomaly_and_rises,
    severity_and_beginning_survive_a_crash_at_any_point,
}

const STRANGE: &str = "[[anomaly]]\nname = \"strange\"\nscore = \"press-1 strangeness\"\ntitle = \"Press is strange\"\n\
                       severities = { warning = 3, error = 4.5, critical = 6 }\n";
const ALARM: &str = "press-1/strangeness/strange";
const STATE: &str = "annunciator/gw/alarms/press-1/strangeness/strange";

impl Watcher {
    fn score(&self, score: &str) {
        self.value("press-1", "strangeness", score);
    }

    fn command(&mut self, verb: &str, payload: &Value) -> Value {
        self.publish(&format!("annunciator/gw/commands/{verb}"), payload.to_string());
        self.next_on("replies")
    }

    /// The next event of the alarm: from, to, severity and cause.
    fn change(&mut self) -> [String; 4] {
        let event = self.event(ALARM);
        ["from", "to", "severity", "cause"].map(|key| event[key].as_str().unwrap().to_owned())
    }

    /// Waits for the retained state that this event has left.
    fn state(&mut self, seq: u64) -> Value {
        self.next("the state", |seen| seen.topic == STATE && !seen.payload.is_empty() && seen.json()["seq"] == seq)
            .json()
    }
}

fn an_alarm_appears_with_its_anomaly_and_rises(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::start(mqtt.at(broker.port), STRANGE);
    assert_eq!(watcher.status("online")["alarms"], 0, "there is nothing to tell of it yet");
    watcher.score("2.9");
    let listed = watcher.command("list", &json!({}));
    assert_eq!(listed["alarms"], json!([]));
    let told = watcher.command("explain", &json!({ "alarm": ALARM }));
    assert_eq!(told["explanation"]["severities"], json!({ "warning": 3, "error": 4.5, "critical": 6 }));
    assert_eq!((&told["explanation"]["state"], &told["explanation"]["low"]), (&json!("enabled"), &json!(3.0)));
    watcher.score("3");
    let event = watcher.event(ALARM);
    for (key, want) in [
        ("type", json!("anomaly")),
        ("severity", json!("warning")),
        ("from", json!("enabled")),
        ("to", json!("activated")),
        ("cause", json!("anomaly")),
        ("occurrence", json!(1)),
        ("value", json!(3)),
        ("title", json!("Press is strange")),
    ] {
        assert_eq!(event[key], want, "{key} of {event}");
    }
    assert_eq!(watcher.state(1)["severity"], "warning");
    watcher.score("5");
    assert_eq!(watcher.change(), ["activated", "activated", "error", "anomaly"]);
    watcher.score("3");
    let reply = watcher.command("acknowledge", &json!({ "alarm": ALARM, "by": "kim" }));
    assert_eq!(reply["ok"], true);
    watcher.looked_back();
    let state = watcher.state(3);
    assert_eq!((&state["severity"], &state["acknowledged"]["by"]), (&json!("error"), &json!("kim")));
    watcher.score("7");
    assert_eq!(watcher.next_on(&format!("events/{ALARM}"))["severity"], "critical");
    let state = watcher.state(4);
    assert_eq!(
        (&state["state"], &state["acknowledged"]),
        (&json!("activated"), &Value::Null),
        "to be acknowledged anew"
    );
    assert_eq!(state["since"], event["since"]);
    watcher.score("1");
    let state = watcher.state(5);
    assert_eq!((&state["state"], &state["severity"]), (&json!("idled"), &json!("critical")));
    let history = watcher.command("history", &json!({ "alarm": ALARM }));
    let severities: Vec<&Value> =
        history["events"].as_array().unwrap().iter().map(|event| &event["severity"]).collect();
    let mut want = ["warning", "error", "error", "critical", "critical"].map(|word| json!(word));
    if history["events"][0]["seq"] != 1 {
        want.reverse();
    }
    assert_eq!(severities, want.iter().collect::<Vec<_>>());
}

fn severity_and_beginning_survive_a_crash_at_any_point(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(mqtt.at(broker.port), STRANGE);
    watcher.status("online");
    let mut since = Value::Null;
    for (seq, (score, state, severity)) in (1..).zip([
        ("4", "activated", "warning"),
        ("5", "activated", "error"),
        ("9", "activated", "critical"),
        ("0", "idled", "critical"),
        ("3", "activated", "warning"),
    ]) {
        watcher.score(score);
        let event =
            watcher.next("the event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == seq).json();
        assert_eq!((&event["to"], &event["severity"]), (&json!(state), &json!(severity)));
        daemon.kill();
        daemon.launch();
        let after = watcher.state(seq);
        assert_eq!((&after["state"], &after["severity"]), (&json!(state), &json!(severity)));
        if seq == 1 {
            since = event["since"].clone();
        } else if seq <= 4 {
            assert_eq!(after["since"], since);
        }
        watcher.status("online");
    }
    watcher.settle();
    let mut seqs: Vec<u64> = watcher.events().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    seqs.dedup();
    assert_eq!(seqs, [1, 2, 3, 4, 5], "nothing twice but the last, and nothing new out of a restart");
}

#[test]
fn a_rise_reaches_whom_it_concerns_and_who_had_taken_note() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let hook = |name: &str, keys: &str| {
        let url = format!("http://127.0.0.1:{}/{name}", server.port);
        format!("[[reaction]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"{url}\"\n{keys}\n")
    };
    let hooks = hook("all", "on_clear = true") + &hook("bad", "severities = \"critical\"\non_clear = true");
    let _daemon = Daemon::with(&config(broker.port, &format!("{STRANGE}reactions = [\"all\", \"bad\"]\n{hooks}")));
    watcher.status("online");
    let mut expect = |watcher: &mut Watcher, score: &str, count: usize| {
        watcher.score(score);
        let requests = server.received(count, |_| true);
        let told = |request: &Value| {
            let event: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
            format!("{} {} {}", request["path"].as_str().unwrap(), event["to"].as_str().unwrap(), event["seq"])
        };
        let mut told: Vec<String> = requests.iter().map(told).collect();
        told.sort();
        told
    };
    assert_eq!(expect(&mut watcher, "3", 1), ["/all activated 1"]);
    watcher.score("5");
    assert_eq!(watcher.event(ALARM)["seq"], 1);
    assert_eq!(watcher.event(ALARM)["seq"], 2, "who was told is not told again of a rise");
    assert_eq!(expect(&mut watcher, "3.1", 1), ["/all activated 1"]);
    watcher.publish("annunciator/gw/commands/acknowledge", json!({ "alarm": ALARM, "by": "kim" }).to_string());
    assert_eq!(watcher.event(ALARM)["seq"], 3);
    assert_eq!(expect(&mut watcher, "6", 3), ["/all activated 1", "/all activated 4", "/bad activated 4"]);
    let all = expect(&mut watcher, "1", 5);
    assert_eq!(all[1..], ["/all activated 4", "/all idled 5", "/bad activated 4", "/bad idled 5"]);
}

#[test]
fn what_is_shelved_or_off_before_its_first_anomaly_stays_so() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let sensors = "[home_assistant]\nprefix = \"homeassistant\"\n\n";
    let mut daemon = Daemon::with(&config(broker.port, &format!("{sensors}{STRANGE}")));
    watcher.status("online");
    let reply = watcher.command("shelve", &json!({ "alarm": "press-1/*", "for": "1h", "by": "kim" }));
    assert_eq!(reply["alarms"][0]["alarm"], ALARM);
    let is_sensor = |topic: &str| topic == "homeassistant/binary_sensor/gw/press-1__strangeness__strange/config";
    watcher.looked_back();
    watcher.next("its state", |seen| seen.topic == STATE && seen.json()["shelved"]["by"] == "kim");
    watcher.looked_back();
    watcher.next("the sensor", |seen| is_sensor(&seen.topic) && !seen.payload.is_empty());
    daemon.kill();
    daemon.launch();
    watcher.next("its state again", |seen| seen.topic == STATE && seen.json()["shelved"]["by"] == "kim");
    // Out of the shelf there is nothing to tell of it any more.
    watcher.command("unshelve", &json!({ "alarm": ALARM, "by": "kim" }));
    watcher.looked_back();
    watcher.next("the removal", |seen| is_sensor(&seen.topic) && seen.payload.is_empty());
    watcher.next("the deletion", |seen| seen.topic == STATE && seen.payload.is_empty());
    daemon.kill();
    daemon.launch();
    watcher.status("online");
    watcher.command("disable", &json!({ "alarm": ALARM, "by": "kim" }));
    watcher.score("8");
    let reply = watcher.command("enable", &json!({ "alarm": ALARM, "by": "kim" }));
    assert_eq!(reply["ok"], true);
    watcher.looked_back();
    assert_eq!(watcher.change(), ["enabled", "off", "warning", "command"]);
    assert_eq!(watcher.change(), ["off", "enabled", "warning", "command"]);
    assert_eq!(watcher.change(), ["enabled", "activated", "critical", "anomaly"]);
    watcher.settle();
    let mut latecomer = Watcher::connect(broker.port);
    latecomer.settle();
    let retained: Vec<&str> =
        latecomer.all.iter().filter(|seen| seen.retained).map(|seen| seen.topic.as_str()).collect();
    assert!(retained.contains(&STATE) && retained.iter().any(|topic| is_sensor(topic)), "{retained:?}");
}

#[test]
fn a_recording_tells_which_models_it_cannot_judge() {
    let folder = tempfile::tempdir().unwrap();
    let [file, recording, picture] = ["c.toml", "r.jsonl", "p.svg"].map(|name| folder.path().join(name));
    let model = "[[anomaly]]\nname = \"odd\"\nthing = \"press-1\"\nproperty = \"pressure\"\n";
    std::fs::write(&file, config(1883, &format!("{model}{STRANGE}"))).unwrap();
    let topic = "things/press-1/properties";
    let lines = format!("{{\"t\":1,\"topic\":\"{topic}/pressure\",\"payload\":\"99\"}}\n")
        + &format!("{{\"t\":2,\"topic\":\"{topic}/strangeness\",\"payload\":\"4\"}}\n");
    std::fs::write(&recording, lines).unwrap();
    let replay = std::process::Command::new(crate::support::PROGRAM)
        .args(["replay", "--config"])
        .args([&file, &recording])
        .arg("--plot")
        .arg(&picture)
        .output()
        .unwrap();
    let [data, people] = [replay.stdout, replay.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!((data.lines().count(), people.lines().count()), (1, 1), "{data}{people}");
    assert!(data.contains(ALARM) && people.ends_with(": odd\n"), "{data}{people}");
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.contains("strange critical") && !svg.contains("odd"), "no verdict without a judge");
}

#[test]
fn a_reload_keeps_what_is_the_same_and_starts_changed_thresholds_anew() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let model =
        "[[anomaly]]\nname = \"odd\"\nthing = \"press-1\"\nproperty = \"pressure\"\nseverities = { error = 4 }\n";
    let daemon = Daemon::with(&config(broker.port, &format!("{STRANGE}{model}")));
    watcher.status("online");
    watcher.score("5");
    assert_eq!(watcher.change(), ["enabled", "activated", "error", "anomaly"]);
    let renamed = STRANGE.replace("Press is strange", "Press behaves strangely");
    daemon.configure(&config(broker.port, &format!("{renamed}{model}")));
    let reply = watcher.command("reload", &json!({}));
    assert_eq!((&reply["changed"], &reply["kept"]), (&json!([ALARM]), &json!(1)));
    watcher.looked_back();
    let titled = |seen: &crate::support::Seen| {
        seen.topic == STATE && !seen.payload.is_empty() && seen.json()["title"] == "Press behaves strangely"
    };
    let state = watcher.next("the new title", titled).json();
    assert_eq!((&state["state"], &state["severity"], &state["seq"]), (&json!("activated"), &json!("error"), &json!(1)));
    let higher = renamed.replace("error = 4.5", "error = 5.5");
    daemon.configure(&config(broker.port, &format!("{higher}{}", model.replace("error = 4", "error = 5"))));
    let reply = watcher.command("reload", &json!({}));
    // What a model's scores mean is the model's business: its alarm is as it was.
    assert_eq!((&reply["changed"], &reply["kept"]), (&json!([ALARM]), &json!(1)));
    watcher.looked_back();
    watcher.event(ALARM);
    assert_eq!(watcher.change(), ["activated", "enabled", "error", "config"]);
    assert_eq!(watcher.change(), ["enabled", "activated", "warning", "anomaly"]);
    daemon.configure(&config(broker.port, model));
    let reply = watcher.command("reload", &json!({}));
    assert_eq!(reply["removed"], json!([ALARM]));
    watcher.looked_back();
    watcher.next("the deletion", |seen| seen.topic == STATE && seen.payload.is_empty());
}
