//! What is equal in many alarms, kept once: ids, texts, and all that a definition says besides its things.
//!
//! Who generates a configuration repeats properties, levels, titles and limits thousands of times. The pool is there while
//! a configuration is compiled; what came out of it stays for as long as somebody has it.

use crate::model::{AlarmDefinition, Attributes, ThingPattern, fnv};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What was there so far.
#[derive(Default)]
pub(super) struct Pool {
    texts: HashSet<Arc<str>>,
    /// By a checksum of what they mean.
    attributes: HashMap<u64, Arc<Attributes>>,
}

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
        let checksum = fnv(&new.canonical());
        if let Some(known) = self.attributes.get(&checksum)
            && **known == new
        {
            return known.clone();
        }
        let new = Arc::new(Attributes {
            property: self.text(&new.property),
            level: self.text(&new.level),
            title: self.text(&new.title),
            description: self.text(&new.description),
            ..new
        });
        self.attributes.insert(checksum, new.clone());
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
