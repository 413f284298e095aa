//! The definitions that name things by a pattern: the only ones that a thing which was never heard before may fit.
//!
//! Alarms on things that a definition names exactly exist from the beginning, so whoever finds a thing for the first time
//! compares it with the patterns, each different one once, and with nothing else.

use super::{DefinitionIx, number};
use crate::domain::model::{Glob, Model, ThingPattern};
use std::collections::BTreeMap;

/// Patterns over ids of things, each with the definitions that have it.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    groups: Vec<(Glob, Vec<DefinitionIx>)>,
    /// Bytes of the names of alarms that are not of patterns, and of their things.
    named_bytes: usize,
}

impl Patterns {
    /// Those of a model.
    pub(super) fn of(model: &Model) -> Patterns {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut groups: Vec<(Glob, Vec<DefinitionIx>)> = Vec::new();
        let mut named_bytes = 0;
        for (index, definition) in model.definitions.iter().enumerate() {
            for pattern in &definition.things {
                let glob = match pattern {
                    ThingPattern::Matching(glob) => glob,
                    ThingPattern::Exactly(id) => {
                        named_bytes += 2 * id.len() + definition.property.len() + definition.level.len() + 2;
                        continue;
                    }
                };
                let place = *places.entry(glob.as_str()).or_insert_with(|| {
                    groups.push(((**glob).clone(), Vec::new()));
                    groups.len() - 1
                });
                groups[place].1.push(DefinitionIx(number(index)));
            }
        }
        Patterns { groups, named_bytes }
    }

    /// Bytes of the names of alarms that definitions name, and of their things.
    pub(super) fn named_bytes(&self) -> usize {
        self.named_bytes
    }

    /// Whether a thing fits any of them.
    pub(super) fn cover(&self, thing: &str) -> bool {
        self.groups.iter().any(|(glob, _)| glob.matches(thing))
    }

    /// The definitions whose patterns a thing fits, in their order, each once.
    pub(super) fn covering(&self, thing: &str) -> Vec<DefinitionIx> {
        let fitting = self.groups.iter().filter(|(glob, _)| glob.matches(thing));
        let mut definitions: Vec<DefinitionIx> = fitting.flat_map(|(_, definitions)| definitions).copied().collect();
        definitions.sort_unstable();
        definitions.dedup();
        definitions
    }
}
