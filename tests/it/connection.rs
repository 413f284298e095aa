//! The link by itself: what is subscribed follows what is wanted, on a live connection, over breaks and restarts.

use crate::support::{Broker, PATIENCE, Protocol, Watcher, config, for_both_versions};
use annunciator::config::Config;
use annunciator::domain::outbox::Token;
use annunciator::io::clock::Clock;
use annunciator::io::mqtt::{self, Link, LinkEvent, Listener, Outbound};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

for_both_versions! {
    filters_change_while_the_connection_is_up,
    what_was_wanted_while_the_connection_was_down_holds_afterwards,
    what_an_earlier_run_had_subscribed_does_not_come_any_more,
    nothing_leaves_on_a_connection_that_the_sender_does_not_know,
    many_filters_are_subscribed_in_small_portions,
}

/// A link to a broker, and what is heard on it.
struct Line {
    link: Link,
    heard: Listener,
}

fn filters(names: &[&str]) -> Vec<(String, u8)> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

impl Line {
    fn connect(mqtt: Protocol, broker: &Broker, names: &[&str]) -> Line {
        let text = config(mqtt.at(broker.port), "");
        let (config, _) = Config::parse(Path::new("link.toml"), &text).unwrap();
        let will = Outbound { topic: "will".to_owned(), confirmed: true, ..Outbound::default() };
        let clock = Rc::new(Clock::start(None));
        let (link, heard) = mqtt::connect(&config.mqtt, filters(names), will, clock, mqtt::Terms::default());
        Line { link, heard }
    }

    async fn event(&mut self) -> LinkEvent {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("something happens on the link");
        heard.unwrap().event
    }

    async fn subscribed(&mut self) {
        while !matches!(self.event().await, LinkEvent::Subscribed { refused } if refused.is_empty()) {}
    }

    /// The topics of the messages up to one that says "end"; all are acknowledged.
    async fn topics(&mut self) -> Vec<String> {
        let mut topics = Vec::new();
        loop {
            if let LinkEvent::Message(inbound) = self.event().await {
                self.link.took(&inbound);
                inbound.receipt.into_iter().for_each(|receipt| self.link.acknowledge(receipt));
                topics.push(inbound.topic);
                if inbound.payload == "end" {
                    return topics;
                }
            }
        }
    }

    /// Ends the connection cleanly, as the end of a run does.
    async fn close(mut self) {
        self.link.close();
        while self.heard.recv().await.is_some() {}
    }
}

fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, story);
}

fn filters_change_while_the_connection_is_up(mqtt: Protocol) {
    let broker = Broker::start();
    let watcher = Watcher::connect(broker.port);
    run(async {
        let mut line = Line::connect(mqtt, &broker, &["a/#", "both"]);
        line.subscribed().await;
        watcher.publish("b/1", "not wanted yet");
        watcher.publish("a/1", "end");
        assert_eq!(line.topics().await, ["a/1"]);
        line.link.subscribe(filters(&["both", "b/#"]));
        line.subscribed().await;
        watcher.publish("a/2", "not wanted any more");
        watcher.publish("both", "wanted all the time");
        watcher.publish("b/2", "end");
        assert_eq!(line.topics().await, ["both", "b/2"]);
        // The same again: answered, although there is nothing to ask.
        line.link.subscribe(filters(&["b/#", "both"]));
        line.subscribed().await;
    });
}

fn what_was_wanted_while_the_connection_was_down_holds_afterwards(mqtt: Protocol) {
    let broker = Broker::start();
    let watcher = Watcher::connect(broker.port);
    run(async {
        let mut line = Line::connect(mqtt, &broker, &["a", "b"]);
        line.subscribed().await;
        line.link.reconnect("a test");
        while !matches!(line.event().await, LinkEvent::Down { .. }) {}
        line.link.subscribe(filters(&["b", "c"]));
        line.subscribed().await;
        for topic in ["a", "b"] {
            watcher.publish(topic, "x");
        }
        watcher.publish("c", "end");
        assert_eq!(line.topics().await, ["b", "c"]);
    });
}

fn what_an_earlier_run_had_subscribed_does_not_come_any_more(mqtt: Protocol) {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    run(async {
        let mut first = Line::connect(mqtt, &broker, &["old", "kept"]);
        first.subscribed().await;
        first.close().await;
        // The broker's session remembers: who says nothing of the old filter still gets what fits it.
        let mut second = Line::connect(mqtt, &broker, &["kept"]);
        second.subscribed().await;
        watcher.publish("old", "1");
        watcher.publish("kept", "end");
        assert_eq!(second.topics().await, ["old", "kept"]);
        // Until then the acknowledgements have left.
        watcher.settle();
        second.close().await;
        let mut third = Line::connect(mqtt, &broker, &["kept"]);
        third.link.unsubscribe_earlier(["old".to_owned(), "kept".to_owned()]);
        third.subscribed().await;
        watcher.publish("old", "2");
        watcher.publish("kept", "end");
        let topics = third.topics().await;
        assert_eq!(topics.last().map(String::as_str), Some("kept"), "{topics:?}");
        watcher.publish("old", "3");
        watcher.publish("kept", "end");
        assert_eq!(third.topics().await, ["kept"]);
    });
}

fn nothing_leaves_on_a_connection_that_the_sender_does_not_know(mqtt: Protocol) {
    let broker = Broker::start();
    let connects = || broker.log().matches("as annunciator-gw").count();
    let message = || Outbound { topic: "t".to_owned(), confirmed: true, ..Outbound::default() };
    run(async {
        let mut line = Line::connect(mqtt, &broker, &["a"]);
        line.subscribed().await;
        assert!(line.link.send(message(), Token::OutboundEvent(1)));
        while !matches!(line.event().await, LinkEvent::Taken { token: Token::OutboundEvent(1), .. }) {}
        line.link.reconnect("a test");
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        let reconnected = async {
            while connects() < 2 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, reconnected).await.expect("a second connection");
        // What was not confirmed on the first one has to leave before this, and nobody has heard that it is gone.
        assert!(!line.link.send(message(), Token::OutboundEvent(3)));
        while !matches!(line.event().await, LinkEvent::Down { .. }) {}
        assert!(!line.link.is_up());
        while !matches!(line.event().await, LinkEvent::Up { .. }) {}
        assert!(line.link.send(message(), Token::OutboundEvent(2)));
    });
}

#[test]
fn the_broker_sends_ahead_as_much_as_it_was_asked_for() {
    // mosquitto sends 20 unless a client says otherwise, and only one that speaks MQTT 5 can.
    const AHEAD: usize = 1_000;
    let broker = Broker::start();
    let watcher = Watcher::connect(broker.port);
    run(async {
        let mut line = Line::connect(Protocol::V5, &broker, &["a/#"]);
        line.subscribed().await;
        for _ in 0..AHEAD {
            watcher.publish("a/1", "not acknowledged");
        }
        let mut received = 0;
        while received < AHEAD {
            if let LinkEvent::Message(inbound) = line.event().await {
                line.link.took(&inbound);
                received += 1;
            }
        }
    });
}

fn many_filters_are_subscribed_in_small_portions(mqtt: Protocol) {
    let broker = Broker::start();
    let watcher = Watcher::connect(broker.port);
    let names = |from: usize| (from..from + 1_000).map(|number| (format!("t/{number}"), 1)).collect::<Vec<_>>();
    run(async {
        let mut line = Line::connect(mqtt, &broker, &[]);
        while !matches!(line.event().await, LinkEvent::Up { .. }) {}
        line.link.subscribe(names(0));
        line.subscribed().await;
        line.link.subscribe(names(500));
        line.subscribed().await;
        for topic in ["t/0", "t/499", "t/500"] {
            watcher.publish(topic, "x");
        }
        watcher.publish("t/1499", "end");
        assert_eq!(line.topics().await, ["t/500", "t/1499"]);
    });
}
