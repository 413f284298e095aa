//! What stays in a store of alarms that are gone, or that begin anew: nothing.

use crate::support::{Broker, Daemon, HI, Watcher, config, until};
use annunciator::io::store::Store as _;
use annunciator::io::store::disk::DiskStore;
use std::collections::BTreeMap;

/// Samples of two blocks.
const SAMPLES: usize = 300;

/// How many keys of each kind are in the store of a daemon that has ended.
fn keys(daemon: &Daemon) -> BTreeMap<char, usize> {
    let mut store = DiskStore::open(&daemon.state_dir()).unwrap().store;
    let mut kinds = BTreeMap::new();
    for (key, _) in store.scan(b"", b"", usize::MAX).unwrap() {
        *kinds.entry(char::from(key[0])).or_default() += 1;
    }
    kinds
}

fn count(daemon: &Daemon, kind: char) -> usize {
    keys(daemon).get(&kind).copied().unwrap_or_default()
}

fn mean(limit: u32) -> String {
    format!(
        "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"mean\"\ntype = \"average\"\noperator = \">\"\n\
         limit = {limit}\nobserve_time = \"1h\"\n"
    )
}

fn reloaded(watcher: &mut Watcher, daemon: &Daemon, config: &str) {
    daemon.configure(config);
    watcher.publish("annunciator/gw/commands/reload", r#"{"request":"again"}"#);
    let reply =
        watcher.next("the answer", |seen| seen.topic.ends_with("/replies") && seen.json()["request"] == "again");
    assert_eq!(reply.json()["ok"], true, "{}", reply.json());
}

fn samples(watcher: &mut Watcher, count: usize) {
    for number in 0..count {
        watcher.value("press-1", "pressure", &number.to_string());
    }
    watcher.publish("annunciator/gw/commands/explain", r#"{"alarm":"press-1/pressure/mean","request":"all"}"#);
    watcher.next("all samples", |seen| seen.topic.ends_with("/replies") && seen.json()["request"] == "all");
}

#[test]
fn samples_go_with_their_alarm_and_with_its_trigger() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let mut watcher = Watcher::connect(broker.port);
    let with = |limit: u32| config(broker.port, &format!("{HI}{}", mean(limit)));
    let mut daemon = Daemon::with(&with(1_000));
    watcher.status("online");
    samples(&mut watcher, SAMPLES);
    // A reload that leaves the alarm as it is keeps its samples where they are.
    reloaded(&mut watcher, &daemon, &with(1_000).replace("id = \"gw\"", "id = \"gw\"\nhistory_days = 20"));
    samples(&mut watcher, 3);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(count(&daemon, 'w'), 2);

    daemon.launch();
    watcher.status("online");
    reloaded(&mut watcher, &daemon, &with(2_000));
    samples(&mut watcher, 3);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(count(&daemon, 'w'), 1, "another trigger begins with no samples");

    daemon.configure(&with(3_000));
    daemon.launch();
    watcher.status("online");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(count(&daemon, 'w'), 0, "after a start, too");

    daemon.launch();
    watcher.status("online");
    samples(&mut watcher, SAMPLES);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(count(&daemon, 'w'), 2);
    daemon.configure(&config(broker.port, HI));
    daemon.launch();
    watcher.status("online");
    assert_eq!(daemon.stop(), 0);
    let kinds = keys(&daemon);
    assert_eq!((kinds.get(&'w'), kinds[&'a'], kinds[&'s']), (None, 1, 1), "{kinds:?}");
}

#[test]
fn names_in_the_history_go_with_the_last_entry_that_has_them() {
    let broker = Broker::start();
    let mut watcher = Watcher::connect(broker.port);
    let pattern = HI.replace("press-1", "press-*");
    let few = |alarms: &str| config(broker.port, alarms).replace("id = \"gw\"", "id = \"gw\"\nhistory_max = 1");
    let mut daemon = Daemon::with(&few(&pattern));
    watcher.status("online");
    for thing in ["press-1", "press-2", "press-3"] {
        watcher.value(thing, "pressure", "16");
        watcher.event(&format!("{thing}/pressure/hi"));
    }
    assert_eq!(daemon.stop(), 0);
    assert_eq!(count(&daemon, 'f'), 3);
    daemon.configure(&few(HI));
    // Entries leave some time after there are too many, and names with the first write of a start after that.
    let mut round = 0;
    until("the names to go", || {
        daemon.launch();
        watcher.status("online");
        round += 1;
        watcher.value("press-1", "pressure", if round % 2 == 0 { "16" } else { "3" });
        watcher.event("press-1/pressure/hi");
        assert_eq!(daemon.stop(), 0);
        (count(&daemon, 'f') == 1).then_some(())
    });
}
