//! What is equal in many alarms, kept once: ids, texts, and all that a definition says besides its things.
//!
//! Who generates a configuration repeats properties, levels, titles and limits thousands of times. The pool is there while
//! a configuration is compiled; what came out of it stays for as long as somebody has it.

use crate::domain::model::{AlarmDefinition, Attributes, Condition, ThingPattern};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// What was there so far.
#[derive(Default)]
pub(super) struct Pool {
    texts: HashSet<Arc<str>>,
    /// By a checksum of what differs most often. Some of those that have it in common are here, and no more.
    attributes: HashMap<u64, Vec<Arc<Attributes>>>,
}

/// Attributes with one checksum that are kept: to look through more takes longer than it saves.
const ALIKE: usize = 16;

impl Pool {
    /// A definition that shares what others have, too.
    pub(super) fn definition(&mut self, things: Vec<ThingPattern>, attributes: Attributes) -> AlarmDefinition {
        let attributes = self.attributes(attributes);
        AlarmDefinition { things: self.things(things).into(), attributes }
    }

    /// The same things, their ids as they were there before.
    pub(super) fn things(&mut self, mut things: Vec<ThingPattern>) -> Vec<ThingPattern> {
        for thing in &mut things {
            match thing {
                ThingPattern::Exactly(id) => *id = self.text(id),
                ThingPattern::Matching(_) => {}
            }
        }
        things
    }

    fn attributes(&mut self, new: Attributes) -> Arc<Attributes> {
        let checksum = checksum(&new);
        let known = self.attributes.get(&checksum);
        if let Some(known) = known.and_then(|alike| alike.iter().find(|known| ***known == new)) {
            return known.clone();
        }
        let new = Arc::new(Attributes {
            property: self.text(&new.property),
            level: self.text(&new.level),
            title: self.text(&new.title),
            description: self.text(&new.description),
            ..new
        });
        let alike = self.attributes.entry(checksum).or_default();
        if alike.len() < ALIKE {
            alike.push(new.clone());
        }
        new
    }

    fn text(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        self.texts.insert(text.clone());
        text.clone()
    }
}

fn checksum(attributes: &Attributes) -> u64 {
    let Attributes { property, level, trigger, severity, title, description, .. } = attributes;
    let mut hasher = DefaultHasher::new();
    (property, level, title, description, severity.as_str(), trigger.alarm_type().as_str()).hash(&mut hasher);
    if let Some(Condition::Number { low, high, .. }) = trigger.condition() {
        (low.to_bits(), high.to_bits()).hash(&mut hasher);
    }
    hasher.finish()
}
