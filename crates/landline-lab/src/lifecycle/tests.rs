//! What is said is what was measured; and real sockets go through their life.

use super::*;

fn lifecycle(kernel_tells: bool) -> Lifecycle {
    let ms = Duration::from_millis;
    let state = |state| kernel_tells.then_some(state);
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
        kernel_tells,
        calls: vec![Blocked {
            call: Call::Accept,
            took: ms(151),
            other_side: Some(ms(150)),
        }],
        rebinds: vec![
            (Rebind::Plain, Err(io::ErrorKind::AddrInUse)),
            (Rebind::Reuse, Ok(())),
        ],
        backlog: Backlog {
            asked: 2,
            callers: [Some(ms(1)), Some(ms(11)), Some(ms(1030)), None]
                .map(|connected| Caller {
                    connected,
                    server: state(TcpState::SynReceived),
                    ..Caller::default()
                })
                .to_vec(),
            accepted: ms(400),
            waited: ms(1600),
        },
    }
}

#[test]
fn a_system_that_does_not_tell_states_is_told_of() {
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
fn callers_are_counted_by_when_they_were_connected() {
    let backlog = lifecycle(true).backlog;
    assert_eq!(
        (
            backlog.before_accept(),
            backlog.after_accept(),
            backlog.half_open()
        ),
        (2, 1, 3)
    );
    let [first, second] = lifecycle(true).report(Language::English).seen;
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
fn a_real_connection_lives_and_dies() {
    let lifecycle = Lifecycle::run().unwrap();
    assert_eq!(lifecycle.steps.len(), 9);
    for call in [Call::Accept, Call::Receive, Call::SendBig] {
        let blocked = lifecycle.call(call).unwrap();
        assert!(
            blocked.took >= blocked.other_side.unwrap(),
            "{call:?} returned before there was anything"
        );
    }
    assert_eq!(lifecycle.rebind(Rebind::Reuse), Some(Ok(())));
    assert_eq!(
        lifecycle.rebind(Rebind::Living),
        Some(Err(io::ErrorKind::AddrInUse))
    );
    if cfg!(target_os = "linux") && lifecycle.kernel_tells {
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
