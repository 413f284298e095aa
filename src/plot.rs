//! Why an alarm came, as a picture: values, limits and the states of the alarms on one time axis.
//!
//! Two halves that meet in a [`Picture`], which is plain data. The [`Collector`] looks on while a recording is played
//! and knows the engine, but nothing of pixels; [`draw()`] knows pixels, but neither engine nor configuration. What is
//! kept is bounded whatever the length of the recording (`thin`): a picture is a thousand pixels wide, and what
//! falls on one pixel is kept as its extremes.

mod canvas;
mod chart;
mod collect;
mod lane;
mod page;
mod picture;
mod scale;
mod thin;
mod track;
mod words;

pub use canvas::DrawError;
pub use collect::{Choice, Collector};
pub use page::draw;
pub use picture::{Gap, Lane, Legend, Level, Light, Panel, Picture, Reading, Turn, Wait};
pub use thin::{Bucket, Merge, Thin};
