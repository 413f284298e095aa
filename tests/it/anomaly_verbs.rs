//! The verbs of `anomaly` that talk to a daemon, over a real broker, with somebody who answers in its place.

use crate::support::operator::{Operator, Responder};
use crate::support::{Broker, Watcher};
use serde_json::{Value, json};
use std::path::PathBuf;

const SOURCES: &str = "
[[source]]
topic = \"things/{thing}/properties/{property}\"

[[source]]
topic = \"raw/{thing}\"
time = \"/at\"
time_unit = \"ms\"

[[anomaly]]
name = \"boiler\"
thing = \"boiler-*\"
property = PROPERTY
";

/// A model as its retained topic has it.
fn model(state: &str, revision: u64) -> Value {
    json!({
        "model": "boiler", "state": state, "progress": 0.42, "revision": revision, "built_at": "2026-05-01T12:00:00Z",
        "from": "2026-04-01T00:00:00Z", "to": "2026-05-01T00:00:00Z", "samples": 43_200, "segments": 720, "clusters": 5,
        "thresholds": { "unusual": 3.5, "warning": 3.5, "error": 4.5 }, "anomalies_per_day": 0.26, "open": 1,
        "refresh": { "on": true, "every": "15m", "alarms": true, "save": false },
        "history": { "samples": 43_200, "bytes": 131_072, "from": "2026-04-01T00:00:00Z", "to": "2026-05-01T00:00:00Z" },
    })
}

fn anomaly(id: &str, from: &str, severity: &str, open: bool) -> Value {
    json!({
        "id": id, "model": "boiler", "thing": "boiler-7", "from": from, "to": "2026-05-01T12:30:00Z", "open": open,
        "score": 5.26, "index": 2.0, "severity": severity, "alarm": "boiler-7/temperature/boiler",
    })
}

/// An operator of a gateway with a model.
fn operator(port: u16, property: &str) -> Operator {
    let rest = SOURCES.replace("PROPERTY", property);
    Operator::with(&format!("[gateway]\nid = \"gw\"\n\n[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n{rest}"))
}

fn file(operator: &Operator, name: &str, text: &str) -> String {
    let file: PathBuf = operator.folder().join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_build_is_watched_to_its_end() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder =
        Responder::start(broker.port, |_, _| Some(json!({ "ok": true, "model": "boiler", "state": "queued" })));
    let topic = "anomalies/boiler";
    responder.publish(topic, &model("ready", 1).to_string(), true);
    Watcher::connect(broker.port).next_on(topic);
    let building = operator.begins("anomaly build", &["boiler", "--from", "2026-04-01T00:00:00Z"]);
    let asked = json!({ "model": "boiler", "from": "2026-04-01T00:00:00Z" });
    assert_eq!(responder.asked(), ("anomaly-build".to_owned(), asked));
    responder.publish(topic, &model("ready", 1).to_string(), true);
    responder.publish(topic, &model("building", 1).to_string(), true);
    assert_eq!(building.line(), "boiler: building 40 %", "what it was before is not the end");
    responder.publish(topic, &model("ready", 2).to_string(), true);
    for line in [
        "MODEL       boiler",
        "state       ready, revision 2, built 2026-05-01 12:00:00",
        "learnt      from 2026-04-01 00:00:00 to 2026-05-01 00:00:00: 43200 samples, 720 segments, 5 clusters",
        "thresholds  unusual 3.50, warning 3.50, error 4.50",
        "anomalies   0.3 a day in what it learnt from, 1 open",
        "refresh     on every 15m, with alarms",
        "history     43200 samples in 128.0 KiB from 2026-04-01 00:00:00 to 2026-05-01 00:00:00",
    ] {
        assert_eq!(building.line(), line);
    }
}

#[test]
fn a_build_that_comes_to_nothing_says_why() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let mut count = 0;
    let responder = Responder::start(broker.port, move |verb, _| {
        count += 1;
        Some(match (verb, count) {
            ("anomaly-build", 1) => json!({ "ok": true, "model": "boiler", "state": "queued" }),
            // Nothing was heard of it, so it is asked for.
            ("anomaly-model", _) => {
                let mut failed = model("failed", 1);
                failed["error"] = json!("too little history: 3h with 10 whole segments");
                json!({ "ok": true, "models": [failed] })
            }
            _ => json!({ "ok": false, "error": "there is no model boilr; did you mean boiler?" }),
        })
    });
    let done = operator.does("anomaly build", &["boiler"]);
    assert_eq!(done.code, 1);
    let want = "annunciator: boiler: the build has failed: too little history: 3h with 10 whole segments\n";
    assert_eq!((done.err.as_str(), done.out.as_str()), (want, ""));
    assert_eq!([responder.asked().0, responder.asked().0], ["anomaly-build", "anomaly-model"]);
    let refused = operator.does("anomaly build", &["boilr"]);
    let want = "annunciator: there is no model boilr; did you mean boiler?\n";
    assert_eq!((refused.code, refused.err.as_str()), (1, want));
    let refused = operator.does("anomaly build", &["boilr", "--json"]);
    assert_eq!(refused.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&refused.out).unwrap()["ok"], false);
}

#[test]
fn a_build_can_be_left_alone_and_cancelled() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |_, command| {
        let state = if command.get("cancel").is_some() { "cancelled" } else { "queued" };
        Some(json!({ "ok": true, "model": "boiler", "state": state }))
    });
    let left = operator.does("anomaly build", &["boiler", "--no-wait"]);
    assert_eq!((left.code, left.err.as_str()), (0, "boiler: queued\n"));
    assert_eq!(responder.asked().1, json!({ "model": "boiler" }));
    let cancelled = operator.does("anomaly build", &["boiler", "--cancel", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&cancelled.out).unwrap()["state"], "cancelled");
    assert_eq!(responder.asked().1, json!({ "model": "boiler", "cancel": true }));
    assert_eq!(operator.does("anomaly build", &["boiler", "--cancel", "--from", "2h"]).code, 2);
}

#[test]
fn in_a_terminal_a_build_is_one_line_and_ctrl_c_leaves_it_building() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder =
        Responder::start(broker.port, |_, _| Some(json!({ "ok": true, "model": "boiler", "state": "queued" })));
    responder.publish("anomalies/boiler", &model("building", 1).to_string(), true);
    Watcher::connect(broker.port).next_on("anomalies/boiler");
    let (code, seen) = operator.breaks_off_at("anomaly build boiler", "boiler: building  42 %");
    assert_eq!(code, Some(1), "it is not built");
    assert!(seen.contains("still building; `annunciator anomaly build boiler --cancel` ends that"), "{seen:?}");
}

#[test]
fn anomalies_and_models_are_listed() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |verb, command| {
        Some(match (verb, command.get("before")) {
            ("anomaly-list", None) => {
                let open = anomaly("a-2", "2026-05-01T12:00:00Z", "critical", true);
                json!({ "ok": true, "anomalies": [open], "next": "a-2" })
            }
            ("anomaly-list", Some(_)) => {
                let mut old = anomaly("a-1", "2026-04-30T12:00:00Z", "", false);
                (old["severity"], old["alarm"]) = (Value::Null, Value::Null);
                json!({ "ok": true, "anomalies": [old], "next": null })
            }
            _ => {
                let mut failed = json!({ "model": "pumps", "state": "failed", "error": "too little history" });
                failed["open"] = json!(0);
                json!({ "ok": true, "models": [model("ready", 3), failed] })
            }
        })
    });
    let conditions = ["boil*", "--thing", "boiler-*", "--from", "2026-04-01T00:00:00Z", "--open"];
    let table = operator.succeeds("anomaly list", &conditions);
    let want = "\
SEVERITY  MODEL   THING     FROM                 TO                   SCORE  INDEX  ID   ALARM
critical  boiler  boiler-7  2026-05-01 12:00:00  open                 5.3    2.0    a-2  boiler-7/temperature/boiler
–         boiler  boiler-7  2026-04-30 12:00:00  2026-05-01 12:30:00  5.3    2.0    a-1
";
    assert_eq!(table, want);
    let mut asked = json!({
        "model": "boil*", "thing": "boiler-*", "from": "2026-04-01T00:00:00Z", "open": true, "limit": 50,
    });
    assert_eq!(responder.asked(), ("anomaly-list".to_owned(), asked.clone()));
    (asked["limit"], asked["before"]) = (json!(49), json!("a-2"));
    assert_eq!(responder.asked().1, asked);
    let lines = operator.succeeds("anomaly list", &["--json", "--limit", "1"]);
    assert_eq!(serde_json::from_str::<Value>(&lines).unwrap()["id"], "a-2");
    assert_eq!(responder.asked().1, json!({ "limit": 1 }));
    let models = operator.succeeds("anomaly list", &["--models"]);
    let want = "\
MODEL   STATE   REVISION  BUILT                SAMPLES  PER DAY  OPEN  REMARK
boiler  ready   3         2026-05-01 12:00:00  43200    0.3      1     refresh on every 15m, with alarms
pumps   failed                                                   0     too little history
";
    assert_eq!(models, want);
    assert_eq!(responder.asked(), ("anomaly-model".to_owned(), json!({})));
    let lines = operator.succeeds("anomaly list", &["--models", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap(), model("ready", 3));
    assert_eq!(operator.does("anomaly list", &["--models", "--open"]).code, 2);
}

#[test]
fn a_model_is_shown_and_drawn() {
    let broker = Broker::start();
    let operator = operator(broker.port, "[\"temperature\", \"pressure\"]");
    let rows: Vec<Value> =
        (0..600).map(|n| json!([1_777_636_800_000_i64 + 60_000 * n, n % 60, (n > 30).then_some(1)])).collect();
    let mut worst = rows.clone();
    worst[500][2] = json!(5.26);
    let responder = Responder::start(broker.port, move |verb, command| {
        Some(match verb {
            "anomaly-list" => {
                let all = json!([
                    anomaly("a-2", "2026-05-01T20:00:00Z", "critical", true),
                    anomaly("a-1", "2026-05-01T12:10:00Z", "error", false),
                ]);
                json!({ "ok": true, "anomalies": all })
            }
            _ if command.get("thing").is_none() => json!({ "ok": true, "models": [model("ready", 3)] }),
            _ => {
                let property = command["property"].as_str().unwrap_or("temperature");
                let series = json!({ "thing": "boiler-7", "property": property, "rows": worst });
                json!({ "ok": true, "models": [model("ready", 3)], "series": series })
            }
        })
    });
    let text = operator.succeeds("anomaly show", &["boiler"]);
    assert!(text.starts_with("MODEL       boiler\nstate       ready, revision 3"), "{text}");
    assert_eq!(responder.asked(), ("anomaly-model".to_owned(), json!({ "model": "boiler" })));
    let answer = operator.succeeds("anomaly show", &["boiler", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["models"], json!([model("ready", 3)]));
    responder.asked();
    let picture = operator.folder().join("picture.svg");
    let of_thing = ["--thing", "boiler-7", "--from", "2026-05-01T12:00:00Z", "--plot", picture.to_str().unwrap()];
    let text = operator.succeeds("anomaly show", &[&["boiler"][..], &of_thing].concat());
    let want = "\nboiler-7/temperature: 0 to 59 from 2026-05-01 12:00:00 to 2026-05-01 21:59:00; highest score 5.26 at \
                2026-05-01 20:20:00\nboiler-7/pressure: 0 to 59 ";
    assert!(text.contains(want), "{text}");
    assert_eq!(responder.asked().1, json!({ "model": "boiler" }), "is anybody there?");
    let asked = json!({ "model": "boiler", "thing": "boiler-7", "from": "2026-05-01T12:00:00Z", "points": 2_000 });
    assert_eq!(responder.asked().1, asked);
    assert_eq!(responder.asked().1["property"], "pressure", "each property has a panel");
    let listed = json!({ "model": "boiler", "thing": "boiler-7", "from": "2026-05-01T12:00:00Z", "limit": 1_000 });
    assert_eq!(responder.asked(), ("anomaly-list".to_owned(), listed));
    let svg = std::fs::read_to_string(&picture).unwrap();
    for text in
        ["boiler-7/temperature", "boiler-7/pressure", "3.5 limit: warning", "2, the last 20:00:00", "revision 3"]
    {
        assert!(svg.contains(text), "the picture lacks {text:?}");
    }
    assert_eq!(operator.does("anomaly show", &["boiler", "--plot", "x.svg"]).code, 2, "of which thing?");
}

#[test]
fn a_past_is_looked_at_again_for_as_long_as_it_takes() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |verb, _| match verb {
        "anomaly-model" => Some(json!({ "ok": true, "models": [model("ready", 3)] })),
        _ => None,
    });
    let times = ["--from", "2026-04-01T00:00:00Z", "--to", "2026-05-01T00:00:00Z", "--timeout", "300ms"];
    let more = ["boiler", "--thing", "boiler-*", "--thing", "kettle", "--alarms"];
    let doing = operator.begins("anomaly reprocess", &[&more[..], &times].concat());
    assert_eq!(responder.asked().0, "anomaly-model");
    let (verb, asked) = responder.heard();
    assert_eq!(verb, "anomaly-reprocess");
    assert_eq!((&asked["things"], &asked["alarms"]), (&json!(["boiler-*", "kettle"]), &json!(true)));
    assert_eq!(doing.line(), "boiler: reprocessing");
    responder.publish("anomalies/boiler", &model("ready", 3).to_string(), true);
    assert_eq!(doing.line(), "boiler: reprocessing 40 %", "longer than the timeout, if need be");
    let done =
        json!({ "request": asked["request"], "ok": true, "model": "boiler", "things": 2, "anomalies": 5, "alarms": 3 });
    responder.publish("replies", &done.to_string(), false);
    assert_eq!(doing.line(), "boiler: 5 anomalies on 2 things, 3 alarms");
    let wrong = ["boiler", "--from", "1h", "--to", "2h"];
    assert_eq!(operator.does("anomaly reprocess", &wrong).code, 2, "backwards");
    assert_eq!(operator.does("anomaly reprocess", &["boiler", "--from", "1h"]).code, 2);
}

#[test]
fn looking_at_live_data_is_switched_and_a_storm_is_warned_of() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |_, command| {
        let on = command["set"] == "on";
        let refresh = json!({ "on": on, "every": "15m", "alarms": true, "save": true, "next": "2026-05-01T12:15:00Z" });
        let warning = on.then_some("there would have been 40 alarms a day, more than 10 (storm)");
        Some(json!({ "ok": true, "model": "boiler", "refresh": refresh, "warning": warning }))
    });
    let on = operator.does("anomaly refresh", &["boiler", "on", "--thing", "boiler-*"]);
    let want = "boiler: refresh is on every 15m, with alarms, publishes scores, next 2026-05-01 12:15:00\n\
                warning: there would have been 40 alarms a day, more than 10 (storm)\n";
    assert_eq!((on.code, on.err.as_str()), (0, want));
    assert_eq!(responder.asked().1, json!({ "model": "boiler", "set": "on", "things": ["boiler-*"] }));
    assert_eq!(operator.does("anomaly refresh", &["boiler", "off"]).err, "boiler: refresh is off\n");
    assert_eq!(operator.does("anomaly refresh", &["boiler", "maybe"]).code, 2);
}

#[test]
fn one_anomaly_is_deleted_or_those_of_a_model() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |verb, command| {
        Some(match verb {
            "anomaly-model" if command["model"] == "boiler" => json!({ "ok": true, "models": [model("ready", 3)] }),
            "anomaly-model" => json!({ "ok": false, "error": "there is no model; there is boiler" }),
            _ => json!({ "ok": true, "deleted": if command.get("id").is_some() { 1 } else { 7 } }),
        })
    });
    let asked = || std::iter::repeat_with(|| responder.asked()).find(|(verb, _)| verb == "anomaly-delete").unwrap().1;
    assert_eq!(operator.does("anomaly delete", &["boiler/boiler-7/1"]).err, "1 anomaly deleted\n");
    assert_eq!(asked(), json!({ "id": "boiler/boiler-7/1" }));
    assert_eq!(operator.does("anomaly delete", &["boiler"]).err, "7 anomalies deleted\n");
    assert_eq!(asked(), json!({ "model": "boiler" }));
    let unknown = operator.does("anomaly delete", &["bolier"]);
    assert!(unknown.code == 1 && unknown.err.contains("there is boiler"), "{unknown:?}");
    operator.succeeds("anomaly delete", &["boil*", "--thing", "boiler-7", "--to", "2026-05-01T00:00:00Z"]);
    assert_eq!(asked(), json!({ "model": "boil*", "thing": "boiler-7", "to": "2026-05-01T00:00:00Z" }));
}

/// Takes what is later than what it has.
fn importer(port: u16) -> Responder {
    let mut latest = std::collections::BTreeMap::new();
    Responder::start(port, move |verb, command| {
        if verb == "anomaly-model" {
            return Some(json!({ "ok": true, "models": [model("ready", 3)] }));
        }
        let key = format!("{}/{}", command["thing"], command["property"]);
        let latest = latest.entry(key).or_insert(i64::MIN);
        let (mut taken, mut ignored) = (0, 0);
        for sample in command["samples"].as_array().unwrap() {
            let at = sample[0].as_i64().unwrap();
            if at > *latest {
                (*latest, taken) = (at, taken + 1);
            } else {
                ignored += 1;
            }
        }
        Some(json!({ "ok": true, "taken": taken, "ignored": ignored }))
    })
}

#[test]
fn a_table_is_imported_in_pieces_and_twice_is_once() {
    let broker = Broker::start();
    let operator = operator(broker.port, "\"temperature\"");
    let responder = importer(broker.port);
    let rows: String = (0..7_000).rev().map(|n| format!("{};{},5\n", 1_777_636_800 + n, n % 50)).collect();
    let table = file(&operator, "past.csv", &format!("time;temperature\n1777636799;\n{rows}"));
    let args = ["boiler", "--thing", "boiler-7", &table];
    let done = operator.does("anomaly import", &args);
    assert_eq!(done.code, 0, "{done:?}");
    let want = "\
THING     PROPERTY     FROM                 TO                   TAKEN  IGNORED
boiler-7  temperature  2026-05-01 12:00:00  2026-05-01 13:56:39  7000   0
";
    assert_eq!(done.out, want);
    assert!(
        done.err.contains("6999 values are earlier than the one before them; they were put into order"),
        "{done:?}"
    );
    assert!(
        done.err.contains("not used (1 times): no value (\"\")") && done.err.contains("importing 100 %"),
        "{done:?}"
    );
    assert_eq!(responder.asked().0, "anomaly-model");
    let first = responder.asked().1;
    assert_eq!((&first["thing"], &first["property"]), (&json!("boiler-7"), &json!("temperature")), "the only one");
    assert_eq!(
        (&first["samples"][0], &first["samples"][1]),
        (&json!([1_777_636_800_000_i64, 0.5]), &json!([1_777_636_801_000_i64, 1.5]))
    );
    assert!(first["samples"].as_array().unwrap().len() <= 5_000 && first.to_string().len() < 65_536);
    let done = operator.does("anomaly import", &[&args[..], &["--json"]].concat());
    assert!(done.code == 0 && done.err.contains("7000 values were ignored: the daemon has them already"), "{done:?}");
    let again: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&again["taken"], &again["ignored"]), (&json!(0), &json!(7_000)));
}

#[test]
fn a_table_that_is_wrong_changes_nothing() {
    let broker = Broker::start();
    let operator = operator(broker.port, "\"temperature\"");
    let responder = importer(broker.port);
    let table = file(&operator, "past.csv", "time,value\n1,1\n2,two\n");
    let done = operator.does("anomaly import", &["boiler", "--thing", "boiler-7", &table]);
    assert_eq!(done.code, 1);
    assert!(done.err.ends_with("past.csv: line 3: \"two\" is not a finite number\n"), "{done:?}");
    assert_eq!(responder.asked().0, "anomaly-model", "and nothing else");
    let done = operator.does("anomaly import", &["boiler", &table]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("--thing"), "{done:?}");
    let empty = file(&operator, "empty.csv", "time,value\n");
    let done = operator.does("anomaly import", &["boiler", "--thing", "boiler-7", &empty]);
    assert!(done.code == 1 && done.err.contains("there is nothing in it for the model boiler"), "{done:?}");
}

#[test]
fn a_recording_is_imported_through_the_sources() {
    let broker = Broker::start();
    let operator = operator(broker.port, "\"temperature\"");
    let responder = importer(broker.port);
    let line = |at: &str, topic: &str, payload: &str, retain: u8| {
        json!({ "tst": at, "topic": topic, "payload": payload, "retain": retain, "qos": 1 }).to_string() + "\n"
    };
    let recording = [
        line("2026-05-01T12:00:00.000000Z+0000", "things/boiler-7/properties/temperature", "19", 1),
        line("2026-05-01T12:00:01.000000Z+0000", "things/boiler-7/properties/temperature", "20.5", 0),
        line("2026-05-01T12:00:02.000000Z+0000", "things/boiler-7/properties/pressure", "3", 0),
        line("2026-05-01T12:00:02.000000Z+0000", "things/boiler-7/properties/temperature", "warm", 0),
        line("2026-05-01T12:00:03.000000Z+0000", "raw/boiler-8", "{\"temperature\":21,\"at\":1777636800500}", 0),
        line("2026-05-01T12:00:03.000000Z+0000", "raw/boiler-8", "broken", 0),
        line("2026-05-01T12:00:04.000000Z+0000", "annunciator/gw/status", "{}", 0),
        line("2026-05-01T12:00:04.000000Z+0000", "elsewhere", "1", 0),
        "{\"t\":1777636805}\n".to_owned(),
    ]
    .concat();
    let recording = file(&operator, "past.jsonl", &recording);
    let done = operator.does("anomaly import", &["boiler", &recording]);
    let want = "\
THING     PROPERTY     FROM                 TO                   TAKEN  IGNORED
boiler-7  temperature  2026-05-01 12:00:01  2026-05-01 12:00:01  1      0
boiler-8  temperature  2026-05-01 12:00:00  2026-05-01 12:00:00  1      0
";
    assert_eq!((done.code, done.out.as_str()), (0, want), "{done:?}");
    for why in ["replayed by the broker", "raw/boiler-8: ", "on a topic of no source"] {
        assert!(done.err.contains(why), "{why}: {done:?}");
    }
    let samples: Vec<Value> = (0..3).map(|_| responder.asked().1["samples"].clone()).collect();
    assert_eq!(samples[1..], [json!([[1_777_636_801_000_i64, 20.5]]), json!([[1_777_636_800_500_i64, 21.0]])]);
    let done = operator.succeeds("anomaly import", &["boiler", "--thing", "*-8", "--json", &recording]);
    assert_eq!(serde_json::from_str::<Value>(&done).unwrap()["thing"], "boiler-8");
    let broken = file(&operator, "broken.jsonl", "{\"t\":1}\n{\"t\":\n");
    let done = operator.does("anomaly import", &["boiler", &broken]);
    assert!(done.code == 1 && done.err.contains("broken.jsonl: line 2: not a recorded message"), "{done:?}");
}
