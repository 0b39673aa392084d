//! The picture: a plain connection, then the short states, and panels of calls, ports and callers.

use std::time::Duration;

use super::{CallTiming, Lifecycle, Step, TcpState};
use crate::{
    Language,
    svg::{
        Anchor, BAD, COLORS, Canvas, FAINT, GOOD, INK, PAPER, RULE, Rect, SHADE, TextStyle,
        WARNING, line_count,
    },
    words::{
        lifecycle as words,
        steps::{self, Fate, Segment},
        time,
    },
};

const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 36.0;
const TOP: f64 = 88.0;
/// The height of a part's heading and of the names of the two sides.
const HEADING: f64 = 74.0;
/// The height of the legend below a ladder.
const LEGEND: f64 = 36.0;
const PART_GAP: f64 = 40.0;
/// The left edge of the panels.
const PANEL: f64 = 924.0;
const PANEL_WIDTH: f64 = WIDTH - MARGIN - PANEL;
const PANEL_GAP: f64 = 14.0;
const BARS: f64 = PANEL + 246.0;
const BAR_WIDTH: f64 = 200.0;
/// The time from which a bar is cut.
const BAR_MAX: Duration = Duration::from_millis(700);
const PART: TextStyle = TextStyle::new(24.0).bold();
const HEAD: TextStyle = TextStyle::new(20.0).bold();
const BODY: TextStyle = TextStyle::new(16.0);
const SMALL: TextStyle = TextStyle::new(15.0).fill(FAINT);

/// The measures of a ladder: action, client's state, segments, server's state, action.
struct Ladder {
    client: f64,
    server: f64,
    /// The width of a state.
    state: f64,
    /// The width of an action.
    action: f64,
    /// The height of a step without or with one segment.
    row: f64,
    /// The height that each further segment adds.
    segment: f64,
    text: TextStyle,
}

/// Large enough for the last row of a lecture hall.
const PLAIN: Ladder = Ladder {
    client: 300.0,
    server: 1070.0,
    state: 230.0,
    action: 250.0,
    row: 74.0,
    segment: 42.0,
    text: TextStyle::new(20.0),
};

const HELD: Ladder = Ladder {
    client: 226.0,
    server: 566.0,
    state: 142.0,
    action: 184.0,
    row: 74.0,
    segment: 34.0,
    text: BODY,
};

impl Ladder {
    fn height_of(&self, step: &Step, language: Language) -> f64 {
        let segments = steps::segments(step.action, language).len();
        self.row + segments.saturating_sub(1) as f64 * self.segment
    }

    fn height(&self, steps: &[Step], language: Language) -> f64 {
        let rows = steps.iter().map(|step| self.height_of(step, language));
        HEADING + rows.sum::<f64>() + LEGEND
    }

    /// Draws the heading and a row for each step. Returns the lower edge of the last row.
    fn draw(
        &self,
        canvas: &mut Canvas,
        lifecycle: &Lifecycle,
        steps: &[Step],
        top: f64,
        language: Language,
    ) -> f64 {
        let center = self.text.bold().anchor(Anchor::Middle);
        for (x, name) in [
            (self.client, words::client(language)),
            (self.server, words::server(language)),
        ] {
            canvas.text(x + self.state / 2.0, top + HEADING - 14.0, center, name);
        }
        let mut y = top + HEADING;
        for step in steps {
            let height = self.height_of(step, language);
            self.rung(canvas, lifecycle, step, y, height, language);
            y += height;
        }
        y
    }

    fn rung(
        &self,
        canvas: &mut Canvas,
        lifecycle: &Lifecycle,
        step: &Step,
        top: f64,
        height: f64,
        language: Language,
    ) {
        let text = steps::action_text(step.action, language);
        let right = self.server + self.state + 14.0;
        canvas.paragraph(MARGIN, top + 26.0, self.action, self.text, text.client);
        canvas.paragraph(right, top + 26.0, self.action, self.text, text.server);
        let (client, server) = steps::passing(step.action);
        for (x, state, passed) in [
            (self.client, step.client, client),
            (self.server, step.server, server),
        ] {
            let name = words::state(state, lifecycle, language);
            let rect = Rect(x, top, self.state, height - 10.0);
            self.state(canvas, rect, state, &name, passed);
        }
        for (index, segment) in steps::segments(step.action, language).iter().enumerate() {
            let y = top + 26.0 + index as f64 * self.segment;
            self.segment(canvas, segment, y);
        }
    }

    /// Draws the state of one end. A state that was only passed through stands above it.
    fn state(
        &self,
        canvas: &mut Canvas,
        Rect(x, top, width, height): Rect,
        state: Option<TcpState>,
        name: &str,
        passed: Option<TcpState>,
    ) {
        let middle = x + width / 2.0;
        let mut top = top;
        let mut height = height;
        if let Some(passed) = passed {
            let part = 32.0;
            canvas.dashed(Rect(x, top, width, part - 4.0), color(passed), 6.0);
            let style = TextStyle::new(16.0).anchor(Anchor::Middle);
            canvas.text(middle, top + 20.0, style, &passed.to_string());
            top += part;
            height -= part;
        }
        let (fill, style) = match state {
            Some(state) => (color(state), self.text.bold()),
            None => (PAPER, SMALL),
        };
        canvas.frame(Rect(x, top, width, height), fill, RULE, 6.0);
        let baseline = top + height / 2.0 + 6.0;
        canvas.text(middle, baseline, style.anchor(Anchor::Middle), name);
    }

    fn segment(&self, canvas: &mut Canvas, segment: &Segment, y: f64) {
        let left = self.client + self.state + 10.0;
        let right = self.server - 10.0;
        let (from, to) = if segment.from_client {
            (left, right)
        } else {
            (right, left)
        };
        let (share, stroke) = fate_style(segment.fate);
        let end = from + (to - from) * share;
        canvas.arrow((from, y), (end, y + 8.0 * share), stroke);
        let direction = (to - from).signum();
        mark(
            canvas,
            segment.fate,
            end + direction * 12.0,
            y + 8.0 * share,
        );
        // The text of a segment that is not sent yet stands behind its mark.
        let (x, y, anchor) = match (segment.fate, segment.from_client) {
            (Fate::Queued, true) => (end + 28.0, y + 7.0, Anchor::Start),
            (Fate::Queued, false) => (end - 28.0, y + 7.0, Anchor::End),
            _ => ((left + right) / 2.0, y - 6.0, Anchor::Middle),
        };
        let style = self.text.fill(stroke).anchor(anchor);
        canvas.text(x, y, style, &segment.name);
    }
}

/// How far a segment goes, and its color.
fn fate_style(fate: Fate) -> (f64, &'static str) {
    match fate {
        Fate::Delivered => (1.0, INK),
        Fate::Dropped => (0.88, BAD),
        Fate::Queued => (0.22, WARNING),
    }
}

/// Draws the end of a segment that was not delivered: a cross for one that was dropped, two bars
/// for one that is queued.
fn mark(canvas: &mut Canvas, fate: Fate, x: f64, y: f64) {
    match fate {
        Fate::Delivered => {}
        Fate::Dropped => {
            canvas.line((x - 6.0, y - 6.0), (x + 6.0, y + 6.0), BAD, 3.0);
            canvas.line((x - 6.0, y + 6.0), (x + 6.0, y - 6.0), BAD, 3.0);
        }
        Fate::Queued => {
            for x in [x - 4.0, x + 4.0] {
                canvas.line((x, y - 9.0), (x, y + 9.0), WARNING, 4.0);
            }
        }
    }
}

pub(super) fn draw(lifecycle: &Lifecycle, language: Language) -> String {
    let summary = words::summary(lifecycle, language);
    let text_width = WIDTH - 2.0 * MARGIN;
    let lines: usize = summary
        .iter()
        .map(|line| line_count(line, text_width, 20.0))
        .sum();
    let plain = PLAIN.height(&lifecycle.plain, language);
    let held = HELD.height(&lifecycle.steps, language);
    let panels = calls_height(lifecycle)
        + rebinds_height(lifecycle)
        + backlog_height(lifecycle)
        + 2.0 * PANEL_GAP;
    let second = TOP + plain + PART_GAP;
    let content = second + held.max(panels);
    let mut canvas = Canvas::new(
        WIDTH,
        content + 34.0 + lines as f64 * 28.0 + 18.0,
        language,
        words::title(language),
    );
    draw_plain(&mut canvas, lifecycle, language);
    draw_held(&mut canvas, lifecycle, second, language);
    let y = calls(&mut canvas, lifecycle, second, language);
    let y = rebinds(&mut canvas, lifecycle, y + PANEL_GAP, language);
    backlog(&mut canvas, lifecycle, y + PANEL_GAP, language);
    let mut y = content + 40.0;
    for sentence in &summary {
        y = canvas.paragraph(MARGIN, y, text_width, TextStyle::new(20.0), sentence);
    }
    canvas.finish()
}

fn draw_plain(canvas: &mut Canvas, lifecycle: &Lifecycle, language: Language) {
    canvas.text(MARGIN, TOP + 24.0, PART, words::plain_heading(language));
    let y = PLAIN.draw(canvas, lifecycle, &lifecycle.plain, TOP, language);
    if let Some(lasts) = lifecycle.time_wait {
        let style = HEAD.anchor(Anchor::Middle);
        let x = PLAIN.client + PLAIN.state / 2.0;
        canvas.text(x, y + 16.0, style, &words::time_wait(lasts, language));
    }
    let style = TextStyle::new(18.0).fill(FAINT).anchor(Anchor::End);
    let legend = words::plain_legend(language);
    canvas.text(WIDTH - MARGIN, y + 16.0, style, legend);
}

fn draw_held(canvas: &mut Canvas, lifecycle: &Lifecycle, top: f64, language: Language) {
    canvas.text(MARGIN, top + 24.0, PART, words::held_heading(language));
    let y = HELD.draw(canvas, lifecycle, &lifecycle.steps, top, language);
    let mut x = MARGIN;
    for fate in [Fate::Dropped, Fate::Queued] {
        let (_, stroke) = fate_style(fate);
        canvas.arrow((x, y + 14.0), (x + 40.0, y + 14.0), stroke);
        mark(canvas, fate, x + 52.0, y + 14.0);
        canvas.text(x + 70.0, y + 20.0, SMALL, steps::fate(fate, language));
        x += 370.0;
    }
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
    let shown = lifecycle.calls.iter().map(|timing| timing.took);
    let of = shown
        .filter(|took| *took < BAR_MAX)
        .max()
        .unwrap_or(BAR_MAX);
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
        let mark = peer_acted.map(|at| at.min(of));
        bar(canvas, y, (*took).min(of), of, mark, color);
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
