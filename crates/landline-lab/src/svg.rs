//! A canvas for SVG documents.
//!
//! The document has its own background, so it is readable on light and dark slides. It is
//! well-formed XML without references to other files.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use super::{Language, wrap::wrap};

/// Fonts that most machines have, first the Latin ones, then the Chinese ones.
const FONTS: &str = "'Noto Sans', 'Helvetica Neue', Arial, 'Noto Sans SC', 'Noto Sans CJK SC', 'PingFang SC', \
     'Microsoft YaHei', 'Source Han Sans SC', 'WenQuanYi Micro Hei', sans-serif";

/// The background of the card.
pub(super) const PAPER: &str = "#ffffff";
/// The background of a panel.
pub(super) const SHADE: &str = "#f1f4f8";
/// The color of text.
pub(super) const INK: &str = "#16202c";
/// The color of less important text.
pub(super) const FAINT: &str = "#55616f";
/// The color of separators.
pub(super) const RULE: &str = "#c6ced8";
/// The color of success.
pub(super) const GOOD: &str = "#18794e";
/// The color of a warning.
pub(super) const WARNING: &str = "#a15c00";
/// The color of loss and failure.
pub(super) const BAD: &str = "#c22a2a";
/// Colors for data.
///
/// People with any kind of color vision can tell them apart (Okabe and Ito), and black text is
/// readable on each.
pub(super) const COLORS: [&str; 6] = [
    "#56b4e9", "#e69f00", "#3fbf92", "#f0e442", "#d99bbf", "#ee8553",
];

/// The point of a text that its position refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The beginning of the text.
    Start,
    /// The middle of the text.
    Middle,
    /// The end of the text.
    End,
}

/// The style of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextStyle {
    size: f64,
    bold: bool,
    fill: &'static str,
    anchor: Anchor,
}

impl TextStyle {
    /// Plain text of this size, in units of the canvas.
    pub(super) const fn new(size: f64) -> Self {
        Self {
            size,
            bold: false,
            fill: INK,
            anchor: Anchor::Start,
        }
    }

    /// This style in bold.
    pub(super) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// This style in another color.
    pub(super) const fn fill(self, fill: &'static str) -> Self {
        Self { fill, ..self }
    }

    /// This style with another anchor.
    pub(super) const fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }
}

/// A rectangle: left, top, width, height.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rect(
    pub(super) f64,
    pub(super) f64,
    pub(super) f64,
    pub(super) f64,
);

/// An SVG document in the making.
#[derive(Debug)]
pub(super) struct Canvas {
    body: String,
}

impl Canvas {
    /// A card of this size with a title.
    pub(super) fn new(width: f64, height: f64, language: Language, title: &str) -> Self {
        let mut body = String::new();
        let _ = write!(
            body,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" xml:lang=\"{}\" role=\"img\" font-family=\"{FONTS}\">\n<title>{}</title>\n",
            language.tag(),
            escape(title)
        );
        let mut canvas = Self { body };
        canvas.frame(Rect(1.0, 1.0, width - 2.0, height - 2.0), PAPER, RULE, 14.0);
        canvas.text(36.0, 56.0, TextStyle::new(32.0).bold(), title);
        canvas
    }

    /// Draws a filled rectangle.
    pub(super) fn fill(&mut self, Rect(x, y, width, height): Rect, fill: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>",
            width.max(0.0)
        );
    }

    /// Draws a rectangle with round corners and a border.
    pub(super) fn frame(
        &mut self,
        Rect(x, y, width, height): Rect,
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

    /// Draws a pale rectangle with round corners and a dashed border.
    pub(super) fn dashed(&mut self, Rect(x, y, width, height): Rect, color: &str, radius: f64) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"{radius}\" fill=\"{color}\" \
             fill-opacity=\"0.35\" stroke=\"{FAINT}\" stroke-width=\"1.5\" stroke-dasharray=\"5 4\"/>",
            width.max(0.0)
        );
    }

    /// Draws a straight line.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{stroke}\" stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// Draws a line with an arrow head.
    pub(super) fn arrow(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str) {
        self.line(from, to, stroke, 2.5);
        let along = to.0 - from.0;
        let down = to.1 - from.1;
        let length = along.hypot(down).max(1.0);
        let head_along = along / length * 13.0;
        let head_down = down / length * 13.0;
        let _ = writeln!(
            self.body,
            "<path d=\"M{:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\" fill=\"{stroke}\"/>",
            to.0,
            to.1,
            to.0 - head_along - head_down * 0.45,
            to.1 - head_down + head_along * 0.45,
            to.0 - head_along + head_down * 0.45,
            to.1 - head_down - head_along * 0.45
        );
    }

    /// Draws one line of text. `y` is its baseline.
    pub(super) fn text(&mut self, x: f64, y: f64, style: TextStyle, text: &str) {
        let anchor = match style.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if style.bold {
            " font-weight=\"700\""
        } else {
            ""
        };
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" fill=\"{}\"{anchor}{weight}>{}</text>",
            style.size,
            style.fill,
            escape(text)
        );
    }

    /// Draws text in lines of at most `width`. Returns the baseline of the next line.
    pub(super) fn paragraph(
        &mut self,
        x: f64,
        y: f64,
        width: f64,
        style: TextStyle,
        text: &str,
    ) -> f64 {
        let mut y = y;
        for line in wrap(text, width / style.size, em) {
            self.text(x, y, style, &line);
            y += style.size * 1.4;
        }
        y
    }

    /// Ends the document.
    pub(super) fn finish(mut self) -> String {
        self.body.push_str("</svg>\n");
        self.body
    }
}

/// Escapes XML's own characters, and replaces those that it cannot contain.
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

/// The lines of `text` in a paragraph of this width and size.
pub(super) fn line_count(text: &str, width: f64, size: f64) -> usize {
    wrap(text, width / size, em).len()
}

/// The approximate width of `text`, in units of its size.
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
        fn document_is_well_formed_for_any_text(text in any::<String>(), width in 1.0f64..400.0) {
            let mut canvas = Canvas::new(100.0, 50.0, Language::Chinese, &text);
            canvas.text(1.0, 2.0, TextStyle::new(10.0).bold().anchor(Anchor::End), &text);
            canvas.paragraph(1.0, 2.0, width, TextStyle::new(10.0), &text);
            canvas.arrow((0.0, 0.0), (0.0, 0.0), INK);
            let document = canvas.finish();
            let parsed = roxmltree::Document::parse(&document).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(parsed.root_element().tag_name().name(), "svg");
        }
    }
}
