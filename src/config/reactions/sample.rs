//! Renders every template with sample events of every alarm that uses it.

use super::action::Layers;
use crate::api::topics::Topics;
use crate::api::{event, reaction};
use crate::config::report::{Problem, Problems};
use crate::domain::engine::{Cause, Event, State};
use crate::domain::model::{AlarmDefinition, AlarmType, Condition, Trigger, Value};
use crate::domain::notify::delivery::{Delivery, Kind};
use crate::domain::notify::queue::FEEDS;
use crate::domain::notify::{Reaction, ReactionIx, Reactions, Transition};
use crate::domain::time::{Moment, Span, Stamp};
use crate::ingest::source::Source;
use crate::io::clock::Clock;
use crate::io::send::action::Actions;
use crate::io::send::template::Renderer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Alarms for which a reaction is rendered one by one. Of further ones only those that differ from all before in type or
/// limit: a hundred thousand alarms must not take a minute to check.
const ONE_BY_ONE: usize = 1_000;
/// After this time no more is rendered: a reload has to be answered. A hundred thousand alarms need a second.
const LONGEST_REHEARSAL: Span = Span::from_secs(20);

/// What of the daemon's own a message over MQTT may reach.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) topics: &'a Topics,
    pub(super) sources: &'a [Source],
}

impl Own<'_> {
    /// The source that reads this topic.
    fn reader(&self, topic: &str) -> Option<&Source> {
        let is_evaluated = !self.topics.is_own(topic);
        self.sources.iter().find(|source| is_evaluated && source.reads(topic))
    }
}

/// The reactions, their actions, and the tables that they were read from, each in the order of the reactions.
#[derive(Clone, Copy)]
pub(super) struct All<'a, 'd, 't> {
    pub(super) reactions: &'a Reactions,
    pub(super) actions: &'a Actions,
    pub(super) layers: &'a [Layers<'d, 't>],
}

/// Renders all; a failure is a problem at the place of the text that failed. The reactions that publish what the daemon's
/// own sources read.
pub(super) fn render_all<'a>(
    gateway: &str,
    own: Own<'_>,
    all: All<'_, '_, '_>,
    definitions: impl Iterator<Item = &'a AlarmDefinition>,
    problems: &mut Problems,
) -> BTreeSet<ReactionIx> {
    let All { reactions, actions, layers } = all;
    let renderer = Renderer::new(gateway, &reactions.time_zone);
    let clock = Clock::start(None);
    let mut rehearsal = Rehearsal {
        until: clock.at() + LONGEST_REHEARSAL,
        clock,
        renderer,
        gateway,
        own,
        reactions,
        actions,
        layers,
        seen: BTreeMap::new(),
        told: BTreeSet::new(),
        feeding: BTreeSet::new(),
        has_given_up: false,
    };
    for (definition, named) in definitions.zip(&reactions.of_definitions) {
        for ix in named {
            if rehearsal.is_of_interest(*ix, definition) {
                rehearsal.render(*ix, definition, problems);
            }
        }
    }
    // What no alarm uses yet is checked all the same.
    let anything = sample_definition();
    for ix in (0..reactions.list.len()).map(ReactionIx::new) {
        if !rehearsal.seen.contains_key(&ix) {
            rehearsal.render(ix, &anything, problems);
        }
    }
    rehearsal.feeding
}

/// The type of an alarm and the kind of its limit.
type Shape = (&'static str, &'static str);

struct Rehearsal<'a, 'd, 't> {
    clock: Clock,
    until: Moment,
    renderer: Renderer,
    gateway: &'a str,
    own: Own<'a>,
    reactions: &'a Reactions,
    actions: &'a Actions,
    layers: &'a [Layers<'d, 't>],
    /// For how many alarms a reaction was rendered, and of which shapes.
    seen: BTreeMap<ReactionIx, (usize, BTreeSet<Shape>)>,
    /// One mistake in a text is one problem, however many alarms meet it.
    told: BTreeSet<(ReactionIx, &'static str)>,
    /// Reactions that publish what the daemon's own sources read.
    feeding: BTreeSet<ReactionIx>,
    has_given_up: bool,
}

impl Rehearsal<'_, '_, '_> {
    fn is_of_interest(&mut self, ix: ReactionIx, definition: &AlarmDefinition) -> bool {
        let (count, shapes) = self.seen.entry(ix).or_default();
        *count += 1;
        let kind = match definition.trigger.condition() {
            None => "",
            Some(Condition::Number { .. }) => "number",
            Some(Condition::Text { .. }) => "text",
            Some(Condition::Boolean { .. }) => "boolean",
        };
        shapes.insert((definition.trigger.alarm_type().as_str(), kind)) || *count <= ONE_BY_ONE
    }

    fn render(&mut self, ix: ReactionIx, definition: &AlarmDefinition, problems: &mut Problems) {
        let (Some(reaction), Some(action)) = (self.reactions.get(ix), self.actions.get(ix)) else { return };
        let Some(layers) = self.layers.get(ix.index()) else { return };
        for (kind, event) in samples(reaction, definition) {
            if self.clock.at() >= self.until {
                if !std::mem::replace(&mut self.has_given_up, true) {
                    let message =
                        format!("trying the templates has taken {LONGEST_REHEARSAL}; from here on none was tried");
                    let help = "what is wrong in one shows when it is needed, and a plain text takes its place; write \
                                templates with less to do";
                    problems.add(Problem::warning(layers.with("name").place("name"), message, help));
                }
                return;
            }
            let delivery = sample_delivery(ix, reaction, kind, &event, definition, self.gateway);
            let alone = self.renderer.variables(&delivery, &[], &reaction.name);
            let digest = self.renderer.variables(&delivery, &[Arc::new(delivery.clone())], &reaction.name);
            for (key, text) in action.texts() {
                let mut rendered = self.renderer.render(text, &alone);
                if rendered.is_ok() && text.tells_of_others() {
                    rendered = self.renderer.render(text, &digest);
                }
                if let (Ok(topic), "topic") = (&rendered, key)
                    && let Some(source) = self.own.reader(topic)
                    && self.feeding.insert(ix)
                {
                    let message = format!("topic: {topic:?} is read by the source {}", source.pattern);
                    let help = format!(
                        "what is published becomes a value; of what comes faster than rate_limit ({FEEDS} in a minute, if \
                         there is none) the rest is dropped, so that no loop goes on"
                    );
                    problems.add(Problem::warning(layers.with(key).place(key), message, help));
                }
                let Err(message) = rendered.and_then(|rendered| action.check_rendered(key, &rendered)) else {
                    continue;
                };
                if self.told.insert((ix, key)) {
                    let help = circumstances(&event, &message);
                    problems.add(Problem::error(layers.with(key).place(key), format!("{key}: {message}"), help));
                }
            }
        }
    }
}

/// For which alarm a text has failed, and what there would have been.
fn circumstances(event: &Event, message: &str) -> String {
    let of = (event.alarm.alarm_type.as_str(), event.to.as_str());
    let mut help = format!("for alarm {} of type {}, {}", event.alarm.id, of.0, of.1);
    if message.contains("is unknown") {
        help.push_str(": there are event, alarm, thing, gateway, occurrence, reaction, delivery, more and others");
    }
    help
}

/// The deliveries that a reaction may make for an alarm.
fn samples(reaction: &Reaction, definition: &AlarmDefinition) -> Vec<(Kind, Event)> {
    let plan = &reaction.plan;
    let mut samples = Vec::new();
    let event = |from, to, cause| sample_event(definition, from, to, cause);
    for transition in &plan.on {
        let (from, to, cause) = match transition {
            Transition::Activated => (State::Enabled, State::Activated, Cause::ObserveTime),
            Transition::Acknowledged => (State::Activated, State::Acknowledged, Cause::Command),
            Transition::Idled => (State::Activated, State::Idled, Cause::Value),
            Transition::Off => (State::Activated, State::Off, Cause::Command),
            Transition::Enabled => (State::Off, State::Enabled, Cause::Command),
        };
        let kind = if *transition == Transition::Activated { Kind::First } else { Kind::Change };
        samples.push((kind, event(from, to, cause)));
    }
    if !plan.repeat.is_empty() {
        samples.push((Kind::Repeat(1), event(State::Enabled, State::Activated, Cause::ObserveTime)));
    }
    if plan.on_clear {
        samples.push((Kind::Clear, event(State::Activated, State::Idled, Cause::Value)));
    }
    samples
}

fn sample_event(definition: &AlarmDefinition, from: State, to: State, cause: Cause) -> Event {
    let thing: Arc<str> =
        definition.things.first().map_or("thing-1", |thing| thing.as_str()).replace(['*', '?'], "1").into();
    let value = match definition.trigger.condition() {
        Some(Condition::Number { high, .. }) => Some(Value::Number(*high)),
        Some(Condition::Text { limit, .. }) => Some(Value::Text(limit.clone())),
        Some(Condition::Boolean { limit, .. }) => Some(Value::Boolean(*limit)),
        // A thing that has never spoken has no value, and a model finds what it finds.
        None => None,
    };
    let by_command = cause == Cause::Command;
    let facts = Arc::new(definition.facts(&thing));
    let average = (facts.alarm_type == AlarmType::Average).then_some(1.0);
    let at = Stamp::from_micros(1_777_636_814_000_000);
    Event {
        seq: 42,
        alarm: facts,
        ix: None,
        from,
        to,
        at,
        since: Some(at - Span::from_secs(5)),
        occurrence: 3,
        cause,
        value,
        value_at: None,
        average,
        by: by_command.then(|| Arc::from("kim")),
        comment: by_command.then(|| Arc::from("on it")),
        quiet: false,
        seq_gap: false,
    }
}

/// A delivery as an event of that definition would cause it.
pub(crate) fn sample_delivery(
    ix: ReactionIx,
    reaction: &Reaction,
    kind: Kind,
    event: &Event,
    definition: &AlarmDefinition,
    gateway: &str,
) -> Delivery {
    let opened = Some((format!("{gateway}-41"), event.at - Span::from_secs(900)));
    let occasion = reaction::occasion(event, &event::render(event, gateway), Some(definition), gateway, opened);
    Delivery {
        id: Delivery::name(&occasion.event_id, &reaction.name, kind),
        reaction: ix,
        alarm: event.alarm.id.clone(),
        severity: event.alarm.severity,
        kind,
        occasion: Arc::new(occasion),
        due: Moment::default(),
        due_wall: event.at,
        after: None,
        done: Vec::new(),
        told_by: None,
    }
}

/// An alarm for reactions that no alarm names.
fn sample_definition() -> AlarmDefinition {
    use crate::domain::model::{Attributes, OnGap, Operator, Severity, ThingPattern};
    use crate::domain::small_list::SmallList;
    let attributes = Attributes {
        property: "property".into(),
        level: "test".into(),
        trigger: Trigger::Standard {
            condition: Condition::number(Operator::Greater, 90.0, None),
            observe_time: Span::ZERO,
            clear_delay: Span::ZERO,
        },
        on_gap: OnGap::Pause,
        enabled: true,
        severity: Severity::Info,
        title: "A test of this reaction; nothing is wrong".into(),
        description: "".into(),
    };
    AlarmDefinition {
        things: SmallList::One(ThingPattern::Exactly("thing-1".into())),
        attributes: Arc::new(attributes),
    }
}

/// What a test sends: an activation of no real alarm.
pub(crate) fn test_delivery(
    ix: ReactionIx,
    reaction: &Reaction,
    gateway: &str,
    now: crate::domain::time::Now,
) -> Delivery {
    let definition = sample_definition();
    let mut event = sample_event(&definition, State::Enabled, State::Activated, Cause::Command);
    event.at = now.wall;
    event.since = Some(now.wall);
    event.seq = 0;
    event.occurrence = 0;
    let mut delivery = sample_delivery(ix, reaction, Kind::Test, &event, &definition, gateway);
    let event_id = format!("{gateway}-test-{}", now.wall.as_micros());
    let occasion = Arc::make_mut(&mut delivery.occasion);
    occasion.event = occasion.event.replace(&occasion.event_id, &event_id).into();
    occasion.event_id.clone_from(&event_id);
    occasion.opened_by = Some(event_id.clone());
    occasion.opened_at = Some(now.wall);
    delivery.id = Delivery::name(&event_id, &reaction.name, Kind::Test);
    delivery.due = now.at;
    delivery.due_wall = now.wall;
    delivery
}
