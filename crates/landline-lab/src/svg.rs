//! A drawing board for SVG: a card with its own background, so that it can be read on a light slide
//! and on a dark one.
//!
//! Nothing in here reads or measures anything; what comes out is well-formed XML that refers to
//! nothing outside of itself.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use super::{Language, wrap::wrap};

/// Fonts that projectors' machines have, with those for Chinese behind the Latin ones.
const FONTS: &str = "'Noto Sans', 'Helvetica Neue', Arial, 'Noto Sans SC', 'Noto Sans CJK SC', 'PingFang SC', \
     'Microsoft YaHei', 'Source Han Sans SC', 'WenQuanYi Micro Hei', sans-serif";

/// The background of the card.
pub(super) const PAPER: &str = "#ffffff";
/// A background that sets something apart.
pub(super) const SHADE: &str = "#f1f4f8";
/// Text.
pub(super) const INK: &str = "#16202c";
/// Text that matters less.
pub(super) const FAINT: &str = "#55616f";
/// Lines between things.
pub(super) const RULE: &str = "#c6ced8";
/// All is well.
pub(super) const GOOD: &str = "#18794e";
/// Not what one would expect.
pub(super) const ODD: &str = "#a15c00";
/// Something is lost or refused.
pub(super) const BAD: &str = "#c22a2a";
/// Colours that people with any kind of colour vision can tell apart (Okabe and Ito), black text
/// readable on each.
pub(super) const COLOURS: [&str; 6] = [
    "#56b4e9", "#e69f00", "#3fbf92", "#f0e442", "#d99bbf", "#ee8553",
];

/// Where text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// At its beginning.
    Start,
    /// In its middle.
    Middle,
    /// At its end.
    End,
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    size: f64,
    bold: bool,
    fill: &'static str,
    anchor: Anchor,
}

impl Face {
    /// Plain text of this size, in units of the board.
    pub(super) const fn new(size: f64) -> Self {
        Self {
            size,
            bold: false,
            fill: INK,
            anchor: Anchor::Start,
        }
    }

    /// The same in bold.
    pub(super) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// The same in another colour.
    pub(super) const fn fill(self, fill: &'static str) -> Self {
        Self { fill, ..self }
    }

    /// The same held elsewhere.
    pub(super) const fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }
}

/// A rectangle: left, top, width, height.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area(
    pub(super) f64,
    pub(super) f64,
    pub(super) f64,
    pub(super) f64,
);

/// What is drawn on.
#[derive(Debug)]
pub(super) struct Board {
    body: String,
}

impl Board {
    /// A card of this size with a title, which is also what a screen reader says.
    pub(super) fn new(width: f64, height: f64, language: Language, title: &str) -> Self {
        let mut body = String::new();
        let _ = write!(
            body,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" xml:lang=\"{}\" role=\"img\" font-family=\"{FONTS}\">\n<title>{}</title>\n",
            language.tag(),
            escape(title)
        );
        let mut board = Self { body };
        board.frame(Area(1.0, 1.0, width - 2.0, height - 2.0), PAPER, RULE, 14.0);
        board.text(36.0, 56.0, Face::new(32.0).bold(), title);
        board
    }

    /// A filled rectangle.
    pub(super) fn fill(&mut self, Area(x, y, width, height): Area, fill: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>",
            width.max(0.0)
        );
    }

    /// A rectangle with round corners and an edge.
    pub(super) fn frame(
        &mut self,
        Area(x, y, width, height): Area,
        fill: &str,
        stroke: &str,
        radius: f64,
    ) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"{radius}\" fill=\"{fill}\" \
             stroke=\"{stroke}\" stroke-width=\"2\"/>",
            width.max(0.0)
        );
    }

    /// A straight line.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{stroke}\" stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A line that ends in a point.
    pub(super) fn arrow(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str) {
        self.line(from, to, stroke, 2.5);
        let (along, down) = (to.0 - from.0, to.1 - from.1);
        let length = along.hypot(down).max(1.0);
        let (along, down) = (along / length * 13.0, down / length * 13.0);
        let _ = writeln!(
            self.body,
            "<path d=\"M{:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\" fill=\"{stroke}\"/>",
            to.0,
            to.1,
            to.0 - along - down * 0.45,
            to.1 - down + along * 0.45,
            to.0 - along + down * 0.45,
            to.1 - down - along * 0.45
        );
    }

    /// One line of text; `y` is its base line.
    pub(super) fn text(&mut self, x: f64, y: f64, face: Face, text: &str) {
        let anchor = match face.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if face.bold {
            " font-weight=\"700\""
        } else {
            ""
        };
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" fill=\"{}\"{anchor}{weight}>{}</text>",
            face.size,
            face.fill,
            escape(text)
        );
    }

    /// Text broken into lines of at most `width`; the base line below the last.
    pub(super) fn paragraph(&mut self, x: f64, y: f64, width: f64, face: Face, text: &str) -> f64 {
        let mut y = y;
        for line in wrap(text, width / face.size, em) {
            self.text(x, y, face, &line);
            y += face.size * 1.4;
        }
        y
    }

    /// The document.
    pub(super) fn finish(mut self) -> String {
        self.body.push_str("</svg>\n");
        self.body
    }
}

/// Text with what XML would take for its own, and what it cannot hold, made harmless.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => {
                out.push(' ')
            }
            _ => out.push(character),
        }
    }
    out
}

/// How many lines `text` takes in a paragraph of this width and size.
pub(super) fn line_count(text: &str, width: f64, size: f64) -> usize {
    wrap(text, width / size, em).len()
}

/// About how wide `text` is, in units of its size.
pub(super) fn ems(text: &str) -> f64 {
    text.chars().map(em).sum()
}

fn em(character: char) -> f64 {
    match character {
        ' ' | '.' | ',' | ':' | ';' | '\'' | '|' | 'i' | 'l' | 'j' | 'I' => 0.3,
        'm' | 'w' | 'M' | 'W' => 0.88,
        'A'..='Z' => 0.68,
        _ if character.width() == Some(2) => 1.0,
        _ => 0.57,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_written_is_well_formed(text in any::<String>(), width in 1.0f64..400.0) {
            let mut board = Board::new(100.0, 50.0, Language::Chinese, &text);
            board.text(1.0, 2.0, Face::new(10.0).bold().anchor(Anchor::End), &text);
            board.paragraph(1.0, 2.0, width, Face::new(10.0), &text);
            board.arrow((0.0, 0.0), (0.0, 0.0), INK);
            let document = board.finish();
            let parsed = roxmltree::Document::parse(&document).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(parsed.root_element().tag_name().name(), "svg");
        }
    }
}
