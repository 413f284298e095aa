//! Reactions in the daemon: events go to the schedule, deliveries to the queue, attempts to their thread, and what
//! became of them to everybody who wants to know.
//!
//! Before the write of a turn [`Notifier::decide`] says what has to be on disk with it; after it [`Notifier::release`]
//! lets it begin. So no delivery begins that a crash could forget.

mod report;

use super::durable::{Durable, Write};
use super::history_log::EndedDelivery;
use crate::api;
use crate::api::reaction::occasion;
use crate::api::topics::Topics;
use crate::api::{event, retained};
use crate::config::{Config, test_delivery};
use crate::domain::engine::{AlarmIx, Effects, Engine};
use crate::domain::history::DeliveryOutcome;
use crate::domain::model::AlarmId;
use crate::domain::notify::delivery::Outcome;
use crate::domain::notify::delivery::Ticket;
use crate::domain::notify::queue::{DeliveryEnd, Queue, Report, Start};
use crate::domain::notify::schedule::{CourseId, Order, Schedule};
use crate::domain::notify::{Reaction, ReactionIx, Reactions};
use crate::domain::outbox::{OutboundEvent, Token};
use crate::domain::time::{Moment, Now, Span};
use crate::ingest::source::Source;
use crate::io::mqtt::{Link, Outbound};
use crate::io::send::action::{Action, Actions};
use crate::io::send::sender::{self, Answer, Attempt, Sender};
use crate::io::store::record::reactions::{self as records, RecoveredReactions};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Tests that may be on their way at one time: people wait for them, one by one.
const TESTS: usize = 16;

/// What the broker is asked to confirm for a reaction.
#[derive(Debug)]
struct Confirming {
    warnings: Vec<String>,
}

/// An answer to somebody who wanted to see whether a reaction works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tested {
    /// The number that [`Notifier::test`] gave.
    pub(super) number: u64,
    /// What the other side said, or why it could not be asked.
    pub(super) answer: Result<String, String>,
}

#[derive(Debug)]
pub(super) struct Notifier {
    reactions: Arc<Reactions>,
    actions: Arc<Actions>,
    is_closing: bool,
    gateway: String,
    topics: Topics,
    schedule: Schedule,
    queue: Queue,
    sender: Sender,
    /// Where it answers.
    answers: mpsc::Sender<Answer>,
    /// What was decided to begin and is not on disk yet.
    starts: Vec<Start>,
    /// What reads topics on which a reaction may publish.
    sources: Arc<[Source]>,
    /// Messages that the broker has not confirmed.
    confirming: BTreeMap<Ticket, Confirming>,
    next_test: u64,
    tests: usize,
    tested: Vec<Tested>,
    /// Reports that go out with the next write.
    outbound_events: Vec<OutboundEvent>,
    /// What the history has to remember with it.
    ended: Vec<EndedDelivery>,
    /// Reports that nobody misses after a crash.
    passing: Vec<Outbound>,
    /// Numbers and keys that the store need not keep any more.
    orphans: Vec<u64>,
    obsolete: Vec<Vec<u8>>,
}

impl Notifier {
    /// Goes on where an earlier run was.
    pub(super) fn start(
        config: &Config,
        recovered: RecoveredReactions,
        engine: &Engine,
        now: Now,
    ) -> std::io::Result<(Notifier, mpsc::Receiver<Answer>)> {
        let reactions = config.reactions.clone();
        let (answers, answered) = sender::answers();
        let sender = Sender::start(&config.gateway.id, &reactions, &config.actions, answers.clone())?;
        let RecoveredReactions { deliveries, courses, orphans, damaged, mut obsolete } = recovered;
        if damaged > 0 {
            tracing::error!(damaged, "records of deliveries were damaged: they are lost");
        }
        let (mut queue, mut schedule) = (Queue::default(), Schedule::default());
        if !deliveries.is_empty() {
            tracing::info!(waiting = deliveries.len(), "deliveries are taken up again");
        }
        let next = orphans.iter().map(|(number, ..)| number + 1).max().unwrap_or(0);
        queue.restore(next, deliveries);
        for ix in engine.alarms().filter(|ix| engine.view(*ix).shelving().is_some()) {
            schedule.shelved(engine.view(ix).id(), true, &reactions, &mut Vec::new());
        }
        for (id, course) in courses {
            match reactions.get(id.1) {
                Some(reaction) if !names(&reactions, engine, &id) => {
                    obsolete.push(records::course_key(&id.0, &reaction.name));
                }
                Some(_) | None => schedule.restore(id, course, &reactions),
            }
        }
        let topics = config.gateway.topics.clone();
        let outbound_events = orphans.iter().map(|(_, reaction, delivery, reason)| OutboundEvent {
            topic: topics.reaction(reaction).into(),
            payload: api::reaction::orphan(delivery, reaction, reason, &config.gateway.id, now).into(),
            retain: false,
        });
        let notifier = Notifier {
            is_closing: false,
            outbound_events: outbound_events.collect(),
            ended: Vec::new(),
            gateway: config.gateway.id.clone(),
            topics,
            sources: config.sources.clone(),
            schedule,
            queue,
            sender,
            answers,
            starts: Vec::new(),
            confirming: BTreeMap::new(),
            next_test: 0,
            tests: 0,
            tested: Vec::new(),
            passing: Vec::new(),
            orphans: orphans.into_iter().map(|(number, ..)| number).collect(),
            obsolete,
            reactions,
            actions: config.actions.clone(),
        };
        Ok((notifier, answered))
    }

    /// What events and time mean for deliveries. All of it has to be written before [`Notifier::release`].
    pub(super) fn decide(
        &mut self,
        effects: &Effects,
        payloads: &[Bytes],
        engine: &Engine,
        now: Now,
        is_link_up: bool,
    ) {
        if !self.reactions.list.is_empty() || self.schedule.next_due().is_some() {
            self.follow(effects, payloads, engine, now);
        }
        if !self.is_closing {
            self.starts.extend(self.queue.begin(now.at, &self.reactions, is_link_up));
        }
        self.settle();
        self.report(now);
    }

    /// What events, and the time between them, start and end.
    fn follow(&mut self, effects: &Effects, payloads: &[Bytes], engine: &Engine, now: Now) {
        let mut orders = Vec::new();
        let mut shelvings = effects.shelvings.iter().peekable();
        for (place, (event, payload)) in effects.events.iter().zip(payloads).enumerate() {
            while let Some(change) = shelvings.next_if(|change| change.place <= place) {
                self.shelved(&change.alarm.id, change.until.is_some());
            }
            let alarm = &event.alarm.id;
            // What was due before the event is decided before it, as if nobody had been late.
            let at = now.moment(event.at).min(now.at);
            self.schedule.poll(now.moved_to(at - Span::from_micros(1)), &self.reactions, &mut orders);
            self.carry_out(&mut orders);
            // A quiet one starts nothing, and ends what runs.
            let named = self.named(alarm, event.ix.filter(|_| !event.quiet), engine);
            if named.is_empty() {
                continue;
            }
            let opened = self.schedule.opened(alarm);
            let definition = event.ix.map(|ix| engine.view(ix).definition());
            let occasion = Arc::new(occasion(event, payload, definition, &self.gateway, opened));
            self.schedule.event(event, &occasion, &named, &self.reactions, now, &mut orders);
            // Without a delay the first is due at once, even if the alarm idles in the same turn.
            self.schedule.poll(now.moved_to(at), &self.reactions, &mut orders);
            self.carry_out(&mut orders);
        }
        for change in shelvings {
            self.shelved(&change.alarm.id, change.until.is_some());
        }
        self.schedule.poll(now, &self.reactions, &mut orders);
        self.carry_out(&mut orders);
    }

    /// Goes on with alarms that another instance has activated. What was due longer than `untold` ago, it has delivered.
    pub(super) fn take_over(&mut self, alarms: &[&retained::Alarm], untold: Span, engine: &Engine, now: Now) {
        for alarm in alarms {
            let Some(ix) = engine.find(alarm.id().as_str()) else { continue };
            let view = engine.view(ix);
            let Some((event, gateway)) = alarm.activation(Arc::new(view.facts())) else { continue };
            let named = self.named(&event.alarm.id, Some(ix), engine);
            let payload = event::render(&event, gateway);
            let occasion = Arc::new(occasion(&event, &payload, Some(view.definition()), gateway, None));
            self.schedule.take_over(&event, &occasion, &named, &self.reactions, now.at - untold, now);
        }
    }

    /// Another instance has worked since: what was to be told of alarms then is told by that one.
    pub(super) fn forget_courses(&mut self) {
        self.schedule.forget(&self.reactions);
    }

    /// Goes on under another configuration. What is on its way is finished by the old one.
    pub(super) fn reconfigure(&mut self, config: &Config, engine: &Engine, now: Now) {
        let (old, new) = (self.reactions.clone(), config.reactions.clone());
        let renumbered = |ix: ReactionIx| old.get(ix).and_then(|reaction| new.find(&reaction.name));
        match Sender::start(&self.gateway, &new, &config.actions, self.answers.clone()) {
            Ok(sender) => self.sender = sender,
            Err(error) => tracing::error!(%error, "cannot start another thread for reactions; the old one goes on"),
        }
        self.queue.retain(|ix| renumbered(ix).is_some());
        self.settle();
        self.report(now);
        self.starts.retain(|start| renumbered(start.delivery.reaction).is_some());
        self.queue.renumber(renumbered);
        for start in &mut self.starts {
            if let Some(ix) = renumbered(start.delivery.reaction) {
                Arc::make_mut(&mut start.delivery).reaction = ix;
            }
        }
        let gone = self.schedule.renumber(&new, |(alarm, ix)| {
            let id = (alarm.clone(), renumbered(*ix)?);
            names(&new, engine, &id).then_some(id.1)
        });
        for (alarm, ix) in gone {
            self.obsolete.extend(old.get(ix).map(|reaction| records::course_key(&alarm, &reaction.name)));
        }
        self.reactions = new;
        self.actions = config.actions.clone();
        self.sources = config.sources.clone();
    }

    /// The reactions that an alarm names, and those that still have something to say about it.
    fn named(&self, alarm: &AlarmId, ix: Option<AlarmIx>, engine: &Engine) -> Vec<ReactionIx> {
        let of_definition = ix.and_then(|ix| self.reactions.of_definitions.get(engine.definition_of(ix)));
        let mut named = of_definition.map_or(Vec::new(), |named| named.to_vec());
        let running: Vec<ReactionIx> = self.schedule.of(alarm).map(|((_, reaction), _)| *reaction).collect();
        named.extend(running.into_iter().filter(|reaction| !named.contains(reaction)).collect::<Vec<_>>());
        named
    }

    fn carry_out(&mut self, orders: &mut Vec<Order>) {
        for order in orders.drain(..) {
            match order {
                Order::Withdraw(number) => self.queue.withdraw(number),
                Order::Deliver(delivery, course) => {
                    let number = self.queue.push(delivery, &self.reactions);
                    if let (Some(course), Some(number)) = (course, number) {
                        self.schedule.queued(&course, number);
                    }
                }
            }
            self.settle();
        }
    }

    /// Tells the schedule what has left the queue.
    fn settle(&mut self) {
        for settled in self.queue.take_settled() {
            self.schedule.settled(&settled.course, settled.number, settled.delivered);
        }
    }

    fn report(&mut self, now: Now) {
        for report in self.queue.take_reports() {
            self.log(&report);
            self.remember(&report, now);
            let name = self.reactions.get(report.delivery.reaction).map_or("", |reaction| reaction.name.as_str());
            let topic = self.topics.reaction(name);
            let payload = api::reaction::render(&report, name, &self.gateway, now).into();
            match report.outcome {
                // The end of a delivery is on disk in the same write as that it is no more.
                DeliveryEnd::Delivered { .. } | DeliveryEnd::Dropped { .. } => {
                    self.outbound_events.push(OutboundEvent { topic: topic.into(), payload, retain: false });
                }
                // A destination that is down for a night must not wear the flash.
                DeliveryEnd::Failed { .. } => {
                    self.passing.push(Outbound { topic, payload, confirmed: true, ..Outbound::default() })
                }
            }
        }
    }

    /// For the history: each end, and the first failure. A destination that is down for a night must not fill it.
    fn remember(&mut self, report: &Report, now: Now) {
        let (outcome, said) = match &report.outcome {
            DeliveryEnd::Delivered { answer, .. } => (DeliveryOutcome::Delivered, answer),
            DeliveryEnd::Failed { reason, .. } if report.attempt <= 1 => (DeliveryOutcome::Failed, reason),
            DeliveryEnd::Failed { .. } => return,
            DeliveryEnd::Dropped { reason, .. } => (DeliveryOutcome::Dropped, reason),
        };
        let delivery = &report.delivery;
        let Some(reaction) = self.reactions.get(delivery.reaction) else { return };
        self.ended.push(EndedDelivery {
            alarm: delivery.alarm.clone(),
            at: now.wall,
            occurrence: delivery.occasion.occurrence,
            reaction: reaction.name.as_str().into(),
            delivery: delivery.id.as_str().into(),
            outcome,
            attempt: report.attempt,
            said: said.as_str().into(),
        });
    }

    /// What has ended since the last write.
    pub(super) fn take_ended(&mut self) -> Vec<EndedDelivery> {
        std::mem::take(&mut self.ended)
    }

    fn log(&self, report: &Report) {
        let delivery = &report.delivery.id;
        match &report.outcome {
            DeliveryEnd::Delivered { answer, warnings } if warnings.is_empty() => {
                tracing::info!(delivery, answer, "delivered")
            }
            DeliveryEnd::Delivered { answer, warnings } => {
                tracing::warn!(delivery, answer, warnings = warnings.join("; "), "delivered, but not as it was meant");
            }
            DeliveryEnd::Failed { reason, .. } => {
                tracing::warn!(delivery, attempt = report.attempt, reason, "not delivered yet")
            }
            DeliveryEnd::Dropped { reason, is_loss: true } => tracing::error!(delivery, reason, "dropped"),
            DeliveryEnd::Dropped { reason, is_loss: false } => tracing::info!(delivery, reason, "dropped"),
        }
    }

    /// Lets everything begin that is on disk.
    pub(super) fn release(&mut self, link: &Link, now: Now) {
        for Start { number, delivery, digest } in std::mem::take(&mut self.starts) {
            let Some((reaction, action)) = self.parts(delivery.reaction) else { continue };
            let ticket = Ticket::Queued(number);
            if !self.sender.attempt(Attempt { ticket, reaction, action, delivery, digest }) {
                self.ended(ticket, Outcome::unreachable("too many attempts are on their way"), now);
            }
        }
        for outbound in self.passing.drain(..) {
            link.send(outbound, Token::Passing);
        }
    }

    /// Something came back from the thread.
    pub(super) fn answered(&mut self, answer: Answer, link: &Link, now: Now) {
        match answer {
            Answer::Ended(ticket, outcome) => self.ended(ticket, outcome, now),
            Answer::Publish(ticket, outbound, warnings) => {
                self.look_for_loops(ticket, &outbound.topic);
                let confirmed = outbound.confirmed;
                if !link.send(outbound, Token::Reaction(ticket)) {
                    self.ended(ticket, Outcome::unreachable("not connected to the broker"), now);
                } else if confirmed {
                    self.confirming.insert(ticket, Confirming { warnings });
                } else {
                    let answer = "handed over; with QoS 0 the broker confirms nothing".to_owned();
                    self.ended(ticket, Outcome::Taken { answer, warnings }, now);
                }
            }
        }
    }

    /// A message that becomes a value counts, whatever samples have shown: its topic may depend on anything.
    fn look_for_loops(&mut self, ticket: Ticket, topic: &str) {
        let (Ticket::Queued(number), Some(source)) = (ticket, self.sources.iter().find(|source| source.reads(topic)))
        else {
            return;
        };
        let Some(ix) = self.queue.feeds(number) else { return };
        if let Some(reaction) = self.reactions.get(ix).filter(|reaction| !reaction.terms.feeds_sources) {
            let (reaction, source) = (&*reaction.name, source.pattern.to_string());
            tracing::warn!(
                reaction,
                topic,
                source,
                "what it publishes becomes a value; what comes too fast is dropped"
            );
        }
    }

    /// The broker has taken a message of a reaction.
    pub(super) fn confirmed(&mut self, ticket: Ticket, now: Now) {
        if let Some(Confirming { warnings }) = self.confirming.remove(&ticket) {
            self.ended(ticket, Outcome::Taken { answer: "the broker has taken it (PUBACK)".to_owned(), warnings }, now);
        }
    }

    /// The broker will not take a message of a reaction. Somebody may change its rules, so it is tried again.
    pub(super) fn refused(&mut self, ticket: Ticket, reason: &str, now: Now) {
        if self.confirming.remove(&ticket).is_some() {
            let reason = format!("the broker refuses it: {reason}");
            self.ended(ticket, Outcome::Later { reason, unreachable: false, retry_after: None }, now);
        }
    }

    /// The connection is lost: nobody knows what the broker has taken.
    pub(super) fn disconnected(&mut self, now: Now) {
        for ticket in std::mem::take(&mut self.confirming).into_keys() {
            self.ended(ticket, Outcome::unreachable("the connection to the broker was lost"), now);
        }
    }

    fn ended(&mut self, ticket: Ticket, outcome: Outcome, now: Now) {
        match ticket {
            Ticket::Queued(number) => {
                self.queue.ended(number, outcome, now.at, &self.reactions);
                self.settle();
            }
            Ticket::Test(number) => {
                self.tests = self.tests.saturating_sub(1);
                let answer = match outcome {
                    Outcome::Taken { answer, warnings } if warnings.is_empty() => Ok(answer),
                    Outcome::Taken { answer, warnings } => Ok(format!("{answer}; but: {}", warnings.join("; "))),
                    Outcome::Partly { reason, .. } | Outcome::Later { reason, .. } | Outcome::Refused { reason } => {
                        Err(reason)
                    }
                };
                self.tested.push(Tested { number, answer });
            }
        }
    }

    /// A reaction and its action.
    fn parts(&self, ix: ReactionIx) -> Option<(Arc<Reaction>, Arc<Action>)> {
        self.reactions.get(ix).cloned().zip(self.actions.get(ix).cloned())
    }

    /// From now on nothing begins any more.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
    }

    /// Whether something is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.queue.in_flight() > 0
    }

    /// Sends a real one, past the queue. The answer comes by [`Notifier::take_tested`] with the number returned here.
    pub(super) fn test(&mut self, name: &str, now: Now) -> Result<u64, String> {
        let found = self.reactions.find(name).and_then(|ix| Some((ix, self.parts(ix)?)));
        let Some((ix, (reaction, action))) = found else {
            let known: Vec<&str> = self.reactions.list.iter().map(|reaction| reaction.name.as_str()).collect();
            return Err(match known.as_slice() {
                [] => format!("there is no reaction {name:?}; none is configured"),
                known => format!("there is no reaction {name:?}; known are {}", known.join(", ")),
            });
        };
        if self.tests >= TESTS {
            return Err(format!("{TESTS} tests are on their way; wait for one of them to end"));
        }
        self.queue.test(ix, now.at, &reaction.terms)?;
        let number = self.next_test;
        let delivery = Arc::new(test_delivery(ix, &reaction, &self.gateway, now));
        let ticket = Ticket::Test(number);
        if !self.sender.attempt(Attempt { ticket, reaction, action, delivery, digest: Vec::new() }) {
            return Err("too many attempts are on their way; try again in a moment".to_owned());
        }
        self.next_test += 1;
        self.tests += 1;
        Ok(number)
    }

    /// Tests that have ended.
    pub(super) fn take_tested(&mut self) -> Vec<Tested> {
        std::mem::take(&mut self.tested)
    }

    /// An operator has shelved an alarm, or taken it out again.
    fn shelved(&mut self, alarm: &AlarmId, is_shelved: bool) {
        let mut orders = Vec::new();
        self.schedule.shelved(alarm, is_shelved, &self.reactions, &mut orders);
        self.carry_out(&mut orders);
    }

    /// When it has to be looked at again.
    pub(super) fn next_due(&self, is_link_up: bool) -> Option<Moment> {
        [self.schedule.next_due(), self.queue.next_due(&self.reactions, is_link_up)].into_iter().flatten().min()
    }

    /// Reports that are to be on disk with the next write.
    pub(super) fn take_outbound_events(&mut self) -> Vec<OutboundEvent> {
        std::mem::take(&mut self.outbound_events)
    }
}

impl Durable for Notifier {
    fn must_be_written(&self) -> bool {
        self.schedule.has_changes()
            || self.queue.has_changes()
            || !self.orphans.is_empty()
            || !self.obsolete.is_empty()
            || !self.outbound_events.is_empty()
    }

    fn put(&mut self, write: &mut Write) {
        let batch = &mut write.batch;
        for (number, delivery) in self.queue.changes() {
            records::put_delivery(batch, number, delivery, &self.reactions);
        }
        for (id, course) in self.schedule.changes() {
            records::put_course(batch, id, course, &self.reactions);
        }
        self.orphans.iter().for_each(|number| records::delete_delivery(batch, *number));
        self.obsolete.iter().for_each(|key| batch.delete(key.clone()));
    }

    fn stored(&mut self) {
        self.queue.stored();
        self.schedule.stored();
        self.orphans.clear();
        self.obsolete.clear();
    }

    fn failed(&mut self) {
        self.queue.forget_stored();
        self.schedule.forget_stored();
    }
}

/// Whether the alarm of a course still names its reaction. One that has left the configuration has its last word.
fn names(reactions: &Reactions, engine: &Engine, (alarm, reaction): &CourseId) -> bool {
    let Some(ix) = engine.find(alarm.as_str()) else { return true };
    reactions.of_definitions.get(engine.definition_of(ix)).is_some_and(|named| named.contains(reaction))
}
