//! The daemon: a loop that listens, decides, writes and speaks, in this order.
//!
//! A turn of the loop takes everything that is waiting. What it decided (states, sequence numbers, outbound events for the
//! broker) is one write to the store; only when that is on disk does anything of it leave, and only then are the
//! messages of the turn acknowledged. A turn that changed nothing writes nothing.
//!
//! One thread runs the loop and the connection, side by side; another one has the disk. So a message costs no change of
//! threads, and a slow disk holds up the turn but not the listening.

mod commands;
mod discovery;
mod durable;
mod faults;
mod filters;
mod history_log;
mod history_queries;
mod housekeeping;
mod inbound;
mod metrics;
mod models;
mod notifier;
mod observer;
mod persistence;
mod poison;
mod reload;
mod replies;
mod shutdown;
mod signals;
#[cfg(test)]
mod simulation;
mod stall;
mod standby;
mod takeover;
mod testing;
mod throttle;

pub(crate) use crate::domain::dedup::{PACKETS_PER_BLOCK, Packet, PacketChanges};
pub use signals::Stop;
use signals::StopRequest;

use crate::api::problem::StatusProblems;
use crate::api::status::{self, Metrics, Status};
use crate::api::{event, home_assistant, state};
use crate::config::{Config, Gateway, HttpSettings};
use crate::domain::engine::{Effects, Engine, Event};
use crate::domain::observation::{Cause, Observation};
use crate::domain::outbox::{Send, Token};
use crate::domain::time::{Moment, Span};
use crate::ingest::recorder::Recorder;
use crate::ingest::router::Intake;
use crate::ingest::source::subscriptions;
use crate::io::clock::Clock;
use crate::io::http::{self, Board};
use crate::io::mqtt::{self, Link, LinkEvent, Listener, Outbound, Receipt, Terms};
use crate::io::send::sender::Answer;
use crate::io::store::disk::{DiskStore, OpenError, Opened};
use bytes::Bytes;
use commands::Commands;
use discovery::Discovery;
use durable::Durables;
use faults::FaultLog;
use history_queries::Searches;
use metrics::Counts;
use notifier::Notifier;
use observer::Delay;
use persistence::{Occasion, Persistence, Reactors, Resumed};
use poison::PoisonMessages;
use reload::Reload;
use replies::Replies;
use stall::StallDetector;
use standby::RetainedState;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use throttle::Throttle;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

/// Messages that one turn takes: with a fast disk a turn is short anyway, with a slow one this bounds what a crash makes
/// the broker send again.
const TURN: usize = 4_096;
/// What the broker has taken leaves the disk with the next write, or after this time: a crash before repeats it.
const TIDY_PAUSE: Span = Span::from_secs(1);

/// How the daemon has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Somebody wanted it to.
    Stopped,
    /// Another instance may have taken over: it has to be started anew, to look before it works.
    Yielded,
}

/// Runs the daemon until `stop` says so. `returns`: it was at work a moment ago, and has yielded.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: Config, returns: bool, mut stop: Stop) -> anyhow::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let end = local.block_on(&runtime, async move {
        // Where others may work the store is opened when there is work.
        let is_alone = standby::is_alone(&config.gateway);
        let opened = is_alone.then(|| DiskStore::open(&config.gateway.state_dir));
        let has_lost = opened.as_ref().is_some_and(|opened| returns || persistence::has_lost(opened));
        match standby::keep(&config, returns, has_lost, &mut stop).await? {
            Some(retained) => {
                let opened = opened.unwrap_or_else(|| DiskStore::open(&config.gateway.state_dir));
                let looks = is_alone && !returns;
                Daemon::start(config, &retained, opened, looks)?.run(stop).await
            }
            None => Ok(End::Stopped),
        }
    });
    drop(local);
    // A configuration that is being read right now, and takes its time, keeps nobody waiting.
    runtime.shutdown_background();
    end
}

/// The configuration names something that cannot be used: an index that this machine does not tell.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

struct Daemon {
    config: Config,
    clock: Rc<Clock>,
    engine: Engine,
    intake: Intake,
    link: Link,
    /// Events of the connection, in their order.
    events: Listener,
    persistence: Persistence,
    durables: Durables,
    notifier: Notifier,
    /// What became of attempts to deliver.
    answers: Receiver<Answer>,
    observation: Observation,
    stalls: Rc<StallDetector>,
    /// Times in which the socket was not read, until the first message after each.
    delays: VecDeque<Delay>,
    throttle: Throttle,
    faults: FaultLog,
    effects: Effects,
    status: Status,
    published_status: Option<Status>,
    metrics: Metrics,
    counts: Counts,
    discovery: Discovery,
    /// Keeps the HTTP listener.
    _window: Option<http::Listener>,
    /// Messages of this turn that are to be acknowledged.
    receipts: Vec<Receipt>,
    /// Tests of reactions whose answers are awaited.
    tests: testing::Tests,
    /// Messages that may have brought an earlier run to its end.
    poison: PoisonMessages,
    /// Commands that wait, and answers of this turn.
    commands: Commands,
    replies: Replies,
    searches: Searches,
    reload: Reload,
    /// Whether the broker was asked how far it has processed acknowledgements, and has not answered.
    fence_is_out: bool,
    /// Alarms whose retained topic exists; later ones are new.
    alarms_known: usize,
    /// The reason for the gap that goes on, in words.
    gap_cause: String,
    /// Whether the connection has broken, and with it the right to work if another instance stands by; or whether there is
    /// something to look at before work can go on.
    has_lost_its_place: bool,
    due: Due,
}

/// When things that recur are due.
struct Due {
    checkpoint: Moment,
    tidy: Moment,
    status: Moment,
    renewal: Moment,
    faults: Moment,
    metrics: Moment,
    watchdog: Moment,
    observation: Moment,
}

impl Daemon {
    fn start(
        config: Config,
        retained: &RetainedState,
        opened: Result<Opened, OpenError>,
        looks: bool,
    ) -> anyhow::Result<Daemon> {
        let mut effects = Effects::default();
        let Resumed { persistence, durables, clock, engine, reactors } =
            Persistence::open(&config, retained, opened, &mut effects)?;
        let clock = Rc::new(clock);
        let gateway = &config.gateway;
        let will = Outbound {
            topic: gateway.topics.status(),
            payload: status::offline(&gateway.id).into(),
            confirmed: true,
            retain: true,
            ..Outbound::default()
        };
        // Who may have been replaced must not throw out who has taken over.
        let looks_at = looks.then(|| gateway.topics.probe());
        let terms = Terms { comes_back: gateway.standby.is_none(), looks_at, ..Terms::default() };
        let (link, events) = mqtt::connect(&config.mqtt, wanted(&config), will, clock.clone(), terms);
        link.unsubscribe_earlier(durables.filters.earlier());
        let poison = PoisonMessages::open(&config.gateway.state_dir, clock.at());
        let daemon = Daemon::new(config, clock, engine, effects, (persistence, durables), reactors, (link, events));
        Ok(Daemon { poison, ..daemon })
    }

    /// The loop between its world's parts: a clock, a store, a connection.
    fn new(
        config: Config,
        clock: Rc<Clock>,
        engine: Engine,
        effects: Effects,
        (persistence, durables): (Persistence, Durables),
        (notifier, answers): Reactors,
        (link, events): (Link, Listener),
    ) -> Daemon {
        let gateway = &config.gateway;
        let stalls = StallDetector::start(clock.clone());
        let now = clock.now();
        let soon = |span: Span| now.at + span;
        let board = config.http.map(|_| Arc::new(Board::default()));
        let window = board
            .clone()
            .zip(config.http)
            .map(|(board, HttpSettings { listen })| http::start(listen, board, clock.handle()));
        let observation = Observation::new(now.at, engine.observed_until());
        let counts = Counts::new(now.at, durables.outbox.next_number(), board);
        Daemon {
            intake: Intake::new(config.sources.clone(), gateway.max_payload)
                .recording(Recorder::new(&config.anomalies, config.model.share)),
            due: Due {
                checkpoint: soon(gateway.checkpoint),
                tidy: now.at,
                status: now.at,
                renewal: now.at,
                faults: now.at,
                metrics: now.at,
                watchdog: now.at,
                observation: now.at,
            },
            status: Status {
                since: now.wall,
                alarms: 0,
                active: 0,
                durable: true,
                problems: StatusProblems::default(),
                last_gap: None,
            },
            fence_is_out: false,
            alarms_known: engine.next_alarm(),
            gap_cause: observer::describe_cause(Cause::NotRunning).to_owned(),
            has_lost_its_place: false,
            config,
            clock,
            engine,
            link,
            events,
            persistence,
            durables,
            notifier,
            answers,
            observation,
            stalls,
            delays: VecDeque::new(),
            throttle: Throttle::new(now.at),
            faults: FaultLog::default(),
            effects,
            published_status: None,
            metrics: Metrics::default(),
            counts,
            discovery: Discovery::default(),
            _window: window,
            receipts: Vec::new(),
            tests: testing::Tests::new(),
            poison: PoisonMessages::default(),
            commands: Commands::default(),
            replies: Replies::default(),
            searches: Searches::default(),
            reload: Reload::default(),
        }
    }

    async fn run(mut self, mut stop: Stop) -> anyhow::Result<End> {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            gateway = self.config.gateway.id,
            alarms = self.engine.len(),
            "started"
        );
        // What the changed configuration has decided is written before anything else happens.
        self.finish_turn().await;
        signals::ready();
        loop {
            // 1. Wait for something to happen, for a deadline, or for the end.
            let wake_at = self.wake_at();
            let first = tokio::select! {
                biased;
                request = stop.requested() => match request {
                    StopRequest::Stop => break,
                    StopRequest::Reload => {
                        self.begin_reload(None);
                        continue;
                    }
                },
                received = self.events.recv() => Some(received.ok_or_else(|| anyhow::anyhow!("the connection's task has ended"))?),
                read = self.reload.read() => {
                    self.finish_reload(read, self.clock.now()).await;
                    None
                }
                answer = self.answers.recv() => {
                    let answer = answer.ok_or_else(|| anyhow::anyhow!("the reactions' thread has ended"))?;
                    self.notifier.answered(answer, &self.link, self.clock.now());
                    None
                }
                done = self.durables.anomalies.done() => {
                    self.model_done(done, self.clock.now());
                    None
                }
                () = tokio::time::sleep_until(self.clock.instant(wake_at).into()) => None,
            };
            // 2. A timer may be late. What the socket holds came before it was: let that be read first.
            if first.is_none() {
                tokio::task::yield_now().await;
            }
            // 3. Take everything that is waiting. If the socket was not read for a while, what was received since is late.
            let stalled_since = self.look_for_delays();
            if stalled_since.is_some_and(|since| self.may_be_replaced(since)) {
                self.poison.end();
                return Ok(End::Yielded);
            }
            // A deadline that passed meanwhile needs a proof that is asked for now: what comes in a burst has no order.
            self.probe_if_due();
            let mut next = first;
            let (began, earlier) = (self.clock.at(), self.metrics.messages);
            for _ in 0..TURN {
                let received = match next.take() {
                    Some(received) => received,
                    None => match self.events.try_recv() {
                        Ok(received) => received,
                        Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                            self.interrupt_all();
                            break;
                        }
                    },
                };
                if let LinkEvent::Message(message) = &received.event
                    && let Some(mark) = self.poison.mark(message, received.at)
                {
                    mark.write().await;
                }
                self.receive(received);
                if self.poison.have_mark() || self.has_lost_its_place {
                    break;
                }
            }
            // 4. Fire what is due, as far as it is proven that nothing else has come, and go on with commands.
            self.advance();
            self.begin_turn_of_commands();
            self.carry_out(self.clock.now());
            // 5. Write, then speak.
            let (wants_answers, events) = (!self.receipts.is_empty(), self.effects.events.len());
            self.finish_turn().await;
            if self.has_lost_its_place {
                self.yield_to_others().await;
                self.poison.end();
                return Ok(End::Yielded);
            }
            // 6. Where messages come in quick succession, let some of them come.
            let taken = self.metrics.messages - earlier;
            let events = if self.durables.outbox.has_unsent_events() { 0 } else { events };
            if let Some(rest) = self.throttle.turned(taken, events, began, self.clock.at()).filter(|_| !wants_answers) {
                throttle::rest(rest).await;
            }
        }
        self.stop().await;
        self.poison.end();
        Ok(End::Stopped)
    }

    /// When the loop has to wake if nothing happens before.
    fn wake_at(&mut self) -> Moment {
        if self.has_commands_to_do() {
            return self.clock.at();
        }
        let mut wake = self.counts.wake_at().map_or(self.due.watchdog, |show| show.min(self.due.watchdog));
        if self.can_speak() {
            let deadline = self.pending_deadline();
            // While a probe is on its way, its return wakes us.
            let due = self.observation.probe_due(deadline).or(self.observation.overdue_at());
            wake = due.map_or(wake, |due| wake.min(due));
        }
        // In a gap no observe-time ends, but a shelving does.
        if !self.engine.link().is_up()
            && let Some(deadline) = self.engine.next_wake()
        {
            wake = wake.min(deadline + Span::from_micros(1));
        }
        if let Some(due) = self.notifier.next_due(self.link.is_up()) {
            wake = wake.min(due);
        }
        if let Some(due) = self.durables.anomalies.wake_at(self.can_speak()) {
            wake = wake.min(due);
        }
        match self.persistence.retry_at() {
            Some(retry) => wake = wake.min(retry),
            None => {
                if self.persistence.wants_checkpoint(&mut self.engine, &self.durables) {
                    wake = wake.min(self.due.checkpoint);
                }
                if self.durables.has_deletions(self.clock.at()) {
                    wake = wake.min(self.due.tidy);
                }
            }
        }
        if self.can_speak() {
            wake = self.durables.outbox.resting_until().map_or(wake, |end| wake.min(end));
            wake = wake.min(self.due.metrics);
            if !self.faults.is_empty() {
                wake = wake.min(self.due.faults);
            }
            if self.published_status.as_ref() != Some(&self.status) {
                wake = wake.min(self.due.status);
            }
            wake = wake.min(self.due.renewal);
            if let Some(round) = self.next_announcements().filter(|round| *round > self.clock.at()) {
                wake = wake.min(round);
            }
        }
        wake
    }

    /// Writes what the turn has decided, and then lets it be seen.
    async fn finish_turn(&mut self) {
        let now = self.clock.now();
        // The disk has it how far was observed with the checkpoints alone, and with them the deadlines that gaps have moved.
        // So the end of a gap needs no write of its own: on a slow disk that would be the beginning of the next one.
        let checkpoint =
            now.at >= self.due.checkpoint && self.persistence.wants_checkpoint(&mut self.engine, &self.durables);
        if checkpoint {
            self.due.checkpoint = now.at + self.config.gateway.checkpoint;
        }
        self.turn_of_models(now);
        self.persistence.look_for_old(&mut self.durables.history_log, now.at).await;
        self.persistence.forget_models(&mut self.durables.anomalies).await;
        let tidy = now.at >= self.due.tidy && self.durables.has_deletions(now.at);
        if tidy {
            self.due.tidy = now.at + TIDY_PAUSE;
        }
        self.metrics.events += self.effects.events.len() as u64;
        self.count_events(now);
        self.announce_changes();
        while let Ok(answer) = self.answers.try_recv() {
            self.notifier.answered(answer, &self.link, now);
        }
        let payloads: Vec<Bytes> = self.effects.events.iter().map(|event| self.render(event)).collect();
        self.notifier.decide(&self.effects, &payloads, &self.engine, now, self.link.is_up());
        let occasion = Occasion { checkpoint, tidy };
        let Daemon { persistence, durables, engine, notifier, effects, clock, .. } = self;
        persistence.write(durables, (engine, notifier), effects, payloads, clock, occasion).await;
        // From here on everything that was decided is on disk, or the status says that it is not.
        for receipt in self.receipts.drain(..) {
            self.link.acknowledge(receipt);
        }
        self.messages_acknowledged();
        self.settle_acknowledgements();
        self.notifier.release(&self.link, now);
        self.answer_tests();
        for reply in self.replies.take() {
            self.answer(reply);
        }
        self.begin_searches();
        self.send_waiting().await;
        self.announce();
        self.housekeeping(now);
        self.poison.turn_completed();
    }

    /// An event as it is published and handed to reactions: it is rendered once.
    fn render(&self, event: &Event) -> Bytes {
        event::render(event, &self.config.gateway.id).into()
    }

    /// Alarms whose retained topics are not right any more.
    fn announce_changes(&mut self) {
        for alarm in self.effects.changed.drain(..).chain(self.engine.alarms_from(self.alarms_known)) {
            self.durables.outbox.state_changed(alarm);
        }
        self.alarms_known = self.engine.next_alarm();
        self.discovery.appeared(&mut self.effects.appeared);
    }

    /// Hands over what has room in the window.
    async fn send_waiting(&mut self) {
        let now = self.clock.at();
        loop {
            self.persistence.load_waiting(&mut self.durables.outbox).await;
            let Some(send) = self.durables.outbox.next_to_send(now) else { return };
            let (outbound, token) = match send {
                Send::OutboundEvent(number, outbound_event) => (
                    Outbound {
                        topic: outbound_event.topic.to_string(),
                        payload: outbound_event.payload,
                        confirmed: true,
                        retain: outbound_event.retain,
                        ..Outbound::default()
                    },
                    Token::OutboundEvent(number),
                ),
                Send::State(alarm) => {
                    let view = self.engine.view(alarm);
                    if view.is_latent() {
                        // Its topic has gone meanwhile.
                        self.durables.outbox.taken(Token::State(alarm));
                        continue;
                    }
                    let topic = self.config.gateway.topics.alarm(view.id());
                    let payload = state::render(view, &self.config.gateway.id).into();
                    let state = Outbound { topic, payload, confirmed: true, retain: true, ..Outbound::default() };
                    (state, Token::State(alarm))
                }
            };
            // If the link has just gone, its Down event is in the queue: all of this will be sent again.
            if !self.link.send(outbound, token) {
                return;
            }
        }
    }

    /// Whether there is somebody to tell.
    fn can_speak(&self) -> bool {
        self.link.is_up() && self.observation.is_connected()
    }

    /// Publishes something of which only the newest matters.
    fn publish(&self, topic: String, payload: Vec<u8>, confirmed: bool, retain: bool) -> bool {
        let outbound = Outbound { topic, payload: payload.into(), confirmed, retain, ..Outbound::default() };
        self.link.send(outbound, Token::Passing)
    }
}

/// The subscriptions that a configuration wants.
fn wanted(config: &Config) -> Vec<(String, u8)> {
    let Gateway { topics, commands, .. } = &config.gateway;
    let of_sources = config.sources.iter().flat_map(|source| source.filters().map(|filter| (filter, source.qos)));
    let of_commands = topics.commands().into_iter().filter(|_| *commands).map(|filter| (filter, 1));
    let of_others = config.home_assistant.iter().map(|prefix| (home_assistant::status_topic(prefix), 1));
    subscriptions(of_sources.chain(of_commands).chain(of_others).chain([(topics.probe(), 1)]))
}
