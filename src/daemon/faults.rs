//! Inputs that could not be used: counted by topic and reason until they are reported.

use crate::api::status;
use crate::ingest::router::Fault;
use std::collections::BTreeMap;

/// Different faults that are told apart between two reports; of further ones only the number is kept.
const KINDS: usize = 100;

/// What has gone wrong since the last report.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    fresh: Vec<Fault>,
    counted: BTreeMap<Fault, u64>,
    more: u64,
}

impl FaultLog {
    /// Where new faults are put; [`FaultLog::settle`] counts them.
    pub(super) fn inlet(&mut self) -> &mut Vec<Fault> {
        &mut self.fresh
    }

    /// Counts what was put in. Returns how many there were.
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

    /// The payload of a report. Counting begins anew.
    pub(super) fn report(&mut self) -> Vec<u8> {
        let counted: Vec<(Fault, u64)> = std::mem::take(&mut self.counted).into_iter().collect();
        status::faults(&counted, std::mem::take(&mut self.more))
    }
}
