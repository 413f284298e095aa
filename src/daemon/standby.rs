//! Standby: before the work begins, the retained state is read, and the end of an active instance is awaited.
//!
//! An instance that shares things with others, or that stands by for another one, first reads the retained topics of
//! its gateway over a connection of its own, which leaves nothing behind. Alarms that its store does not have are taken
//! over as published, so that nothing is activated a second time after another instance. A standby goes on reading
//! until the active instance has been silent for a while.
//!
//! A single instance whose store has lost data reads its own retained topics once: states that are newer than those in
//! the store are taken over, and retained topics of unknown alarms can be deleted. The same is done after the mark of a
//! run whose disk accepted nothing was found ([`unstored`]).
//!
//! There is no election. The active instance has the one session at the broker that belongs to the gateway. Another one
//! that connects with its client identifier ends the connection of the one before, which then cannot publish any more
//! and reads the retained state anew, as after a start.

use super::Unusable;
use super::housekeeping::IDLE_TURN;
use super::shutdown::STOP_LIMIT;
use super::signals::{self, Stop, StopRequest};
use crate::api::{retained, status, unstored};
use crate::config::{Config, Gateway, MqttSettings, Standby};
use crate::domain::engine::{AlarmMemory, Memory};
use crate::domain::model::{AlarmId, Model};
use crate::domain::outbox::Token;
use crate::domain::time::{Moment, Now, Span};
use crate::io::clock::Clock;
use crate::io::mqtt::{self, Inbound, LinkEvent, Outbound, Received, Terms};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Maximum time until all retained messages are received. Normally the message that this instance sends to itself is
/// behind them and marks their end; access rules may prevent that.
const ALL_HAS_COME: Span = Span::from_secs(10);

/// Maximum time for which a single instance, whose store has lost data, waits for the broker: queued reactions do not
/// need it, and uncertain alarms are marked as such.
const LOOK_FOR: Span = Span::from_secs(30);

/// The retained state at the broker.
#[derive(Debug, Clone, Default)]
pub(super) struct RetainedState {
    /// Published states of alarms, by topic.
    pub(super) alarms: BTreeMap<String, retained::Alarm>,
    /// True if another instance was the last to work: the states in this instance's store are older than its.
    pub(super) is_of_another: bool,
    /// Events below this number, and some that were numbered by the clock, were published but not stored; `None`
    /// without a mark.
    pub(super) unstored_below: Option<u64>,
    /// True if the numbers that were given out cannot be determined.
    pub(super) has_unknown_numbers: bool,
}

impl RetainedState {
    /// Removes the memories of things that other instances own, or all of them if another instance has worked since.
    /// Returns the removed ones.
    pub(super) fn leave_to_others(&self, model: &Model, alarms: &mut Vec<Memory>) -> Vec<AlarmMemory> {
        let is_theirs = |memory: &mut Memory| self.is_of_another || !model.share.has(&memory.alarm.facts.thing);
        alarms.extract_if(.., is_theirs).map(|memory| memory.alarm).collect()
    }

    /// The highest number of an event that this gateway published, according to retained states.
    pub(super) fn highest_seq(&self, gateway: &str) -> Option<u64> {
        self.alarms.values().filter_map(|alarm| alarm.seq_of(gateway)).max()
    }

    /// After a loss in the store: replaces states in the store by newer ones that this gateway published itself, and
    /// adds missing ones. Returns the states that were put or added.
    pub(super) fn take_back(
        &self,
        gateway: &str,
        model: &Model,
        alarms: &mut Vec<Memory>,
        handles: u32,
        now: Now,
    ) -> Vec<&retained::Alarm> {
        let known: BTreeMap<AlarmId, usize> =
            alarms.iter().enumerate().map(|(place, memory)| (memory.alarm.facts.id.clone(), place)).collect();
        let mut taken = Vec::new();
        for (alarm, handle) in self.alarms.values().zip(handles + 1..) {
            let place = known.get(&alarm.id()).copied();
            let stored = place.and_then(|place| alarms.get(place)).map(|memory| &memory.alarm);
            let seq = stored.and_then(|stored| stored.last.as_ref()).map(|last| last.seq);
            let is_newer = stored.is_none() || alarm.seq_of(gateway) > seq;
            let handle = stored.map_or(handle, |stored| stored.handle);
            let Some(memory) = alarm.own_memory(gateway, handle, model, now).filter(|_| is_newer) else { continue };
            let memory = Memory { alarm: memory, soft: None, samples: Vec::new() };
            match place.and_then(|place| alarms.get_mut(place)) {
                Some(stored) => *stored = memory,
                None => alarms.push(memory),
            }
            taken.push(alarm);
        }
        taken
    }

    /// Adds the alarms that the store does not have, as if they had been stored. Returns the states that were added.
    pub(super) fn take_over(
        &self,
        model: &Model,
        alarms: &mut Vec<Memory>,
        handles: u32,
        now: Now,
    ) -> Vec<&retained::Alarm> {
        let known: BTreeSet<AlarmId> = alarms.iter().map(|memory| memory.alarm.facts.id.clone()).collect();
        let mut taken = Vec::new();
        for (alarm, handle) in self.alarms.values().zip(handles + 1..) {
            if !known.contains(&alarm.id())
                && let Some(memory) = alarm.memory(handle, model, now)
            {
                alarms.push(Memory { alarm: memory, soft: None, samples: Vec::new() });
                taken.push(alarm);
            }
        }
        taken
    }
}

/// Reads the retained state, and waits while another instance works. `None`: a stop was requested.
/// `returns`: this instance has just been the active one; `has_lost`: the store has lost data.
pub(super) async fn keep(
    config: &Config,
    returns: bool,
    has_lost: bool,
    stop: &mut Stop,
) -> anyhow::Result<Option<RetainedState>> {
    let gateway = &config.gateway;
    if is_alone(gateway) && !has_lost {
        return Ok(Some(RetainedState::default()));
    }
    if gateway.shard.is_some_and(|shard| shard.index.is_none()) {
        let what = "index of [shard]: there is no number at the end of the host name, or no such variable";
        return Err(Unusable(what.to_owned()).into());
    }
    let clock = Rc::new(Clock::start(None));
    let mut reader = RetainedReader::new(config, returns, clock.now());
    if has_lost {
        tracing::warn!("the store has lost something: looks at what was published");
    }
    let terms = Terms { is_kept: false, ..Terms::default() };
    let settings =
        MqttSettings { client_id: format!("{}-{}", config.mqtt.client_id, reader.name), ..config.mqtt.clone() };
    let (link, mut events) = mqtt::connect(&settings, reader.filters(), reader.word("offline"), clock.clone(), terms);
    signals::ready();
    let mut watchdog = clock.at();
    loop {
        let due = reader.due();
        let wake = due.map_or(watchdog, |due| due.min(watchdog));
        tokio::select! {
            biased;
            request = stop.requested() => match request {
                StopRequest::Stop => {
                    signals::stopping();
                    leave(&link, &mut events, reader.nothing()).await;
                    return Ok(None);
                }
                StopRequest::Reload => tracing::info!("standing by: the configuration is read when there is work"),
            },
            happened = events.recv() => {
                let Some(Received { at, event, .. }) = happened else { anyhow::bail!("the connection's task has ended") };
                if matches!(event, LinkEvent::Up { .. }) {
                    let state = if reader.standby.is_some() { "standing-by" } else { "looking" };
                    link.send(reader.word(state), Token::Passing);
                }
                if let LinkEvent::Message(inbound) = &event {
                    link.took(inbound);
                }
                reader.receive_event(event, at)?;
            }
            () = tokio::time::sleep_until(clock.instant(wake).into()) => {}
        }
        if clock.at() >= watchdog {
            signals::turn_completed();
            watchdog = clock.at() + IDLE_TURN;
        }
        if let Some(why) = reader.ends(clock.at()) {
            tracing::info!(why, known = reader.retained.alarms.len(), "begins to work");
            leave(&link, &mut events, reader.nothing()).await;
            let RetainedReader { mut retained, .. } = reader;
            // A single instance returns here because there was a mark. Without it, the numbers are unknown.
            retained.has_unknown_numbers = is_alone(gateway) && returns && retained.unstored_below.is_none();
            return Ok(Some(retained));
        }
    }
}

/// True if the configuration has neither shards nor a standby, so that no other instance works for the gateway.
pub(super) fn is_alone(gateway: &Gateway) -> bool {
    gateway.shard.is_none() && gateway.standby.is_none()
}

/// Sends the last message and closes the connection, so that the broker does not publish the last will.
async fn leave(link: &mqtt::Link, events: &mut mqtt::Listener, last_word: Outbound) {
    let taken = async {
        let is_answer = |event: &LinkEvent| {
            matches!(
                event,
                LinkEvent::Taken { token: Token::FinalStatus, .. }
                    | LinkEvent::Refused { token: Token::FinalStatus, .. }
                    | LinkEvent::Down { .. }
            )
        };
        while events.recv().await.is_some_and(|received| !is_answer(&received.event)) {}
    };
    let is_sent = link.send(last_word, Token::FinalStatus);
    if tokio::time::timeout(if is_sent { STOP_LIMIT } else { Duration::ZERO }, taken).await.is_err() {
        tracing::debug!("the broker did not confirm the last word in time");
    }
    link.close();
    let closed = async { while events.recv().await.is_some() {} };
    if tokio::time::timeout(STOP_LIMIT, closed).await.is_err() {
        tracing::debug!("the connection did not close in time");
    }
}

/// The reader of retained messages and its findings so far.
struct RetainedReader<'a> {
    config: &'a Config,
    standby: Option<&'a Standby>,
    name: String,
    retained: RetainedState,
    /// The instance that worked last, according to the gateway's status; `None` if there is none.
    last: Option<String>,
    /// True if this instance has just been the active one, and no other has shown up since.
    returns: bool,
    /// Time at which a single instance stops to wait for the broker; `None` where other instances may work.
    gives_up: Option<Moment>,
    /// Start of the present connection; `None` while there is none.
    up_since: Option<Moment>,
    /// True once all retained messages are received.
    has_all: bool,
    /// Time of the last sign of another active instance, or of the connection or start of the reader if that is later.
    last_sign: Moment,
}

impl<'a> RetainedReader<'a> {
    fn new(config: &'a Config, returns: bool, now: Now) -> RetainedReader<'a> {
        let standby = config.gateway.standby.as_ref();
        RetainedReader {
            config,
            standby,
            name: standby.map_or_else(|| "heir".to_owned(), |standby| standby.name.clone()),
            retained: RetainedState::default(),
            last: None,
            returns,
            gives_up: is_alone(&config.gateway).then(|| now.at + LOOK_FOR),
            up_since: None,
            has_all: false,
            last_sign: now.at,
        }
    }

    /// Subscriptions with quality of service 0: brokers queue about a thousand messages of higher ones, and there may
    /// be more alarms.
    fn filters(&self) -> Vec<(String, u8)> {
        let topics = &self.config.gateway.topics;
        if self.gives_up.is_some() {
            return vec![(topics.alarms(), 0), (topics.probe(), 0)];
        }
        let filters = [topics.status(), topics.alarms(), topics.standby(&self.name)];
        let events = self.standby.map(|_| topics.events());
        filters.into_iter().chain(events).map(|filter| (filter, 0)).collect()
    }

    /// The message about this instance's own state while it reads. The broker returns it behind all retained messages.
    fn word(&self, state: &str) -> Outbound {
        Outbound {
            topic: self.own_topic(),
            payload: status::of_standby(state, &self.config.gateway.id).into(),
            retain: self.standby.is_some(),
            ..Outbound::default()
        }
    }

    /// The topic of [`RetainedReader::word`]. A single instance uses its probe topic.
    fn own_topic(&self) -> String {
        let topics = &self.config.gateway.topics;
        if self.gives_up.is_some() { topics.probe() } else { topics.standby(&self.name) }
    }

    /// The empty message that removes this instance's own state when it has finished.
    fn nothing(&self) -> Outbound {
        Outbound { payload: bytes::Bytes::new(), confirmed: true, ..self.word("") }
    }

    fn receive_event(&mut self, event: LinkEvent, at: Moment) -> anyhow::Result<()> {
        match event {
            LinkEvent::Up { .. } => {
                self.up_since = Some(at);
                self.has_all = false;
                self.retained.alarms.clear();
                // Nothing could be received while there was no connection.
                self.last_sign = at;
                if self.standby.is_some() {
                    tracing::info!("standing by");
                }
            }
            LinkEvent::Down { reason, .. } => {
                tracing::warn!(reason, "cannot look for what others have left");
                self.up_since = None;
            }
            LinkEvent::Subscribed { refused } => self.refused(refused)?,
            LinkEvent::Message(inbound) => self.message(&inbound, at),
            LinkEvent::Taken { .. } | LinkEvent::Refused { .. } | LinkEvent::Retained(_) => {}
        }
        Ok(())
    }

    fn refused(&self, refused: Vec<(String, String)>) -> anyhow::Result<()> {
        for (filter, reason) in refused {
            anyhow::ensure!(
                self.standby.is_none() || filter != self.config.gateway.topics.status(),
                "cannot stand by: the broker does not let this user read {filter}: {reason}"
            );
            tracing::error!(filter, reason, "subscription refused: what others have left there is not taken over");
        }
        Ok(())
    }

    fn message(&mut self, inbound: &Inbound, at: Moment) {
        let Inbound { topic, payload, retained, .. } = inbound;
        let topics = &self.config.gateway.topics;
        if *topic == self.own_topic() {
            self.has_all |= !retained && !payload.is_empty();
            if *retained && self.standby.is_none() {
                self.retained.unstored_below = unstored::read(payload, &self.config.gateway.id);
            }
        } else if *topic == topics.status() {
            let said = status::read(payload);
            let own = &self.config.gateway.id;
            if let Some(said) = &said
                && said.gateway != *own
                && said.is_online
            {
                self.last_sign = at;
                self.returns = false;
            }
            self.last = said.map(|said| said.gateway);
        } else if let Some(topic) = topics.alarm_of_event(topic) {
            // An event is published before the resulting state; an instance that ended in between has not published the
            // state.
            if let Some(alarm) = retained::read(payload).filter(|_| !retained) {
                let before = self.retained.alarms.remove(&topic);
                if self.config.model.share.has(&alarm.thing) {
                    self.retained.alarms.insert(topic, alarm.since(before));
                }
            }
        } else if payload.is_empty() {
            self.retained.alarms.remove(topic);
        } else if let Some(alarm) = retained::read(payload)
            && self.config.model.share.has(&alarm.thing)
        {
            self.retained.alarms.insert(topic.clone(), alarm);
        }
    }

    /// The next time at which [`RetainedReader::ends`] may change its result without a message.
    fn due(&self) -> Option<Moment> {
        let Some(up_since) = self.up_since else { return self.gives_up };
        match self.standby {
            _ if !self.has_all => Some(up_since + ALL_HAS_COME),
            Some(standby) => Some(self.last_sign + standby.after),
            None => None,
        }
    }

    /// The reason to begin to work; `None` while the reader has to wait.
    fn ends(&mut self, now: Moment) -> Option<&'static str> {
        let Some(up_since) = self.up_since else {
            return self.gives_up.is_some_and(|end| now >= end).then_some("the broker cannot be reached");
        };
        if !self.has_all {
            if now - up_since < ALL_HAS_COME {
                return None;
            }
            tracing::warn!("cannot hear ourselves: it is not known whether all that others have left has come");
            self.has_all = true;
        }
        let Some(standby) = self.standby else { return Some("what was retained is known") };
        let was_another = self.last.as_ref().is_some_and(|last| *last != self.config.gateway.id);
        if self.last.is_some() && !was_another || self.last.is_none() && self.returns {
            return Some("nobody else has worked since");
        }
        if now - self.last_sign < standby.after {
            return None;
        }
        self.retained.is_of_another = was_another;
        Some(if was_another { "the other one is gone" } else { "there is no other one" })
    }
}
