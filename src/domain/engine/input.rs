//! What goes into the engine and what comes out of it, as plain data.

use super::{AlarmIx, AlarmMemory, Event, PropertyIx, ShelvingChange};
use crate::domain::model::{ValueRef, ValueType};
use crate::domain::time::{Span, Stamp};
use std::fmt;
use std::sync::Arc;

/// One value of one message.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// What it is a value of.
    pub property: PropertyIx,
    /// The value.
    pub value: ValueRef<'a>,
}

/// What a liveness topic says of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It lives now: the clock of silence starts anew.
    Beat,
    /// It lives until its last will says otherwise: the clock stands still.
    Online,
    /// It has gone: the clock runs, if it did not before.
    Offline,
}

/// What can happen to the engine from outside, apart from commands.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// One message, with all its values.
    Message {
        /// Its values; each property at most once.
        samples: &'a [Sample<'a>],
        /// The source's own time of these values.
        stamp: Option<Stamp>,
        /// Replayed by the broker at subscription: it may be of any age.
        retained: bool,
        /// Whether it shows that the thing lives. False where the source names a liveness topic.
        sign_of_life: bool,
    },
    /// A message on the thing's liveness topic.
    Alive {
        /// The properties it speaks for.
        properties: &'a [PropertyIx],
        /// What it says.
        life: Life,
    },
    /// From now on nothing can be heard.
    LinkDown,
    /// The subscriptions are acknowledged: from now on silence means something.
    LinkUp,
    /// Nothing but time has passed.
    Tick,
}

/// What an operator can do to one alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Take note of an occurrence.
    Acknowledge,
    /// Switch on.
    Enable,
    /// Switch off.
    Disable,
    /// Put aside for so long.
    Shelve(Span),
    /// End that early.
    Unshelve,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done; there is an event.
    Done,
    /// It was so already; nothing changed.
    Already,
    /// Refused: the occurrence was acknowledged before.
    AlreadyAcknowledged,
    /// Refused: there is no occurrence that could be acknowledged.
    NothingToAcknowledge,
}

/// An input that could not be used as it was meant, found by the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum InputFault {
    /// The value has another type than the alarm's limit.
    WrongType {
        /// The alarm for which it does not count.
        alarm: AlarmIx,
        /// The type it would have needed.
        wanted: ValueType,
        /// The type it has.
        got: ValueType,
    },
    /// The stamp was too far in the future; the time of receipt was taken.
    StampInFuture {
        /// How far.
        by: Span,
    },
    /// The stamp is older than the newest one of the property; the value was ignored.
    StampOutOfOrder {
        /// How much.
        by: Span,
    },
    /// The window of an average holds all that it may; its oldest sample was dropped early.
    WindowFull {
        /// The alarm whose window it is.
        alarm: AlarmIx,
    },
    /// A thing is not watched, because a bound was reached.
    ThingRefused {
        /// Which.
        bound: Bound,
    },
}

/// What keeps a thing from being watched that a pattern fits, or a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So many things are watched.
    Things(usize),
    /// An id of a thing that is heard may have so many bytes.
    IdBytes(usize),
    /// A name of a property may have so many bytes.
    PropertyBytes(usize),
    /// The names of things that were heard, and of their alarms, may have so many bytes together.
    NameBytes(usize),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Things(limit) => {
                write!(f, "{limit} things are watched already (max_things), no alarm was created for this one")
            }
            Bound::IdBytes(limit) => write!(f, "the thing's id is longer than {limit} bytes (max_id_bytes)"),
            Bound::PropertyBytes(limit) => {
                write!(f, "the property's name is longer than {limit} bytes (max_id_bytes)")
            }
            Bound::NameBytes(limit) => {
                write!(
                    f,
                    "names of things and their alarms have {limit} bytes already, no alarm was created for this one"
                )
            }
        }
    }
}

/// Things and properties that were not watched because a bound was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How many times that was so, since the configuration was read.
    pub count: u64,
    /// The bound that was reached last.
    pub bound: Bound,
    /// The thing or property that was refused last; the beginning of its name.
    pub last: String,
}

/// What came out of one or several inputs. The caller empties it.
#[derive(Debug, Default)]
pub struct Effects {
    /// State changes, in order.
    pub events: Vec<Event>,
    /// Beginnings and ends of shelvings, in order.
    pub shelvings: Vec<ShelvingChange>,
    /// The alarms of both, once for each, by numbers that hold until the engine is reconfigured.
    pub changed: Vec<AlarmIx>,
    /// What could not be used.
    pub input_faults: Vec<InputFault>,
    /// Alarms of which there is something to tell for the first time.
    pub appeared: Vec<AlarmIx>,
    /// Alarms of which nothing is to be told any more: they leave the store, and their retained topics go.
    pub vanished: Vec<AlarmMemory>,
}

/// Who gives a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// Their name.
    pub by: Option<Arc<str>>,
    /// What they want to say about it.
    pub comment: Option<Arc<str>>,
}
