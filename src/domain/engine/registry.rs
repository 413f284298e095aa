//! Who is watched: things, their properties, and the alarms on them, by number.
//!
//! Names are looked up once, when a topic is seen for the first time; after that the engine only follows numbers.
//! Only what some alarm watches is here, so a property nobody asked for costs nothing.

use super::AlarmIx;
use super::index::Index;
use crate::domain::model::{PropertyName, ThingId};
use crate::domain::small_list::{self, SmallList};
use crate::domain::time::Stamp;

/// The number of a watched thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThingIx(u32);

/// The number of a watched property of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PropertyIx(u32);

#[derive(Debug)]
struct Thing {
    id: ThingId,
    /// In the order of their names.
    properties: SmallList<(PropertyName, PropertyIx)>,
    seen: bool,
}

/// What is known of a property apart from its alarms' states.
#[derive(Debug)]
pub(crate) struct Property {
    /// Whose it is.
    pub(crate) thing: ThingIx,
    /// In the order of their definitions.
    pub(crate) alarms: SmallList<AlarmIx>,
    /// The newest stamp a source gave; older ones are ignored.
    pub(crate) newest: Option<Stamp>,
}

/// Things and properties by name and by number.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By their ids.
    names: Index<ThingIx>,
    things: Vec<Thing>,
    properties: Vec<Property>,
    /// Places of things and properties that nothing watches any more, to be given again.
    free_things: Vec<ThingIx>,
    free_properties: Vec<PropertyIx>,
}

impl Registry {
    pub(crate) fn thing(&self, id: &str) -> Option<ThingIx> {
        self.names.find(|thing| (*self.things[thing.0 as usize].id).cmp(id))
    }

    pub(crate) fn thing_id(&self, thing: ThingIx) -> &ThingId {
        &self.things[thing.0 as usize].id
    }

    /// Takes note that the thing has spoken. True: for the first time.
    pub(crate) fn mark_seen(&mut self, thing: ThingIx) -> bool {
        !std::mem::replace(&mut self.things[thing.0 as usize].seen, true)
    }

    /// The things that have spoken.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &ThingId> + '_ {
        self.things.iter().filter(|thing| thing.seen).map(|thing| &thing.id)
    }

    /// The alarms of each property.
    pub(crate) fn alarms_mut(&mut self) -> impl Iterator<Item = &mut SmallList<AlarmIx>> + '_ {
        self.properties.iter_mut().map(|property| &mut property.alarms)
    }

    /// An alarm of this property has left. What nothing watches any more leaves with it.
    pub(crate) fn remove_alarm(&mut self, property: PropertyIx, alarm: AlarmIx) {
        let entry = self.get_mut(property);
        entry.alarms = entry.alarms.iter().copied().filter(|other| *other != alarm).collect();
        let thing = entry.thing;
        if !entry.alarms.is_empty() {
            return;
        }
        entry.newest = None;
        self.free_properties.push(property);
        let of_thing = &mut self.things[thing.0 as usize];
        of_thing.properties = of_thing.properties.iter().filter(|(_, other)| *other != property).cloned().collect();
        if !of_thing.properties.is_empty() {
            return;
        }
        of_thing.seen = false;
        let id = of_thing.id.clone();
        let things = &self.things;
        self.names.remove(|other| things[other.0 as usize].id.cmp(&id));
        self.free_things.push(thing);
    }

    pub(crate) fn things(&self) -> usize {
        self.things.len() - self.free_things.len()
    }

    pub(crate) fn property(&self, thing: ThingIx, name: &str) -> Option<PropertyIx> {
        let properties = &self.things[thing.0 as usize].properties;
        let place = properties.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(properties[place].1)
    }

    /// All watched properties of a thing.
    pub(crate) fn properties_of(&self, thing: ThingIx) -> impl Iterator<Item = PropertyIx> + '_ {
        self.things[thing.0 as usize].properties.iter().map(|(_, property)| *property)
    }

    pub(crate) fn get(&self, property: PropertyIx) -> &Property {
        &self.properties[property.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, property: PropertyIx) -> &mut Property {
        &mut self.properties[property.0 as usize]
    }

    /// The thing's number, given now if it has none.
    pub(crate) fn add_thing(&mut self, id: &ThingId) -> ThingIx {
        if let Some(known) = self.thing(id) {
            return known;
        }
        let new = Thing { id: id.clone(), properties: SmallList::default(), seen: false };
        let thing = match self.free_things.pop() {
            Some(free) => {
                self.things[free.0 as usize] = new;
                free
            }
            None => {
                small_list::push(&mut self.things, new);
                ThingIx(super::number(self.things.len() - 1))
            }
        };
        let things = &self.things;
        self.names.insert(thing, |other| things[other.0 as usize].id.cmp(id));
        thing
    }

    /// The property's number, given now if it has none.
    pub(crate) fn add_property(&mut self, thing: ThingIx, name: &PropertyName) -> PropertyIx {
        let properties = &mut self.things[thing.0 as usize].properties;
        let place = match properties.binary_search_by(|(known, _)| known.cmp(name)) {
            Ok(place) => return properties[place].1,
            Err(place) => place,
        };
        let new = Property { thing, alarms: SmallList::default(), newest: None };
        let property = match self.free_properties.pop() {
            Some(free) => {
                self.properties[free.0 as usize] = new;
                free
            }
            None => {
                small_list::push(&mut self.properties, new);
                PropertyIx(super::number(self.properties.len() - 1))
            }
        };
        properties.insert(place, (name.clone(), property));
        property
    }
}
