//! The picture: ways below each other, loads side by side, messages as coloured boxes inside of
//! what each receive returned.

use super::{Kind, Load, Overrun, Part, Sticky, Trial, Way};
use crate::{
    Language,
    svg::{
        Anchor, Area, BAD, Board, COLOURS, FAINT, Face, GOOD, INK, ODD, PAPER, RULE, SHADE, ems,
        line_count,
    },
    words::{sticky as words, time},
};

const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 36.0;
/// Where the first column of cells begins.
const CELLS: f64 = 306.0;
const CELL: f64 = 306.0;
const CELL_GAP: f64 = 12.0;
const HEAD_TOP: f64 = 132.0;
const ROWS_TOP: f64 = 150.0;
const LANE: f64 = 30.0;
const LANE_GAP: f64 = 12.0;
/// Above the lanes of a cell: its counts and its verdict.
const CAPTION: f64 = 42.0;
/// Below them: when each receive returned.
const TIMES: f64 = 24.0;
const ROW_GAP: f64 = 12.0;
const PADDING: f64 = 12.0;
const SENTENCE: Face = Face::new(20.0);

pub(super) fn draw(sticky: &Sticky, language: Language) -> String {
    let rows: f64 = Way::ALL
        .into_iter()
        .map(|way| height_of(way) + ROW_GAP)
        .sum();
    let seen = words::seen(sticky, language);
    let text_width = WIDTH - 2.0 * MARGIN;
    let lines: usize = seen
        .iter()
        .map(|line| line_count(line, text_width, 20.0))
        .sum();
    let height = ROWS_TOP + rows + 32.0 + lines as f64 * 28.0 + 20.0;
    let mut board = Board::new(WIDTH, height, language, words::title(language));
    legend(&mut board, language);
    for (column, load) in Load::ALL.into_iter().enumerate() {
        head(&mut board, column, words::load(load, language));
    }
    head(&mut board, Load::ALL.len(), words::overrun(language));
    let mut top = ROWS_TOP;
    for way in Way::ALL {
        row(&mut board, sticky, way, top, language);
        top += height_of(way) + ROW_GAP;
    }
    let mut y = top + 28.0;
    for sentence in &seen {
        y = board.paragraph(MARGIN, y, text_width, SENTENCE, sentence);
    }
    board.finish()
}

fn height_of(way: Way) -> f64 {
    let lanes = if way == Way::Framed { 3.0 } else { 2.0 };
    CAPTION + lanes * (LANE + LANE_GAP) + TIMES
}

fn left_of(column: usize) -> f64 {
    CELLS + column as f64 * (CELL + CELL_GAP)
}

fn head(board: &mut Board, column: usize, text: &str) {
    board.text(
        left_of(column) + PADDING,
        HEAD_TOP,
        Face::new(18.0).bold(),
        text,
    );
}

fn legend(board: &mut Board, language: Language) {
    let [message, length, receive, lost] = words::key(language);
    let face = Face::new(16.0).fill(FAINT);
    let mut x = MARGIN;
    let top = 74.0;
    let mut entry = |board: &mut Board, draw: &dyn Fn(&mut Board, f64), text: &str| {
        draw(board, x);
        board.text(x + 46.0, top + 18.0, face, text);
        x += 46.0 + ems(text) * 16.0 + 34.0;
    };
    let number = Face::new(16.0).bold().anchor(Anchor::Middle);
    entry(
        board,
        &|board, x| {
            board.fill(Area(x, top, 36.0, 24.0), COLOURS[0]);
            board.text(x + 18.0, top + 18.0, number, "1");
        },
        &message,
    );
    entry(
        board,
        &|board, x| board.fill(Area(x + 10.0, top, 14.0, 24.0), INK),
        &length,
    );
    entry(
        board,
        &|board, x| board.frame(Area(x, top - 2.0, 36.0, 28.0), PAPER, INK, 4.0),
        &receive,
    );
    entry(
        board,
        &|board, x| board.frame(Area(x, top, 36.0, 24.0), "#fbe3e3", BAD, 0.0),
        &lost,
    );
}

fn row(board: &mut Board, sticky: &Sticky, way: Way, top: f64, language: Language) {
    let height = height_of(way);
    board.fill(
        Area(MARGIN - 12.0, top, WIDTH - 2.0 * MARGIN + 24.0, height),
        SHADE,
    );
    board.text(
        MARGIN,
        top + 28.0,
        Face::new(20.0).bold(),
        words::way(way, language),
    );
    board.paragraph(
        MARGIN,
        top + 52.0,
        CELLS - MARGIN - 66.0,
        Face::new(15.0).fill(FAINT),
        words::way_is(way, language),
    );
    let lanes = [
        words::sent(language),
        words::received(language),
        words::decoded(language),
    ];
    let count = if way == Way::Framed { 3 } else { 2 };
    for (lane, name) in lanes.into_iter().take(count).enumerate() {
        let y = lane_top(top, lane) + 21.0;
        board.text(
            CELLS - 8.0,
            y,
            Face::new(15.0).fill(FAINT).anchor(Anchor::End),
            name,
        );
    }
    for (column, load) in Load::ALL.into_iter().enumerate() {
        if let Some(trial) = sticky.trial(way, load) {
            cell(board, trial, left_of(column), top, language);
        }
    }
    if let Some(overrun) = sticky.overrun(way) {
        overrun_cell(board, overrun, left_of(Load::ALL.len()), top, language);
    }
}

fn lane_top(row_top: f64, lane: usize) -> f64 {
    row_top + CAPTION + lane as f64 * (LANE + LANE_GAP)
}

fn background(board: &mut Board, left: f64, top: f64, height: f64) {
    board.frame(Area(left, top + 6.0, CELL, height - 12.0), PAPER, RULE, 8.0);
}

/// A caption at the left of a cell, and a verdict in its colour at the right.
fn caption(
    board: &mut Board,
    left: f64,
    top: f64,
    counts: &str,
    verdict: &str,
    colour: &'static str,
) {
    board.text(left + PADDING, top + 30.0, Face::new(16.0), counts);
    let face = Face::new(16.0).bold().fill(colour).anchor(Anchor::End);
    board.text(left + CELL - PADDING, top + 30.0, face, verdict);
}

fn cell(board: &mut Board, trial: &Trial, left: f64, top: f64, language: Language) {
    background(board, left, top, height_of(trial.way));
    let colour = match trial {
        _ if trial.whole() == trial.sent.len() => GOOD,
        _ if trial.lost() > 0 => BAD,
        _ => ODD,
    };
    caption(
        board,
        left,
        top,
        &words::counts(trial, language),
        &words::verdict(trial, language),
        colour,
    );
    let scale = Scale::of(trial, left + PADDING);
    let sends: Vec<Vec<Part>> = (1..)
        .zip(&trial.sent)
        .map(|(message, bytes)| wire(trial, message, *bytes))
        .collect();
    groups(board, &scale, lane_top(top, 0), &sends, RULE);
    let receives: Vec<Vec<Part>> = trial
        .receives
        .iter()
        .map(|receive| receive.parts.clone())
        .collect();
    let ends = groups(board, &scale, lane_top(top, 1), &receives, INK);
    lost(
        board,
        trial,
        &scale,
        lane_top(top, 1),
        ends.last().map_or(scale.left, |(_, end)| *end),
    );
    if let Some(decoded) = &trial.decoded {
        let whole = |(message, bytes): (usize, &usize)| vec![payload(message, *bytes)];
        let decoded: Vec<Vec<Part>> = (1..).zip(decoded).map(whole).collect();
        groups(board, &scale, lane_top(top, 2), &decoded, GOOD);
    }
    if trial.load == Load::Small {
        times(board, trial, &ends, top, language);
    }
}

/// When the first and the last receive of a trial returned, below them.
fn times(board: &mut Board, trial: &Trial, ends: &[(f64, f64)], top: f64, language: Language) {
    let y = top + height_of(trial.way) - 15.0;
    let face = Face::new(14.0).fill(FAINT);
    let (Some(first), Some(last)) = (trial.receives.first(), trial.receives.last()) else {
        return;
    };
    let (Some((start, _)), Some((_, end))) = (ends.first(), ends.last()) else {
        return;
    };
    board.text(*start, y, face, &words::after(first.at, language));
    if trial.receives.len() > 1 {
        board.text(*end, y, face.anchor(Anchor::End), &time(last.at, language));
    }
}

fn payload(message: usize, bytes: usize) -> Part {
    Part {
        message,
        kind: Kind::Payload,
        from: 0,
        bytes,
        of: bytes,
    }
}

/// What one send of a trial held.
fn wire(trial: &Trial, message: usize, bytes: usize) -> Vec<Part> {
    let length = trial.decoded.is_some().then_some(Part {
        kind: Kind::Length,
        ..payload(message, 4)
    });
    length
        .into_iter()
        .chain([payload(message, bytes)])
        .collect()
}

/// How bytes become a width, so that the fullest lane fits its cell.
struct Scale {
    left: f64,
    per_byte: f64,
}

impl Scale {
    const GAP: f64 = 7.0;
    /// A length prefix stays visible beside thousands of bytes.
    const LENGTH_MIN: f64 = 5.0;

    fn of(trial: &Trial, left: f64) -> Self {
        let boxes = trial.sent.len().max(trial.receives.len()) as f64;
        let lengths = if trial.decoded.is_some() {
            trial.sent.len() as f64 * Self::LENGTH_MIN
        } else {
            0.0
        };
        let bytes = trial.sent.iter().sum::<usize>() as f64;
        let room = CELL - 2.0 * PADDING - boxes * Self::GAP - lengths;
        Self {
            left,
            per_byte: (room / bytes).max(0.0),
        }
    }

    fn width(&self, part: &Part) -> f64 {
        match part.kind {
            Kind::Length => Self::LENGTH_MIN * part.bytes as f64 / part.of as f64,
            Kind::Payload => part.bytes as f64 * self.per_byte,
        }
    }
}

/// Draws boxes of parts side by side; where each begins and ends.
fn groups(
    board: &mut Board,
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
            draw_part(board, scale, part, at, top);
            at += scale.width(part);
        }
        board.frame(Area(x + 1.0, top, width + 2.0, LANE), "none", edge, 4.0);
        ends.push((x, x + width + 4.0));
        x += width + Scale::GAP;
    }
    ends
}

fn draw_part(board: &mut Board, scale: &Scale, part: &Part, x: f64, top: f64) {
    let width = scale.width(part);
    let area = Area(x, top + 2.0, width, LANE - 4.0);
    if part.kind == Kind::Length {
        board.fill(area, INK);
        return;
    }
    let colour = COLOURS
        .get((part.message - 1) % COLOURS.len())
        .copied()
        .unwrap_or(SHADE);
    board.fill(area, colour);
    if width >= 10.0 {
        let face = Face::new(16.0).bold().anchor(Anchor::Middle);
        board.text(x + width / 2.0, top + 21.0, face, &part.message.to_string());
    }
}

/// What was sent and never came, behind the last receive.
fn lost(board: &mut Board, trial: &Trial, scale: &Scale, top: f64, end: f64) {
    if trial.lost() > 0 {
        let width = (trial.lost() as f64 * scale.per_byte)
            .min(scale.left + CELL - 2.0 * PADDING - end - 4.0);
        board.frame(
            Area(end + 4.0, top + 1.0, width, LANE - 2.0),
            "#fbe3e3",
            BAD,
            0.0,
        );
    }
}

fn overrun_cell(board: &mut Board, overrun: &Overrun, left: f64, top: f64, language: Language) {
    background(board, left, top, height_of(overrun.way));
    let is_whole = overrun.arrived == overrun.sent;
    let colour = if is_whole { GOOD } else { BAD };
    let face = Face::new(16.0).bold().fill(colour);
    board.text(
        left + PADDING,
        top + 30.0,
        face,
        &words::overrun_arrived(overrun, language),
    );
    let room = CELL - 2.0 * PADDING;
    let share = overrun.arrived as f64 / overrun.sent.max(1) as f64;
    board.fill(
        Area(left + PADDING, lane_top(top, 0), room, LANE),
        COLOURS[0],
    );
    board.frame(
        Area(left + PADDING, lane_top(top, 1), room, LANE),
        if is_whole { PAPER } else { "#fbe3e3" },
        colour,
        0.0,
    );
    let arrived = Area(
        left + PADDING + 1.0,
        lane_top(top, 1) + 1.0,
        (room * share - 2.0).max(3.0),
        LANE - 2.0,
    );
    board.fill(arrived, COLOURS[0]);
    for (lane, count) in [overrun.sent, overrun.arrived].into_iter().enumerate() {
        let face = Face::new(16.0).bold().anchor(Anchor::Middle);
        board.text(
            left + CELL / 2.0,
            lane_top(top, lane) + 21.0,
            face,
            &count.to_string(),
        );
    }
    let y = top + height_of(overrun.way) - 15.0;
    board.text(
        left + PADDING,
        y,
        Face::new(14.0).fill(FAINT),
        &words::overrun_took(overrun, language),
    );
}
