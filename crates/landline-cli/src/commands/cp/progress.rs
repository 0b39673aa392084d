//! The progress of a transfer: a bar on a terminal, else a line every few seconds, or JSON lines.

use std::{
    collections::VecDeque,
    future::Future,
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use landline::files::Progress;
use serde_json::{Value, json};

use crate::{
    context::Context,
    streams::OutputStream,
    terminal::{bytes, shown},
};

const FRAME_TIME: Duration = Duration::from_millis(100);
const JSON_TIME: Duration = Duration::from_millis(500);
const LINE_TIME: Duration = Duration::from_secs(5);
/// The rate is that of the last seconds.
const RATE_TIME: Duration = Duration::from_secs(5);

/// Prints the progress of transfers.
pub(in crate::commands) struct ProgressView {
    mode: Mode,
    out: OutputStream,
    err: OutputStream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nothing,
    Bar,
    Lines,
    Json,
}

impl ProgressView {
    /// A view as the options ask for, and as standard error can show it. JSON goes to `events`.
    pub(in crate::commands) fn new(context: &Context, quiet: bool, events: &OutputStream) -> Self {
        let mode = match (quiet, context.json) {
            (true, _) => Mode::Nothing,
            (_, true) => Mode::Json,
            _ if context.err.is_terminal() && can_draw(context) => Mode::Bar,
            _ => Mode::Lines,
        };
        Self {
            mode,
            out: events.clone(),
            err: context.err.clone(),
        }
    }

    /// Prints an event for programs.
    pub(in crate::commands) fn print_event(&self, event: &Value) {
        if self.mode == Mode::Json {
            self.out.print_json(event);
        }
    }

    /// Prints a remark for people.
    pub(in crate::commands) fn remark(&self, text: &str) {
        if matches!(self.mode, Mode::Bar | Mode::Lines) {
            self.err.print(text);
        }
    }

    /// Waits for one attempt, and meanwhile prints `progress` under the name `label`.
    pub(in crate::commands) async fn follow<T>(
        &self,
        label: &str,
        progress: &Progress,
        work: impl Future<Output = T>,
    ) -> T {
        let tick = match self.mode {
            Mode::Nothing => return work.await,
            Mode::Bar => FRAME_TIME,
            Mode::Lines => LINE_TIME,
            Mode::Json => JSON_TIME,
        };
        tokio::pin!(work);
        let mut view = AttemptView::new(self, label);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(tick) => view.update(progress),
            }
        };
        view.close(progress);
        done
    }
}

/// Whether the terminal can move its cursor, as a bar needs it.
fn can_draw(context: &Context) -> bool {
    let kind = context.environment.variable("TERM");
    kind.is_some_and(|kind| kind != "dumb")
}

/// What has been printed of one attempt.
struct AttemptView<'a> {
    view: &'a ProgressView,
    label: &'a str,
    rate: RateMeter,
    bar: ProgressBar,
    has_begun: bool,
    sent_again: u64,
}

impl<'a> AttemptView<'a> {
    fn new(view: &'a ProgressView, label: &'a str) -> Self {
        let target = if view.mode == Mode::Bar {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        // A bar without a length draws nothing yet.
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(make_style(false))
            .with_message(shown(label));
        Self {
            view,
            label,
            rate: RateMeter::default(),
            bar,
            has_begun: false,
            sent_again: 0,
        }
    }

    fn update(&mut self, progress: &Progress) {
        self.begin(progress);
        match self.view.mode {
            Mode::Json => {
                self.view.print_event(&json!({"event": "progress", "done": progress.done(), "total": progress.total()}));
            }
            // Until the transfer begins, ssh may ask for a password on the same line.
            _ if !self.has_begun => {}
            Mode::Lines => {
                let rate = self.format_rate(progress);
                let done = format_done(progress);
                self.view
                    .err
                    .print(&format!("{}: {done}{rate}", self.label));
            }
            _ => {
                let rate = self.format_rate(progress);
                self.bar.set_prefix(rate);
                self.bar.set_position(progress.done());
            }
        }
    }

    /// Prints what is known only after the peer has answered.
    fn begin(&mut self, progress: &Progress) {
        let again = progress.sent_again();
        if again > self.sent_again {
            self.view
                .print_event(&json!({"event": "block-resent", "bytes": again - self.sent_again}));
            self.sent_again = again;
        }
        let Some(began_at) = progress.began_at().filter(|_| !self.has_begun) else {
            return;
        };
        self.has_begun = true;
        self.rate.record(began_at, 0);
        let offset = progress.resumed_at();
        if offset > 0 {
            self.view
                .print_event(&json!({"event": "resumed-at", "offset": offset}));
            self.view
                .remark(&format!("{}: resuming at {}", self.label, bytes(offset)));
        }
        if let Some(total) = progress.total() {
            self.bar.set_style(make_style(true));
            self.bar.set_position(offset);
            self.bar.set_length(total);
        }
    }

    fn close(&mut self, progress: &Progress) {
        self.begin(progress);
        self.bar.finish_and_clear();
    }

    /// The rate of what this attempt moves, and the time that is left.
    fn format_rate(&mut self, progress: &Progress) -> String {
        self.rate.record(Instant::now(), progress.moved());
        let Some(rate) = self.rate.per_second() else {
            return String::new();
        };
        let left = match progress.total() {
            Some(total) if rate > 0 => {
                let left = total.saturating_sub(progress.done()) / rate;
                format!(", {} left", HumanDuration(Duration::from_secs(left)))
            }
            _ => String::new(),
        };
        format!(", {}/s{left}", bytes(rate))
    }
}

impl Drop for AttemptView<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Measures a rate over the last [`RATE_TIME`].
#[derive(Default)]
struct RateMeter(VecDeque<(Instant, u64)>);

impl RateMeter {
    /// Records how much was moved by `now` in all.
    fn record(&mut self, now: Instant, moved: u64) {
        self.0.push_back((now, moved));
        let is_old = |(then, _): &(Instant, u64)| now.duration_since(*then) > RATE_TIME;
        while self.0.len() > 2 && self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    /// Bytes per second; `None` before there is enough to tell.
    fn per_second(&self) -> Option<u64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        let moved = last.1.saturating_sub(first.1);
        (seconds >= 0.1).then(|| (moved as f64 / seconds) as u64)
    }
}

fn format_done(progress: &Progress) -> String {
    match progress.total() {
        Some(total) => format!("{} of {}", bytes(progress.done()), bytes(total)),
        None => bytes(progress.done()),
    }
}

fn make_style(length_is_known: bool) -> ProgressStyle {
    let template = if length_is_known {
        "{msg} [{wide_bar}] {binary_bytes} of {binary_total_bytes}{prefix}"
    } else {
        "{msg} {binary_bytes}{prefix}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("#> ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context::TestContext;

    #[test]
    fn rate_is_that_of_last_seconds() {
        let start = Instant::now();
        let mut meter = RateMeter::default();
        assert_eq!(meter.per_second(), None);
        meter.record(start, 0);
        assert_eq!(meter.per_second(), None);
        meter.record(start + Duration::from_secs(2), 2000);
        assert_eq!(meter.per_second(), Some(1000));
        for second in 3..20 {
            meter.record(start + Duration::from_secs(second), 2000);
        }
        assert_eq!(meter.per_second(), Some(0));
    }

    /// Proves `misleading-error` in docs/faults.md.
    #[test]
    fn terminal_that_cannot_draw_gets_lines() {
        for (kind, expected) in [
            (Some("xterm"), Mode::Bar),
            (Some("dumb"), Mode::Lines),
            (Some(""), Mode::Lines),
            (None, Mode::Lines),
        ] {
            let mut test = TestContext::new();
            if let Some(kind) = kind {
                test = test.with_variable("TERM", kind);
            }
            test.context.err = OutputStream::new(Box::new(std::io::sink()), true);
            let view = ProgressView::new(&test.context, false, &test.context.out);
            assert_eq!(view.mode, expected, "{kind:?}");
        }
    }
}
