//! The world around the daemon: chance decides what happens next, and what the broker was told is looked at at once.

use super::account::Account;
use super::broker::{Broker, Line, Message, PROBE, Published, sequence_number};
use super::machine::{Clocks, Disk, Mounted, Pending, Seen, serve};
use super::outages::Outages;
use super::plant::Plant;
use super::random::Random;
use super::record;
use crate::config::Config;
use crate::daemon::persistence::{Persistence, Resumed};
use crate::daemon::standby::RetainedState;
use crate::daemon::{Daemon, End, Stop};
use crate::domain::engine::Effects;
use crate::io::mqtt::double::{self, Peer};
use crate::io::store::keeper::Keeper;
use bytes::Bytes;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

/// Steps of the world between its beginning and its last phase.
const STEPS: u64 = 30;
/// The length of the last phase. Whatever went wrong before, in this time everything that is due is told: a connection
/// that delivers nothing is found after 40 s and made anew, and the longest observe-time is 5 s.
const LAST_PHASE: i64 = 90 * SECOND;
/// What waits at the broker for the daemon when the last phase begins has reached it after this time.
const DRAINED: i64 = 60 * SECOND;
/// Milliseconds of latency for each message in the window: more, and the line takes less than 20 messages a second, which
/// is less than the plant publishes.
const MOST_LATENCY: u64 = 25;
/// Connections that the daemon may give up in the last phase: the one that it had at its beginning may deliver nothing.
const GIVEN_UP_IN_THE_END: usize = 2;
const SECOND: i64 = 1_000_000;
const MILLISECOND: i64 = 1_000;

/// Another client that takes the client id again and again.
#[derive(Debug, Clone, Copy)]
struct Rival {
    next: i64,
    pause: i64,
    times_left: u64,
    /// Whether it begins a session of its own, which ends the daemon's.
    is_clean: bool,
}

/// One world.
pub(super) struct World {
    seed: u64,
    config: Config,
    random: Rc<RefCell<Random>>,
    clocks: Rc<Clocks>,
    disk: Arc<Mutex<Disk>>,
    pending: Pending,
    broker: Broker,
    outages: Outages,
    plant: Plant,
    rival: Option<Rival>,
    /// When the connection comes back, and when the disk does.
    connect_at: i64,
    disk_heals_at: i64,
    /// How often the daemon has given up a connection.
    given_up: usize,
    /// What has happened, for people, and when.
    diary: Vec<(i64, String)>,
    /// Whether a status told of the disk's refusal.
    told_of_refusal: bool,
    /// Whether nothing goes wrong any more.
    is_last_phase: bool,
}

/// A run of the daemon.
struct Life {
    tasks: LocalSet,
    peer: Peer,
    stop: watch::Sender<bool>,
    daemon: JoinHandle<anyhow::Result<End>>,
}

impl World {
    pub(super) fn new(seed: u64, config: Config) -> World {
        let mut random = Random::new(seed);
        let latencies = [0, 0, 1 + random.below(20), 1 + random.below(200), 1 + random.below(900)];
        let latency = latencies[usize::try_from(random.below(5)).unwrap()];
        let window = [1 + random.below(60), 1 + random.below(60), 1 + random.below(4), 20];
        let window = window[usize::try_from(random.below(4)).unwrap()];
        let line = Line {
            window: usize::try_from(window).unwrap(),
            latency: i64::try_from(latency.min(window * MOST_LATENCY)).unwrap() * MILLISECOND,
            lowest_ids: random.one_in(2),
            is_probe_denied: random.one_in(16),
        };
        let mut broker = Broker::new(line);
        if random.one_in(if line.is_probe_denied { 2 } else { 10 }) {
            broker.retained.insert(PROBE.to_owned(), Bytes::from_static(b"listening"));
        }
        World {
            seed,
            config,
            random: Rc::new(RefCell::new(random)),
            clocks: Clocks::new(),
            disk: Arc::default(),
            pending: Pending::default(),
            diary: vec![(0, format!("{line:?}"))],
            broker,
            outages: Outages::default(),
            plant: Plant::default(),
            rival: None,
            connect_at: 0,
            disk_heals_at: 0,
            given_up: 0,
            told_of_refusal: false,
            is_last_phase: false,
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    fn one_in(&self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// A time below a number of milliseconds.
    fn time_below(&self, milliseconds: u64) -> i64 {
        i64::try_from(self.below(milliseconds)).unwrap() * MILLISECOND
    }

    fn note(&mut self, what: &str) {
        let now = self.clocks.now();
        record::line(|| format!("{now} {what}"));
        self.diary.push((now, what.to_owned()));
    }

    /// The same, and it is counted among the rare things.
    fn count(&mut self, rare: &'static str) {
        record::count(rare);
        self.note(rare);
    }

    /// Starts the daemon on what is on the disk: the product's own loop, store thread and network apart.
    fn start(&mut self) -> Life {
        self.broker.daemon_starts();
        let tasks = LocalSet::new();
        let _inside = tasks.enter();
        let mut effects = Effects::default();
        let (keeper, jobs) = Keeper::without_thread();
        let machine = Box::new(Seen(self.clocks.clone()));
        let store = Box::new(Mounted(self.disk.clone()));
        let recovered = Persistence::recover(
            &self.config,
            store,
            None,
            &RetainedState::default(),
            machine,
            |_| Ok(keeper),
            &mut effects,
        );
        let Resumed { persistence, durables, clock, engine, reactors } = recovered.unwrap();
        let clock = Rc::new(clock);
        let (link, peer) = double::connection(clock.clone());
        let daemon = Daemon::new(self.config.clone(), clock, engine, effects, (persistence, durables), reactors, link);
        let (stop, stopped) = watch::channel(false);
        let (disk, pending, random) = (self.disk.clone(), self.pending.clone(), self.random.clone());
        tasks.spawn_local(serve(disk, jobs, pending, random, self.clocks.clone()));
        let daemon = tasks.spawn_local(daemon.run(Stop::when(stopped)));
        self.connect_at = self.clocks.now() + self.time_below(2_000);
        Life { tasks, peer, stop, daemon }
    }

    /// Lets everybody live until then.
    async fn run_for(&mut self, life: &Life, until: i64) {
        loop {
            self.happen(&life.peer);
            let now = self.clocks.now();
            if now >= until {
                return;
            }
            let next = until.min(self.next_due(&life.peer)).max(now + MILLISECOND);
            let pause = tokio::time::sleep(Duration::from_micros(u64::try_from(next - now).unwrap()));
            let something = async {
                tokio::select! {
                    biased;
                    () = life.peer.news() => {}
                    () = pause => {}
                }
            };
            life.tasks.run_until(something).await;
        }
    }

    /// When something is due that does not wait for the daemon.
    fn next_due(&self, peer: &Peer) -> i64 {
        let connection = if peer.is_up() { self.broker.next_due() } else { self.connect_at };
        let dumb = self.broker.withholds || self.broker.frozen;
        let rival = self.rival.filter(|_| peer.is_up() && !dumb).map_or(i64::MAX, |rival| rival.next);
        connection.min(rival).min(self.plant.next_due())
    }

    /// All that is due now.
    fn happen(&mut self, peer: &Peer) {
        let now = self.clocks.now();
        if self.disk.lock().unwrap().fails && now >= self.disk_heals_at {
            self.note("the disk is well again");
            self.disk.lock().unwrap().fails = false;
        }
        self.plant.publish_due(&mut self.broker, &mut self.random.borrow_mut(), now);
        if let Some(reason) = peer.wants_restart() {
            self.given_up += 1;
            self.lose_connection(peer, &format!("the daemon wants a new connection: {reason}"));
        }
        let dumb = self.broker.withholds || self.broker.frozen;
        if let Some(rival) = self.rival.filter(|rival| peer.is_up() && !dumb && rival.next <= now) {
            self.take_over(peer, rival);
        }
        if !peer.is_up() && now >= self.connect_at {
            self.connect(peer);
        }
        if peer.is_up() {
            let World { disk, told_of_refusal, broker, outages, .. } = self;
            broker.work(peer, now, outages, |published, broker| {
                look(published, broker, &disk.lock().unwrap(), told_of_refusal);
            });
        }
    }

    /// The connection breaks. Of what the daemon has sent some may still arrive.
    fn lose_connection(&mut self, peer: &Peer, why: &str) {
        if peer.is_up() {
            self.note(why);
            self.outages.begin(self.clocks.now());
            self.cut_line();
            peer.lose(why);
        }
        let pause = match self.below(3) {
            0 => self.time_below(400),
            1 => self.time_below(4_000),
            _ => self.time_below(20_000),
        };
        self.connect_at = self.clocks.now() + pause;
    }

    fn cut_line(&mut self) {
        let on_their_way = u64::try_from(self.broker.on_their_way()).unwrap();
        let arrived = if self.broker.frozen { 0 } else { self.below(on_their_way + 1) };
        let arrived = usize::try_from(arrived).unwrap();
        let seen = self.broker.disconnect(arrived, self.clocks.now(), &mut self.outages);
        for published in seen {
            look(&published, &self.broker, &self.disk.lock().unwrap(), &mut self.told_of_refusal);
            self.broker.published.push(published);
        }
    }

    fn connect(&mut self, peer: &Peer) {
        if !self.is_last_phase && self.one_in(8) {
            self.note("the broker cannot be reached");
            peer.lose("the broker cannot be reached");
            self.connect_at = self.clocks.now() + self.time_below(2_000);
            return;
        }
        self.broker.probe_refused = self.one_in(12);
        let refused =
            if self.broker.probe_refused { vec![(PROBE.to_owned(), "simulated".to_owned())] } else { Vec::new() };
        let now = self.clocks.now();
        let present = self.broker.connect(now);
        self.note(&format!("connected, session present: {present}, probe refused: {}", self.broker.probe_refused));
        self.outages.end(now);
        peer.connect(present, refused);
    }

    /// Another client takes the client id: it has the session for a moment, or ends it.
    fn take_over(&mut self, peer: &Peer, rival: Rival) {
        self.lose_connection(peer, "another client has the same client id");
        if rival.is_clean {
            self.count("a takeover has ended the session");
            self.broker.lose_session();
        } else {
            let taken = self.below(8);
            let acknowledged = self.below(taken + 1);
            let (taken, acknowledged) = (usize::try_from(taken).unwrap(), usize::try_from(acknowledged).unwrap());
            self.count("a takeover has kept the session");
            if self.broker.plunder(taken, acknowledged) > 0 {
                self.count("another client has taken messages");
            }
        }
        let now = self.clocks.now();
        self.connect_at = now + self.time_below(400);
        let next = self.connect_at + rival.pause;
        self.rival = (rival.times_left > 1).then_some(Rival { next, times_left: rival.times_left - 1, ..rival });
    }

    /// Something goes wrong, or nothing does. True: the daemon's process is gone.
    async fn trouble(&mut self, life: &Life) -> bool {
        let now = self.clocks.now();
        // What a broker that delivers nothing has not delivered may count as silence until its connection breaks, if no
        // deadline has passed. Whoever judges cannot know that, so the daemon has to find out by itself.
        let dumb = self.broker.withholds || self.broker.frozen;
        match self.below(72) {
            0..=5 | 7 | 12 | 13 if dumb => {}
            0 | 1 => self.lose_connection(&life.peer, "the connection breaks"),
            2 => {
                self.lose_connection(&life.peer, "the broker loses the session");
                self.broker.lose_session();
                record::count("a session was lost");
            }
            3 => {
                self.lose_connection(&life.peer, "the broker loses everything");
                record::count("a session was lost");
                self.broker.lose_session();
                self.broker.retained.clear();
            }
            4 if life.peer.is_up() && self.broker.has_seen_probe => {
                self.count("the broker delivers nothing any more");
                // What is on the line still arrives.
                self.outages.begin(now + self.broker.line.latency);
                self.broker.withholds = true;
            }
            5 if life.peer.is_up() && self.broker.has_seen_probe => {
                self.count("the broker is frozen");
                self.outages.begin(now);
                self.broker.frozen = true;
            }
            6 => {
                let hours = [-1, 1, 24 * 3_652, -24 * 20_000][usize::try_from(self.below(4)).unwrap()];
                self.note(&format!("the wall clock steps by {hours} h"));
                self.clocks.wall_ahead.set(self.clocks.wall_ahead.get() + hours * 3_600 * SECOND);
            }
            7 => {
                let stall = if self.one_in(2) { self.below(2_400) } else { 4_000 + self.below(12_000) };
                self.note(&format!("nothing runs for {stall} ms"));
                let stalled = tokio::time::advance(Duration::from_millis(stall));
                stalled.await;
                let resumed = self.clocks.now();
                self.outages.stalled(now, resumed);
                self.plant.publish_due(&mut self.broker, &mut self.random.borrow_mut(), resumed);
                self.broker.stalled(now, resumed);
            }
            8 if !self.disk.lock().unwrap().fails => {
                self.note("the disk fails");
                self.disk_heals_at = now + self.time_below(15_000);
                self.disk.lock().unwrap().fails = true;
            }
            9..=11 if !self.disk.lock().unwrap().refused => return true,
            12 | 13 if self.rival.is_none() => {
                let times_left = if self.one_in(4) { 3 + self.below(12) } else { 1 };
                let pause = [10, 160, 2_000][usize::try_from(self.below(3)).unwrap()] * MILLISECOND;
                self.rival = Some(Rival { next: now, pause, times_left, is_clean: self.one_in(2) });
            }
            14..=17 => {
                let time = [100, 2_000, 9_000][usize::try_from(self.below(3)).unwrap()];
                let writes = if self.one_in(3) { 2 + self.below(6) } else { 1 };
                self.note(&format!("the next {writes} writes take {time} ms"));
                let slow = std::iter::repeat_n(time, usize::try_from(writes).unwrap());
                self.disk.lock().unwrap().slow.extend(slow);
            }
            18 => {
                let retain = self.one_in(2);
                let message = self.broker.foreign_probe(&mut self.random.borrow_mut());
                self.count(if retain { "somebody retains a message on the probe topic" } else { "a foreign probe" });
                self.broker.publish(message, retain, now);
            }
            19 if life.peer.is_up() && !dumb => {
                let pause = self.time_below(2_500);
                self.note(&format!("the broker does nothing for {pause} µs"));
                self.broker.is_busy(now, now + pause);
            }
            20 if self.config.file.is_absolute() => {
                self.count("the configuration is read again");
                self.plant.reload(&mut self.broker, now);
            }
            _ => {}
        }
        false
    }

    fn crash(&mut self, life: Life) {
        let reboot = self.one_in(2);
        self.count(if reboot { "the power fails" } else { "the daemon is killed" });
        let now = self.clocks.now();
        self.outages.crash(now);
        self.cut_line();
        drop(life);
        if reboot {
            self.clocks.reboot();
        }
        self.disk.lock().unwrap().is_done(now);
        // What was being written is there as a whole, or not at all.
        if let Some(job) = self.pending.take() {
            if self.one_in(2) && !self.disk.lock().unwrap().fails {
                self.count("a crash comes just after a write");
                job(&mut Mounted(self.disk.clone()));
            } else {
                self.count("a crash comes in a write");
            }
        }
    }

    /// From the first start to the last phase, and then the account.
    pub(super) async fn run(mut self) -> Account {
        self.outages.begin(self.clocks.now());
        let mut life = self.start();
        for _ in 0..STEPS {
            let pause = match self.below(24) {
                0..=11 => self.time_below(10),
                12..=20 => self.time_below(400),
                21 | 22 => self.time_below(3_000),
                _ => self.time_below(25_000),
            };
            self.run_for(&life, self.clocks.now() + pause).await;
            let now = self.clocks.now();
            self.plant.burst(4, &mut self.broker, &mut self.random.borrow_mut(), now);
            if self.one_in(10) {
                self.plant.change(&mut self.random.borrow_mut(), now);
            }
            if self.trouble(&life).await {
                self.crash(life);
                let pause = Duration::from_millis(self.below(20_000));
                tokio::time::sleep(pause).await;
                life = self.start();
            }
            assert!(!life.daemon.is_finished(), "the daemon has ended by itself: {:?}", life.daemon.await);
        }
        let last_phase = self.last_phase(life).await;
        self.outages.writes = std::mem::take(&mut self.disk.lock().unwrap().busy);
        Account::new(&self.broker, &self.outages, last_phase, self.clocks.now())
    }

    /// Everything works, and the plant is quiet: all that is left to happen happens, in bounded time. When the daemon had
    /// received all that was published.
    async fn last_phase(&mut self, life: Life) -> i64 {
        self.note("the last phase");
        let last_phase = self.clocks.now();
        self.plant.falls_silent();
        self.rival = None;
        self.is_last_phase = true;
        {
            let mut disk = self.disk.lock().unwrap();
            disk.fails = false;
            disk.slow.clear();
        }
        self.connect_at = self.connect_at.min(last_phase);
        self.given_up = 0;
        while self.broker.has_plant_messages() && self.clocks.now() < last_phase + DRAINED {
            self.run_for(&life, self.clocks.now() + SECOND).await;
        }
        let drained = self.clocks.now();
        self.run_for(&life, drained + LAST_PHASE).await;
        self.run_and_end(life, drained + LAST_PHASE).await;
        drained
    }

    async fn run_and_end(&mut self, mut life: Life, end: i64) {
        assert!(life.peer.is_up(), "there is no connection after {} s of the last phase", LAST_PHASE / SECOND);
        let most = GIVEN_UP_IN_THE_END;
        assert!(self.given_up <= most, "in the last phase the daemon has given up {} connections", self.given_up);
        // What recurs may be on its way just now: a line needs its time.
        while !self.broker.is_quiet() {
            self.run_for(&life, self.clocks.now() + 100 * MILLISECOND).await;
            assert!(self.clocks.now() < end + 10 * SECOND, "after the last phase something still waits at the broker");
        }
        assert_eq!(self.disk.lock().unwrap().outbound_events(), 0, "after the last phase the outbox is not empty");
        self.broker.disconnected = false;
        life.stop.send_replace(true);
        while !life.daemon.is_finished() {
            let next = self.clocks.now() + 20 * MILLISECOND;
            self.run_for(&life, next).await;
            if self.broker.disconnected {
                // The polling task ends with the connection, and its queue with it.
                life.peer.hang_up();
            }
            assert!(next < end + 60 * SECOND, "the daemon does not stop");
        }
        life.daemon.await.unwrap().unwrap();
        let disk = self.disk.lock().unwrap();
        assert!(!disk.refused, "after the end something is not on the disk");
        assert!(!self.told_of_refusal || disk.failures > 0, "a status told of a failure that there was not");
    }
}

/// What can be said of a message the moment it is published.
fn look(published: &Published, broker: &Broker, disk: &Disk, told_of_refusal: &mut bool) {
    let Published { at, topic, payload } = published;
    let text = || String::from_utf8_lossy(payload);
    record::line(|| format!("{at} {topic} {}", record::without_figures_of_the_machine(&text())));
    if topic.contains("/events/") {
        assert!(disk.refused || disk.holds_event(payload), "published before it was on the disk: {}", text());
    }
    if topic.ends_with("/status") {
        *told_of_refusal |= text().contains(r#""durable":false"#);
    }
    if let Some(alarm) = topic.strip_prefix("annunciator/gw/alarms/") {
        let is_known = |seq: u64| broker.events.contains(&(alarm.to_owned(), seq));
        assert!(sequence_number(payload).is_none_or(is_known), "a state overtook its event: {}", text());
    }
}

/// Who has to look into a failure gets the seed, what happened, and what the daemon received, as a recording.
impl Drop for World {
    fn drop(&mut self) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        // One story is enough to begin with.
        if !std::thread::panicking() || TOLD.swap(true, Ordering::Relaxed) {
            return;
        }
        let second = |at: i64| format!("{}.{:06}", at / SECOND, at % SECOND);
        let received = self.broker.delivered.iter().map(|delivered| {
            let Message { topic, payload } = &delivered.message;
            let payload = serde_json::Value::from(String::from_utf8_lossy(payload));
            let unhindered = second(delivered.unhindered);
            (delivered.first, format!(r#""topic": "{topic}", "payload": {payload}, "unhindered": {unhindered}"#))
        });
        let (from, to) = (r#""link": "down""#.to_owned(), r#""link": "up""#.to_owned());
        let evidence = self.outages.evidence();
        let gaps = evidence.gaps().flat_map(|(start, end)| [(start, from.clone()), (end, to.clone())]);
        let mut lines: Vec<(i64, String)> = received.chain(gaps).filter(|(at, _)| *at < i64::MAX).collect();
        lines.sort_by_key(|(at, _)| *at);
        eprintln!("seed {}: ANNUNCIATOR_WORLD={0} repeats it\n--- what happened", self.seed);
        self.diary.iter().for_each(|(at, what)| eprintln!("{:>12} {what}", second(*at)));
        eprintln!("--- what was said and published (of a world that is asked for by itself)\n{}", record::written());
        eprintln!("--- simulation.toml\n{}--- simulation.jsonl, for annunciator replay", super::configuration());
        lines.iter().for_each(|(at, line)| eprintln!("{{\"t\": {}, {line}}}", second(*at)));
    }
}
