//! The first day with a model, with nothing but the command line: a past is imported, learnt, looked at, and judged.

use crate::support::operator::Operator;
use crate::support::{Broker, Daemon, Watcher};
use serde_json::Value;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Five-minute values of four days that end now, with two small faults and, on the last day, a large one.
fn past() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (0..1_152_u64).fold("time;value\n".to_owned(), |mut text, index| {
        let noise = (index * 7_919 % 1_009) as f64 / 1_009.0;
        let swing = 5.0 * (std::f64::consts::TAU * (index % 288) as f64 / 288.0).sin();
        let fault = match index {
            500..503 | 700..703 => 10.0,
            1_000..1_012 => 40.0,
            _ => 0.0,
        };
        let value = format!("{:.3}", 20.0 + swing + noise + fault).replace('.', ",");
        writeln!(text, "{};{value}", now - 300 * (1_152 - index)).unwrap();
        text
    })
}

#[test]
fn a_model_is_there_on_day_one() {
    let broker = Broker::start();
    let config = format!(
        "[gateway]\nid = \"gw\"\nstate_dir = \"STATE\"\n\n[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n\n\
         [[source]]\ntopic = \"things/{{thing}}/properties/{{property}}\"\n\n\
         [[anomaly]]\nname = \"boiler\"\nthing = \"boiler-*\"\nproperty = \"temperature\"\nsegment = \"30m\"\n\
         sensitivity = 90\nstorm = 0.01\nrefresh = {{ every = \"10m\", alarms = true }}\n",
        broker.port
    );
    let mut watcher = Watcher::connect(broker.port);
    let mut daemon = Daemon::with(&config);
    watcher.status("online");
    let operator = Operator::with(&config);
    let unbuilt = operator.does("anomaly build", &["boiler"]);
    assert!(unbuilt.code == 1 && unbuilt.err.contains("there is no history of temperature"), "{unbuilt:?}");
    let table = operator.folder().join("past.csv");
    std::fs::write(&table, past()).unwrap();
    let import = ["boiler", "--thing", "boiler-7", table.to_str().unwrap(), "--json"];
    let taken = |done: String| serde_json::from_str::<Value>(&done).unwrap()["taken"].as_u64();
    assert_eq!(taken(operator.succeeds("anomaly import", &import)), Some(1_152));
    assert_eq!(taken(operator.succeeds("anomaly import", &import)), Some(0), "the daemon has them already");
    let built = operator.succeeds("anomaly build", &["boiler", "--to", "21h"]);
    assert!(built.contains("state       ready, revision 1") && built.contains("150 segments"), "{built}");
    let found = operator.does("anomaly reprocess", &["boiler", "--from", "20h", "--to", "1m", "--alarms"]);
    assert!(found.code == 0 && found.err.contains("boiler: 1 anomalies on 1 things, 1 alarms"), "{found:?}");
    let listed: Value = serde_json::from_str(&operator.succeeds("anomaly list", &["--json"])).unwrap();
    assert_eq!(listed["alarm"], "boiler-7/temperature/boiler");
    assert!(operator.succeeds("list", &[]).contains("boiler-7/temperature/boiler"), "it is an alarm like others");
    let picture = operator.folder().join("picture.svg");
    let shown =
        operator.succeeds("anomaly show", &["boiler", "--thing", "boiler-7", "--plot", picture.to_str().unwrap()]);
    assert!(shown.contains("highest score"), "{shown}");
    assert!(std::fs::read_to_string(&picture).unwrap().contains("anomaly began"));
    let id = listed["id"].as_str().unwrap();
    assert_eq!(operator.does("anomaly delete", &[id]).err, "1 anomaly deleted\n");
    assert_eq!(operator.succeeds("anomaly list", &[]), "");
    assert_eq!(operator.does("anomaly refresh", &["boiler", "off"]).err, "boiler: refresh is off\n");
    assert_eq!(daemon.stop(), 0);
    let checked = crate::support::check_state(&daemon);
    assert!(checked.contains("warning: model boiler: in the past that it was built from"), "{checked}");
    assert!(checked.contains("more than 0.01 (storm)"), "{checked}");
}
