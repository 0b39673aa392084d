//! Tests of the reports with made-up measurements, and of the real measurement.

use super::*;

fn lifecycle(has_kernel_states: bool) -> Lifecycle {
    let ms = Duration::from_millis;
    let state = |state| has_kernel_states.then_some(state);
    Lifecycle {
        plain: vec![
            Step {
                action: Action::Handshake,
                client: state(TcpState::Established),
                server: state(TcpState::Established),
            },
            Step {
                action: Action::LastClose,
                client: state(TcpState::TimeWait),
                server: None,
            },
        ],
        time_wait: has_kernel_states.then_some(ms(59_960)),
        steps: vec![
            Step {
                action: Action::Connect,
                client: state(TcpState::SynSent),
                server: None,
            },
            Step {
                action: Action::Close,
                client: state(TcpState::TimeWait),
                server: None,
            },
        ],
        has_kernel_states,
        calls: vec![CallTiming {
            call: Call::Accept,
            took: ms(151),
            peer_acted: Some(ms(150)),
        }],
        rebinds: vec![
            (Rebind::WithoutReuse, Err(io::ErrorKind::AddrInUse)),
            (Rebind::WithReuse, Ok(())),
        ],
        backlog: Backlog {
            requested: 2,
            callers: [Some(ms(1)), Some(ms(11)), Some(ms(1030)), None]
                .map(|connected| Caller {
                    connected,
                    server: state(TcpState::SynReceived),
                    ..Caller::default()
                })
                .to_vec(),
            accepted_at: ms(400),
            observed_for: ms(1600),
        },
    }
}

#[test]
fn missing_time_wait_is_explained() {
    let full = Lifecycle {
        time_wait: None,
        ..lifecycle(true)
    };
    for (language, advice) in [
        (Language::English, "Run this again in a minute."),
        (Language::Chinese, "请过一分钟再运行一次。"),
    ] {
        // A line may be broken anywhere.
        let packed = |text: &str| text.split_whitespace().collect::<String>();
        let is_advised = |measured: &Lifecycle| {
            packed(&measured.report(language).text()).contains(&packed(advice))
        };
        assert!(is_advised(&full));
        assert!(!is_advised(&lifecycle(true)) && !is_advised(&lifecycle(false)));
    }
}

#[test]
fn missing_connection_states_are_noted() {
    let report = lifecycle(false).report(Language::English);
    assert!(
        report.notes.concat().contains("no /proc/net/tcp"),
        "{}",
        report.text()
    );
    assert!(report.picture.contains("not told") && !report.picture.contains(">TIME_WAIT<"));
    assert_eq!(lifecycle(true).report(Language::English).notes.len(), 1);
    assert!(
        lifecycle(false)
            .report(Language::Chinese)
            .notes
            .concat()
            .contains("没有 /proc/net/tcp")
    );
}

#[test]
fn callers_are_counted_by_connection_time() {
    let backlog = lifecycle(true).backlog;
    assert_eq!(
        (
            backlog.before_accept(),
            backlog.after_accept(),
            backlog.half_open()
        ),
        (2, 1, 3)
    );
    let summary = lifecycle(true).report(Language::English).summary.join("\n");
    for part in [
        "client's end went through SYN_SENT, TIME_WAIT",
        "in TIME_WAIT, here for 60.0 s",
        "accept() returned only when",
        "Of 4 callers of listen(2), 2 connected",
        "3 of those that connected are still in SYN_RECV",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    assert!(
        !summary.contains("recv()"),
        "it was not measured: {summary}"
    );
}

#[test]
fn real_connection_goes_through_all_states() {
    let lifecycle = Lifecycle::run().unwrap();
    assert_eq!((lifecycle.plain.len(), lifecycle.steps.len()), (6, 9));
    for call in [Call::Accept, Call::Receive, Call::SendBig] {
        let timing = lifecycle.call(call).unwrap();
        assert!(
            timing.took >= timing.peer_acted.unwrap(),
            "{call:?} returned before there was anything"
        );
    }
    assert_eq!(lifecycle.rebind(Rebind::WithReuse), Some(Ok(())));
    assert_eq!(
        lifecycle.rebind(Rebind::OpenListener),
        Some(Err(io::ErrorKind::AddrInUse))
    );
    if cfg!(target_os = "linux") && lifecycle.has_kernel_states {
        let seen: Vec<TcpState> = lifecycle
            .steps
            .iter()
            .flat_map(|step| [step.client, step.server])
            .flatten()
            .collect();
        use TcpState as S;
        let ends = |index: usize| (lifecycle.plain[index].client, lifecycle.plain[index].server);
        assert_eq!(ends(0), (None, Some(S::Listen)));
        for index in 1..=3 {
            assert_eq!(ends(index), (Some(S::Established), Some(S::Established)));
        }
        assert_eq!(ends(4), (Some(S::FinWait2), Some(S::CloseWait)));
        assert_eq!(ends(5), (Some(S::TimeWait), None));
        let time_wait = lifecycle.time_wait.unwrap();
        assert!(time_wait > Duration::from_secs(1), "{time_wait:?}");
        for state in [
            S::Listen,
            S::SynSent,
            S::Established,
            S::FinWait1,
            S::FinWait2,
            S::CloseWait,
            S::LastAck,
            S::TimeWait,
        ] {
            assert!(seen.contains(&state), "{state} was not seen: {seen:?}");
        }
    }
    for language in [Language::English, Language::Chinese] {
        roxmltree::Document::parse(&lifecycle.report(language).picture).unwrap();
    }
}

#[test]
fn stepwise_measurement_halts_in_each_state() {
    let mut halts = Vec::new();
    let lifecycle = Lifecycle::run_stepwise(Language::English, |text| {
        halts.push(text.to_owned());
        Ok(())
    })
    .unwrap();
    assert_eq!(halts.len(), lifecycle.plain.len() + lifecycle.steps.len());
    assert!(
        halts.iter().all(|text| text.contains("ss -tan")),
        "{halts:?}"
    );
    let error = Lifecycle::run_stepwise(Language::Chinese, |_| Err(io::Error::other("enough")));
    assert_eq!(error.unwrap_err().to_string(), "enough");
}
