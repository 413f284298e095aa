//! The words of closed lists as they are on disk: a byte each, for ever.
//!
//! A word that is new gets a new byte; a byte that was given out is never given to another word.

use crate::domain::engine::{Cause, State};
use crate::domain::history::DeliveryOutcome;
use crate::domain::model::{AlarmType, Severity};

/// A word that has a byte on disk.
pub(in crate::io::store) trait Code: Copy + PartialEq + 'static {
    /// All words of the list.
    const WORDS: &'static [Self];

    /// The word's byte.
    fn code(self) -> u8;

    /// The word with this byte; none: no word of this release has it.
    fn of(code: u8) -> Option<Self> {
        Self::WORDS.iter().copied().find(|word| word.code() == code)
    }
}

impl Code for AlarmType {
    const WORDS: &'static [AlarmType] = &AlarmType::ALL;

    fn code(self) -> u8 {
        match self {
            AlarmType::Standard => 0,
            AlarmType::Average => 1,
            AlarmType::NoValue => 2,
            AlarmType::Anomaly => 3,
        }
    }
}

impl Code for Severity {
    const WORDS: &'static [Severity] = &Severity::ALL;

    fn code(self) -> u8 {
        match self {
            Severity::Info => 0,
            Severity::Warning => 1,
            Severity::Error => 2,
            Severity::Critical => 3,
        }
    }
}

impl Code for State {
    const WORDS: &'static [State] = &State::ALL;

    fn code(self) -> u8 {
        match self {
            State::Off => 0,
            State::Enabled => 1,
            State::Idled => 2,
            State::Activated => 3,
            State::Acknowledged => 4,
        }
    }
}

impl Code for Cause {
    const WORDS: &'static [Cause] = &Cause::ALL;

    fn code(self) -> u8 {
        match self {
            Cause::Value => 0,
            Cause::ObserveTime => 1,
            Cause::ClearDelay => 2,
            Cause::Command => 3,
            Cause::Config => 4,
            Cause::Anomaly => 5,
        }
    }
}

impl Code for DeliveryOutcome {
    const WORDS: &'static [DeliveryOutcome] = &DeliveryOutcome::ALL;

    fn code(self) -> u8 {
        match self {
            DeliveryOutcome::Delivered => 0,
            DeliveryOutcome::Failed => 1,
            DeliveryOutcome::Dropped => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::store::record::ValueRecord;
    use std::fmt::Debug;

    fn pinned<T: Code + Debug>(wanted: &[(T, u8)]) {
        assert_eq!(wanted.len(), T::WORDS.len(), "each word of the list has a byte");
        for (word, code) in wanted {
            assert_eq!((word.code(), T::of(*code)), (*code, Some(*word)));
        }
        assert_eq!(T::of(u8::MAX), None);
    }

    /// Stores in the field hold these bytes. A test that has to be changed here breaks them.
    #[test]
    fn each_word_has_the_byte_that_stores_have() {
        use AlarmType::{Anomaly, Average, NoValue, Standard};
        pinned(&[(Standard, 0), (Average, 1), (NoValue, 2), (Anomaly, 3)]);
        use Severity::{Critical, Error, Info, Warning};
        pinned(&[(Info, 0), (Warning, 1), (Error, 2), (Critical, 3)]);
        use State::{Acknowledged, Activated, Enabled, Idled, Off};
        pinned(&[(Off, 0), (Enabled, 1), (Idled, 2), (Activated, 3), (Acknowledged, 4)]);
        let causes =
            [Cause::Value, Cause::ObserveTime, Cause::ClearDelay, Cause::Command, Cause::Config, Cause::Anomaly];
        pinned(&causes.into_iter().zip(0..).collect::<Vec<_>>());
        pinned(&[(DeliveryOutcome::Delivered, 0), (DeliveryOutcome::Failed, 1), (DeliveryOutcome::Dropped, 2)]);
    }

    #[test]
    fn values_are_told_apart_by_the_byte_that_stores_have() {
        let values = [ValueRecord::Number(0.0), ValueRecord::Boolean(true), ValueRecord::Text("x".to_owned())];
        let first = |value: &ValueRecord| postcard::to_allocvec(value).unwrap()[0];
        assert_eq!(values.iter().map(first).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
