//! The world around the daemon: chance decides what happens next, and what the broker was told is looked at at once.

use super::account::{Account, Outages};
use super::broker::{Broker, Message, Published};
use super::machine::{Clocks, Disk, Mounted, Pending, Seen, serve};
use super::random::Random;
use crate::config::Config;
use crate::daemon::journal::Journal;
use crate::daemon::vigil::Heritage;
use crate::daemon::{Daemon, End, Stop};
use crate::engine::Step;
use crate::mqtt::double::{self, Wire};
use crate::store::keeper::Keeper;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

/// Steps of the world between its beginning and its last peace.
const STEPS: u64 = 60;
/// How long the last peace is: longer than any timer, and than any doubt of the daemon in its hearing.
const PEACE: Duration = Duration::from_secs(90);
const SECOND: i64 = 1_000_000;

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
    messages: usize,
    /// When the connection comes back, and when the disk does.
    connect_at: i64,
    disk_heals_at: i64,
    /// What has happened, for people, and when.
    diary: Vec<(i64, String)>,
    /// Whether a status told of the disk's refusal.
    told_of_refusal: bool,
}

/// A run of the daemon.
struct Life {
    tasks: LocalSet,
    wire: Wire,
    stop: watch::Sender<bool>,
    daemon: JoinHandle<anyhow::Result<End>>,
}

impl World {
    pub(super) fn new(seed: u64, config: Config) -> World {
        let mut random = Random::new(seed);
        let broker = Broker::new(random.one_in(2));
        World {
            seed,
            config,
            random: Rc::new(RefCell::new(random)),
            clocks: Clocks::new(),
            disk: Arc::default(),
            pending: Pending::default(),
            broker,
            outages: Outages::default(),
            messages: 0,
            connect_at: 0,
            disk_heals_at: 0,
            diary: Vec::new(),
            told_of_refusal: false,
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    fn one_in(&self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn note(&mut self, what: &str) {
        self.diary.push((self.clocks.now(), what.to_owned()));
    }

    /// Starts the daemon on what is on the disk: the product's own loop, store thread and network apart.
    fn start(&mut self) -> Life {
        self.broker.heard_itself = false;
        let tasks = LocalSet::new();
        let _inside = tasks.enter();
        let mut step = Step::default();
        let (keeper, jobs) = Keeper::without_thread();
        let machine = Box::new(Seen(self.clocks.clone()));
        let store = Box::new(Mounted(self.disk.clone()));
        let recovered =
            Journal::recover(&self.config, store, None, &Heritage::default(), machine, |_| Ok(keeper), &mut step);
        let (journal, clock, engine, reactors) = recovered.unwrap();
        let clock = Rc::new(clock);
        let (link, wire) = double::connection(clock.clone());
        let daemon = Daemon::new(self.config.clone(), clock, engine, step, journal, reactors, link);
        let (stop, stopped) = watch::channel(false);
        tasks.spawn_local(serve(self.disk.clone(), jobs, self.pending.clone(), self.random.clone()));
        let daemon = tasks.spawn_local(daemon.run(Stop::when(stopped)));
        self.connect_at = self.clocks.now() + i64::try_from(self.below(2_000_000)).unwrap();
        Life { tasks, wire, stop, daemon }
    }

    /// Lets everybody live for a while.
    async fn wait(&self, life: &Life, pause: Duration) {
        life.tasks.run_until(tokio::time::sleep(pause)).await;
    }

    fn lose_connection(&mut self, wire: &Wire, why: &str) {
        if wire.is_up() {
            self.note(why);
            self.outages.begin(self.clocks.now());
            wire.lose(why);
        }
        let pause = match self.below(3) {
            0 => self.below(400_000),
            1 => self.below(4_000_000),
            _ => self.below(20_000_000),
        };
        self.connect_at = self.clocks.now() + i64::try_from(pause).unwrap();
    }

    fn connect(&mut self, wire: &Wire) {
        self.broker.probe_refused = self.one_in(12);
        let refused = if self.broker.probe_refused {
            vec![("annunciator/gw/probe".to_owned(), "simulated".to_owned())]
        } else {
            Vec::new()
        };
        let present = self.broker.connect();
        self.note(&format!("connected, session present: {present}, probe refused: {}", self.broker.probe_refused));
        self.outages.end(self.clocks.now());
        wire.connect(present, refused);
    }

    /// What the network and the broker do in one step.
    fn traffic(&mut self, wire: &Wire, most: u64) {
        let now = self.clocks.now();
        if let Some(reason) = wire.wants_restart() {
            self.lose_connection(wire, &format!("the daemon wants a new connection: {reason}"));
        }
        if !wire.is_up() {
            if now >= self.connect_at {
                self.connect(wire);
            }
            return;
        }
        let disk = self.disk.clone();
        let told = &mut self.told_of_refusal;
        let take = if most == u64::MAX { most } else { self.random.borrow_mut().below(most) };
        self.broker.take(wire, take, now, |published, broker| look(published, broker, &disk.lock().unwrap(), told));
        let confirm = if most == u64::MAX { most } else { self.random.borrow_mut().below(most) };
        self.broker.confirm(wire, confirm);
        let deliver = if most == u64::MAX { most } else { self.random.borrow_mut().below(most) };
        self.broker.deliver(wire, deliver, now);
    }

    fn plant(&mut self) {
        for _ in 0..self.below(5) {
            let message = Broker::invent(&mut self.random.borrow_mut(), self.messages);
            self.messages += 1;
            self.broker.publish(message);
        }
    }

    /// Something goes wrong, or nothing does. True: the daemon's process is gone.
    async fn trouble(&mut self, life: &Life) -> bool {
        let now = self.clocks.now();
        if self.disk.lock().unwrap().fails && now >= self.disk_heals_at {
            self.note("the disk is well again");
            self.disk.lock().unwrap().fails = false;
        }
        // What a broker that delivers nothing has not delivered may count as silence until its connection breaks, if no
        // deadline has passed. Whoever judges cannot know that, so the daemon has to find out by itself.
        let dumb = self.broker.deaf || self.broker.frozen;
        match self.below(60) {
            0..=5 | 7 if dumb => {}
            0 | 1 => self.lose_connection(&life.wire, "the connection breaks"),
            2 => {
                self.lose_connection(&life.wire, "the broker loses the session");
                self.broker.lose_session();
            }
            3 => {
                self.lose_connection(&life.wire, "the broker loses everything");
                self.broker.lose_session();
                self.broker.retained.clear();
            }
            4 if life.wire.is_up() && self.broker.heard_itself => {
                self.note("the broker delivers nothing any more");
                self.broker.heard_itself = false;
                self.outages.begin(now);
                self.broker.deaf = true;
            }
            5 if life.wire.is_up() => {
                self.note("the broker is frozen");
                self.outages.begin(now);
                self.broker.frozen = true;
            }
            6 => {
                let hours = [-1, 1, 24 * 3_652, -24 * 20_000][usize::try_from(self.below(4)).unwrap()];
                self.note(&format!("the wall clock steps by {hours} h"));
                self.clocks.wall_ahead.set(self.clocks.wall_ahead.get() + hours * 3_600 * SECOND);
            }
            7 => {
                let stall = if self.one_in(2) { self.below(2_900_000) } else { 4_000_000 + self.below(12_000_000) };
                self.note(&format!("nothing runs for {stall} µs"));
                let stalled = tokio::time::advance(Duration::from_micros(stall));
                stalled.await;
                self.outages.was(now, self.clocks.now());
            }
            8 if !self.disk.lock().unwrap().fails => {
                self.note("the disk fails");
                self.disk_heals_at = now + i64::try_from(self.below(15_000_000)).unwrap();
                self.disk.lock().unwrap().fails = true;
            }
            9..=11 if !self.disk.lock().unwrap().refused => return true,
            _ => {}
        }
        false
    }

    fn crash(&mut self, life: Life) {
        let reboot = self.one_in(2);
        self.note(if reboot { "the power fails" } else { "the daemon is killed" });
        self.outages.crash(self.clocks.now());
        drop(life);
        if reboot {
            self.clocks.reboot();
        }
        // What was being written is there as a whole, or not at all.
        if let Some(job) = self.pending.take()
            && self.one_in(2)
        {
            job(&mut Mounted(self.disk.clone()));
        }
    }

    /// From the first start to the last peace, and then the account.
    pub(super) async fn run(mut self) -> Account {
        self.outages.begin(self.clocks.now());
        let mut life = self.start();
        for _ in 0..STEPS {
            let pause = match self.below(24) {
                0..=11 => self.below(10_000),
                12..=20 => self.below(400_000),
                21 | 22 => self.below(3_000_000),
                _ => self.below(25_000_000),
            };
            let from = self.clocks.now();
            self.wait(&life, Duration::from_micros(pause)).await;
            if pause > 1_000_000 {
                self.outages.was_idle(from, self.clocks.now());
            }
            self.traffic(&life.wire, 8);
            self.plant();
            if self.trouble(&life).await {
                self.crash(life);
                let pause = Duration::from_millis(self.below(20_000));
                tokio::time::sleep(pause).await;
                life = self.start();
            }
            assert!(!life.daemon.is_finished(), "the daemon has ended by itself: {:?}", life.daemon.await);
        }
        self.peace(life).await;
        let World { broker, clocks, outages, .. } = &self;
        Account::new(broker, outages, clocks.now())
    }

    /// Everything works, and the plant is quiet: all that is left to happen happens.
    async fn peace(&mut self, mut life: Life) {
        self.note("peace");
        self.disk.lock().unwrap().fails = false;
        self.connect_at = self.connect_at.min(self.clocks.now());
        let end = self.clocks.now() + i64::try_from(PEACE.as_micros()).unwrap();
        while self.clocks.now() < end || !self.broker.is_quiet() {
            self.traffic(&life.wire, u64::MAX);
            self.wait(&life, Duration::from_millis(250)).await;
            assert!(self.clocks.now() < end + 100 * SECOND, "the broker and the daemon never come to an end");
        }
        self.broker.disconnected = false;
        life.stop.send_replace(true);
        while !life.daemon.is_finished() {
            self.traffic(&life.wire, u64::MAX);
            if self.broker.disconnected {
                // The polling task ends with the connection, and its queue with it.
                life.wire.hang_up();
            }
            self.wait(&life, Duration::from_millis(20)).await;
            assert!(self.clocks.now() < end + 200 * SECOND, "the daemon does not stop");
        }
        life.daemon.await.unwrap().unwrap();
        let refused = self.disk.lock().unwrap().failures > 0;
        assert!(!self.disk.lock().unwrap().refused, "after the end something is not on the disk");
        if self.told_of_refusal {
            assert!(refused, "a status told of a failure that there was not");
        }
    }
}

/// What can be said of a message the moment it is published.
fn look(published: &Published, broker: &Broker, disk: &Disk, told_of_refusal: &mut bool) {
    let Published { topic, payload, .. } = published;
    let text = || String::from_utf8_lossy(payload);
    if topic.contains("/events/") {
        assert!(disk.refused || disk.holds_letter(payload), "published before it was on the disk: {}", text());
    }
    if topic.ends_with("/status") {
        *told_of_refusal |= text().contains(r#""durable":false"#);
    }
    if let Some(alarm) = topic.strip_prefix("annunciator/gw/alarms/") {
        let state: serde_json::Value = serde_json::from_slice(payload).unwrap();
        let is_known = |seq: u64| broker.events.contains(&(alarm.to_owned(), seq));
        let seq = state["seq"].as_u64();
        assert!(seq.is_none_or(is_known), "a state overtook its event: {state}");
    }
}

/// Who has to look into a failure gets the seed, what happened, and what the daemon heard, as a recording.
impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let second = |at: i64| format!("{}.{:06}", at / SECOND, at % SECOND);
        let heard = self.broker.delivered.iter().map(|delivered| {
            let Message { topic, payload } = &delivered.message;
            let payload = serde_json::Value::from(String::from_utf8_lossy(payload));
            (delivered.first, format!(r#""topic": "{topic}", "payload": {payload}"#))
        });
        let (from, to) = (r#""link": "down""#.to_owned(), r#""link": "up""#.to_owned());
        let gaps = self.outages.all().flat_map(|(start, end)| [(start, from.clone()), (end, to.clone())]);
        let mut lines: Vec<(i64, String)> = heard.chain(gaps).filter(|(at, _)| *at < i64::MAX).collect();
        lines.sort_by_key(|(at, _)| *at);
        eprintln!("seed {}: ANNUNCIATOR_WORLD={0} repeats it\n--- what happened", self.seed);
        self.diary.iter().for_each(|(at, what)| eprintln!("{:>12} {what}", second(*at)));
        eprintln!("--- what was published");
        for Published { at, topic, payload } in &self.broker.published {
            eprintln!("{:>12} {topic} {}", second(*at), String::from_utf8_lossy(payload));
        }
        eprintln!("--- simulation.toml\n{}--- simulation.jsonl, for annunciator replay", super::configuration());
        lines.iter().for_each(|(at, line)| eprintln!("{{\"t\": {}, {line}}}", second(*at)));
    }
}
