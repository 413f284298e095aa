//! The sample configuration of mosquitto: these very files, and who may do what with them.

use crate::support::{Broker, Daemon, HI, Protocol, Seen, Watcher, config, for_both_versions, until};
use crate::tls::certificates;
use serde_json::json;
use std::path::Path;
use std::process::Command;

for_both_versions! {
    the_sample_lets_each_role_do_its_work_and_nothing_else,
    with_its_lines_for_several_instances_they_share_the_things,
    with_its_lines_for_several_instances_they_replace_each_other,
}

const ROLES: [&str; 4] = ["gw-01", "operator", "dashboard", "press-1"];

fn sample(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// mosquitto with the sample, its paths replaced. The password of each role is its name, backwards.
fn broker(folder: &Path, access: &str) -> Broker {
    certificates(folder);
    std::fs::write(folder.join("mosquitto.acl"), access).unwrap();
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

/// A daemon that logs in as `gw-01`.
fn daemon(broker: &Broker, folder: &Path, mqtt: Protocol, rest: &str) -> Daemon {
    std::fs::write(folder.join("password"), password("gw-01")).unwrap();
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port);
    let path = folder.display();
    let secure = format!(
        "url = \"mqtts://localhost:{}\"\nca_file = \"{path}/ca.pem\"\nusername = \"gw-01\"\n\
         password = {{ file = \"{path}/password\" }}",
        broker.port
    );
    let text = config(mqtt.at(broker.port), rest);
    Daemon::with(&text.replace(&url, &secure).replace("id = \"gw\"", "id = \"gw-01\""))
}

fn the_sample_lets_each_role_do_its_work_and_nothing_else(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &sample("mosquitto.acl"));
    let ca = folder.path().join("ca.pem");
    let log_in = |role: &str| Watcher::log_in(broker.port, role, &password(role), &ca);
    let (mut operator, mut dashboard, mut sensor) = (log_in("operator"), log_in("dashboard"), log_in("press-1"));
    let silent = "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"silent\"\ntype = \"no-value\"\n\
                  observe_time = \"1s\"\n";
    let alarms = format!("{}\n{silent}", HI.replace("press-1", "press-*"));
    let mut daemon = daemon(&broker, folder.path(), mqtt, &alarms);
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

/// The sample with the lines that it has for several instances.
fn for_several() -> String {
    let text = sample("mosquitto.acl").replace("\n# topic ", "\ntopic ");
    assert_eq!(text.matches("\ntopic readwrite annunciator/gw-01/").count(), 6, "five of several, and the probe");
    text
}

/// Nobody was refused anything.
fn no_problems(operator: &Watcher) {
    let problem = |seen: &&Seen| seen.topic.ends_with("/status") && !seen.json()["problems"].is_null();
    assert_eq!(operator.all.iter().find(problem), None);
}

fn with_its_lines_for_several_instances_they_share_the_things(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &for_several());
    let ca = folder.path().join("ca.pem");
    let log_in = |role: &str| Watcher::log_in(broker.port, role, &password(role), &ca);
    let (mut operator, sensor) = (log_in("operator"), log_in("press-1"));
    let owner = annunciator::model::owner("press-1", 2);
    let start =
        |index: u32| daemon(&broker, folder.path(), mqtt, &format!("[shard]\nindex = {index}\ncount = 2\n\n{HI}"));
    let mut daemons = [start(0), start(1)];
    for index in 0..2 {
        operator.looked_back();
        next(&mut operator, &format!("shards/{index}/status"), "state", "online");
    }
    sensor.value("press-1", "pressure", "16");
    next(&mut operator, "events/press-1/pressure/hi", "to", "activated");
    operator.publish(&format!("annunciator/gw-01/shards/{owner}/commands/list"), "{}");
    assert_eq!(operator.next("the answer", |seen| seen.topic.ends_with("/replies")).json()["ok"], true);
    // Without its disk it has to read what it has left with the broker.
    let its = &mut daemons[usize::try_from(owner).unwrap()];
    its.kill();
    next(&mut operator, &format!("shards/{owner}/status"), "state", "offline");
    std::fs::remove_dir_all(its.state_dir()).unwrap();
    its.launch();
    next(&mut operator, &format!("shards/{owner}/status"), "state", "online");
    sensor.value("press-1", "pressure", "4");
    let event = next(&mut operator, "events/press-1/pressure/hi", "to", "idled").json();
    assert_eq!((&event["occurrence"], &event["gateway"]), (&json!(1), &json!(format!("gw-01/{owner}"))));
    no_problems(&operator);
}

fn with_its_lines_for_several_instances_they_replace_each_other(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &for_several());
    let ca = folder.path().join("ca.pem");
    let log_in = |role: &str| Watcher::log_in(broker.port, role, &password(role), &ca);
    let (mut operator, sensor) = (log_in("operator"), log_in("press-1"));
    let start = |name: &str| {
        daemon(&broker, folder.path(), mqtt, &format!("[standby]\nname = \"{name}\"\nafter = \"3s\"\n\n{HI}"))
    };
    let mut a = start("a");
    next(&mut operator, "status", "gateway", "gw-01/a");
    let _b = start("b");
    next(&mut operator, "standby/b", "state", "standing-by");
    sensor.value("press-1", "pressure", "16");
    next(&mut operator, "events/press-1/pressure/hi", "to", "activated");
    a.kill();
    next(&mut operator, "status", "gateway", "gw-01/b");
    sensor.value("press-1", "pressure", "4");
    let event = next(&mut operator, "events/press-1/pressure/hi", "to", "idled").json();
    assert_eq!((&event["occurrence"], &event["gateway"]), (&json!(1), &json!("gw-01/b")));
    no_problems(&operator);
}
