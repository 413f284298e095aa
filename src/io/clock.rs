//! The one place that asks the operating system for the time.
//!
//! The engine's time line runs on the monotonic clock, which no NTP step moves. After a restart it goes on where the
//! store last saw it, moved on by the time that has passed since, as far as that can be known: on the same boot of the
//! machine exactly, after a reboot by the wall clock, and if that went backwards not at all. Which boot it is, the kernel
//! tells, or systemd where the unit hides that from the service; where nobody does, it is the same one as long as the
//! machine has been running for longer than it had before.

use crate::domain::time::{Moment, Now, Span, Stamp};
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A gap longer than this, by the wall clock alone, is a clock that was wrong before or is wrong now.
const LONGEST_GAP: Span = Span::from_secs(10 * 366 * 86_400);

/// The two clocks are read one after the other, to whole microseconds: what they are apart wavers by so much. More is a
/// wall clock that was set.
const WAVER: Span = Span::from_micros(10);

/// A reading that a later run of the daemon can be measured against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Where the time line stood.
    pub at: Moment,
    /// What the wall clock showed.
    pub wall: Stamp,
    /// Which boot of the machine it was.
    pub boot_id: String,
    /// How long the machine had been running, sleep included.
    pub uptime: Span,
}

/// What a machine tells of time.
pub(crate) trait Machine: std::fmt::Debug {
    /// The clock that never steps, for timers of the run time.
    fn monotonic(&self) -> Instant;
    /// The clock that people set.
    fn wall(&self) -> Stamp;
    /// How long the machine has been running, sleep included.
    fn uptime(&self) -> Span;
    /// A random number for each boot; empty where there is none.
    fn boot_id(&self) -> String;
    /// A number that nobody can guess.
    fn random(&self) -> u64;
}

/// The machine on which this runs.
#[derive(Debug)]
pub(crate) struct ThisMachine;

/// The running time line.
#[derive(Debug)]
pub struct Clock {
    machine: Box<dyn Machine>,
    started: Instant,
    base: Moment,
    boot_id: String,
    /// Both clocks when they were last seen to be as far apart as they are.
    apart: Cell<Now>,
}

/// The same time line for another thread.
#[derive(Debug, Clone, Copy)]
pub struct ClockHandle {
    since: Instant,
    at: Moment,
}

impl ClockHandle {
    /// Where the time line stands.
    pub fn at(&self) -> Moment {
        let elapsed = ThisMachine.monotonic().saturating_duration_since(self.since);
        self.at + Span::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Clock {
    /// A handle that goes on from now by this machine's clock.
    pub fn handle(&self) -> ClockHandle {
        ClockHandle { since: self.machine.monotonic(), at: self.at() }
    }

    /// A time line that goes on from where an earlier run left it; a new one begins at the wall-clock time.
    pub fn start(last: Option<&Anchor>) -> Clock {
        Clock::on(Box::new(ThisMachine), last)
    }

    /// The same on a machine that may be another one.
    pub(crate) fn on(machine: Box<dyn Machine>, last: Option<&Anchor>) -> Clock {
        let boot_id = machine.boot_id();
        let base = match last {
            None => Moment::from_micros(machine.wall().as_micros()),
            Some(anchor) => anchor.at + gap_since(anchor, &boot_id, machine.as_ref()),
        };
        let apart = Cell::new(Now { at: base, wall: machine.wall() });
        Clock { started: machine.monotonic(), machine, base, boot_id, apart }
    }

    /// One reading of both clocks. Unless the wall clock is set, a later one shows no earlier time.
    pub fn now(&self) -> Now {
        let now = Now { at: self.at(), wall: self.machine.wall() };
        let steady = self.apart.get().moved_to(now.at);
        let waver = now.wall - steady.wall;
        if (-WAVER.as_micros()..=WAVER.as_micros()).contains(&waver.as_micros()) {
            return steady;
        }
        self.apart.set(now);
        now
    }

    /// Where the time line stands.
    pub fn at(&self) -> Moment {
        let elapsed = self.machine.monotonic().saturating_duration_since(self.started);
        self.base + Span::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }

    /// The monotonic instant of a moment, for timers of the run time; a moment that has passed is now.
    pub fn instant(&self, moment: Moment) -> Instant {
        let ahead = (moment - self.at()).to_std();
        let now = self.machine.monotonic();
        now.checked_add(ahead).unwrap_or(now)
    }

    /// A number that nobody can guess.
    pub fn random(&self) -> u64 {
        self.machine.random()
    }

    /// What a later run needs to know.
    pub fn anchor(&self) -> Anchor {
        let Now { at, wall } = self.now();
        Anchor { at, wall, boot_id: self.boot_id.clone(), uptime: self.machine.uptime() }
    }
}

/// How much time has passed since the anchor was taken.
fn gap_since(anchor: &Anchor, boot_id: &str, machine: &dyn Machine) -> Span {
    let by_uptime = Span::from_micros(machine.uptime().as_micros() - anchor.uptime.as_micros());
    let (earlier, now) = (plain(&anchor.boot_id), plain(boot_id));
    let is_same_boot = if earlier.is_empty() || now.is_empty() { by_uptime >= Span::ZERO } else { earlier == now };
    let gap = if is_same_boot { by_uptime } else { machine.wall() - anchor.wall };
    if gap < Span::ZERO || gap > LONGEST_GAP { Span::ZERO } else { gap }
}

impl Machine for ThisMachine {
    fn monotonic(&self) -> Instant {
        monotonic()
    }

    fn wall(&self) -> Stamp {
        wall()
    }

    fn uptime(&self) -> Span {
        uptime()
    }

    fn boot_id(&self) -> String {
        boot_id()
    }

    fn random(&self) -> u64 {
        // The standard library's keys come from the operating system.
        RandomState::new().hash_one(std::process::id())
    }
}

/// Where the unit hands over systemd's word for the boot (`%b`): `ProcSubset=pid` hides the kernel's.
const BOOT_ID: &str = "ANNUNCIATOR_BOOT_ID";

/// A random number that the kernel gives each boot; empty where nobody tells it.
fn boot_id() -> String {
    let of_kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = plain(&of_kernel);
    if id.is_empty() { std::env::var(BOOT_ID).map(|id| plain(&id)).unwrap_or_default() } else { id }
}

/// The kernel writes the number with dashes, systemd without. What is none is as good as nothing.
fn plain(id: &str) -> String {
    let id = id.trim().replace('-', "");
    if id.chars().all(|c| c.is_ascii_hexdigit()) { id.to_ascii_lowercase() } else { String::new() }
}

fn uptime() -> Span {
    let time = clock_gettime(ClockId::Boottime);
    Span::from_micros(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000))
}

#[expect(clippy::disallowed_methods, reason = "this is the file that asks")]
fn monotonic() -> Instant {
    Instant::now()
}

/// The wall clock, which may show any time: before 1970 it is negative.
#[expect(clippy::disallowed_methods, reason = "this is the file that asks")]
pub fn wall() -> Stamp {
    let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Stamp::from_micros(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::time::Duration;

    fn anchor(boot_id: &str, wall_ago: Span, uptime_ago: Span) -> Anchor {
        Anchor {
            at: Moment::from_micros(1_000),
            wall: wall() - wall_ago,
            boot_id: boot_id.to_owned(),
            uptime: Span::from_micros(uptime().as_micros() - uptime_ago.as_micros()),
        }
    }

    fn gap_secs(anchor: &Anchor) -> i64 {
        (Clock::start(Some(anchor)).at() - anchor.at).as_micros() / 1_000_000
    }

    /// Its clocks are read with what is left over of a microsecond.
    #[derive(Debug)]
    struct Wavering {
        started: Instant,
        wall: Rc<Cell<i64>>,
        reads: Cell<u32>,
    }

    impl Machine for Wavering {
        fn monotonic(&self) -> Instant {
            self.reads.set(self.reads.get() + 1);
            self.started + Duration::from_micros(u64::from(self.reads.get()))
        }

        fn wall(&self) -> Stamp {
            let reads = i64::from(self.reads.get());
            Stamp::from_micros(self.wall.get() + reads + if reads % 3 == 0 { -3 } else { 3 })
        }

        fn uptime(&self) -> Span {
            Span::ZERO
        }

        fn boot_id(&self) -> String {
            String::new()
        }

        fn random(&self) -> u64 {
            0
        }
    }

    /// Its clocks stand still.
    #[derive(Debug)]
    struct Still {
        uptime: Span,
        wall: Stamp,
    }

    impl Machine for Still {
        fn monotonic(&self) -> Instant {
            monotonic()
        }

        fn wall(&self) -> Stamp {
            self.wall
        }

        fn uptime(&self) -> Span {
            self.uptime
        }

        fn random(&self) -> u64 {
            0
        }

        fn boot_id(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn the_time_shown_goes_back_only_if_somebody_sets_it() {
        let wall = Rc::new(Cell::new(1_000_000));
        let machine = Wavering { started: monotonic(), wall: wall.clone(), reads: Cell::new(0) };
        let clock = Clock::on(Box::new(machine), None);
        let mut last = clock.now().wall;
        for _ in 0..50 {
            let next = clock.now().wall;
            assert!(next > last, "{next:?} after {last:?}");
            last = next;
        }
        for set in [-3_600_000_000, 3_600_000_000] {
            wall.set(wall.get() + set);
            let next = clock.now().wall;
            assert!(((next - last).as_micros() - set).abs() <= 20, "{next:?} after {last:?}");
            last = next;
        }
    }

    #[test]
    fn on_the_same_boot_the_wall_clock_is_not_asked() {
        let stepped = anchor(&boot_id(), Span::from_secs(-3_600), Span::from_secs(7));
        assert_eq!(gap_secs(&stepped), 7);
    }

    #[test]
    fn who_tells_of_the_boot_does_not_matter() {
        let dashed = "01234567-89ab-cdef-0123-456789ABCDEF";
        assert_eq!(plain(dashed), "0123456789abcdef0123456789abcdef");
        assert_eq!(plain("unknown"), "");
        let now = wall();
        let machine = Still { uptime: Span::from_secs(100), wall: now };
        let before = |boot_id: &str, uptime: i64| Anchor {
            at: Moment::default(),
            wall: now - Span::from_secs(3_600),
            boot_id: boot_id.to_owned(),
            uptime: Span::from_secs(uptime),
        };
        let gap = |anchor: &Anchor, boot_id: &str| gap_since(anchor, boot_id, &machine).as_micros() / 1_000_000;
        assert_eq!(gap(&before(dashed, 93), &plain(dashed)), 7);
        for (earlier, now) in [("", ""), (dashed, ""), ("", dashed)] {
            assert_eq!(gap(&before(earlier, 93), now), 7, "the uptime fits");
            assert_eq!(gap(&before(earlier, 101), now), 3_600, "it was another boot");
        }
        assert_eq!(gap(&before("ab", 93), "cd"), 3_600);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_tells_unless_it_is_absurd() {
        assert_eq!(gap_secs(&anchor("07e4", Span::from_secs(90), Span::from_secs(-5))), 90);
        assert_eq!(gap_secs(&anchor("07e4", Span::from_secs(-90), Span::ZERO)), 0, "the clock went back");
        assert_eq!(gap_secs(&anchor("07e4", Span::from_secs(56 * 366 * 86_400), Span::ZERO)), 0, "it was 1970 before");
    }
}
