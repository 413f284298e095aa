//! Times that are no evidence, as the world knows them: the daemon was down, not connected, or did not run; or it
//! withheld acknowledgements for so long that what was published then may wait at the broker.

/// A stop, or acknowledgements withheld, of this length need not be noticed.
const NOTICED: i64 = 3_000_000;
/// The daemon may measure by so much more or less.
const UNSURE: i64 = 500_000;

/// How often the daemon looks whether it runs.
const BEAT: i64 = 1_000_000;

/// A time from one moment to another, in microseconds since the world began.
pub(super) type Interval = (i64, i64);

/// What the world has noted.
#[derive(Debug, Default)]
pub(super) struct Outages {
    down: Vec<Interval>,
    /// Times in which nothing ran.
    stalls: Vec<Interval>,
    /// Times from the arrival of a message to its acknowledgement.
    withheld: Vec<Interval>,
    /// The same of probes.
    withheld_probes: Vec<Interval>,
    /// Times in which proof had to wait.
    waits: Vec<Interval>,
    /// The ways of the daemon's probes: published at the broker, back at the daemon.
    probes: Vec<Interval>,
    /// Times in which the disk was at work.
    pub(super) writes: Vec<Interval>,
    pub(super) crashes: Vec<i64>,
}

/// The same, ready to be asked.
#[derive(Debug)]
pub(super) struct Evidence {
    /// Times that are no evidence.
    gaps: Vec<Interval>,
    /// The same, with those that the daemon may take for one.
    possible_gaps: Vec<Interval>,
    /// The same, with the time after withheld acknowledgements until a probe has proved that nothing waits any more.
    proven_gaps: Vec<Interval>,
    /// The same, with those in which proof had to wait.
    disturbances: Vec<Interval>,
    /// Times in which the daemon could not write: nothing ran, or the disk was busy.
    busy: Vec<Interval>,
    pub(super) crashes: Vec<i64>,
}

/// The same intervals in order, those that overlap or touch as one.
fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable();
    let mut merged: Vec<Interval> = Vec::new();
    for (start, end) in intervals {
        match merged.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            Some(_) | None => merged.push((start, end)),
        }
    }
    merged
}

/// How much of a time lies in these intervals.
fn overlap(intervals: &[Interval], from: i64, to: i64) -> i64 {
    intervals.iter().map(|(start, end)| (to.min(*end) - from.max(*start)).max(0)).sum()
}

impl Outages {
    pub(super) fn begin(&mut self, at: i64) {
        match self.down.last_mut().filter(|(_, end)| *end == i64::MAX) {
            // One that begins when what is on the line has arrived may begin sooner.
            Some((start, _)) => *start = (*start).min(at),
            None => self.down.push((at, i64::MAX)),
        }
    }

    pub(super) fn crash(&mut self, at: i64) {
        self.crashes.push(at);
        self.begin(at);
    }

    pub(super) fn end(&mut self, at: i64) {
        if let Some((_, end)) = self.down.last_mut() {
            *end = (*end).min(at);
        }
    }

    /// The machine stood still.
    pub(super) fn stalled(&mut self, from: i64, to: i64) {
        self.stalls.push((from, to));
    }

    /// A message came then and was not acknowledged until now. A probe alone holds up nothing that matters, as long as
    /// others come; but the daemon may think so.
    pub(super) fn withheld(&mut self, from: i64, to: i64, is_probe: bool) {
        let list = if is_probe { &mut self.withheld_probes } else { &mut self.withheld };
        if to - from > NOTICED - UNSURE && list.last() != Some(&(from, to)) {
            list.push((from, to));
        }
    }

    /// Whether proof has to wait now, for what waits at the broker before it, or because probes do not come back at all.
    pub(super) fn proof_waits(&mut self, waits: bool, now: i64) {
        match self.waits.last_mut().filter(|(_, end)| *end == i64::MAX) {
            Some((_, end)) if !waits => *end = now,
            None if waits => self.waits.push((now, i64::MAX)),
            Some(_) | None => {}
        }
    }

    /// A probe that reached the broker at a moment is back.
    pub(super) fn probe_returned(&mut self, published: i64, now: i64) {
        self.probes.push((published, now));
    }

    /// The latest moment at which a gap ends that withheld acknowledgements began: the daemon waits for a probe that was
    /// sent afterwards, and if it came into a standstill for one more; or for the next connection.
    fn proven_by(&self, acknowledged: i64) -> i64 {
        let returned = self.probes.iter().filter(|(published, _)| *published >= acknowledged).map(|(_, back)| *back);
        let lost = self.down.iter().filter(|(since, _)| *since >= acknowledged).map(|(_, end)| *end).min();
        returned.take(2).max().unwrap_or(i64::MAX).min(lost.unwrap_or(i64::MAX))
    }

    /// How often there was no connection.
    pub(super) fn losses(&self) -> usize {
        self.down.len().saturating_sub(self.crashes.len())
    }

    /// How often acknowledgements were withheld for so long that the daemon has to notice.
    pub(super) fn hold_ups(&self) -> usize {
        self.withheld.iter().filter(|(from, to)| to - from > NOTICED + UNSURE).count()
    }

    pub(super) fn evidence(&self) -> Evidence {
        let long = |intervals: &[Interval], length: i64| -> Vec<Interval> {
            intervals.iter().filter(|(from, to)| to - from > length).copied().collect()
        };
        let of = |unsure: i64| {
            let stalls = long(&self.stalls, NOTICED + unsure);
            let mut withheld = long(&self.withheld, NOTICED + unsure);
            // One that meets a stop may count from the stop, which is seen with the accuracy of a beat.
            for (from, to) in withheld.iter_mut().filter(|_| unsure > 0) {
                let stop = stalls.iter().find(|(start, _)| (*from..*to).contains(start)).map(|(start, _)| *start);
                *from = stop.unwrap_or(*from).max(*from + BEAT);
            }
            merged([self.down.clone(), stalls, withheld].concat())
        };
        let busy = merged([self.stalls.clone(), self.writes.clone()].concat());
        let possible_gaps = merged([of(-UNSURE), self.withheld_probes.clone()].concat());
        let proven = possible_gaps.iter().map(|(from, to)| {
            let is_hold_up = self.withheld.iter().chain(&self.withheld_probes).any(|(_, end)| end == to);
            (*from, if is_hold_up { self.proven_by(*to) } else { *to })
        });
        let proven_gaps = merged(proven.collect());
        let disturbances = merged([possible_gaps.clone(), self.waits.clone()].concat());
        Evidence { gaps: of(UNSURE), possible_gaps, proven_gaps, disturbances, busy, crashes: self.crashes.clone() }
    }
}

impl Evidence {
    /// Times that are no evidence.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Interval> {
        self.gaps.iter().copied()
    }

    /// How much of a time is evidence, at most.
    pub(super) fn observed(&self, from: i64, to: i64) -> i64 {
        (to - from).max(0) - overlap(&self.gaps, from, to)
    }

    /// The longest part of a time that is evidence without a break.
    pub(super) fn observed_at_a_stretch(&self, from: i64, to: i64) -> i64 {
        let (mut longest, mut begun) = (0, from);
        for (start, end) in self.gaps.iter().filter(|(start, end)| *end > from && *start < to) {
            longest = longest.max(start - begun);
            begun = begun.max(*end);
        }
        longest.max(to - begun)
    }

    /// Whether the daemon may have taken some of this time for a gap, or may have waited for proof for long.
    pub(super) fn is_disturbed(&self, from: i64, to: i64) -> bool {
        self.disturbances.iter().any(|(start, end)| *end >= from && *start <= to)
    }

    /// The end of the gap in which a moment lies, or the moment.
    pub(super) fn end_of_gap(&self, at: i64) -> i64 {
        let holds = |(start, end): &&Interval| *start <= at && *end > at;
        self.possible_gaps.iter().rfind(holds).map_or(at, |(_, end)| *end)
    }

    /// The end of the last gap that touches a time, with the wait for its proof, or the time's beginning.
    pub(super) fn end_of_gaps(&self, from: i64, to: i64) -> i64 {
        let touches = |(start, end): &&Interval| *start <= to && *end > from;
        self.proven_gaps.iter().rfind(touches).map_or(from, |(_, end)| *end)
    }

    /// Whether there was a crash in this time.
    pub(super) fn has_crash(&self, from: i64, to: i64) -> bool {
        self.crashes.iter().any(|crash| (from..=to).contains(crash))
    }

    /// How much of this time was there to write in.
    pub(super) fn idle(&self, from: i64, to: i64) -> i64 {
        (to - from).max(0) - overlap(&self.busy, from, to)
    }
}
