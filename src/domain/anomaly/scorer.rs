//! Scores a thing of which a model was built: several properties, one score.
//!
//! Each property gives the five kinds of evidence of its own stream ([`super::stream`]); the model gives the sixth: how
//! far the segment that all properties describe together is from normal. The first property sets the pace: with each
//! value of it everything that was gathered since the one before is weighed, and the score is that of the rarest and a
//! part of that of the next. What a segment says holds until the next segment says something else.
//!
//! A scorer is a function of what it was trained with and of the values since: it can be put aside as plain data, and go
//! on elsewhere when it has been shown the last two segments again ([`Scorer::warm`]).

use super::detector::{Evidence, SEGMENT};
use super::model::{Describer, Model};
use super::segment::CutterMemory;
use super::series::Sample;
use super::stream::{Stream, StreamMemory, Weighed};
use super::tail::Tail;
use crate::domain::time::{Span, Stamp};
use std::sync::Arc;

/// What is said of a thing at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// When.
    pub at: Stamp,
    /// How unusual the thing is: expected once in 10^score values.
    pub score: f64,
    /// What makes it so.
    pub evidence: Evidence,
}

/// Scores one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorer {
    model: Arc<Model>,
    streams: Vec<Stream>,
    describer: Describer,
    tail: Tail,
    /// What the last segment has said, and until when that holds.
    held: Option<(f64, Stamp)>,
    gathered: Weighed,
    at: Option<Stamp>,
}

/// A scorer as plain data, without the values of its last segments.
#[derive(Debug, Clone, PartialEq)]
pub struct ScorerMemory {
    /// The last value that it has seen.
    pub at: Stamp,
    /// Its properties.
    pub streams: Vec<StreamMemory>,
    /// How its segments are cut.
    pub cutters: Vec<CutterMemory>,
    /// How far from normal its segments were.
    pub tail: Vec<(usize, Vec<f64>)>,
    /// What the last segment has said, and until when that holds.
    pub held: Option<(f64, Stamp)>,
}

impl Scorer {
    /// A scorer that has seen nothing.
    pub fn new(model: Arc<Model>) -> Scorer {
        let stretch = |interval: Span| {
            let values = model.settings.segment.as_micros() / interval.as_micros().max(1);
            usize::try_from(values).unwrap_or(SEGMENT.1).clamp(SEGMENT.0, SEGMENT.1)
        };
        let streams =
            model.scales.iter().zip(&model.cuts).map(|(scale, cut)| Stream::new(*scale, stretch(cut.interval)));
        Scorer {
            streams: streams.collect(),
            describer: model.describer(),
            tail: Tail::default(),
            held: None,
            gathered: Weighed::default(),
            at: None,
            model,
        }
    }

    /// The scorer that was put aside. The values of the two segments up to then have to be shown to it ([`Scorer::warm`])
    /// before it goes on ([`Scorer::warmed`]).
    pub fn recalled(model: Arc<Model>, memory: &ScorerMemory) -> Scorer {
        let mut scorer = Scorer::new(model);
        for (stream, memory) in scorer.streams.iter_mut().zip(memory.streams.iter().cloned()) {
            stream.restore_alarm(memory);
        }
        scorer.tail = Tail::from_blocks(memory.tail.clone());
        scorer.held = memory.held;
        scorer.at = Some(memory.at);
        scorer
    }

    /// A scorer that knows what the other knew and begins at another time, or with another thing. It has to be shown some
    /// segments before what it says counts.
    pub fn elsewhere(model: Arc<Model>, memory: &ScorerMemory) -> Scorer {
        let mut scorer = Scorer::recalled(model, memory);
        scorer.streams.iter_mut().for_each(Stream::begin_anew);
        (scorer.held, scorer.at) = (None, None);
        scorer
    }

    /// Shows a value again that it had seen when it was put aside.
    pub fn warm(&mut self, property: usize, sample: Sample) {
        self.describer.push(property, sample);
    }

    /// All of them were shown.
    pub fn warmed(&mut self, memory: &ScorerMemory) {
        self.describer.restore_alarm(&memory.cutters);
    }

    /// The scorer as plain data; none if it has seen nothing.
    pub fn memory(&self) -> Option<ScorerMemory> {
        Some(ScorerMemory {
            at: self.at?,
            streams: self.streams.iter().map(Stream::memory).collect(),
            cutters: self.describer.memory(),
            tail: self.tail.blocks().to_vec(),
            held: self.held,
        })
    }

    /// How far back values have to be shown again.
    pub fn window(model: &Model) -> Span {
        Span::from_micros(model.settings.segment.as_micros().saturating_mul(2))
    }

    /// How far its segments were from normal, judged by what did not make the model.
    pub fn judged_by(&mut self, tail: Tail) {
        self.tail = tail;
    }

    /// The last value that it has seen.
    pub fn at(&self) -> Option<Stamp> {
        self.at
    }

    /// Takes the next value of a property in. The first property's values are answered with a score.
    pub fn observe(&mut self, property: usize, sample: Sample) -> Option<Judgement> {
        self.streams.get_mut(property)?.observe(sample, &mut self.gathered);
        self.at = Some(sample.at);
        if let Some(description) = self.describer.push(property, sample) {
            let distance = self.model.distance(&description);
            let until = sample.at + self.model.settings.step;
            self.held = Some((self.tail.score(distance), until));
            self.tail.push(distance);
        }
        if property != 0 {
            return None;
        }
        let mut weighed = std::mem::take(&mut self.gathered);
        if let Some((score, _)) = self.held.filter(|(_, until)| sample.at <= *until) {
            weighed.add(Evidence::Segment, score);
        }
        Some(Judgement { at: sample.at, score: weighed.score(), evidence: weighed.evidence() })
    }
}
