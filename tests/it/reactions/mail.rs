//! E-mail against a real SMTP server.

use super::{alarm, report};
use crate::support::servers::Server;
use crate::support::{Broker, Daemon, Watcher, config};
use serde_json::Value;
use std::path::Path;

/// A daemon with one mail reaction, `mail`, to two people.
fn with_mail(broker: u16, server: &Server, folder: &Path, mode: &str, keys: &str) -> Daemon {
    std::fs::write(folder.join("password"), "correct horse\n").unwrap();
    let login = match mode {
        "none" => String::new(),
        _ => format!(
            "ca_file = \"{path}/ca.pem\"\nusername = \"gw-01\"\npassword = {{ file = \"{path}/password\" }}\n",
            path = folder.display()
        ),
    };
    let mail = format!(
        "[smtp]\nhost = \"localhost\"\nport = {}\ntls = \"{mode}\"\nfrom = \"Boiler house <gw@example.org>\"\n\
         timeout = \"2s\"\n{login}\n[[reaction]]\nname = \"mail\"\ntype = \"email\"\n\
         to = [\"duty@example.org\", \"Chief <chief@example.org>\"]\n{keys}\n\n",
        server.port
    );
    let plain = alarm("\"mail\"").replace("press-*", "plain-*").replace("reactions = [\"mail\"]\n", "");
    Daemon::with(&config(broker, &(alarm("\"mail\"") + &plain + &mail)))
}

fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    crate::tls::certificates(folder.path());
    folder
}

fn header<'a>(mail: &'a Value, name: &str) -> &'a str {
    mail["headers"][name].as_str().unwrap_or_default()
}

#[test]
fn a_mail_goes_out_over_each_kind_of_connection() {
    for (kind, mode) in [("starttls", "starttls"), ("login", "starttls"), ("tls", "tls"), ("none", "none")] {
        let folder = certificates();
        let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), kind));
        let mut watcher = Watcher::connect(broker.port);
        let _daemon = with_mail(broker.port, &server, folder.path(), mode, "");
        watcher.status("online");
        watcher.value("press-1", "pressure", "16");
        let told = report(&mut watcher, "mail", "delivered");
        assert!(told["answer"].as_str().unwrap().starts_with("250 2.0.0 Ok: queued"), "{told}");
        let mail = server.received(1, |_| true).remove(0);
        assert_eq!(mail["to"], serde_json::json!(["duty@example.org", "chief@example.org"]));
        assert_eq!(mail["from"], "gw@example.org");
        assert_eq!(mail["tls"], mode != "none");
        assert_eq!(mail["login"].as_str(), (mode != "none").then_some("gw-01"));
        assert_eq!(header(&mail, "subject"), "[critical] Too much pressure: activated");
        assert_eq!(header(&mail, "message-id"), "<gw-1-mail-0@example.org>");
        assert!(mail["body"].as_str().unwrap().contains("value: 16"), "{mail}");
    }
}

#[test]
fn mails_of_one_occurrence_are_one_thread() {
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "none"));
    let mut watcher = Watcher::connect(broker.port);
    let keys = "repeat = \"1s\"\non_clear = true\nsubject = \"{{ alarm.title }} – {{ reaction.kind }} {{ reaction.repeat }}\"\n\
                message = \"für {{ occurrence.duration }}\"";
    let _daemon = with_mail(broker.port, &server, folder.path(), "none", keys);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    server.received(3, |_| true);
    watcher.value("press-1", "pressure", "14");
    let clear = server.received(1, |mail| header(mail, "subject").contains("clear")).remove(0);
    let mails = server.received(4, |_| true);
    assert_eq!(header(&mails[0], "message-id"), "<gw-1-mail-0@example.org>");
    assert_eq!(header(&mails[0], "in-reply-to"), "");
    assert_eq!(header(&mails[1], "message-id"), "<gw-1-mail-1@example.org>");
    assert_eq!(header(&mails[1], "subject"), "Too much pressure – repeat 1");
    assert_eq!(mails[1]["body"].as_str().unwrap().trim(), "für 1s");
    assert_eq!(header(&clear, "message-id"), "<gw-2-mail-0@example.org>");
    for mail in &mails[1..] {
        assert_eq!(header(mail, "in-reply-to"), "<gw-1-mail-0@example.org>");
        assert_eq!(header(mail, "references"), "<gw-1-mail-0@example.org>");
    }
}

#[test]
fn one_bad_recipient_does_not_lose_the_others_and_is_reported() {
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "starttls"));
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_mail(broker.port, &server, folder.path(), "starttls", "");
    watcher.status("online");
    server.behave("unknown duty");
    watcher.value("press-1", "pressure", "16");
    let told = report(&mut watcher, "mail", "delivered");
    assert!(
        told["reason"].as_str().unwrap().contains("duty@example.org: ") && told.to_string().contains("550"),
        "{told}"
    );
    let mails = server.received(1, |_| true);
    assert_eq!(mails[0]["to"], serde_json::json!(["chief@example.org"]));
    watcher.next("the problem on the status", |seen| {
        seen.topic == "annunciator/gw/status" && seen.json()["problems"].to_string().contains("No such user")
    });
}

#[test]
fn greylisting_a_full_mailbox_and_a_server_that_stalls_only_delay() {
    for (how, reason) in [("greylist", "451"), ("full", "452"), ("stall", "did not answer within 2s"), ("leave", "")] {
        let folder = certificates();
        let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "none"));
        let mut watcher = Watcher::connect(broker.port);
        let _daemon = with_mail(broker.port, &server, folder.path(), "none", "");
        watcher.status("online");
        server.behave(how);
        watcher.value("press-1", "pressure", "16");
        let failed = report(&mut watcher, "mail", "failed");
        assert!(failed["reason"].as_str().unwrap().contains(reason), "{how}: {failed}");
        watcher.next("the problem on the status", |seen| {
            seen.topic == "annunciator/gw/status" && seen.json()["problems"].to_string().contains("reaction mail")
        });
        server.behave("fine");
        report(&mut watcher, "mail", "delivered");
        let mails = server.received(1, |_| true);
        assert_eq!(mails.len(), 1, "{how}");
        assert_eq!(header(&mails[0], "message-id"), "<gw-1-mail-0@example.org>");
    }
}

#[test]
fn a_message_that_is_refused_for_good_is_dropped_and_reported() {
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "none"));
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_mail(broker.port, &server, folder.path(), "none", "");
    watcher.status("online");
    server.behave("refuse");
    watcher.value("press-1", "pressure", "16");
    let dropped = report(&mut watcher, "mail", "dropped");
    assert!(dropped["reason"].as_str().unwrap().contains("I do not like this message"), "{dropped}");
}

#[test]
fn a_wrong_password_is_seen_at_once_and_loses_nothing() {
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "starttls"));
    let mut watcher = Watcher::connect(broker.port);
    let daemon = with_mail(broker.port, &server, folder.path(), "starttls", "");
    std::fs::write(folder.path().join("password"), "hunter2").unwrap();
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    let failed = report(&mut watcher, "mail", "failed");
    assert!(failed["reason"].as_str().unwrap().contains("login as gw-01"), "{failed}");
    watcher.next("the problem on the status", |seen| {
        seen.topic == "annunciator/gw/status" && seen.json()["problems"].to_string().contains("login as gw-01")
    });
    std::fs::write(folder.path().join("password"), "correct horse").unwrap();
    report(&mut watcher, "mail", "delivered");
    assert_eq!(server.received(1, |_| true).len(), 1);
    let everything = format!("{}{}", daemon.log(), watcher.transcript());
    assert!(!everything.contains("hunter2") && !everything.contains("correct horse"));
}

/// Alarms while the mail server is away; `ANNUNCIATOR_MAILS` asks for more.
const MAILS: usize = 100;

#[test]
fn a_night_without_a_mail_server_loses_no_mail_and_sends_none_twice() {
    let mails = std::env::var("ANNUNCIATOR_MAILS").ok().and_then(|n| n.parse().ok()).unwrap_or(MAILS);
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "starttls"));
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_mail(broker.port, &server, folder.path(), "starttls", "");
    watcher.status("online");
    server.stop();
    for number in 0..mails {
        watcher.value(&format!("press-{number}"), "pressure", "16");
        if number % (mails / 10) == 3 {
            daemon.kill();
            daemon.launch();
        }
    }
    watcher.settle();
    // In the middle of the flood the server is away once more, and the daemon is killed once more.
    let ids = |server: &mut Server| -> Vec<String> {
        server.drain().iter().map(|mail| header(mail, "message-id").to_owned()).collect()
    };
    server.restart();
    crate::support::until("half of the mails", || (ids(&mut server).len() >= mails / 2).then_some(()));
    server.stop();
    daemon.kill();
    daemon.launch();
    server.restart();
    let distinct = |server: &mut Server| ids(server).into_iter().collect::<std::collections::BTreeSet<_>>().len();
    crate::support::until("every mail", || (distinct(&mut server) >= mails).then_some(()));
    let delivered = |watcher: &Watcher| {
        let told = watcher.all.iter().filter(|seen| seen.topic.ends_with("/reactions/mail"));
        told.filter(|seen| seen.json()["outcome"] == "delivered").count()
    };
    crate::support::until("every report", || {
        watcher.drain();
        (delivered(&watcher) >= mails).then_some(())
    });
    let (all, distinct) = (ids(&mut server).len(), distinct(&mut server));
    assert_eq!(distinct, mails);
    assert!(
        all - distinct <= 4 * 2,
        "only what was on its way at the stop or the kill: {all} mails, {distinct} different"
    );
    println!("{mails} mails, 11 kills, 2 outages: {} repeated with the same Message-ID", all - distinct);
}

#[test]
fn mails_go_on_while_the_broker_is_away() {
    let folder = certificates();
    let (mut broker, mut server) = (Broker::start(), Server::mail(folder.path(), "none"));
    let mut watcher = Watcher::connect(broker.port);
    let daemon = with_mail(broker.port, &server, folder.path(), "none", "repeat = \"500ms\"");
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    server.received(1, |_| true);
    broker.stop();
    crate::support::until("the loss of the connection", || daemon.log().contains("connection lost").then_some(()));
    let count = server.drain().len();
    server.received(count + 3, |_| true);
}

#[test]
fn a_flood_of_mails_ends_in_one_that_lists_the_rest() {
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "none"));
    let mut watcher = Watcher::connect(broker.port);
    let keys = "rate_limit = 2\nrate_window = \"2s\"\nmessage = \"{{ alarm.thing }} has more than {{ alarm.limit }}\"";
    let _daemon = with_mail(broker.port, &server, folder.path(), "none", keys);
    watcher.status("online");
    for number in 0..20 {
        watcher.value(&format!("press-{number}"), "pressure", "16");
    }
    let told = |server: &mut Server| -> std::collections::BTreeSet<String> {
        let bodies: Vec<String> = server.drain().iter().map(|mail| mail["body"].as_str().unwrap().to_owned()).collect();
        let all = bodies.join("\n");
        let words = all.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| word.starts_with("press-"));
        words.map(str::to_owned).collect()
    };
    crate::support::until("every thing to be named", || (told(&mut server).len() >= 20).then_some(()));
    let mails = server.drain();
    assert!(mails.len() <= 6, "{} mails", mails.len());
    let digest = mails.iter().find(|mail| mail["body"].as_str().unwrap().contains("more:")).unwrap();
    assert!(digest["body"].as_str().unwrap().contains(" has more than 15"), "{digest}");
}

/// Values that are published one by one.
const VALUES: usize = 50;

#[test]
fn evaluation_does_not_wait_for_a_server_that_stalls() {
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "starttls"));
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_mail(broker.port, &server, folder.path(), "starttls", "");
    watcher.status("online");
    server.behave("stall");
    let mut half_of = |group: &str| {
        let mut times: Vec<std::time::Duration> = (0..VALUES)
            .map(|number| {
                let start = std::time::Instant::now();
                watcher.value(&format!("{group}-{number}"), "pressure", "16");
                let topic = format!("annunciator/gw/events/{group}-{number}/pressure/hi");
                watcher.next("the event", |seen| seen.topic == topic);
                start.elapsed()
            })
            .collect();
        times.sort();
        (times[VALUES / 2], times[VALUES * 99 / 100])
    };
    // The first group has no reaction, so this is what everything else takes.
    let (usual, with_reaction) = (half_of("plain"), half_of("press"));
    println!("{VALUES} alarms, half and 99 of 100 within: {usual:?}; while their mails stall: {with_reaction:?}");
    assert!(with_reaction.0.as_millis() < 2 * usual.0.as_millis() + 50, "{usual:?} {with_reaction:?}");
}

#[test]
fn a_mail_has_a_short_subject_no_control_characters_and_no_id_that_passes_for_another() {
    let folder = certificates();
    let (broker, mut server) = (Broker::start(), Server::mail(folder.path(), "none"));
    let mut watcher = Watcher::connect(broker.port);
    let keys = "subject = \"{{ 'kö' * 80000 }}\"\n\
                message = \"a\\rb\\r\\nc\\u0000d\\u001b[2J {{ alarm.thing }} {{ event.thing }}\"";
    let _daemon = with_mail(broker.port, &server, folder.path(), "none", keys);
    watcher.status("online");
    watcher.value("press-\u{202e}1u\u{308}", "pressure", "16");
    report(&mut watcher, "mail", "delivered");
    let mail = server.received(1, |_| true).remove(0);
    let subject = header(&mail, "subject");
    assert!(subject.chars().count() == 200 && subject.ends_with("kök…"), "{subject}");
    let raw = mail["raw"].as_str().unwrap();
    let is_control = |c: char| c < ' ' && !matches!(c, '\r' | '\n' | '\t');
    assert!(!raw.contains(is_control) && !raw.replace("\r\n", "").contains(['\r', '\n']), "{raw:?}");
    let body = mail["body"].as_str().unwrap().replace("\r\n", "\n");
    let id = "press-\\u{202e}1u\\u{308}";
    assert_eq!(body.trim_end(), format!("a\nb\nc\u{fffd}d\u{fffd}[2J {id} {id}"));
}
