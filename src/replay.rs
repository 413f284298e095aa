//! A recording through the same engine, in virtual time.
//!
//! A recording is what `mosquitto_sub -F %j` or `%J` writes: one JSON object a line. Its times are the only clock, so
//! the same recording under the same configuration gives the same events, byte for byte, on every machine. One line is
//! held in memory at a time.

use crate::api::channel::{Announced, Channel};
use crate::api::execute;
use crate::api::{commands, reply};
use crate::config::Config;
use crate::domain::engine::{Effects, Engine, Input};
use crate::domain::time::{Moment, Now, Span, Stamp};
use crate::ingest::router::{Fault, Intake, Message, Remember};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Why some commands do nothing here.
const NOT_IN_A_RECORDING: &str =
    "a recording has no history, no statistics and no configuration that could be read again";

/// One line of a recording. Members that are not listed are ignored.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    tst: Option<Cow<'a, str>>,
    t: Option<f64>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    payloadlen: Option<usize>,
    #[serde(default)]
    retain: Flag,
    #[serde(borrow)]
    link: Option<Cow<'a, str>>,
}

/// mosquitto writes 0 and 1, people write false and true.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Flag {
    #[default]
    Unset,
    Truth(bool),
    Number(u8),
}

impl Flag {
    fn is_set(&self) -> bool {
        match self {
            Flag::Unset => false,
            Flag::Truth(truth) => *truth,
            Flag::Number(number) => *number != 0,
        }
    }
}

/// What one line of a recording tells.
#[derive(Debug)]
pub(crate) struct Recorded<'a> {
    /// When it was.
    pub(crate) at: Moment,
    /// The topic of a message; none: the line only moves time.
    pub(crate) topic: Option<Cow<'a, str>>,
    /// What the message says.
    pub(crate) payload: Cow<'a, str>,
    /// Whether the broker replayed it.
    pub(crate) retained: bool,
    link: Option<Input<'static>>,
}

/// Reads one line; none: there is nothing on it.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn read(line: &str) -> Result<Option<Recorded<'_>>, String> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| format!("not a recorded message: {error}"))?;
    let link = match line.link.as_deref() {
        None => None,
        Some("down") => Some(Input::LinkDown),
        Some("up") => Some(Input::LinkUp),
        Some(other) => return Err(format!("link is {other:?}; it can be \"down\" or \"up\"")),
    };
    let (at, retained) = (time_of(&line)?, line.retain.is_set());
    Ok(Some(Recorded { at, payload: payload_of(line.payload, line.payloadlen)?, topic: line.topic, retained, link }))
}

/// Plays a recording, line by line.
#[derive(Debug)]
pub struct Player {
    config: Config,
    engine: Engine,
    intake: Intake,
    last: Option<Moment>,
    /// What came out of the latest line: state changes.
    pub effects: Effects,
    /// What could not be used of the latest line.
    pub faults: Vec<Fault>,
    /// Answers of the latest line's command, as they would be published.
    pub replies: Vec<Vec<u8>>,
}

impl Player {
    /// A player for recordings under this configuration.
    pub fn new(config: Config) -> Player {
        Player {
            engine: Engine::new(config.model.clone()),
            intake: Intake::new(config.sources.clone(), config.gateway.max_payload),
            config,
            last: None,
            effects: Effects::default(),
            faults: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// Models whose alarms cannot be judged: what is normal is not in a recording, but in the daemon's store.
    pub fn not_judged(&self) -> impl Iterator<Item = &str> {
        self.config.anomalies.iter().map(|model| &*model.name)
    }

    /// The engine as it is after the latest line, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine as it is after the latest line.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Where the recording's time stands; none before its first line.
    pub fn now(&self) -> Option<Moment> {
        self.last
    }

    /// Plays one line. What it caused is in `step`, `faults` and `replies` until the next call.
    ///
    /// # Errors
    /// What is wrong with the line, in a sentence. Nothing of it was played then.
    pub fn play(&mut self, line: &str) -> Result<(), String> {
        self.play_line(line, None)
    }

    /// Plays one line as it stands in a file. mosquitto writes a payload that is no text as it came, so the line may be
    /// none either; the message is then one with a payload that is no text.
    ///
    /// # Errors
    /// As [`Player::play`].
    pub fn play_bytes(&mut self, line: &[u8]) -> Result<(), String> {
        match std::str::from_utf8(line) {
            Ok(text) => self.play_line(text, None),
            Err(_) => self.play_line(&String::from_utf8_lossy(line), Some(&[0xff])),
        }
    }

    fn play_line(&mut self, line: &str, no_text: Option<&[u8]>) -> Result<(), String> {
        self.effects.events.clear();
        self.effects.changed.clear();
        self.effects.shelvings.clear();
        self.effects.appeared.clear();
        self.effects.vanished.clear();
        self.faults.clear();
        self.replies.clear();
        let Some(Recorded { at, topic, payload, retained, link }) = read(line)? else { return Ok(()) };
        if let Some(last) = self.last
            && at < last
        {
            let back = last - at;
            return Err(format!("time goes back by {back}: recordings are in the order in which messages came"));
        }
        let now = Now { at, wall: Stamp::from_micros(at.as_micros()) };
        if self.last.replace(at).is_none() {
            // The subscription is acknowledged at the first line's time.
            self.engine.handle(Input::LinkUp, now, &mut self.effects);
        }
        self.engine.handle(link.unwrap_or(Input::Tick), now, &mut self.effects);
        if let Some(topic) = &topic {
            let payload = no_text.unwrap_or(payload.as_bytes());
            self.message(Message { topic, payload, retained }, now);
        }
        Ok(())
    }

    fn message(&mut self, message: Message<'_>, now: Now) {
        if self.intake.take_known(message, &mut self.engine, now, &mut self.effects, &mut self.faults) {
            return;
        }
        let Config { gateway, home_assistant, .. } = &self.config;
        let (current, earlier) = (home_assistant.as_deref(), home_assistant);
        let announced = Announced { gateway: &gateway.shared_id, current, earlier };
        let remember = match Channel::of(message.topic, &gateway.topics, announced) {
            Channel::Command { verb, is_addressed } => {
                self.command(verb, is_addressed, message, now);
                return;
            }
            Channel::Probe | Channel::Announcement | Channel::Own => return,
            Channel::HomeAssistantStatus => Remember::No,
            Channel::Thing | Channel::Score => Remember::Yes,
        };
        self.intake.take_new(message, remember, &mut self.engine, now, &mut self.effects, &mut self.faults);
    }

    fn command(&mut self, verb: &str, is_addressed: bool, message: Message<'_>, now: Now) {
        let Message { payload, retained, .. } = message;
        let gateway = &self.config.gateway;
        // An empty one: somebody has deleted a retained message.
        if !gateway.commands || payload.is_empty() {
            return;
        }
        let bounds = (gateway.command_max_age, gateway.max_shelve);
        let admitted = commands::admit(verb, payload, retained, now.wall, bounds);
        if !is_addressed && admitted.as_ref().is_ok_and(|request| !request.command.concerns(self.config.model.share)) {
            return;
        }
        self.replies.push(match admitted {
            Ok(request) => execute::execute(request, &gateway.id, &mut self.engine, now, &mut self.effects)
                .unwrap_or_else(|asked| reply::refused(asked.0, NOT_IN_A_RECORDING.to_owned())),
            Err(refusal) => refusal.render(),
        });
    }
}

fn time_of(line: &Line<'_>) -> Result<Moment, String> {
    match (&line.tst, line.t) {
        (Some(tst), _) => Ok(Moment::from_micros(Stamp::parse(tst)?.as_micros())),
        (None, Some(seconds)) => {
            let micros = (seconds * 1e6).round();
            if micros.abs() > 9e18 {
                return Err(format!("t is {seconds}: no such time"));
            }
            #[expect(clippy::cast_possible_truncation, reason = "rounded, and inside the range of i64")]
            Ok(Moment::from_micros(0) + Span::from_micros(micros as i64))
        }
        (None, None) => Err("no time: neither tst (RFC 3339) nor t (seconds since 1970)".into()),
    }
}

/// `%j` quotes the payload, `%J` lets JSON stand as it is. Which of them a string is, its length tells.
fn payload_of(raw: Option<&RawValue>, length: Option<usize>) -> Result<Cow<'_, str>, String> {
    match raw.map(RawValue::get) {
        None => Ok(Cow::Borrowed("")),
        Some(text) if text.starts_with('"') => {
            let quoted = serde_json::from_str::<Cow<'_, str>>(text).map_err(|error| format!("payload: {error}"))?;
            let is_itself = length.is_some_and(|length| length == text.len() && length != quoted.len());
            Ok(if is_itself { Cow::Borrowed(text) } else { quoted })
        }
        Some(json) => Ok(Cow::Borrowed(json)),
    }
}
