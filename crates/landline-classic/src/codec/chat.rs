//! `udp-chat`: many members by address, and nobody is sent three times what it has sent.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::Charset;

/// Members at a time.
const MEMBERS_MAX: usize = 1024;
/// The longest name, in characters.
const NAME_CHARACTERS_MAX: usize = 64;
/// Relayed bytes stay below so many times the received ones.
const AMPLIFICATION: u64 = 3;

/// A line and who says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatLine {
    /// The name that it carries.
    pub name: Option<String>,
    /// The rest.
    pub text: String,
}

impl ChatLine {
    /// Takes apart `NAME的消息:TEXT` or `NAME: TEXT`; anything else is text without a name.
    pub fn parse(line: &str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        let parts = ["的消息:", "的消息：", ": "]
            .iter()
            .filter_map(|mark| line.split_once(mark));
        let first = parts.min_by_key(|(name, _)| name.len());
        match first
            .filter(|(name, _)| !name.is_empty() && name.chars().count() <= NAME_CHARACTERS_MAX)
        {
            Some((name, text)) => Self {
                name: Some(name.into()),
                text: text.into(),
            },
            None => Self {
                name: None,
                text: line.into(),
            },
        }
    }

    /// The datagram: `NAME的消息:TEXT`, or `NAME: TEXT` in an encoding that lacks the former.
    pub fn encode(name: &str, text: &str, charset: Charset) -> Vec<u8> {
        let custom = "的消息:";
        let mark = if charset.decode(&charset.encode(custom)) == custom {
            custom
        } else {
            ": "
        };
        charset.encode(&format!("{name}{mark}{text}"))
    }
}

/// A member.
#[derive(Debug)]
struct Member {
    name: Option<String>,
    latest: Instant,
    received: u64,
    relayed: u64,
}

/// What to make of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it says.
    pub line: ChatLine,
    /// Whether its sender is new.
    pub has_joined: bool,
    /// Whether its sender has left with it.
    pub has_left: bool,
    /// To whom the datagram goes on as it is.
    pub relay: Vec<SocketAddr>,
    /// How many members it does not go to, as they have sent too little themselves.
    pub spared: usize,
}

/// Who is there.
#[derive(Debug)]
pub struct Members {
    idle_time_max: Duration,
    bye: String,
    charset: Charset,
    members: HashMap<SocketAddr, Member>,
}

impl Members {
    /// Nobody yet. `bye` is the word that leaves; who says nothing for `idle_time_max` is
    /// forgotten.
    pub fn new(idle_time_max: Duration, bye: String, charset: Charset) -> Self {
        Self {
            idle_time_max,
            bye,
            charset,
            members: HashMap::new(),
        }
    }

    /// A datagram has come. `None` where there is no room for another member.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Heard> {
        self.handle_timeout(now);
        let has_joined = !self.members.contains_key(&from);
        if has_joined && self.members.len() >= MEMBERS_MAX {
            return None;
        }
        let line = ChatLine::parse(&self.charset.decode(bytes));
        let new = Member {
            name: None,
            latest: now,
            received: 0,
            relayed: 0,
        };
        let member = self.members.entry(from).or_insert(new);
        member.latest = now;
        member.received += bytes.len() as u64;
        if line.name.is_some() {
            member.name.clone_from(&line.name);
        }
        let (relay, spared) = self.relay(from, bytes.len() as u64);
        let has_left = line.text.trim() == self.bye;
        if has_left {
            self.members.remove(&from);
        }
        Some(Heard {
            line,
            has_joined,
            has_left,
            relay,
            spared,
        })
    }

    /// To whom the operator's own lines go: everybody.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.keys().copied().collect()
    }

    /// The name that a member last used.
    pub fn name(&self, address: SocketAddr) -> Option<&str> {
        self.members.get(&address)?.name.as_deref()
    }

    /// When somebody will have been silent for too long.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.members
            .values()
            .map(|member| member.latest + self.idle_time_max)
            .min()
    }

    /// Forgets who has been silent for too long; those who were.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<SocketAddr> {
        let idle_time_max = self.idle_time_max;
        let gone =
            |member: &mut Member| now.saturating_duration_since(member.latest) >= idle_time_max;
        self.members
            .extract_if(|_, member| gone(member))
            .map(|(address, _)| address)
            .collect()
    }

    /// A member cannot be reached.
    pub fn remove(&mut self, address: SocketAddr) {
        self.members.remove(&address);
    }

    fn relay(&mut self, from: SocketAddr, bytes: u64) -> (Vec<SocketAddr>, usize) {
        let (mut relay, mut spared) = (Vec::new(), 0);
        for (address, member) in self
            .members
            .iter_mut()
            .filter(|(address, _)| **address != from)
        {
            if member.relayed + bytes < AMPLIFICATION * member.received {
                member.relayed += bytes;
                relay.push(*address);
            } else {
                spared += 1;
            }
        }
        (relay, spared)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn members() -> Members {
        Members::new(IDLE, "886".into(), Charset::default())
    }

    #[test]
    fn a_line_says_whose_it_is_in_either_custom() {
        for (line, name, text) in [
            ("alice的消息:你好: 世界", Some("alice"), "你好: 世界"),
            ("小明: hi的消息:x", Some("小明"), "hi的消息:x"),
            ("no name here", None, "no name here"),
            (": nobody", None, ": nobody"),
            ("的消息:你好 bob: x", None, "的消息:你好 bob: x"),
            ("bob: \n", Some("bob"), ""),
        ] {
            assert_eq!(
                ChatLine::parse(line),
                ChatLine {
                    name: name.map(Into::into),
                    text: text.into()
                },
                "{line}"
            );
        }
        assert_eq!(
            ChatLine::encode("li", "hi", Charset::default()),
            "li的消息:hi".as_bytes()
        );
        assert_eq!(
            ChatLine::encode("li", "hi", "latin1".parse().unwrap()),
            b"li: hi"
        );
    }

    #[test]
    fn members_come_and_leave_and_are_forgotten() {
        let (mut members, start) = (members(), Instant::now());
        assert!(
            members
                .handle_datagram(start, at(1), b"a: one")
                .unwrap()
                .has_joined
        );
        let heard = members
            .handle_datagram(start + IDLE / 2, at(2), b"b: two")
            .unwrap();
        assert_eq!((heard.relay, heard.has_left), (vec![at(1)], false));
        assert_eq!(members.poll_timeout(), Some(start + IDLE));
        assert_eq!(members.handle_timeout(start + IDLE), [at(1)]);
        let heard = members
            .handle_datagram(start + IDLE, at(2), b"b: 886")
            .unwrap();
        assert!(heard.has_left && heard.relay.is_empty() && members.addresses().is_empty());
    }

    #[test]
    fn there_is_an_end_to_the_members() {
        let (mut members, start) = (members(), Instant::now());
        for port in 0..MEMBERS_MAX as u16 {
            members.handle_datagram(start, at(port), b"x").unwrap();
        }
        assert_eq!(members.handle_datagram(start, at(9999), b"x"), None);
        assert!(
            members
                .handle_datagram(start + IDLE, at(9999), b"x")
                .is_some()
        );
    }

    proptest! {
        /// Proves `amplification` in docs/faults.md.
        #[test]
        fn nobody_is_relayed_three_times_what_it_sent(
            datagrams in proptest::collection::vec((1u16..6, 0usize..50), 0..200),
        ) {
            let (mut members, now) = (members(), Instant::now());
            let (mut sent, mut got) = (HashMap::<_, usize>::new(), HashMap::<_, usize>::new());
            for (port, length) in datagrams {
                *sent.entry(at(port)).or_default() += length;
                for address in members.handle_datagram(now, at(port), &vec![b'x'; length]).unwrap().relay {
                    prop_assert_ne!(address, at(port));
                    *got.entry(address).or_default() += length;
                    prop_assert!(got[&address] < 3 * sent[&address]);
                }
            }
        }
    }
}
