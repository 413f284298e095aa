//! Webhooks against a real HTTP server, and one that speaks HTTPS and asks for a certificate.

use super::{alarm, event, id, report, with_hook};
use crate::support::servers::Server;
use crate::support::{Broker, Daemon, Watcher, config};

#[test]
fn a_webhook_gets_the_event_as_it_was_published() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "");
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    let published = watcher.next("the event", |seen| seen.topic.contains("/events/"));
    let request = server.received(1, |_| true).remove(0);
    assert_eq!(request["method"], "POST");
    assert_eq!(request["path"], "/alarms");
    assert_eq!(request["headers"]["content-type"], "application/json");
    assert_eq!(request["body"].as_str().unwrap().as_bytes(), published.payload, "byte for byte");
    assert_eq!(id(&request), "gw-1-hook-0");
    let told = report(&mut watcher, "hook", "delivered");
    assert_eq!(told["delivery"], "gw-1-hook-0");
    assert_eq!(told["alarm"], "press-1/pressure/hi");
    assert_eq!(told["answer"], "204 No Content");
}

#[test]
fn what_fails_for_now_is_tried_again_with_the_same_id() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_hook(broker.port, &server, "");
    watcher.status("online");
    server.behave("first 500 1");
    watcher.value("press-1", "pressure", "16");
    let failed = report(&mut watcher, "hook", "failed");
    assert!(failed["reason"].as_str().unwrap().contains("500"), "{failed}");
    assert!(failed["retry_at"].is_string());
    report(&mut watcher, "hook", "delivered");
    let requests = server.received(2, |_| true);
    assert_eq!(requests.iter().map(id).collect::<Vec<_>>(), ["gw-1-hook-0", "gw-1-hook-0"]);
    assert_eq!(requests[0]["body"], requests[1]["body"]);
    // The history has it, over a crash, too.
    daemon.kill();
    daemon.launch();
    watcher.status("online");
    watcher.publish("annunciator/gw/commands/history", r#"{"alarm":"press-1/pressure/hi"}"#);
    let told = watcher.next_on("replies");
    let story: Vec<String> = told["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| format!("{} {} {}", e["kind"], e["delivery"], e["attempt"]).replace('"', ""))
        .collect();
    assert_eq!(story, ["delivered gw-1-hook-0 2", "failed gw-1-hook-0 1", "null null null"], "{told}");
    assert_eq!((&told["events"][0]["reaction"], &told["events"][0]["occurrence"]), (&"hook".into(), &1.into()));
}

#[test]
fn what_is_refused_for_good_is_dropped_and_reported_and_delays_nobody() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "");
    watcher.status("online");
    server.behave("status 422");
    watcher.value("press-1", "pressure", "16");
    let dropped = report(&mut watcher, "hook", "dropped");
    assert!(dropped["reason"].as_str().unwrap().contains("422"), "{dropped}");
    let status = watcher.next("the problem on the status", |seen| {
        seen.topic == "annunciator/gw/status" && seen.json()["problems"].to_string().contains("reaction hook")
    });
    assert!(status.json()["problems"].to_string().contains("gw-1-hook-0"), "{}", status.json());
    server.behave("fine");
    watcher.value("press-2", "pressure", "16");
    report(&mut watcher, "hook", "delivered");
    watcher.next("a status without problems", |seen| {
        seen.topic == "annunciator/gw/status" && seen.json()["problems"].is_null()
    });
    assert_eq!(server.received(2, |_| true).len(), 2);
}

#[test]
fn a_server_says_when_it_wants_to_be_asked_again() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "");
    watcher.status("online");
    server.behave("status 503 120");
    watcher.value("press-1", "pressure", "16");
    let failed = report(&mut watcher, "hook", "failed");
    let stamp = |name: &str| annunciator::domain::time::Stamp::parse(failed[name].as_str().unwrap()).unwrap();
    let wait = (stamp("retry_at") - stamp("at")).as_secs_f64();
    assert!((119.0..121.0).contains(&wait), "{failed}");
}

#[test]
fn servers_that_leave_answer_late_or_do_not_stop_talking() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "timeout = \"500ms\"");
    watcher.status("online");
    server.behave("leave");
    watcher.value("press-1", "pressure", "16");
    report(&mut watcher, "hook", "failed");
    server.behave("slow 2");
    let late = report(&mut watcher, "hook", "failed");
    assert!(late["reason"].as_str().unwrap().contains("no answer within 500ms"), "{late}");
    // Its first line is an answer, whatever follows.
    server.behave("large");
    report(&mut watcher, "hook", "delivered");
    server.behave("dawdle");
    watcher.value("press-2", "pressure", "16");
    let told = watcher.next("the report", |seen| seen.topic == "annunciator/gw/reactions/hook").json();
    assert_eq!((&told["outcome"], &told["answer"]), (&"delivered".into(), &"200 OK".into()), "{told}");
}

#[test]
fn redirections_are_followed_only_when_that_is_asked_for() {
    let (broker, mut first, mut second) = (Broker::start(), Server::http(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_hook(broker.port, &first, "");
    watcher.status("online");
    first.behave("redirect /there");
    watcher.value("press-1", "pressure", "16");
    let failed = report(&mut watcher, "hook", "failed");
    assert!(failed["reason"].as_str().unwrap().contains("307"), "{failed}");
    daemon.kill();
    let text = std::fs::read_to_string(daemon.config_file()).unwrap();
    daemon.configure(&text.replace("type = \"webhook\"", "type = \"webhook\"\nredirects = 1"));
    daemon.launch();
    report(&mut watcher, "hook", "delivered");
    let request = first.received(1, |request| request["path"] == "/there").remove(0);
    assert_eq!(request["method"], "POST");
    assert_eq!(event(&request)["to"], "activated");
    // Another origin gets neither event nor secrets, however the redirection is written.
    for (number, target) in [
        format!("http://127.0.0.1:{}/there", second.port),
        format!("//127.0.0.1:{}/there", second.port),
        format!("https://127.0.0.1:{}/there", first.port),
        format!("http://localhost:{}/there", first.port),
    ]
    .iter()
    .enumerate()
    {
        first.behave(&format!("redirect {target}"));
        watcher.value(&format!("press-{}", number + 2), "pressure", "16");
        let dropped = report(&mut watcher, "hook", "dropped");
        let reason = dropped["reason"].as_str().unwrap();
        assert!(reason.contains(target) && reason.contains("another origin"), "{dropped}");
    }
    // Also where none is followed.
    daemon.kill();
    watcher.status("offline");
    daemon.configure(&text);
    daemon.launch();
    watcher.status("online");
    let target = format!("http://127.0.0.1:{}/there", second.port);
    first.behave(&format!("redirect {target}"));
    watcher.value("press-9", "pressure", "16");
    let dropped = report(&mut watcher, "hook", "dropped");
    let reason = dropped["reason"].as_str().unwrap();
    assert!(reason.contains(&target) && reason.contains("another origin"), "{dropped}");
    assert!(second.drain().is_empty());
}

#[test]
fn certificates_and_secrets_are_read_for_each_call() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    crate::tls::certificates(folder.path());
    let (broker, mut server) = (Broker::start(), Server::https(folder.path()));
    let mut watcher = Watcher::connect(broker.port);
    std::fs::write(file("trusted.pem"), "").unwrap();
    std::fs::write(file("token"), "\n").unwrap();
    let path = folder.path().display();
    let hook = format!(
        "[[reaction]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"https://localhost:{}/alarms\"\n\
         ca_file = \"{path}/trusted.pem\"\ncert_file = \"{path}/client.pem\"\nkey_file = \"{path}/client.key\"\n\
         token = {{ file = \"{path}/token\" }}\n",
        server.port
    );
    let _daemon = Daemon::with(&config(broker.port, &(alarm("\"hook\"") + &hook)));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    let mut fails_with = |reason: &str| {
        watcher.next(reason, |seen| {
            seen.topic == "annunciator/gw/reactions/hook" && seen.json()["reason"].to_string().contains(reason)
        });
    };
    fails_with("there is no certificate in it");
    std::fs::copy(file("other.pem"), file("trusted.pem")).unwrap();
    fails_with("token is empty");
    // A pipe would be waited for, and everything else with it.
    let pipe = |name: &str| {
        std::fs::remove_file(file(name)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(file(name)).status().unwrap().success());
    };
    pipe("token");
    fails_with("it is no regular file");
    std::fs::remove_file(file("token")).unwrap();
    pipe("trusted.pem");
    fails_with("trusted.pem: it is no regular file");
    std::fs::remove_file(file("trusted.pem")).unwrap();
    std::fs::copy(file("other.pem"), file("trusted.pem")).unwrap();
    std::fs::write(file("token"), "t0ken\n").unwrap();
    fails_with("certificate");
    std::fs::copy(file("ca.pem"), file("trusted.pem")).unwrap();
    report(&mut watcher, "hook", "delivered");
    assert_eq!(server.received(1, |_| true)[0]["headers"]["authorization"], "Bearer t0ken");
}

#[test]
fn a_value_chooses_neither_the_host_nor_another_folder() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let hook = format!(
        "[[reaction]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/api/{{{{ event.by }}}}/alarms\"\n\
         on = [\"acknowledged\"]\n",
        server.port
    );
    let _daemon = Daemon::with(&config(broker.port, &(alarm("\"hook\"") + &hook)));
    watcher.status("online");
    for (number, by) in
        ["..", "a/../../admin", "%2e%2E", "..%5c..%5cadmin", "..;a", "%252e%252e", "x#", "kim"].iter().enumerate()
    {
        let thing = format!("press-{number}");
        watcher.value(&thing, "pressure", "16");
        watcher.event(&format!("{thing}/pressure/hi"));
        let command = format!("{{\"alarm\":\"{thing}/pressure/hi\",\"by\":\"{by}\"}}");
        watcher.publish("annunciator/gw/commands/acknowledge", command);
        if *by == "kim" {
            report(&mut watcher, "hook", "delivered");
        } else {
            let dropped = report(&mut watcher, "hook", "dropped");
            let why = if by.contains('#') { "would end at its #" } else { "another folder" };
            assert!(dropped["reason"].as_str().unwrap().contains(why), "{by}: {dropped}");
        }
    }
    assert_eq!(server.received(1, |_| true)[0]["path"], "/api/kim/alarms");
}

#[test]
fn https_with_a_client_certificate_a_token_and_a_signature() {
    let folder = tempfile::tempdir().unwrap();
    crate::tls::certificates(folder.path());
    for (name, secret) in [("token", "t0ken-hunter2"), ("key", "s1gn-hunter2")] {
        std::fs::write(folder.path().join(name), secret).unwrap();
    }
    let (broker, mut server) = (Broker::start(), Server::https(folder.path()));
    let mut watcher = Watcher::connect(broker.port);
    let path = folder.path().display();
    let hook = format!(
        "[[template]]\nname = \"ticket\"\ntype = \"webhook\"\nmethod = \"PUT\"\n\
         body = '{{\"what\": {{{{ alarm.title | json }}}}, \"when\": \"{{{{ event.at | local(\"%Z\") }}}}\"}}'\n\
         headers = {{ X-Thing = \"{{{{ thing.id }}}}\" }}\n\
         ca_file = \"{path}/ca.pem\"\ncert_file = \"{path}/client.pem\"\nkey_file = \"{path}/client.key\"\n\
         token = {{ file = \"{path}/token\" }}\nsecret = {{ file = \"{path}/key\" }}\n\n\
         [[reaction]]\nname = \"hook\"\ntype = \"webhook\"\ntemplate = \"ticket\"\n\
         url = \"https://localhost:{}/{{{{ alarm.id | urlencode }}}}\"\n",
        server.port
    );
    let text = config(broker.port, &(alarm("\"hook\"") + &hook));
    let daemon = Daemon::with(&text.replace("[gateway]\n", "[gateway]\ntime_zone = \"Europe/Vienna\"\n"));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    report(&mut watcher, "hook", "delivered");
    let request = server.received(1, |_| true).remove(0);
    assert_eq!(request["method"], "PUT");
    assert_eq!(request["path"], "/press-1%2Fpressure%2Fhi");
    assert_eq!(request["headers"]["x-thing"], "press-1");
    assert_eq!(request["headers"]["authorization"], "Bearer t0ken-hunter2");
    let body = request["body"].as_str().unwrap();
    assert!(body.contains("\"Too much pressure\"") && body.contains("CE"), "{body}");
    let signature = request["headers"]["x-annunciator-signature"].as_str().unwrap();
    let (time, tag) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s1gn-hunter2");
    let tag: Vec<u8> = (0..tag.len()).step_by(2).map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap()).collect();
    ring::hmac::verify(&key, format!("{time}.{body}").as_bytes(), &tag).unwrap();
    let everything = format!("{}{}", daemon.log(), watcher.transcript());
    assert!(!everything.contains("hunter2"), "secrets stay where they are");
}
