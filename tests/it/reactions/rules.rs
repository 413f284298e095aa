//! When reactions begin and when they stop, in compressed time.

use super::{alarm, event, id, report, with_hook};
use crate::support::servers::Server;
use crate::support::{Broker, Daemon, Watcher, config, until};
use serde_json::Value;
use std::time::{Duration, Instant};

fn pass(time: Duration) {
    let start = Instant::now();
    until("time to pass", || (start.elapsed() >= time).then_some(()));
}

#[test]
fn repeats_come_at_their_times_and_stop_when_somebody_takes_note() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "repeat = [\"400ms\", \"800ms\"]");
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    let requests = server.received(4, |_| true);
    let ids: Vec<String> = requests.iter().map(id).collect();
    assert_eq!(ids, ["gw-1-hook-0", "gw-1-hook-1", "gw-1-hook-2", "gw-1-hook-3"]);
    watcher.publish("annunciator/gw/commands/acknowledge", r#"{"alarm":"*","by":"kim"}"#);
    watcher.event("press-1/pressure/hi");
    watcher.next("the acknowledgement", |seen| seen.topic.contains("/events/") && seen.json()["to"] == "acknowledged");
    let count = server.drain().len();
    pass(Duration::from_secs(2));
    assert!(server.drain().len() <= count + 1, "one may have been on its way");
}

#[test]
fn an_alarm_that_idles_before_the_first_is_due_causes_nothing() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "initial = \"1s\"\non_clear = true");
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.value("press-1", "pressure", "14");
    watcher.value("press-2", "pressure", "16");
    let requests = server.received(1, |_| true);
    assert_eq!(event(&requests[0])["thing"], "press-2");
    watcher.value("press-2", "pressure", "14");
    let requests = server.received(2, |_| true);
    assert_eq!(event(&requests[1])["to"], "idled");
    assert_eq!(requests.len(), 2, "no clearing without an activation that was delivered");
}

#[test]
fn an_escalation_survives_a_restart_and_does_not_come_in_a_burst() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_hook(broker.port, &server, "initial = \"3s\"\nrepeat = \"500ms\"");
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    watcher.event("press-1/pressure/hi");
    daemon.kill();
    assert!(server.drain().is_empty());
    daemon.launch();
    let requests = server.received(2, |_| true);
    assert_eq!(id(&requests[0]), "gw-1-hook-0", "with the time that was left");
    assert_eq!(id(&requests[1]), "gw-1-hook-1");
    daemon.kill();
    let number = |request: &Value| id(request).rsplit('-').next().unwrap().parse::<usize>().unwrap();
    let before = server.drain().iter().map(number).max().unwrap();
    pass(Duration::from_secs(3));
    daemon.launch();
    // What was on its way when the daemon was killed comes once more, under its own number.
    let requests = server.received(2, |request| number(request) > before);
    // Six repeats were missed; one makes up for all of them, and the next comes at its own time.
    assert!(number(&requests[0]) >= before + 4, "{:?}", server.all.iter().map(id).collect::<Vec<_>>());
    assert_eq!(number(&requests[1]), number(&requests[0]) + 1);
}

#[test]
fn filters_choose_severities_things_and_changes() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let hook = |name: &str, keys: &str| {
        format!(
            "[[reaction]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/{name}\"\n{keys}\n\n",
            server.port
        )
    };
    let all = hook("mild", "severities = [\"info\", \"warning\"]")
        + &hook("one", "things = \"press-1*\"")
        + &hook("ack", "on = [\"acknowledged\", \"off\"]")
        + &hook("never", "hours = \"mon 00:00-00:01\"");
    let mut names = alarm("\"mild\", \"one\", \"ack\", \"never\"");
    names.push_str(&all);
    let _daemon = Daemon::with(&config(broker.port, &names));
    watcher.status("online");
    for thing in ["press-2", "press-10"] {
        watcher.value(thing, "pressure", "16");
        watcher.event(&format!("{thing}/pressure/hi"));
    }
    watcher.publish("annunciator/gw/commands/acknowledge", r#"{"alarm":"press-2/*","by":"kim","comment":"on it"}"#);
    watcher.publish("annunciator/gw/commands/disable", r#"{"alarm":"press-2/*","by":"kim"}"#);
    let mut requests = server.received(3, |_| true);
    requests.sort_by_key(|request| request["path"].to_string());
    let seen: Vec<(&str, String)> =
        requests.iter().map(|r| (r["path"].as_str().unwrap(), event(r)["to"].as_str().unwrap().to_owned())).collect();
    let want = [("/ack", "acknowledged"), ("/ack", "off"), ("/one", "activated")];
    assert_eq!(seen, want.map(|(path, to)| (path, to.to_owned())));
}

#[test]
fn a_flood_becomes_a_few_and_one_that_counts_the_rest() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "rate_limit = 3\nrate_window = \"3s\"\nconcurrency = 1");
    watcher.status("online");
    for number in 0..40 {
        watcher.value(&format!("press-{number}"), "pressure", "16");
    }
    let told = |server: &mut Server| -> usize {
        server
            .drain()
            .iter()
            .map(|request| 1 + event(request)["more"].as_u64().map_or(0, |more| usize::try_from(more).unwrap()))
            .sum()
    };
    until("all to be told", || (told(&mut server) >= 40).then_some(()));
    assert_eq!(told(&mut server), 40);
    assert!(server.drain().len() <= 6, "{} requests", server.drain().len());
    let digest = server.drain().iter().map(event).find(|event| event["more"].is_u64()).unwrap();
    assert_eq!(digest["others"].as_array().unwrap().len() as u64, digest["more"].as_u64().unwrap());
    let mut delivered = 0;
    while delivered < 40 {
        report(&mut watcher, "hook", "delivered");
        delivered += 1;
    }
}

#[test]
fn a_template_that_fails_at_night_sends_all_of_the_event() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    // Fine with the sample, and not with what comes: a text is no number.
    let body =
        "body = \"{% if alarm.level == 'hi' and event.value != 15 %}{{ event.thing.nothing.at_all }}{% endif %}fine\"";
    let _daemon = with_hook(broker.port, &server, body);
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    let told = report(&mut watcher, "hook", "delivered");
    assert!(told["reason"].as_str().unwrap().contains("template of body has failed"), "{told}");
    let request = server.received(1, |_| true).remove(0);
    assert_eq!(event(&request)["alarm"], "press-1/pressure/hi");
    watcher.next("the problem on the status", |seen| {
        seen.topic == "annunciator/gw/status" && seen.json()["problems"].to_string().contains("template of body")
    });
}

#[test]
fn a_shelved_alarm_causes_nothing_until_it_is_taken_out_again() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = with_hook(broker.port, &server, "repeat = \"300ms\"");
    watcher.status("online");
    let command = |watcher: &mut Watcher, verb: &str, rest: &str| {
        let payload = format!("{{\"alarm\":\"press-1/pressure/hi\",\"by\":\"kim\"{rest}}}");
        watcher.publish(&format!("annunciator/gw/commands/{verb}"), payload);
        let reply = watcher.next("the answer", |seen| seen.topic == "annunciator/gw/replies").json();
        assert_eq!(reply["ok"], true, "{reply}");
    };
    watcher.value("press-1", "pressure", "16");
    server.received(2, |_| true);
    command(&mut watcher, "shelve", ",\"for\":\"1h\"");
    watcher.settle();
    let count = server.drain().len();
    daemon.kill();
    daemon.launch();
    watcher.status("online");
    pass(Duration::from_secs(1));
    assert!(server.drain().len() <= count + 1, "one may have been on its way");
    let count = server.drain().len();
    command(&mut watcher, "unshelve", "");
    server.received(count + 2, |_| true);
}

#[test]
fn another_configuration_takes_effect_without_a_restart() {
    let (broker, mut old, mut new) = (Broker::start(), Server::http(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let daemon = with_hook(broker.port, &old, "");
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    old.received(1, |_| true);
    old.stop();
    watcher.value("press-2", "pressure", "16");
    report(&mut watcher, "hook", "failed");
    // What waits goes to where the new configuration says, through another number of the same name.
    let text = std::fs::read_to_string(daemon.config_file()).unwrap();
    let text = text.replace(&old.port.to_string(), &new.port.to_string());
    let first = "[[reaction]]\nname = \"first\"\ntype = \"mqtt\"\ntopic = \"x\"\n\n[[reaction]]\nname = \"hook\"";
    daemon.configure(&text.replace("[[reaction]]\nname = \"hook\"", first));
    watcher.publish("annunciator/gw/commands/reload", "{}");
    assert_eq!(report(&mut watcher, "hook", "delivered")["alarm"], "press-2/pressure/hi");
    watcher.value("press-3", "pressure", "16");
    let things: Vec<String> = new.received(2, |_| true).iter().map(|r| event(r)["thing"].to_string()).collect();
    assert_eq!(things, ["\"press-2\"", "\"press-3\""]);
    // A template that is in use cannot go: the answer says who uses it.
    let text = std::fs::read_to_string(daemon.config_file()).unwrap();
    daemon.configure(&text.replace("type = \"webhook\"", "type = \"webhook\"\ntemplate = \"gone\""));
    watcher.publish("annunciator/gw/commands/reload", r#"{"request":"r9"}"#);
    let reply =
        watcher.next("the refusal", |seen| seen.topic.ends_with("/replies") && seen.json()["request"] == "r9").json();
    assert_eq!(reply["ok"], false);
    assert!(reply.to_string().contains("there is no template \\\"gone\\\"; reaction \\\"hook\\\" uses it"), "{reply}");
    watcher.value("press-4", "pressure", "16");
    new.received(3, |_| true);
}

#[test]
fn an_alarm_that_activates_itself_stops_doing_so() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let feed = "[[reaction]]\nname = \"feed\"\ntype = \"mqtt\"\ntopic = \"things/{{ thing.id }}/properties/pressure\"\n\
                on = [\"activated\", \"idled\"]\npayload = \"{{ 3 if event.to == 'activated' else 16 }}\"\n\n";
    let daemon = Daemon::with(&config(broker.port, &(alarm("\"feed\"") + feed)));
    watcher.status("online");
    watcher.value("press-1", "pressure", "16");
    let dropped = report(&mut watcher, "feed", "dropped");
    assert!(dropped["reason"].as_str().unwrap().contains("a loop?"), "{dropped}");
    watcher.settle();
    let events = watcher.event_count();
    assert!((60..=62).contains(&events), "{events} events");
    assert!(daemon.log().contains("is read by the source"), "{}", daemon.log());
}

/// The samples of the check have the limit as their value, and no source reads what comes of that.
#[test]
fn a_loop_that_no_sample_shows_ends_too() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let feed = "[[reaction]]\nname = \"feed\"\ntype = \"mqtt\"\non = [\"activated\", \"idled\"]\n\
                topic = \"{{ 'x' if event.value in (3, 16) else 'y' }}/{{ thing.id }}/properties/pressure\"\n\
                payload = \"{{ 3 if event.to == 'activated' else 16 }}\"\n\n";
    let feed = feed.replace("'x'", "'things'");
    let daemon = Daemon::with(&config(broker.port, &(alarm("\"feed\"") + &feed)));
    watcher.status("online");
    assert!(!daemon.log().contains("becomes a value"), "{}", daemon.log());
    watcher.value("press-1", "pressure", "16");
    let dropped = report(&mut watcher, "feed", "dropped");
    assert!(dropped["reason"].as_str().unwrap().contains("a loop?"), "{dropped}");
    watcher.settle();
    let events = watcher.event_count();
    assert!((60..=63).contains(&events), "{events} events");
    assert!(daemon.log().contains("what it publishes becomes a value"), "{}", daemon.log());
}

#[test]
fn a_test_counts_for_the_rate_limit() {
    let (broker, mut server) = (Broker::start(), Server::http());
    let mut watcher = Watcher::connect(broker.port);
    let _daemon = with_hook(broker.port, &server, "rate_limit = 2\nrate_window = \"1h\"");
    watcher.status("online");
    for (request, is_fine) in [("r1", true), ("r2", true), ("r3", false)] {
        let command = format!("{{\"reaction\":\"hook\",\"request\":\"{request}\"}}");
        watcher.publish("annunciator/gw/commands/test-reaction", command);
        let told =
            watcher.next("the answer", |seen| seen.topic.ends_with("/replies") && seen.json()["request"] == request);
        assert_eq!(told.json()["ok"], is_fine, "{}", told.json());
        assert!(is_fine || told.json()["error"].to_string().contains("its rate_limit"), "{}", told.json());
    }
    assert_eq!(server.received(2, |_| true).len(), 2);
}
