//! The paper: colours, sizes of outbound events, and a few shapes on it. Everything that is drawn goes through here.
//!
//! It knows what an SVG is and nothing of what is drawn. Texts are escaped by the backend; what no XML may contain is
//! taken out before ([`super::words::fit`]).

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea as _};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle, IntoFont as _, RGBAColor, RGBColor, ShapeStyle, TextStyle};

/// Why a picture could not be drawn.
pub type DrawError = DrawingAreaErrorKind<std::io::Error>;
pub(crate) type Drawn = Result<(), DrawError>;

const fn opaque(r: u8, g: u8, b: u8) -> RGBAColor {
    RGBAColor(r, g, b, 1.0)
}

pub(crate) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(crate) const TEXT: RGBAColor = opaque(33, 37, 41);
pub(crate) const QUIET: RGBAColor = opaque(108, 117, 125);
pub(crate) const GRID: RGBAColor = opaque(233, 236, 239);
pub(crate) const FRAME: RGBAColor = opaque(173, 181, 189);
pub(crate) const VALUE: RGBAColor = opaque(25, 90, 160);
pub(crate) const LIMIT: RGBAColor = opaque(176, 42, 55);
pub(crate) const BAND: RGBAColor = RGBAColor(220, 53, 69, 0.10);
pub(crate) const EDGE: RGBAColor = RGBAColor(176, 42, 55, 0.55);
pub(crate) const GAP: RGBAColor = RGBAColor(73, 80, 87, 0.22);
pub(crate) const OFF: RGBAColor = opaque(173, 181, 189);
pub(crate) const ENABLED: RGBAColor = opaque(235, 241, 245);
pub(crate) const IDLED: RGBAColor = opaque(211, 235, 219);
pub(crate) const ACTIVATED: RGBAColor = opaque(220, 53, 69);
pub(crate) const ACKNOWLEDGED: RGBAColor = opaque(253, 150, 40);
pub(crate) const WAITING: RGBAColor = opaque(255, 212, 59);
pub(crate) const HURRY: RGBAColor = opaque(153, 102, 0);
pub(crate) const CLEARING: RGBAColor = RGBAColor(255, 255, 255, 0.55);
/// One colour for each mean of a panel, in their order.
pub(crate) const MEANS: [RGBAColor; 4] =
    [opaque(111, 66, 193), opaque(14, 124, 134), opaque(214, 51, 132), opaque(121, 85, 20)];

/// Where the point of a text is that its place names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Middle,
    Right,
}

/// A kind of outbound events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboundEvents {
    size: f64,
    bold: bool,
    color: RGBAColor,
}

impl OutboundEvents {
    pub(crate) const HEADING: OutboundEvents = OutboundEvents { size: 17.0, bold: true, color: TEXT };
    pub(crate) const TITLE: OutboundEvents = OutboundEvents { size: 15.0, bold: true, color: TEXT };
    pub(crate) const NAME: OutboundEvents = OutboundEvents { size: 12.0, bold: true, color: TEXT };
    pub(crate) const PLAIN: OutboundEvents = OutboundEvents { size: 12.0, bold: false, color: TEXT };
    pub(crate) const SMALL: OutboundEvents = OutboundEvents { size: 11.0, bold: false, color: QUIET };

    pub(crate) fn colored(self, color: RGBAColor) -> OutboundEvents {
        OutboundEvents { color, ..self }
    }

    /// How wide a text is at most, as far as one can know without the reader's fonts.
    pub(crate) fn width(self, text: &str) -> f64 {
        let wide = if self.bold { 0.68 } else { 0.6 };
        f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)) * self.size * wide
    }

    /// How many characters fit into `width`.
    pub(crate) fn fitting(self, width: f64) -> usize {
        let one = self.width("x");
        (1..400).take_while(|n| f64::from(*n) * one <= width).count()
    }
}

/// A point on the paper, in pixels from its upper left corner.
pub(crate) type Point = (f64, f64);

/// The paper.
pub(crate) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

#[expect(clippy::cast_possible_truncation, reason = "rounded, and a float out of range becomes the nearest integer")]
fn px((x, y): Point) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

/// The whole pixels of a length.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float out of range becomes the nearest")]
pub(crate) fn whole(length: f64) -> usize {
    length.max(0.0).floor() as usize
}

impl<'a> Canvas<'a> {
    /// An empty sheet, whose SVG goes into `svg`.
    pub(crate) fn new(svg: &'a mut String, width: f64, height: f64) -> Result<Canvas<'a>, DrawError> {
        let (width, height) = px((width, height));
        let size = (width.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(svg, size).into_drawing_area();
        area.fill(&PAPER)?;
        Ok(Canvas { area })
    }

    /// Closes the SVG.
    pub(crate) fn finish(&self) -> Drawn {
        self.area.present()
    }

    pub(crate) fn line(&self, points: &[Point], color: RGBAColor, width: u32) -> Drawn {
        let mut path: Vec<(i32, i32)> = points.iter().copied().map(px).collect();
        path.dedup();
        if path.len() < 2 {
            return Ok(());
        }
        self.area.draw(&PathElement::new(path, ShapeStyle::from(color).stroke_width(width)))
    }

    pub(crate) fn fill(&self, corner: Point, opposite: Point, color: RGBAColor) -> Drawn {
        self.area.draw(&Rectangle::new([px(corner), px(opposite)], color.filled()))
    }

    pub(crate) fn frame(&self, corner: Point, opposite: Point, color: RGBAColor) -> Drawn {
        self.area.draw(&Rectangle::new([px(corner), px(opposite)], ShapeStyle::from(color)))
    }

    pub(crate) fn polygon(&self, points: &[Point], color: RGBAColor) -> Drawn {
        let points: Vec<(i32, i32)> = points.iter().copied().map(px).collect();
        self.area.draw(&Polygon::new(points, color.filled()))
    }

    pub(crate) fn dot(&self, center: Point, radius: u32, color: RGBAColor) -> Drawn {
        self.area.draw(&Circle::new(px(center), radius, color.filled()))
    }

    /// Writes a text whose middle line is at the height of its place.
    pub(crate) fn text(&self, text: &str, place: Point, anchor: Anchor, outbound_events: OutboundEvents) -> Drawn {
        let h_pos = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        // The backend divides by this factor, which is the height of a line.
        let font = ("sans-serif", outbound_events.size * 1.24).into_font();
        let font = if outbound_events.bold { font.style(FontStyle::Bold) } else { font };
        let style = TextStyle::from(font).color(&outbound_events.color).pos(Pos::new(h_pos, VPos::Center));
        self.area.draw(&Text::new(text, px(place), style))
    }
}
