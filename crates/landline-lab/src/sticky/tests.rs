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
        sent: sent.to_vec(),
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
fn summary_omits_what_did_not_happen() {
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
    let [first, second] = sticky.report(Language::English).summary;
    assert!(
        first.contains("nothing stuck together") && first.contains("held nothing back"),
        "{first}"
    );
    assert!(
        second.contains("lost none") && second.contains("cut nothing off"),
        "{second}"
    );
    let [first, second] = sticky.report(Language::Chinese).summary;
    assert!(
        first.contains("没有粘包") && first.contains("没有攒住"),
        "{first}"
    );
    assert!(
        second.contains("没有丢失") && second.contains("没有截掉"),
        "{second}"
    );
}

#[test]
fn real_sockets_behave_as_every_system_must() {
    let sticky = Sticky::run().unwrap();
    assert_eq!(
        sticky.trials.len(),
        Transport::ALL.len() * Scenario::ALL.len()
    );
    for trial in &sticky.trials {
        match trial.transport {
            Transport::Framed => assert_eq!(trial.decoded.as_ref(), Some(&trial.sent)),
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
