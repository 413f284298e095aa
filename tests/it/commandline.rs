//! The verbs that talk to a daemon, over a real broker; where the daemon's part would have to be timed or wrong,
//! somebody answers in its place.

use crate::support::operator::{Operator, Responder};
use crate::support::{Broker, Daemon, HI, Watcher, config};
use serde_json::{Value, json};

/// An alarm as its retained topic has it.
fn state(alarm: &str, severity: &str, state: &str) -> Value {
    let active = matches!(state, "activated" | "acknowledged");
    json!({
        "alarm": alarm, "severity": severity, "state": state, "active": active, "title": "Pressure high", "seq": 7,
        "at": "2026-05-01T12:00:14Z", "since": "2026-05-01T12:00:09Z", "value": 16.5, "occurrence": 3,
    })
}

/// An event as its topic has it.
fn event(seq: u64, to: &str) -> Value {
    json!({
        "id": format!("gw-{seq}"), "seq": seq, "gateway": "gw", "alarm": "press-1/pressure/hi", "thing": "press-1",
        "property": "pressure", "level": "hi", "type": "standard", "severity": "critical", "title": "A, \"B\"",
        "from": "idled", "to": to, "at": "2026-05-01T12:00:14Z", "occurrence": seq, "cause": "value", "value": 16.5,
    })
}

#[test]
fn list_shows_what_the_daemon_says_page_by_page() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |_, command| {
        Some(if command.get("after").is_none() {
            json!({ "ok": true, "alarms": [state("a/b/hi", "error", "activated")], "next": "a/b/hi" })
        } else {
            json!({ "ok": true, "alarms": [state("c/d/\u{1b}[2J", "info", "idled")] })
        })
    });
    let table = operator.succeeds("list", &["a*", "--state", "activated,idled", "--active"]);
    let want = "\
SEVERITY  STATE      ALARM          CHANGED              VALUE  TITLE
error     activated  a/b/hi         2026-05-01 12:00:14  16.5   Pressure high
info      idled      c/d/\\u{1b}[2J  2026-05-01 12:00:14  16.5   Pressure high
";
    assert_eq!(table, want);
    let asked = json!({ "alarm": "a*", "state": ["activated", "idled"], "active": true });
    assert_eq!(responder.asked(), ("list".to_owned(), asked.clone()));
    let mut further = asked;
    further["after"] = json!("a/b/hi");
    assert_eq!(responder.asked().1, further);
    let lines = operator.succeeds("list", &["--json"]);
    let alarms: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(alarms, [state("a/b/hi", "error", "activated"), state("c/d/\u{1b}[2J", "info", "idled")]);
    assert_eq!(responder.asked().1, json!({}));
}

#[test]
fn history_comes_as_a_table_as_lines_and_for_spreadsheets() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |_, command| {
        let from = command["before"].as_u64().unwrap_or(5);
        let shelved = json!({
            "kind": "shelved", "alarm": "press-1/pressure/hi", "thing": "press-1", "severity": "critical",
            "state": "activated", "at": "2026-05-01T12:00:14Z", "until": "2026-05-01T13:00:00Z", "occurrence": 3,
            "by": "kim", "comment": "works",
        });
        let events = if from == 5 { json!([event(4, "activated"), shelved]) } else { json!([event(2, "idled")]) };
        Some(json!({ "ok": true, "events": events, "next": (from == 5).then_some(3) }))
    });
    let args = ["press-*", "--thing", "press-1", "--state", "activated,shelved", "--occurrence", "3", "--limit", "7"];
    let from = ["--from", "2026-05-01T12:00:00+02:00", "--to", "2026-05-02T00:00:00Z"];
    let table = operator.succeeds("history", &[&args[..], &from[..]].concat());
    let want = "\
AT                   SEVERITY  ALARM                CHANGE                  NO.  VALUE  CAUSE   COMMENT
2026-05-01 12:00:14  critical  press-1/pressure/hi  idled → activated       4    16.5   value
2026-05-01 12:00:14  critical  press-1/pressure/hi  shelved until 13:00:00  3           by kim  works
2026-05-01 12:00:14  critical  press-1/pressure/hi  idled, acknowledged     2    16.5   value
";
    assert_eq!(table, want);
    let mut asked = json!({
        "alarm": "press-*", "thing": "press-1", "state": ["activated", "shelved"], "occurrence": 3, "limit": 7,
        "from": "2026-05-01T10:00:00Z", "to": "2026-05-02T00:00:00Z",
    });
    assert_eq!(responder.asked(), ("history".to_owned(), asked.clone()));
    (asked["limit"], asked["before"]) = (json!(5), json!(3));
    assert_eq!(responder.asked().1, asked);
    let lines = operator.succeeds("history", &["--format", "jsonl"]);
    assert_eq!(serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap(), event(4, "activated"));
    assert_eq!(lines, operator.succeeds("history", &["--json"]));
    let csv = operator.succeeds("history", &["--format", "csv", "--limit", "1"]);
    let (head, rest) = csv.split_once("\r\n").unwrap();
    assert!(head.starts_with("seq,id,kind,gateway,alarm,"), "{head}");
    assert!(rest.starts_with("4,gw-4,,gw,press-1/pressure/hi,press-1,pressure,hi,standard,critical,\"A, \"\"B\"\"\","));
}

#[test]
fn history_goes_on_with_what_happens() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |_, _| {
        Some(json!({ "ok": true, "events": [event(4, "activated"), event(3, "idled")] }))
    });
    let following = operator.begins("history", &["--follow", "--json", "--state", "activated,idled"]);
    let seq = |line: String| serde_json::from_str::<Value>(&line).unwrap()["seq"].as_u64().unwrap();
    assert_eq!([seq(following.line()), seq(following.line())], [3, 4], "in the order of time");
    for (number, to) in [(4, "activated"), (5, "off"), (6, "idled"), (6, "idled"), (7, "activated")] {
        responder.publish("events/press-1/pressure/hi", &event(number, to).to_string(), false);
    }
    assert_eq!([seq(following.line()), seq(following.line())], [6, 7], "what fits, each once");
    responder.status(&json!({ "state": "offline" }));
    assert_eq!(following.line(), "the daemon is offline; waiting for it");
}

/// A broker of version 3.1.1 drops what is too large for it and says nothing.
#[test]
fn an_answer_that_is_too_large_for_the_broker_is_not_blamed_on_rights() {
    let broker = Broker::with("allow_anonymous true\nmessage_size_limit 4096\n");
    let names: Vec<String> = (0..40).map(|number| format!("\"press-{number}\"")).collect();
    let alarms = HI.replace("\"press-1\"", &format!("[{}]", names.join(", ")));
    let _daemon = Daemon::with(&config(broker.port, &alarms));
    Watcher::connect(broker.port).status("online");
    let operator = Operator::at(broker.port);
    let asked = operator.does("list", &["--timeout", "500ms"]);
    assert_eq!(asked.code, 1);
    assert!(asked.err.contains("may be larger than the broker"), "{asked:?}");
    assert_eq!(operator.succeeds("list", &["press-7/*"]).lines().count(), 2, "less of it comes");
}

#[test]
fn without_an_answer_it_is_said_why() {
    let mut broker = Broker::start();
    let operator = Operator::at(broker.port);
    let asked = operator.does("list", &["--timeout", "300ms"]);
    assert_eq!(asked.code, 1);
    assert!(asked.err.contains("no daemon gw has answered within 300ms"), "{asked:?}");
    let responder = Responder::start(broker.port, |_, _| None);
    let asked = operator.does("explain", &["a/b/c", "--timeout", "300ms"]);
    assert_eq!(asked.code, 1);
    assert!(asked.err.contains("the daemon gw is online, but did not answer within 300ms"), "{asked:?}");
    assert_eq!(responder.asked().0, "explain");
    responder.status(&json!({ "state": "offline", "since": "2026-05-01T12:00:00Z" }));
    // The broker has to have it before the next client asks.
    Watcher::connect(broker.port).status("offline");
    let asked = operator.does("disable", &["a/b/c"]);
    assert_eq!(asked.code, 1);
    let want = "annunciator: the daemon gw is offline since 2026-05-01T12:00:00Z, as its last will says\n";
    assert_eq!(asked.err, want);
    broker.stop();
    let asked = operator.does("list", &[]);
    assert_eq!(asked.code, 1);
    assert!(asked.err.contains(&format!("cannot reach the broker at 127.0.0.1:{}", broker.port)), "{asked:?}");
    let unusable = Operator::with("[mqtt]\nurl = \"http://x\"\n").does("list", &[]);
    assert_eq!(unusable.code, 2, "{unusable:?}");
    assert_eq!(operator.does("list", &["--state", "purple"]).code, 2);
}

#[test]
fn a_reload_that_is_rejected_is_a_configuration_error() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let problem = json!({
        "file": "/etc/a.toml", "line": 7, "column": 3, "severity": "error", "message": "unknown key \"colour\"",
    });
    let mut rejected = false;
    let _responder = Responder::start(broker.port, move |_, _| {
        rejected = !rejected;
        Some(if rejected {
            json!({ "ok": false, "error": "the configuration has 1 error; nothing was changed", "problems": [problem] })
        } else {
            json!({ "ok": true, "added": ["a/b/c"], "changed": [], "removed": ["d/e/f"], "kept": 40 })
        })
    });
    let done = operator.does("reload", &[]);
    assert_eq!(done.code, 2);
    let want = "/etc/a.toml:7:3: error: unknown key \"colour\"\n\
                annunciator: the configuration has 1 error; nothing was changed\n";
    assert_eq!(done.err, want);
    let done = operator.does("reload", &[]);
    assert_eq!((done.code, done.out.as_str()), (0, "         ALARM\nadded    a/b/c\nremoved  d/e/f\n"));
    assert!(done.err.contains("40 kept"), "{done:?}");
}

#[test]
fn a_daemon_is_operated() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(broker.port, HI);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    let out = operator.succeeds("acknowledge", &["press-1/*", "--comment", "on my way"]);
    assert_eq!(out, "ALARM                STATE\npress-1/pressure/hi  acknowledged\n");
    let event = watcher.event("press-1/pressure/hi");
    assert_eq!(
        (&event["to"], &event["by"], &event["comment"]),
        (&json!("acknowledged"), &json!("kim"), &json!("on my way"))
    );
    let again = operator.does("acknowledge", &["press-1/pressure/hi", "press-1/pressure/hx", "--by", "eve"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("press-1/pressure/hi is acknowledged already"), "{again:?}");
    assert!(again.err.contains("did you mean press-1/pressure/hi?"), "{again:?}");
    let reply: Value = serde_json::from_str(&operator.succeeds("disable", &["press-1/pressure/hi", "--json"])).unwrap();
    assert_eq!((&reply["alarms"][0]["state"], &reply["alarms"][0]["changed"]), (&json!("off"), &json!(true)));
    let out = operator.succeeds("disable", &["press-1/pressure/hi"]);
    assert_eq!(out, "ALARM                STATE\npress-1/pressure/hi  off    nothing to change\n");
    operator.succeeds("enable", &["*"]);
    daemon.kill();
    watcher.status("offline");
    let gone = operator.does("enable", &["*"]);
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("the daemon gw is offline, as its last will says"), "{gone:?}");
}

#[test]
fn a_daemon_is_asked() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::start(broker.port, HI);
    watcher.status("online");
    for value in ["16", "3", "17"] {
        watcher.value("press-1", "pressure", value);
        watcher.event("press-1/pressure/hi");
    }
    let listed = operator.succeeds("list", &["press-*", "--active", "--json"]);
    let retained =
        watcher.next("the state", |seen| seen.topic.ends_with("alarms/press-1/pressure/hi") && seen.json()["seq"] == 3);
    assert_eq!(listed.trim_end().as_bytes(), retained.payload, "as the retained topic has it, byte for byte");
    assert_eq!(operator.succeeds("list", &["--state", "off"]), "");
    let out = operator.succeeds("shelve", &["--for", "30m", "press-1/pressure/hi", "--comment", "works"]);
    assert!(out.contains("press-1/pressure/hi  activated  shelved until "), "{out}");
    let refused = operator.does("shelve", &["--for", "99h", "press-1/pressure/hi"]);
    assert!(refused.code == 1 && refused.err.contains("max_shelve"), "{refused:?}");
    let explained = operator.succeeds("explain", &["press-1/pressure/hi"]);
    assert!(explained.contains("shelved until") && explained.contains("above 15"), "{explained}");
    let history = operator.succeeds("history", &["--json"]);
    let became = |event: &Value| event["kind"].as_str().or(event["to"].as_str()).unwrap().to_owned();
    let events: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let became: Vec<String> = events.iter().map(became).collect();
    assert_eq!(became, ["shelved", "activated", "idled", "activated"]);
    let idled =
        watcher.all.iter().find(|seen| seen.topic.contains("/events/") && seen.json()["to"] == "idled").unwrap();
    let line = operator.succeeds("history", &["--json", "--state", "idled", "--from", "1h"]);
    assert_eq!(line.trim_end().as_bytes(), idled.payload, "as it was published, byte for byte");
    assert_eq!(operator.succeeds("history", &["--json", "--to", "1h"]), "");
    let following = operator.begins("history", &["press-1/*", "--follow", "--limit", "1"]);
    assert!(following.line().starts_with("AT  ") && following.line().contains("shelved until"));
    operator.succeeds("unshelve", &["*"]);
    watcher.value("press-1", "pressure", "3");
    assert!(following.line().contains("activated → idled"), "a shelving has no event");
    let text = std::fs::read_to_string(daemon.config_file()).unwrap();
    daemon.configure(&format!("{text}{}", HI.replace("press-1", "press-2")));
    let reloaded = operator.succeeds("reload", &[]);
    assert_eq!(reloaded, "       ALARM\nadded  press-2/pressure/hi\n");
    daemon.configure(&text.replace("\"standard\"", "\"standart\""));
    let rejected = operator.does("reload", &[]);
    assert_eq!(rejected.code, 2, "{rejected:?}");
    assert!(rejected.err.contains("annunciator.toml:") && rejected.err.contains("standart"), "{rejected:?}");
    assert!(operator.succeeds("list", &[]).contains("press-2/pressure/hi"), "nothing was changed");
}

#[test]
fn watching_without_a_terminal_gives_a_line_for_each_change() {
    let mut broker = Broker::with("allow_anonymous true\npersistence true\npersistence_location FOLDER/\n");
    let operator = Operator::at(broker.port);
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::start(broker.port, HI);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    watcher.next("the state", |seen| seen.topic.ends_with("alarms/press-1/pressure/hi") && seen.json()["seq"] == 1);
    let watching = operator.begins("watch", &[]);
    let json = operator.begins("watch", &["--json"]);
    let seen = [watching.line(), watching.line()];
    assert!(seen.contains(&"the daemon is online".to_owned()), "{seen:?}");
    assert!(seen.iter().any(|line| line.ends_with("warning  activated  press-1/pressure/hi  16")), "{seen:?}");
    let line = [json.line(), json.line()].into_iter().find(|line| line.starts_with('{')).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["state"], "activated");
    operator.succeeds("acknowledge", &["*"]);
    assert!(watching.line().ends_with("acknowledged by kim  press-1/pressure/hi  16"));
    broker.terminate();
    watching.line_with("is lost: ");
    broker.restart();
    watching.line_with("the connection is there again");
    Watcher::connect(broker.port).value("press-1", "pressure", "3");
    watching.line_with("idled  press-1/pressure/hi  3");
}

#[test]
fn watching_in_a_terminal_gives_it_back_as_it_was() {
    let broker = Broker::start();
    let operator = Operator::at(broker.port);
    let responder = Responder::start(broker.port, |_, _| None);
    let topic = "alarms/press-1/pressure/hi";
    responder.publish(topic, &state("press-1/pressure/hi", "critical", "activated").to_string(), true);
    Watcher::connect(broker.port).next_on(topic);
    let seen = operator.looks_until("watch", "press-1/pressure/hi");
    assert!(seen.contains("1 active of 1 alarms") && seen.contains("\u{1b}[1;97;41mcritical\u{1b}[0m"), "{seen:?}");
    let (enter, leave) = (seen.find("\u{1b}[?1049h").unwrap(), seen.rfind("\u{1b}[?1049l").unwrap());
    assert!(enter < leave && seen[leave..].find("\u{1b}[H").is_none(), "nothing is drawn behind it: {seen:?}");
    for (off, on) in [("\u{1b}[?25l", "\u{1b}[?25h"), ("\u{1b}[?7l", "\u{1b}[?7h")] {
        assert!(seen.find(off).unwrap() < seen.rfind(on).unwrap(), "{seen:?}");
    }
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let operator = Operator::at(1);
    let verbs = ["run", "list", "history", "acknowledge", "shelve", "explain", "reload", "watch", "completions"];
    for shell in ["bash", "zsh", "fish"] {
        let script = crate::support::program(&["completions", shell]);
        assert!(verbs.iter().all(|verb| script.contains(verb)), "{shell}");
    }
    let folder = operator.folder().join("man1");
    crate::support::program(&["man", folder.to_str().unwrap()]);
    for verb in verbs {
        let page = std::fs::read_to_string(folder.join(format!("annunciator-{verb}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(crate::support::program(&["man"]).contains("annunciator\\-history"));
}

#[test]
fn a_mistake_that_is_none_of_its_business_takes_no_verb_away() {
    let broker = Broker::start();
    let text = crate::support::config(broker.port, HI);
    let mut watcher = Watcher::connect(broker.port);
    let daemon = Daemon::with(&text);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    let file = daemon.config_file();
    let beside = file.parent().unwrap().join("conf.d");
    std::fs::create_dir_all(&beside).unwrap();
    let does = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::PROGRAM);
        let output = command.args(arguments).arg("--config").arg(&file).env("USER", "kim").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let good = std::fs::read_to_string(&file).unwrap();
    for (main, other) in [
        (good.clone(), "[[alarm]\nthing = \n"),
        (good.clone(), "\u{0}"),
        (format!("{good}\n[[alarm]]\nthing = \"x\nnonsense\n"), ""),
        (format!("{good}\n[smpt]\nhost = 5\n[[reaction]]\nname = \"r\"\ntype = \"email\"\n"), ""),
    ] {
        std::fs::write(&file, &main).unwrap();
        std::fs::write(beside.join("x.toml"), other).unwrap();
        for verb in [
            &["list"][..],
            &["history"],
            &["explain", "press-1/pressure/hi"],
            &["stats"],
            &["shelve", "--for", "1m", "*"],
        ] {
            let (code, said) = does(verb);
            assert_eq!(code, Some(0), "{verb:?} {main}{other}: {said}");
        }
        assert_eq!(does(&["check"]).0, Some(2), "{main}{other}");
    }
    assert_eq!(does(&["acknowledge", "*"]).0, Some(0));
    watcher.next("the acknowledgement", |seen| seen.topic.contains("/events/") && seen.json()["to"] == "acknowledged");
    // What it needs has to be right.
    for (wrong, place) in
        [("url = 5", "url must be a string"), ("url = mqtt", "not TOML"), ("ulr = \"x\"", "unknown key ulr")]
    {
        let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port);
        std::fs::write(&file, good.replace(&url, wrong)).unwrap();
        let (code, said) = does(&["list"]);
        assert!(code == Some(2) && said.contains(place), "{wrong}: {said}");
    }
    // A text that does not end takes what is behind it, and verbs do not go to another broker instead.
    std::fs::write(&file, format!("[smtp]\nfrom = \'\'\'x\n{good}")).unwrap();
    let (code, said) = does(&["list"]);
    assert!(code == Some(2) && said.contains("not TOML"), "{said}");
}
