//! Draws the values of one property, with the limits and means they are compared with.
//!
//! It decides what is seen of many values: of those that fall on one column of pixels, the first, the lowest, the
//! highest and the last. A value counts until the next one comes, so lines are steps; a slope would cross the limit at
//! times at which no alarm saw it do so. In a gap there is no line, because nobody knows what was there.

use super::canvas::{
    ACTIVATED, Anchor, BAND, Canvas, Drawn, EDGE, FRAME, GRID, LIMIT, MEANS, OutboundEvents, Point, VALUE,
};
use super::page::RIGHT;
use super::picture::{Panel, Picture, Reading};
use super::scale::{TimeScale, ValueScale};
use super::thin::{Bucket, Thin};
use super::words::{fit, number};
use crate::domain::time::Stamp;
use plotters::style::RGBAColor;

/// Values up to this number are drawn with their points.
const POINTS: usize = 200;
/// Activations up to this number are marked through the chart; more would hide it.
const MARKS: usize = 40;
/// From one label at the right margin to the next.
const LABEL: f64 = 13.0;
const NUMBERS_HEIGHT: f64 = 180.0;
const CATEGORY_HEIGHT: f64 = 26.0;

/// How high the chart of a panel is.
pub(crate) fn height(panel: &Panel) -> f64 {
    match u32::try_from(panel.categories.len()).unwrap_or(u32::MAX) {
        0 if panel.values.buckets().is_empty() && panel.levels.is_empty() => 30.0,
        0 => NUMBERS_HEIGHT,
        count => f64::from(count).max(2.0) * CATEGORY_HEIGHT + 20.0,
    }
}

/// Draws the chart between `top` and `top` + [`height`].
pub(crate) fn draw(
    canvas: &Canvas<'_>,
    panel: &Panel,
    picture: &Picture,
    times: &[Stamp],
    time: TimeScale,
    top: f64,
) -> Drawn {
    let height = height(panel);
    let means = || panel.lanes.iter().flat_map(|lane| lane.means.buckets());
    let shown = panel.values.buckets().iter().chain(means()).flat_map(|bucket| [bucket.of.low, bucket.of.high]);
    let edges = panel.levels.iter().flat_map(|level| [level.low, level.high]);
    let names = (0_u32..).zip(&panel.categories).map(|(index, _)| f64::from(index));
    let value = ValueScale::new(shown.chain(edges).chain(names), top, height);
    let chart = Chart { canvas, panel, picture, time, value, top, bottom: top + height };
    chart.grid(times)?;
    chart.levels()?;
    chart.activations()?;
    canvas.frame((time.left(), top), (time.right(), chart.bottom), FRAME)?;
    chart.values()?;
    chart.means()?;
    chart.labels()
}

struct Chart<'a, 's> {
    canvas: &'a Canvas<'s>,
    panel: &'a Panel,
    picture: &'a Picture,
    time: TimeScale,
    value: ValueScale,
    top: f64,
    bottom: f64,
}

impl Chart<'_, '_> {
    fn grid(&self, times: &[Stamp]) -> Drawn {
        for at in times {
            let x = self.time.x(*at);
            self.canvas.line(&[(x, self.top), (x, self.bottom)], GRID, 1)?;
        }
        let labels: Vec<(f64, String)> = if !self.panel.categories.is_empty() {
            let names = self.panel.categories.iter().map(|name| fit(name, 16));
            (0_u32..).map(f64::from).zip(names).collect()
        } else if self.panel.values.buckets().is_empty() && self.panel.levels.is_empty() {
            Vec::new()
        } else {
            self.value.labels()
        };
        for (value, text) in labels {
            let y = self.value.y(value);
            self.canvas.line(&[(self.time.left(), y), (self.time.right(), y)], GRID, 1)?;
            self.canvas.text(&text, (self.time.left() - 7.0, y), Anchor::Right, OutboundEvents::SMALL)?;
        }
        Ok(())
    }

    fn levels(&self) -> Drawn {
        let (left, right) = (self.time.left(), self.time.right());
        for level in &self.panel.levels {
            let (low, high) = (self.value.y(level.low), self.value.y(level.high));
            if level.low < level.high {
                self.canvas.fill((left, high), (right, low), BAND)?;
                self.canvas.line(&[(left, high), (right, high)], EDGE, 1)?;
                self.canvas.line(&[(left, low), (right, low)], EDGE, 1)?;
            }
            let middle = self.value.y(level.limit());
            self.canvas.line(&[(left, middle), (right, middle)], LIMIT, 2)?;
        }
        Ok(())
    }

    /// A thin line through the chart wherever one of the alarms came.
    fn activations(&self) -> Drawn {
        let turns = self.panel.lanes.iter().flat_map(|lane| lane.turns.buckets());
        let mut places: Vec<f64> =
            turns.filter_map(|turn| turn.of.activated).map(|at| self.time.x(at).round()).collect();
        places.sort_by(f64::total_cmp);
        places.dedup_by(|a, b| a.to_bits() == b.to_bits());
        if places.len() > MARKS {
            return Ok(());
        }
        for x in places {
            self.canvas.line(&[(x, self.top), (x, self.bottom)], ACTIVATED, 1)?;
        }
        Ok(())
    }

    fn values(&self) -> Drawn {
        let values = &self.panel.values;
        self.series(values, VALUE)?;
        if values.buckets().len() <= POINTS {
            let radius = if values.buckets().len() <= POINTS / 2 { 3 } else { 2 };
            for bucket in values.buckets().iter().filter(|bucket| bucket.count == 1) {
                let center = (self.time.x(bucket.first), self.value.y(bucket.of.last));
                self.canvas.dot(center, radius, VALUE)?;
            }
        }
        Ok(())
    }

    fn means(&self) -> Drawn {
        let averages = self.panel.lanes.iter().filter(|lane| !lane.means.buckets().is_empty());
        averages.zip(MEANS.iter().cycle()).try_for_each(|(lane, color)| self.series(&lane.means, *color))
    }

    fn series(&self, series: &Thin<Reading>, color: RGBAColor) -> Drawn {
        for run in self.runs(series) {
            let mut path = self.path(run);
            if let Some((_, y)) = path.last().copied() {
                path.push((self.time.x(self.run_end(run)), y));
            }
            self.canvas.line(&path, color, 2)?;
        }
        Ok(())
    }

    /// A series, cut where nothing could be heard.
    fn runs<'s>(&self, series: &'s Thin<Reading>) -> Vec<&'s [Bucket<Reading>]> {
        let gaps = self.picture.gaps.buckets();
        let part = |bucket: &Bucket<Reading>| gaps.partition_point(|gap| gap.first < bucket.first);
        series.buckets().chunk_by(|a, b| part(a) == part(b)).collect()
    }

    /// When the last value of a run stops being the latest that is known.
    fn run_end(&self, run: &[Bucket<Reading>]) -> Stamp {
        let Some(last) = run.last() else { return self.picture.end };
        let gaps = self.picture.gaps.buckets();
        gaps.iter().map(|gap| gap.first).find(|gap| *gap >= last.last).unwrap_or(self.picture.end)
    }

    /// The way of the pen.
    fn path(&self, run: &[Bucket<Reading>]) -> Vec<Point> {
        let mut path: Vec<Point> = Vec::new();
        for column in run.chunk_by(|a, b| self.column(a) == self.column(b)) {
            let (Some(first), Some(last)) = (column.first(), column.last()) else { continue };
            let low = column.iter().map(|bucket| bucket.of.low).fold(f64::INFINITY, f64::min);
            let high = column.iter().map(|bucket| bucket.of.high).fold(f64::NEG_INFINITY, f64::max);
            let x = self.time.x(first.first);
            // In the next column of pixels a step cannot be told from a slope.
            if let Some((before, y)) = path.last().copied()
                && x >= before + 2.0
            {
                path.push((x, y));
            }
            let on_the_way = if column.len() > 1 || first.count > 1 { &[low, high][..] } else { &[] };
            path.push((x, self.value.y(first.of.first)));
            path.extend(on_the_way.iter().map(|value| (x, self.value.y(*value))));
            path.push((x, self.value.y(last.of.last)));
        }
        path
    }

    fn column(&self, bucket: &Bucket<Reading>) -> usize {
        super::canvas::whole(self.time.x(bucket.first))
    }

    /// What the lines are, at the right margin and beside them.
    fn labels(&self) -> Drawn {
        let mut labels: Vec<(f64, String, OutboundEvents)> = Vec::new();
        let limits = OutboundEvents::SMALL.colored(LIMIT);
        for level in &self.panel.levels {
            let alarms = level.alarms.join(", ");
            if self.panel.categories.is_empty() {
                let text = format!("{} limit: {alarms}", number(level.limit()));
                labels.push((self.value.y(level.limit()), text, limits));
            } else {
                labels.push((self.value.y(level.low), format!("limit: {alarms}"), limits));
            }
            if level.low < level.high {
                labels.push((self.value.y(level.high), format!("{} upper edge: {alarms}", number(level.high)), limits));
                labels.push((self.value.y(level.low), format!("{} lower edge: {alarms}", number(level.low)), limits));
            }
        }
        let averages = self.panel.lanes.iter().filter_map(|lane| Some((lane, lane.means.buckets().last()?)));
        for ((lane, mean), color) in averages.zip(MEANS) {
            let outbound_events = OutboundEvents::SMALL.colored(color);
            labels.push((
                self.value.y(mean.of.last),
                format!("{} mean: {}", number(mean.of.last), lane.name),
                outbound_events,
            ));
        }
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = self.top - 4.0;
        let x = self.time.right();
        for (y, text, outbound_events) in labels {
            let place = y.max(free);
            free = place + LABEL;
            self.canvas.line(&[(x, y), (x + 12.0, place)], FRAME, 1)?;
            let text = fit(&text, OutboundEvents::SMALL.fitting(RIGHT - 20.0));
            self.canvas.text(&text, (x + 15.0, place), Anchor::Left, outbound_events)?;
        }
        Ok(())
    }
}

impl super::picture::Level {
    fn limit(&self) -> f64 {
        self.low / 2.0 + self.high / 2.0
    }
}
