//! The picture: the ladder of one connection; panels of calls, ports and callers.

use std::time::Duration;

use super::{CallTiming, Lifecycle, Step, TcpState};
use crate::{
    Language,
    svg::{
        Anchor, BAD, COLORS, Canvas, FAINT, GOOD, INK, PAPER, RULE, Rect, SHADE, TextStyle,
        WARNING, line_count,
    },
    words::{lifecycle as words, time},
};

const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 36.0;
const TOP: f64 = 88.0;
/// The ladder's columns: action, client's state, segments, server's state, action.
const CLIENT: f64 = 226.0;
const SERVER: f64 = 566.0;
const STATE: f64 = 142.0;
const ACTION: f64 = 184.0;
/// The left edge of the panels.
const PANEL: f64 = 924.0;
const PANEL_WIDTH: f64 = WIDTH - MARGIN - PANEL;
const PANEL_GAP: f64 = 14.0;
const BARS: f64 = PANEL + 246.0;
const BAR_WIDTH: f64 = 200.0;
const HEAD: TextStyle = TextStyle::new(20.0).bold();
const BODY: TextStyle = TextStyle::new(16.0);
const SMALL: TextStyle = TextStyle::new(15.0).fill(FAINT);

pub(super) fn draw(lifecycle: &Lifecycle, language: Language) -> String {
    let summary = words::summary(lifecycle, language);
    let notes = words::notes(lifecycle, language);
    let text_width = WIDTH - 2.0 * MARGIN;
    let lines: usize = summary
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
    let mut canvas = Canvas::new(
        WIDTH,
        TOP + content + 28.0 + lines as f64 * 28.0 + 18.0,
        language,
        words::title(language),
    );
    ladder(&mut canvas, lifecycle, language);
    let y = calls(&mut canvas, lifecycle, TOP, language);
    let y = rebinds(&mut canvas, lifecycle, y + PANEL_GAP, language);
    backlog(&mut canvas, lifecycle, y + PANEL_GAP, language);
    let mut y = TOP + content + 34.0;
    for sentence in summary.iter().chain(&notes) {
        y = canvas.paragraph(MARGIN, y, text_width, TextStyle::new(20.0), sentence);
    }
    canvas.finish()
}

fn height_of(step: &Step, language: Language) -> f64 {
    74.0 + words::segments(step.action, language)
        .len()
        .saturating_sub(1) as f64
        * 26.0
}

fn ladder(canvas: &mut Canvas, lifecycle: &Lifecycle, language: Language) {
    let center = HEAD.anchor(Anchor::Middle);
    canvas.text(
        CLIENT + STATE / 2.0,
        TOP + 20.0,
        center,
        words::client(language),
    );
    canvas.text(
        SERVER + STATE / 2.0,
        TOP + 20.0,
        center,
        words::server(language),
    );
    let mut y = TOP + 36.0;
    for step in &lifecycle.steps {
        let height = height_of(step, language);
        rung(canvas, lifecycle, step, y, height, language);
        y += height;
    }
}

fn rung(
    canvas: &mut Canvas,
    lifecycle: &Lifecycle,
    step: &Step,
    top: f64,
    height: f64,
    language: Language,
) {
    let text = words::action_text(step.action, language);
    canvas.paragraph(MARGIN, top + 22.0, ACTION, BODY, text.client);
    canvas.paragraph(SERVER + STATE + 14.0, top + 22.0, ACTION, BODY, text.server);
    let rect = |x| Rect(x, top, STATE, height - 10.0);
    let mut state = |x: f64, state: Option<TcpState>| {
        let name = words::state(state, lifecycle, language);
        let (fill, style) = match state {
            Some(state) => (color(state), BODY.bold()),
            None => (PAPER, SMALL),
        };
        canvas.frame(rect(x), fill, RULE, 6.0);
        canvas.text(
            x + STATE / 2.0,
            top + (height - 10.0) / 2.0 + 6.0,
            style.anchor(Anchor::Middle),
            &name,
        );
    };
    state(CLIENT, step.client);
    state(SERVER, step.server);
    for (index, segment) in words::segments(step.action, language).iter().enumerate() {
        let y = top + 24.0 + index as f64 * 26.0;
        let left = CLIENT + STATE + 8.0;
        let right = SERVER - 8.0;
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
        canvas.arrow((from, y), (to, y + 8.0), stroke);
        if !segment.arrives {
            cross(canvas, to + (to - from).signum() * 12.0, y + 8.0);
        }
        let style = SMALL.fill(stroke).anchor(Anchor::Middle);
        canvas.text((left + right) / 2.0, y - 4.0, style, segment.name);
    }
}

fn cross(canvas: &mut Canvas, x: f64, y: f64) {
    canvas.line((x - 6.0, y - 6.0), (x + 6.0, y + 6.0), BAD, 3.0);
    canvas.line((x - 6.0, y + 6.0), (x + 6.0, y - 6.0), BAD, 3.0);
}

/// The color of a state's phase of life.
fn color(state: TcpState) -> &'static str {
    let [blue, orange, green, yellow, pink, red] = COLORS;
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

fn panel(canvas: &mut Canvas, top: f64, height: f64, head: &str) {
    canvas.frame(Rect(PANEL, top, PANEL_WIDTH, height), SHADE, RULE, 8.0);
    canvas.text(PANEL + 16.0, top + 30.0, HEAD, head);
}

/// Draws a bar from zero, with a mark for another event.
fn bar(
    canvas: &mut Canvas,
    y: f64,
    took: Duration,
    of: Duration,
    mark: Option<Duration>,
    color: &str,
) {
    let x = |duration: Duration| duration.as_secs_f64() / of.as_secs_f64().max(1e-9) * BAR_WIDTH;
    canvas.fill(Rect(BARS, y, BAR_WIDTH, 18.0), PAPER);
    canvas.fill(Rect(BARS, y, x(took).max(3.0), 18.0), color);
    if let Some(mark) = mark {
        canvas.line(
            (BARS + x(mark), y - 4.0),
            (BARS + x(mark), y + 22.0),
            BAD,
            3.0,
        );
    }
}

/// Draws a mark for a bar that is longer than drawn.
fn cut(canvas: &mut Canvas, x: f64, y: f64) {
    for x in [x, x + 10.0] {
        canvas.line((x, y + 20.0), (x + 8.0, y - 2.0), PAPER, 4.0);
    }
}

fn calls(canvas: &mut Canvas, lifecycle: &Lifecycle, top: f64, language: Language) -> f64 {
    let height = calls_height(lifecycle);
    panel(canvas, top, height, words::calls_heading(language));
    // The scale of a bar of one second would hide the others, so it is cut and shows its number.
    let of = Duration::from_millis(240);
    let mut y = top + 48.0;
    for CallTiming {
        call,
        took,
        peer_acted,
    } in &lifecycle.calls
    {
        canvas.text(PANEL + 16.0, y + 15.0, BODY, words::call(*call, language));
        let color = if peer_acted.is_some() {
            COLORS[1]
        } else {
            COLORS[2]
        };
        bar(canvas, y, (*took).min(of), of, *peer_acted, color);
        if *took > of {
            cut(canvas, BARS + BAR_WIDTH - 30.0, y);
        }
        canvas.text(
            BARS + BAR_WIDTH + 12.0,
            y + 15.0,
            BODY.bold(),
            &time(*took, language),
        );
        canvas.text(BARS, y + 35.0, SMALL, words::until(*call, language));
        y += 44.0;
    }
    canvas.line((PANEL + 24.0, y + 4.0), (PANEL + 24.0, y + 22.0), BAD, 3.0);
    canvas.text(PANEL + 36.0, y + 19.0, SMALL, words::peer_acts(language));
    top + height
}

fn rebinds(canvas: &mut Canvas, lifecycle: &Lifecycle, top: f64, language: Language) -> f64 {
    let height = rebinds_height(lifecycle);
    panel(canvas, top, height, words::rebinds_heading(language));
    let mut y = top + 62.0;
    for (rebind, result) in &lifecycle.rebinds {
        canvas.text(PANEL + 16.0, y, BODY, words::rebind(*rebind, language));
        let color = if result.is_ok() { GOOD } else { BAD };
        let style = BODY.bold().fill(color).anchor(Anchor::End);
        canvas.text(
            PANEL + PANEL_WIDTH - 16.0,
            y,
            style,
            &words::rebind_result(*result, language),
        );
        y += 34.0;
    }
    top + height
}

fn backlog(canvas: &mut Canvas, lifecycle: &Lifecycle, top: f64, language: Language) {
    let backlog = &lifecycle.backlog;
    let height = backlog_height(lifecycle);
    panel(
        canvas,
        top,
        height,
        &words::backlog_heading(backlog, language),
    );
    let mut y = top + 48.0;
    for (number, caller) in (1..).zip(&backlog.callers) {
        canvas.text(
            PANEL + 16.0,
            y + 15.0,
            BODY,
            &words::caller_name(number, language),
        );
        let x = PANEL + 110.0;
        let width = 170.0;
        let at = caller.connected;
        let share = at.unwrap_or(backlog.observed_for).as_secs_f64()
            / backlog.observed_for.as_secs_f64().max(1e-9);
        canvas.fill(Rect(x, y, width, 18.0), PAPER);
        let color = match at {
            None => BAD,
            Some(at) if at < backlog.accepted_at => COLORS[2],
            Some(_) => WARNING,
        };
        canvas.fill(Rect(x, y, (width * share).max(3.0), 18.0), color);
        let mark = x + width * backlog.accepted_at.as_secs_f64()
            / backlog.observed_for.as_secs_f64().max(1e-9);
        canvas.line((mark, y - 8.0), (mark, y + 26.0), INK, 2.0);
        canvas.text(
            x + width + 12.0,
            y + 15.0,
            BODY,
            &words::connected(backlog, at, language),
        );
        let style = SMALL.anchor(Anchor::End);
        canvas.text(
            PANEL + PANEL_WIDTH - 16.0,
            y + 15.0,
            style,
            &words::state(caller.server.or(caller.client), lifecycle, language),
        );
        y += 34.0;
    }
}
