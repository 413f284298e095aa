//! Counts in slots of equal length, of which only the latest are kept.

/// The latest `N` slots of a count. Slots have numbers that rise with time.
#[derive(Debug, Clone)]
pub(super) struct Ring<const N: usize> {
    slots: [u32; N],
    latest: i64,
}

impl<const N: usize> Ring<N> {
    /// Empty slots up to this one.
    pub(super) fn new(latest: i64) -> Ring<N> {
        Ring { slots: [0; N], latest }
    }

    /// Time goes on to this slot: what is too old is forgotten.
    pub(super) fn advance(&mut self, slot: i64) {
        if slot.saturating_sub(self.latest) >= length(N) {
            self.slots = [0; N];
            self.latest = slot;
        }
        while self.latest < slot {
            self.latest += 1;
            self.slots[place::<N>(self.latest)] = 0;
        }
    }

    /// Adds to the latest slot.
    pub(super) fn add(&mut self, count: u32) {
        let slot = &mut self.slots[place::<N>(self.latest)];
        *slot = slot.saturating_add(count);
    }

    /// The latest slot becomes this, if it was less.
    pub(super) fn raise(&mut self, count: u32) {
        let slot = &mut self.slots[place::<N>(self.latest)];
        *slot = count.max(*slot);
    }

    /// All slots together.
    pub(super) fn total(&self) -> u64 {
        self.slots.iter().map(|count| u64::from(*count)).sum()
    }

    /// The highest of them.
    pub(super) fn highest(&self) -> u32 {
        self.slots.iter().copied().max().unwrap_or(0)
    }
}

fn length(slots: usize) -> i64 {
    i64::try_from(slots).unwrap_or(i64::MAX)
}

fn place<const N: usize>(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(length(N))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_slots_count() {
        let mut ring = Ring::<3>::new(-1);
        for slot in [-1, 0, 1, 2] {
            ring.advance(slot);
            ring.add(1);
        }
        assert_eq!(ring.total(), 3);
        ring.raise(7);
        assert_eq!((ring.highest(), ring.total()), (7, 9));
        ring.advance(4);
        assert_eq!(ring.total(), 7, "slot 2 is still there");
        ring.advance(i64::MAX);
        assert_eq!(ring.total(), 0);
    }
}
