//! Colors and attributes of characters.

use super::parser::Sequence;

/// A color of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Color {
    #[default]
    Default,
    Indexed(u8),
    Rgb(u8, u8, u8),
}

/// How a character looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    foreground: Color,
    background: Color,
    underline_color: Color,
    /// The kind of underline, in the low bits: 0 for none, and 1 to 5 as in `CSI 4:N m`.
    attributes: u16,
}

const UNDERLINE: u16 = 0b111;
/// The attributes with the number that sets each, and the one that resets it.
const ATTRIBUTES: [(u16, u16, u16); 9] = [
    (1 << 3, 1, 22),
    (1 << 4, 2, 22),
    (1 << 5, 3, 23),
    (1 << 6, 5, 25),
    (1 << 7, 6, 25),
    (1 << 8, 7, 27),
    (1 << 9, 8, 28),
    (1 << 10, 9, 29),
    (1 << 11, 53, 55),
];

impl Style {
    /// How what is erased looks, while this is the style of new characters.
    pub(super) fn erased(self) -> Self {
        Self {
            background: self.background,
            ..Self::default()
        }
    }

    /// Changes the style as `CSI m` says.
    pub(super) fn apply(&mut self, sequence: &Sequence) {
        let mut groups = sequence.groups();
        while let Some(group) = groups.next() {
            match group {
                [38 | 48 | 58] => {
                    // The values of the color follow as parameters of their own.
                    let mut next = || groups.next().and_then(<[u16]>::first).copied();
                    let color = match next() {
                        Some(5) => next().map(|index| [5, index, 0, 0]),
                        Some(2) => {
                            let [red, green, blue] = [next(), next(), next()];
                            red.zip(green).zip(blue).map(|((r, g), b)| [2, r, g, b])
                        }
                        _ => None,
                    };
                    let color = color.and_then(|values| color_of(&values));
                    self.set_color(group, color);
                }
                [38 | 48 | 58, values @ ..] => self.set_color(group, color_of(values)),
                [4] => self.set_underline(1),
                [4, kind, ..] => self.set_underline(*kind),
                [number, ..] => self.apply_number(*number),
                [] => {}
            }
        }
    }

    fn set_color(&mut self, group: &[u16], color: Option<Color>) {
        if let (Some(number), Some(color)) = (group.first(), color) {
            match number {
                38 => self.foreground = color,
                48 => self.background = color,
                _ => self.underline_color = color,
            }
        }
    }

    fn set_underline(&mut self, kind: u16) {
        if kind <= 5 {
            self.attributes = self.attributes & !UNDERLINE | kind;
        }
    }

    fn apply_number(&mut self, number: u16) {
        let indexed = |first: u16| Color::Indexed(u8::try_from(number - first).unwrap_or(0));
        match number {
            0 => *self = Self::default(),
            21 => self.set_underline(2),
            24 => self.set_underline(0),
            30..=37 => self.foreground = indexed(30),
            90..=97 => self.foreground = indexed(90 - 8),
            39 => self.foreground = Color::Default,
            40..=47 => self.background = indexed(40),
            100..=107 => self.background = indexed(100 - 8),
            49 => self.background = Color::Default,
            59 => self.underline_color = Color::Default,
            _ => {
                for (bit, set, reset) in ATTRIBUTES {
                    if number == set {
                        self.attributes |= bit;
                    } else if number == reset {
                        self.attributes &= !bit;
                    }
                }
            }
        }
    }

    /// Appends what changes a terminal from any style to this one.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend(b"\x1b[0");
        for (bit, set, _) in ATTRIBUTES {
            if self.attributes & bit != 0 {
                out.extend(format!(";{set}").into_bytes());
            }
        }
        match self.attributes & UNDERLINE {
            0 => {}
            1 => out.extend(b";4"),
            kind => out.extend(format!(";4:{kind}").into_bytes()),
        }
        write_color(out, 30, self.foreground);
        write_color(out, 40, self.background);
        match self.underline_color {
            Color::Default => {}
            Color::Indexed(index) => out.extend(format!(";58:5:{index}").into_bytes()),
            Color::Rgb(red, green, blue) => {
                out.extend(format!(";58:2::{red}:{green}:{blue}").into_bytes());
            }
        }
        out.push(b'm');
    }
}

/// The color in parameters that begin with its kind.
fn color_of(values: &[u16]) -> Option<Color> {
    let byte = |value: u16| u8::try_from(value).ok();
    match *values {
        [5, index, ..] => byte(index).map(Color::Indexed),
        // With colons, the number of a color space may come first.
        [2, red, green, blue] | [2, _, red, green, blue, ..] => {
            Some(Color::Rgb(byte(red)?, byte(green)?, byte(blue)?))
        }
        _ => None,
    }
}

/// Appends parameters for a color of text: `base` for a foreground is 30, for a background 40.
fn write_color(out: &mut Vec<u8>, base: u16, color: Color) {
    let text = match color {
        Color::Default => return,
        Color::Indexed(index @ 0..8) => format!(";{}", base + u16::from(index)),
        Color::Indexed(index @ 8..16) => format!(";{}", base + 60 + u16::from(index - 8)),
        Color::Indexed(index) => format!(";{};5;{index}", base + 8),
        Color::Rgb(red, green, blue) => format!(";{};2;{red};{green};{blue}", base + 8),
    };
    out.extend(text.into_bytes());
}
