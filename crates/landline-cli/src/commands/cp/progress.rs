//! The progress of a transfer: a bar on a terminal, else a line every few seconds, or JSON lines.

use std::{
    collections::VecDeque,
    future::Future,
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use landline::files::{FileCounts, Observed, ProgressState};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::Failure,
    streams::OutputStream,
    terminal::{bytes, shown_line},
};

const FRAME_TIME: Duration = Duration::from_millis(100);
const JSON_TIME: Duration = Duration::from_millis(500);
const LINE_TIME: Duration = Duration::from_secs(5);
/// The rate is that of the last seconds.
const RATE_TIME: Duration = Duration::from_secs(5);
/// How long is measured before a rate is printed, and before it tells how long the rest takes.
const MEASURED_TIME_MIN: Duration = Duration::from_millis(100);
const ESTIMATE_TIME_MIN: Duration = Duration::from_secs(1);
/// A file takes as long as so many bytes, besides its own.
const FILE_WORK: u64 = 16 * 1024;

/// Prints the progress of transfers.
#[derive(Clone)]
pub(in crate::commands) struct ProgressView {
    mode: Mode,
    out: OutputStream,
    err: OutputStream,
    /// The host of a copy to many.
    host: Option<String>,
    bars: MultiProgress,
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
        let target = if mode == Mode::Bar {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            mode,
            out: events.clone(),
            err: context.err.clone(),
            host: None,
            bars: MultiProgress::with_draw_target(target),
        }
    }

    /// The view of one host of many: its name is in all that is printed.
    pub(in crate::commands) fn of_host(&self, host: &str) -> Self {
        Self {
            host: Some(host.to_owned()),
            ..self.clone()
        }
    }

    /// Prints an event for programs.
    pub(in crate::commands) fn print_event(&self, event: &Value) {
        if self.mode != Mode::Json {
            return;
        }
        let mut event = event.clone();
        if let (Some(host), Some(keys)) = (&self.host, event.as_object_mut()) {
            keys.insert("host".to_owned(), host.clone().into());
        }
        self.out.print_json(&event);
    }

    /// Prints a remark for people.
    pub(in crate::commands) fn remark(&self, text: &str) {
        if matches!(self.mode, Mode::Bar | Mode::Lines) {
            self.print_to(&self.err, text);
        }
    }

    /// Prints a line for people, with the name of the host.
    pub(in crate::commands) fn print_error(&self, text: &str) {
        self.print_to(&self.err, text);
    }

    /// Prints a result on this stream, which may be the terminal that has the bars.
    pub(in crate::commands) fn print_result(&self, stream: &OutputStream, text: &str) {
        self.bars.suspend(|| stream.print(text));
    }

    /// Prints why a copy failed.
    pub(in crate::commands) fn print_failure(&self, context: &Context, failure: &Failure) {
        match (&self.host, self.mode) {
            (None, _) => failure.print(context),
            (Some(_), Mode::Json) => {
                let mut event = failure.to_json();
                if let Some(keys) = event.as_object_mut() {
                    keys.insert("event".to_owned(), "failed".into());
                }
                self.print_event(&event);
            }
            (Some(_), _) => self.print_error(&format!("landline: {}", failure.to_line())),
        }
    }

    /// Prints a remark that names the host itself.
    fn print_plain(&self, text: &str) {
        if matches!(self.mode, Mode::Bar | Mode::Lines) {
            self.err.print(text);
        }
    }

    pub(in crate::commands) fn print_to(&self, stream: &OutputStream, text: &str) {
        let text = match &self.host {
            Some(host) => format!("{}: {text}", shown_line(host)),
            None => text.to_owned(),
        };
        self.bars.suspend(|| stream.print(&text));
    }

    /// A view of one copy, of which there may be several attempts. `label` is its name.
    pub(in crate::commands) fn of_copy(&self, label: &str) -> CopyView<'_> {
        let label = match &self.host {
            Some(host) => format!("{host}: {label}"),
            None => label.to_owned(),
        };
        CopyView {
            view: self,
            label: shown_line(&label),
            most: Most::default(),
        }
    }
}

/// Whether the terminal can move its cursor, as a bar needs it.
fn can_draw(context: &Context) -> bool {
    let kind = context.environment.variable("TERM");
    kind.is_some_and(|kind| kind != "dumb")
}

/// What is printed of one copy. What it counts never falls, also over several attempts.
pub(in crate::commands) struct CopyView<'a> {
    view: &'a ProgressView,
    label: String,
    most: Most,
}

impl CopyView<'_> {
    /// Waits for one attempt, and meanwhile prints its progress.
    pub(in crate::commands) async fn follow<T>(
        &mut self,
        progress: &impl Observed,
        work: impl Future<Output = T>,
    ) -> T {
        let tick = match self.view.mode {
            Mode::Nothing => return work.await,
            Mode::Bar => FRAME_TIME,
            Mode::Lines => LINE_TIME,
            Mode::Json => JSON_TIME,
        };
        tokio::pin!(work);
        let mut attempt = AttemptView::new(self);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(tick) => attempt.update(&progress.state()),
            }
        };
        attempt.close(&progress.state());
        done
    }

    /// The copy starts over: what was counted so far is of no use.
    pub(in crate::commands) fn start_over(&mut self) {
        self.most = Most::default();
    }
}

/// The most that was counted so far.
#[derive(Debug, Default, Clone, Copy)]
struct Most {
    done: u64,
    total: Option<u64>,
    kept: u64,
    files: Option<FileCounts>,
}

impl Most {
    fn record(&mut self, state: &ProgressState) {
        self.done = self.done.max(state.done);
        self.kept = self.kept.max(state.kept);
        // Another attempt lists the tree again.
        self.total = state.total.max(self.total);
        self.files = match (self.files, state.files) {
            (Some(most), Some(now)) => Some(FileCounts {
                done: most.done.max(now.done),
                found: most.found.max(now.found),
                ..now
            }),
            (most, now) => now.or(most),
        };
    }

    /// How much is done, from 0 to 100; `None` before the total is known.
    fn percent(&self) -> Option<u64> {
        let total = self.total?;
        let percent = (u128::from(self.done.min(total)) * 100).checked_div(total.into());
        Some(percent.map_or(100, |percent| u64::try_from(percent).unwrap_or(100)))
    }
}

/// What has been printed of one attempt.
struct AttemptView<'a> {
    view: &'a ProgressView,
    label: &'a str,
    most: &'a mut Most,
    rate: RateMeter,
    bar: ProgressBar,
    has_begun: bool,
    sent_again: u64,
}

impl<'a> AttemptView<'a> {
    fn new(copy: &'a mut CopyView<'_>) -> Self {
        // A bar without a length draws nothing yet.
        let bar = ProgressBar::no_length().with_style(make_style(false, false));
        let bar = copy.view.bars.add(bar);
        Self {
            view: copy.view,
            label: &copy.label,
            most: &mut copy.most,
            rate: RateMeter::default(),
            bar,
            has_begun: false,
            sent_again: 0,
        }
    }

    fn update(&mut self, state: &ProgressState) {
        self.begin(state);
        self.most.record(state);
        self.rate
            .record(Instant::now(), work_done(state), state.moved);
        match self.view.mode {
            Mode::Json => self.view.print_event(&self.event(state)),
            // Until the transfer begins, ssh may ask for a password on the same line.
            _ if !self.has_begun => {}
            Mode::Lines => {
                let counts = self.format_counts(state);
                let name = state.name.as_ref();
                let name = name.map_or_else(String::new, |name| format!(", {}", shown_line(name)));
                let files = self.format_files(state);
                let files = files.map_or_else(String::new, |files| format!("{files}, "));
                let text = format!("{}: {files}{counts}{name}", self.label);
                self.view.err.print(&text);
            }
            _ => {
                self.bar
                    .set_style(make_style(self.most.total.is_some(), state.files.is_some()));
                if let Some(total) = self.most.total {
                    self.bar.set_length(total);
                }
                let counts = self.format_counts(state);
                self.bar.set_prefix(format!("{} {counts}", self.label));
                let files = self.format_files(state).unwrap_or_default();
                let name = state.name.as_ref();
                let name = name.map_or_else(String::new, |name| format!(", {}", shown_line(name)));
                self.bar.set_message(format!("{files}{name}"));
                self.bar.set_position(self.most.done);
            }
        }
    }

    /// The progress for programs.
    fn event(&self, state: &ProgressState) -> Value {
        let most = &self.most;
        let mut event = json!({
            "event": "progress", "done": most.done, "total": most.total, "kept": most.kept,
            "rate": self.rate.per_second(), "seconds_left": self.seconds_left(state),
        });
        if let (Some(files), Some(keys)) = (most.files, event.as_object_mut()) {
            keys.insert("files".to_owned(), files.done.into());
            keys.insert("files_found".to_owned(), files.found.into());
            keys.insert("name".to_owned(), state.name.clone().into());
        }
        event
    }

    /// Prints what is known only after the peer has answered.
    fn begin(&mut self, state: &ProgressState) {
        if state.sent_again > self.sent_again {
            let bytes = state.sent_again - self.sent_again;
            self.view
                .print_event(&json!({"event": "block-resent", "bytes": bytes}));
            self.sent_again = state.sent_again;
        }
        let Some(began_at) = state.began_at.filter(|_| !self.has_begun) else {
            return;
        };
        self.has_begun = true;
        self.rate.record(began_at, 0, 0);
        // What was there of a tree is known only later.
        if state.resumed_at > 0 {
            self.view
                .print_event(&json!({"event": "resumed-at", "offset": state.resumed_at}));
            let text = format!("{}: resuming at {}", self.label, bytes(state.resumed_at));
            self.view.bars.suspend(|| self.view.print_plain(&text));
        }
    }

    fn close(&mut self, state: &ProgressState) {
        self.begin(state);
        self.most.record(state);
        if self.has_begun && state.files.is_some() {
            self.view.print_event(&self.event(state));
        }
        self.remove_bar();
    }

    fn remove_bar(&self) {
        self.bar.finish_and_clear();
        self.view.bars.remove(&self.bar);
    }

    /// The bytes, the rate of what this attempt moves, and the time that is left.
    fn format_counts(&self, state: &ProgressState) -> String {
        let mut text = match (self.most.total, self.most.percent()) {
            (Some(total), Some(percent)) => {
                format!("{} of {} ({percent}%)", bytes(self.most.done), bytes(total))
            }
            _ => bytes(self.most.done),
        };
        if state.files.is_some() && self.most.kept > 0 {
            text += &format!(", {} were there", bytes(self.most.kept));
        }
        if let Some(rate) = self.rate.per_second() {
            text += &format!(", {}/s", bytes(rate));
        }
        if let Some(left) = self.seconds_left(state) {
            text += &format!(", {} left", HumanDuration(Duration::from_secs(left)));
        }
        text
    }

    fn format_files(&self, state: &ProgressState) -> Option<String> {
        let files = self.most.files?;
        Some(match state.total {
            Some(_) => format!("{} of {} files", files.done, files.found),
            None => format!("{} files, {} found so far", files.done, files.found),
        })
    }

    /// The time that is left; `None` while it cannot be told, such as before a tree is listed.
    fn seconds_left(&self, state: &ProgressState) -> Option<u64> {
        let left = work_left(state)?;
        let rate = self.rate.work_per_second()?;
        left.checked_div(rate)
    }
}

impl Drop for AttemptView<'_> {
    fn drop(&mut self) {
        self.remove_bar();
    }
}

/// What this attempt has done: bytes, and [`FILE_WORK`] for each file.
fn work_done(state: &ProgressState) -> u64 {
    let files = state.files.map_or(0, |files| files.copied);
    state.moved.saturating_add(files.saturating_mul(FILE_WORK))
}

/// What is left to do; `None` before the total is known.
fn work_left(state: &ProgressState) -> Option<u64> {
    let bytes = state
        .total?
        .saturating_sub(state.done)
        .saturating_sub(state.failed);
    let files = state.files.map_or(0, |files| {
        files
            .found
            .saturating_sub(files.done.saturating_add(files.failed))
    });
    Some(bytes.saturating_add(files.saturating_mul(FILE_WORK)))
}

/// Measures a rate over the last [`RATE_TIME`].
#[derive(Default)]
struct RateMeter(VecDeque<ProgressSample>);

/// What was done at a moment since the beginning.
#[derive(Clone, Copy)]
struct ProgressSample {
    at: Instant,
    work: u64,
    bytes: u64,
}

impl RateMeter {
    /// Records how much was done by `now` in all.
    fn record(&mut self, now: Instant, work: u64, bytes: u64) {
        self.0.push_back(ProgressSample {
            at: now,
            work,
            bytes,
        });
        let is_old = |sample: &ProgressSample| now.duration_since(sample.at) > RATE_TIME;
        while self.0.len() > 2 && self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    /// Bytes per second; `None` before there is enough to tell.
    fn per_second(&self) -> Option<u64> {
        self.rate(MEASURED_TIME_MIN, |sample| sample.bytes)
    }

    /// Work per second; `None` before there is enough to tell how long the rest takes.
    fn work_per_second(&self) -> Option<u64> {
        self.rate(ESTIMATE_TIME_MIN, |sample| sample.work)
    }

    fn rate(&self, time_min: Duration, count: impl Fn(&ProgressSample) -> u64) -> Option<u64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let time = last.at.duration_since(first.at);
        let moved = count(last).saturating_sub(count(first));
        (time >= time_min).then(|| (moved as f64 / time.as_secs_f64()) as u64)
    }
}

fn make_style(length_is_known: bool, has_files: bool) -> ProgressStyle {
    let template = match (length_is_known, has_files) {
        (true, true) => "[{wide_bar}] {prefix}\n{wide_msg}",
        (true, false) => "[{wide_bar}] {prefix}",
        (false, true) => "{prefix}\n{wide_msg}",
        (false, false) => "{prefix}",
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
        meter.record(start, 0, 0);
        assert_eq!(meter.per_second(), None);
        meter.record(start + Duration::from_secs(2), 0, 2000);
        assert_eq!(meter.per_second(), Some(1000));
        for second in 3..20 {
            meter.record(start + Duration::from_secs(second), 0, 2000);
        }
        assert_eq!(meter.per_second(), Some(0));
    }

    /// What a tree of two files of 50 bytes shows at a moment.
    fn tree_state(
        moved: u64,
        kept: u64,
        copied: u64,
        found: u64,
        is_listed: bool,
    ) -> ProgressState {
        ProgressState {
            done: moved + kept,
            total: is_listed.then_some(found * 50),
            kept,
            moved,
            files: Some(FileCounts {
                done: copied,
                copied,
                failed: 0,
                found,
            }),
            name: Some("a\u{1b}b".to_owned()),
            ..ProgressState::default()
        }
    }

    /// Feeds these states to a view in JSON, each at a second of its own, and returns the events.
    fn events(attempts: &[&[ProgressState]]) -> Vec<Value> {
        let mut test = TestContext::new();
        test.context.json = true;
        let view = ProgressView::new(&test.context, false, &test.context.out);
        let mut copy = view.of_copy("x");
        for states in attempts {
            let start = Instant::now();
            let mut attempt = AttemptView::new(&mut copy);
            for (second, state) in (0..).zip(*states) {
                attempt.most.record(state);
                let now = start + Duration::from_secs(second);
                attempt.rate.record(now, work_done(state), state.moved);
                view.print_event(&attempt.event(state));
            }
        }
        let out = test.out();
        out.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Proves `progress-lies` in docs/faults.md.
    #[test]
    fn counts_never_fall_over_attempts() {
        let first = [tree_state(60, 0, 1, 2, true), tree_state(70, 0, 1, 2, true)];
        let second = [
            tree_state(0, 0, 0, 1, false),
            tree_state(0, 50, 1, 1, false),
            tree_state(50, 50, 2, 2, true),
        ];
        let events = events(&[&first, &second]);
        let column = |key: &str| -> Vec<u64> {
            let values = events.iter().map(|event| event[key].as_u64().unwrap());
            values.collect()
        };
        assert_eq!(column("done"), [60, 70, 70, 70, 100]);
        assert_eq!(column("total"), [100; 5]);
        assert_eq!(column("files"), [1, 1, 1, 1, 2]);
        assert_eq!(column("files_found"), [2; 5]);
        assert_eq!(column("kept"), [0, 0, 0, 50, 50]);
    }

    #[test]
    fn time_left_is_unknown_until_the_tree_is_listed() {
        let states = [
            tree_state(0, 0, 0, 1, false),
            tree_state(50, 0, 1, 2, false),
            tree_state(50, 0, 1, 2, true),
            tree_state(100, 0, 2, 2, true),
        ];
        let events = events(&[&states]);
        let left: Vec<_> = events.iter().map(|event| &event["seconds_left"]).collect();
        assert_eq!(left, [&Value::Null, &Value::Null, &json!(2), &json!(0)]);
    }

    #[test]
    fn text_shows_files_and_escapes_names() {
        let mut test = TestContext::new();
        test.context.err = OutputStream::new(Box::new(std::io::sink()), false);
        let view = ProgressView::new(&test.context, false, &test.context.out);
        let mut copy = view.of_copy("a\u{1b}");
        assert_eq!(copy.label, "a\\u{1b}");
        let attempt = AttemptView::new(&mut copy);
        let state = tree_state(50, 50, 1, 4, true);
        attempt.most.record(&state);
        assert_eq!(
            attempt.format_counts(&state),
            "100 B of 200 B (50%), 50 B were there"
        );
        assert_eq!(attempt.format_files(&state).unwrap(), "1 of 4 files");
        let state = tree_state(50, 50, 1, 4, false);
        let files = attempt.format_files(&state).unwrap();
        assert_eq!(files, "1 files, 4 found so far");
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
