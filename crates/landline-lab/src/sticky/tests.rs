//! Tests of counts and reports, and of the real measurement.

use super::*;

fn part(message: usize, offset: usize, bytes: usize, whole_bytes: usize) -> Part {
    Part {
        message,
        kind: PartKind::Payload,
        offset,
        bytes,
        whole_bytes,
    }
}

fn trial(transport: Transport, scenario: Scenario, sent: &[usize], receives: &[&[Part]]) -> Trial {
    let receives = receives
        .iter()
        .map(|parts| Receive {
            at: Duration::ZERO,
            parts: parts.to_vec(),
        })
        .collect();
    Trial {
        transport,
        scenario,
        sent: sent
            .iter()
            .map(|bytes| Message {
                payload: vec![0; *bytes],
                text: None,
            })
            .collect(),
        receives,
        decoded: None,
    }
}

#[test]
fn merged_split_lost_and_whole_are_counted() {
    let counts = |trial: Trial| {
        (
            trial.merged_receives(),
            trial.split_messages(),
            trial.lost_bytes(),
            trial.whole_messages(),
        )
    };
    let one = part(1, 0, 3, 3);
    let two = part(2, 0, 4, 4);
    assert_eq!(
        counts(trial(
            Transport::NoDelay,
            Scenario::SmallSends,
            &[3, 4],
            &[&[one], &[two]]
        )),
        (0, 0, 0, 2)
    );
    assert_eq!(
        counts(trial(
            Transport::NoDelay,
            Scenario::SmallSends,
            &[3, 4],
            &[&[one, two]]
        )),
        (1, 0, 0, 0)
    );
    let cut = [part(2, 0, 1, 4), part(2, 1, 3, 4)];
    assert_eq!(
        counts(trial(
            Transport::NoDelay,
            Scenario::SmallSends,
            &[3, 4],
            &[&[one, cut[0]], &[cut[1]]]
        )),
        (1, 1, 0, 0)
    );
    assert_eq!(
        counts(trial(
            Transport::Datagrams,
            Scenario::BigSend,
            &[3, 4],
            &[&[one], &[cut[0]]]
        )),
        (0, 0, 3, 1)
    );
    let framed = Trial {
        decoded: Some(vec![3, 4]),
        ..trial(
            Transport::Framed,
            Scenario::SmallSends,
            &[3, 4],
            &[&[one, two]],
        )
    };
    assert_eq!(counts(framed), (1, 0, 0, 2));
}

#[test]
fn receive_is_divided_into_parts() {
    let whole = [part(1, 0, 3, 3), part(2, 0, 4, 4)];
    assert_eq!(
        trial::parts_in_range(&whole, 2, 3),
        [part(1, 2, 1, 3), part(2, 0, 2, 4)]
    );
    assert_eq!(trial::parts_in_range(&whole, 0, 7), whole);
    assert_eq!(trial::parts_in_range(&whole, 3, 0), []);
}

#[test]
fn summary_omits_absent_effects() {
    let alone = |transport| {
        trial(
            transport,
            Scenario::SmallSends,
            &[3],
            &[&[part(1, 0, 3, 3)]],
        )
    };
    let overruns = Transport::ALL
        .map(|transport| Overrun {
            transport,
            sent: 9,
            arrived: 9,
            send_time: Duration::ZERO,
        })
        .to_vec();
    let sticky = Sticky {
        trials: Transport::ALL.map(alone).to_vec(),
        overruns,
    };
    let summary = sticky.report(Language::English).summary.join("\n");
    for part in [
        "all 2 messages came alone",
        "held nothing back",
        "UDP lost no message",
        "cut nothing off",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let summary = sticky.report(Language::Chinese).summary.join("\n");
    for part in ["没有粘包", "没有攒住", "UDP 一条不丢", "没有截掉"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
}

#[test]
fn real_sockets_behave_as_every_system_must() {
    let sticky = Sticky::run(&[]).unwrap();
    assert_eq!(
        sticky.trials.len(),
        Transport::ALL.len() * Scenario::ALL.len()
    );
    for trial in &sticky.trials {
        match trial.transport {
            Transport::Framed => assert_eq!(trial.whole_messages(), trial.sent.len()),
            Transport::Datagrams => assert_eq!(
                (trial.merged_receives(), trial.split_messages()),
                (0, 0),
                "a datagram is one message"
            ),
            _ => assert_eq!(trial.lost_bytes(), 0, "TCP loses nothing"),
        }
    }
    let all_at_once = sticky
        .trial(Transport::NoDelay, Scenario::SlowReader)
        .unwrap();
    assert_eq!(
        all_at_once.receives.len(),
        1,
        "all of it was there before the reader arrived"
    );
    let big = sticky.trial(Transport::Nagle, Scenario::BigSend).unwrap();
    assert!(
        big.split_messages() > 0,
        "a buffer of {BUFFER_BYTES} bytes cannot hold it"
    );
    for overrun in sticky
        .overruns
        .iter()
        .filter(|overrun| overrun.transport != Transport::Datagrams)
    {
        assert_eq!(overrun.arrived, overrun.sent);
    }
    for language in [Language::English, Language::Chinese] {
        let report = sticky.report(language);
        roxmltree::Document::parse(&report.picture).unwrap();
        assert!(
            report
                .tables
                .iter()
                .all(|table| table.rows.len() == Transport::ALL.len()),
            "{}",
            report.text()
        );
    }
}

#[test]
fn own_messages_are_shown_as_received() {
    let texts = ["hello", "world", "你好"].map(str::to_owned);
    let sticky = Sticky::run(&texts).unwrap();
    let slow = |transport| sticky.trial(transport, Scenario::SlowReader).unwrap();
    assert_eq!(slow(Transport::NoDelay).receives.len(), 1);
    assert_eq!(slow(Transport::Datagrams).whole_messages(), 3);
    for language in [Language::English, Language::Chinese] {
        let report = sticky.report(language);
        let text = report.text();
        assert!(text.contains("[helloworld你好]"), "{text}");
        assert!(text.contains("[(5)hello(5)world(6)你好]"), "{text}");
        assert!(text.contains("[hello] [world] [你好]"), "{text}");
        assert!(report.picture.contains(">hello</text>"));
    }
}

#[test]
fn bad_own_messages_are_rejected() {
    let twelve = vec!["x".to_owned(); 12];
    let thirteen = vec!["x".to_owned(); 13];
    assert!(check(&twelve).is_ok() && check(&["x".repeat(1000)]).is_ok());
    for bad in [thirteen, vec![String::new()], vec!["x".repeat(1001)]] {
        assert_eq!(check(&bad).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
