//! The progress of a transfer: a bar on a terminal, else a line every few seconds, or JSON lines.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
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
            _ if context.err.is_terminal() => Mode::Bar,
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

/// What has been printed of one attempt.
struct AttemptView<'a> {
    view: &'a ProgressView,
    label: &'a str,
    start: Instant,
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
            start: Instant::now(),
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
            Mode::Lines => self.view.err.print(&self.format_line(progress)),
            // Until the transfer begins, ssh may ask for a password on the same line.
            _ if self.has_begun => self.bar.set_position(progress.done()),
            _ => {}
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
        let offset = progress.resumed_at();
        if self.has_begun || progress.total().is_none() && progress.done() == 0 {
            return;
        }
        self.has_begun = true;
        if let Some(total) = progress.total() {
            self.bar.set_length(total);
            self.bar.set_style(make_style(true));
        }
        if offset > 0 {
            self.bar.set_position(offset);
            self.bar.reset_eta();
            self.view
                .print_event(&json!({"event": "resumed-at", "offset": offset}));
        }
    }

    fn close(&mut self, progress: &Progress) {
        self.begin(progress);
        self.bar.finish_and_clear();
    }

    /// Formats a line. The rate counts only what this attempt has moved, not what it resumed.
    fn format_line(&self, progress: &Progress) -> String {
        let done = progress.done();
        let moved = done.saturating_sub(progress.resumed_at()) as f64;
        let rate = moved / self.start.elapsed().as_secs_f64().max(0.001);
        let rest = match progress.total() {
            Some(total) if rate >= 1.0 => {
                let left = total.saturating_sub(done) as f64 / rate;
                format!(" of {}, {left:.0} s left", bytes(total))
            }
            _ => String::new(),
        };
        format!(
            "{}: {}{rest}, {}/s",
            self.label,
            bytes(done),
            bytes(rate as u64)
        )
    }
}

fn make_style(length_is_known: bool) -> ProgressStyle {
    let template = if length_is_known {
        "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
    } else {
        "{msg} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("#> ")
}
