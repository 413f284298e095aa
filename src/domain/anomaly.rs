//! Learns what is normal for a property from its past, and says how unusual the present is.
//!
//! Pure arithmetic: no clock, no disk, no topic. A series is brought to the scale 0…1 ([`series`]), cut into segments
//! ([`segment`]), each described by a few numbers ([`feature`]) and compared with the clusters that the past fell into
//! ([`cluster`]). That is the [`model`]; it is built once. The [`detector`] carries it through the live data, value by
//! value, beside what only the stream itself can tell: how far a value lies from those before it and from those of the
//! same time of day ([`season`]).
//!
//! # What a score means
//!
//! Distances of different kinds cannot be compared, their rarities can. Each distance is therefore measured against
//! the tail of its own past ([`tail`]): **a score of 3 says that something so far from normal is expected once in 10³
//! values**, 4 once in 10⁴. It is 0 where nothing is unusual, has no upper bound, and means the same for every
//! property.
//!
//! # Where it comes from
//!
//! Peaks over a threshold with an exponential to slightly heavy tail: Pickands–Balkema–de Haan; used on streams by Siffer,
//! Fouque, Termier and Largouët, "Anomaly detection in streams with extreme value theory" (KDD 2017). That rarity and not
//! distance is what makes streams comparable: Ahmad, Lavin, Purdy and Agha, "Unsupervised real-time anomaly detection for
//! streaming data" (Neurocomputing 2017). The silhouette: Rousseeuw (1987).

pub mod cluster;
pub mod definition;
pub mod detector;
pub mod feature;
pub mod interval;
pub mod life;
pub mod model;
pub mod onset;
pub mod scorer;
pub mod season;
pub mod segment;
pub mod series;
pub mod stream;
pub mod tail;
pub mod threshold;
pub mod training;

/// A count as a real number; beyond four thousand million they are all the same to us.
pub(crate) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The whole part of a share of a count, 0 … `count`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the count")]
pub(crate) fn share_of(count: usize, share: f64) -> usize {
    ((real(count) * share.clamp(0.0, 1.0)).floor() as usize).min(count)
}
