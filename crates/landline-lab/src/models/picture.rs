//! The picture: a panel for each question, a row of bars for each model.

use super::{Figures, Model, Models};
use crate::{
    Language,
    svg::{Area, Board, COLOURS, FAINT, Face, PAPER, RULE, SHADE, ems, line_count},
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
/// Where a panel's key stands.
const KEY: f64 = 34.0;

/// A value and how it is written.
struct Bar {
    value: f64,
    text: String,
}

/// One question: for each model up to three bars.
struct Panel {
    head: String,
    key: Vec<String>,
    bars: fn(&Figures, Language) -> Vec<Bar>,
    /// What is written behind a row's first bar.
    remark: fn(&Figures, Language) -> Option<String>,
}

pub(super) fn draw(models: &Models, language: Language) -> String {
    let panels = panels(language);
    let panel_height = HEAD + Model::ALL.len() as f64 * ROW + KEY;
    let seen: Vec<String> = words::seen(models, language)
        .into_iter()
        .chain(words::missing(models, language))
        .collect();
    let text_width = WIDTH - 2.0 * MARGIN;
    let lines: usize = seen
        .iter()
        .map(|line| line_count(line, text_width, 20.0))
        .sum();
    let content = TOP + 2.0 * (panel_height + PANEL_GAP);
    let mut board = Board::new(
        WIDTH,
        content + 20.0 + lines as f64 * 28.0 + 18.0,
        language,
        &words::title(language),
    );
    legend(&mut board, language);
    for (index, panel) in panels.iter().enumerate() {
        // Columns first: rate, latency; long, short; memory, blocked.
        let left = MARGIN + (index / 2) as f64 * (PANEL_WIDTH + PANEL_GAP);
        let top = TOP + (index % 2) as f64 * (panel_height + PANEL_GAP);
        draw_panel(
            &mut board,
            models,
            panel,
            Area(left, top, PANEL_WIDTH, panel_height),
            language,
        );
    }
    let mut y = content + 28.0;
    for sentence in &seen {
        y = board.paragraph(MARGIN, y, text_width, Face::new(20.0), sentence);
    }
    board.finish()
}

fn legend(board: &mut Board, language: Language) {
    let mut x = MARGIN;
    for model in Model::ALL {
        board.fill(Area(x, 78.0, 22.0, 22.0), colour(model));
        let (name, is) = (
            words::model(model, language),
            words::model_is(model, language),
        );
        board.text(x + 30.0, 95.0, Face::new(17.0).bold(), name);
        x += 30.0 + ems(name) * 18.5 + 8.0;
        board.text(x, 95.0, Face::new(16.0).fill(FAINT), &is);
        x += ems(&is) * 16.0 + 26.0;
    }
}

fn colour(model: Model) -> &'static str {
    let [blue, orange, green, _, pink, _] = COLOURS;
    match model {
        Model::Inline => pink,
        Model::Threads => orange,
        Model::Processes => blue,
        Model::Tasks => green,
    }
}

fn panels(language: Language) -> [Panel; 6] {
    let heads = words::heads(language);
    let latency_key: Vec<String> = words::latency_key(language).map(str::to_owned).to_vec();
    let none = |_: &Figures, _: Language| None;
    [
        Panel {
            head: heads.long,
            key: Vec::new(),
            bars: |figures, _| vec![rate_bar(figures.long.per_second)],
            remark: |figures, language| Some(words::served(&figures.long, language)),
        },
        Panel {
            head: heads.long_latency,
            key: latency_key.clone(),
            bars: |figures, language| {
                times(
                    &[figures.long.median, figures.long.worst_hundredth],
                    language,
                )
            },
            remark: none,
        },
        Panel {
            head: heads.short,
            key: Vec::new(),
            bars: |figures, _| vec![rate_bar(figures.short.per_second)],
            remark: |figures, language| Some(words::served(&figures.short, language)),
        },
        Panel {
            head: heads.short_latency,
            key: latency_key,
            bars: |figures, language| {
                times(
                    &[figures.short.median, figures.short.worst_hundredth],
                    language,
                )
            },
            remark: none,
        },
        Panel {
            head: heads.memory,
            key: Vec::new(),
            bars: |figures, language| {
                let value = figures.memory_each.unwrap_or_default() as f64;
                vec![Bar {
                    value,
                    text: words::memory(figures.memory_each, language),
                }]
            },
            remark: |figures, language| {
                (figures.model == Model::Inline).then(|| words::rest_in_kernel(language).to_owned())
            },
        },
        Panel {
            head: heads.blocked,
            key: words::blocked_key(language).to_vec(),
            bars: |figures, language| {
                let waits = [
                    Some(figures.one_blocked),
                    Some(figures.some_blocked),
                    figures.some_waiting,
                ];
                times(&waits.into_iter().flatten().collect::<Vec<_>>(), language)
            },
            remark: none,
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

fn draw_panel(board: &mut Board, models: &Models, panel: &Panel, area: Area, language: Language) {
    let Area(left, top, width, _) = area;
    board.frame(area, SHADE, RULE, 8.0);
    board.text(left + 16.0, top + 31.0, Face::new(20.0).bold(), &panel.head);
    let rows: Vec<(&Figures, Vec<Bar>)> = models
        .figures
        .iter()
        .map(|figures| (figures, (panel.bars)(figures, language)))
        .collect();
    let most = rows
        .iter()
        .flat_map(|(_, bars)| bars)
        .map(|bar| bar.value)
        .fold(0.0, f64::max);
    let room = width - 16.0 - NAME_WIDTH - VALUE_WIDTH;
    let mut y = top + HEAD;
    for (figures, bars) in &rows {
        let x = left + 16.0 + NAME_WIDTH;
        let name = words::model(figures.model, language);
        board.text(left + 16.0, y + ROW / 2.0 + 1.0, Face::new(17.0), name);
        board.line((x, y), (x, y + ROW - 8.0), FAINT, 1.5);
        let mut at = y + (ROW - 8.0 - bars.len() as f64 * (BAR + 1.0)) / 2.0;
        for (index, bar) in bars.iter().enumerate() {
            let length = (bar.value / most.max(f64::MIN_POSITIVE) * room).max(2.0);
            draw_bar(
                board,
                Area(x, at, length, BAR),
                colour(figures.model),
                index,
            );
            board.text(
                x + length + 8.0,
                at + 15.0,
                Face::new(15.0).bold(),
                &bar.text,
            );
            at += BAR + 1.0;
        }
        if let Some(remark) = (panel.remark)(figures, language) {
            let face = Face::new(14.0).fill(FAINT);
            board.text(x + 8.0, at + 13.0, face, &remark);
        }
        y += ROW;
    }
    let mut x = left + 16.0;
    for (index, name) in panel.key.iter().enumerate() {
        draw_bar(board, Area(x, y + 4.0, 26.0, BAR), "#9aa5b1", index);
        board.text(x + 33.0, y + 18.0, Face::new(15.0).fill(FAINT), name);
        x += 33.0 + ems(name) * 15.0 + 20.0;
    }
}

/// The first bar of a row is full, the second has an edge only, the third is full and striped.
fn draw_bar(board: &mut Board, Area(x, y, width, height): Area, colour: &str, index: usize) {
    match index {
        0 => board.fill(Area(x, y, width, height), colour),
        1 => {
            board.fill(Area(x, y, width, height), colour);
            board.fill(Area(x + 2.5, y + 2.5, width - 5.0, height - 5.0), PAPER);
        }
        _ => {
            board.fill(Area(x, y, width, height), colour);
            board.fill(Area(x, y + height / 3.0, width, height / 3.0), PAPER);
        }
    }
}
