//! Which delivery is attempted now, and what a failure means for it: a function of outcomes and time.
//!
//! Every reaction has a lane of its own, so one that is down delays no other. In a lane the deliveries of one alarm leave
//! in order, and those of different alarms side by side, as many as `concurrency` allows. What fails for now is tried
//! again after a pause that doubles, 1 s to 5 min, with jitter; what cannot be reached at all is a destination's fault:
//! after some failures in a row only one attempt at a time asks whether it is back. What never works, what is too late
//! and what there is no room for is dropped, and that is reported: nothing disappears in silence.
//!
//! It sends nothing and reads no disk. The caller stores what [`Queue::changes`] names before it lets a delivery begin.

mod backlog;
mod destination;
mod report;

pub use report::{Counters, DeliveryEnd, Report, Settled, Start};

use super::delivery::{Delivery, Kind, Outcome};
use super::{ReactionIx, Reactions, Terms};
use crate::domain::model::AlarmId;
use crate::domain::time::{Moment, Span};
use destination::{Destination, pause};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The longest time for which another side may ask us to stay away. More is a mistake there.
const LONGEST_RETRY_AFTER: Span = Span::from_secs(3_600);

/// Bytes of all deliveries that wait: some tens of thousands of usual length. It is a small part of what the daemon may take
/// (`MemoryMax` of its unit), because the store holds what was changed of them, too.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Messages that a reaction may publish into the daemon's own sources within [`FEEDS_WITHIN`], unless it says another
/// rate. An alarm that activates itself does so a thousand times a second; what people mean by it happens now and then.
pub(crate) const FEEDS: usize = 60;
const FEEDS_WITHIN: Span = Span::from_secs(60);

/// Why a delivery goes whose reaction has gone.
const NOT_CONFIGURED: &str = "the reaction is not configured any more";

#[derive(Debug)]
struct Item {
    delivery: Arc<Delivery>,
    attempts: u32,
    not_before: Moment,
    in_flight: bool,
}

/// The deliveries of one reaction.
#[derive(Debug, Default)]
struct Lane {
    /// By alarm, in order; the first of each may begin.
    of_alarms: BTreeMap<AlarmId, VecDeque<u64>>,
    /// Those that may begin, from when on.
    ready: BTreeSet<(Moment, u64)>,
    /// All of them, by when they were due.
    dues: BTreeSet<(Moment, u64)>,
    in_flight: usize,
    waiting: usize,
    /// Bytes of those that wait.
    bytes: usize,
    /// When the latest deliveries began, for the rate.
    began: VecDeque<Moment>,
    /// Whether a message of it went to a topic that a source reads, though no sample had shown that.
    has_fed: bool,
    trouble: Option<String>,
}

impl Lane {
    /// Forgets when deliveries began that do not count any more.
    fn forget_before(&mut self, now: Moment, within: Span) {
        while self.began.front().is_some_and(|began| *began + within <= now) {
            self.began.pop_front();
        }
    }
}

/// All deliveries that wait.
#[derive(Debug, Default)]
pub struct Queue {
    items: BTreeMap<u64, Item>,
    lanes: BTreeMap<ReactionIx, Lane>,
    destinations: BTreeMap<String, Destination>,
    /// By a delivery, those that it tells of, too, and those that make no sense without it.
    followers: BTreeMap<u64, BTreeSet<u64>>,
    next: u64,
    /// Bytes of all deliveries.
    bytes: usize,
    /// Numbers that are not on disk as they are, or that are and should not be.
    unsaved: BTreeSet<u64>,
    reports: Vec<Report>,
    settled: Vec<Settled>,
    counters: Counters,
}

impl Queue {
    /// The number that the next delivery will have.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Takes back what was stored.
    pub fn restore(&mut self, next: u64, deliveries: Vec<(u64, Delivery)>) {
        self.next = self.next.max(next);
        for (number, delivery) in deliveries {
            self.next = self.next.max(number + 1);
            self.insert(number, delivery);
        }
        let is_alone = |item: &Item| item.delivery.told_by.is_some_and(|head| !self.items.contains_key(&head));
        let alone: Vec<u64> = self.items.iter().filter(|(_, item)| is_alone(item)).map(|(number, _)| *number).collect();
        alone.into_iter().for_each(|number| self.speak_alone(number));
    }

    /// Takes a delivery. Its number, unless it was dropped at once.
    pub fn push(&mut self, delivery: Delivery, reactions: &Reactions) -> Option<u64> {
        let number = self.next;
        self.next += 1;
        if delivery.after.is_some_and(|after| !self.items.contains_key(&after)) {
            self.report_drop(&Arc::new(delivery), 0, "its activation was not delivered", false);
            return None;
        }
        let ix = delivery.reaction;
        self.insert(number, delivery);
        self.unsaved.insert(number);
        let most = reactions.get(ix).map_or(usize::MAX, |reaction| reaction.terms.queue_max);
        if self.lanes.get(&ix).is_some_and(|lane| lane.waiting > most) {
            self.drop_oldest(ix, &format!("more than {most} were waiting (queue_max)"));
        }
        self.make_room();
        self.items.contains_key(&number).then_some(number)
    }

    fn insert(&mut self, number: u64, delivery: Delivery) {
        for leader in [delivery.told_by, delivery.after].into_iter().flatten() {
            self.followers.entry(leader).or_default().insert(number);
        }
        let lane = self.lanes.entry(delivery.reaction).or_default();
        let of_alarm = lane.of_alarms.entry(delivery.alarm.clone()).or_default();
        of_alarm.push_back(number);
        lane.waiting += 1;
        let bytes = delivery.bytes();
        lane.bytes += bytes;
        self.bytes += bytes;
        lane.dues.insert((delivery.due, number));
        if of_alarm.len() == 1 && delivery.told_by.is_none() {
            lane.ready.insert((Moment::default(), number));
        }
        let item = Item { delivery: Arc::new(delivery), attempts: 0, not_before: Moment::default(), in_flight: false };
        self.items.insert(number, item);
    }

    /// Drops the oldest delivery of a reaction that is not on its way. False: there is none.
    fn drop_oldest(&mut self, ix: ReactionIx, why: &str) -> bool {
        let idle = |number: &u64| self.items.get(number).is_some_and(|item| !item.in_flight);
        let oldest = self.lanes.get(&ix).and_then(|lane| lane.dues.iter().map(|(_, number)| *number).find(idle));
        if let Some(number) = oldest {
            self.drop(number, why, true);
        }
        oldest.is_some()
    }

    /// Keeps all deliveries together within [`MAX_BYTES`]: the reaction with the most bytes loses its oldest ones. What is on
    /// its way stays; it is little, because so few may be at one time.
    fn make_room(&mut self) {
        let why = format!("more than {} MiB were waiting", MAX_BYTES >> 20);
        while self.bytes > MAX_BYTES {
            let mut lanes: Vec<(usize, ReactionIx)> = self.lanes.iter().map(|(ix, lane)| (lane.bytes, *ix)).collect();
            lanes.sort_unstable_by(|one, other| other.cmp(one));
            if !lanes.into_iter().any(|(_, ix)| self.drop_oldest(ix, &why)) {
                return;
            }
        }
    }

    /// A repeat is of no use any more. What is on its way, or is not a repeat, stays.
    pub fn withdraw(&mut self, number: u64) {
        let is_useless = |item: &Item| matches!(item.delivery.kind, Kind::Repeat(_)) && !item.in_flight;
        if self.items.get(&number).is_some_and(is_useless) {
            self.drop(number, "it is not needed any more: the alarm has changed", false);
        }
    }

    /// What may begin at `now`. Call it before the write, hand the attempts over after it: what they gather into a
    /// digest has to be on disk. `is_reachable` says whether MQTT messages can be sent.
    pub fn begin(&mut self, now: Moment, reactions: &Reactions, is_link_up: bool) -> Vec<Start> {
        let mut starts = Vec::new();
        let lanes: Vec<ReactionIx> = self.lanes.keys().copied().collect();
        for ix in lanes {
            match reactions.get(ix) {
                Some(_) => self.begin_lane(ix, now, reactions, is_link_up, &mut starts),
                None => {
                    while let Some(number) = self.first_of(ix) {
                        self.drop(number, NOT_CONFIGURED, true);
                    }
                }
            }
        }
        starts
    }

    fn first_of(&self, ix: ReactionIx) -> Option<u64> {
        self.lanes.get(&ix)?.of_alarms.values().find_map(|numbers| numbers.front().copied())
    }

    fn begin_lane(
        &mut self,
        ix: ReactionIx,
        now: Moment,
        reactions: &Reactions,
        is_link_up: bool,
        starts: &mut Vec<Start>,
    ) {
        let Some(reaction) = reactions.get(ix).cloned() else { return };
        let terms = &reaction.terms;
        let destination = reaction.destination.clone();
        self.expire(ix, now, terms.valid_for, terms.give_up);
        if reaction.destination.is_none() && !is_link_up {
            return;
        }
        loop {
            let Some(lane) = self.lanes.get_mut(&ix) else { return };
            if lane.in_flight >= terms.concurrency {
                return;
            }
            let Some((_, number)) = lane.ready.first().filter(|(at, _)| *at <= now).copied() else { return };
            let known = destination.as_ref().map(|name| self.destinations.entry(name.clone()).or_default());
            if known.is_some_and(|known| !known.is_open(now)) {
                return;
            }
            let is_retry = self.items.get(&number).is_some_and(|item| item.attempts > 0);
            let is_feeding = terms.feeds_sources || lane.has_fed;
            if let (Some((most, within)), false) = (rate_of(terms, is_feeding), is_retry) {
                lane.forget_before(now, within);
                if lane.began.len() >= most && is_feeding {
                    let why = format!("it feeds the daemon's own sources, more than {most} times in {within}: a loop?");
                    self.drop(number, &why, true);
                    continue;
                }
                if lane.began.len() >= most {
                    return;
                }
                lane.began.push_back(now);
                // The last one before the limit tells of all that wait behind it.
                if lane.began.len() == most && !is_feeding && reaction.tells_of_others {
                    self.gather(ix, number);
                }
            }
            if let Some(known) = destination.as_ref().and_then(|name| self.destinations.get_mut(name)) {
                known.began();
            }
            starts.extend(self.start(number));
        }
    }

    /// Counts a test among those that have begun.
    ///
    /// # Errors
    /// There were as many as the reaction's rate allows.
    pub fn test(&mut self, ix: ReactionIx, now: Moment, terms: &Terms) -> Result<(), String> {
        let lane = self.lanes.entry(ix).or_default();
        let Some((most, within)) = rate_of(terms, terms.feeds_sources || lane.has_fed) else { return Ok(()) };
        lane.forget_before(now, within);
        match lane.began.front() {
            Some(first) if lane.began.len() >= most => {
                let wait = *first + within - now;
                Err(format!("{most} have begun within {within}, which is its rate_limit: try again in {wait}"))
            }
            _ => {
                lane.began.push_back(now);
                Ok(())
            }
        }
    }

    fn start(&mut self, number: u64) -> Option<Start> {
        let item = self.items.get_mut(&number)?;
        let lane = self.lanes.get_mut(&item.delivery.reaction)?;
        lane.ready.remove(&(item.not_before, number));
        lane.in_flight += 1;
        item.in_flight = true;
        self.counters.retried += u64::from(item.attempts > 0);
        item.attempts += 1;
        let delivery = item.delivery.clone();
        let told = self.told_by(number);
        let digest = told.iter().filter_map(|other| Some(self.items.get(other)?.delivery.clone())).collect();
        Some(Start { number, delivery, digest })
    }

    /// Makes one delivery tell of all others in its lane that have not been attempted.
    fn gather(&mut self, ix: ReactionIx, head: u64) {
        let Some(lane) = self.lanes.get_mut(&ix) else { return };
        for (number, item) in &mut self.items {
            let fits = item.delivery.reaction == ix && *number != head && !item.in_flight && item.attempts == 0;
            let can_be_told = item.delivery.told_by.is_none() && item.delivery.kind != Kind::Clear;
            if fits && can_be_told {
                Arc::make_mut(&mut item.delivery).told_by = Some(head);
                self.followers.entry(head).or_default().insert(*number);
                lane.ready.remove(&(item.not_before, *number));
                self.unsaved.insert(*number);
            }
        }
    }

    /// Drops what is too late.
    fn expire(&mut self, ix: ReactionIx, now: Moment, valid_for: Option<Span>, give_up: Span) {
        let limit = valid_for.map_or(give_up, |valid| valid.min(give_up));
        let Some(lane) = self.lanes.get(&ix) else { return };
        let late: Vec<u64> = lane.dues.iter().take_while(|(due, _)| now - *due > limit).map(|(_, n)| *n).collect();
        let why = match valid_for {
            Some(valid) if valid <= give_up => format!("it is too late: it was valid for {valid}"),
            Some(_) | None => format!("given up after {give_up}"),
        };
        for number in late {
            if self.items.get(&number).is_some_and(|item| !item.in_flight) {
                self.drop(number, &why, true);
            }
        }
    }

    /// An attempt has ended.
    pub fn ended(&mut self, number: u64, outcome: Outcome, now: Moment, reactions: &Reactions) {
        let Some(item) = self.items.get_mut(&number) else { return };
        let (delivery, attempt) = (item.delivery.clone(), item.attempts);
        item.in_flight = false;
        if let Some(lane) = self.lanes.get_mut(&delivery.reaction) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        let reaction = reactions.get(delivery.reaction);
        let destination = reaction.and_then(|reaction| reaction.destination.clone());
        let unreachable = matches!(outcome, Outcome::Later { unreachable: true, .. });
        if let Some(known) = destination.and_then(|name| self.destinations.get_mut(&name)) {
            known.ended(unreachable, now, &delivery.id);
        }
        match outcome {
            Outcome::Taken { answer, warnings } => self.taken(number, answer, warnings),
            Outcome::Refused { reason } => self.drop(number, &reason, true),
            Outcome::Partly { done, reason } => {
                if let Some(item) = self.items.get_mut(&number) {
                    Arc::make_mut(&mut item.delivery).done = done;
                    self.unsaved.insert(number);
                }
                self.later(number, attempt, reason, None, now);
            }
            Outcome::Later { reason, retry_after, .. } => {
                let retry_after = retry_after.and_then(|secs| i64::try_from(secs).ok()).map(Span::from_secs);
                self.later(
                    number,
                    attempt,
                    reason,
                    retry_after.map(|retry_after| retry_after.min(LONGEST_RETRY_AFTER)),
                    now,
                );
            }
        }
        // What was late meanwhile is dropped at once and not after the next pause.
        if let Some(reaction) = reaction {
            self.expire(delivery.reaction, now, reaction.terms.valid_for, reaction.terms.give_up);
        }
    }

    fn later(&mut self, number: u64, attempt: u32, reason: String, retry_after: Option<Span>, now: Moment) {
        let Some(item) = self.items.get_mut(&number) else { return };
        let wait = pause(attempt.saturating_sub(1), &item.delivery.id).max(retry_after.unwrap_or_default());
        item.not_before = now + wait;
        let (delivery, retry_at) = (item.delivery.clone(), item.not_before);
        self.counters.failed += 1;
        if let Some(lane) = self.lanes.get_mut(&delivery.reaction) {
            lane.ready.insert((retry_at, number));
            lane.trouble = Some(reason.clone());
        }
        self.reports.push(Report { delivery, attempt, outcome: DeliveryEnd::Failed { reason, retry_at } });
    }

    fn taken(&mut self, number: u64, answer: String, warnings: Vec<String>) {
        let told = self.told_by(number);
        let Some(item) = self.remove(number, true) else { return };
        if let Some(lane) = self.lanes.get_mut(&item.delivery.reaction) {
            lane.trouble = warnings.first().cloned();
        }
        self.counters.delivered += 1;
        let id = item.delivery.id.clone();
        self.reports.push(Report {
            delivery: item.delivery,
            attempt: item.attempts,
            outcome: DeliveryEnd::Delivered { answer, warnings },
        });
        for other in told {
            if let Some(item) = self.remove(other, true) {
                self.counters.delivered += 1;
                let outcome =
                    DeliveryEnd::Delivered { answer: format!("told together with {id}"), warnings: Vec::new() };
                self.reports.push(Report { delivery: item.delivery, attempt: item.attempts, outcome });
            }
        }
    }

    fn drop(&mut self, number: u64, reason: &str, is_loss: bool) {
        let (orphans, dependents) = (self.told_by(number), self.after(number));
        let Some(item) = self.remove(number, false) else { return };
        self.report_drop(&item.delivery, item.attempts, reason, is_loss);
        // Whom it would have told of, they go on alone.
        for orphan in orphans {
            self.speak_alone(orphan);
        }
        for dependent in dependents {
            self.drop(dependent, "its activation was not delivered", false);
        }
    }

    /// The deliveries that this one tells of, too.
    fn told_by(&self, number: u64) -> Vec<u64> {
        self.following(number, |delivery| delivery.told_by == Some(number))
    }

    /// The deliveries that make no sense without this one.
    fn after(&self, number: u64) -> Vec<u64> {
        self.following(number, |delivery| delivery.after == Some(number))
    }

    fn following(&self, number: u64, fits: impl Fn(&Delivery) -> bool) -> Vec<u64> {
        let followers = self.followers.get(&number).into_iter().flatten().copied();
        followers.filter(|follower| self.items.get(follower).is_some_and(|item| fits(&item.delivery))).collect()
    }

    /// Nobody else tells of it any more.
    fn speak_alone(&mut self, number: u64) {
        let Some(item) = self.items.get_mut(&number) else { return };
        Arc::make_mut(&mut item.delivery).told_by = None;
        let ix = item.delivery.reaction;
        self.unsaved.insert(number);
        self.make_ready(ix, number);
    }

    fn report_drop(&mut self, delivery: &Arc<Delivery>, attempt: u32, reason: &str, is_loss: bool) {
        if is_loss {
            self.counters.dropped += 1;
            if let Some(lane) = self.lanes.get_mut(&delivery.reaction) {
                lane.trouble = Some(format!("{} was dropped: {reason}", delivery.id));
            }
        }
        let outcome = DeliveryEnd::Dropped { reason: reason.to_owned(), is_loss };
        self.reports.push(Report { delivery: delivery.clone(), attempt, outcome });
    }

    /// Takes a delivery out; the next one of its alarm may begin.
    fn remove(&mut self, number: u64, delivered: bool) -> Option<Item> {
        let item = self.items.remove(&number)?;
        self.unsaved.insert(number);
        let Delivery { reaction, alarm, .. } = &*item.delivery;
        self.settled.push(Settled { course: (alarm.clone(), *reaction), number, delivered });
        if let Some(lane) = self.lanes.get_mut(reaction) {
            let bytes = item.delivery.bytes();
            lane.waiting = lane.waiting.saturating_sub(1);
            lane.bytes = lane.bytes.saturating_sub(bytes);
            self.bytes = self.bytes.saturating_sub(bytes);
            lane.ready.remove(&(item.not_before, number));
            lane.dues.remove(&(item.delivery.due, number));
            if let Some(of_alarm) = lane.of_alarms.get_mut(alarm) {
                of_alarm.retain(|other| *other != number);
                let next = of_alarm.front().copied();
                if of_alarm.is_empty() {
                    lane.of_alarms.remove(alarm);
                }
                if let Some(next) = next {
                    self.make_ready(*reaction, next);
                }
            }
        }
        for dependent in if delivered { self.after(number) } else { Vec::new() } {
            if let Some(other) = self.items.get_mut(&dependent) {
                Arc::make_mut(&mut other.delivery).after = None;
                self.unsaved.insert(dependent);
            }
        }
        self.followers.remove(&number);
        Some(item)
    }

    /// Lets a delivery begin if it is the first of its alarm and nobody else tells of it.
    fn make_ready(&mut self, ix: ReactionIx, number: u64) {
        let (Some(item), Some(lane)) = (self.items.get(&number), self.lanes.get_mut(&ix)) else { return };
        let is_first = lane.of_alarms.get(&item.delivery.alarm).is_some_and(|of| of.front() == Some(&number));
        if is_first && !item.in_flight && item.delivery.told_by.is_none() {
            lane.ready.insert((item.not_before, number));
        }
    }

    /// When something may begin next, or is too late; none: nothing waits for time.
    pub fn next_due(&self, reactions: &Reactions, is_link_up: bool) -> Option<Moment> {
        let of_lane = |(ix, lane): (&ReactionIx, &Lane)| {
            let reaction = reactions.get(*ix)?;
            let terms = &reaction.terms;
            let limit = terms.valid_for.map_or(terms.give_up, |valid| valid.min(terms.give_up));
            // What is on its way is looked at when it comes back.
            let idle = |number: &u64| self.items.get(number).is_some_and(|item| !item.in_flight);
            let oldest = lane.dues.iter().find(|(_, number)| idle(number));
            let late = oldest.map(|(due, _)| *due + limit + Span::from_micros(1));
            let is_closed = reaction.destination.is_none() && !is_link_up;
            let mut begin =
                lane.ready.first().map(|(at, _)| *at).filter(|_| lane.in_flight < terms.concurrency && !is_closed);
            if let (Some(at), Some((most, within))) = (begin, terms.rate)
                && lane.began.len() >= most
            {
                begin = lane.began.front().map(|first| at.max(*first + within));
            }
            if let Some(known) = reaction.destination.clone().and_then(|name| self.destinations.get(&name)) {
                begin = begin.and_then(|at| known.open_at(at));
            }
            [begin, late].into_iter().flatten().min()
        };
        self.lanes.iter().filter_map(of_lane).min()
    }

    /// Drops what belongs to reactions that `stays` does not know.
    pub fn retain(&mut self, stays: impl Fn(ReactionIx) -> bool) {
        let gone: Vec<u64> =
            self.items.iter().filter(|(_, item)| !stays(item.delivery.reaction)).map(|(number, _)| *number).collect();
        gone.into_iter().for_each(|number| self.drop(number, NOT_CONFIGURED, true));
    }

    /// Goes on with reactions that have other numbers.
    pub fn renumber(&mut self, new: impl Fn(ReactionIx) -> Option<ReactionIx>) {
        for item in self.items.values_mut() {
            if let Some(ix) = new(item.delivery.reaction) {
                Arc::make_mut(&mut item.delivery).reaction = ix;
            }
        }
        let lanes = std::mem::take(&mut self.lanes);
        // Whether it goes on feeding sources shows again.
        let under_new = |(ix, lane)| Some((new(ix)?, Lane { has_fed: false, ..lane }));
        self.lanes = lanes.into_iter().filter_map(under_new).collect();
    }

    /// This delivery goes to a topic that a source reads: from now on what comes faster than its reaction's rate is
    /// dropped. Its reaction, if that is new.
    pub fn feeds(&mut self, number: u64) -> Option<ReactionIx> {
        let ix = self.items.get(&number)?.delivery.reaction;
        let lane = self.lanes.get_mut(&ix)?;
        (!std::mem::replace(&mut lane.has_fed, true)).then_some(ix)
    }

    /// What happened since the last call, to be reported.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// What has left since the last call.
    pub fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// Whether something is not on disk.
    pub fn has_changes(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// What the store lacks: deliveries, or that there is none any more.
    pub fn changes(&self) -> impl Iterator<Item = (u64, Option<&Delivery>)> {
        self.unsaved.iter().map(|number| (*number, self.items.get(number).map(|item| &*item.delivery)))
    }

    /// All of it is on disk.
    pub fn stored(&mut self) {
        self.unsaved.clear();
    }

    /// The store has lost what it was given.
    pub fn forget_stored(&mut self) {
        self.unsaved.extend(self.items.keys());
    }
}

/// The deliveries that may begin within a time, if there is a bound.
fn rate_of(terms: &Terms, is_feeding: bool) -> Option<(usize, Span)> {
    terms.rate.or(is_feeding.then_some((FEEDS, FEEDS_WITHIN)))
}

#[cfg(test)]
mod tests;
