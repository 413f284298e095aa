//! Draws one alarm: a line of words, and under it a strip in the colours of its states.
//!
//! It decides how states that are closer together than a pixel are shown: by the one that must not be overlooked. A
//! running observe-time or clear-delay fills the strip from the bottom; when it is full, the state changes.

use super::canvas::{
    ACKNOWLEDGED, ACTIVATED, Anchor, CLEARING, Canvas, Drawn, ENABLED, FRAME, IDLED, OFF, OutboundEvents, Point, TEXT,
    WAITING,
};
use super::picture::{Lane, Legend, Light, Picture, Wait};
use super::scale::TimeScale;
use super::words::{fit, short_time, times};
use crate::domain::time::Stamp;
use plotters::style::RGBAColor;

const WORDS: f64 = 17.0;
const STRIP: f64 = 18.0;
/// From one lane to the next.
pub(crate) const LANE_HEIGHT: f64 = WORDS + STRIP + 7.0;
/// A wait narrower than this is drawn as high as it came, without its slope.
const SLOPE: f64 = 4.0;

impl Light {
    pub(crate) fn color(self) -> RGBAColor {
        match self {
            Light::Off => OFF,
            Light::Enabled => ENABLED,
            Light::Idled => IDLED,
            Light::Acknowledged => ACKNOWLEDGED,
            Light::Activated => ACTIVATED,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Light::Off => "off",
            Light::Enabled => "enabled",
            Light::Idled => "idled",
            Light::Acknowledged => "acknowledged",
            Light::Activated => "activated",
        }
    }

    /// What it is called in a picture of that.
    pub(crate) fn name_in(self, legend: Legend) -> &'static str {
        match (legend, self) {
            (Legend::Alarms, _) => self.name(),
            (Legend::Anomalies, Light::Off | Light::Enabled) => "no anomaly so far",
            (Legend::Anomalies, Light::Idled) => "over",
            (Legend::Anomalies, Light::Acknowledged | Light::Activated) => "anomaly",
        }
    }

    fn is_active(self) -> bool {
        self >= Light::Acknowledged
    }
}

/// Draws the lane between `top` and `top` + [`LANE_HEIGHT`].
pub(crate) fn draw(canvas: &Canvas<'_>, lane: &Lane, picture: &Picture, time: TimeScale, top: f64) -> Drawn {
    words(canvas, lane, picture, time, top + WORDS / 2.0)?;
    let strip = Strip { canvas, time, top: top + WORDS, bottom: top + WORDS + STRIP };
    let states = states(lane, picture.end);
    strip.states(&states)?;
    strip.waits(lane, &states)?;
    strip.late_acknowledgements(lane)?;
    strip.names(&states, picture)?;
    canvas.frame((time.x(lane.begins), strip.top), (time.right(), strip.bottom), FRAME)
}

fn words(canvas: &Canvas<'_>, lane: &Lane, picture: &Picture, time: TimeScale, y: f64) -> Drawn {
    let name = fit(&lane.name, 40);
    let latest = lane.turns.buckets().iter().rev().find_map(|turn| turn.of.activated);
    let latest = latest.map(|at| short_time(at, picture.start)).unwrap_or_default();
    let times = match (picture.legend, lane.activations) {
        (Legend::Alarms, 0) => "never activated".to_owned(),
        (Legend::Alarms, 1) => format!("activated once: {latest}"),
        (Legend::Alarms, count) => format!("activated {}, last {latest}", times(count)),
        (Legend::Anomalies, 0) => "none".to_owned(),
        (Legend::Anomalies, 1) => format!("one: {latest}"),
        (Legend::Anomalies, count) => format!("{count}, the last {latest}"),
    };
    let color = if lane.activations > 0 { ACTIVATED } else { TEXT };
    let text_at = time.left() + OutboundEvents::NAME.width(&name) + 8.0;
    let room = time.right() + super::page::RIGHT - 10.0 - OutboundEvents::NAME.width(&times) - text_at;
    let text = fit(&lane.words, OutboundEvents::PLAIN.fitting(room));
    canvas.text(&name, (time.left(), y), Anchor::Left, OutboundEvents::NAME)?;
    canvas.text(&text, (text_at, y), Anchor::Left, OutboundEvents::PLAIN)?;
    let at = (time.right() + super::page::RIGHT - 10.0, y);
    canvas.text(&times, at, Anchor::Right, OutboundEvents::NAME.colored(color))
}

/// A time in which the alarm was in one state, or passed through several of which this one counts.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: Stamp,
    to: Stamp,
    light: Light,
}

fn states(lane: &Lane, end: Stamp) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let (mut from, mut light) = (lane.begins, lane.light);
    for turn in lane.turns.buckets() {
        stretches.push(Stretch { from, to: turn.first, light });
        if turn.count > 1 {
            stretches.push(Stretch { from: turn.first, to: turn.last, light: turn.of.worst });
        }
        (from, light) = (turn.last, turn.of.to);
    }
    stretches.push(Stretch { from, to: end, light });
    stretches
}

struct Strip<'a, 's> {
    canvas: &'a Canvas<'s>,
    time: TimeScale,
    top: f64,
    bottom: f64,
}

impl Strip<'_, '_> {
    /// Colours column by column, then draws what is equal as one.
    fn states(&self, stretches: &[Stretch]) -> Drawn {
        let mut columns = Columns::new(self.time);
        for stretch in stretches {
            // No time at all, and yet it was there, if it is a state that must not be overlooked.
            if stretch.from < stretch.to || stretch.light.is_active() {
                let (from, to) = (self.time.x(stretch.from), self.time.x(stretch.to));
                columns.paint(from, to, |old| old.max(Some(stretch.light)));
            }
        }
        columns.runs(|from, to, light| self.canvas.fill((from, self.top), (to, self.bottom), light.color()))
    }

    fn waits(&self, lane: &Lane, stretches: &[Stretch]) -> Drawn {
        let mut narrow = Columns::new(self.time);
        let mut rows = |from: Stamp, to: Stamp, share: f64, is_active: bool| {
            let rows = self.rows(share);
            narrow.paint(self.time.x(from), self.time.x(to), |old| old.max(Some((rows, is_active))));
        };
        for bucket in lane.waits.buckets() {
            let wait = &bucket.of;
            // The last one of several may be long, the others are closer together than a pixel.
            let stretch = stretches.get(stretches.partition_point(|stretch| stretch.to <= bucket.last));
            let is_active = stretch.is_some_and(|stretch| stretch.light.is_active());
            if bucket.count > 1 {
                rows(bucket.first, bucket.last, wait.before, is_active);
            }
            let (from, to) = (self.time.x(bucket.last), self.time.x(wait.end));
            if to - from >= SLOPE {
                self.slope(wait, from, to, is_active)?;
            } else {
                rows(bucket.last, wait.end, wait.to, is_active);
            }
        }
        // One shape for all columns that touch, with a step wherever the height changes.
        let mut shape: Vec<Point> = Vec::new();
        let mut last: Option<(f64, bool)> = None;
        narrow.runs(|from, to, (rows, is_active)| {
            if last != Some((from, is_active)) {
                self.shape(&mut shape, last)?;
                shape.push((from, self.bottom));
            }
            let top = self.bottom - f64::from(rows);
            shape.extend([(from, top), (to, top)]);
            last = Some((to, is_active));
            Ok(())
        })?;
        self.shape(&mut shape, last)
    }

    /// Closes a shape at its right end, and draws it.
    fn shape(&self, shape: &mut Vec<Point>, end: Option<(f64, bool)>) -> Drawn {
        let Some((right, is_active)) = end else { return Ok(()) };
        shape.push((right, self.bottom));
        self.canvas.polygon(shape, color(is_active))?;
        shape.clear();
        Ok(())
    }

    fn slope(&self, wait: &Wait, from: f64, to: f64, is_active: bool) -> Drawn {
        let height = self.bottom - self.top;
        let (start, end): (Point, Point) =
            ((from, self.bottom - wait.from * height), (to, self.bottom - wait.to * height));
        self.canvas.polygon(&[(from, self.bottom), start, end, (to, self.bottom)], color(is_active))?;
        self.canvas.line(&[start, end, (to, self.bottom)], if is_active { TEXT } else { super::canvas::HURRY }, 1)
    }

    /// How many rows of pixels a share of the strip's height is.
    fn rows(&self, share: f64) -> u8 {
        let height = self.bottom - self.top;
        (1..=u8::MAX).take_while(|row| f64::from(*row) <= (share * height).ceil()).last().unwrap_or(1)
    }

    fn late_acknowledgements(&self, lane: &Lane) -> Drawn {
        for turn in lane.turns.buckets().iter().filter(|turn| turn.of.late_acknowledgement) {
            let x = self.time.x(turn.last);
            self.canvas.fill((x - 1.0, self.top), (x + 2.0, self.bottom), ACKNOWLEDGED)?;
        }
        Ok(())
    }

    /// Writes the states into the strip where there is room for them, and when an alarm came.
    fn names(&self, stretches: &[Stretch], picture: &Picture) -> Drawn {
        for stretch in stretches {
            let (from, to) = (self.time.x(stretch.from), self.time.x(stretch.to));
            let name = stretch.light.name_in(picture.legend);
            let came = format!("{name} {}", short_time(stretch.from, picture.start));
            let fits = |text: &str| to - from > OutboundEvents::SMALL.width(text) + 8.0;
            let text = if stretch.light == Light::Activated && fits(&came) { &came } else { name };
            if fits(text) {
                let color = if stretch.light == Light::Activated { ENABLED } else { TEXT };
                let place = (from + 5.0, (self.top + self.bottom) / 2.0);
                self.canvas.text(text, place, Anchor::Left, OutboundEvents::SMALL.colored(color))?;
            }
        }
        Ok(())
    }
}

fn color(is_active: bool) -> RGBAColor {
    if is_active { CLEARING } else { WAITING }
}

/// The pixels of a strip, from left to right.
struct Columns<T> {
    left: f64,
    cells: Vec<Option<T>>,
}

impl<T: Copy + PartialEq> Columns<T> {
    fn new(time: TimeScale) -> Columns<T> {
        let width = super::canvas::whole(time.right() - time.left());
        Columns { left: time.left(), cells: vec![None; width] }
    }

    /// Changes the columns of a stretch, at least one.
    fn paint(&mut self, from: f64, to: f64, with: impl Fn(Option<T>) -> Option<T>) {
        let last = self.cells.len().saturating_sub(1);
        let first = super::canvas::whole(from - self.left).min(last);
        let end = super::canvas::whole(to - self.left).clamp(first + 1, last + 1);
        for cell in &mut self.cells[first..end] {
            *cell = with(*cell);
        }
    }

    /// Hands out runs of equal columns.
    fn runs(&self, mut each: impl FnMut(f64, f64, T) -> Drawn) -> Drawn {
        let mut x = self.left;
        for run in self.cells.chunk_by(|a, b| a == b) {
            let end = x + f64::from(u32::try_from(run.len()).unwrap_or(u32::MAX));
            if let Some(Some(what)) = run.first() {
                each(x, end, *what)?;
            }
            x = end;
        }
        Ok(())
    }
}
