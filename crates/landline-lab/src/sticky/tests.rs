//! How measurements are counted and told, on measurements made by hand; and that real ones hold
//! together.

use super::*;

fn part(message: usize, from: usize, bytes: usize, of: usize) -> Part {
    Part {
        message,
        kind: Kind::Payload,
        from,
        bytes,
        of,
    }
}

fn trial(way: Way, load: Load, sent: &[usize], receives: &[&[Part]]) -> Trial {
    let receives = receives
        .iter()
        .map(|parts| Receive {
            at: Duration::ZERO,
            parts: parts.to_vec(),
        })
        .collect();
    Trial {
        way,
        load,
        sent: sent.to_vec(),
        receives,
        decoded: None,
    }
}

#[test]
fn stuck_cut_lost_and_whole_are_told_apart() {
    let counts = |trial: Trial| (trial.stuck(), trial.cut(), trial.lost(), trial.whole());
    let (one, two) = (part(1, 0, 3, 3), part(2, 0, 4, 4));
    assert_eq!(
        counts(trial(Way::NoDelay, Load::Small, &[3, 4], &[&[one], &[two]])),
        (0, 0, 0, 2)
    );
    assert_eq!(
        counts(trial(Way::NoDelay, Load::Small, &[3, 4], &[&[one, two]])),
        (1, 0, 0, 0)
    );
    let cut = [part(2, 0, 1, 4), part(2, 1, 3, 4)];
    assert_eq!(
        counts(trial(
            Way::NoDelay,
            Load::Small,
            &[3, 4],
            &[&[one, cut[0]], &[cut[1]]]
        )),
        (1, 1, 0, 0)
    );
    assert_eq!(
        counts(trial(
            Way::Datagrams,
            Load::Big,
            &[3, 4],
            &[&[one], &[cut[0]]]
        )),
        (0, 0, 3, 1)
    );
    let framed = Trial {
        decoded: Some(vec![3, 4]),
        ..trial(Way::Framed, Load::Small, &[3, 4], &[&[one, two]])
    };
    assert_eq!(counts(framed), (1, 0, 0, 2));
}

#[test]
fn a_receive_is_cut_out_of_the_stream_where_it_was() {
    let whole = [part(1, 0, 3, 3), part(2, 0, 4, 4)];
    assert_eq!(
        trial::cut_out(&whole, 2, 3),
        [part(1, 2, 1, 3), part(2, 0, 2, 4)]
    );
    assert_eq!(trial::cut_out(&whole, 0, 7), whole);
    assert_eq!(trial::cut_out(&whole, 3, 0), []);
}

#[test]
fn what_did_not_happen_is_not_told() {
    let alone = |way| trial(way, Load::Small, &[3], &[&[part(1, 0, 3, 3)]]);
    let overruns = Way::ALL
        .map(|way| Overrun {
            way,
            sent: 9,
            arrived: 9,
            sending: Duration::ZERO,
        })
        .to_vec();
    let sticky = Sticky {
        trials: Way::ALL.map(alone).to_vec(),
        overruns,
    };
    let [first, second] = sticky.report(Language::English).seen;
    assert!(
        first.contains("nothing stuck together") && first.contains("held nothing back"),
        "{first}"
    );
    assert!(
        second.contains("lost none") && second.contains("cut nothing off"),
        "{second}"
    );
    let [first, second] = sticky.report(Language::Chinese).seen;
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
fn real_sockets_give_what_is_certain_on_every_system() {
    let sticky = Sticky::run().unwrap();
    assert_eq!(sticky.trials.len(), Way::ALL.len() * Load::ALL.len());
    for trial in &sticky.trials {
        match trial.way {
            Way::Framed => assert_eq!(trial.decoded.as_ref(), Some(&trial.sent)),
            Way::Datagrams => assert_eq!(
                (trial.stuck(), trial.cut()),
                (0, 0),
                "a datagram is one message"
            ),
            _ => assert_eq!(trial.lost(), 0, "TCP loses nothing"),
        }
    }
    let all_at_once = sticky.trial(Way::NoDelay, Load::Slow).unwrap();
    assert_eq!(
        all_at_once.receives.len(),
        1,
        "all of it was there before the reader came"
    );
    let big = sticky.trial(Way::Nagle, Load::Big).unwrap();
    assert!(
        big.cut() > 0,
        "a buffer of {BUFFER_BYTES} bytes cannot hold it"
    );
    for overrun in sticky
        .overruns
        .iter()
        .filter(|overrun| overrun.way != Way::Datagrams)
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
                .all(|table| table.rows.len() == Way::ALL.len()),
            "{}",
            report.text()
        );
    }
}
