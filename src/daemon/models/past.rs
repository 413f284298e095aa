//! The values of the past on their way from the store to a background thread: several properties of a thing in one
//! stream, in the order of their times.
//!
//! Blocks are fetched a few at once, between the daemon's own writes, so a long past holds up nothing. The same plans give
//! the same stream as often as it is gone through.

use crate::domain::anomaly::series::Sample;
use crate::io::store::StoreError;
use crate::io::store::keeper::Keeper;
use crate::io::store::samples::reader::{Fetched, Plan, Reader, fetch};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Values between two looks at whether the work is still wanted.
const LOOK: u64 = 1_024;

/// How far some work is, and whether it is still wanted.
#[derive(Debug, Default)]
pub(super) struct Progress {
    cancelled: AtomicBool,
    /// In thousandths.
    done: AtomicU32,
}

impl Progress {
    /// It is not wanted any more.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// From 0 to 1.
    pub(super) fn share(&self) -> f64 {
        f64::from(self.done.load(Ordering::Relaxed)) / 1_000.0
    }

    fn set(&self, share: u64) {
        self.done.store(u32::try_from(share.min(1_000)).unwrap_or(1_000), Ordering::Relaxed);
    }
}

/// Where values are fetched, and how much of the work is done.
pub(super) struct Source<'a> {
    keeper: &'a Keeper,
    progress: &'a Progress,
    total: u64,
    read: Cell<u64>,
    failure: RefCell<Option<StoreError>>,
}

impl<'a> Source<'a> {
    /// A source for work that goes through `total` values.
    pub(super) fn new(keeper: &'a Keeper, progress: &'a Progress, total: u64) -> Source<'a> {
        Source { keeper, progress, total, read: Cell::new(0), failure: RefCell::new(None) }
    }

    /// The values of one thing's properties. Of values of one time, those of the first property come last: it sets the
    /// pace.
    pub(super) fn thing(&self, plans: &[Plan]) -> Merged<'_> {
        Merged { source: self, properties: plans.iter().map(|plan| (plan.reader(), None)).collect() }
    }

    /// Whether all values were there and are wanted; otherwise nothing that was made of them counts.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.progress.is_cancelled() {
            return Err("cancelled".to_owned());
        }
        self.failure.borrow_mut().take().map_or(Ok(()), |error| Err(error.to_string()))
    }

    fn fetch(&self, keys: Vec<Vec<u8>>) -> Result<Fetched, StoreError> {
        self.keeper.wait(move |store| fetch(store, &keys))
    }

    /// Takes note of one value; false: no more are wanted.
    fn count(&self) -> bool {
        let read = self.read.get() + 1;
        self.read.set(read);
        if read.is_multiple_of(LOOK) {
            self.progress.set(read.saturating_mul(1_000) / self.total.max(1));
        }
        !read.is_multiple_of(LOOK) || !self.progress.is_cancelled()
    }
}

/// Values of several properties in one order.
pub(super) struct Merged<'a> {
    source: &'a Source<'a>,
    /// Of each its next value.
    properties: Vec<(Reader, Option<Option<Sample>>)>,
}

impl Iterator for Merged<'_> {
    type Item = (usize, Sample);

    fn next(&mut self) -> Option<(usize, Sample)> {
        if self.source.failure.borrow().is_some() || !self.source.count() {
            return None;
        }
        let source = self.source;
        let mut earliest: Option<(usize, Sample)> = None;
        for (place, (reader, next)) in self.properties.iter_mut().enumerate().rev() {
            if next.is_none() {
                match reader.next(&mut |keys| source.fetch(keys)) {
                    Ok(read) => *next = Some(read),
                    Err(error) => {
                        *source.failure.borrow_mut() = Some(error);
                        return None;
                    }
                }
            }
            if let Some(sample) = next.flatten()
                && earliest.is_none_or(|(_, earliest)| sample.at < earliest.at)
            {
                earliest = Some((place, sample));
            }
        }
        let (place, sample) = earliest?;
        if let Some((_, next)) = self.properties.get_mut(place) {
            *next = None;
        }
        Some((place, sample))
    }
}
