//! The task that polls the connection and does nothing else.

use super::library::{Broken, Connection, Happened, Limits};
use super::link::{Flight, Link, Shared};
use super::look::Look;
use super::{INBOUND_BYTES, INBOUND_MESSAGES, Inbound, Interruption, LinkEvent, Receipt, Received};
use crate::domain::time::Moment;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long evaluation may hold up the reading of the socket. Longer than this and the broker would think us dead.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages that are held back until the broker has answered the subscription; with more it is not waited for.
const EARLY_MESSAGES: usize = INBOUND_MESSAGES / 2;
/// How long the broker may take to answer a subscription, or to send anything else before it does.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How much later than it must happen something may happen on a busy machine.
const MARGIN: Duration = Duration::from_secs(1);
/// A connection that has lasted this long was a good one: the next attempt after it comes quickly.
const LASTING: Duration = Duration::from_secs(5);
/// As long as the broker can be reached, pauses do not grow beyond a second.
const FAILURES_OF_A_BROKER_THAT_IS_THERE: u32 = 2;
/// The first pause before connecting again; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause: after a night without network the daemon is back within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Poller<C> {
    connection: C,
    link: Link,
    events: mpsc::Sender<Received>,
    /// How long the library may take to connect.
    longest_connect: Duration,
    /// Whether it connects again after a break.
    comes_back: bool,
    /// Messages that came before all subscriptions were answered: they are later than the end of the gap.
    early: Vec<Inbound>,
    /// What comes before all else.
    look: Option<Look>,
    early_bytes: usize,
    /// When the broker has to have answered the oldest request.
    answer_by: Instant,
    connected_at: Option<Instant>,
    /// Whether the end of the gap was announced on this connection.
    announced: bool,
    session_present: bool,
    /// When the broker last sent anything.
    last_heard: Moment,
    unanswered_ping: bool,
    failures: u32,
}

impl<C: Connection> Poller<C> {
    pub(super) fn new(
        connection: C,
        link: Link,
        events: mpsc::Sender<Received>,
        longest_connect: Duration,
        comes_back: bool,
    ) -> Poller<C> {
        Poller {
            connection,
            link,
            events,
            longest_connect,
            comes_back,
            early: Vec::new(),
            look: None,
            early_bytes: 0,
            answer_by: Instant::now(),
            connected_at: None,
            announced: false,
            session_present: false,
            last_heard: Moment::default(),
            unanswered_ping: false,
            failures: 0,
        }
    }

    /// The first connection begins with this look.
    pub(super) fn looking(self, look: Option<Look>) -> Poller<C> {
        Poller { look, ..self }
    }

    pub(super) async fn run(mut self) {
        let mut was_waiting = false;
        loop {
            let is_waiting = self.shared(|shared| shared.subscriptions.is_waiting());
            if is_waiting && !was_waiting {
                self.answer_by = Instant::now() + ANSWER_LIMIT;
            }
            was_waiting = is_waiting;
            let happened = match self.connection.ready() {
                Some(happened) => happened,
                None => self.next(is_waiting).await,
            };
            if !self.go_on(happened).await {
                return;
            }
        }
    }

    /// Waits for what happens next.
    async fn next(&mut self, is_waiting: bool) -> Result<Happened, Broken> {
        let Poller { connection, link, longest_connect, answer_by, look, .. } = self;
        // At least a PINGREQ happens in time. If it does not, the library is stuck in a write that nobody reads.
        let stuck_at = Instant::now() + connection.keep_alive() + *longest_connect + MARGIN;
        // A poll that is given up half-way is one of a connection that is given up too. It is kilobytes, for all that it
        // takes to connect: they stay where they are.
        let mut polled = pin!(connection.poll());
        loop {
            let look_until = look.as_ref().and_then(Look::until);
            tokio::select! {
                biased;
                () = link.restart.notified() => {
                    return Err(link.shared.borrow_mut().restart.take().unwrap_or_default().into());
                }
                polled = &mut polled => return polled,
                () = tokio::time::sleep_until(look_until.unwrap_or(stuck_at)), if look_until.is_some() => {
                    look.iter_mut().for_each(Look::end);
                    link.looked()?;
                }
                () = tokio::time::sleep_until(*answer_by), if is_waiting => {
                    return Err("the broker did not answer the subscription".into());
                }
                () = tokio::time::sleep_until(stuck_at) => return Err("the broker takes nothing any more".into()),
            }
        }
    }

    /// Does what has to be done about something that has happened. False: nobody listens any more.
    async fn go_on(&mut self, happened: Result<Happened, Broken>) -> bool {
        let outcome = match happened {
            Ok(happened) => self.handle(happened).await,
            Err(broken) => Err(broken),
        };
        let Err(broken) = outcome else { return true };
        !self.shared(|shared| shared.closing) && self.broken(broken).await
    }

    fn shared<T>(&self, look: impl FnOnce(&mut Shared) -> T) -> T {
        look(&mut self.link.shared.borrow_mut())
    }

    async fn handle(&mut self, happened: Happened) -> Result<(), Broken> {
        if happened.is_from_broker() {
            self.last_heard = self.link.clock.at();
        }
        if matches!(happened, Happened::Message(..) | Happened::Subscribed(_) | Happened::Unsubscribed) {
            // What comes proves that the broker is there; on a slow line its next answer is behind it.
            self.answer_by = Instant::now() + ANSWER_LIMIT;
        }
        match happened {
            Happened::Connected { session_present, limits } => self.connected(session_present, limits).await,
            Happened::Subscribed(refusals) => {
                let is_refused = refusals.iter().any(Option::is_some);
                let word = self.look.as_mut().and_then(|look| look.subscribed(is_refused, Instant::now()));
                if let Some(word) = word {
                    self.link.say(word)?;
                }
                self.end_look()?;
                self.shared(|shared| shared.subscriptions.subscribed(refusals));
                self.answered().await
            }
            Happened::Unsubscribed => {
                self.shared(|shared| shared.subscriptions.unsubscribed());
                self.answered().await
            }
            Happened::Message(mut inbound, packet_id) => {
                let generation = self.shared(|shared| shared.generation);
                inbound.receipt = packet_id.map(|packet_id| Receipt { generation, packet_id });
                let Inbound { topic, payload, retained, .. } = &inbound;
                if packet_id.is_none() && self.look.as_mut().is_some_and(|look| look.takes(topic, payload, *retained)) {
                    return self.end_look();
                }
                if self.announced {
                    return self.pass_on(inbound).await;
                }
                self.early_bytes += inbound.payload.len() + inbound.topic.len();
                self.early.push(inbound);
                // A broker with much to send may send all of it before its answer. Whoever is sent so much is received.
                if self.early.len() >= EARLY_MESSAGES || self.early_bytes > INBOUND_BYTES / 2 {
                    return self.up().await;
                }
                Ok(())
            }
            Happened::Confirmed(packet_id, refusal) => {
                let flight = self.shared(|shared| shared.answered(packet_id, refusal.is_none()));
                self.link.send_waiting()?;
                match flight {
                    Some(Flight { token, topic, acknowledged, .. }) => {
                        self.tell(match refusal {
                            None => LinkEvent::Taken { token, acknowledged },
                            Some(reason) => LinkEvent::Refused { token, acknowledged, topic, reason },
                        })
                        .await
                    }
                    None => Ok(()),
                }
            }
            Happened::Sent(packet_id) => {
                self.shared(|shared| shared.sent(packet_id));
                Ok(())
            }
            Happened::Acknowledged => {
                self.shared(|shared| shared.acknowledged += 1);
                Ok(())
            }
            // The library has used a packet id twice and has put the second message where the next collision would
            // overwrite it. Our window is half of its own, so this is a broker that forgets to confirm.
            Happened::Stuck(id) => Err(format!("the broker never confirmed packet {id}").into()),
            Happened::Closed => Err("closed".into()),
            Happened::PingSent => {
                self.unanswered_ping = true;
                Ok(())
            }
            Happened::PingAnswered => {
                self.unanswered_ping = false;
                Ok(())
            }
            Happened::Other => Ok(()),
        }
    }

    /// Subscribes, at every connection: the broker may have lost the session, and the filters may have changed.
    async fn connected(&mut self, session_present: bool, limits: Limits) -> Result<(), Broken> {
        self.session_present = session_present;
        self.connected_at = Some(Instant::now());
        self.shared(|shared| shared.connected(session_present, limits));
        match self.look.as_ref().filter(|look| look.is_open()) {
            Some(look) => self.link.look(look.topic())?,
            None => self.link.ask()?,
        }
        if self.shared(|shared| shared.subscriptions.hears_all()) { self.up().await } else { Ok(()) }
    }

    /// The broker has answered a request about subscriptions.
    async fn answered(&mut self) -> Result<(), Broken> {
        self.link.ask()?;
        if !self.announced && self.shared(|shared| shared.subscriptions.hears_all()) {
            self.up().await?;
        }
        if self.shared(|shared| shared.subscriptions.is_settled()) {
            let refused = self.shared(|shared| shared.subscriptions.refused());
            return self.tell(LinkEvent::Subscribed { refused }).await;
        }
        Ok(())
    }

    /// Asks for everything else if the look is over.
    fn end_look(&mut self) -> Result<(), Broken> {
        match &self.look {
            Some(look) if !look.is_open() => self.link.looked(),
            Some(_) | None => Ok(()),
        }
    }

    /// The gap ends here, before any message.
    async fn up(&mut self) -> Result<(), Broken> {
        self.announced = true;
        self.early_bytes = 0;
        if let Some(mut look) = self.look.take() {
            look.end();
            self.link.looked()?;
            if let Some(found) = look.take_found() {
                self.tell(LinkEvent::Retained(found)).await?;
            }
        }
        self.tell(LinkEvent::Up { session_present: self.session_present }).await?;
        for inbound in std::mem::take(&mut self.early) {
            self.pass_on(inbound).await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self, inbound: Inbound) -> Result<(), Broken> {
        let is_kept_by_broker = inbound.receipt.is_some();
        let size = inbound.payload.len() + inbound.topic.len();
        let since = self.link.clock.at();
        if self.shared(|shared| shared.queued_bytes) + size > INBOUND_BYTES {
            let has_room = self.wait_for_room(size).await;
            self.interrupted(since, !has_room && !is_kept_by_broker);
            if !has_room {
                return self.overflow(is_kept_by_broker);
            }
        }
        self.shared(|shared| shared.queued_bytes += size);
        match self.events.try_send(Received { at: since, ..self.link.received(LinkEvent::Message(inbound)) }) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(event)) => {
                let is_taken = self.events.send_timeout(event, PATIENCE).await.is_ok();
                self.interrupted(since, !is_taken && !is_kept_by_broker);
                if is_taken {
                    return Ok(());
                }
                self.shared(|shared| shared.queued_bytes = shared.queued_bytes.saturating_sub(size));
                self.overflow(is_kept_by_broker)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err("closed".into()),
        }
    }

    fn interrupted(&self, since: Moment, has_lost: bool) {
        let until = self.link.clock.at();
        self.shared(|shared| shared.interrupted(Interruption { since, until, has_lost }));
    }

    async fn wait_for_room(&self, size: usize) -> bool {
        let room = async {
            while self.shared(|shared| shared.queued_bytes > 0 && shared.queued_bytes + size > INBOUND_BYTES) {
                self.link.room.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, room).await.is_ok()
    }

    /// A message for which there is no room. One that the broker keeps comes again on a new connection; another is lost
    /// and counted.
    fn overflow(&self, is_kept_by_broker: bool) -> Result<(), Broken> {
        if is_kept_by_broker {
            return Err("evaluation did not keep up; the broker keeps what was not evaluated".into());
        }
        self.shared(|shared| shared.overflow += 1);
        Ok(())
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), Broken> {
        match self.events.try_send(self.link.received(event)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(event)) => {
                let since = self.link.clock.at();
                let told = self.events.send(event).await.map_err(|_| "closed".into());
                self.interrupted(since, false);
                told
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err("closed".into()),
        }
    }

    /// Forgets everything of the connection that broke, says so, and waits a while. False: nobody listens any more.
    async fn broken(&mut self, Broken { reason, oldest_is_too_large, lacks_pass }: Broken) -> bool {
        if oldest_is_too_large
            && let Some(Flight { token, topic, acknowledged, .. }) = self.shared(Shared::oldest_is_too_large)
        {
            let event = LinkEvent::Refused { token, acknowledged, topic, reason: reason.clone() };
            if self.tell(event).await.is_err() {
                return false;
            }
        }
        let not_read = self.link.take_interruption().map(|interruption| interruption.since);
        self.shared(Shared::disconnected);
        self.shared(|shared| shared.no_pass = lacks_pass.then(|| reason.clone()));
        self.connection.reset();
        self.look.iter_mut().for_each(Look::disconnected);
        self.early.clear();
        self.early_bytes = 0;
        self.announced = false;
        // A line that keeps breaking is tried again soon, but not at once: what breaks it may be what we send.
        if let Some(since) = self.connected_at.take() {
            self.failures =
                if since.elapsed() >= LASTING { 0 } else { self.failures.min(FAILURES_OF_A_BROKER_THAT_IS_THERE) };
        }
        let silent = std::mem::take(&mut self.unanswered_ping).then_some(self.last_heard);
        let silent_since = silent.into_iter().chain(not_read).min();
        if self.tell(LinkEvent::Down { reason, silent_since }).await.is_err() || !self.comes_back {
            return false;
        }
        tokio::time::sleep(pause(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
        true
    }
}

/// Doubles with each failure, and lies anywhere in the upper half: a thousand gateways must not come back at once.
fn pause(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    let random = u32::try_from(RandomState::new().hash_one(failures) & 0xffff).unwrap_or(0);
    longest / 2 + longest / 2 * random / 0xffff
}
