//! SIGKILL at any instant: the broker has seen exactly what an uninterrupted run would have published.

use crate::support::traffic::{self, ALARMS, Random};
use crate::support::{Broker, Daemon, Protocol, Watcher, for_both_versions, until};

for_both_versions! {
    kills_lose_nothing_and_repeat_nothing_that_matters,
}

/// Kills in the ordinary suite; `ANNUNCIATOR_KILLS` asks for more.
const KILLS: usize = 10;
/// Messages between two kills.
const MESSAGES: usize = 400;

fn kills_lose_nothing_and_repeat_nothing_that_matters(mqtt: Protocol) {
    let kills = std::env::var("ANNUNCIATOR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut random = Random(20_260_501);
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::start(mqtt.at(broker.port), ALARMS);
    watcher.status("online");
    let mut messages = Vec::new();
    for _ in 0..kills {
        let dies_at = random.below(MESSAGES as u64);
        for number in 0..MESSAGES as u64 {
            let (topic, payload) = traffic::value(&mut random);
            watcher.publish(&topic, &payload);
            messages.push((topic, payload));
            if number == dies_at {
                // Somewhere between receiving, writing, publishing and acknowledging.
                let seen = watcher.events().len() + usize::try_from(random.below(40)).unwrap();
                until("some events", || {
                    watcher.drain();
                    (watcher.events().len() >= seen || number < 100).then_some(())
                });
                daemon.kill();
                daemon.launch();
            }
        }
    }
    let want = traffic::uninterrupted(&messages);
    let last = want.last().unwrap()["seq"].as_u64().unwrap();
    watcher.looked_back();
    watcher.next("the last event", |seen| seen.topic.contains("/events/") && seen.json()["seq"] == last);
    watcher.settle();
    let account = traffic::account(&watcher.all);
    account.equals(&want);
    traffic::retained_states_are_those_of(&account.events, broker.port);
    println!(
        "{kills} kills, {} messages, {} events: 0 lost, {} repeated byte for byte",
        messages.len(),
        want.len(),
        account.repeated
    );
}
