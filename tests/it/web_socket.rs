//! MQTT inside WebSockets, plain and with TLS, against mosquitto's own listener for them.

use crate::support::{Broker, Daemon, HI, Protocol, Watcher, config, for_both_versions, free_port, until};
use crate::tls::certificates;

for_both_versions! {
    values_come_and_events_go_through_a_web_socket,
    a_web_socket_with_tls_trusts_whom_it_is_told_to,
}

/// A broker with one listener for WebSockets and one for the watcher, whose port comes second.
fn broker(settings: &str) -> (Broker, u16) {
    let plain = free_port();
    let web = format!("listener PORT 127.0.0.1\nprotocol websockets\n{settings}");
    (Broker::configured(&format!("allow_anonymous true\n{web}\nlistener {plain} 127.0.0.1\n")), plain)
}

fn configured(mqtt: Protocol, broker: &Broker, url: &str) -> String {
    config(mqtt.at(broker.port), HI).replace(&format!("mqtt://127.0.0.1:{}", broker.port), url)
}

fn values_come_and_events_go_through_a_web_socket(mqtt: Protocol) {
    let (mut broker, plain) = broker("");
    let mut watcher = Watcher::connect(plain);
    let url = format!("ws://127.0.0.1:{}", broker.port);
    let mut daemon = Daemon::with(&configured(mqtt, &broker, &url));
    watcher.status("online");
    let text = "x".repeat(200_000);
    watcher.value("press-1", "pressure", &format!("\"{text}\""));
    watcher.next("the fault", |seen| seen.topic.ends_with("/faults"));
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 1);
    broker.restart();
    let mut watcher = Watcher::connect(plain);
    watcher.next("the state", |seen| seen.json()["state"] == "activated");
    watcher.value("press-1", "pressure", "3");
    assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 2);
    assert_eq!(daemon.stop(), 0);
    watcher.status("offline");
}

fn a_web_socket_with_tls_trusts_whom_it_is_told_to(mqtt: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let path = folder.path().display();
    let (broker, plain) = broker(&format!("certfile {path}/server.pem\nkeyfile {path}/server.key\n"));
    let mut watcher = Watcher::connect(plain);
    let trusting = |ca: &str| {
        let url = format!("wss://localhost:{}/mqtt\"\nca_file = \"{path}/{ca}", broker.port);
        configured(mqtt, &broker, &url)
    };
    let stranger = Daemon::with(&trusting("other.pem"));
    until("the certificate's refusal", || stranger.log().to_lowercase().contains("certificate").then_some(()));
    drop(stranger);
    let _daemon = Daemon::with(&trusting("ca.pem"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    assert_eq!(watcher.event("press-1/pressure/hi")["seq"], 1);
}
