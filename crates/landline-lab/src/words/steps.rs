//! The texts about the steps of a connection: what was done, and which segments were sent.

use super::lifecycle::{client, server};
use crate::{
    Language,
    lifecycle::{Action, GREETING, TcpState},
};

/// What each side does in an action.
pub(crate) struct ActionText {
    /// What the client does; empty for nothing.
    pub(crate) client: &'static str,
    /// What the server does; empty for nothing.
    pub(crate) server: &'static str,
}

impl ActionText {
    /// Both sides in one line.
    pub(super) fn to_line(&self, language: Language) -> String {
        let sides = [
            (client(language), self.client),
            (server(language), self.server),
        ];
        let colon = language.pick(": ", "：");
        let texts: Vec<String> = sides
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(side, text)| format!("{side}{colon}{text}"))
            .collect();
        texts.join(language.pick("; ", "；"))
    }
}

/// The text of an action.
pub(crate) fn action_text(action: Action, language: Language) -> ActionText {
    let by_client = |client| ActionText { client, server: "" };
    let by_server = |server| ActionText { client: "", server };
    match action {
        Action::Serve => by_server("bind(), listen()"),
        Action::Handshake => by_client("connect()"),
        Action::Accept => by_server("accept()"),
        Action::Exchange => ActionText {
            client: "send(b'hello')",
            server: language.pick("recv() returns b'hello'", "recv() 返回 b'hello'"),
        },
        Action::ClientClose => ActionText {
            client: "close()",
            server: language.pick("recv() returns b''", "recv() 返回 b''"),
        },
        Action::LastClose => by_server("close()"),
        Action::Listen => by_server(language.pick(
            "bind(), listen(0), queue full",
            "bind()，listen(0)，队列已满",
        )),
        Action::Connect => by_client("connect()"),
        Action::MakeRoom => by_server(language.pick("accept() makes room", "accept() 腾出位置")),
        Action::Send => ActionText {
            client: language.pick("first send()", "第一次 send()"),
            server: "accept()",
        },
        Action::Finish => by_client(language.pick(
            "fills the buffers, shutdown(WR)",
            "写满缓冲区，shutdown(WR)",
        )),
        Action::Read => by_server(language.pick("recv() to the end", "recv() 读到结尾")),
        Action::ServerClose => {
            by_server(language.pick("fills the buffers, close()", "写满缓冲区，close()"))
        }
        Action::ReadRest => by_client(language.pick("recv() to the end", "recv() 读到结尾")),
        Action::Close => by_client("close()"),
    }
}

/// What happens to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives.
    Delivered,
    /// It arrives, and the other side drops it.
    Dropped,
    /// It waits in the sender's queue.
    Queued,
}

/// A TCP segment of an action.
pub(crate) struct Segment {
    /// Whether the client sends it.
    pub(crate) from_client: bool,
    /// What happens to it.
    pub(crate) fate: Fate,
    /// The text of the segment.
    pub(crate) name: String,
}

/// The segments of an action.
///
/// x and y are the initial sequence numbers of the client and the server. A SYN and a FIN take one
/// number each, like a byte.
pub(crate) fn segments(action: Action, language: Language) -> Vec<Segment> {
    let segment = |from_client, fate, name: &str| Segment {
        from_client,
        fate,
        name: name.to_owned(),
    };
    let to_server = |name: &str| segment(true, Fate::Delivered, name);
    let to_client = |name: &str| segment(false, Fate::Delivered, name);
    let bytes = GREETING.len();
    let sent = bytes + 1;
    let finished = bytes + 2;
    let queued = language.pick("FIN queued", "FIN 排队");
    match action {
        Action::Serve | Action::Accept | Action::Listen | Action::Close => Vec::new(),
        Action::Handshake => vec![
            to_server("SYN  seq=x"),
            to_client("SYN+ACK  seq=y  ack=x+1"),
            to_server("ACK  seq=x+1  ack=y+1"),
        ],
        Action::Exchange => vec![
            to_server(&language.pick(
                format!("{bytes} bytes  seq=x+1  ack=y+1"),
                format!("{bytes} 字节  seq=x+1  ack=y+1"),
            )),
            to_client(&format!("ACK  seq=y+1  ack=x+{sent}")),
        ],
        Action::ClientClose => vec![
            to_server(&format!("FIN  seq=x+{sent}  ack=y+1")),
            to_client(&format!("ACK  seq=y+1  ack=x+{finished}")),
        ],
        Action::LastClose => vec![
            to_client(&format!("FIN  seq=y+1  ack=x+{finished}")),
            to_server(&format!("ACK  seq=x+{finished}  ack=y+2")),
        ],
        Action::Connect => vec![segment(
            true,
            Fate::Dropped,
            language.pick("SYN dropped", "SYN 被丢弃"),
        )],
        Action::MakeRoom => vec![
            to_server(language.pick("SYN again", "重发 SYN")),
            to_client("SYN+ACK"),
            to_server("ACK"),
        ],
        Action::Send => vec![to_server(language.pick("first bytes", "第一批数据"))],
        Action::Finish => vec![segment(true, Fate::Queued, queued)],
        Action::Read => vec![to_server("FIN"), to_client("ACK")],
        Action::ServerClose => vec![segment(false, Fate::Queued, queued)],
        Action::ReadRest => vec![to_client("FIN"), to_server("ACK")],
    }
}

/// The states of the client and the server that an action only passes through.
pub(crate) fn passing(action: Action) -> (Option<TcpState>, Option<TcpState>) {
    match action {
        Action::Handshake => (Some(TcpState::SynSent), Some(TcpState::SynReceived)),
        Action::ClientClose => (Some(TcpState::FinWait1), None),
        Action::LastClose => (None, Some(TcpState::LastAck)),
        _ => (None, None),
    }
}

pub(crate) fn fate(fate: Fate, language: Language) -> &'static str {
    match fate {
        Fate::Delivered => language.pick("delivered", "送达"),
        Fate::Dropped => language.pick("dropped: the queue is full", "被丢弃：队列已满"),
        Fate::Queued => language.pick("queued behind unread bytes", "排在未读数据之后"),
    }
}
