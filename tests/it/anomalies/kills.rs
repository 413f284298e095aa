//! SIGKILL in the middle of everything that models do: what was begun is there as a whole or not at all, no anomaly has two
//! alarms, and none is without its anomaly.

use super::{LEARNT, REFRESHED, Scene, built, model, rfc3339, usual};
use crate::support::{Broker, Daemon, config, until};
use serde_json::{Value, json};

/// Kills of each kind.
const KILLS: u64 = 4;

/// Of each event of an alarm of a model how often it came: what a crash makes come again is byte for byte the same.
fn occurrences(scene: &mut Scene) -> Vec<(u64, String)> {
    scene.watcher.settle();
    let mut events: Vec<Value> = scene.watcher.events();
    events.sort_by_key(|event| event["seq"].as_u64());
    events.dedup();
    let told = |event: &Value| (event["occurrence"].as_u64().unwrap(), event["to"].as_str().unwrap().to_owned());
    events.iter().map(told).collect()
}

#[test]
fn a_build_that_a_crash_interrupts_is_begun_again() {
    let broker = Broker::start();
    // To find out how many clusters there are takes a while, with a segment every minute some seconds: far longer than the
    // pause between two messages of a state, so that it is always seen that it is building.
    let model = model("").replace("clusters = 2", "").replace("step = \"5m\"", "step = \"1m\"");
    let mut daemon = Daemon::with(&config(broker.port, &model));
    let mut scene = Scene::new(&broker, 10);
    scene.watcher.status("online");
    scene.import("press-1", 0..LEARNT, usual);
    assert_eq!(daemon.stop(), 0);
    daemon.launch();
    scene.watcher.status("online");
    scene.does("anomaly-build", json!({ "model": "strange" }));
    for _ in 0..KILLS {
        scene.state("is building", |state| state["state"] == "building");
        daemon.kill();
        daemon.launch();
        scene.watcher.status("online");
    }
    let state = scene.state("was built after all", |state| state["state"] == "ready");
    assert_eq!((&state["revision"], &state["samples"]), (&json!(1), &json!(LEARNT)), "{state}");
}

#[test]
fn kills_while_it_looks_at_what_is_new_lose_no_anomaly_and_repeat_none() {
    let broker = Broker::start();
    let (mut daemon, mut scene, _) = built(&broker, REFRESHED, 600);
    let mut minute = LEARNT;
    for kill in 0..KILLS {
        let fault = minute + 30..minute + 40;
        // Each is worse than the one before: what happens again and again is not unusual any more.
        let much = 100.0 * 10_f64.powi(i32::try_from(kill).unwrap());
        let value = |n: i64| if fault.contains(&n) { usual(n) + much } else { usual(n) };
        scene.import("press-1", minute..minute + 36, value);
        // Somewhere between finding, writing and telling.
        let before = scene.watcher.event_count();
        if kill % 2 == 0 {
            until("an event", || {
                scene.watcher.drain();
                (scene.watcher.event_count() > before).then_some(())
            });
        } else {
            until("a checkpoint", || std::fs::metadata(daemon.state_dir()).ok().map(|_| ()));
        }
        daemon.kill();
        daemon.launch();
        scene.watcher.status("online");
        // What the crash took with it since the last checkpoint is imported once more; the rest is there.
        scene.import("press-1", minute..minute + 36, value);
        scene.import("press-1", minute + 36..minute + 120, value);
        minute += 120;
        let alarm = "annunciator/gw/alarms/press-1/pressure/strange";
        let count = kill + 1;
        scene.watcher.next("the end of the anomaly", |seen| {
            seen.topic == alarm && seen.json()["state"] == "idled" && seen.json()["occurrence"] == count
        });
    }
    let told = occurrences(&mut scene);
    let wanted = (1..=KILLS).flat_map(|n| [(n, "activated".to_owned()), (n, "idled".to_owned())]);
    let mut simple = told.clone();
    // A severity that rises is a second activation of the same occurrence.
    simple.dedup();
    assert_eq!(simple, wanted.collect::<Vec<_>>(), "{told:?}");
    let listed = scene.list();
    assert_eq!(listed.len() as u64, KILLS, "{listed:?}");
    assert!(listed.iter().all(|found| found["open"] == false && found["alarm"].is_string()), "{listed:?}");
}

#[test]
fn kills_while_it_looks_at_the_past_or_deletes_leave_all_or_nothing() {
    let broker = Broker::start();
    let (mut daemon, mut scene, _) = built(&broker, "on_deletion = \"delete\"", 600);
    let value = |n: i64| if (LEARNT + 100..LEARNT + 110).contains(&n) { usual(n) + 100.0 } else { usual(n) };
    scene.import("press-1", LEARNT..LEARNT + 300, value);
    let (from, to) = (rfc3339(scene.begin), rfc3339(scene.begin + (LEARNT + 300) * super::MINUTE));
    let reprocess = json!({ "model": "strange", "from": from, "to": to, "alarms": true });
    // The values have to be on disk before anything is taken from the daemon.
    scene.does("anomaly-reprocess", reprocess.clone());
    assert_eq!(scene.does("anomaly-delete", json!({ "model": "strange" }))["deleted"], 1);
    assert_eq!(daemon.stop(), 0);
    daemon.launch();
    scene.watcher.status("online");
    for kill in 0..KILLS {
        scene.command("anomaly-reprocess", &reprocess);
        if kill % 2 == 0 {
            scene.watcher.event("press-1/pressure/strange");
        } else {
            scene.state("is looked with", |state| state["state"] == "ready");
        }
        daemon.kill();
        daemon.launch();
        scene.watcher.status("online");
        scene.does("anomaly-reprocess", reprocess.clone());
        let listed = scene.list();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((&listed[0]["alarm"], &listed[0]["open"]), (&json!("press-1/pressure/strange"), &json!(false)));
        scene.command("anomaly-delete", &json!({ "model": "strange" }));
        if kill % 2 == 0 {
            scene.watcher.next("the retained state has gone", |seen| {
                seen.topic == "annunciator/gw/alarms/press-1/pressure/strange" && seen.payload.is_empty()
            });
        }
        daemon.kill();
        daemon.launch();
        scene.watcher.status("online");
        scene.does("anomaly-delete", json!({ "model": "strange" }));
        assert_eq!(scene.list().len(), 0);
    }
}
