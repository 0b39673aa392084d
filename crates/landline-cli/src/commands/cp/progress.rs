//! Shows how a copy goes: a bar on a terminal, a line every few seconds elsewhere, or JSON lines.

use std::{
    future::Future,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use landline::files::Progress;
use serde_json::{Value, json};

use crate::terminal::{bytes, print_json, say, shown};

const FRAME_TIME: Duration = Duration::from_millis(100);
const JSON_TIME: Duration = Duration::from_millis(500);
const LINE_TIME: Duration = Duration::from_secs(5);

/// How a copy is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Show {
    Nothing,
    Bar,
    Lines,
    Json,
}

impl Show {
    /// What was asked for, and what standard error is.
    pub(in crate::commands) fn new(quiet: bool, json: bool) -> Self {
        match (quiet, json) {
            (true, _) => Self::Nothing,
            (_, true) => Self::Json,
            _ if io::stderr().is_terminal() => Self::Bar,
            _ => Self::Lines,
        }
    }

    /// An event for programs.
    pub(in crate::commands) fn event(self, event: &Value) {
        if self == Self::Json {
            print_json(event);
        }
    }

    /// A remark for people.
    pub(in crate::commands) fn remark(self, text: &str) {
        if matches!(self, Self::Bar | Self::Lines) {
            say(text);
        }
    }

    /// Waits for one try at the copy, showing `progress` meanwhile under the name `label`.
    pub(in crate::commands) async fn during<T>(
        self,
        label: &str,
        progress: &Progress,
        work: impl Future<Output = T>,
    ) -> T {
        let tick = match self {
            Self::Nothing => return work.await,
            Self::Bar => FRAME_TIME,
            Self::Lines => LINE_TIME,
            Self::Json => JSON_TIME,
        };
        tokio::pin!(work);
        let mut view = View::new(self, label);
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

/// What has been shown of one try.
struct View<'a> {
    show: Show,
    label: &'a str,
    start: Instant,
    bar: ProgressBar,
    began: bool,
    sent_again: u64,
}

impl<'a> View<'a> {
    fn new(show: Show, label: &'a str) -> Self {
        let target = if show == Show::Bar {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        // So that nothing is drawn yet.
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style(false))
            .with_message(shown(label));
        Self {
            show,
            label,
            start: Instant::now(),
            bar,
            began: false,
            sent_again: 0,
        }
    }

    fn update(&mut self, progress: &Progress) {
        self.begin(progress);
        match self.show {
            Show::Json => {
                self.show.event(&json!({"event": "progress", "done": progress.done(), "total": progress.total()}));
            }
            Show::Lines => say(&self.line(progress)),
            // Before that ssh may ask somebody for a password on the same line.
            _ if self.began => self.bar.set_position(progress.done()),
            _ => {}
        }
    }

    /// Says what is known only once the other side has answered.
    fn begin(&mut self, progress: &Progress) {
        let again = progress.sent_again();
        if again > self.sent_again {
            self.show
                .event(&json!({"event": "block-resent", "bytes": again - self.sent_again}));
            self.sent_again = again;
        }
        let offset = progress.resumed_at();
        if self.began || progress.total().is_none() && progress.done() == 0 {
            return;
        }
        self.began = true;
        if let Some(total) = progress.total() {
            self.bar.set_length(total);
            self.bar.set_style(style(true));
        }
        if offset > 0 {
            self.bar.set_position(offset);
            self.bar.reset_eta();
            self.show
                .event(&json!({"event": "resumed-at", "offset": offset}));
        }
    }

    fn close(&mut self, progress: &Progress) {
        self.begin(progress);
        self.bar.finish_and_clear();
    }

    /// The rate is of what this try has moved, so that what was there before makes no promise.
    fn line(&self, progress: &Progress) -> String {
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

fn style(length_is_known: bool) -> ProgressStyle {
    let template = if length_is_known {
        "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
    } else {
        "{msg} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("#> ")
}
