//! The texts about sticky packets.

use std::time::Duration;

use super::{pluralize, time};
use crate::{
    Language, Sticky, Table,
    sticky::{BUFFER_BYTES, Message, Overrun, Part, PartKind, Receive, Scenario, Transport, Trial},
};

pub(crate) fn title(language: Language) -> &'static str {
    language.pick(
        "Sticky packets: what was sent, what each receive returned",
        "粘包：发送了什么，每次 recv 收到了什么",
    )
}

pub(crate) fn transport(transport: Transport, language: Language) -> &'static str {
    match transport {
        Transport::Nagle => language.pick("TCP, Nagle on", "TCP，Nagle 开"),
        Transport::NoDelay => language.pick("TCP, TCP_NODELAY", "TCP，TCP_NODELAY"),
        Transport::Framed => language.pick("TCP, framed", "TCP，加长度头"),
        Transport::Datagrams => "UDP",
    }
}

/// A short description of a transport.
pub(crate) fn transport_description(transport: Transport, language: Language) -> &'static str {
    match transport {
        Transport::Nagle => language.pick("a stream, as it comes by default", "字节流，系统默认"),
        Transport::NoDelay => {
            language.pick("a stream, small sends at once", "字节流，小块立即发出")
        }
        Transport::Framed => language.pick(
            "Nagle on, a length before each message",
            "Nagle 开，每条消息前有 4 字节长度",
        ),
        Transport::Datagrams => language.pick("datagrams", "数据报"),
    }
}

pub(crate) fn scenario(scenario: Scenario, language: Language) -> &'static str {
    match scenario {
        Scenario::SmallSends => {
            language.pick("small sends, 2 ms apart", "小消息，每隔 2 毫秒发一条")
        }
        Scenario::SlowReader => language.pick("small sends, slow reader", "小消息，接收方来得晚"),
        Scenario::BigSend => language.pick(
            "one big send, a small one behind",
            "一条大消息，后跟一条小消息",
        ),
    }
}

pub(crate) fn overrun_heading(language: Language) -> &'static str {
    language.pick("8 MB while the reader sleeps", "接收方睡着，发送 8 MB")
}

pub(crate) fn sent(language: Language) -> &'static str {
    language.pick("sent", "发送")
}

pub(crate) fn received(language: Language) -> &'static str {
    language.pick("recv", "接收")
}

pub(crate) fn decoded(language: Language) -> &'static str {
    language.pick("decoded", "解码")
}

/// What happened to the messages of a trial.
pub(crate) fn verdict(trial: &Trial, language: Language) -> String {
    let merged = trial.merged_receives();
    let cut = trial.split_messages();
    let lost = trial.lost_bytes();
    if trial.decoded.is_some() && trial.whole_messages() == trial.sent.len() {
        return language.pick("whole again", "解码后完整").to_owned();
    }
    let mut words = Vec::new();
    if merged > 0 {
        words.push(language.pick("merged", "粘包").to_owned());
    }
    if cut > 0 {
        words.push(language.pick("cut", "拆包").to_owned());
    }
    if lost > 0 {
        words.push(language.pick(format!("{lost} bytes lost"), format!("丢 {lost} 字节")));
    }
    if words.is_empty() {
        words.push(language.pick("each whole", "条条完整").to_owned());
    }
    words.join(language.pick(", ", "、"))
}

/// The numbers of sends and receives.
pub(crate) fn counts(trial: &Trial, language: Language) -> String {
    let sends = trial.sent.len();
    let receives = trial.receives.len();
    match language {
        Language::English => format!("{sends} sent, {receives} recv"),
        Language::Chinese => format!("发 {sends} 次，收 {receives} 次"),
    }
}

pub(crate) fn overrun_arrived(overrun: &Overrun, language: Language) -> String {
    let sent = overrun.sent;
    let arrived = overrun.arrived;
    match language {
        Language::English if arrived == sent => format!("all {sent} arrived"),
        Language::Chinese if arrived == sent => format!("{sent} 条全部到达"),
        Language::English => format!("{arrived} of {sent} arrived"),
        Language::Chinese => format!("{sent} 条只到 {arrived} 条"),
    }
}

pub(crate) fn overrun_took(overrun: &Overrun, language: Language) -> String {
    let took = time(overrun.send_time, language);
    language.pick(format!("sending took {took}"), format!("发送用了 {took}"))
}

/// A time since the first send.
pub(crate) fn after(at: Duration, language: Language) -> String {
    let at = time(at, language);
    language.pick(format!("after {at}"), format!("{at}后"))
}

/// How to read the tables.
pub(crate) fn legend(sticky: &Sticky, language: Language) -> String {
    let has_texts = sticky
        .trials
        .iter()
        .flat_map(|trial| &trial.sent)
        .any(|message| message.text.is_some());
    match language {
        Language::English if has_texts => format!(
            "How to read it: [..] is what one recv({BUFFER_BYTES}) returned. '(n)' is a length of 4 bytes before a message. In \
             \"{}\", numbers are messages, and '…' is where a message was cut.",
            scenario(Scenario::BigSend, language)
        ),
        Language::Chinese if has_texts => format!(
            "读法：[..] 是一次 recv({BUFFER_BYTES}) 的结果；“(n)”是消息前 4 字节的长度头。在“{}”中，数字是消息编号，“…”表示消息在此处被切开。",
            scenario(Scenario::BigSend, language)
        ),
        Language::English => format!(
            "How to read it: [..] is what one recv({BUFFER_BYTES}) returned; numbers are messages, '…' stands where a message was cut, \
             'n:' is the length before message n."
        ),
        Language::Chinese => format!(
            "读法：[..] 是一次 recv({BUFFER_BYTES}) 的结果；数字是消息编号，“…”表示消息在此处被切开，“n:”是消息 n 前的长度头。"
        ),
    }
}

/// The legend of the picture.
pub(crate) fn key(language: Language) -> [String; 4] {
    match language {
        Language::English => [
            "a message, by number".to_owned(),
            "its 4-byte length".to_owned(),
            format!("what one recv({BUFFER_BYTES}) returned"),
            "bytes that never came".to_owned(),
        ],
        Language::Chinese => [
            "一条消息及其编号".to_owned(),
            "4 字节长度头".to_owned(),
            format!("一次 recv({BUFFER_BYTES}) 的结果"),
            "丢失的字节".to_owned(),
        ],
    }
}

pub(crate) fn tables(sticky: &Sticky, language: Language) -> Vec<Table> {
    let mut tables: Vec<Table> = Scenario::ALL
        .into_iter()
        .map(|scenario| trials_table(sticky, scenario, language))
        .collect();
    tables.push(overruns_table(sticky, language));
    tables
}

fn trials_table(sticky: &Sticky, wanted: Scenario, language: Language) -> Table {
    let headers = language.pick(
        [
            "how",
            "sent",
            "each receive returned",
            "bytes",
            "after",
            "so the program has",
        ],
        [
            "方式",
            "发送",
            "每次接收的内容",
            "字节数",
            "耗时",
            "程序得到",
        ],
    );
    let mut table = Table::new(scenario(wanted, language), headers);
    let trials = sticky.trials.iter();
    for trial in trials.filter(|trial| trial.scenario == wanted) {
        let receives = &trial.receives;
        let last = receives.last().map_or(Duration::ZERO, |receive| receive.at);
        table.add_row([
            transport(trial.transport, language).to_owned(),
            spaced(&trial.sent, sent_text),
            spaced(receives, |receive| content(trial, receive)),
            spaced(receives, |receive| receive.bytes().to_string()),
            time(last, language),
            verdict(trial, language),
        ]);
    }
    table
}

fn overruns_table(sticky: &Sticky, language: Language) -> Table {
    let headers = language.pick(
        ["how", "sent", "arrived", "sending took"],
        ["方式", "发送", "到达", "发送耗时"],
    );
    let mut table = Table::new(overrun_heading(language), headers);
    for overrun in &sticky.overruns {
        table.add_row([
            transport(overrun.transport, language).to_owned(),
            overrun.sent.to_string(),
            overrun.arrived.to_string(),
            time(overrun.send_time, language),
        ]);
    }
    table
}

/// The texts of the items, separated by spaces.
fn spaced<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// A message as the table shows it: its text, or its length.
fn sent_text(message: &Message) -> String {
    match &message.text {
        Some(text) => format!("[{text}]"),
        None => message.payload.len().to_string(),
    }
}

/// The text of a part of a message that the user chose; `None` for the lab's own messages.
///
/// A character that was cut is replaced.
pub(crate) fn own_text(trial: &Trial, part: &Part) -> Option<String> {
    let message = trial.sent.get(part.message.checked_sub(1)?)?;
    let text = message.text.as_ref()?;
    Some(match part.kind {
        PartKind::Length => format!("({})", text.len()),
        PartKind::Payload => {
            let bytes = message.payload.get(part.offset..part.offset + part.bytes)?;
            String::from_utf8_lossy(bytes).into_owned()
        }
    })
}

/// The content of one receive: `[1: 1 2: 2…]`, or the text that the user chose.
fn content(trial: &Trial, receive: &Receive) -> String {
    let texts: Option<String> = receive
        .parts
        .iter()
        .map(|part| own_text(trial, part))
        .collect();
    if let Some(texts) = texts {
        return format!("[{texts}]");
    }
    let parts: Vec<String> = receive
        .parts
        .iter()
        .map(|part| {
            let before = if part.offset > 0 { "…" } else { "" };
            let after = if part.offset + part.bytes < part.whole_bytes {
                "…"
            } else {
                ""
            };
            let colon = if part.kind == PartKind::Length {
                ":"
            } else {
                ""
            };
            format!("{before}{}{colon}{after}", part.message)
        })
        .collect();
    format!("[{}]", parts.join(" "))
}

/// The summary, in short sentences.
pub(crate) fn summary(sticky: &Sticky, language: Language) -> Vec<String> {
    let mut sentences = summarize_streams(sticky, language);
    sentences.extend(summarize_boundaries(&BoundaryCounts::of(sticky), language));
    sentences
}

fn summarize_streams(sticky: &Sticky, language: Language) -> Vec<String> {
    let bare = |trial: &&Trial| matches!(trial.transport, Transport::Nagle | Transport::NoDelay);
    let sum =
        |count: fn(&Trial) -> usize| sticky.trials.iter().filter(bare).map(count).sum::<usize>();
    let merged = sum(Trial::merged_receives);
    let cut = sum(Trial::split_messages);
    let sends = sum(|trial| trial.sent.len());
    let pieces = match (merged, cut) {
        (0, 0) => language.pick(
            format!("Without a length before them, all {sends} messages came alone this time. That is luck."),
            format!("不加长度头时，{sends} 条消息这一次各自到达，没有粘包也没有拆包，只是运气好。"),
        ),
        _ => language.pick(
            format!(
                "TCP carries bytes, not messages: without a length before them, {cut} of {sends} messages were cut, and {} merged.",
                pluralize(merged, "receive was", "receives were")
            ),
            format!(
                "TCP 传的是字节流而不是消息：不加长度头的 {sends} 条消息里有 {cut} 条被拆开，有 {merged} 次接收里混着不止一条消息。"
            ),
        ),
    };
    let nagle = match nagle_waited(sticky) {
        Some(wait) => {
            let wait = time(wait, language);
            language.pick(
                format!("Nagle's algorithm kept small sends back for up to {wait}, until the first was acknowledged. TCP_NODELAY did not."),
                format!("Nagle 算法把小块数据攒住，最多等了 {wait}，直到第一块被确认才发出；TCP_NODELAY 则不等。"),
            )
        }
        None => language
            .pick(
                "Nagle's algorithm held nothing back on this machine.",
                "在这台机器上 Nagle 算法没有攒住任何数据。",
            )
            .to_owned(),
    };
    let slow = language.pick(
        "No option helps when the reader is slow.",
        "接收方来得晚时，什么选项都没有用。",
    );
    vec![pieces, nagle, slow.to_owned()]
}

/// The delay that Nagle's algorithm added, if it did.
///
/// That is how much later the second receive returned than with `TCP_NODELAY`.
fn nagle_waited(sticky: &Sticky) -> Option<Duration> {
    let trial = |transport| sticky.trial(transport, Scenario::SmallSends);
    let nagle = trial(Transport::Nagle)?;
    let direct = trial(Transport::NoDelay)?;
    let second = |trial: &Trial| trial.receives.get(1).map(|receive| receive.at);
    let wait = second(nagle)?.checked_sub(second(direct)?)?;
    (nagle.receives.len() < direct.receives.len()).then_some(wait)
}

/// The counts in the summary of transports that keep the boundaries of messages.
struct BoundaryCounts {
    /// The framed messages, and those that the decoder returned whole.
    framed_sent: usize,
    framed_whole: usize,
    /// The datagrams that were merged or split, and the bytes that were cut off.
    datagrams_merged: usize,
    datagram_bytes_lost: usize,
    /// The messages of the overruns that never arrived.
    datagrams_missing: usize,
    tcp_missing: usize,
    /// The time that the sender of a stream was blocked in its overrun.
    send_time: Duration,
}

impl BoundaryCounts {
    fn of(sticky: &Sticky) -> Self {
        let trials = |transport| {
            sticky
                .trials
                .iter()
                .filter(move |trial| trial.transport == transport)
        };
        let missing = |overrun: &Overrun| overrun.sent - overrun.arrived;
        Self {
            framed_sent: trials(Transport::Framed)
                .map(|trial| trial.sent.len())
                .sum(),
            framed_whole: trials(Transport::Framed).map(Trial::whole_messages).sum(),
            datagrams_merged: trials(Transport::Datagrams)
                .map(|trial| trial.merged_receives() + trial.split_messages())
                .sum(),
            datagram_bytes_lost: trials(Transport::Datagrams).map(Trial::lost_bytes).sum(),
            datagrams_missing: sticky.overrun(Transport::Datagrams).map_or(0, missing),
            tcp_missing: sticky
                .overruns
                .iter()
                .filter(|overrun| overrun.transport != Transport::Datagrams)
                .map(missing)
                .sum(),
            send_time: sticky
                .overrun(Transport::Nagle)
                .map_or(Duration::ZERO, |overrun| overrun.send_time),
        }
    }
}

fn summarize_boundaries(counts: &BoundaryCounts, language: Language) -> Vec<String> {
    let BoundaryCounts {
        framed_sent,
        framed_whole,
        datagrams_merged,
        datagram_bytes_lost,
        datagrams_missing,
        tcp_missing,
        send_time,
    } = counts;
    let waited = time(*send_time, language);
    let merged = match datagrams_merged {
        0 => language.pick(
            "UDP never merged or split messages.",
            "UDP 从不合并或拆开消息。",
        ),
        _ => language.pick("UDP merged or split messages.", "UDP 合并或拆开了消息。"),
    };
    let cut = match datagram_bytes_lost {
        0 => language
            .pick("It cut nothing off.", "没有截掉任何字节。")
            .to_owned(),
        lost => language.pick(
            format!("It threw away {lost} bytes of a message longer than the buffer."),
            format!("比缓冲区长的那条被截掉了 {lost} 字节。"),
        ),
    };
    let lost = |count: usize| match count {
        0 => language.pick("no message", "一条不丢").to_owned(),
        count => language.pick(
            pluralize(count, "message", "messages"),
            format!("丢了 {count} 条"),
        ),
    };
    let udp = lost(*datagrams_missing);
    let tcp = lost(*tcp_missing);
    vec![
        language.pick(
            format!("With a length before each message, the decoder returned {framed_whole} of {framed_sent} whole."),
            format!("每条消息前加上长度，解码器还原了 {framed_sent} 条中的 {framed_whole} 条。"),
        ),
        language.pick(format!("{merged} {cut}"), format!("{merged}{cut}")),
        language.pick(
            format!("While the reader slept, UDP lost {udp}. TCP made the sender wait ({waited}) and lost {tcp}."),
            format!("接收方睡着时，UDP {udp}；TCP 让发送方等待（{waited}），{tcp}。"),
        ),
    ]
}
