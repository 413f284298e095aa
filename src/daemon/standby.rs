//! Before the work begins: what others have left, and whether there is anything to do yet.
//!
//! An instance that shares things with others, or that stands by for another one, first looks at the retained topics of
//! its gateway by a connection of its own, which leaves nothing behind. Alarms that it has no memory of are taken over as
//! they are there, so that nothing is activated a second time because somebody else has seen the first. One that stands
//! by goes on looking until nothing was events for a while of the one that works.
//!
//! One whose store has lost something looks once, too, at what it has published itself: states that are newer than those
//! in the store are taken over, and retained topics of alarms that nobody knows any more can be deleted. The same does one
//! that has found the mark of a run whose disk took nothing ([`unstored`]).
//!
//! Nobody is asked and nothing is agreed upon. Who works has the one session at the broker that belongs to the gateway;
//! whoever connects with its name ends the connection of the one before, and so that one cannot publish any more,
//! whatever it thinks of itself. It looks anew then, as after a start.

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

/// How long what is retained may take to come. It is waited for what comes back of ourselves, which is behind it; where
/// access rules keep that, what has come until then has to do.
const ALL_HAS_COME: Span = Span::from_secs(10);

/// How long one that works alone, and whose store has lost something, waits for the broker: reactions that wait do not need
/// it, and alarms that are uncertain say so.
const LOOK_FOR: Span = Span::from_secs(30);

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct RetainedState {
    /// Alarms as their retained topics have them, by topic.
    pub(super) alarms: BTreeMap<String, retained::Alarm>,
    /// Whether another instance was the last to work: what we remember of alarms is older than that.
    pub(super) is_of_another: bool,
    /// Events below this number, and some that were numbered by the clock, were published, and the store knows nothing of it.
    pub(super) unstored_below: Option<u64>,
    /// Whether nobody can tell which numbers were given out.
    pub(super) has_unknown_numbers: bool,
}

impl RetainedState {
    /// Takes out of what we remember what is not ours to know: things of other instances, and everything if another one
    /// has worked since.
    pub(super) fn leave_to_others(&self, model: &Model, alarms: &mut Vec<Memory>) -> Vec<AlarmMemory> {
        let is_theirs = |memory: &mut Memory| self.is_of_another || !model.share.has(&memory.alarm.facts.thing);
        alarms.extract_if(.., is_theirs).map(|memory| memory.alarm).collect()
    }

    /// The highest number of an event of this gateway that is published.
    pub(super) fn highest_seq(&self, gateway: &str) -> Option<u64> {
        self.alarms.values().filter_map(|alarm| alarm.seq_of(gateway)).max()
    }

    /// After the store has lost something: puts what this gateway has published itself in the place of what is older in
    /// the store, and adds what is not there. What was put and added is returned.
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

    /// Adds the alarms that we have no memory of as if they had been stored. What was added is returned.
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

/// Looks around, and waits as long as another one works. None: somebody wants us to end.
/// `has_lost`: the store has lost something.
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
            // It has come back because there was a mark.
            retained.has_unknown_numbers = is_alone(gateway) && returns && retained.unstored_below.is_none();
            return Ok(Some(retained));
        }
    }
}

/// Whether no other instance works for the same gateway.
pub(super) fn is_alone(gateway: &Gateway) -> bool {
    gateway.shard.is_none() && gateway.standby.is_none()
}

/// Says a last word and closes the connection, so that the last will does not say another one.
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

/// What is known so far.
struct RetainedReader<'a> {
    config: &'a Config,
    standby: Option<&'a Standby>,
    name: String,
    retained: RetainedState,
    /// Who worked last, as the status says.
    last: Option<String>,
    /// Whether we were the ones who worked, a moment ago.
    returns: bool,
    /// When it gives up to reach the broker; never where others may work.
    gives_up: Option<Moment>,
    /// Since when the connection is there.
    up_since: Option<Moment>,
    /// Whether all that is retained has come.
    has_all: bool,
    /// When another one was last known to work; at first, when we began to look.
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

    /// Without quality of service: brokers have room for a thousand messages of that kind that wait, and for more alarms.
    fn filters(&self) -> Vec<(String, u8)> {
        let topics = &self.config.gateway.topics;
        if self.gives_up.is_some() {
            return vec![(topics.alarms(), 0), (topics.probe(), 0)];
        }
        let filters = [topics.status(), topics.alarms(), topics.standby(&self.name)];
        let events = self.standby.map(|_| topics.events());
        filters.into_iter().chain(events).map(|filter| (filter, 0)).collect()
    }

    /// What this instance says of itself while it waits. It comes back to us behind everything that is retained.
    fn word(&self, state: &str) -> Outbound {
        Outbound {
            topic: self.own_topic(),
            payload: status::of_standby(state, &self.config.gateway.id).into(),
            retain: self.standby.is_some(),
            ..Outbound::default()
        }
    }

    /// Where this instance hears itself. One that is alone has a topic for that anyway.
    fn own_topic(&self) -> String {
        let topics = &self.config.gateway.topics;
        if self.gives_up.is_some() { topics.probe() } else { topics.standby(&self.name) }
    }

    /// It waits no more.
    fn nothing(&self) -> Outbound {
        Outbound { payload: bytes::Bytes::new(), confirmed: true, ..self.word("") }
    }

    fn receive_event(&mut self, event: LinkEvent, at: Moment) -> anyhow::Result<()> {
        match event {
            LinkEvent::Up { .. } => {
                self.up_since = Some(at);
                self.has_all = false;
                self.retained.alarms.clear();
                // Nothing could be events while there was no connection.
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
            // An event is published before the state that it leads to; who died in between has not told the state.
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

    /// When [`RetainedReader::ends`] may have something else to say, if nothing happens before.
    fn due(&self) -> Option<Moment> {
        let Some(up_since) = self.up_since else { return self.gives_up };
        match self.standby {
            _ if !self.has_all => Some(up_since + ALL_HAS_COME),
            Some(standby) => Some(self.last_sign + standby.after),
            None => None,
        }
    }

    /// Why there is work to do, if there is.
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
