//! `annunciator check --online`: whether what the configuration names is there and lets us in.

use crate::cli::{Failure, say};
use crate::config::Config;
use crate::io::mqtt::visit::visit;
use crate::io::send::rehearsal::{Finding, rehearse};
use std::io::Write as _;
use std::path::Path;

/// Tries everything, says what came of it, and fails if something is wrong.
pub(super) fn run(config: &Config, file: &Path, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut findings = broker(config).await;
        findings.extend(rehearse(&config.reactions, &config.actions).await);
        findings
    });
    let mut wrong = 0;
    for Finding { what, result } in &findings {
        wrong += usize::from(result.is_err());
        match (result, json) {
            (Ok(seen), false) => say(&format!("{what}: fine: {seen}")),
            (Err(error), false) => say(&format!("{what}: error: {error}")),
            (Ok(_), true) => {}
            (Err(error), true) => {
                let line = serde_json::json!({
                    "file": file.display().to_string(), "line": 1, "column": 1, "severity": "error",
                    "message": format!("{what}: {error}"),
                });
                writeln!(std::io::stdout(), "{line}")?;
            }
        }
    }
    if wrong == 0 { Ok(()) } else { Err(Failure::Run(anyhow::anyhow!("{wrong} of {} were not fine", findings.len()))) }
}

/// The broker: whether it lets us in, lets us hear everything, and lets us publish what the daemon publishes.
async fn broker(config: &Config) -> Vec<Finding> {
    let (mqtt, topics) = (&config.mqtt, &config.gateway.topics);
    let server = format!("broker {}:{}", mqtt.host, mqtt.port);
    let mut filters: Vec<(String, u8)> =
        config.sources.iter().flat_map(|source| source.filters().map(|filter| (filter, source.qos))).collect();
    filters.extend(topics.commands().into_iter().map(|filter| (filter, 1)));
    let own = topics.samples();
    let visit = match visit(mqtt, &filters, &own).await {
        Ok(visit) => visit,
        Err(error) => return vec![Finding::new(server, Err(error))],
    };
    let mut findings = Vec::new();
    for filter in visit.refused.iter().filter(|filter| !own.contains(filter)) {
        let error = format!("it refuses the subscription to {filter}: allow to read it");
        findings.push(Finding::new(&server, Err(error)));
    }
    let probe = topics.probe();
    if visit.unheard.contains(&probe) {
        let error = format!("what is published on {probe} does not come back: allow to write and to read it");
        findings.push(Finding::new(&server, Err(error)));
    }
    if findings.is_empty() {
        let unknown: Vec<&str> = visit.unheard.iter().map(String::as_str).collect();
        let written = match unknown.as_slice() {
            [] => "own topics can be written and read".to_owned(),
            // To write them is enough for the daemon, but a broker tells that only to who may read them, too.
            unknown => {
                format!("whether {} can be written cannot be seen, because they may not be read", unknown.join(", "))
            }
        };
        findings.push(Finding::new(server, Ok(format!("connected, {} subscriptions, {written}", filters.len()))));
    }
    findings
}
