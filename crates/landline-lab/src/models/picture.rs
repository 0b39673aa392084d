//! The picture: a panel for each measurement, with bars for each model.

use super::{Model, ModelStats, Models};
use crate::{
    Language,
    svg::{COLORS, Canvas, FAINT, PAPER, RULE, Rect, SHADE, TextStyle, ems, line_count},
    words::{models as words, time},
};

const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 36.0;
const TOP: f64 = 120.0;
const PANEL_WIDTH: f64 = 500.0;
const PANEL_GAP: f64 = 14.0;
const HEAD: f64 = 48.0;
const ROW: f64 = 64.0;
const NAME_WIDTH: f64 = 128.0;
const VALUE_WIDTH: f64 = 118.0;
const BAR: f64 = 18.0;
/// The height of a panel's legend.
const KEY: f64 = 34.0;

/// A value and its text.
struct Bar {
    value: f64,
    text: String,
}

/// A measurement, with up to two bars for each model.
struct Panel {
    head: String,
    key: Vec<String>,
    bars: fn(&ModelStats, Language) -> Vec<Bar>,
    /// The text after a row's first bar.
    note: fn(&ModelStats, Language) -> Option<String>,
}

pub(super) fn draw(models: &Models, language: Language) -> String {
    let panels = panels(language);
    let panel_height = HEAD + Model::ALL.len() as f64 * ROW + KEY;
    let sentences: Vec<String> = words::summary(models, language)
        .into_iter()
        .chain(words::unavailable(models, language))
        .collect();
    let text_width = WIDTH - 2.0 * MARGIN;
    let lines: usize = sentences
        .iter()
        .map(|line| line_count(line, text_width, 20.0))
        .sum();
    let content = TOP + 2.0 * (panel_height + PANEL_GAP);
    let mut canvas = Canvas::new(
        WIDTH,
        content + 20.0 + lines as f64 * 28.0 + 18.0,
        language,
        &words::title(language),
    );
    legend(&mut canvas, language);
    for (index, panel) in panels.iter().enumerate() {
        // By columns: long, then short connections, then memory and blocking.
        let left = MARGIN + (index / 2) as f64 * (PANEL_WIDTH + PANEL_GAP);
        let top = TOP + (index % 2) as f64 * (panel_height + PANEL_GAP);
        draw_panel(
            &mut canvas,
            models,
            panel,
            Rect(left, top, PANEL_WIDTH, panel_height),
            language,
        );
    }
    let mut y = content + 28.0;
    for sentence in &sentences {
        y = canvas.paragraph(MARGIN, y, text_width, TextStyle::new(20.0), sentence);
    }
    canvas.finish()
}

fn legend(canvas: &mut Canvas, language: Language) {
    let mut x = MARGIN;
    for model in Model::ALL {
        canvas.fill(Rect(x, 78.0, 22.0, 22.0), color(model));
        let name = words::model(model, language);
        let description = words::model_description(model, language);
        canvas.text(x + 30.0, 95.0, TextStyle::new(17.0).bold(), name);
        x += 30.0 + ems(name) * 18.5 + 8.0;
        canvas.text(x, 95.0, TextStyle::new(16.0).fill(FAINT), &description);
        x += ems(&description) * 16.0 + 26.0;
    }
}

fn color(model: Model) -> &'static str {
    let [blue, orange, green, _, pink, _] = COLORS;
    match model {
        Model::Inline => pink,
        Model::Threads => orange,
        Model::Processes => blue,
        Model::Tasks => green,
    }
}

fn panels(language: Language) -> [Panel; 6] {
    let headers = words::headers(language);
    let latency_key: Vec<String> = words::latency_key(language).map(str::to_owned).to_vec();
    let none = |_: &ModelStats, _: Language| None;
    [
        Panel {
            head: headers.long,
            key: Vec::new(),
            bars: |stats, _| vec![rate_bar(stats.long.per_second)],
            note: |stats, language| Some(words::clients_served(&stats.long, language)),
        },
        Panel {
            head: headers.long_latency,
            key: latency_key.clone(),
            bars: |stats, language| times(&[stats.long.median, stats.long.percentile_99], language),
            note: none,
        },
        Panel {
            head: headers.short,
            key: Vec::new(),
            bars: |stats, _| vec![rate_bar(stats.short.per_second)],
            note: |stats, language| Some(words::clients_served(&stats.short, language)),
        },
        Panel {
            head: headers.short_latency,
            key: latency_key,
            bars: |stats, language| {
                times(&[stats.short.median, stats.short.percentile_99], language)
            },
            note: none,
        },
        Panel {
            head: headers.memory,
            key: Vec::new(),
            bars: |stats, language| {
                let value = stats.memory_each.unwrap_or_default() as f64;
                vec![Bar {
                    value,
                    text: words::memory(stats.memory_each, language),
                }]
            },
            note: |stats, language| {
                (stats.model == Model::Inline)
                    .then(|| words::waiting_in_kernel(language).to_owned())
            },
        },
        Panel {
            head: headers.blocked,
            key: words::blocked_key(language).map(str::to_owned).to_vec(),
            bars: |stats, language| {
                let waits = [Some(stats.blocked), stats.awaiting];
                times(&waits.into_iter().flatten().collect::<Vec<_>>(), language)
            },
            note: none,
        },
    ]
}

fn rate_bar(per_second: f64) -> Bar {
    Bar {
        value: per_second,
        text: words::rate(per_second),
    }
}

fn times(times: &[std::time::Duration], language: Language) -> Vec<Bar> {
    times
        .iter()
        .map(|wait| Bar {
            value: wait.as_secs_f64(),
            text: time(*wait, language),
        })
        .collect()
}

fn draw_panel(canvas: &mut Canvas, models: &Models, panel: &Panel, rect: Rect, language: Language) {
    let Rect(left, top, width, _) = rect;
    canvas.frame(rect, SHADE, RULE, 8.0);
    canvas.text(
        left + 16.0,
        top + 31.0,
        TextStyle::new(20.0).bold(),
        &panel.head,
    );
    let rows: Vec<(&ModelStats, Vec<Bar>)> = models
        .stats
        .iter()
        .map(|stats| (stats, (panel.bars)(stats, language)))
        .collect();
    let most = rows
        .iter()
        .flat_map(|(_, bars)| bars)
        .map(|bar| bar.value)
        .fold(0.0, f64::max);
    let room = width - 16.0 - NAME_WIDTH - VALUE_WIDTH;
    let mut y = top + HEAD;
    for (stats, bars) in &rows {
        let x = left + 16.0 + NAME_WIDTH;
        let name = words::model(stats.model, language);
        canvas.text(left + 16.0, y + ROW / 2.0 + 1.0, TextStyle::new(17.0), name);
        canvas.line((x, y), (x, y + ROW - 8.0), FAINT, 1.5);
        let mut at = y + (ROW - 8.0 - bars.len() as f64 * (BAR + 1.0)) / 2.0;
        for (index, bar) in bars.iter().enumerate() {
            let length = (bar.value / most.max(f64::MIN_POSITIVE) * room).max(2.0);
            draw_bar(canvas, Rect(x, at, length, BAR), color(stats.model), index);
            canvas.text(
                x + length + 8.0,
                at + 15.0,
                TextStyle::new(15.0).bold(),
                &bar.text,
            );
            at += BAR + 1.0;
        }
        if let Some(note) = (panel.note)(stats, language) {
            let style = TextStyle::new(14.0).fill(FAINT);
            canvas.text(x + 8.0, at + 13.0, style, &note);
        }
        y += ROW;
    }
    let mut x = left + 16.0;
    for (index, name) in panel.key.iter().enumerate() {
        draw_bar(canvas, Rect(x, y + 4.0, 26.0, BAR), "#9aa5b1", index);
        canvas.text(x + 33.0, y + 18.0, TextStyle::new(15.0).fill(FAINT), name);
        x += 33.0 + ems(name) * 15.0 + 20.0;
    }
}

/// Draws a bar of a row: the first filled, the second outlined.
fn draw_bar(canvas: &mut Canvas, Rect(x, y, width, height): Rect, color: &str, index: usize) {
    canvas.fill(Rect(x, y, width, height), color);
    if index > 0 {
        canvas.fill(Rect(x + 2.5, y + 2.5, width - 5.0, height - 5.0), PAPER);
    }
}
