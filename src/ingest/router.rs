//! From a message to the engine: the sources that match its topic, the values in its payload, the alarms that watch
//! them.
//!
//! The first message on a topic is matched against all sources; the result is remembered, so each further one costs one
//! look-up, however many sources and alarms there are. A message that matches two sources is evaluated once for each,
//! in their order. Input that cannot be used becomes a [`Fault`].

use crate::domain::engine::{
    AlarmIx, Effects, Engine, Input, InputFault, Life, PropertyIx, STAMP_TOLERANCE, Sample, ThingIx,
};
use crate::domain::model::{Value, ValueRef};
use crate::domain::small_list::SmallList;
use crate::domain::text::{clip, say};
use crate::domain::time::Now;
use crate::ingest::formats::{Map, Payload, PayloadFault};
use crate::ingest::recorder::{Recorder, Recording};
use crate::ingest::source::{Names, Source};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Maximum number of remembered topics, about 130 bytes each, in each of two lists: topics that an alarm watches, and
/// topics that only sources read. A publisher of ever new names thus displaces unwatched topics only. With more topics
/// a gateway still works, and each message costs a microsecond more.
const MAX_TOPICS: usize = 1 << 17;
/// Maximum length of a remembered topic in bytes. Real ones have some dozens.
const MAX_TOPIC_BYTES: usize = 1_024;
/// Maximum size in bytes of all remembered topics of a list: a hundred thousand of usual length are some megabytes.
const MAX_TOPICS_BYTES: usize = 16 << 20;

/// Maximum number of faults of one message that are reported one by one; further ones are counted.
const MAX_FAULTS: usize = 100;
/// Maximum number of bytes of a topic, a name or a reason in a fault.
const MAX_FAULT_BYTES: usize = 256;

/// Maximum length in bytes of the name of a thing, property or level. Encoded, all three and the base fit into a topic,
/// which ends at 65,535 bytes.
pub const MAX_NAME: usize = 1_024;

/// A message from the broker.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The topic on which it was published.
    pub topic: &'a str,
    /// The payload as received.
    pub payload: &'a [u8],
    /// True if the broker sent it as a retained message after a subscription.
    pub retained: bool,
}

/// An input that could not be used as intended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The topic of the message, clipped.
    pub topic: Arc<str>,
    /// The reason in words, clipped.
    pub reason: String,
}

/// The destination of the messages on one topic, for one source.
#[derive(Debug, Clone)]
struct Route {
    source: usize,
    target: Target,
    /// The tracks in which its numbers are recorded for models; `None` if no model needs them.
    recording: Option<Box<Recording>>,
}

#[derive(Debug, Clone)]
enum Target {
    /// The payload is a value of this property.
    Property(PropertyIx),
    /// The payload's members are properties of this thing.
    Object(ThingIx),
    /// The payload says whether the thing lives, for these of its properties.
    Life(Rc<Vec<PropertyIx>>),
    /// No alarm watches this. The payload is checked all the same, so that a faulty sensor is found before an alarm
    /// depends on it.
    Nobody(Kind),
}

/// The kind of content that a source expects on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    Object,
    Life,
}

/// Permission to evaluate further messages on a topic without another classification of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    /// The topic is for sources alone.
    Yes,
    /// The caller needs to classify each message on the topic.
    No,
}

/// Routes by topic, within bounds. At a bound all of them are forgotten, to make room.
#[derive(Debug)]
struct Routes {
    of_topics: HashMap<Box<str>, SmallList<Route>>,
    /// Size of all topics in bytes.
    bytes: usize,
    max: usize,
    max_bytes: usize,
}

impl Routes {
    fn new(max: usize, max_bytes: usize) -> Routes {
        Routes { of_topics: HashMap::new(), bytes: 0, max, max_bytes }
    }

    fn remember(&mut self, topic: &str, routes: Vec<Route>) {
        if self.of_topics.len() >= self.max || self.bytes + topic.len() > self.max_bytes {
            self.of_topics.clear();
            self.bytes = 0;
        }
        self.bytes += topic.len();
        self.of_topics.insert(topic.into(), routes.into());
    }
}

/// Matches messages with sources, and remembers the routes of topics to the alarms.
#[derive(Debug)]
pub struct Intake {
    sources: Arc<[Source]>,
    max_payload: usize,
    watched: Routes,
    unwatched: Routes,
    /// Buffer for messages with several values, reused.
    values: Vec<(PropertyIx, Value)>,
    /// Records the values that models need.
    pub recorder: Recorder,
}

impl Intake {
    /// An intake for these sources, which takes payloads up to `max_payload` bytes.
    pub fn new(sources: Arc<[Source]>, max_payload: usize) -> Intake {
        Intake {
            sources,
            max_payload,
            watched: Routes::new(MAX_TOPICS, MAX_TOPICS_BYTES),
            unwatched: Routes::new(MAX_TOPICS, MAX_TOPICS_BYTES),
            values: Vec::new(),
            recorder: Recorder::default(),
        }
    }

    /// The same intake with another recorder.
    #[must_use]
    pub fn recording(self, recorder: Recorder) -> Intake {
        Intake { recorder, ..self }
    }

    /// Gives a message on the topic of a thing to the engine. Inputs that could not be used are added to `faults`.
    pub fn take(
        &mut self,
        message: Message<'_>,
        engine: &mut Engine,
        now: Now,
        effects: &mut Effects,
        faults: &mut Vec<Fault>,
    ) {
        if !self.take_known(message, engine, now, effects, faults) {
            self.take_new(message, Remember::Yes, engine, now, effects, faults);
        }
    }

    /// Gives a message to the engine if its topic is remembered. False: it is not, and nothing was done; the caller
    /// classifies the topic, and calls [`Intake::take_new`] if sources may read it. Inputs that could not be used are
    /// added to `faults`.
    pub fn take_known(
        &mut self,
        message: Message<'_>,
        engine: &mut Engine,
        now: Now,
        effects: &mut Effects,
        faults: &mut Vec<Fault>,
    ) -> bool {
        let known = self.watched.of_topics.get(message.topic);
        let Some(routes) = known.or_else(|| self.unwatched.of_topics.get(message.topic)) else { return false };
        // Time has passed until the message came, whatever its content.
        engine.handle(Input::Tick, now, effects);
        if message.payload.is_empty() {
            // MQTT's way to delete a retained message.
            return true;
        }
        let payload = Payload::read(message.payload, self.max_payload);
        let Intake { sources, values, recorder, .. } = self;
        for route in routes {
            let delivery = Delivery { source: &sources[route.source], message, payload: &payload };
            let recording = route.recording.as_deref();
            let turn = Turn { values: &mut *values, recorder: &mut *recorder, engine, now, effects, faults };
            if let Err(fault) = delivery.deliver(&route.target, recording, turn) {
                faults.push(Fault::new(message.topic, format_args!("{fault}")));
            }
            tell_input_faults(message.topic, engine, effects, faults);
        }
        true
    }

    /// Gives a message to the engine whose topic is not remembered. Inputs that could not be used are added to
    /// `faults`.
    pub fn take_new(
        &mut self,
        message: Message<'_>,
        remember: Remember,
        engine: &mut Engine,
        now: Now,
        effects: &mut Effects,
        faults: &mut Vec<Fault>,
    ) {
        engine.handle(Input::Tick, now, effects);
        if message.payload.is_empty() {
            return;
        }
        let mut routes = Vec::new();
        let mut all_usable = true;
        let payload = Payload::read(message.payload, self.max_payload);
        for (index, source) in self.sources.iter().enumerate() {
            let delivery = Delivery { source, message, payload: &payload };
            for (kind, names) in kinds(source, message.topic) {
                let thing_id = source.thing.as_deref().or(names.thing);
                // The instance that evaluates the thing also reports its faults.
                if thing_id.is_some_and(|id| !engine.model().share.has(id)) {
                    continue;
                }
                // A thing is registered with its first usable message, not with a faulty one.
                if let Err(fault) = delivery.check(kind) {
                    faults.push(Fault::new(message.topic, format_args!("{fault}")));
                    all_usable = false;
                    continue;
                }
                let property = source.property.as_deref().or(names.property);
                if let Some(name) = property.filter(|name| is_overlong(name, thing_id, engine)) {
                    let bound = engine.refuse_properties(1, name);
                    faults.push(Fault::new(message.topic, format_args!("{bound}")));
                    all_usable = false;
                    continue;
                }
                let thing = thing_id.and_then(|id| engine.register_thing(id, now, effects));
                // The route of a refused thing is not remembered, so each refusal is counted.
                all_usable &= !effects
                    .input_faults
                    .iter()
                    .any(|input_fault| matches!(input_fault, InputFault::ThingRefused { .. }));
                let target = match (thing, kind) {
                    (None, _) => Target::Nobody(kind),
                    (Some(thing), Kind::Life) => Target::Life(self.alive_properties(source, thing, engine)),
                    (Some(thing), Kind::Object) => Target::Object(thing),
                    (Some(thing), Kind::Scalar) => property
                        .and_then(|name| engine.property(thing, name))
                        .map_or(Target::Nobody(kind), Target::Property),
                };
                // The recorder also keeps the ids of things that no alarm watches, so their length is checked here.
                let recorded = thing_id.filter(|id| id.len() <= MAX_NAME);
                let recording = match (recorded, kind) {
                    (Some(thing), Kind::Object) => self.recorder.members(thing),
                    (Some(thing), Kind::Scalar) => property.and_then(|name| self.recorder.value(thing, name)),
                    (None, _) | (_, Kind::Life) => None,
                };
                // Without a target, the check above was enough.
                if !matches!(target, Target::Nobody(_)) || recording.is_some() {
                    let (values, recorder) = (&mut self.values, &mut self.recorder);
                    let turn = Turn { values, recorder, engine, now, effects, faults };
                    let _told = delivery.deliver(&target, recording.as_ref(), turn);
                }
                tell_input_faults(message.topic, engine, effects, faults);
                routes.push(Route { source: index, target, recording: recording.map(Box::new) });
            }
        }
        // A topic that no source reads is matched each time: that costs no more than a look-up.
        let is_remembered = remember == Remember::Yes && !routes.is_empty() && message.topic.len() <= MAX_TOPIC_BYTES;
        if all_usable && is_remembered {
            let is_watched =
                routes.iter().any(|route| !matches!(route.target, Target::Nobody(_)) || route.recording.is_some());
            let list = if is_watched { &mut self.watched } else { &mut self.unwatched };
            list.remember(message.topic, routes);
        }
    }
}

/// True if a property's name is too long and the configuration does not name the property.
fn is_overlong(name: &str, thing: Option<&str>, engine: &Engine) -> bool {
    let is_known = || thing.and_then(|id| engine.thing(id)).is_some_and(|thing| engine.property(thing, name).is_some());
    name.len() > engine.model().max_id_bytes && !is_known()
}

impl Intake {
    /// The properties of a thing for which a source's liveness topic counts: those that the source itself may deliver,
    /// except those that a source without a liveness topic names.
    fn alive_properties(&self, source: &Source, thing: ThingIx, engine: &Engine) -> Rc<Vec<PropertyIx>> {
        let named = |source: &Source| source.property.as_deref().and_then(|name| engine.property(thing, name));
        if source.property.is_some() {
            return Rc::new(named(source).into_iter().collect());
        }
        let elsewhere: Vec<PropertyIx> =
            self.sources.iter().filter(|other| other.alive.is_none()).filter_map(named).collect();
        Rc::new(engine.properties_of(thing).filter(|property| !elsewhere.contains(property)).collect())
    }
}

/// The kinds of content that a source reads on a topic: none, a value, an object of values, a sign of life, or two of
/// them.
fn kinds<'a>(source: &Source, topic: &'a str) -> impl Iterator<Item = (Kind, Names<'a>)> + use<'a> {
    let kind = if source.property.is_some() || source.pattern.names_property() { Kind::Scalar } else { Kind::Object };
    let value = source.pattern.names(topic).map(|names| (kind, names));
    let life = source.alive.as_ref().and_then(|alive| alive.pattern.names(topic)).map(|names| (Kind::Life, names));
    value.into_iter().chain(life)
}

/// The state that the evaluation of a message may change.
struct Turn<'t> {
    values: &'t mut Vec<(PropertyIx, Value)>,
    recorder: &'t mut Recorder,
    engine: &'t mut Engine,
    now: Now,
    effects: &'t mut Effects,
    faults: &'t mut Vec<Fault>,
}

/// One message under the rule of one source. Its payload is parsed once, for all sources.
struct Delivery<'a> {
    source: &'a Source,
    message: Message<'a>,
    payload: &'a Result<Payload<'a>, PayloadFault>,
}

impl Delivery<'_> {
    fn read(&self) -> Result<Payload<'_>, PayloadFault> {
        self.payload.clone()
    }

    /// Checks that some content of the message can be used.
    fn check(&self, kind: Kind) -> Result<(), PayloadFault> {
        let payload = self.read()?;
        let Source { value, time, map, alive, .. } = self.source;
        if kind == Kind::Life {
            let value = alive.as_ref().and_then(|alive| alive.value.as_ref());
            return payload.scalar(value, &Map::new(), |_| ());
        }
        if let Some(time) = time {
            payload.time(time)?;
        }
        match kind {
            Kind::Scalar => payload.scalar(value.as_ref(), map, |_| ()),
            Kind::Object | Kind::Life => payload.members(value.as_ref(), map, &mut |_, _| (), &mut |_, _| ()),
        }
    }

    /// Hands the values to the engine, and the numbers that models need to the recorder, in one pass over the payload.
    fn deliver(&self, target: &Target, recording: Option<&Recording>, turn: Turn<'_>) -> Result<(), PayloadFault> {
        let Source { value, time, map, alive, .. } = self.source;
        let Turn { values, recorder, engine, now, effects, faults } = turn;
        match (target, alive) {
            (Target::Life(properties), Some(alive)) => return self.life(alive, properties, engine, now, effects),
            (Target::Life(_), None) => return Ok(()),
            (Target::Nobody(Kind::Life), _) => return self.check(Kind::Life),
            (Target::Property(_) | Target::Object(_) | Target::Nobody(_), _) => {}
        }
        let payload = self.read()?;
        let stamp = time.as_ref().map(|time| payload.time(time)).transpose()?;
        let (retained, sign_of_life) = (self.message.retained, alive.is_none());
        // A retained message may be of any age: it is not recorded.
        let recording = recording.filter(|_| !retained);
        let in_gap = !engine.link().is_up();
        let mut record = |name: Option<&str>, value: ValueRef<'_>| {
            // Values of other types are not recorded, and are no fault of the message.
            if let (Some(track), ValueRef::Number(number)) = (recording.and_then(|of| of.track(name)), value) {
                recorder.take(track, number, stamp, now.wall, in_gap);
            }
        };
        match target {
            Target::Property(property) => payload.scalar(value.as_ref(), map, |value| {
                let samples = &[Sample { property: *property, value }];
                engine.handle(Input::Message { samples, stamp, retained, sign_of_life }, now, effects);
                record(None, value);
            }),
            Target::Object(thing) => {
                values.clear();
                let (mut overlong, mut last_overlong) = (0, None);
                let mut keep = |name: &str, value: ValueRef<'_>| {
                    record(Some(name), value);
                    let Some(property) = engine.property(*thing, name) else {
                        if name.len() > engine.model().max_id_bytes {
                            overlong += 1;
                            last_overlong = Some(clip(name, MAX_FAULT_BYTES / 2).into_owned());
                        }
                        return;
                    };
                    match values.iter_mut().find(|(known, _)| *known == property) {
                        Some(twice) => twice.1 = value.to_value(),
                        None => values.push((property, value.to_value())),
                    }
                };
                let topic = self.message.topic;
                let mut faulty = 0;
                payload.members(value.as_ref(), map, &mut keep, &mut |name, fault| {
                    faulty += 1;
                    if faulty <= MAX_FAULTS {
                        let name = clip(name, MAX_FAULT_BYTES / 2);
                        faults.push(Fault::new(topic, format_args!("{name}: {fault}")));
                    }
                })?;
                if let Some(last) = last_overlong {
                    let bound = engine.refuse_properties(overlong, &last);
                    faults.push(Fault::new(topic, format_args!("{last}: {bound}; so it is with {overlong} members")));
                }
                if faulty > MAX_FAULTS {
                    let more = faulty - MAX_FAULTS;
                    faults.push(Fault::new(topic, format_args!("{more} more of its members are no values")));
                }
                let samples: Vec<Sample<'_>> = values
                    .iter()
                    .map(|(property, value)| Sample { property: *property, value: value.borrow() })
                    .collect();
                engine.handle(Input::Message { samples: &samples, stamp, retained, sign_of_life }, now, effects);
                Ok(())
            }
            Target::Nobody(Kind::Object) => {
                payload.members(value.as_ref(), map, &mut |name, value| record(Some(name), value), &mut |_, _| ())
            }
            Target::Life(_) | Target::Nobody(_) => payload.scalar(value.as_ref(), map, |value| record(None, value)),
        }
    }

    /// Evaluates the message of a liveness topic. A last will is retained by design, so retained messages count if
    /// their payload is the one for "offline" or "online"; a retained heartbeat, of unknown age, does not.
    fn life(
        &self,
        alive: &crate::ingest::source::Alive,
        properties: &[PropertyIx],
        engine: &mut Engine,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), PayloadFault> {
        let said = self.read()?.scalar(alive.value.as_ref(), &Map::new(), |value| match value {
            ValueRef::Text(text) => text.trim().to_owned(),
            ValueRef::Cut(cut) => cut.shown.trim().to_owned(),
            ValueRef::Number(number) => number.to_string(),
            ValueRef::Boolean(boolean) => boolean.to_string(),
        })?;
        let says = |word: &str| said.eq_ignore_ascii_case(word);
        let life = match &alive.online {
            _ if says(&alive.offline) => Life::Offline,
            Some(online) if says(online) => Life::Online,
            _ if self.message.retained => return Ok(()),
            _ => Life::Beat,
        };
        engine.handle(Input::Alive { properties, life }, now, effects);
        Ok(())
    }
}

impl Fault {
    /// A fault of a message on this topic, for a reason in words; long texts are clipped.
    pub(crate) fn new(topic: &str, reason: fmt::Arguments<'_>) -> Fault {
        Fault { topic: Arc::from(&*clip(topic, MAX_FAULT_BYTES)), reason: say(MAX_FAULT_BYTES, reason) }
    }
}

/// Turns the inputs that the engine rejected or corrected into faults of this topic.
fn tell_input_faults(topic: &str, engine: &Engine, effects: &mut Effects, faults: &mut Vec<Fault>) {
    let mut input_faults = effects.input_faults.drain(..);
    for input_fault in input_faults.by_ref().take(MAX_FAULTS) {
        // The beginning of an alarm's id identifies it.
        let named = |alarm: AlarmIx| clip(engine.view(alarm).id().as_str(), MAX_FAULT_BYTES / 2).into_owned();
        let mut add = |reason: fmt::Arguments<'_>| faults.push(Fault::new(topic, reason));
        match input_fault {
            InputFault::WrongType { alarm, wanted, got } => {
                add(format_args!("value is a {got}, alarm {} compares with a {wanted}", named(alarm)));
            }
            InputFault::StampInFuture { .. } => {
                add(format_args!(
                    "time stamp is more than {STAMP_TOLERANCE} in the future, the time of receipt was taken"
                ));
            }
            InputFault::StampOutOfOrder { .. } => {
                add(format_args!("time stamp is older than that of the latest value"));
            }
            InputFault::WindowFull { alarm } => {
                add(format_args!("the window of {} is full, its oldest sample was dropped", named(alarm)));
            }
            InputFault::ThingRefused { bound } => add(format_args!("{bound}")),
        }
    }
    let more = input_faults.count();
    if more > 0 {
        faults.push(Fault::new(topic, format_args!("{more} more of its values cannot be used")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::time::{Moment, Stamp};
    use std::path::Path;

    struct Bench {
        intake: Intake,
        engine: Engine,
        faults: Vec<Fault>,
    }

    impl Bench {
        fn new(gateway: &str) -> Bench {
            let text = format!(
                "[gateway]\n{gateway}\n[[source]]\ntopic = \"t/{{thing}}/{{property}}\"\n[[source]]\ntopic = \"o/{{thing}}\"\n\
                 [[alarm]]\nthing = \"*\"\nproperty = \"p\"\nlevel = \"hi\"\ntype = \"standard\"\noperator = \">\"\nlimit = 1\n"
            );
            let config = Config::parse(Path::new("x"), &text).unwrap_or_else(|error| panic!("{}", error.to_text())).0;
            let intake = Intake::new(config.sources.clone(), config.gateway.max_payload);
            Bench { intake, engine: Engine::new(config.model), faults: Vec::new() }
        }

        fn take(&mut self, topic: &str, payload: &str) {
            let message = Message { topic, payload: payload.as_bytes(), retained: false };
            let now = Now { at: Moment::BEGINNING, wall: Stamp::default() };
            let mut effects = Effects::default();
            self.intake.take(message, &mut self.engine, now, &mut effects, &mut self.faults);
        }
    }

    #[test]
    fn a_topic_that_no_alarm_watches_is_remembered_and_costs_no_topic_that_one_watches() {
        let mut bench = Bench::new("");
        bench.take("t/press/p", "1");
        bench.take("t/press/unwatched", "1");
        bench.take("elsewhere", "1");
        assert_eq!((bench.intake.watched.of_topics.len(), bench.intake.unwatched.of_topics.len()), (1, 1));
        let long = "x".repeat(MAX_TOPIC_BYTES - 20);
        for number in 0..MAX_TOPICS_BYTES / MAX_TOPIC_BYTES + 100 {
            bench.take(&format!("t/press/{number}-{long}"), "1");
            let Routes { of_topics, bytes, .. } = &bench.intake.unwatched;
            assert!(!of_topics.is_empty() && *bytes <= MAX_TOPICS_BYTES);
        }
        let Routes { of_topics, bytes, .. } = &bench.intake.unwatched;
        assert_eq!(*bytes, of_topics.keys().map(|topic| topic.len()).sum::<usize>());
        bench.take(&format!("t/press/{}", "y".repeat(MAX_TOPIC_BYTES)), "1");
        assert!(bench.intake.unwatched.of_topics.keys().all(|topic| topic.len() <= MAX_TOPIC_BYTES));
        assert!(bench.intake.watched.of_topics.contains_key("t/press/p"));
        // A remembered topic's messages are checked all the same.
        bench.faults.clear();
        bench.take("t/press/known", "1");
        bench.take("t/press/known", "null");
        assert_eq!(bench.faults.len(), 1, "{:?}", bench.faults);
    }

    #[test]
    fn a_list_of_topics_has_a_bound_in_number() {
        let mut routes = Routes::new(3, 100);
        for topic in ["a", "b", "c", "d"] {
            routes.remember(topic, Vec::new());
        }
        assert_eq!((routes.of_topics.len(), routes.bytes), (1, 1));
    }

    #[test]
    fn each_property_whose_name_is_too_long_is_a_fault() {
        let mut bench = Bench::new("max_id_bytes = 8");
        for _ in 0..2 {
            bench.take("t/press/much-too-long", "1");
            bench.take("o/press", r#"{"much-too-long": 1, "p": 2, "also-too-long": 3}"#);
        }
        bench.take("o/press", r#"{"p": 2}"#);
        let reasons: Vec<&str> = bench.faults.iter().map(|fault| &*fault.reason).collect();
        let one = "the property's name is longer than 8 bytes (max_id_bytes)";
        let two = &*format!("also-too-long: {one}; so it is with 2 members");
        assert_eq!(reasons, [one, two, one, two]);
        let refused = bench.engine.refused().unwrap();
        assert_eq!((refused.count, &*refused.last), (6, "also-too-long"), "{refused:?}");
    }

    #[test]
    fn each_thing_too_many_is_refused_anew() {
        let mut bench = Bench::new("max_things = 1");
        for thing in ["a", "b", "b", "c"] {
            bench.take(&format!("t/{thing}/p"), "1");
        }
        assert_eq!(bench.faults.len(), 3, "{:?}", bench.faults);
    }
}
