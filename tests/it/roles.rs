//! The sample configuration of mosquitto: these very files, and who may do what with them.

use crate::support::{Broker, Daemon, HI, Protocol, Seen, Watcher, config, for_both_versions, until};
use crate::tls::certificates;
use serde_json::json;
use std::path::Path;
use std::process::Command;

for_both_versions! {
    the_sample_lets_each_role_do_its_work_and_nothing_else,
}

const ROLES: [&str; 4] = ["gw-01", "operator", "dashboard", "press-1"];

fn sample(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// mosquitto with the sample, its paths replaced. The password of each role is its name, backwards.
fn broker(folder: &Path) -> Broker {
    certificates(folder);
    std::fs::write(folder.join("mosquitto.acl"), sample("mosquitto.acl")).unwrap();
    std::fs::write(folder.join("passwords"), "").unwrap();
    for role in ROLES {
        let file = folder.join("passwords");
        let made = Command::new("mosquitto_passwd").arg("-b").arg(file).args([role, &password(role)]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let path = folder.to_str().unwrap();
    let text = sample("mosquitto.conf");
    for place in ["listener 8883\n", "/etc/mosquitto/", "/var/lib/mosquitto/"] {
        assert!(text.contains(place), "{place}");
    }
    let text = text.replace("listener 8883\n", "listener PORT 127.0.0.1\n").replace("/etc/mosquitto", path);
    Broker::configured(&text.replace("/var/lib/mosquitto", path))
}

fn password(role: &str) -> String {
    role.chars().rev().collect()
}

/// What `annunciator/gw-01/<topic>` says next, if it says this.
fn next(watcher: &mut Watcher, topic: &str, member: &str, value: &str) -> Seen {
    let topic = format!("annunciator/gw-01/{topic}");
    watcher.next(&format!("{topic} with {member} {value}"), |seen| seen.topic == topic && seen.json()[member] == value)
}

fn the_sample_lets_each_role_do_its_work_and_nothing_else(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let ca = folder.path().join("ca.pem");
    let log_in = |role: &str| Watcher::log_in(broker.port, role, &password(role), &ca);
    let (mut operator, mut dashboard, mut sensor) = (log_in("operator"), log_in("dashboard"), log_in("press-1"));
    std::fs::write(folder.path().join("password"), password("gw-01")).unwrap();
    let silent = "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
                  observe_time = \"1s\"\n";
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port);
    let path = folder.path().display();
    let secure = format!(
        "url = \"mqtts://localhost:{}\"\nca_file = \"{path}/ca.pem\"\nusername = \"gw-01\"\n\
         password = {{ file = \"{path}/password\" }}",
        broker.port
    );
    let text = config(mqtt.at(broker.port), &format!("{}\n{silent}", HI.replace("press-1", "press-*")));
    let mut daemon = Daemon::with(&text.replace(&url, &secure).replace("id = \"gw\"", "id = \"gw-01\""));
    next(&mut operator, "status", "state", "online");
    next(&mut dashboard, "status", "state", "online");

    // The sensor speaks for itself only, and gives no commands; nor does the dashboard.
    sensor.value("press-1", "pressure", "16");
    sensor.value("press-2", "pressure", "16");
    for stranger in [&sensor, &dashboard] {
        stranger.publish("annunciator/gw-01/commands/disable", r#"{"alarm":"*"}"#);
        stranger.publish("annunciator/gw-01/events/press-1/pressure/hi", r#"{"forged":true}"#);
    }
    dashboard.value("press-1", "pressure", "3");
    let event = next(&mut dashboard, "events/press-1/pressure/hi", "to", "activated").json();
    assert_eq!((&event["seq"], &event["value"]), (&json!(1), &json!(16)));

    // The daemon can hear itself, so silence is proven.
    let event = next(&mut dashboard, "events/press-1/pressure/silent", "to", "activated").json();
    assert_eq!(event["seq"], 2, "{event}");

    operator.publish("annunciator/gw-01/commands/acknowledge", r#"{"alarm":"press-1/pressure/hi","by":"kim"}"#);
    assert_eq!(operator.next("the answer", |seen| seen.topic.ends_with("/replies")).json()["ok"], true);
    let event = next(&mut dashboard, "events/press-1/pressure/hi", "to", "acknowledged").json();
    assert_eq!(event["seq"], 3, "nothing of what was not allowed has happened: {event}");
    operator.publish("annunciator/gw-01/commands/list", r#"{"alarm":"*"}"#);
    let listed = operator.next("the list", |seen| seen.topic.ends_with("/replies")).json();
    assert_eq!(listed["alarms"].as_array().unwrap().len(), 2, "press-2 was never heard: {listed}");
    sensor.value("press-1", "pressure", "NaN");
    operator.next("the fault", |seen| seen.topic.ends_with("/faults"));
    sensor.value("press-1", "pressure", "4");
    next(&mut dashboard, "events/press-1/pressure/hi", "to", "idled");

    // The will is the broker's to publish, in the daemon's name.
    daemon.kill();
    next(&mut operator, "status", "state", "offline");
    next(&mut dashboard, "status", "state", "offline");
    sensor.drain();
    assert_eq!(sensor.all, [], "a sensor sees nothing");
    for hidden in ["/commands/", "/replies", "/probe", "/faults", "things/", "forged"] {
        assert!(!dashboard.transcript().contains(hidden), "{hidden} in\n{}", dashboard.transcript());
    }
    assert!(dashboard.transcript().contains("/metrics {"), "{}", dashboard.transcript());
    let problems = |seen: &&Seen| seen.topic.ends_with("/status") && !seen.json()["problems"].is_null();
    assert_eq!(operator.all.iter().find(problems), None, "the daemon may do what it has to");

    std::fs::write(folder.path().join("password"), "guess").unwrap();
    daemon.launch();
    until("the password's refusal", || daemon.log().contains("not authorised").then_some(()));
}
