//! The picture: a row for each transport, a column for each scenario.

use super::{Overrun, Part, PartKind, Scenario, Sticky, Transport, Trial};
use crate::{
    Language,
    svg::{
        Anchor, BAD, COLORS, Canvas, FAINT, GOOD, INK, PAPER, RULE, Rect, SHADE, TextStyle,
        WARNING, ems, line_count,
    },
    words::{sticky as words, time},
};

const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 36.0;
/// The left edge of the first column of cells.
const CELLS: f64 = 306.0;
const CELL: f64 = 306.0;
const CELL_GAP: f64 = 12.0;
const HEAD_TOP: f64 = 132.0;
const ROWS_TOP: f64 = 150.0;
const LANE: f64 = 30.0;
const LANE_GAP: f64 = 12.0;
/// The height above the lanes of a cell, for its counts and verdict.
const CAPTION: f64 = 42.0;
/// The height below the lanes of a cell, for the times of its receives.
const TIMES: f64 = 24.0;
const ROW_GAP: f64 = 12.0;
const PADDING: f64 = 12.0;
/// The size of the text on a part.
const LABEL: f64 = 16.0;
const SENTENCE: TextStyle = TextStyle::new(20.0);

pub(super) fn draw(sticky: &Sticky, language: Language) -> String {
    let rows: f64 = Transport::ALL
        .into_iter()
        .map(|transport| height_of(transport) + ROW_GAP)
        .sum();
    let summary = words::summary(sticky, language);
    let text_width = WIDTH - 2.0 * MARGIN;
    let lines: usize = summary
        .iter()
        .map(|line| line_count(line, text_width, 20.0))
        .sum();
    let height = ROWS_TOP + rows + 32.0 + lines as f64 * 28.0 + 20.0;
    let mut canvas = Canvas::new(WIDTH, height, language, words::title(language));
    legend(&mut canvas, language);
    for (column, scenario) in Scenario::ALL.into_iter().enumerate() {
        head(&mut canvas, column, words::scenario(scenario, language));
    }
    head(
        &mut canvas,
        Scenario::ALL.len(),
        words::overrun_heading(language),
    );
    let mut top = ROWS_TOP;
    for transport in Transport::ALL {
        row(&mut canvas, sticky, transport, top, language);
        top += height_of(transport) + ROW_GAP;
    }
    let mut y = top + 28.0;
    for sentence in &summary {
        y = canvas.paragraph(MARGIN, y, text_width, SENTENCE, sentence);
    }
    canvas.finish()
}

fn height_of(transport: Transport) -> f64 {
    let lanes = if transport == Transport::Framed {
        3.0
    } else {
        2.0
    };
    CAPTION + lanes * (LANE + LANE_GAP) + TIMES
}

fn left_of(column: usize) -> f64 {
    CELLS + column as f64 * (CELL + CELL_GAP)
}

fn head(canvas: &mut Canvas, column: usize, text: &str) {
    canvas.text(
        left_of(column) + PADDING,
        HEAD_TOP,
        TextStyle::new(18.0).bold(),
        text,
    );
}

fn legend(canvas: &mut Canvas, language: Language) {
    let [message, length, receive, lost] = words::key(language);
    let style = TextStyle::new(16.0).fill(FAINT);
    let mut x = MARGIN;
    let top = 74.0;
    let mut entry = |canvas: &mut Canvas, draw: &dyn Fn(&mut Canvas, f64), text: &str| {
        draw(canvas, x);
        canvas.text(x + 46.0, top + 18.0, style, text);
        x += 46.0 + ems(text) * 16.0 + 34.0;
    };
    let number = TextStyle::new(16.0).bold().anchor(Anchor::Middle);
    entry(
        canvas,
        &|canvas, x| {
            canvas.fill(Rect(x, top, 36.0, 24.0), COLORS[0]);
            canvas.text(x + 18.0, top + 18.0, number, "1");
        },
        &message,
    );
    entry(
        canvas,
        &|canvas, x| canvas.fill(Rect(x + 10.0, top, 14.0, 24.0), INK),
        &length,
    );
    entry(
        canvas,
        &|canvas, x| canvas.frame(Rect(x, top - 2.0, 36.0, 28.0), PAPER, INK, 4.0),
        &receive,
    );
    entry(
        canvas,
        &|canvas, x| canvas.frame(Rect(x, top, 36.0, 24.0), "#fbe3e3", BAD, 0.0),
        &lost,
    );
}

fn row(canvas: &mut Canvas, sticky: &Sticky, transport: Transport, top: f64, language: Language) {
    let height = height_of(transport);
    canvas.fill(
        Rect(MARGIN - 12.0, top, WIDTH - 2.0 * MARGIN + 24.0, height),
        SHADE,
    );
    canvas.text(
        MARGIN,
        top + 28.0,
        TextStyle::new(20.0).bold(),
        words::transport(transport, language),
    );
    canvas.paragraph(
        MARGIN,
        top + 52.0,
        CELLS - MARGIN - 66.0,
        TextStyle::new(15.0).fill(FAINT),
        words::transport_description(transport, language),
    );
    let lanes = [
        words::sent(language),
        words::received(language),
        words::decoded(language),
    ];
    let count = if transport == Transport::Framed { 3 } else { 2 };
    for (lane, name) in lanes.into_iter().take(count).enumerate() {
        let y = lane_top(top, lane) + 21.0;
        canvas.text(
            CELLS - 8.0,
            y,
            TextStyle::new(15.0).fill(FAINT).anchor(Anchor::End),
            name,
        );
    }
    for (column, scenario) in Scenario::ALL.into_iter().enumerate() {
        if let Some(trial) = sticky.trial(transport, scenario) {
            cell(canvas, trial, left_of(column), top, language);
        }
    }
    if let Some(overrun) = sticky.overrun(transport) {
        overrun_cell(canvas, overrun, left_of(Scenario::ALL.len()), top, language);
    }
}

fn lane_top(row_top: f64, lane: usize) -> f64 {
    row_top + CAPTION + lane as f64 * (LANE + LANE_GAP)
}

fn background(canvas: &mut Canvas, left: f64, top: f64, height: f64) {
    canvas.frame(Rect(left, top + 6.0, CELL, height - 12.0), PAPER, RULE, 8.0);
}

/// Draws a caption at the left of a cell, and a colored verdict at its right.
fn caption(
    canvas: &mut Canvas,
    left: f64,
    top: f64,
    counts: &str,
    verdict: &str,
    color: &'static str,
) {
    canvas.text(left + PADDING, top + 30.0, TextStyle::new(16.0), counts);
    let style = TextStyle::new(16.0).bold().fill(color).anchor(Anchor::End);
    canvas.text(left + CELL - PADDING, top + 30.0, style, verdict);
}

fn cell(canvas: &mut Canvas, trial: &Trial, left: f64, top: f64, language: Language) {
    background(canvas, left, top, height_of(trial.transport));
    let color = match trial {
        _ if trial.whole_messages() == trial.sent.len() => GOOD,
        _ if trial.lost_bytes() > 0 => BAD,
        _ => WARNING,
    };
    caption(
        canvas,
        left,
        top,
        &words::counts(trial, language),
        &words::verdict(trial, language),
        color,
    );
    let scale = Scale::of(trial, left + PADDING);
    let sends: Vec<Vec<Part>> = (1..)
        .zip(&trial.sent)
        .map(|(number, message)| wire(trial, number, message.payload.len()))
        .collect();
    groups(canvas, trial, &scale, lane_top(top, 0), &sends, RULE);
    let receives: Vec<Vec<Part>> = trial
        .receives
        .iter()
        .map(|receive| receive.parts.clone())
        .collect();
    let ends = groups(canvas, trial, &scale, lane_top(top, 1), &receives, INK);
    lost(
        canvas,
        trial,
        &scale,
        lane_top(top, 1),
        ends.last().map_or(scale.left, |(_, end)| *end),
    );
    if let Some(decoded) = &trial.decoded {
        let whole = |(message, bytes): (usize, &usize)| vec![payload(message, *bytes)];
        let decoded: Vec<Vec<Part>> = (1..).zip(decoded).map(whole).collect();
        groups(canvas, trial, &scale, lane_top(top, 2), &decoded, GOOD);
    }
    if trial.scenario == Scenario::SmallSends {
        times(canvas, trial, &ends, top, language);
    }
}

/// Draws the times of the first and the last receive below them.
fn times(canvas: &mut Canvas, trial: &Trial, ends: &[(f64, f64)], top: f64, language: Language) {
    let y = top + height_of(trial.transport) - 15.0;
    let style = TextStyle::new(14.0).fill(FAINT);
    let (Some(first), Some(last)) = (trial.receives.first(), trial.receives.last()) else {
        return;
    };
    let (Some((start, _)), Some((_, end))) = (ends.first(), ends.last()) else {
        return;
    };
    canvas.text(*start, y, style, &words::after(first.at, language));
    if trial.receives.len() > 1 {
        canvas.text(*end, y, style.anchor(Anchor::End), &time(last.at, language));
    }
}

fn payload(message: usize, bytes: usize) -> Part {
    Part {
        message,
        kind: PartKind::Payload,
        offset: 0,
        bytes,
        whole_bytes: bytes,
    }
}

/// The parts of one send.
fn wire(trial: &Trial, message: usize, bytes: usize) -> Vec<Part> {
    let length = trial.decoded.is_some().then_some(Part {
        kind: PartKind::Length,
        ..payload(message, 4)
    });
    length
        .into_iter()
        .chain([payload(message, bytes)])
        .collect()
}

/// The scale of bytes to widths, with which the fullest lane fits its cell.
struct Scale {
    left: f64,
    per_byte: f64,
}

impl Scale {
    const GAP: f64 = 7.0;
    /// The width of a length prefix, which stays visible beside thousands of bytes.
    const LENGTH_MIN: f64 = 5.0;

    fn of(trial: &Trial, left: f64) -> Self {
        let boxes = trial.sent.len().max(trial.receives.len()) as f64;
        let lengths = if trial.decoded.is_some() {
            trial.sent.len() as f64 * Self::LENGTH_MIN
        } else {
            0.0
        };
        let bytes = trial.sent_bytes() as f64;
        let room = CELL - 2.0 * PADDING - boxes * Self::GAP - lengths;
        Self {
            left,
            per_byte: (room / bytes).max(0.0),
        }
    }

    fn width(&self, part: &Part) -> f64 {
        match part.kind {
            PartKind::Length => Self::LENGTH_MIN * part.bytes as f64 / part.whole_bytes as f64,
            PartKind::Payload => part.bytes as f64 * self.per_byte,
        }
    }
}

/// Draws boxes of parts side by side. Returns the left and right edge of each.
fn groups(
    canvas: &mut Canvas,
    trial: &Trial,
    scale: &Scale,
    top: f64,
    groups: &[Vec<Part>],
    edge: &str,
) -> Vec<(f64, f64)> {
    let mut x = scale.left;
    let mut ends = Vec::new();
    for group in groups {
        let width: f64 = group.iter().map(|part| scale.width(part)).sum();
        let mut at = x + 2.0;
        for part in group {
            draw_part(canvas, trial, scale, part, at, top);
            at += scale.width(part);
        }
        canvas.frame(Rect(x + 1.0, top, width + 2.0, LANE), "none", edge, 4.0);
        ends.push((x, x + width + 4.0));
        x += width + Scale::GAP;
    }
    ends
}

fn draw_part(canvas: &mut Canvas, trial: &Trial, scale: &Scale, part: &Part, x: f64, top: f64) {
    let width = scale.width(part);
    let rect = Rect(x, top + 2.0, width, LANE - 4.0);
    if part.kind == PartKind::Length {
        canvas.fill(rect, INK);
        return;
    }
    let color = COLORS
        .get((part.message - 1) % COLORS.len())
        .copied()
        .unwrap_or(SHADE);
    canvas.fill(rect, color);
    let number = part.message.to_string();
    let text = words::own_text(trial, part)
        .filter(|text| ems(text) * LABEL < width - 4.0)
        .unwrap_or(number);
    if width >= 10.0 {
        let style = TextStyle::new(LABEL).bold().anchor(Anchor::Middle);
        canvas.text(x + width / 2.0, top + 21.0, style, &text);
    }
}

/// Draws the bytes that never arrived, after the last receive.
fn lost(canvas: &mut Canvas, trial: &Trial, scale: &Scale, top: f64, end: f64) {
    if trial.lost_bytes() > 0 {
        let width = (trial.lost_bytes() as f64 * scale.per_byte)
            .min(scale.left + CELL - 2.0 * PADDING - end - 4.0);
        canvas.frame(
            Rect(end + 4.0, top + 1.0, width, LANE - 2.0),
            "#fbe3e3",
            BAD,
            0.0,
        );
    }
}

fn overrun_cell(canvas: &mut Canvas, overrun: &Overrun, left: f64, top: f64, language: Language) {
    background(canvas, left, top, height_of(overrun.transport));
    let is_whole = overrun.arrived == overrun.sent;
    let color = if is_whole { GOOD } else { BAD };
    let style = TextStyle::new(16.0).bold().fill(color);
    canvas.text(
        left + PADDING,
        top + 30.0,
        style,
        &words::overrun_arrived(overrun, language),
    );
    let room = CELL - 2.0 * PADDING;
    let share = overrun.arrived as f64 / overrun.sent.max(1) as f64;
    canvas.fill(
        Rect(left + PADDING, lane_top(top, 0), room, LANE),
        COLORS[0],
    );
    canvas.frame(
        Rect(left + PADDING, lane_top(top, 1), room, LANE),
        if is_whole { PAPER } else { "#fbe3e3" },
        color,
        0.0,
    );
    let arrived = Rect(
        left + PADDING + 1.0,
        lane_top(top, 1) + 1.0,
        (room * share - 2.0).max(3.0),
        LANE - 2.0,
    );
    canvas.fill(arrived, COLORS[0]);
    for (lane, count) in [overrun.sent, overrun.arrived].into_iter().enumerate() {
        let style = TextStyle::new(16.0).bold().anchor(Anchor::Middle);
        canvas.text(
            left + CELL / 2.0,
            lane_top(top, lane) + 21.0,
            style,
            &count.to_string(),
        );
    }
    let y = top + height_of(overrun.transport) - 15.0;
    canvas.text(
        left + PADDING,
        y,
        TextStyle::new(14.0).fill(FAINT),
        &words::overrun_took(overrun, language),
    );
}
