//! `udp-chat`: a relay for members that are known by their address.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ChatLine, DialectError, Encodings, HmacKind,
    chat_line::{SERVER_NAME, TOKEN_BYTES, TOKEN_MARK},
};
use crate::{
    Wording,
    budget::{Bucket, Repeats, SERVICE_PORTS},
};

/// The maximum number of members.
const MEMBERS_MAX: usize = 1024;
/// Relayed bytes of a member stay below this multiple of its received bytes.
const AMPLIFICATION: u64 = 3;
/// Datagrams to one member in a second.
const MEMBER_RATE: f64 = 200.0;
/// Datagrams to all members in a second.
const TOTAL_RATE: f64 = 2000.0;
/// Datagrams that may wait for a member.
const QUEUE_MAX: usize = 2000;
/// Bytes of datagrams that may wait for all members.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// How often the same line is relayed without a rest.
const REPEATS_MAX: u32 = 1000;
/// The time between two announcements to a member.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that a member's limit keeps for its token, in the longest encoding.
const TOKEN_RESERVE: u64 = 60;

/// A member of a chat.
#[derive(Debug)]
struct Member {
    latest: Instant,
    received: u64,
    relayed: u64,
    /// Whether the member is known to receive what is sent to its address.
    is_trusted: bool,
    is_token_sent: bool,
    rate: Bucket,
    /// The datagrams to send, each with its number.
    queue: VecDeque<(u64, Arc<[u8]>)>,
    /// The members that did not get a line of this one, since the latest announcement.
    held: usize,
    announced_at: Option<Instant>,
}

/// The effects of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct ChatUpdate {
    /// The line in the datagram; `None` if it was a token.
    pub line: Option<ChatLine>,
    /// Whether the sender is a new member.
    pub has_joined: bool,
    /// Whether the sender left with this line.
    pub has_left: bool,
    /// The members to whom the line is not relayed, because of their limits.
    pub held: usize,
}

/// The reason why a datagram is not relayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatRefusal {
    /// There are too many members.
    #[error("there are too many members")]
    Full,
    /// The datagram comes from a port below 1024, whose service may answer each line.
    #[error("a port of a service, which may answer each line")]
    Service,
    /// The same line came too often. Servers may relay each other's lines.
    #[error("the same line came too often; it may come from another server")]
    Repeats,
    /// The line does not decode.
    #[error("{0}")]
    Undecodable(DialectError),
}

impl ChatRefusal {
    /// The reason in both languages.
    pub fn wording(&self) -> Wording {
        let chinese = match self {
            Self::Full => "成员太多".into(),
            Self::Service => "来自系统服务的端口，它可能会回答每一行".into(),
            Self::Repeats => "同一行来得太多；可能来自另一台服务器".into(),
            Self::Undecodable(error) => error.wording().chinese,
        };
        Wording::new(self.to_string(), chinese)
    }
}

/// The members of a chat, and the datagrams that are to be sent to them.
///
/// A member that is near gets up to 200 datagrams a second, all members 2,000; more are queued.
/// Another member receives less than three times the bytes that it sent, until it returns a token.
#[derive(Debug)]
pub struct Members {
    idle_time_max: Duration,
    bye: String,
    encodings: Encodings,
    key: [u8; 32],
    members: HashMap<SocketAddr, Member>,
    rate: Bucket,
    repeats: Repeats<u64>,
    /// The number of the next datagram.
    number: u64,
    queued_bytes: usize,
}

impl Members {
    /// A chat without members.
    ///
    /// A line of the word `bye` leaves the chat. A member is removed after `idle_time_max` of
    /// silence. `key` is random, and makes the tokens.
    pub fn new(
        now: Instant,
        idle_time_max: Duration,
        bye: String,
        encodings: Encodings,
        key: [u8; 32],
    ) -> Self {
        Self {
            idle_time_max,
            bye,
            encodings,
            key,
            members: HashMap::new(),
            rate: Bucket::new(now, TOTAL_RATE, TOTAL_RATE),
            repeats: Repeats::new(REPEATS_MAX),
            number: 0,
            queued_bytes: 0,
        }
    }

    /// Handles a datagram. `is_near` says whether `from` is on a network of this machine.
    ///
    /// # Errors
    /// The reason why it is not relayed. A member that sent it stays one.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        is_near: bool,
        bytes: &[u8],
    ) -> Result<ChatUpdate, ChatRefusal> {
        self.handle_timeout(now);
        let has_joined = !self.members.contains_key(&from);
        if from.port() < SERVICE_PORTS {
            return Err(ChatRefusal::Service);
        }
        if has_joined && self.members.len() >= MEMBERS_MAX {
            return Err(ChatRefusal::Full);
        }
        if !self.repeats.count(now, hash_of(bytes)) {
            return Err(ChatRefusal::Repeats);
        }
        let member = self.members.entry(from).or_insert_with(|| Member {
            latest: now,
            received: 0,
            relayed: 0,
            is_trusted: false,
            is_token_sent: false,
            rate: Bucket::new(now, MEMBER_RATE, MEMBER_RATE),
            queue: VecDeque::new(),
            held: 0,
            announced_at: None,
        });
        member.latest = now;
        member.received += bytes.len() as u64;
        member.is_trusted |= is_near;
        let text = match self.encodings.received.try_decode(bytes) {
            Ok(text) => text,
            Err(error) => {
                self.announce(now, from, &format!("not relayed: {error}"));
                return Err(ChatRefusal::Undecodable(error));
            }
        };
        let line = ChatLine::parse(&text);
        let token = self.token(from);
        let mut update = ChatUpdate {
            line: None,
            has_joined,
            has_left: false,
            held: 0,
        };
        if line.text.trim() == token {
            if let Some(member) = self.members.get_mut(&from) {
                member.is_trusted = true;
            }
            return Ok(update);
        }
        self.send_token(from, &token);
        let datagram: Arc<[u8]> = if self.encodings.received == self.encodings.sent {
            bytes.into()
        } else {
            self.encodings.sent.encode(&text).into()
        };
        update.held = self.relay(from, &datagram);
        update.has_left = line.text.trim() == self.bye;
        if update.has_left {
            self.remove(from);
        } else if let Some(member) = self.members.get_mut(&from)
            && update.held > 0
        {
            member.held += update.held;
            let held = member.held;
            self.announce(now, from, &format!("held back: {held}"));
        }
        update.line = Some(line);
        Ok(update)
    }

    /// The addresses of all members, for the operator's lines.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.keys().copied().collect()
    }

    /// The next datagram to send now, and its receiver. Call it until it returns `None`.
    pub fn poll_send(&mut self, now: Instant) -> Option<(SocketAddr, Arc<[u8]>)> {
        let next = self
            .members
            .iter_mut()
            .filter_map(|(address, member)| {
                let (number, _) = member.queue.front()?;
                member.rate.has_token(now).then_some((*number, *address))
            })
            .min()?;
        if !self.rate.take(now) {
            return None;
        }
        let (_, address) = next;
        let member = self.members.get_mut(&address)?;
        member.rate.take(now);
        let (_, datagram) = member.queue.pop_front()?;
        self.queued_bytes -= datagram.len();
        Some((address, datagram))
    }

    /// The time at which a member will have been silent for too long, or a datagram can be sent.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let idle_time_max = self.idle_time_max;
        let expiry = self
            .members
            .values()
            .map(|member| member.latest + idle_time_max)
            .min();
        let member_wait = self
            .members
            .values_mut()
            .filter(|member| !member.queue.is_empty())
            .map(|member| member.rate.wait_time(now))
            .min();
        let sending = member_wait.map(|wait| now + wait.max(self.rate.wait_time(now)));
        expiry.into_iter().chain(sending).min()
    }

    /// Removes the members that were silent for too long, and returns them.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<SocketAddr> {
        let expired: Vec<SocketAddr> = self
            .members
            .iter()
            .filter(|(_, member)| {
                now.saturating_duration_since(member.latest) >= self.idle_time_max
            })
            .map(|(address, _)| *address)
            .collect();
        for address in &expired {
            self.remove(*address);
        }
        expired
    }

    fn remove(&mut self, address: SocketAddr) {
        if let Some(member) = self.members.remove(&address) {
            let bytes: usize = member.queue.iter().map(|(_, bytes)| bytes.len()).sum();
            self.queued_bytes -= bytes;
        }
    }

    /// Queues a line for all other members, and returns the number of those that do not get it.
    fn relay(&mut self, from: SocketAddr, datagram: &Arc<[u8]>) -> usize {
        let others: Vec<SocketAddr> = self
            .members
            .keys()
            .copied()
            .filter(|address| *address != from)
            .collect();
        let is_held = |address: &SocketAddr| !self.enqueue(*address, datagram, TOKEN_RESERVE);
        others.iter().copied().filter(is_held).count()
    }

    /// Queues a datagram if the limits of the member allow it.
    ///
    /// `reserve` bytes of a member that is not trusted are kept for its token.
    fn enqueue(&mut self, address: SocketAddr, datagram: &Arc<[u8]>, reserve: u64) -> bool {
        let bytes = datagram.len();
        let Some(member) = self.members.get_mut(&address) else {
            return false;
        };
        let reserve = if member.is_token_sent { 0 } else { reserve };
        let is_allowed = member.is_trusted
            || member.relayed + bytes as u64 + reserve < AMPLIFICATION * member.received;
        let has_room =
            member.queue.len() < QUEUE_MAX && self.queued_bytes + bytes <= QUEUED_BYTES_MAX;
        if is_allowed && has_room {
            member.relayed += bytes as u64;
            member.queue.push_back((self.number, datagram.clone()));
            self.number += 1;
            self.queued_bytes += bytes;
        }
        is_allowed && has_room
    }

    /// Tells a member why its lines do not reach all others, at most once a second.
    fn announce(&mut self, now: Instant, address: SocketAddr, text: &str) {
        let Some(member) = self.members.get_mut(&address) else {
            return;
        };
        let is_recent = |at| now.saturating_duration_since(at) < ANNOUNCE_PAUSE;
        if member.announced_at.is_some_and(is_recent) {
            return;
        }
        let datagram = ChatLine::encode(SERVER_NAME, text, self.encodings.sent).into();
        if self.enqueue(address, &datagram, 0)
            && let Some(member) = self.members.get_mut(&address)
        {
            member.announced_at = Some(now);
            member.held = 0;
        }
    }

    /// Sends its token to a member that is not trusted, once that is allowed.
    fn send_token(&mut self, address: SocketAddr, token: &str) {
        let needs_token = |member: &Member| !member.is_trusted && !member.is_token_sent;
        if !self.members.get(&address).is_some_and(needs_token) {
            return;
        }
        let datagram = ChatLine::encode(SERVER_NAME, token, self.encodings.sent).into();
        if self.enqueue(address, &datagram, 0)
            && let Some(member) = self.members.get_mut(&address)
        {
            member.is_token_sent = true;
        }
    }

    /// The text that a member returns to prove that it receives what is sent to its address.
    fn token(&self, address: SocketAddr) -> String {
        let mac = HmacKind::Sha256.answer(&self.key, address.to_string().as_bytes());
        let digits: String = mac
            .iter()
            .take(TOKEN_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{TOKEN_MARK}{digits}")
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Charset;

    const IDLE: Duration = Duration::from_secs(60);

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn members() -> Members {
        let encodings = Encodings::default();
        Members::new(Instant::now(), IDLE, "886".into(), encodings, [7; 32])
    }

    /// The datagrams that can be sent now.
    fn sent(members: &mut Members, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        std::iter::from_fn(|| members.poll_send(now))
            .map(|(address, datagram)| (address, datagram.to_vec()))
            .collect()
    }

    #[test]
    fn members_join_leave_and_expire() {
        let mut members = members();
        let start = Instant::now();
        let update = members.handle_datagram(start, at(2001), true, b"a: one");
        assert!(update.unwrap().has_joined);
        let later = start + IDLE / 2;
        let update = members
            .handle_datagram(later, at(2002), true, b"b: two")
            .unwrap();
        assert_eq!((update.held, update.has_left), (0, false));
        assert_eq!(members.poll_timeout(later), Some(later));
        assert_eq!(sent(&mut members, later), [(at(2001), b"b: two".to_vec())]);
        assert_eq!(members.poll_timeout(later), Some(start + IDLE));
        assert_eq!(members.handle_timeout(start + IDLE), [at(2001)]);
        let update = members
            .handle_datagram(start + IDLE, at(2002), true, b"b: 886")
            .unwrap();
        assert!(update.has_left && members.addresses().is_empty());
        assert_eq!(members.queued_bytes, 0);
    }

    #[test]
    fn member_above_limit_is_rejected() {
        let mut members = members();
        let start = Instant::now();
        for port in 0..MEMBERS_MAX as u16 {
            let line = format!("x{port}");
            members
                .handle_datagram(start, at(2000 + port), false, line.as_bytes())
                .unwrap();
        }
        assert_eq!(
            members.handle_datagram(start, at(9999), false, b"x"),
            Err(ChatRefusal::Full)
        );
        assert!(
            members
                .handle_datagram(start + IDLE, at(9999), false, b"x")
                .is_ok()
        );
    }

    #[test]
    fn class_of_thirty_gets_every_line() {
        let mut members = members();
        let mut now = Instant::now();
        let mut received = HashMap::<_, usize>::new();
        for line in 0..5 {
            for port in 0..30 {
                let text = format!("{port}: {line}");
                let update = members.handle_datagram(now, at(3000 + port), true, text.as_bytes());
                assert_eq!(update.unwrap().held, 0);
            }
        }
        while members
            .members
            .values()
            .any(|member| !member.queue.is_empty())
        {
            for (address, _) in sent(&mut members, now) {
                *received.entry(address).or_default() += 1;
            }
            now = members
                .poll_timeout(now)
                .unwrap()
                .max(now + Duration::from_millis(1));
        }
        // Those who speak first are joined by the others later.
        assert_eq!(received[&at(3000)], 145);
        assert_eq!(received[&at(3029)], 145 - 29);
    }

    #[test]
    fn held_lines_are_announced_to_sender() {
        let mut members = members();
        let now = Instant::now();
        members
            .handle_datagram(now, at(2001), true, b"near")
            .unwrap();
        members
            .handle_datagram(now, at(2002), false, b"far")
            .unwrap();
        sent(&mut members, now);
        let long = [b'x'; 100];
        let update = members.handle_datagram(now, at(2001), true, &long).unwrap();
        assert_eq!(update.held, 1);
        let datagrams = sent(&mut members, now);
        assert_eq!(
            datagrams,
            [(at(2001), "landline的消息:held back: 1".as_bytes().to_vec())]
        );
    }

    #[test]
    fn returned_token_lifts_limit() {
        let mut members = members();
        let now = Instant::now();
        let update = members.handle_datagram(now, at(2002), false, b"li: a line to join with");
        assert!(update.unwrap().has_joined);
        let [(_, token)] = sent(&mut members, now).try_into().unwrap();
        let line = ChatLine::parse(str::from_utf8(&token).unwrap());
        assert!(line.is_token());
        let long = [b'x'; 200];
        let held = |members: &mut Members| {
            members
                .handle_datagram(now, at(2001), true, &long)
                .unwrap()
                .held
        };
        assert_eq!(held(&mut members), 1);
        // The token of another address proves nothing.
        let forged = format!("li: {}", members.token(at(2003)));
        members
            .handle_datagram(now, at(2002), false, forged.as_bytes())
            .unwrap();
        assert_eq!(held(&mut members), 1);
        let returned = ChatLine::encode("li", &line.text, Charset::default());
        let update = members
            .handle_datagram(now, at(2002), false, &returned)
            .unwrap();
        assert_eq!(update.line, None);
        assert_eq!(held(&mut members), 0);
    }

    /// Proves `datagram-loop` in docs/faults.md.
    #[test]
    fn loop_of_relays_ends() {
        let mut members = members();
        let now = Instant::now();
        for port in [2001, 2002] {
            members
                .handle_datagram(now, at(port), true, b"join")
                .unwrap();
        }
        let relayed = (0..2000)
            .filter(|turn| {
                let from = at(2001 + turn % 2);
                members.handle_datagram(now, from, true, b"x").is_ok()
            })
            .count();
        assert_eq!(relayed, REPEATS_MAX as usize);
        assert_eq!(
            members.handle_datagram(now, at(7), true, b"y"),
            Err(ChatRefusal::Service)
        );
    }

    /// Proves `classic-encoding` in docs/faults.md.
    #[test]
    fn undecodable_line_is_not_relayed() {
        let mut members = members();
        let now = Instant::now();
        members
            .handle_datagram(now, at(2001), true, b"join")
            .unwrap();
        let gbk: Charset = "gbk".parse().unwrap();
        let line = ChatLine::encode("li", "你好", gbk);
        let refused = members.handle_datagram(now, at(2002), true, &line);
        assert!(matches!(refused, Err(ChatRefusal::Undecodable(_))));
        let datagrams = sent(&mut members, now);
        let [(to, told)] = datagrams.as_slice() else {
            panic!("{datagrams:?}");
        };
        assert_eq!(*to, at(2002));
        assert!(String::from_utf8_lossy(told).contains("--encoding gbk"));
    }

    proptest! {
        /// Proves `amplification` in docs/faults.md.
        #[test]
        fn member_receives_less_than_three_times_what_it_sent(
            datagrams in proptest::collection::vec((1u16..6, 0usize..50), 0..200),
        ) {
            let mut members = members();
            let mut now = Instant::now();
            let mut sent_bytes = HashMap::<_, usize>::new();
            let mut received = HashMap::<_, usize>::new();
            for (port, length) in datagrams {
                let from = at(2000 + port);
                *sent_bytes.entry(from).or_default() += length;
                let _ = members.handle_datagram(now, from, false, &vec![b'x'; length]);
                now += Duration::from_millis(10);
                for (address, datagram) in sent(&mut members, now) {
                    *received.entry(address).or_default() += datagram.len();
                    prop_assert!(received[&address] < 3 * sent_bytes[&address]);
                }
            }
        }
    }
}
