//! When deliveries begin: a function of events and time, like the engine.
//!
//! For each alarm and reaction there is a *course* from the activation to the end of the occurrence: it knows when the
//! first delivery is due, which repeat comes next, and whether anybody was told. Repeats are due at activation +
//! initial + k · repeat, whenever they are looked at; those that were missed (the daemon was down, the alarm was shelved,
//! an earlier one still waits) make one delivery together, never a burst.
//!
//! It knows no clock and no disk. Moments lie on the time line that goes on over restarts, so a course that is restored
//! is due when it would have been.

use super::delivery::{Delivery, Kind, Occasion};
use super::{Plan, ReactionIx, Reactions, Transition};
use crate::domain::engine::{Event, State};
use crate::domain::model::{AlarmId, Severity};
use crate::domain::time::{Moment, Now, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The alarm and the reaction that a course belongs to.
pub type CourseId = (AlarmId, ReactionIx);

/// From an activation to the end of its occurrence.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// What began it.
    pub occasion: Arc<Occasion>,
    /// That alarm's thing.
    pub thing: Arc<str>,
    /// The alarm's severity.
    pub severity: Severity,
    /// When the first delivery is due, or was.
    pub first_at: Moment,
    /// The number of the next delivery, 0 for the first; none: there is nothing more to come.
    pub next: Option<u32>,
    /// Whether the activation has reached the other side.
    pub delivered: bool,
    /// The delivery of the activation that still waits.
    pub waiting: Option<u64>,
}

impl Course {
    fn begun(event: &Event, occasion: &Arc<Occasion>, first_at: Moment, asked_for: bool) -> Course {
        Course {
            occasion: occasion.clone(),
            thing: event.alarm.thing.clone(),
            severity: event.alarm.severity,
            first_at,
            next: asked_for.then_some(0),
            delivered: false,
            waiting: None,
        }
    }
}

/// What the schedule asks of the queue.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Deliver this. The queue gives it a number, which goes back by [`Schedule::queued`].
    Deliver(Delivery, Option<CourseId>),
    /// A repeat that has not been sent is of no use any more.
    Withdraw(u64),
}

/// All courses.
#[derive(Debug, Default)]
pub struct Schedule {
    courses: BTreeMap<CourseId, Course>,
    due: BTreeSet<(Moment, CourseId)>,
    shelved: BTreeSet<AlarmId>,
    /// Courses that are not on disk as they are.
    unsaved: BTreeSet<CourseId>,
}

impl Schedule {
    /// Takes back a course that was stored.
    pub fn restore(&mut self, id: CourseId, course: Course, reactions: &Reactions) {
        if let Some(reaction) = reactions.get(id.1) {
            self.note_due(&id, &course, &reaction.plan);
            self.courses.insert(id, course);
        }
    }

    /// The event that began the present occurrence of an alarm, and when that was.
    pub fn opened(&self, alarm: &AlarmId) -> Option<(String, crate::domain::time::Stamp)> {
        let (_, course) = self.of(alarm).next()?;
        course.occasion.opened_by.clone().zip(course.occasion.opened_at)
    }

    /// Takes an event of an alarm that names `named` reactions.
    pub fn event(
        &mut self,
        event: &Event,
        occasion: &Arc<Occasion>,
        named: &[ReactionIx],
        reactions: &Reactions,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        let alarm = &event.alarm.id;
        let transition = transition(event);
        // Events of this turn happened at most a moment ago; a clock that was set meanwhile must not move them.
        let at = now.moment(event.at).min(now.at);
        for ix in named {
            let Some(reaction) = reactions.get(*ix) else { continue };
            let plan = &reaction.plan;
            let fits = fits(plan, event);
            let id = (alarm.clone(), *ix);
            let asked_for = fits && plan.on.contains(&transition);
            if transition == Transition::Activated {
                // An alarm that becomes worse is no second activation for those who were told, unless somebody had taken
                // note of what it was before. What is still to come tells of what it is now.
                let told = self.courses.get(&id).filter(|_| event.from == State::Activated).cloned();
                if let Some(told) = told {
                    let severity = event.alarm.severity;
                    self.put(id, Some(Course { occasion: occasion.clone(), severity, ..told }), plan);
                } else if fits {
                    let delivered = self.courses.get(&id).is_some_and(|course| course.delivered);
                    let begun = Course::begun(event, occasion, at + plan.initial, asked_for);
                    let course = Course { delivered, ..begun };
                    self.put(id, Some(course), plan);
                }
                continue;
            }
            let deliver = |kind, after| {
                let delivery = Delivery {
                    id: Delivery::name(&occasion.event_id, &reaction.name, kind),
                    reaction: *ix,
                    alarm: alarm.clone(),
                    severity: event.alarm.severity,
                    kind,
                    occasion: occasion.clone(),
                    due: at,
                    due_wall: event.at,
                    after,
                    done: Vec::new(),
                    told_by: None,
                };
                Order::Deliver(delivery, None)
            };
            let in_hours = plan.hours.as_ref().is_none_or(|hours| hours.contain(event.at, &reactions.time_zone));
            let ends = !matches!(transition, Transition::Acknowledged);
            let course = self.courses.get(&id).cloned();
            // What was told of the activation is taken back, even if nobody would be told of anything new now.
            let clears = course
                .as_ref()
                .filter(|c| plan.on_clear && transition == Transition::Idled && (c.delivered || c.waiting.is_some()));
            if let Some(course) = &course {
                orders.extend(course.waiting.map(Order::Withdraw));
            }
            if let Some(course) = clears {
                orders.push(deliver(Kind::Clear, course.waiting.filter(|_| !course.delivered)));
            } else if asked_for && in_hours && !self.shelved.contains(alarm) {
                orders.push(deliver(Kind::Change, None));
            }
            match course {
                Some(_) if ends => self.put(id, None, plan),
                Some(course) => self.put(id, Some(Course { next: None, ..course }), plan),
                None => {}
            }
        }
    }

    /// Goes on with an alarm that another instance has activated by this event. Who had to be told until `told` has been;
    /// what was due later is delivered, under the name that the other one may have delivered it by. Repeats go on.
    pub fn take_over(
        &mut self,
        event: &Event,
        occasion: &Arc<Occasion>,
        named: &[ReactionIx],
        reactions: &Reactions,
        told: Moment,
        now: Now,
    ) {
        for ix in named {
            let Some(reaction) = reactions.get(*ix).filter(|reaction| fits(&reaction.plan, event)) else { continue };
            let plan = &reaction.plan;
            let asked_for = plan.on.contains(&Transition::Activated);
            let mut course = Course::begun(event, occasion, now.moment(event.at).min(now.at) + plan.initial, asked_for);
            if asked_for && course.first_at <= told {
                course.next = following(plan, course.first_at, 0, now.at);
                course.delivered = true;
            }
            self.put((event.alarm.id.clone(), *ix), Some(course), plan);
        }
    }

    /// Somebody else goes on with all of it.
    pub fn forget(&mut self, reactions: &Reactions) {
        let ids: Vec<CourseId> = self.courses.keys().cloned().collect();
        for id in ids {
            if let Some(reaction) = reactions.get(id.1) {
                self.put(id, None, &reaction.plan);
            }
        }
    }

    /// What is due at `now`.
    pub fn poll(&mut self, now: Now, reactions: &Reactions, orders: &mut Vec<Order>) {
        while let Some((at, id)) = self.due.first().filter(|(at, _)| *at <= now.at).cloned() {
            self.due.remove(&(at, id.clone()));
            let (Some(course), Some(reaction)) = (self.courses.get(&id).cloned(), reactions.get(id.1)) else {
                continue;
            };
            let plan = &reaction.plan;
            let Some(number) = course.next else { continue };
            // All that were missed are one, the latest; but who was not told anything yet is told the first.
            let latest = if number == 0 { 0 } else { last_before(plan, course.first_at, number, now.at) };
            let next = Course { next: following(plan, course.first_at, latest, now.at), ..course };
            let in_hours = plan.hours.as_ref().is_none_or(|hours| hours.contain(now.wall, &reactions.time_zone));
            if in_hours && next.waiting.is_none() {
                let kind = if latest == 0 { Kind::First } else { Kind::Repeat(latest) };
                let delivery = Delivery {
                    id: Delivery::name(&next.occasion.event_id, &reaction.name, kind),
                    reaction: id.1,
                    alarm: id.0.clone(),
                    severity: next.severity,
                    kind,
                    occasion: next.occasion.clone(),
                    due: at,
                    due_wall: now.stamp(at),
                    after: None,
                    done: Vec::new(),
                    told_by: None,
                };
                orders.push(Order::Deliver(delivery, Some(id.clone())));
            }
            self.put(id, Some(next), plan);
        }
    }

    /// The queue has given the delivery of a course a number.
    pub fn queued(&mut self, id: &CourseId, number: u64) {
        if let Some(course) = self.courses.get_mut(id) {
            course.waiting = Some(number);
            self.unsaved.insert(id.clone());
        }
    }

    /// A delivery has left the queue.
    pub fn settled(&mut self, id: &CourseId, number: u64, delivered: bool) {
        if let Some(course) = self.courses.get_mut(id)
            && course.waiting == Some(number)
        {
            course.waiting = None;
            course.delivered |= delivered;
            self.unsaved.insert(id.clone());
        }
    }

    /// An operator has shelved an alarm, or taken it out again: what would begin meanwhile is held back.
    pub fn shelved(&mut self, alarm: &AlarmId, is_shelved: bool, reactions: &Reactions, orders: &mut Vec<Order>) {
        if is_shelved {
            self.shelved.insert(alarm.clone());
        } else {
            self.shelved.remove(alarm);
        }
        let ids: Vec<CourseId> = self.of(alarm).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let (Some(course), Some(reaction)) = (self.courses.get(&id).cloned(), reactions.get(id.1)) else {
                continue;
            };
            if is_shelved {
                orders.extend(course.waiting.map(Order::Withdraw));
            }
            self.note_due(&id, &course, &reaction.plan);
        }
    }

    /// When something is due next.
    pub fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The courses of an alarm.
    pub fn of(&self, alarm: &AlarmId) -> impl Iterator<Item = (&CourseId, &Course)> {
        let from = (alarm.clone(), ReactionIx::new(0));
        self.courses.range(from..).take_while(move |((id, _), _)| id == alarm)
    }

    /// When the next delivery of a course is due; none: nothing more comes, or it is held back.
    pub fn due_of(&self, id: &CourseId, reactions: &Reactions) -> Option<Moment> {
        let (course, reaction) = (self.courses.get(id)?, reactions.get(id.1)?);
        if self.shelved.contains(&id.0) { None } else { Some(due_at(&reaction.plan, course.first_at, course.next?)) }
    }

    /// Goes on with reactions that have other numbers; none: the course has no reaction any more. Those without one are
    /// returned; the store has to be given all others anew.
    pub fn renumber(&mut self, reactions: &Reactions, new: impl Fn(&CourseId) -> Option<ReactionIx>) -> Vec<CourseId> {
        let mut gone: Vec<CourseId> =
            self.unsaved.iter().filter(|id| !self.courses.contains_key(*id)).cloned().collect();
        let courses = std::mem::take(&mut self.courses);
        self.due.clear();
        self.unsaved.clear();
        for (id, course) in courses {
            match new(&id) {
                Some(ix) => self.restore((id.0, ix), course, reactions),
                None => gone.push(id),
            }
        }
        self.forget_stored();
        gone
    }

    /// Whether something is not on disk.
    pub fn has_changes(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// What the store lacks: courses, or that there is none any more.
    pub fn changes(&self) -> impl Iterator<Item = (&CourseId, Option<&Course>)> {
        self.unsaved.iter().map(|id| (id, self.courses.get(id)))
    }

    /// All of it is on disk.
    pub fn stored(&mut self) {
        self.unsaved.clear();
    }

    /// The store has lost what it was given.
    pub fn forget_stored(&mut self) {
        self.unsaved.extend(self.courses.keys().cloned());
    }

    fn put(&mut self, id: CourseId, course: Option<Course>, plan: &Plan) {
        self.unsaved.insert(id.clone());
        match course {
            Some(course) => {
                self.note_due(&id, &course, plan);
                self.courses.insert(id, course);
            }
            None => {
                if let Some(old) = self.courses.remove(&id) {
                    self.forget_due(&id, &old, plan);
                }
            }
        }
    }

    fn note_due(&mut self, id: &CourseId, course: &Course, plan: &Plan) {
        if let Some(old) = self.courses.get(id).cloned() {
            self.forget_due(id, &old, plan);
        }
        if let Some(next) = course.next
            && !self.shelved.contains(&id.0)
        {
            self.due.insert((due_at(plan, course.first_at, next), id.clone()));
        }
    }

    fn forget_due(&mut self, id: &CourseId, course: &Course, plan: &Plan) {
        if let Some(next) = course.next {
            self.due.remove(&(due_at(plan, course.first_at, next), id.clone()));
        }
    }
}

/// Whether a reaction is for alarms like that of an event at all.
fn fits(plan: &Plan, event: &Event) -> bool {
    plan.severities.contains(&event.alarm.severity)
        && (plan.things.is_empty() || plan.things.iter().any(|thing| thing.covers(&event.alarm.thing)))
}

/// What an event means for reactions. To acknowledge an occurrence that has idled changes no state, and is told all the
/// same.
pub fn transition(event: &Event) -> Transition {
    match event.to {
        State::Activated => Transition::Activated,
        State::Acknowledged => Transition::Acknowledged,
        State::Idled if event.from == State::Idled => Transition::Acknowledged,
        State::Idled => Transition::Idled,
        State::Off => Transition::Off,
        State::Enabled => Transition::Enabled,
    }
}

/// When the delivery with this number is due.
fn due_at(plan: &Plan, first_at: Moment, number: u32) -> Moment {
    let steps = plan.repeat.len().saturating_sub(1);
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let single: Span = plan.repeat.iter().take(steps.min(number)).fold(Span::ZERO, |sum, span| add(sum, *span));
    let rest = i64::try_from(number.saturating_sub(steps)).unwrap_or(i64::MAX);
    let last = plan.repeat.last().copied().unwrap_or_default();
    first_at + single + Span::from_micros(last.as_micros().saturating_mul(rest))
}

fn add(a: Span, b: Span) -> Span {
    Span::from_micros(a.as_micros().saturating_add(b.as_micros()))
}

/// The latest delivery from `number` on that is due at `now`.
fn last_before(plan: &Plan, first_at: Moment, number: u32, now: Moment) -> u32 {
    let steps = u32::try_from(plan.repeat.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let mut latest = number;
    while latest < steps && due_at(plan, first_at, latest + 1) <= now {
        latest += 1;
    }
    if latest < steps {
        return latest;
    }
    // From here on they come at equal intervals, and there may be very many.
    let interval = plan.repeat.last().map_or(0, |span| span.as_micros()).max(1);
    let passed = (now - due_at(plan, first_at, latest)).as_micros().max(0) / interval;
    latest.saturating_add(u32::try_from(passed).unwrap_or(0))
}

/// The number of the delivery after `latest`, the first that lies ahead.
fn following(plan: &Plan, first_at: Moment, latest: u32, now: Moment) -> Option<u32> {
    if plan.repeat.is_empty() {
        return None;
    }
    // After a late first one the repeats that it was late for are not caught up with.
    let missed = last_before(plan, first_at, latest, now);
    Some(missed.saturating_add(1))
}

#[cfg(test)]
mod tests;
