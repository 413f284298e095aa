//! A bad line between daemon and broker: it breaks at any byte, falls silent one way, is slow, flips bits.
//!
//! Whatever the line does, with QoS 1 and a session that the broker keeps, the broker has seen at the end what a run on a
//! good line would have published: nothing missing, repeats byte for byte the same. Only flipped bits can change what is
//! said, so after them it is claimed that the daemon is there, and that its events and states agree with each other.

use crate::support::proxy::{Fault, Harm, Proxy, Way};
use crate::support::traffic::{self, ALARMS, Message, Random};
use crate::support::{Broker, Daemon, HI, Protocol, Watcher, config, for_both_versions, until};
use std::time::Duration;

for_both_versions! {
    a_line_that_breaks_at_any_byte_loses_nothing,
    a_line_that_falls_silent_one_way_loses_nothing,
    a_broker_that_takes_nothing_any_more_is_given_up,
    a_slow_line_loses_nothing,
    flipped_bits_are_survived,
}

/// Connections that are cut in the ordinary suite; `ANNUNCIATOR_KILLS` asks for more.
const CUTS: usize = 25;
/// Messages for each fault.
const MESSAGES: usize = 150;
/// Bytes within which a fault comes. Connecting takes about two hundred, a message with its event about a thousand.
const WITHIN: u64 = 40_000;

fn cuts() -> usize {
    std::env::var("ANNUNCIATOR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(CUTS)
}

fn way(random: &mut Random) -> Way {
    if random.below(2) == 0 { Way::ToBroker } else { Way::FromBroker }
}

/// Half of the faults hit the hand-shake and what follows it at once, where most is in the air.
fn position(random: &mut Random) -> usize {
    let within = if random.below(2) == 0 { 2_000 } else { WITHIN };
    random.index(usize::try_from(within).unwrap())
}

/// A broker that keeps everything for the daemon, a daemon behind the proxy, and a watcher that is not.
struct Line {
    random: Random,
    broker: Broker,
    proxy: Proxy,
    watcher: Watcher,
    daemon: Daemon,
    messages: Vec<Message>,
}

impl Line {
    fn new(mqtt: Protocol, seed: u64, faults: usize, mut fault: impl FnMut(&mut Random) -> Fault) -> Line {
        let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
        let watcher = Watcher::connect(broker.port);
        let proxy = Proxy::start(broker.port, Vec::new());
        let daemon = Daemon::with(
            &config(mqtt.at(proxy.port), ALARMS).replace("[[source]]", "keep_alive = \"5s\"\n\n[[source]]"),
        );
        let mut line = Line { broker, proxy, watcher, daemon, messages: Vec::new(), random: Random(seed) };
        // The session has to be there before the first message.
        line.watcher.status("online");
        for _ in 0..faults {
            line.proxy.add(fault(&mut line.random));
        }
        // Faults are for new connections, and the present one is not.
        line.daemon.kill();
        line.daemon.launch();
        line
    }

    fn publish(&mut self) {
        let (topic, payload) = traffic::value(&mut self.random);
        self.watcher.publish(&topic, &payload);
        self.messages.push((topic, payload));
    }

    /// Publishes until the line has done its worst; the daemon has to come back each time.
    fn suffer(&mut self, faults: usize, messages: usize) {
        for fault in 0..faults {
            for _ in 0..messages {
                self.publish();
            }
            let what = format!("fault {} of {faults}", fault + 1);
            let mut attempts = 0;
            until(&what, || {
                // More traffic, so that the position is reached; not so much that a backlog drowns the hand-shake.
                attempts += 1;
                if self.proxy.faults() <= fault && (messages == MESSAGES || attempts % 3 == 0) {
                    self.publish();
                    self.watcher.drain();
                }
                (self.proxy.faults() > fault).then_some(())
            });
        }
    }

    /// Waits for the end of the story, and compares it.
    fn compare(mut self, what: &str) {
        let want = traffic::uninterrupted(&self.messages);
        let last = want.last().unwrap()["seq"].clone();
        self.watcher.looked_back();
        self.watcher.next("the last event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == last);
        self.watcher.settle();
        let account = traffic::account(&self.watcher.all);
        account.equals(&want);
        traffic::retained_states_are_those_of(&account.events, self.broker.port);
        assert_eq!(self.daemon.stop(), 0);
        println!(
            "{} {what}, {} connections, {} messages, {} events: 0 lost, {} repeated byte for byte",
            self.proxy.faults(),
            self.proxy.connections(),
            self.messages.len(),
            want.len(),
            account.repeated
        );
    }
}

fn a_line_that_breaks_at_any_byte_loses_nothing(mqtt: Protocol) {
    let cuts = cuts();
    let mut line =
        Line::new(mqtt, 20_260_502, cuts, |random| Fault { way: way(random), at: position(random), harm: Harm::Cut });
    line.suffer(cuts, MESSAGES);
    line.compare("cuts");
}

fn a_line_that_falls_silent_one_way_loses_nothing(mqtt: Protocol) {
    // Finding out takes until a PINGREQ was not answered; both ways at once save one such time.
    let both = [Way::ToBroker, Way::FromBroker].map(|way| {
        std::thread::spawn(move || {
            let mut line = Line::new(mqtt, 20_260_503, 1, |_| Fault { way, at: 5_000, harm: Harm::Stall });
            line.suffer(1, MESSAGES);
            line.compare(&format!("line that fell silent {way:?}"));
        })
    });
    both.into_iter().for_each(|line| line.join().unwrap());
}

fn a_broker_that_takes_nothing_any_more_is_given_up(mqtt: Protocol) {
    // All of them may be on their way at one time, and they are more than the buffers of both ends hold.
    const EVENTS: usize = 40;
    let room = "max_queued_messages 0\nmax_inflight_messages 100\n";
    let broker = Broker::with(&format!("allow_anonymous true\n{room}"));
    let mut watcher = Watcher::connect(broker.port);
    let proxy = Proxy::start(broker.port, vec![Fault { way: Way::ToBroker, at: 1_000_000, harm: Harm::Block }]);
    let alarms = format!("{HI}title = \"{}\"\n", "x".repeat(250_000));
    let impatient = "keep_alive = \"5s\"\nconnect_timeout = \"1s\"\n\n[[source]]";
    let daemon = Daemon::with(&config(mqtt.at(proxy.port), &alarms).replace("[[source]]", impatient));
    watcher.status("online");
    for number in 0..EVENTS {
        watcher.value("press-1", "pressure", if number % 2 == 0 { "16" } else { "3" });
    }
    until("the daemon to notice", || daemon.log().contains("takes nothing any more").then_some(()));
    watcher.next("the last event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == EVENTS);
    let account = traffic::account(&watcher.all);
    assert_eq!(account.events.len(), EVENTS);
}

fn a_slow_line_loses_nothing(mqtt: Protocol) {
    for way in [Way::ToBroker, Way::FromBroker] {
        let late = Harm::Delay(Duration::from_millis(20));
        let mut line = Line::new(mqtt, 20_260_504, 1, |_| Fault { way, at: 300, harm: late });
        line.suffer(1, MESSAGES);
        line.compare(&format!("line that was slow {way:?}"));
    }
}

fn flipped_bits_are_survived(mqtt: Protocol) {
    let flips = cuts() / 2;
    let mut line = Line::new(mqtt, 20_260_505, flips, |random| {
        let bits = 1 << random.below(8);
        Fault { way: Way::FromBroker, at: random.index(3_000), harm: Harm::Corrupt(bits) }
    });
    line.suffer(flips, MESSAGES / 5);
    let Line { proxy, mut watcher, broker, messages, mut daemon, .. } = line;
    until("the last fault's connection to end", || {
        watcher.value("press-0", "pressure", "12");
        watcher.drain();
        (proxy.connections() > flips + 1).then_some(())
    });
    // What comes now comes as it was sent. The daemon may have to get through much before it.
    // Nobody knows in which state the flipped bits have left an alarm: the first value idles it.
    for value in ["12.25", "99.25", "12.25", "99.25"] {
        for thing in ["press-0", "press-1", "press-2"] {
            watcher.value(thing, "pressure", value);
        }
    }
    for (to, value) in [("activated", 99.25), ("idled", 12.25), ("activated", 99.25)] {
        watcher.next(to, |seen| {
            let event = seen.json();
            event["alarm"] == "press-2/pressure/range" && event["to"] == to && event["value"] == value
        });
    }
    watcher.settle();
    let account = traffic::account(&watcher.all);
    for (index, event) in account.events.iter().enumerate() {
        let before = account.events[..index].iter().rev().find(|before| before["alarm"] == event["alarm"]);
        let from = before.map_or("enabled", |before| before["to"].as_str().unwrap());
        assert_eq!(event["from"], from, "{event}");
    }
    traffic::retained_states_are_those_of(&account.events, broker.port);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
    println!(
        "{} flipped bits, {} connections, {} messages, {} events: one story, {} repeated byte for byte",
        proxy.faults(),
        proxy.connections(),
        messages.len(),
        account.events.len(),
        account.repeated
    );
}
