//! The keys of `[[anomaly]]`.

use super::{Section, Shape, key, required};
use crate::domain::anomaly::cluster::Clustering;
use crate::domain::anomaly::definition::Per;

const CLUSTERINGS: &[&str] = &[Clustering::ALL[0].as_str(), Clustering::ALL[1].as_str(), Clustering::ALL[2].as_str()];
const PER: &[&str] = &[Per::ALL[0].as_str(), Per::ALL[1].as_str()];

/// `[[anomaly]]`
pub const ANOMALY: Section = Section {
    name: "anomaly",
    repeated: true,
    doc: "A model that learns from a thing's own past what is normal, and the alarm for what is not.",
    keys: &[
        required("name", Shape::Text, "Name of the model in topics and commands, and level of its alarm."),
        key(
            "thing",
            Shape::TextOrList,
            "",
            "Id of the thing, a list of ids, or a pattern like \"boiler-*\". One alarm for each thing.",
        ),
        key("things", Shape::TextOrList, "", "The same as thing."),
        key(
            "property",
            Shape::TextOrList,
            "",
            "The numeric property that is learnt, or a list: they are one model then.",
        ),
        key("properties", Shape::TextOrList, "", "The same as property."),
        key(
            "score",
            Shape::Text,
            "",
            "Instead of a model: the thing and the property that carries a score which somebody else computes, \
             \"press-1 strangeness\"; or the property alone beside thing.",
        ),
        key("level", Shape::Text, "", "Label of the alarm, unique for the first property. Default: the name."),
        key("title", Shape::Text, "", "One line for people. Default: the alarm's id."),
        key("description", Shape::Text, "", "More for people."),
        key("enabled", Shape::Boolean, "true", "Whether the alarm is enabled until an operator says otherwise."),
        key("reactions", Shape::TextOrList, "", "Names of reactions, as for an alarm."),
        key(
            "severities",
            Shape::Map,
            "",
            "Least score of each severity: { warning = 3.5, critical = 6 }. Default: derived when the model is built. \
             Required for score.",
        ),
        key("min_duration", Shape::Duration, "\"0s\"", "Anomalies that are shorter are none."),
        key("join", Shape::Duration, "", "Anomalies that are less apart are one. Default: one segment; for score 0s."),
        key("segment", Shape::Duration, "\"10m\"", "Length of the pieces in which a thing's behaviour is described."),
        key(
            "step",
            Shape::Duration,
            "",
            "From one segment to the next; shorter than segment: they overlap. Default: segment.",
        ),
        key("clustering", Shape::OneOf(CLUSTERINGS), "\"k-means\"", "How segments that are alike are found."),
        key(
            "clusters",
            Shape::Scalar,
            "\"auto\"",
            "How many kinds of normal there are, 1 to 32, or \"auto\". Not for dbscan.",
        ),
        key(
            "sensitivity",
            Shape::Number,
            "99.5",
            "Percentile of the past scores from which on a score is unusual, 50 to 99.999. Lower finds more.",
        ),
        key(
            "per",
            Shape::OneOf(PER),
            "\"thing\"",
            "thing: each thing has a model of its own; fleet: like things share one.",
        ),
        key("history", Shape::Duration, "\"30d\"", "How long values are kept to learn from. 1h to 3660d."),
        key(
            "history_bytes",
            Shape::Integer(65_536, 1 << 40),
            "67108864",
            "Bytes of history on disk that this model may take; the oldest go first.",
        ),
        key(
            "build",
            Shape::Duration,
            "",
            "Builds the model once by itself when so much history is there. Default: only by command.",
        ),
        key("refresh", Shape::Table(&REFRESH), "", "The recurring look at what is new. Default: only by command."),
        key(
            "on_deletion",
            Shape::OneOf(&["clear", "delete"]),
            "\"clear\"",
            "What becomes of the alarm when its anomaly is deleted: clear: it is idled; delete: it disappears.",
        ),
        key(
            "storm",
            Shape::Number,
            "10",
            "Whoever enables alarms is warned if the model would have raised more than this a day in its past.",
        ),
    ],
};

/// `refresh = { … }` of `[[anomaly]]`
pub const REFRESH: Section = Section {
    name: "refresh",
    repeated: false,
    doc: "The recurring look at what is new.",
    keys: &[
        required("every", Shape::Duration, "How often. 1s to 31d."),
        key("aligned", Shape::Boolean, "false", "Whether it falls on whole multiples of that since midnight (UTC)."),
        key("things", Shape::TextOrList, "", "On which of the model's things. Default: all."),
        key("alarms", Shape::Boolean, "false", "Whether it makes alarms."),
        key("save", Shape::Boolean, "false", "Whether it publishes score and index."),
    ],
};

/// What belongs to a model, and means nothing where somebody else computes the score.
pub(in crate::config) const OF_A_MODEL: [&str; 14] = [
    "property",
    "properties",
    "segment",
    "step",
    "clustering",
    "clusters",
    "sensitivity",
    "per",
    "history",
    "history_bytes",
    "build",
    "refresh",
    "on_deletion",
    "storm",
];
