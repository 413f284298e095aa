//! From a message to the engine: which sources it matches, which values it carries, who watches them.
//!
//! The first message on a topic is matched against all sources; what was found is remembered, so each further one
//! costs one look-up, however many sources and alarms there are. A message that matches two sources is evaluated once
//! for each, in their order. What cannot be used becomes a [`Fault`].

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

/// Topics that are remembered, about 130 bytes each: so many that an alarm watches, and so many that only sources read. They
/// lie apart, so a publisher of ever new names makes the daemon forget unwatched topics and no others. A gateway with more
/// topics than this works on, each message then costs a microsecond more.
const MAX_TOPICS: usize = 1 << 17;
/// Bytes of the longest topic that is remembered. Real ones have some dozens.
const MAX_TOPIC_BYTES: usize = 1_024;
/// Bytes of the topics that are remembered, together: a hundred thousand of usual length are some megabytes.
const MAX_TOPICS_BYTES: usize = 16 << 20;

/// Faults of one message that are told one by one; of further ones only the number is.
const MAX_FAULTS: usize = 100;
/// Bytes of a topic, a name or a reason in a fault.
const MAX_FAULT_BYTES: usize = 256;

/// Bytes of the longest name of a thing, property or level. Encoded, all three and the base fit into a topic, which
/// ends at 65,535 bytes.
pub const MAX_NAME: usize = 1_024;

/// A message from the broker.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where it was published.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a [u8],
    /// Whether the broker replayed it at subscription.
    pub retained: bool,
}

/// An input that could not be used as it was meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The topic it came on.
    pub topic: Arc<str>,
    /// What was wrong with it, in words.
    pub reason: String,
}

/// Where the messages of one topic go, for one source.
#[derive(Debug, Clone)]
struct Route {
    source: usize,
    target: Target,
    /// Where its numbers are kept for models.
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
    /// No alarm watches this. The payload is looked at all the same, so that a sensor that sends rubbish is found
    /// before somebody relies on it.
    Nobody(Kind),
}

/// What a source expects of the messages of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    Object,
    Life,
}

/// Whether further messages on a topic go the same way, without a second classification of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    /// The topic is for sources alone.
    Yes,
    /// The caller wants to see each of its messages.
    No,
}

/// What was found out about topics, within bounds. A topic too many makes room by forgetting all of them.
#[derive(Debug)]
struct Routes {
    of_topics: HashMap<Box<str>, SmallList<Route>>,
    /// Bytes of their topics.
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

/// Knows the sources, and the way of each topic to the alarms.
#[derive(Debug)]
pub struct Intake {
    sources: Arc<[Source]>,
    max_payload: usize,
    watched: Routes,
    unwatched: Routes,
    /// Scratch for messages with several values.
    values: Vec<(PropertyIx, Value)>,
    /// Takes down what models need.
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

    /// The same, which takes down what models need.
    #[must_use]
    pub fn recording(self, recorder: Recorder) -> Intake {
        Intake { recorder, ..self }
    }

    /// Gives a message to the engine whose topic is one of things. What could not be used is added to `faults`.
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

    /// Gives a message to the engine if its topic is remembered. False: it is not, and nothing was done; the caller finds
    /// out what the topic is for, and calls [`Intake::take_new`] if sources may read it. What could not be used is added
    /// to `faults`.
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
        // Whatever the message is, time has passed until it came.
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

    /// Gives a message to the engine whose topic is not remembered. What could not be used is added to `faults`.
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
                // What another instance evaluates it also finds fault with.
                if thing_id.is_some_and(|id| !engine.model().share.has(id)) {
                    continue;
                }
                // A thing is heard with its first usable message, not with one that says nothing.
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
                // Each refusal is counted.
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
                // Ids of things that no alarm watches are kept here, too.
                let recorded = thing_id.filter(|id| id.len() <= MAX_NAME);
                let recording = match (recorded, kind) {
                    (Some(thing), Kind::Object) => self.recorder.members(thing),
                    (Some(thing), Kind::Scalar) => property.and_then(|name| self.recorder.value(thing, name)),
                    (None, _) | (_, Kind::Life) => None,
                };
                // Where nothing wants it, the check above was all.
                if !matches!(target, Target::Nobody(_)) || recording.is_some() {
                    let (values, recorder) = (&mut self.values, &mut self.recorder);
                    let turn = Turn { values, recorder, engine, now, effects, faults };
                    let _told = delivery.deliver(&target, recording.as_ref(), turn);
                }
                tell_input_faults(message.topic, engine, effects, faults);
                routes.push(Route { source: index, target, recording: recording.map(Box::new) });
            }
        }
        // A topic that no source reads is found out each time: it costs no more than to find it in a list.
        let is_remembered = remember == Remember::Yes && !routes.is_empty() && message.topic.len() <= MAX_TOPIC_BYTES;
        if all_usable && is_remembered {
            let is_watched =
                routes.iter().any(|route| !matches!(route.target, Target::Nobody(_)) || route.recording.is_some());
            let list = if is_watched { &mut self.watched } else { &mut self.unwatched };
            list.remember(message.topic, routes);
        }
    }
}

/// True for the name of a property that is too long to be taken, unless the configuration names it.
fn is_overlong(name: &str, thing: Option<&str>, engine: &Engine) -> bool {
    let is_known = || thing.and_then(|id| engine.thing(id)).is_some_and(|thing| engine.property(thing, name).is_some());
    name.len() > engine.model().max_id_bytes && !is_known()
}

impl Intake {
    /// The properties of a thing for which a source's liveness topic speaks: what the source itself may deliver, less
    /// what a source without such a topic is there for.
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

/// What a source makes of a topic: nothing, a value, an object of values, a sign of life, or two of them.
fn kinds<'a>(source: &Source, topic: &'a str) -> impl Iterator<Item = (Kind, Names<'a>)> + use<'a> {
    let kind = if source.property.is_some() || source.pattern.names_property() { Kind::Scalar } else { Kind::Object };
    let value = source.pattern.names(topic).map(|names| (kind, names));
    let life = source.alive.as_ref().and_then(|alive| alive.pattern.names(topic)).map(|names| (Kind::Life, names));
    value.into_iter().chain(life)
}

/// What a message may change while it is evaluated.
struct Turn<'t> {
    values: &'t mut Vec<(PropertyIx, Value)>,
    recorder: &'t mut Recorder,
    engine: &'t mut Engine,
    now: Now,
    effects: &'t mut Effects,
    faults: &'t mut Vec<Fault>,
}

/// One message under the rule of one source. Its payload is read once, for all sources.
struct Delivery<'a> {
    source: &'a Source,
    message: Message<'a>,
    payload: &'a Result<Payload<'a>, PayloadFault>,
}

impl Delivery<'_> {
    fn read(&self) -> Result<Payload<'_>, PayloadFault> {
        self.payload.clone()
    }

    /// Checks that there is anything in the message that can be used.
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

    /// Hands the values to the engine, and the numbers that models need to the recorder, in one walk over the payload.
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
        // A retained message may be of any age: it is no sample.
        let recording = recording.filter(|_| !retained);
        let in_gap = !engine.link().is_up();
        let mut record = |name: Option<&str>, value: ValueRef<'_>| {
            // Values of other types are nothing to learn from, and no fault of the message.
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

    /// What a liveness topic says. A last will is retained by design, so where the source says which payload means
    /// "online" its retained messages count; a heartbeat of unknown age does not.
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
    /// A fault of a message on this topic, for a reason in words; what is long in either is cut.
    pub(crate) fn new(topic: &str, reason: fmt::Arguments<'_>) -> Fault {
        Fault { topic: Arc::from(&*clip(topic, MAX_FAULT_BYTES)), reason: say(MAX_FAULT_BYTES, reason) }
    }
}

/// Turns what the engine doubted into faults of this topic.
fn tell_input_faults(topic: &str, engine: &Engine, effects: &mut Effects, faults: &mut Vec<Fault>) {
    let mut input_faults = effects.input_faults.drain(..);
    for input_fault in input_faults.by_ref().take(MAX_FAULTS) {
        // The beginning of an alarm's id says which one it is.
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
        // One that is remembered is looked at all the same.
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
