//! `udp-chat`: a relay for members that are known by their address.
//!
//! A member receives less than three times the bytes that it sent.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::Charset;

/// The maximum number of members.
const MEMBERS_MAX: usize = 1024;
/// The maximum length of a name, in characters.
const NAME_CHARACTERS_MAX: usize = 64;
/// Relayed bytes of a member stay below this multiple of its received bytes.
const AMPLIFICATION: u64 = 3;

/// A line of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatLine {
    /// The sender's name, if the line contains one.
    pub name: Option<String>,
    /// The text after the name.
    pub text: String,
}

impl ChatLine {
    /// Parses `NAME的消息:TEXT` or `NAME: TEXT`. Another line is a text without a name.
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

    /// The datagram `NAME的消息:TEXT`, or `NAME: TEXT` if the encoding lacks those.
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

#[derive(Debug)]
struct Member {
    latest: Instant,
    received: u64,
    relayed: u64,
}

/// The effects of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct ChatUpdate {
    /// The line in the datagram.
    pub line: ChatLine,
    /// Whether the sender is a new member.
    pub has_joined: bool,
    /// Whether the sender left with this line.
    pub has_left: bool,
    /// The members to whom the datagram is relayed unchanged.
    pub relay: Vec<SocketAddr>,
    /// The members that do not get it because they sent too little themselves.
    pub spared: usize,
}

/// The members of a chat.
#[derive(Debug)]
pub struct Members {
    idle_time_max: Duration,
    bye: String,
    charset: Charset,
    members: HashMap<SocketAddr, Member>,
}

impl Members {
    /// A chat without members.
    ///
    /// A line of the word `bye` leaves the chat. A member is removed after `idle_time_max` of
    /// silence.
    pub fn new(idle_time_max: Duration, bye: String, charset: Charset) -> Self {
        Self {
            idle_time_max,
            bye,
            charset,
            members: HashMap::new(),
        }
    }

    /// Handles a datagram. `None` if it would add a member above the limit.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<ChatUpdate> {
        self.handle_timeout(now);
        let has_joined = !self.members.contains_key(&from);
        if has_joined && self.members.len() >= MEMBERS_MAX {
            return None;
        }
        let line = ChatLine::parse(&self.charset.decode(bytes));
        let new = Member {
            latest: now,
            received: 0,
            relayed: 0,
        };
        let member = self.members.entry(from).or_insert(new);
        member.latest = now;
        member.received += bytes.len() as u64;
        let (relay, spared) = self.relay(from, bytes.len() as u64);
        let has_left = line.text.trim() == self.bye;
        if has_left {
            self.members.remove(&from);
        }
        Some(ChatUpdate {
            line,
            has_joined,
            has_left,
            relay,
            spared,
        })
    }

    /// The addresses of all members, for the operator's lines.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.keys().copied().collect()
    }

    /// The time at which the next member will have been silent for too long.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.members
            .values()
            .map(|member| member.latest + self.idle_time_max)
            .min()
    }

    /// Removes the members that were silent for too long, and returns them.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<SocketAddr> {
        let idle_time_max = self.idle_time_max;
        let is_expired =
            |member: &mut Member| now.saturating_duration_since(member.latest) >= idle_time_max;
        self.members
            .extract_if(|_, member| is_expired(member))
            .map(|(address, _)| address)
            .collect()
    }

    fn relay(&mut self, from: SocketAddr, bytes: u64) -> (Vec<SocketAddr>, usize) {
        let mut relay = Vec::new();
        let mut spared = 0;
        let others = self
            .members
            .iter_mut()
            .filter(|(address, _)| **address != from);
        for (address, member) in others {
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
    fn chat_line_has_name_in_both_notations() {
        for (line, name, text) in [
            ("alice的消息:你好: 世界", Some("alice"), "你好: 世界"),
            ("小明: hi的消息:x", Some("小明"), "hi的消息:x"),
            ("no name here", None, "no name here"),
            (": no name", None, ": no name"),
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
    fn members_join_leave_and_expire() {
        let mut members = members();
        let start = Instant::now();
        assert!(
            members
                .handle_datagram(start, at(1), b"a: one")
                .unwrap()
                .has_joined
        );
        let update = members
            .handle_datagram(start + IDLE / 2, at(2), b"b: two")
            .unwrap();
        assert_eq!((update.relay, update.has_left), (vec![at(1)], false));
        assert_eq!(members.poll_timeout(), Some(start + IDLE));
        assert_eq!(members.handle_timeout(start + IDLE), [at(1)]);
        let update = members
            .handle_datagram(start + IDLE, at(2), b"b: 886")
            .unwrap();
        assert!(update.has_left && update.relay.is_empty() && members.addresses().is_empty());
    }

    #[test]
    fn member_above_limit_is_rejected() {
        let mut members = members();
        let start = Instant::now();
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
        fn member_receives_less_than_three_times_what_it_sent(
            datagrams in proptest::collection::vec((1u16..6, 0usize..50), 0..200),
        ) {
            let mut members = members();
            let now = Instant::now();
            let mut sent = HashMap::<_, usize>::new();
            let mut received = HashMap::<_, usize>::new();
            for (port, length) in datagrams {
                *sent.entry(at(port)).or_default() += length;
                for address in members.handle_datagram(now, at(port), &vec![b'x'; length]).unwrap().relay {
                    prop_assert_ne!(address, at(port));
                    *received.entry(address).or_default() += length;
                    prop_assert!(received[&address] < 3 * sent[&address]);
                }
            }
        }
    }
}
