//! Tests of the reports with made-up measurements, and of the real measurement.

use super::*;

fn lifecycle(has_kernel_states: bool) -> Lifecycle {
    let ms = Duration::from_millis;
    let state = |state| has_kernel_states.then_some(state);
    Lifecycle {
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
fn missing_connection_states_are_noted() {
    let report = lifecycle(false).report(Language::English);
    assert!(
        report.notes.concat().contains("no /proc/net/tcp"),
        "{}",
        report.text()
    );
    assert!(report.picture.contains("not told") && !report.picture.contains("TIME_WAIT<"));
    assert!(lifecycle(true).report(Language::English).notes.is_empty());
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
    let [first, second] = lifecycle(true).report(Language::English).summary;
    assert!(
        first.contains("SYN_SENT, TIME_WAIT, and the side that finished first"),
        "{first}"
    );
    assert!(
        second.contains("accept() returned only when")
            && second.contains("of 4 callers of listen(2) 2 were connected"),
        "{second}"
    );
    assert!(!second.contains("recv()"), "it was not measured: {second}");
}

#[test]
fn real_connection_goes_through_all_states() {
    let lifecycle = Lifecycle::run().unwrap();
    assert_eq!(lifecycle.steps.len(), 9);
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
