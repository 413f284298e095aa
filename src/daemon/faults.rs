//! Inputs that could not be used: counted by topic and reason until they are reported.

use crate::api::status;
use crate::ingest::router::Fault;
use std::collections::BTreeMap;

/// Maximum number of different faults between two reports; further ones are counted together.
const KINDS: usize = 100;

/// The faults since the last report.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    fresh: Vec<Fault>,
    counted: BTreeMap<Fault, u64>,
    more: u64,
}

impl FaultLog {
    /// The list to which new faults are added; [`FaultLog::settle`] counts them.
    pub(super) fn inlet(&mut self) -> &mut Vec<Fault> {
        &mut self.fresh
    }

    /// Counts the added faults and returns their number.
    pub(super) fn settle(&mut self) -> u64 {
        let fresh = self.fresh.len() as u64;
        for fault in self.fresh.drain(..) {
            if let Some(count) = self.counted.get_mut(&fault) {
                *count += 1;
            } else if self.counted.len() < KINDS {
                tracing::warn!(topic = %fault.topic, reason = fault.reason, "input cannot be used");
                self.counted.insert(fault, 1);
            } else {
                self.more += 1;
            }
        }
        fresh
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// The payload of a report. The counters begin anew.
    pub(super) fn report(&mut self) -> Vec<u8> {
        let counted: Vec<(Fault, u64)> = std::mem::take(&mut self.counted).into_iter().collect();
        status::faults(&counted, std::mem::take(&mut self.more))
    }
}
