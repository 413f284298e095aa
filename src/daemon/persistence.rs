//! The daemon's memory: what a turn decided goes to the store in one write, and comes back after a restart.
//!
//! It also says when that is not so. While the disk refuses, alarms go on and are published; everything is kept in
//! memory, the status tells, and as soon as the disk takes it all of it is written.

use super::discovery::Prefixes;
use super::durable::{Durable, Durables, Obsolete, Removed, Write};
use super::filters::Filters;
use super::history_log::{self, HistoryLog, Retention};
use super::models::{self, Anomalies};
use super::notifier::Notifier;
use super::standby::{self, RetainedState};
use crate::api::unstored;
use crate::config::{Config, Gateway};
use crate::domain::dedup::Dedup;
use crate::domain::engine::{AlarmMemory, Effects, Engine, Event, LastChange};
use crate::domain::history::Filter;
use crate::domain::model::AlarmId;
use crate::domain::outbox::{OutboundEvent, Outbox, PAGE};
use crate::domain::time::{Moment, Now, Span};
use crate::io::clock::{Clock, Machine, ThisMachine};
use crate::io::send::sender::Answer;
use crate::io::store::anomalies as stored;
use crate::io::store::disk::{OpenError, Opened};
use crate::io::store::history::{self, Binding, BlockIndex, Search};
use crate::io::store::keeper::Keeper;
use crate::io::store::late::LateStore;
use crate::io::store::record::{self, Position, Recovered, reactions};
use crate::io::store::{Batch, Loss, Store, StoreError};
use anyhow::Context as _;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// While the disk refuses, it is asked again this often.
const RETRY: Span = Span::from_secs(5);

/// Numbers that are left free where the clock stands too early to number by: hours of a hundred events a second.
const LEFT_FREE: u64 = 1_000_000;

/// An instance that has vanished may not have told anybody of what it had activated so shortly before: the one that takes
/// over does, with the same ids. Mail servers and web hooks that work answer sooner.
const UNTOLD: Span = Span::from_secs(5 * 60);

/// What a write is an occasion for, besides what has just been decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion {
    /// To write what changed with values.
    pub(super) checkpoint: bool,
    /// To remove what the broker has taken.
    pub(super) tidy: bool,
}

/// Reactions, and where the answers of their thread come out.
pub(super) type Reactors = (Notifier, tokio::sync::mpsc::Receiver<Answer>);

/// The parts of a daemon that go on from where an earlier run was.
pub(super) struct Resumed {
    pub(super) persistence: Persistence,
    pub(super) durables: Durables,
    pub(super) clock: Clock,
    pub(super) engine: Engine,
    pub(super) reactors: Reactors,
}

#[derive(Debug)]
pub(super) struct Persistence {
    keeper: Keeper,
    gateway: Gateway,
    /// Outbound events that delete the retained topics of alarms that are gone, and wait for the next write.
    retractions: Vec<OutboundEvent>,
    /// What was found when the store was opened.
    opening: Option<String>,
    /// Alarms whose samples the next write removes.
    void: Vec<u32>,
    /// Whether the next write is noted beside the store, whatever it holds.
    must_confirm: bool,
    /// Whether the broker has a mark of this gateway ([`unstored`]) that goes as soon as the store has everything.
    is_marked: bool,
    /// The number of the next event as the store had it at the start.
    stored_seq: u64,
    /// Why the last write failed, and when the next attempt is due.
    failure: Option<(StoreError, Moment)>,
    commits: u64,
    stored_bytes: u64,
    /// Up to where the store knows that time was observed.
    observed_until: Moment,
}

impl Persistence {
    /// Opens the store and puts the engine and the time line back to where they were.
    pub(super) fn open(
        config: &Config,
        retained: &RetainedState,
        opened: Result<Opened, OpenError>,
        effects: &mut Effects,
    ) -> anyhow::Result<Resumed> {
        let start = |store| Keeper::start(store).context("cannot start the store's thread");
        let machine = Box::new(ThisMachine);
        let state_dir = &config.gateway.state_dir;
        match opened {
            Ok(Opened { store, trouble, loss }) => {
                let loss = loss.zip(trouble).map(|(loss, trouble)| Loss { what: trouble, ..loss });
                Persistence::recover(config, Box::new(store), loss, retained, machine, start, effects)
            }
            Err(error @ OpenError::InUse(_)) => Err(error.into()),
            Err(OpenError::Io(error)) => {
                tracing::error!(%error, "alarms go on, but nothing of this survives a restart");
                let store = LateStore::new(state_dir);
                // What is published now is not known to the next start, if the disk takes nothing until then.
                let retained = &RetainedState { has_unknown_numbers: true, ..retained.clone() };
                let mut resumed =
                    Persistence::recover(config, Box::new(store), None, retained, machine, start, effects)?;
                let Resumed { persistence, durables, clock, engine, .. } = &mut resumed;
                // Below the number that is next by the clock, so that a store that has it knows more than the mark.
                persistence.mark(engine.next_seq().saturating_sub(1), &mut durables.outbox);
                persistence.failure = Some((error, clock.at()));
                Ok(resumed)
            }
        }
    }

    /// Goes on with what is in the store; `keep` gives the store to whoever will write it.
    pub(super) fn recover(
        config: &Config,
        mut store: Box<dyn Store>,
        loss: Option<Loss>,
        retained: &RetainedState,
        machine: Box<dyn Machine>,
        keep: impl FnOnce(Box<dyn Store>) -> anyhow::Result<Keeper>,
        effects: &mut Effects,
    ) -> anyhow::Result<Resumed> {
        let gateway = config.gateway.clone();
        let Recovered { position, mut alarms, packets, first_packet, mut damaged, mut obsolete, free_handle } =
            record::recover(store.as_mut())?;
        let stored_seq = position.as_ref().map_or(1, |position| position.next_seq);
        let loss = with_unstored(loss, retained, stored_seq);
        let prefixes = record::texts(store.as_mut(), record::DISCOVERY)?;
        let filters = record::texts(store.as_mut(), record::FILTERS)?;
        let mut names = history::names(store.as_mut(), &mut damaged)?;
        let shelved = history::shelved(store.as_mut())?;
        let mut trouble = loss.as_ref().map(|loss| loss.what.clone());
        if damaged > 0 {
            let lost = format!("{damaged} records were damaged: those alarms begin anew");
            trouble = Some(trouble.map_or(lost.clone(), |trouble| format!("{trouble}; {lost}")));
        }
        if let Some(trouble) = &trouble {
            tracing::error!(trouble, "store");
        }
        if let Some(position) = &position
            && position.gateway != gateway.id
        {
            anyhow::bail!(
                "{} belongs to gateway {:?}, this one is {:?}: give it a state_dir of its own, or the id back",
                gateway.state_dir.display(),
                position.gateway,
                gateway.id
            );
        }
        let clock = Clock::on(machine, position.as_ref().map(|position| &position.anchor));
        let now = clock.now();
        let outbox = restore_outbox(store.as_mut(), position.as_ref())?;
        let observed_until = position.as_ref().map(|position| position.observed_until);
        let handles = free_handle.saturating_sub(1);
        let elsewhere = retained.leave_to_others(&config.model, &mut alarms);
        // Alarms whose state in the store is what was last published.
        let mut certain = match &loss {
            Some(loss) => Some(loss.rewritten.clone()),
            None => (damaged > 0).then(|| alarms.iter().map(|memory| memory.alarm.handle).collect()),
        };
        let inherited = match &mut certain {
            Some(certain) if standby::is_alone(&config.gateway) => {
                let inherited = retained.take_back(&gateway.id, &config.model, &mut alarms, handles, now);
                certain.retain(|handle| {
                    alarms.iter().all(|memory| memory.alarm.handle != *handle || !memory.alarm.is_uncertain)
                });
                inherited
            }
            // The mark was older than the store: nothing has to be taken back.
            None if standby::is_alone(&config.gateway) => Vec::new(),
            Some(_) | None => retained.take_over(&config.model, &mut alarms, handles, now),
        };
        let has_lost = loss.is_some() || (damaged > 0 && position.is_none());
        let numbers = Numbers::after(position.as_ref(), has_lost, loss.as_ref(), retained, &gateway.id, now);
        let (mut engine, gone) = match &position {
            None if inherited.is_empty() => (Engine::new(config.model.clone()), Vec::new()),
            position => {
                let observed_until = position.as_ref().map_or(now.at, |position| position.observed_until);
                Engine::restore(config.model.clone(), alarms, numbers.next, observed_until, now, effects)
            }
        };
        if numbers.has_gap {
            match effects.events.first_mut() {
                Some(first) => first.seq_gap = true,
                None => engine.number_from(numbers.next),
            }
        }
        engine.handles_from(free_handle);
        if !shelved.has_earlier_index {
            let is_needed = |alarm: &AlarmId| engine.find(alarm.as_str()).is_some();
            obsolete.extend(history::forget_unused(store.as_mut(), &mut names, &is_needed)?);
        }
        if let Some(certain) = &certain {
            engine.mark_uncertain(&|handle| certain.contains(&handle));
        }
        if !inherited.is_empty() || !elsewhere.is_empty() {
            tracing::info!(taken = inherited.len(), left = elsewhere.len(), "alarms of other instances");
            // What was taken over is on no disk yet.
            engine.forget_stored();
        }
        let mut recovered = reactions::recover_reactions(store.as_mut(), &config.reactions)?;
        if loss.is_some() {
            let prefix = format!("{}-", gateway.id);
            recovered.keep_known(&config.reactions, &|alarm, event| {
                let Some(seq) = event.strip_prefix(&prefix).and_then(|seq| seq.parse().ok()) else { return true };
                let last = engine.find(alarm.as_str()).and_then(|ix| engine.view(ix).last_change());
                let last_of_gone = || gone.iter().find(|gone| gone.facts.id == *alarm)?.last.as_ref();
                last.or_else(last_of_gone).is_some_and(|last: &LastChange| last.seq >= seq)
            });
        }
        let (mut notifier, answers) =
            Notifier::start(config, recovered, &engine, now).context("cannot start the reactions' thread")?;
        let mut dedup = Dedup::restore(first_packet, packets);
        if retained.is_of_another {
            notifier.forget_courses();
            // What the other one has evaluated since is not known.
            dedup.connected(false);
        }
        let untold = if retained.is_of_another { UNTOLD } else { Span::ZERO };
        notifier.take_over(&inherited, untold, &engine, now);
        let reactors = (notifier, answers);
        let models = models::recover(store.as_mut(), &config.anomalies)?;
        let keeper = keep(store)?;
        let mut persistence = Persistence {
            keeper: keeper.clone(),
            gateway,
            retractions: Vec::new(),
            opening: trouble,
            void: Vec::new(),
            must_confirm: true,
            is_marked: retained.unstored_below.is_some(),
            stored_seq,
            failure: None,
            commits: 0,
            stored_bytes: 0,
            observed_until: observed_until.unwrap_or(now.at),
        };
        let mut durables = Durables {
            obsolete: Obsolete { keys: obsolete, damage_told: loss.and_then(|loss| loss.told) },
            removed: Removed(elsewhere),
            outbox,
            dedup,
            prefixes: Prefixes::restore(prefixes, config.home_assistant.clone()),
            filters: Filters::restore(filters, &super::wanted(config)),
            history_log: HistoryLog::restore(
                names,
                position.map_or(0..0, |position| position.history),
                shelved,
                Retention { span: config.gateway.history, max: config.gateway.history_max },
                now.at,
            ),
            anomalies: Anomalies::restore(models, &config.anomalies, keeper, now.at),
        };
        persistence.reconfigured(&config.gateway, gone, &mut durables);
        if certain.is_some() {
            persistence.delete_unknown(retained, &engine, &durables.prefixes);
        }
        Ok(Resumed { persistence, durables, clock, engine, reactors })
    }

    /// Takes another configuration: alarms that are not in it leave the disk and the broker.
    pub(super) fn reconfigured(&mut self, gateway: &Gateway, gone: Vec<AlarmMemory>, durables: &mut Durables) {
        self.gateway = gateway.clone();
        durables.history_log.retention = Retention { span: gateway.history, max: gateway.history_max };
        for memory in &gone {
            tracing::info!(alarm = %memory.facts.id, "is not configured any more");
        }
        self.retract(gone, durables);
    }

    /// These alarms leave the disk and the broker.
    fn retract(&mut self, gone: Vec<AlarmMemory>, durables: &mut Durables) {
        let gateway = &self.gateway;
        for memory in &gone {
            // First the sensor that looks at the topic, then the topic.
            self.retractions.extend(durables.prefixes.retractions(&gateway.shared_id, &memory.facts.id));
            self.retractions.push(OutboundEvent {
                topic: Arc::from(gateway.topics.alarm(&memory.facts.id)),
                payload: Bytes::new(),
                retain: true,
            });
        }
        durables.removed.0.extend(gone);
    }

    /// Deletes the retained topics of alarms of this gateway that nobody knows any more, after the store has lost them.
    fn delete_unknown(&mut self, retained: &RetainedState, engine: &Engine, prefixes: &Prefixes) {
        for (topic, alarm) in &retained.alarms {
            let id = alarm.id();
            let is_told = engine.find(id.as_str()).is_some_and(|ix| !engine.view(ix).is_latent());
            if is_told || self.retractions.iter().any(|outbound_event| *outbound_event.topic == **topic) {
                continue;
            }
            tracing::warn!(alarm = %id, "was published, and is not known any more");
            self.retractions.extend(prefixes.retractions(&self.gateway.shared_id, &id));
            self.retractions.push(OutboundEvent {
                topic: Arc::from(topic.as_str()),
                payload: Bytes::new(),
                retain: true,
            });
        }
    }

    /// Tells the broker that the store knows nothing of what follows, before it follows. Events below this number may have
    /// been numbered before.
    fn mark(&mut self, unstored_below: u64, outbox: &mut Outbox) {
        if !standby::is_alone(&self.gateway) {
            return;
        }
        self.is_marked = true;
        let payload = unstored::render(&self.gateway.id, unstored_below).into();
        outbox.push(OutboundEvent { topic: Arc::from(self.gateway.topics.probe()), payload, retain: true }, false);
    }

    /// Takes the mark that was retained on the probe topic when this run began. True: it says that an earlier run has
    /// published what the store knows nothing of.
    pub(super) fn takes_mark(&mut self, payload: &[u8]) -> bool {
        let below = unstored::read(payload, &self.gateway.id);
        // An older one goes with the next write.
        self.is_marked |= below.is_some();
        below.is_some_and(|below| below >= self.stored_seq)
    }

    /// The disk has refused a write. If it did not even take a note of that, the next start finds the store as if nothing
    /// had happened since: it will give out the numbers that follow in the store, so these are given out no more.
    async fn refused(&mut self, engine: &mut Engine, outbox: &mut Outbox, next_seq: u64, now: Now) {
        let noted = self.keeper.ask(move |store| Ok(store.confirm(next_seq, false))).await;
        if !noted.unwrap_or(false) {
            tracing::warn!("the disk takes no note of that either: events are numbered by the clock from now on");
            self.mark(next_seq, outbox);
            engine.number_from(by_clock(engine.next_seq(), now));
        }
    }

    /// Whether all that was published was on disk before.
    pub(super) fn is_durable(&self) -> bool {
        self.failure.is_none()
    }

    /// Whether there is something for a checkpoint: values, or time that has passed for what is running.
    pub(super) fn wants_checkpoint(&self, engine: &mut Engine, durables: &Durables) -> bool {
        let time_has_passed = engine.observed_until().is_some_and(|until| until > self.observed_until);
        engine.has_changes()
            || durables.anomalies.wants_checkpoint()
            || (time_has_passed && engine.next_deadline().is_some())
    }

    /// When the disk will be asked again, if it refused.
    pub(super) fn retry_at(&self) -> Option<Moment> {
        self.failure.as_ref().map(|(_, retry_at)| *retry_at)
    }

    /// What a technician should know of the store.
    pub(super) fn trouble(&self) -> Option<String> {
        let failure = self.failure.as_ref().map(|(error, _)| {
            format!(
                "{error}; alarms go on, but a restart would forget what happened since. Make room or repair the disk"
            )
        });
        failure.or_else(|| self.opening.clone())
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Writes what the turn has decided, and what there is occasion for. The turn's events become outbound events.
    pub(super) async fn write(
        &mut self,
        durables: &mut Durables,
        (engine, notifier): (&mut Engine, &mut Notifier),
        effects: &mut Effects,
        payloads: Vec<Bytes>,
        clock: &Clock,
        occasion: Occasion,
    ) {
        let now = clock.now();
        durables.history_log.take(effects, now.at);
        for ended in notifier.take_ended() {
            durables.history_log.take_delivery(ended, now.at);
        }
        self.retract(std::mem::take(&mut effects.vanished), durables);
        let mut outbound_events: Vec<OutboundEvent> = effects
            .events
            .drain(..)
            .zip(payloads)
            .map(|(event, payload)| self.outbound_event(&event, payload))
            .collect();
        outbound_events.append(&mut self.retractions);
        outbound_events.append(&mut notifier.take_outbound_events());
        let is_healing = match &self.failure {
            Some((_, retry_at)) if now.at < *retry_at => {
                durables.keep(outbound_events, false);
                self.trim(&mut durables.outbox);
                return;
            }
            // What the failed writes have left is unknown: everything is written again.
            Some(_) => {
                durables.peers(engine, notifier).into_iter().for_each(Durable::failed);
                true
            }
            None => false,
        };
        let has_decided = !outbound_events.is_empty()
            || self.is_marked
            || durables.peers(engine, notifier).into_iter().any(|peer| peer.must_be_written());
        if !has_decided && !occasion.checkpoint && !occasion.tidy && !is_healing {
            return;
        }
        let is_checkpoint = occasion.checkpoint || is_healing;
        let mut write = Write { batch: Batch::default(), void: Vec::new(), now, is_checkpoint, is_whole: is_healing };
        for peer in durables.peers(engine, notifier) {
            peer.put(&mut write);
        }
        for (number, outbound_event) in (durables.outbox.next_number()..).zip(&outbound_events) {
            record::put_outbound_event(&mut write.batch, number, outbound_event);
        }
        let position = Position {
            gateway: self.gateway.id.clone(),
            next_seq: engine.next_seq(),
            next_outbound_event: durables.outbox.next_number() + outbound_events.len() as u64,
            history: durables.history_log.range(now.at),
            // What a value has done to alarms that were not decided is not on disk before the next checkpoint, so the time
            // since the last one would be no evidence after a crash.
            observed_until: match engine.observed_until() {
                Some(until) if is_checkpoint => until,
                Some(_) | None => self.observed_until,
            },
            anchor: clock.anchor(),
            seq_gap: engine.seq_gap(),
        };
        record::put_position(&mut write.batch, &position);
        let Write { batch, void, .. } = write;
        self.void.extend(void);
        self.void.sort_unstable();
        self.void.dedup();
        // Only what is published can be missed.
        let confirms = !outbound_events.is_empty() || is_healing || self.must_confirm;
        let binding = durables.history_log.binding(now.at);
        match self.commit(batch, binding, confirms, position.next_seq).await {
            Ok((bound, block_index)) => {
                durables.history_log.take_bound(bound, block_index);
                durables.peers(engine, notifier).into_iter().for_each(Durable::stored);
                self.observed_until = position.observed_until;
                self.void.clear();
                self.must_confirm = false;
                if self.failure.take().is_some() {
                    tracing::info!("the store is written again");
                }
                durables.keep(outbound_events, true);
                if std::mem::take(&mut self.is_marked) {
                    let topic = Arc::from(self.gateway.topics.probe());
                    self.retractions.push(OutboundEvent { topic, payload: Bytes::new(), retain: true });
                }
            }
            Err(error) => {
                if self.failure.is_none() {
                    tracing::error!(%error, "alarms go on, but nothing of this survives a restart");
                    self.refused(engine, &mut durables.outbox, position.next_seq, now).await;
                }
                durables.peers(engine, notifier).into_iter().for_each(Durable::failed);
                self.failure = Some((error, clock.at() + RETRY));
                durables.keep(outbound_events, false);
            }
        }
        self.trim(&mut durables.outbox);
    }

    /// Commits a batch, with samples that leave and a block of the history that is bound beside it. Gives what came of the
    /// binding.
    async fn commit(
        &mut self,
        mut batch: Batch,
        mut binding: Binding,
        confirms: bool,
        next_seq: u64,
    ) -> Result<(u64, BlockIndex), StoreError> {
        let void = self.void.clone();
        let written = self.keeper.ask(move |store| {
            let bound = binding.add(store, &mut batch).unwrap_or_else(|error| {
                tracing::warn!(%error, "the history is bound another time");
                binding.shelved.bound
            });
            let batch = if void.is_empty() { batch } else { without_samples(store, &void, batch) };
            let bytes = batch.bytes();
            let written = store.commit(batch);
            if confirms || written.is_err() {
                store.confirm(next_seq, written.is_ok());
            }
            written.map(|()| (bound, binding.block_index, bytes))
        });
        let (bound, block_index, bytes) = written.await?;
        self.commits += 1;
        self.stored_bytes += bytes;
        Ok((bound, block_index))
    }

    /// Drops what is too much for the outbox, and says so: at the first event, and whenever there are twice as many.
    fn trim(&self, outbox: &mut Outbox) {
        let before = outbox.dropped();
        outbox.trim(self.gateway.outbox_max);
        let dropped = outbox.dropped();
        if dropped.checked_ilog2() != before.checked_ilog2() {
            let outbox_max = self.gateway.outbox_max;
            tracing::error!(dropped, outbox_max, "too many events wait for the broker: the oldest were dropped");
        }
    }

    fn outbound_event(&self, event: &Event, payload: Bytes) -> OutboundEvent {
        OutboundEvent { topic: Arc::from(self.gateway.topics.event(&event.alarm.id)), payload, retain: false }
    }

    /// Loads outbound events that wait on disk, if there is room for them.
    pub(super) async fn load_waiting(&self, outbox: &mut Outbox) {
        if let Some(from) = outbox.wants() {
            match self.keeper.ask(move |store| record::outbound_events(store, from, PAGE)).await {
                Ok(page) => outbox.load(page),
                Err(error) => tracing::error!(%error, "cannot load events that wait for the broker"),
            }
        }
    }
}

impl Persistence {
    /// Looks at the oldest entries of the history, if some may have to leave.
    pub(super) async fn look_for_old(&self, history_log: &mut HistoryLog, now: Moment) {
        let Some(from) = history_log.wants(now) else { return };
        match self.keeper.ask(move |store| history::oldest(store, from, history_log::PAGE)).await {
            Ok(old) => {
                history_log.load(old);
                history_log.rest(now);
            }
            Err(error) => tracing::error!(%error, "cannot look at the oldest entries of the history"),
        }
    }

    /// What is stored of models that are not configured any more leaves with the next write, and so do their topics.
    pub(super) async fn forget_models(&mut self, anomalies: &mut Anomalies) {
        for model in anomalies.take_gone() {
            tracing::info!(model, "is not configured any more");
            let topic = Arc::from(self.gateway.topics.model(&model));
            match self.keeper.ask(move |store| stored::keys_of(store, &model)).await {
                Ok(keys) => {
                    anomalies.forget(keys);
                    self.retractions.push(OutboundEvent { topic, payload: Bytes::new(), retain: true });
                }
                // The next start finds it again.
                Err(error) => tracing::error!(%error, "cannot forget a model"),
            }
        }
    }

    /// Searches the history beside the loop, a slice at a time.
    pub(super) fn search(
        &self,
        history_log: &HistoryLog,
        filter: Filter,
    ) -> impl Future<Output = Result<Search, StoreError>> + use<> {
        let keeper = self.keeper.clone();
        let mut search = Search::new(filter, history_log.names(), history_log.on_disk());
        async move {
            loop {
                let advanced = keeper.ask(move |store| search.advance(store).map(|done| (done, search)));
                let (done, advanced) = advanced.await?;
                if done {
                    return Ok(advanced);
                }
                search = advanced;
            }
        }
    }
}

/// Whether what was published may be missing in the store, so that a look at it is of use.
pub(super) fn has_lost(opened: &Result<Opened, OpenError>) -> bool {
    match opened {
        Ok(opened) => opened.loss.is_some(),
        Err(OpenError::InUse(_) | OpenError::Io(_)) => false,
    }
}

/// What a store has lost, with what was published without it. A store whose next event has a higher number than the mark
/// was written after it, and has everything.
fn with_unstored(loss: Option<Loss>, retained: &RetainedState, stored_seq: u64) -> Option<Loss> {
    let mark = retained.unstored_below.filter(|below| *below >= stored_seq);
    let Some(unstored_below) = mark else { return loss };
    let what = "the disk took nothing of what was published before the program ended, and no note of that";
    let loss = loss.unwrap_or_default();
    let what = if loss.what.is_empty() { what.to_owned() } else { format!("{}; {what}", loss.what) };
    let next_seq = loss.next_seq.max(unstored_below);
    Some(Loss { what, is_open: true, next_seq, rewritten: BTreeSet::new(), ..loss })
}

/// A number that was not given out: microseconds since 1970 are beyond every number that is counted up to. Where the clock
/// stands before those that it gave out earlier, as many are left free as a run without a disk may have used.
fn by_clock(next: u64, now: Now) -> u64 {
    u64::try_from(now.wall.as_micros()).unwrap_or(0).max(next.saturating_add(LEFT_FREE))
}

/// A batch that begins with the removal of all samples of some alarms. What it adds for them stays.
fn without_samples(store: &mut dyn Store, alarms: &[u32], batch: Batch) -> Batch {
    let mut cleaned = Batch::default();
    match record::samples_of_alarms(store, alarms) {
        Ok(keys) => keys.into_iter().for_each(|key| cleaned.delete(key)),
        // The next start finds them.
        Err(error) => tracing::warn!(%error, "samples of removed alarms stay"),
    }
    cleaned.entries.extend(batch.entries);
    cleaned
}

/// From which number on events are counted.
struct Numbers {
    next: u64,
    /// Whether events before it may be missing.
    has_gap: bool,
}

impl Numbers {
    /// Goes on behind every number that may have been given out; by the clock if nobody knows which was the last.
    fn after(
        position: Option<&Position>,
        has_lost: bool,
        loss: Option<&Loss>,
        retained: &RetainedState,
        gateway: &str,
        now: Now,
    ) -> Numbers {
        let mut next = position.map_or(1, |position| position.next_seq);
        let has_unknown = retained.has_unknown_numbers;
        if has_lost || has_unknown {
            let is_open = position.is_none() || has_unknown || loss.is_some_and(|loss| loss.is_open);
            let published = retained.highest_seq(gateway).map_or(1, |seq| seq.saturating_add(1));
            let noted = loss.map_or(1, |loss| loss.next_seq);
            next = next.max(published).max(noted);
            next = if is_open { by_clock(next, now) } else { next };
        }
        Numbers { next, has_gap: has_lost || has_unknown || position.is_some_and(|position| position.seq_gap) }
    }
}

fn restore_outbox(store: &mut dyn Store, position: Option<&Position>) -> Result<Outbox, StoreError> {
    let (mut first, mut waiting, mut from) = (None, 0, 0);
    let mut last = None;
    loop {
        let page = record::outbound_events(store, from, PAGE)?;
        first = first.or(page.first().map(|(number, _)| *number));
        waiting += page.len();
        match page.last() {
            Some((number, _)) => {
                last = Some(*number);
                from = number + 1;
            }
            None => break,
        }
    }
    let next = position.map_or(0, |position| position.next_outbound_event).max(last.map_or(0, |number| number + 1));
    Ok(Outbox::restore(next, first, waiting))
}
