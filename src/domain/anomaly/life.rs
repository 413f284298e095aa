//! From anomalies to alarms: one anomaly, one alarm, and at most one that is active for a thing.
//!
//! One [`Life`] for each model. It decides when an alarm comes, rises, goes, or has to disappear, and hands that out as
//! [`Order`]s; whoever has the engine carries them out. It knows no topics, and it does not find anomalies: those come
//! from [`super::interval`], live or out of the past.

use super::interval::{Anomaly, Change};
use crate::domain::model::{Severity, ThingId};
use crate::domain::time::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// Anomalies that a model remembers: years of them, or it is not one to rely on. The oldest that are over go first.
const REMEMBERED: usize = 1_000;

/// What becomes of the alarm of an anomaly that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeletion {
    /// It returns to idled.
    #[default]
    Clear,
    /// It disappears, its retained state too.
    Delete,
}

/// What has to be done with the alarm of a thing, with `cause: "anomaly"`.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// It is activated. Its anomaly began at `since`, which may be long ago.
    Activate {
        /// When the anomaly began.
        since: Stamp,
        /// How bad it is so far.
        severity: Severity,
        /// Whether reactions start; not for what a look at the past has found.
        reactions: bool,
    },
    /// It has become worse.
    Rise {
        /// How bad it is now.
        severity: Severity,
    },
    /// It returns to idled.
    Clear,
    /// It disappears.
    Delete,
}

/// An anomaly that was found, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it is.
    pub anomaly: Anomaly,
    /// Whether it is over.
    pub is_over: bool,
    /// The severity of its alarm; none: it has no alarm.
    pub alarm: Option<Severity>,
}

impl Found {
    /// Whether it lies within a time, or reaches into it.
    pub fn touches(&self, (from, to): (Stamp, Stamp)) -> bool {
        self.anomaly.from <= to && (self.anomaly.to >= from || !self.is_over)
    }
}

/// The anomalies of one model.
#[derive(Debug, Clone, Default)]
pub struct Life {
    on_deletion: OnDeletion,
    /// By the thing and the time at which it began.
    found: BTreeMap<(ThingId, Stamp), Found>,
    /// Those that the store does not have as they are.
    changed: BTreeSet<(ThingId, Stamp)>,
}

impl Life {
    /// A model without anomalies.
    pub fn new(on_deletion: OnDeletion) -> Life {
        Life { on_deletion, ..Life::default() }
    }

    /// A model with the anomalies that were stored.
    pub fn restore(on_deletion: OnDeletion, found: impl IntoIterator<Item = (ThingId, Found)>) -> Life {
        let found = found.into_iter().map(|(thing, found)| ((thing, found.anomaly.from), found));
        Life { on_deletion, found: found.collect(), changed: BTreeSet::new() }
    }

    /// From now on this becomes of alarms whose anomalies are deleted.
    pub fn change(&mut self, on_deletion: OnDeletion) {
        self.on_deletion = on_deletion;
    }

    /// What the store does not have as it is: things and times, with what was found; none: it was deleted.
    pub fn changes(&self) -> impl Iterator<Item = (&ThingId, Stamp, Option<&Found>)> {
        self.changed.iter().map(|key| (&key.0, key.1, self.found.get(key)))
    }

    /// The store has all of it.
    pub fn stored(&mut self) {
        self.changed.clear();
    }

    /// The anomaly of a thing that began then.
    pub fn get(&self, thing: &ThingId, from: Stamp) -> Option<&Found> {
        self.found.get(&(thing.clone(), from))
    }

    /// All anomalies, by thing and time.
    pub fn found(&self) -> impl Iterator<Item = (&ThingId, &Found)> {
        self.found.iter().map(|((thing, _), found)| (thing, found))
    }

    /// The scores of a thing changed something. With `alarms` off, anomalies are found and make no alarm.
    pub fn follow(&mut self, thing: &ThingId, change: &Change, alarms: bool) -> Vec<Order> {
        match change {
            Change::None => Vec::new(),
            Change::Grown(anomaly) => self.update(thing, anomaly, false, alarms, true),
            Change::Ended(anomaly) => self.update(thing, anomaly, true, alarms, true),
        }
    }

    /// An anomaly goes on: what is known of it is brought up to date. If it has no alarm yet, because alarms were off, it
    /// gets one now.
    pub fn go_on(&mut self, thing: &ThingId, anomaly: &Anomaly, alarms: bool) -> Vec<Order> {
        self.update(thing, anomaly, false, alarms, true)
    }

    /// A time with all of the thing's anomalies that touch it.
    pub fn around(&self, thing: &ThingId, (from, to): (Stamp, Stamp)) -> (Stamp, Stamp) {
        let all = self.found.iter().filter(|((other, _), found)| other == thing && found.touches((from, to)));
        all.fold((from, to), |(from, to), (_, Found { anomaly, .. })| (from.min(anomaly.from), to.max(anomaly.to)))
    }

    /// What a look at the past has found between two times replaces what was known of it. No reaction starts.
    pub fn reprocess(
        &mut self,
        thing: &ThingId,
        (from, to): (Stamp, Stamp),
        found: &[(Anomaly, bool)],
        alarms: bool,
    ) -> Vec<Order> {
        // One that is found again goes on, and so does its alarm.
        let is_found = |at: Stamp| found.iter().any(|(anomaly, _)| anomaly.from == at);
        let others = self
            .found
            .iter()
            .filter(|((other, at), before)| other == thing && before.touches((from, to)) && !is_found(*at));
        let others = others.map(|(key, _)| key.clone()).collect();
        let mut orders = self.remove(thing, others);
        for (anomaly, is_over) in found {
            orders.extend(self.update(thing, anomaly, *is_over, alarms, false));
        }
        orders
    }

    /// The anomalies of a thing that touch this time are deleted, and their alarms as was configured.
    pub fn delete(&mut self, thing: &ThingId, (from, to): (Stamp, Stamp)) -> Vec<Order> {
        let all = self.found.range((thing.clone(), Stamp::from_micros(i64::MIN))..=(thing.clone(), to));
        let touched = all.filter(|(_, found)| found.touches((from, to)));
        let keys: Vec<(ThingId, Stamp)> = touched.map(|(key, _)| key.clone()).collect();
        self.remove(thing, keys)
    }

    /// The anomaly of a thing that began then is deleted, and its alarm as was configured.
    pub fn delete_one(&mut self, thing: &ThingId, from: Stamp) -> Vec<Order> {
        self.remove(thing, vec![(thing.clone(), from)])
    }

    fn remove(&mut self, thing: &ThingId, keys: Vec<(ThingId, Stamp)>) -> Vec<Order> {
        let deleted: Vec<Found> = keys.iter().filter_map(|key| self.found.remove(key)).collect();
        self.changed.extend(keys);
        let was_active = deleted.iter().any(|found| !found.is_over && found.alarm.is_some());
        let had_alarm = deleted.iter().any(|found| found.alarm.is_some());
        let has_other = self.found.iter().any(|((other, _), found)| other == thing && found.alarm.is_some());
        match self.on_deletion {
            // The alarm of a thing is one topic: it goes when no anomaly of it is left.
            OnDeletion::Delete if had_alarm && !has_other => vec![Order::Delete],
            OnDeletion::Clear | OnDeletion::Delete if was_active => vec![Order::Clear],
            OnDeletion::Clear | OnDeletion::Delete => Vec::new(),
        }
    }

    /// The model is built anew: what the old one found does not count any more. The caller turns refreshing off.
    pub fn rebuild(&mut self) -> Vec<(ThingId, Order)> {
        let mut things: Vec<ThingId> = self.found.keys().map(|(thing, _)| thing.clone()).collect();
        things.dedup();
        let all = (Stamp::from_micros(i64::MIN), Stamp::from_micros(i64::MAX));
        let mut orders = Vec::new();
        for thing in things {
            orders.extend(self.delete(&thing, all).into_iter().map(|order| (thing.clone(), order)));
        }
        orders
    }

    fn update(
        &mut self,
        thing: &ThingId,
        anomaly: &Anomaly,
        is_over: bool,
        alarms: bool,
        reactions: bool,
    ) -> Vec<Order> {
        let key = (thing.clone(), anomaly.from);
        let before = self.found.get(&key).cloned();
        let had = before.as_ref().and_then(|found| found.alarm);
        let was_active = had.is_some() && before.is_some_and(|found| !found.is_over);
        // The alarm of a later anomaly is active: it does not go for one that lies before it.
        let gives_way = self.found.iter().any(|((other, from), found)| {
            other == thing && *from > anomaly.from && found.alarm.is_some() && !found.is_over
        });
        let severity = anomaly.severity.filter(|_| alarms && (had.is_some() || !gives_way)).max(had);
        let mut orders = Vec::new();
        if had.is_none() && severity.is_some() {
            orders.extend(self.clear_older(thing));
        }
        if let Some(severity) = severity {
            if had.is_none() {
                orders.push(Order::Activate { since: anomaly.from, severity, reactions });
            } else if had < Some(severity) && was_active {
                orders.push(Order::Rise { severity });
            }
            if is_over && (was_active || had.is_none()) {
                orders.push(Order::Clear);
            }
        }
        self.changed.insert(key.clone());
        self.found.insert(key, Found { anomaly: anomaly.clone(), is_over, alarm: severity });
        if self.found.len() > REMEMBERED {
            let over = self.found.iter().filter(|(_, found)| found.is_over).map(|(key, _)| key.clone());
            if let Some(oldest) = over.min_by_key(|(_, from)| *from) {
                self.found.remove(&oldest);
                self.changed.insert(oldest);
            }
        }
        orders
    }

    /// At most one alarm is active for a thing.
    fn clear_older(&mut self, thing: &ThingId) -> Option<Order> {
        let mut cleared = None;
        for (key, found) in &mut self.found {
            if key.0 == *thing && found.alarm.is_some() && !found.is_over {
                found.is_over = true;
                self.changed.insert(key.clone());
                cleared = Some(Order::Clear);
            }
        }
        cleared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Severity::{Critical, Error, Warning};

    fn at(second: i64) -> Stamp {
        Stamp::from_micros(second * 1_000_000)
    }

    fn anomaly(from: i64, to: i64, severity: impl Into<Option<Severity>>) -> Anomaly {
        Anomaly { from: at(from), to: at(to), score: 4.0, index: 1.0, severity: severity.into() }
    }

    fn activate(since: i64, severity: Severity) -> Order {
        Order::Activate { since: at(since), severity, reactions: true }
    }

    fn boiler() -> ThingId {
        ThingId::from("boiler-7")
    }

    fn life(on_deletion: OnDeletion, changes: &[Change]) -> (Life, Vec<Order>) {
        let mut life = Life::new(on_deletion);
        let orders = changes.iter().flat_map(|change| life.follow(&boiler(), change, true)).collect();
        (life, orders)
    }

    #[test]
    fn one_anomaly_is_one_alarm_whose_severity_rises_and_never_falls() {
        let changes = [
            Change::Grown(anomaly(10, 11, Warning)),
            Change::Grown(anomaly(10, 20, Critical)),
            Change::Grown(anomaly(10, 30, Error)),
            Change::Ended(anomaly(10, 40, Critical)),
        ];
        let (_, orders) = life(OnDeletion::Clear, &changes);
        assert_eq!(orders, [activate(10, Warning), Order::Rise { severity: Critical }, Order::Clear]);
    }

    #[test]
    fn below_the_lowest_threshold_there_is_no_alarm_and_above_it_there_is_one_late() {
        let changes = [Change::Grown(anomaly(10, 11, None)), Change::Grown(anomaly(10, 90, Error))];
        let (life, orders) = life(OnDeletion::Clear, &changes);
        assert_eq!(orders, [activate(10, Error)], "late, and since the anomaly began");
        assert_eq!(life.found().count(), 1);
    }

    #[test]
    fn a_new_anomaly_first_clears_the_older_one() {
        let changes = [Change::Grown(anomaly(10, 11, Error)), Change::Grown(anomaly(50, 51, Warning))];
        let (_, orders) = life(OnDeletion::Clear, &changes);
        assert_eq!(orders, [activate(10, Error), Order::Clear, activate(50, Warning)]);
    }

    #[test]
    fn with_alarms_switched_off_anomalies_are_only_found() {
        let mut life = Life::new(OnDeletion::Clear);
        assert_eq!(life.follow(&boiler(), &Change::Grown(anomaly(10, 11, Critical)), false), []);
        assert_eq!(life.found().count(), 1);
    }

    #[test]
    fn a_deleted_anomaly_takes_its_alarm_along_as_was_configured() {
        let changes = [Change::Grown(anomaly(10, 20, Error))];
        for (on_deletion, order) in [(OnDeletion::Clear, Order::Clear), (OnDeletion::Delete, Order::Delete)] {
            let (mut open, _) = life(on_deletion, &changes);
            assert_eq!(open.delete(&boiler(), (at(0), at(9))), []);
            assert_eq!(open.delete(&boiler(), (at(15), at(16))), [order]);
            assert_eq!(open.found().count(), 0);
        }
        let over = [Change::Grown(anomaly(10, 20, Error)), Change::Ended(anomaly(10, 20, Error))];
        let (mut cleared, _) = life(OnDeletion::Clear, &over);
        assert_eq!(cleared.rebuild(), [], "what is idled stays idled");
        let (mut deleted, _) = life(OnDeletion::Delete, &over);
        assert_eq!(deleted.rebuild(), [(boiler(), Order::Delete)]);
    }

    #[test]
    fn a_look_at_the_past_overwrites_and_starts_no_reaction() {
        let (mut life, _) = life(OnDeletion::Clear, &[Change::Grown(anomaly(10, 20, Error))]);
        let found = [(anomaly(12, 14, Warning), true), (anomaly(30, 40, Critical), false)];
        let quiet = |since, severity| Order::Activate { since: at(since), severity, reactions: false };
        assert_eq!(
            life.reprocess(&boiler(), (at(0), at(50)), &found, true),
            [Order::Clear, quiet(12, Warning), Order::Clear, quiet(30, Critical)]
        );
        assert_eq!(life.found().count(), 2);
    }

    #[test]
    fn what_lies_before_an_active_alarm_does_not_take_its_place() {
        let (mut life, _) = life(OnDeletion::Clear, &[Change::Grown(anomaly(100, 120, Error))]);
        let found = [(anomaly(10, 20, Critical), true)];
        assert_eq!(life.reprocess(&boiler(), (at(0), at(50)), &found, true), []);
        let orders = life.follow(&boiler(), &Change::Ended(anomaly(100, 130, Error)), true);
        assert_eq!(orders, [Order::Clear], "it is active as before");
    }

    #[test]
    fn what_the_store_lacks_is_told_until_it_has_it() {
        let (mut life, _) = life(OnDeletion::Clear, &[Change::Grown(anomaly(10, 20, Error))]);
        assert_eq!(
            life.changes().map(|(_, from, found)| (from, found.is_some())).collect::<Vec<_>>(),
            [(at(10), true)]
        );
        life.stored();
        assert_eq!(life.delete_one(&boiler(), at(10)), [Order::Clear]);
        assert_eq!(
            life.changes().map(|(_, from, found)| (from, found.is_some())).collect::<Vec<_>>(),
            [(at(10), false)]
        );
    }
}
