//! What monitoring sees: figures and health over HTTP.

use crate::support::{Broker, Daemon, HI, PATIENCE, Seen, Watcher, config, free_port, until};
use annunciator::api::alarm_metrics::Figures;
use annunciator::api::openmetrics::{self, Dialect, Snapshot};
use annunciator::api::problem::StatusProblems;
use annunciator::api::status::{Metrics, Status};
use annunciator::domain::alarm_metrics::{Performance, Standing};
use annunciator::domain::model::AlarmId;
use annunciator::domain::time::{Moment, Now, Stamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

fn with_window(broker: u16, window: u16, alarms: &str) -> String {
    config(broker, &format!("[http]\nlisten = \"127.0.0.1:{window}\"\n\n{alarms}"))
        .replace("id = \"gw\"", "id = \"gw\"\nmetrics_interval = \"1s\"")
}

/// Sends these bytes and gives everything that comes back; none if nobody listens.
fn exchange(port: u16, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side may have hung up before it has read all of it.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// The status code and the body.
fn get(port: u16, path: &str, accept: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\n\r\n");
    let answer = exchange(port, request.as_bytes())?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn json_of(port: u16, path: &str) -> Option<(u16, Value)> {
    let (status, body) = get(port, path, "*/*")?;
    Some((status, serde_json::from_str(&body).ok()?))
}

/// The value of a figure without labels.
fn figure(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Every sample was introduced, with its type and what it means, once; the rest is blank or a comment.
fn check_format(text: &str, is_openmetrics: bool) {
    let (mut introduced, mut families) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("annunciator_") && help.ends_with('.'), "{line}");
            assert!(families.insert(name.to_owned()), "{name} twice");
            name.clone_into(&mut introduced);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, introduced);
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter" && !is_openmetrics, name.ends_with("_total"), "{line}");
        } else if line != "# EOF" {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap();
            assert!(name.strip_suffix("_total").unwrap_or(name) == introduced || name == introduced, "{line}");
            value.parse::<f64>().unwrap();
        }
    }
    assert_eq!(text.ends_with("\n# EOF\n"), is_openmetrics);
    assert!(families.len() > 25, "{text}");
}

#[test]
fn prometheus_finds_the_same_figures_as_the_broker() {
    let (broker, port) = (Broker::start(), free_port());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::with(&with_window(broker.port, port, HI));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    let metrics = watcher
        .next("metrics with the event", |seen| seen.topic == "annunciator/gw/metrics" && seen.json()["seq"] == 1)
        .json();
    assert_eq!(metrics["performance"]["last_10_minutes"], 1, "{metrics}");
    assert_eq!(metrics["performance"]["top"][0]["alarm"], "press-1/pressure/hi", "{metrics}");
    let text = until("the event in the figures", || {
        let (status, text) = get(port, "/metrics", "text/plain")?;
        assert_eq!(status, 200);
        (figure(&text, "annunciator_last_event_seq") == Some(1.0)).then_some(text)
    });
    check_format(&text, false);
    for (name, want) in [
        ("annunciator_events_total", 1.0),
        ("annunciator_link_up", 1.0),
        ("annunciator_durable", 1.0),
        ("annunciator_active_alarms", 1.0),
        ("annunciator_activations_last_10_minutes", 1.0),
        ("annunciator_outbox_oldest_age_seconds", 0.0),
        ("annunciator_alarm_activations_last_day{alarm=\"press-1/pressure/hi\"}", 1.0),
    ] {
        assert_eq!(figure(&text, name), Some(want), "{name} in\n{text}");
    }
    let (_, text) = get(port, "/metrics", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").unwrap();
    check_format(&text, true);
}

#[test]
fn health_tells_of_the_daemon_and_readiness_of_the_broker() {
    let (mut broker, port) = (Broker::start(), free_port());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::with(&with_window(broker.port, port, HI));
    watcher.status("online");
    let ready = until("readiness", || json_of(port, "/ready").filter(|(status, _)| *status == 200));
    assert_eq!((&ready.1["ok"], &ready.1["link"], &ready.1["problems"]), (&json!(true), &json!("up"), &json!([])));
    broker.stop();
    let (_, ready) = until("no readiness", || json_of(port, "/ready").filter(|(status, _)| *status == 503));
    assert_eq!((&ready["ok"], &ready["link"]), (&json!(false), &json!("down")), "{ready}");
    let (status, health) = json_of(port, "/health").unwrap();
    assert_eq!((status, &health["ok"], &health["durable"]), (200, &json!(true), &json!(true)), "{health}");
    // It says what else there is, and takes no orders.
    assert_eq!(get(port, "/", "*/*").unwrap().0, 200);
    assert_eq!(get(port, "/metrics/../etc/passwd", "*/*").unwrap().0, 404);
    let answer = exchange(port, b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{answer}");
    let answer = exchange(port, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    // Nothing of this keeps it from stopping.
    assert_eq!(daemon.stop(), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn slow_clients_and_garbage_hold_up_neither_alarms_nor_others_for_long() {
    let (broker, port) = (Broker::start(), free_port());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::with(&with_window(broker.port, port, HI));
    watcher.status("online");
    until("the window", || get(port, "/health", "*/*"));
    let long = [b"GET /".as_slice(), &vec![b'x'; 1 << 20]].concat();
    let garbage: [&[u8]; 6] = [b"\0\xff\xfe\r\n\r\n", b"hello\r\n\r\n", &long, b"GET / HTTP/9.9\r\n\r\n", b"\r\n", b""];
    let mut slow: Vec<TcpStream> = Vec::new();
    for (round, bytes) in garbage.iter().cycle().take(100).enumerate() {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(bytes);
        // Half of a request, and then nothing.
        let _ = stream.write(b"GET /metrics HTTP/1.1\r\nHost: ");
        slow.push(stream);
        if round % 10 == 0 {
            watcher.value("press-1", "pressure", if round % 20 == 0 { "16" } else { "14" });
            let event = watcher.event("press-1/pressure/hi");
            assert_eq!(event["to"], if round % 20 == 0 { "activated" } else { "idled" });
        }
    }
    // All hundred are there before us; whoever has been there longest makes room.
    drop(slow.split_off(40));
    let (status, _) = until("an answer behind them", || get(port, "/health", "*/*"));
    assert_eq!(status, 200);
}

#[test]
fn an_address_that_is_taken_is_reported_and_alarms_go_on() {
    let (broker, port) = (Broker::start(), free_port());
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = Daemon::with(&with_window(broker.port, port, HI));
    let problem = |seen: &Seen| seen.json()["problems"][0].as_str().unwrap_or_default().to_owned();
    watcher.next("the problem", |seen| problem(seen).starts_with(&format!("http: cannot listen on 127.0.0.1:{port}")));
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    drop(taken);
    until("the window", || get(port, "/health", "*/*"));
    watcher.next("no problem", |seen| seen.topic == "annunciator/gw/status" && seen.json()["problems"].is_null());
}

/// A daemon's figures, with one alarm among the most frequent.
fn snapshot() -> Snapshot {
    let now = Now { at: Moment::from_micros(0), wall: Stamp::from_micros(0) };
    let mut performance = Performance::new(now.at);
    performance.activated(&AlarmId::new("press-1", "pressure", "hi"), now.at);
    let status = Status {
        since: now.wall,
        alarms: 1,
        active: 1,
        durable: true,
        problems: StatusProblems::default(),
        last_gap: None,
    };
    let figures = Figures { report: performance.report(now.at), standing: Standing::default(), now };
    Snapshot { gateway: "gw".to_owned(), is_linked: true, status, metrics: Metrics::default(), figures }
}

/// All texts that stand for this key, anywhere in it.
fn texts_of<'a>(json: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match json {
        Value::Object(members) => {
            found.extend(members.get(key).and_then(Value::as_str));
            members.values().for_each(|member| texts_of(member, key, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| texts_of(element, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_asks_for_figures_that_exist() {
    let text = openmetrics::metrics(&snapshot(), Dialect::Prometheus);
    let known: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut queries = Vec::new();
    texts_of(&dashboard, "expr", &mut queries);
    texts_of(&dashboard["templating"], "query", &mut queries);
    let is_part_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let asked: BTreeSet<&str> = queries
        .iter()
        .flat_map(|query| query.split(|c| !is_part_of_a_name(c)))
        .filter(|word| word.starts_with("annunciator_"))
        .collect();
    assert!(asked.len() > 15 && queries.len() > 20, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among {known:?}");
}
