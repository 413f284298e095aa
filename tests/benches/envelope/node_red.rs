//! What the daemon is compared with: Node-RED at the same work, without a disk. One subscription, one function that knows
//! the state of every alarm, one publication: as lean a flow as a user makes who knows Node-RED well.
//!
//! It is there where `ANNUNCIATOR_NODE_RED` names its `red.js`; `tests/benches/node-red` fetches one.

use crate::load::{Load, Mix};
use crate::stage::{Broker, Ears, Process};
use crate::table::{Aim, Row, Runs};
use crate::{Effort, meters};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// Names Node-RED's `red.js`.
const VARIABLE: &str = "ANNUNCIATOR_NODE_RED";
/// What a value does: the limit of the daemon's alarms, and its deadband, which has no width.
const JUDGE: &str = include_str!("node_red.js");
/// Made when the flow starts, and kept in memory: a file would be written for every value.
const BEGIN: &str = "flow.set('work', { active: new Map(), counted: 0 });";
const COUNTED: &str = "msg.payload = String(flow.get('work').counted); msg.topic = 'bare/answer'; return msg;";
/// Neither an editor nor a dashboard: a gateway that only works needs less.
const SETTINGS: &str = "module.exports = { httpAdminRoot: false, httpNodeRoot: false, disableEditor: true, \
                        credentialSecret: false, telemetry: { enabled: false }, \
                        logging: { console: { level: 'warn', metrics: false, audit: false } } };";

/// It, with what loads it.
pub(crate) struct NodeRed {
    pub(crate) ears: Ears,
    pub(crate) load: Load,
    process: Process,
    folder: TempDir,
    answers: u64,
    _broker: Broker,
}

/// For each run that is to be measured, if it is there.
pub(crate) fn runs(effort: Effort) -> usize {
    if std::env::var_os(VARIABLE).is_some() { effort.runs } else { 0 }
}

/// The row once more, with Node-RED as the baseline; none if it was not measured.
pub(crate) fn beside(row: &Row, measured: Vec<f64>) -> Option<Row> {
    (!measured.is_empty()).then(|| Row {
        number: row.number,
        what: "the same beside Node-RED, which keeps nothing on disk".to_owned(),
        measured: row.measured,
        unit: row.unit,
        baseline: Some(("Node-RED", Runs::of(measured))),
        aims: vec![Aim::None],
    })
}

impl NodeRed {
    /// Starts it, and makes all properties known to it.
    pub(crate) fn open(mix: Mix, filters: &[&str]) -> Result<NodeRed> {
        let broker = Broker::start()?;
        let ears = Ears::listen(broker.port, &[&["bare/answer"], filters].concat())?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("settings.js"), SETTINGS)?;
        std::fs::write(folder.path().join("flows.json"), flow(broker.port, mix.qos).to_string())?;
        let load = Load::new(broker.port, mix)?;
        let process = start(&folder)?;
        let mut node_red = NodeRed { ears, load, process, folder, answers: 0, _broker: broker };
        node_red.until_answer().context("Node-RED does not start")?;
        node_red.load.introduce()?;
        node_red.until_counted(mix.properties)?;
        Ok(node_red)
    }

    /// Processor time per message, in microseconds. All of them have to be judged.
    pub(crate) fn cost(&mut self, rate: u64, warm_up: Duration, length: Duration) -> Result<f64> {
        self.load.run(rate, warm_up)?;
        self.until_counted(self.load.sent())?;
        let (sent, before) = (self.load.sent(), meters::processor_time(self.process.id())?);
        self.load.run(rate, length)?;
        self.until_counted(self.load.sent())?;
        let spent = meters::processor_time(self.process.id())? - before;
        Ok(spent.as_secs_f64() * 1e6 / (self.load.sent() - sent) as f64)
    }

    pub(crate) fn memory(&self) -> Result<u64> {
        meters::memory(self.process.id())
    }

    /// Asks behind everything that was sent, and waits until it has judged that; it has to be so many messages.
    pub(crate) fn until_counted(&mut self, messages: u64) -> Result<()> {
        self.load.send("bare/ask", "")?;
        self.until_answer()?;
        let counted = self.ears.answer();
        ensure!(counted == messages, "Node-RED has judged {counted} of {messages}");
        Ok(())
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.terminate()
    }

    /// Again, with the session that waits in the broker.
    pub(crate) fn launch(&mut self) -> Result<()> {
        self.process = start(&self.folder)?;
        Ok(())
    }

    /// The next one, or that it has subscribed.
    pub(crate) fn until_answer(&mut self) -> Result<()> {
        self.answers += 1;
        self.ears.until_mark(self.answers).map(|_| ())
    }
}

fn start(folder: &TempDir) -> Result<Process> {
    let program = std::env::var(VARIABLE).context(VARIABLE)?;
    let folder = folder.path().to_string_lossy();
    Process::subject("node", &[&program, "--userDir", &folder, "flows.json"])
}

/// The file of flows. The node of the broker says `bare/answer` when it has subscribed, as the bare subscriber does.
fn flow(port: u16, qos: u8) -> Value {
    let hears = |id: &str, topic: &str, qos: u8, to: &str| {
        json!({ "id": id, "type": "mqtt in", "z": "tab", "broker": "broker", "topic": topic, "qos": qos.to_string(),
            "datatype": "utf8", "inputs": 0, "wires": [[to]] })
    };
    let function = |id: &str, code: &str, begin: &str| {
        json!({ "id": id, "type": "function", "z": "tab", "func": code, "initialize": begin, "finalize": "",
            "outputs": 1, "libs": [], "wires": [["says"]] })
    };
    json!([
        { "id": "tab", "type": "tab", "label": "alarms" },
        { "id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": port.to_string(),
            "clientid": "node-red", "protocolVersion": "4", "keepalive": "60", "autoConnect": true, "usetls": false,
            "cleansession": qos == 0, "autoUnsubscribe": false,
            "birthTopic": "bare/answer", "birthPayload": "0", "birthQos": "0", "birthRetain": "false" },
        hears("values", "plant/#", qos, "judge"),
        function("judge", JUDGE, BEGIN),
        hears("asked", "bare/ask", 1, "counted"),
        function("counted", COUNTED, ""),
        { "id": "says", "type": "mqtt out", "z": "tab", "broker": "broker", "topic": "", "qos": "", "retain": "",
            "wires": [] },
    ])
}
