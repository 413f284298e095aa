//! The sample configuration of mosquitto: these very files, and who may do what with them.

use crate::support::{Broker, Daemon, HI, Protocol, Seen, Watcher, config, for_both_versions, free_port, until};
use crate::tls::certificates;
use serde_json::json;
use std::path::Path;
use std::process::Command;

for_both_versions! {
    the_sample_lets_each_role_do_its_work_and_nothing_else,
    a_sensor_cannot_take_the_daemons_session,
    with_its_lines_for_several_instances_they_share_the_things,
    with_its_lines_for_several_instances_they_replace_each_other,
}

const ROLES: [&str; 4] = ["gw-01", "operator", "dashboard", "press-1"];

fn sample(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// mosquitto with the sample, its paths replaced. The password of each role is its name, backwards.
fn broker(folder: &Path, access: &str) -> Broker {
    broker_with_sensors(folder, access, free_port())
}

/// The same, with this port for sensors.
fn broker_with_sensors(folder: &Path, access: &str, sensors: u16) -> Broker {
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
    for place in ["listener 8883\n", "listener 8884\n", "/etc/mosquitto/", "/var/lib/mosquitto/"] {
        assert!(text.contains(place), "{place}");
    }
    let text = text.replace("listener 8883\n", "listener PORT 127.0.0.1\n").replace("/etc/mosquitto", path);
    let text = text.replace("listener 8884\n", &format!("listener {sensors} 127.0.0.1\n"));
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
    let model = "[[anomaly]]\nname = \"strange\"\nthing = \"press-1\"\nproperty = \"pressure\"\nsegment = \"1m\"\n\n";
    let alarms = format!("{}\n{silent}{model}", HI.replace("press-1", "press-*"));
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
    for shown in ["/metrics {", "/anomalies/strange {"] {
        assert!(dashboard.transcript().contains(shown), "{shown} in\n{}", dashboard.transcript());
    }
    let problems = |seen: &&Seen| seen.topic.ends_with("/status") && !seen.json()["problems"].is_null();
    assert_eq!(operator.all.iter().find(problems), None, "the daemon may do what it has to");

    std::fs::write(folder.path().join("password"), "guess").unwrap();
    daemon.launch();
    until("the password's refusal", || daemon.log().contains("not authorised").then_some(()));
}

/// The sample with the lines that it has for several instances.
fn for_several() -> String {
    let text = sample("mosquitto.acl").replace("\n# topic ", "\ntopic ");
    assert_eq!(
        text.matches("\ntopic readwrite annunciator/gw-01/").count(),
        7,
        "five of several, the probe, and scores"
    );
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
    let owner = annunciator::domain::model::owner("press-1", 2);
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

/// A client at a port of this broker that calls itself so.
fn calls_itself(name: &str, user: &str, port: u16, ca: &Path) -> (rumqttc::Client, rumqttc::Connection) {
    let mut options = rumqttc::MqttOptions::new(name, "localhost", port);
    let ca = std::fs::read(ca).unwrap();
    let tls = rumqttc::TlsConfiguration::Simple { ca, alpn: None, client_auth: None };
    options.set_transport(rumqttc::Transport::tls_with_config(tls)).set_credentials(user, password(user));
    rumqttc::Client::new(options, 10)
}

fn a_sensor_cannot_take_the_daemons_session(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let sensors = free_port();
    let broker = broker_with_sensors(folder.path(), &sample("mosquitto.acl"), sensors);
    let ca = folder.path().join("ca.pem");
    let mut operator = Watcher::log_in(broker.port, "operator", &password("operator"), &ca);
    let daemon = daemon(&broker, folder.path(), mqtt, HI);
    next(&mut operator, "status", "state", "online");
    // With the daemon's own name, at the port for sensors: it is a sensor all the same, and can do its work.
    let (client, mut connection) = calls_itself("annunciator-gw-01", "press-1", sensors, &ca);
    client.publish("things/press-1/properties/pressure", rumqttc::QoS::AtLeastOnce, false, "16").unwrap();
    let is_taken = |event: &_| matches!(event, Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))));
    assert!(connection.iter().take(20).any(|event| is_taken(&event)), "{}", broker.log());
    next(&mut operator, "events/press-1/pressure/hi", "to", "activated");
    assert!(broker.log().contains(" as press-1 ("), "{}", broker.log());
    assert!(!daemon.log().contains("connection lost"), "{}", daemon.log());
    // At the other port it would have it: that is why sensors must not reach that one.
    let (_client, mut connection) = calls_itself("annunciator-gw-01", "press-1", broker.port, &ca);
    let is_in = |event: &_| matches!(event, Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_))));
    assert!(connection.iter().take(20).any(|event| is_in(&event)), "{}", broker.log());
    until("the loss of the connection", || daemon.log().contains("connection lost").then_some(()));
}

/// Whether a filter of the access rules covers a topic.
fn covers(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(level), Some(text)) if level == "+" || level == text => {}
            _ => return false,
        }
    }
}

#[test]
fn every_topic_of_the_manual_stands_in_the_access_rules() {
    let (access, manual) = (
        sample("mosquitto.acl"),
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap(),
    );
    let rules_of = |role: &str, verb: &str| -> Vec<String> {
        let rules = access.split("\nuser ").find(|rules| rules.lines().next() == Some(role)).unwrap();
        let rules = rules.lines().filter_map(|line| line.strip_prefix("topic ")?.split_once(' '));
        rules.filter(|(word, _)| word.contains(verb)).map(|(_, filter)| filter.to_owned()).collect()
    };
    let topics = manual.lines().filter_map(|line| line.strip_prefix("| `base/")?.split_once('`'));
    let topics: Vec<&str> = topics.map(|(topic, _)| topic).collect();
    assert!(topics.len() >= 10, "{topics:?}");
    for topic in topics {
        let full = format!("annunciator/gw-01/{}", topic.replace(['<', '>'], ""));
        let verb = if topic.starts_with("commands/") { "read" } else { "write" };
        assert!(rules_of("gw-01", verb).iter().any(|filter| covers(filter, &full)), "the daemon may not {verb} {full}");
        assert!(rules_of("operator", "read").iter().any(|filter| covers(filter, &full)), "no operator may read {full}");
    }
}
