//! What a terminal does with operating system commands: titles, links, the working folder, colors.

use super::emulator::Emulator;

/// The longest title, and the longest name of a folder.
const NAME_BYTES_MAX: usize = 4 * 1024;
/// The longest name of a color.
const COLOR_BYTES_MAX: usize = 64;
/// The most colors of the palette.
const PALETTE: u16 = 256;

impl Emulator {
    pub(super) fn apply_command(&mut self, content: &[u8]) {
        let (number, rest) = match content.iter().position(|byte| *byte == b';') {
            Some(at) => {
                let (number, rest) = content.split_at(at);
                (number, rest.get(1..).unwrap_or_default())
            }
            None => (content, &[][..]),
        };
        let number = std::str::from_utf8(number).ok();
        let Some(number) = number.and_then(|number| number.parse::<u16>().ok()) else {
            return;
        };
        match number {
            0..=2 => self.set_title(number, rest),
            4 => self.set_palette(rest),
            7 => {
                if let Some(folder) = name(rest) {
                    self.names.folder = Some(folder).filter(|folder| !folder.is_empty());
                }
            }
            8 => self.set_link(rest),
            10..=19 => self.set_other_colors(number, rest),
            104 => self.reset_palette(rest),
            110..=119 => {
                self.colors.others.remove(&(number - 100));
            }
            _ => {}
        }
    }

    fn set_title(&mut self, number: u16, content: &[u8]) {
        if let Some(title) = name(content) {
            let titles = &mut self.names.titles;
            if number != 1 {
                titles.window = Some(title.clone());
            }
            if number != 2 {
                titles.icon = Some(title);
            }
        }
    }

    /// Takes the parameters of a link and its target. An empty target ends the link.
    fn set_link(&mut self, content: &[u8]) {
        let has_target = content.splitn(2, |byte| *byte == b';').nth(1);
        let has_target = has_target.is_some_and(|target| !target.is_empty());
        let is_text = text_of(content).as_bytes() == content;
        self.link = if has_target && is_text {
            self.links.make(content)
        } else {
            None
        };
    }

    /// Takes pairs of an index and a color.
    fn set_palette(&mut self, content: &[u8]) {
        let mut parts = content.split(|byte| *byte == b';');
        while let (Some(index), Some(value)) = (parts.next(), parts.next()) {
            if let (Some(index), Some(value)) = (palette_index(index), color(value)) {
                self.colors.palette.insert(index, value);
            }
        }
    }

    fn reset_palette(&mut self, content: &[u8]) {
        if content.is_empty() {
            self.colors.palette.clear();
        }
        for index in content.split(|byte| *byte == b';') {
            if let Some(index) = palette_index(index) {
                self.colors.palette.remove(&index);
            }
        }
    }

    /// Takes colors of which the first has this number, and each other the next one.
    fn set_other_colors(&mut self, first: u16, content: &[u8]) {
        for (number, value) in (first..=19).zip(content.split(|byte| *byte == b';')) {
            if let Some(value) = color(value) {
                self.colors.others.insert(number, value);
            }
        }
    }
}

/// A title or the name of a folder, without what controls a terminal; `None` if it is too long.
fn name(content: &[u8]) -> Option<String> {
    (content.len() <= NAME_BYTES_MAX).then(|| text_of(content))
}

fn text_of(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    text.chars().filter(|it| !it.is_control()).collect()
}

fn palette_index(text: &[u8]) -> Option<u16> {
    let index = std::str::from_utf8(text).ok()?.parse().ok()?;
    (index < PALETTE).then_some(index)
}

/// The name of a color; `None` for a query and for what is no color.
fn color(value: &[u8]) -> Option<String> {
    let is_color = value.len() <= COLOR_BYTES_MAX
        && value
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
        && !matches!(value, [] | [b'?', ..]);
    let value = std::str::from_utf8(value).ok()?;
    is_color.then(|| value.to_owned())
}
