//! The picture: the ladder of one connection at the left; calls, ports and callers at the right.

use std::time::Duration;

use super::{Blocked, Lifecycle, Step, TcpState};
use crate::{
    Language,
    svg::{
        Anchor, Area, BAD, Board, COLOURS, FAINT, Face, GOOD, INK, ODD, PAPER, RULE, SHADE,
        line_count,
    },
    words::{lifecycle as words, time},
};

const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 36.0;
const TOP: f64 = 88.0;
/// The ladder: action, client's state, segments, server's state, action.
const CLIENT: f64 = 226.0;
const SERVER: f64 = 566.0;
const STATE: f64 = 142.0;
const ACTION: f64 = 184.0;
/// The panels at the right.
const PANEL: f64 = 924.0;
const PANEL_WIDTH: f64 = WIDTH - MARGIN - PANEL;
const PANEL_GAP: f64 = 14.0;
const BARS: f64 = PANEL + 246.0;
const BAR_WIDTH: f64 = 200.0;
const HEAD: Face = Face::new(20.0).bold();
const BODY: Face = Face::new(16.0);
const SMALL: Face = Face::new(15.0).fill(FAINT);

pub(super) fn draw(lifecycle: &Lifecycle, language: Language) -> String {
    let seen = words::seen(lifecycle, language);
    let notes = words::notes(lifecycle, language);
    let text_width = WIDTH - 2.0 * MARGIN;
    let lines: usize = seen
        .iter()
        .chain(&notes)
        .map(|line| line_count(line, text_width, 20.0))
        .sum();
    let rows: f64 = lifecycle
        .steps
        .iter()
        .map(|step| height_of(step, language))
        .sum();
    let panels = calls_height(lifecycle)
        + rebinds_height(lifecycle)
        + backlog_height(lifecycle)
        + 2.0 * PANEL_GAP;
    let content = (rows + 44.0).max(panels);
    let mut board = Board::new(
        WIDTH,
        TOP + content + 28.0 + lines as f64 * 28.0 + 18.0,
        language,
        words::title(language),
    );
    ladder(&mut board, lifecycle, language);
    let y = calls(&mut board, lifecycle, TOP, language);
    let y = rebinds(&mut board, lifecycle, y + PANEL_GAP, language);
    backlog(&mut board, lifecycle, y + PANEL_GAP, language);
    let mut y = TOP + content + 34.0;
    for sentence in seen.iter().chain(&notes) {
        y = board.paragraph(MARGIN, y, text_width, Face::new(20.0), sentence);
    }
    board.finish()
}

fn height_of(step: &Step, language: Language) -> f64 {
    74.0 + words::segments(step.action, language)
        .len()
        .saturating_sub(1) as f64
        * 26.0
}

fn ladder(board: &mut Board, lifecycle: &Lifecycle, language: Language) {
    let centre = HEAD.anchor(Anchor::Middle);
    board.text(
        CLIENT + STATE / 2.0,
        TOP + 20.0,
        centre,
        words::client(language),
    );
    board.text(
        SERVER + STATE / 2.0,
        TOP + 20.0,
        centre,
        words::server(language),
    );
    let mut y = TOP + 36.0;
    for step in &lifecycle.steps {
        let height = height_of(step, language);
        rung(board, lifecycle, step, y, height, language);
        y += height;
    }
}

fn rung(
    board: &mut Board,
    lifecycle: &Lifecycle,
    step: &Step,
    top: f64,
    height: f64,
    language: Language,
) {
    let deed = words::deed(step.action, language);
    board.paragraph(MARGIN, top + 22.0, ACTION, BODY, deed.client);
    board.paragraph(SERVER + STATE + 14.0, top + 22.0, ACTION, BODY, deed.server);
    let area = |x| Area(x, top, STATE, height - 10.0);
    let mut state = |x: f64, state: Option<TcpState>| {
        let name = words::state(state, lifecycle, language);
        let (fill, face) = match state {
            Some(state) => (colour(state), BODY.bold()),
            None => (PAPER, SMALL),
        };
        board.frame(area(x), fill, RULE, 6.0);
        board.text(
            x + STATE / 2.0,
            top + (height - 10.0) / 2.0 + 6.0,
            face.anchor(Anchor::Middle),
            &name,
        );
    };
    state(CLIENT, step.client);
    state(SERVER, step.server);
    for (index, segment) in words::segments(step.action, language).iter().enumerate() {
        let y = top + 24.0 + index as f64 * 26.0;
        let (left, right) = (CLIENT + STATE + 8.0, SERVER - 8.0);
        let (from, to) = if segment.from_client {
            (left, right)
        } else {
            (right, left)
        };
        let to = if segment.arrives {
            to
        } else {
            from + (to - from) * 0.55
        };
        let stroke = if segment.arrives { INK } else { BAD };
        board.arrow((from, y), (to, y + 8.0), stroke);
        if !segment.arrives {
            cross(board, to + (to - from).signum() * 12.0, y + 8.0);
        }
        let face = SMALL.fill(stroke).anchor(Anchor::Middle);
        board.text((left + right) / 2.0, y - 4.0, face, segment.name);
    }
}

fn cross(board: &mut Board, x: f64, y: f64) {
    board.line((x - 6.0, y - 6.0), (x + 6.0, y + 6.0), BAD, 3.0);
    board.line((x - 6.0, y + 6.0), (x + 6.0, y - 6.0), BAD, 3.0);
}

/// One colour for each time of life.
fn colour(state: TcpState) -> &'static str {
    let [blue, orange, green, yellow, pink, red] = COLOURS;
    match state {
        TcpState::Listen => SHADE,
        TcpState::SynSent | TcpState::SynReceived => yellow,
        TcpState::Established => green,
        TcpState::FinWait1 | TcpState::FinWait2 => blue,
        TcpState::CloseWait | TcpState::LastAck => pink,
        TcpState::TimeWait => orange,
        TcpState::Closing | TcpState::Closed => red,
    }
}

fn calls_height(lifecycle: &Lifecycle) -> f64 {
    78.0 + lifecycle.calls.len() as f64 * 44.0
}

fn rebinds_height(lifecycle: &Lifecycle) -> f64 {
    46.0 + lifecycle.rebinds.len() as f64 * 34.0
}

fn backlog_height(lifecycle: &Lifecycle) -> f64 {
    56.0 + lifecycle.backlog.callers.len() as f64 * 34.0
}

fn panel(board: &mut Board, top: f64, height: f64, head: &str) {
    board.frame(Area(PANEL, top, PANEL_WIDTH, height), SHADE, RULE, 8.0);
    board.text(PANEL + 16.0, top + 30.0, HEAD, head);
}

/// A bar from zero, and a mark where something else happened.
fn bar(
    board: &mut Board,
    y: f64,
    took: Duration,
    of: Duration,
    mark: Option<Duration>,
    colour: &str,
) {
    let x = |duration: Duration| duration.as_secs_f64() / of.as_secs_f64().max(1e-9) * BAR_WIDTH;
    board.fill(Area(BARS, y, BAR_WIDTH, 18.0), PAPER);
    board.fill(Area(BARS, y, x(took).max(3.0), 18.0), colour);
    if let Some(mark) = mark {
        board.line(
            (BARS + x(mark), y - 4.0),
            (BARS + x(mark), y + 22.0),
            BAD,
            3.0,
        );
    }
}

/// A mark that a bar is longer than it is drawn.
fn cut(board: &mut Board, x: f64, y: f64) {
    for x in [x, x + 10.0] {
        board.line((x, y + 20.0), (x + 8.0, y - 2.0), PAPER, 4.0);
    }
}

fn calls(board: &mut Board, lifecycle: &Lifecycle, top: f64, language: Language) -> f64 {
    let height = calls_height(lifecycle);
    panel(board, top, height, words::calls_head(language));
    // A bar of a second would leave nothing of the others: it is cut, and says so by its number.
    let of = Duration::from_millis(240);
    let mut y = top + 48.0;
    for Blocked {
        call,
        took,
        other_side,
    } in &lifecycle.calls
    {
        board.text(PANEL + 16.0, y + 15.0, BODY, words::call(*call, language));
        let colour = if other_side.is_some() {
            COLOURS[1]
        } else {
            COLOURS[2]
        };
        bar(board, y, (*took).min(of), of, *other_side, colour);
        if *took > of {
            cut(board, BARS + BAR_WIDTH - 30.0, y);
        }
        board.text(
            BARS + BAR_WIDTH + 12.0,
            y + 15.0,
            BODY.bold(),
            &time(*took, language),
        );
        board.text(BARS, y + 35.0, SMALL, words::until(*call, language));
        y += 44.0;
    }
    board.line((PANEL + 24.0, y + 4.0), (PANEL + 24.0, y + 22.0), BAD, 3.0);
    board.text(
        PANEL + 36.0,
        y + 19.0,
        SMALL,
        words::other_side_acts(language),
    );
    top + height
}

fn rebinds(board: &mut Board, lifecycle: &Lifecycle, top: f64, language: Language) -> f64 {
    let height = rebinds_height(lifecycle);
    panel(board, top, height, words::rebinds_head(language));
    let mut y = top + 62.0;
    for (rebind, result) in &lifecycle.rebinds {
        board.text(PANEL + 16.0, y, BODY, words::rebind(*rebind, language));
        let colour = if result.is_ok() { GOOD } else { BAD };
        let face = BODY.bold().fill(colour).anchor(Anchor::End);
        board.text(
            PANEL + PANEL_WIDTH - 16.0,
            y,
            face,
            &words::rebound(*result, language),
        );
        y += 34.0;
    }
    top + height
}

fn backlog(board: &mut Board, lifecycle: &Lifecycle, top: f64, language: Language) {
    let backlog = &lifecycle.backlog;
    let height = backlog_height(lifecycle);
    panel(board, top, height, &words::backlog_head(backlog, language));
    let mut y = top + 48.0;
    for (number, caller) in (1..).zip(&backlog.callers) {
        board.text(
            PANEL + 16.0,
            y + 15.0,
            BODY,
            &words::caller_name(number, language),
        );
        let x = PANEL + 110.0;
        let width = 170.0;
        let at = caller.connected;
        let share =
            at.unwrap_or(backlog.waited).as_secs_f64() / backlog.waited.as_secs_f64().max(1e-9);
        board.fill(Area(x, y, width, 18.0), PAPER);
        let colour = match at {
            None => BAD,
            Some(at) if at < backlog.accepted => COLOURS[2],
            Some(_) => ODD,
        };
        board.fill(Area(x, y, (width * share).max(3.0), 18.0), colour);
        let mark =
            x + width * backlog.accepted.as_secs_f64() / backlog.waited.as_secs_f64().max(1e-9);
        board.line((mark, y - 8.0), (mark, y + 26.0), INK, 2.0);
        board.text(
            x + width + 12.0,
            y + 15.0,
            BODY,
            &words::connected(backlog, at, language),
        );
        let face = SMALL.anchor(Anchor::End);
        board.text(
            PANEL + PANEL_WIDTH - 16.0,
            y + 15.0,
            face,
            &words::state(caller.server.or(caller.client), lifecycle, language),
        );
        y += 34.0;
    }
}
