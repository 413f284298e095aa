//! Lays out the picture: heading, legend, and the panels under each other on one time axis.
//!
//! It decides how much room everything gets. What is in a panel is drawn by [`super::chart`] and [`super::lane`].

use super::canvas::{
    ACTIVATED, Anchor, BAND, CLEARING, Canvas, DrawError, Drawn, FRAME, GAP, LIMIT, MEANS, OutboundEvents, QUIET,
    VALUE, WAITING,
};
use super::picture::{Legend, Light, Panel, Picture};
use super::scale::{TimeScale, end_of_axis, time_labels};
use super::words::fit;
use super::{chart, lane};
use crate::domain::time::Stamp;
use plotters::style::RGBAColor;

const WIDTH: f64 = 1280.0;
const LEFT: f64 = 110.0;
/// The margin in which limits and means have their names.
pub(crate) const RIGHT: f64 = 200.0;
const LINE: f64 = 22.0;
const TITLE: f64 = 30.0;
const AXIS: f64 = 22.0;
const BETWEEN: f64 = 22.0;
const MARGIN: f64 = 16.0;

/// The picture as the text of an SVG file.
///
/// # Errors
/// None that is known: it is drawn in memory.
pub fn draw(picture: &Picture) -> Result<String, DrawError> {
    let mut svg = String::new();
    draw_into(&mut svg, picture)?;
    Ok(svg)
}

fn draw_into(svg: &mut String, picture: &Picture) -> Drawn {
    let head = MARGIN + LINE * (4.0 + lines(picture.notes.len()));
    let body: f64 = picture.panels.iter().map(panel_height).sum();
    let canvas = Canvas::new(svg, WIDTH, head + body + MARGIN)?;
    header(&canvas, picture)?;
    let end = end_of_axis(picture.start, picture.end);
    let page = Page {
        canvas: &canvas,
        picture,
        time: TimeScale::new(picture.start, end, LEFT, WIDTH - LEFT - RIGHT),
        labels: time_labels(picture.start, end),
    };
    let mut top = head;
    for panel in &picture.panels {
        page.panel(panel, top)?;
        top += panel_height(panel);
    }
    canvas.finish()
}

fn lines(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn panel_height(panel: &Panel) -> f64 {
    TITLE + chart::height(panel) + 6.0 + lines(panel.lanes.len()) * lane::LANE_HEIGHT + AXIS + BETWEEN
}

fn header(canvas: &Canvas<'_>, picture: &Picture) -> Drawn {
    let mut y = MARGIN + LINE / 2.0;
    canvas.text(&fit(&picture.heading, 120), (MARGIN, y), Anchor::Left, OutboundEvents::HEADING)?;
    for note in &picture.notes {
        y += LINE;
        let text = fit(note, OutboundEvents::PLAIN.fitting(WIDTH - 2.0 * MARGIN));
        canvas.text(&text, (MARGIN, y), Anchor::Left, OutboundEvents::PLAIN.colored(LIMIT))?;
    }
    y += LINE * 1.2;
    match picture.legend {
        Legend::Alarms => legend(canvas, y),
        Legend::Anomalies => legend_of_anomalies(canvas, y),
    }
}

/// What the colours mean, in two rows.
fn legend(canvas: &Canvas<'_>, y: f64) -> Drawn {
    let mut pen = Pen { canvas, x: MARGIN, y };
    pen.line("value", VALUE)?;
    pen.line("mean", MEANS[0])?;
    pen.line("limit", LIMIT)?;
    pen.area("deadband", BAND, EMPTY, 0.0)?;
    pen.area("gap (link down)", GAP, EMPTY, 0.0)?;
    pen.line("an alarm came", ACTIVATED)?;
    let mut pen = Pen { canvas, x: MARGIN, y: y + LINE };
    for light in [Light::Off, Light::Enabled, Light::Idled, Light::Activated, Light::Acknowledged] {
        pen.area(light.name(), light.color(), EMPTY, 0.0)?;
    }
    pen.area("observe-time running: full, the alarm comes", Light::Enabled.color(), WAITING, 1.0)?;
    pen.area("clear-delay running: full, it goes", Light::Activated.color(), CLEARING, 1.0)
}

fn legend_of_anomalies(canvas: &Canvas<'_>, y: f64) -> Drawn {
    let mut pen = Pen { canvas, x: MARGIN, y };
    pen.line("value, score", VALUE)?;
    pen.line("threshold", LIMIT)?;
    pen.line("an anomaly began", ACTIVATED)?;
    for light in [Light::Enabled, Light::Activated, Light::Idled] {
        pen.area(light.name_in(Legend::Anomalies), light.color(), EMPTY, 0.0)?;
    }
    Ok(())
}

const EMPTY: RGBAColor = RGBAColor(0, 0, 0, 0.0);

/// Writes one entry of a legend after the other.
struct Pen<'a, 's> {
    canvas: &'a Canvas<'s>,
    x: f64,
    y: f64,
}

impl Pen<'_, '_> {
    fn line(&mut self, name: &str, color: RGBAColor) -> Drawn {
        self.canvas.line(&[(self.x, self.y), (self.x + 26.0, self.y)], color, 2)?;
        self.name(name)
    }

    fn area(&mut self, name: &str, color: RGBAColor, slope: RGBAColor, height: f64) -> Drawn {
        let (left, right, top, bottom) = (self.x, self.x + 26.0, self.y - 7.0, self.y + 7.0);
        self.canvas.fill((left, top), (right, bottom), color)?;
        if height > 0.0 {
            self.canvas.polygon(&[(left, bottom), (right, top), (right, bottom)], slope)?;
        }
        self.canvas.frame((left, top), (right, bottom), FRAME)?;
        self.name(name)
    }

    fn name(&mut self, name: &str) -> Drawn {
        self.canvas.text(name, (self.x + 32.0, self.y), Anchor::Left, OutboundEvents::PLAIN)?;
        self.x += 32.0 + OutboundEvents::PLAIN.width(name) + 14.0;
        Ok(())
    }
}

struct Page<'a, 's> {
    canvas: &'a Canvas<'s>,
    picture: &'a Picture,
    time: TimeScale,
    labels: Vec<(Stamp, String)>,
}

impl Page<'_, '_> {
    fn panel(&self, panel: &Panel, top: f64) -> Drawn {
        let title = fit(&panel.title, 70);
        let y = top + TITLE / 2.0;
        self.canvas.text(&title, (LEFT, y), Anchor::Left, OutboundEvents::TITLE)?;
        let note_at = LEFT + OutboundEvents::TITLE.width(&title) + 12.0;
        let note = fit(&panel.note, OutboundEvents::SMALL.fitting(WIDTH - MARGIN - note_at));
        self.canvas.text(&note, (note_at, y + 1.0), Anchor::Left, OutboundEvents::SMALL)?;

        let chart_top = top + TITLE;
        let times: Vec<Stamp> = self.labels.iter().map(|(at, _)| *at).collect();
        chart::draw(self.canvas, panel, self.picture, &times, self.time, chart_top)?;
        let mut y = chart_top + chart::height(panel) + 6.0;
        for entry in &panel.lanes {
            lane::draw(self.canvas, entry, self.picture, self.time, y)?;
            self.gaps(y + lane::LANE_HEIGHT - 25.0, y + lane::LANE_HEIGHT - 7.0, false)?;
            y += lane::LANE_HEIGHT;
        }
        self.gaps(chart_top, chart_top + chart::height(panel), true)?;
        self.axis(y)
    }

    /// Shades the times in which nothing could be heard.
    fn gaps(&self, top: f64, bottom: f64, named: bool) -> Drawn {
        for gap in self.picture.gaps.buckets() {
            let (from, to) = (self.time.x(gap.first), self.time.x(gap.of.end));
            self.canvas.fill((from, top), (to.max(from + 1.0), bottom), GAP)?;
            if named && to - from > OutboundEvents::SMALL.width("link down") {
                let place = ((from + to) / 2.0, top + 10.0);
                self.canvas.text("link down", place, Anchor::Middle, OutboundEvents::SMALL)?;
            }
        }
        Ok(())
    }

    fn axis(&self, y: f64) -> Drawn {
        self.canvas.line(&[(LEFT, y), (WIDTH - RIGHT, y)], FRAME, 1)?;
        for (at, text) in &self.labels {
            let x = self.time.x(*at);
            self.canvas.line(&[(x, y), (x, y + 4.0)], FRAME, 1)?;
            self.canvas.text(text, (x, y + 13.0), Anchor::Middle, OutboundEvents::SMALL.colored(QUIET))?;
        }
        Ok(())
    }
}
