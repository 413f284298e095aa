//! The load: values of many properties at a fixed rate, whatever becomes of them (open loop).
//!
//! Each value carries the number of its message, so whoever sees it knows when it was to be sent. Even properties speak
//! JSON (`{"value": x}`), odd ones plain numbers. A value above 50 activates its alarm.

use crate::line::{Line, put_message};
use crate::stage::until;
use anyhow::Result;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Messages that fall into one of these leave together. A finer one would measure the timer of the machine.
const TICK: Duration = Duration::from_millis(1);
/// Shares no divisor with the numbers of properties: going on by it visits each, and never its neighbour.
const STRIDE: u64 = 617;
/// What is added to the message's number to make a value above the limit.
const ABOVE: u64 = 1_000;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) properties: u64,
    pub(crate) qos: u8,
    /// One message in so many changes an alarm; none does.
    pub(crate) change_every: Option<u64>,
}

/// Somebody who sends.
#[derive(Debug)]
pub(crate) struct Load {
    line: Line,
    mix: Mix,
    topics: Vec<String>,
    /// Whether the property's last value was above the limit.
    above: Vec<bool>,
    /// The number of the next message.
    next: u64,
    /// Messages of our own between the values.
    besides: u64,
    buffer: Vec<u8>,
    /// Bytes of the broker's acknowledgements.
    answered: Arc<AtomicU64>,
}

/// A part of the load that was sent at a fixed rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    first: u64,
    begin: Instant,
    rate: u64,
}

impl Stretch {
    /// When this message was to be sent; none: before this stretch.
    pub(crate) fn time_of(&self, number: u64) -> Option<Instant> {
        let place = number.checked_sub(self.first)?;
        let exact = Duration::from_nanos(place * 1_000_000_000 / self.rate);
        let ticks = exact.as_nanos() / TICK.as_nanos();
        Some(self.begin + TICK * u32::try_from(ticks).ok()?)
    }
}

/// The number of the message that had this value.
pub(crate) fn number_of(value: f64) -> Option<u64> {
    let number = format!("{:.0}", value.abs()).parse::<u64>().ok()?;
    if value > 0.0 { number.checked_sub(ABOVE) } else { Some(number) }
}

/// What a property is called.
pub(crate) fn thing(property: u64) -> String {
    format!("thing-{property:06}")
}

fn topic(property: u64) -> String {
    format!("plant/{}/{}/value", if property.is_multiple_of(2) { "json" } else { "plain" }, thing(property))
}

impl Load {
    pub(crate) fn new(port: u16, mix: Mix) -> Result<Load> {
        let line = Line::connect(port, "load")?;
        let mut answers = line.handle()?;
        let answered = Arc::new(AtomicU64::new(0));
        let counted = answered.clone();
        // The broker's acknowledgements are not waited for.
        std::thread::spawn(move || {
            let mut sink = vec![0; 65_536];
            while let Ok(count @ 1..) = answers.read(&mut sink) {
                counted.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        let topics: Vec<String> = (0..mix.properties).map(topic).collect();
        let above = vec![false; topics.len()];
        Ok(Load { line, mix, above, topics, next: 0, besides: 0, buffer: Vec::new(), answered })
    }

    /// How many were sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.next
    }

    /// Each property speaks once and changes nothing.
    pub(crate) fn introduce(&mut self) -> Result<()> {
        let change_every = self.mix.change_every.take();
        let done = self.rush(self.mix.properties);
        self.mix.change_every = change_every;
        done
    }

    /// Sends as fast as the broker takes it.
    pub(crate) fn rush(&mut self, messages: u64) -> Result<()> {
        for _ in 0..messages {
            self.put();
            if self.buffer.len() > 32_768 {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Waits until the broker has taken everything (QoS 1).
    pub(crate) fn until_taken(&self) -> Result<()> {
        /// Of a PUBACK.
        const BYTES: u64 = 4;
        until("the broker to take all", || {
            Ok((self.answered.load(Ordering::Relaxed) == (self.next + self.besides) * BYTES).then_some(()))
        })
    }

    /// Sends at this rate for so long.
    pub(crate) fn run(&mut self, rate: u64, length: Duration) -> Result<Stretch> {
        let stretch = self.stretch(rate);
        self.go_on(&stretch, length)?;
        Ok(stretch)
    }

    /// A stretch that begins now.
    pub(crate) fn stretch(&self, rate: u64) -> Stretch {
        Stretch { first: self.next, begin: Instant::now(), rate }
    }

    /// Sends what belongs to a stretch.
    pub(crate) fn go_on(&mut self, stretch: &Stretch, length: Duration) -> Result<()> {
        let end = stretch.begin + length;
        loop {
            let now = Instant::now();
            while stretch.time_of(self.next).is_some_and(|due| due <= now && due < end) {
                self.put();
            }
            self.flush()?;
            if now >= end {
                return Ok(());
            }
            let next = stretch.time_of(self.next).unwrap_or(end).min(end);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// A message of our own between the values.
    pub(crate) fn send(&mut self, topic: &str, payload: &str) -> Result<()> {
        let id = (self.mix.qos > 0).then_some(7);
        put_message(&mut self.buffer, topic, payload.as_bytes(), id);
        self.besides += 1;
        self.flush()
    }

    fn put(&mut self) {
        let number = self.next;
        self.next += 1;
        let round = number / self.mix.properties;
        let property = usize::try_from(number * STRIDE % self.mix.properties).unwrap_or(0);
        if self.mix.change_every.is_some_and(|every| (number + round).is_multiple_of(every)) {
            self.above[property] = !self.above[property];
        }
        let value = if self.above[property] { format!("{}", number + ABOVE) } else { format!("-{number}") };
        let payload = if property.is_multiple_of(2) { format!("{{\"value\": {value}}}") } else { value };
        let id = (self.mix.qos > 0).then(|| u16::try_from(number % 65_535 + 1).unwrap_or(1));
        put_message(&mut self.buffer, &self.topics[property], payload.as_bytes(), id);
    }

    fn flush(&mut self) -> Result<()> {
        self.line.send(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
