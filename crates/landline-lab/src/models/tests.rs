//! What is said is what was measured. The measuring itself needs a process without threads, so the
//! command's tests do it.

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn figures(
    model: Model,
    served: usize,
    per_second: f64,
    one_blocked: Duration,
    some_blocked: Duration,
) -> Figures {
    let service = Service {
        per_second,
        median: ms(1),
        worst_hundredth: ms(2),
        served,
    };
    Figures {
        model,
        long: service,
        short: Service {
            served: CLIENTS,
            ..service
        },
        memory: Some(3 << 20),
        memory_each: Some(1 << 14),
        one_blocked,
        some_blocked,
        some_waiting: (model == Model::Tasks).then_some(ms(1)),
    }
}

fn models() -> Models {
    Models {
        figures: vec![
            figures(Model::Inline, 1, 900.0, ms(290), ms(590)),
            figures(Model::Threads, CLIENTS, 800.0, ms(1), ms(2)),
            figures(Model::Processes, CLIENTS, 700.0, ms(3), ms(4)),
            figures(Model::Tasks, CLIENTS, 850.0, ms(5), ms(280)),
        ],
        missing: Vec::new(),
    }
}

#[test]
fn names_lead_to_models_and_back() {
    assert!(
        Model::ALL
            .iter()
            .all(|model| Model::of_name(model.name()) == Some(*model))
    );
    assert_eq!(Model::of_name("magic"), None);
}

#[test]
fn who_was_held_up_is_told_by_how_long_they_waited() {
    let [service, blocked] = models().report(Language::English).seen;
    assert!(
        service.contains("inline served 1 of 8 clients") && service.contains("tasks answered most"),
        "{service}"
    );
    assert!(
        blocked.contains("others with inline, and 2 did with inline and tasks (for up to 590 ms)"),
        "{blocked}"
    );
    assert!(
        blocked.contains("never with threads and processes; tasks that await"),
        "{blocked}"
    );
    let [service, blocked] = models().report(Language::Chinese).seen;
    assert!(
        service.contains("8 个客户端中的 1 个") && blocked.contains("threads 线程、processes 进程"),
        "{service}{blocked}"
    );
}

#[test]
fn a_model_that_could_not_be_measured_is_told_of_and_the_others_are_shown() {
    let mut models = models();
    models
        .figures
        .retain(|figures| figures.model != Model::Processes);
    models
        .missing
        .push((Model::Processes, "no forks today".to_owned()));
    for language in [Language::English, Language::Chinese] {
        let report = models.report(language);
        assert!(
            report.notes.concat().contains("no forks today")
                && report.picture.contains("no forks today")
        );
        assert!(report.tables.iter().all(|table| table.rows.len() == 3));
        assert!(
            !report.seen.concat().contains("processes"),
            "{:?}",
            report.seen
        );
    }
}

#[test]
fn a_system_that_does_not_tell_memory_is_told_of() {
    let mut models = models();
    for figures in &mut models.figures {
        (figures.memory, figures.memory_each) = (None, None);
    }
    let report = models.report(Language::English);
    assert!(
        report.notes.concat().contains("smaps_rollup"),
        "{}",
        report.text()
    );
    assert!(
        report.picture.contains("not told") && !report.seen[0].contains("weighs"),
        "{:?}",
        report.seen
    );
    roxmltree::Document::parse(&report.picture).unwrap();
}
