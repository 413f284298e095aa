//! The load of an engine alone: one value after the other, and none that changes an alarm.

use annunciator::domain::engine::{Effects, Engine, Input, PropertyIx, Sample};
use annunciator::domain::model::{
    AlarmDefinition, Attributes, Model, OnGap, Severity, ThingPattern, Trigger, ValueRef,
};
use annunciator::domain::time::{Moment, Now, Span, Stamp};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;

/// Time between two messages: each of 1,000 properties speaks once a second.
pub(crate) const PERIOD: Span = Span::from_millis(1);
/// Shares no divisor with 1,000: going on by it visits every property, and never its neighbour.
const STRIDE: usize = 617;
/// An engine that hears one value after the other, and none that activates an alarm.
pub(crate) struct Load {
    engine: Engine,
    properties: Vec<PropertyIx>,
    /// Evaluations of one message.
    pub(crate) alarms: u64,
    effects: Effects,
    messages: usize,
    now: Moment,
}

impl Load {
    pub(crate) fn new(properties: usize, alarms: u64, trigger: &Trigger) -> Load {
        let things: Vec<Arc<str>> = (0..properties).map(|number| Arc::from(format!("thing-{number}"))).collect();
        let definition = |level: u64| AlarmDefinition {
            things: things.iter().cloned().map(ThingPattern::Exactly).collect(),
            attributes: Arc::new(Attributes {
                property: Arc::from("temperature"),
                level: Arc::from(level.to_string()),
                trigger: trigger.clone(),
                on_gap: OnGap::Pause,
                enabled: true,
                severity: Severity::Warning,
                title: Arc::default(),
                description: Arc::default(),
            }),
        };
        let definitions = (0..alarms).map(definition).collect();
        let mut engine = Engine::new(Arc::new(Model { definitions, max_things: properties, ..Model::default() }));
        let property = |id| engine.property(engine.thing(id)?, "temperature");
        let properties = things.iter().filter_map(|id| property(id)).collect();
        let mut effects = Effects::default();
        engine.handle(Input::LinkUp, reading(Moment::default()), &mut effects);
        Load { engine, properties, alarms, effects, messages: 0, now: Moment::default() }
    }

    /// One message. One in sixteen values begins an observe-time that the next one ends.
    pub(crate) fn message(&mut self) {
        const VALUES: [f64; 16] =
            [21.5, 23.0, 19.75, 22.1, 55.0, 20.3, 24.2, 18.9, 21.0, 22.7, 23.3, 20.8, 19.2, 25.1, 22.4, 21.9];
        let round = self.messages / self.properties.len();
        let samples = [Sample {
            property: self.properties[self.messages * STRIDE % self.properties.len()],
            value: ValueRef::Number(VALUES[(self.messages + round) % VALUES.len()]),
        }];
        let input = Input::Message { samples: &samples, stamp: None, retained: false, sign_of_life: true };
        self.messages += 1;
        self.now = self.now + PERIOD;
        self.engine.handle(input, reading(self.now), &mut self.effects);
        assert!(self.effects.events.is_empty(), "an alarm changed: that is not what is measured here");
    }

    /// Until every property has spoken as often as a window holds samples.
    pub(crate) fn warm_up(&mut self, rounds: usize) {
        (0..rounds * self.properties.len()).for_each(|_| self.message());
    }
}

fn reading(at: Moment) -> Now {
    Now { at, wall: Stamp::from_micros(at.as_micros()) }
}

/// Time that this thread was on a processor: on a machine that others use as well, the clock on the wall measures them.
pub(crate) fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
