//! Tests of the reports.
//!
//! Measuring needs a process without threads, so the tests of the command do it.

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn stats(model: Model, served: usize, per_second: f64, blocked: Duration) -> ModelStats {
    let service = LoadStats {
        per_second,
        median: ms(1),
        percentile_99: ms(2),
        served,
    };
    ModelStats {
        model,
        long: service,
        short: LoadStats {
            served: CLIENTS,
            ..service
        },
        memory: Some(3 << 20),
        memory_each: Some(1 << 14),
        blocked,
        awaiting: (model == Model::Tasks).then_some(ms(1)),
    }
}

fn models() -> Models {
    Models {
        stats: vec![
            stats(Model::Inline, 1, 900.0, ms(290)),
            stats(Model::Threads, CLIENTS, 950.0, ms(1)),
            stats(Model::Processes, CLIENTS, 700.0, ms(3)),
            stats(Model::Tasks, CLIENTS, 850.0, ms(280)),
        ],
        unavailable: Vec::new(),
    }
}

#[test]
fn model_names_round_trip() {
    assert!(
        Model::ALL
            .iter()
            .all(|model| Model::from_name(model.name()) == Some(*model))
    );
    assert_eq!(Model::from_name("magic"), None);
}

#[test]
fn summary_names_models_that_were_held_up() {
    let summary = models().report(Language::English).summary.join("\n");
    for part in [
        "inline served 1 of 8 clients",
        "threads answered the most over long",
        "other clients of inline and tasks waited, for up to 290 ms",
        "other clients of threads and processes did not wait",
        "through in 1.00 ms",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let summary = models().report(Language::Chinese).summary.join("\n");
    for part in [
        "8 个客户端中的 1 个",
        "inline、tasks 协程 的其他客户端",
        "threads 线程、processes 进程",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
}

#[test]
fn unavailable_model_is_noted_and_others_are_shown() {
    let mut models = models();
    models.stats.retain(|stats| stats.model != Model::Processes);
    models
        .unavailable
        .push((Model::Processes, "no forks today".to_owned()));
    for language in [Language::English, Language::Chinese] {
        let report = models.report(language);
        assert!(
            report.notes.concat().contains("no forks today")
                && report.picture.contains("no forks today")
        );
        assert!(report.tables.iter().all(|table| table.rows.len() == 3));
        assert!(
            !report.summary.concat().contains("processes"),
            "{:?}",
            report.summary
        );
    }
}

#[test]
fn missing_memory_is_noted() {
    let mut models = models();
    for stats in &mut models.stats {
        stats.memory = None;
        stats.memory_each = None;
    }
    let report = models.report(Language::English);
    assert!(
        report.notes.concat().contains("smaps_rollup"),
        "{}",
        report.text()
    );
    assert!(
        report.picture.contains("not told") && !report.summary.concat().contains("memory"),
        "{:?}",
        report.summary
    );
    roxmltree::Document::parse(&report.picture).unwrap();
}
