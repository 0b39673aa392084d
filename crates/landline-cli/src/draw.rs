//! Draws the progress of a copy on standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    future::Future,
    io::{self, IsTerminal},
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use landline::files::Progress;

use crate::terminal::{bytes, say, shown};

const FRAME_TIME: Duration = Duration::from_millis(100);
const LINE_TIME: Duration = Duration::from_secs(5);

/// Waits for `work`, drawing `progress` meanwhile under the name `label`.
pub(crate) async fn while_drawing<T>(
    label: &str,
    quiet: bool,
    progress: &Arc<Progress>,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    if quiet {
        return work.await;
    }
    if !io::stderr().is_terminal() {
        return with_lines(label, progress, work).await;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style(false));
    bar.set_message(shown(label));
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(FRAME_TIME) => {
                if bar.length().is_none() && let Some(total) = progress.total() {
                    bar.set_length(total);
                    bar.set_style(style(true));
                }
                bar.set_position(progress.done());
            }
        }
    };
    bar.finish_and_clear();
    done
}

fn style(length_is_known: bool) -> ProgressStyle {
    let template = if length_is_known {
        "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
    } else {
        "{msg} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("#> ")
}

async fn with_lines<T>(label: &str, progress: &Progress, mut work: impl Future<Output = T> + Unpin) -> T {
    let start = Instant::now();
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(LINE_TIME) => {
                let done = progress.done();
                let rate = done as f64 / start.elapsed().as_secs_f64().max(0.001);
                let rest = match progress.total() {
                    Some(total) if rate >= 1.0 => {
                        let left = total.saturating_sub(done) as f64 / rate;
                        format!(" of {}, {left:.0} s left", bytes(total))
                    }
                    _ => String::new(),
                };
                say(&format!("{label}: {}{rest}, {}/s", bytes(done), bytes(rate as u64)));
            }
        }
    }
}
