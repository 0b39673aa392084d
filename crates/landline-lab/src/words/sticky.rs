//! What is said about sticky packets.

use std::time::Duration;

use super::{counted, time};
use crate::{
    Language, Sticky, Table,
    sticky::{BUFFER_BYTES, Kind, Load, Overrun, Receive, Trial, Way},
};

pub(crate) fn title(language: Language) -> &'static str {
    language.pick(
        "Sticky packets: what was sent, what each receive returned",
        "粘包：发送了什么，每次 recv 收到了什么",
    )
}

pub(crate) fn way(way: Way, language: Language) -> &'static str {
    match way {
        Way::Nagle => language.pick("TCP, Nagle on", "TCP，Nagle 开"),
        Way::NoDelay => language.pick("TCP, TCP_NODELAY", "TCP，TCP_NODELAY"),
        Way::Framed => language.pick("TCP, framed", "TCP，加长度头"),
        Way::Datagrams => "UDP",
    }
}

/// What a way is, in a few words.
pub(crate) fn way_is(way: Way, language: Language) -> &'static str {
    match way {
        Way::Nagle => language.pick("a stream, as it comes by default", "字节流，系统默认"),
        Way::NoDelay => language.pick("a stream, small sends at once", "字节流，小块立即发出"),
        Way::Framed => language.pick(
            "Nagle on, a length before each message",
            "Nagle 开，每条消息前有 4 字节长度",
        ),
        Way::Datagrams => language.pick("datagrams", "数据报"),
    }
}

pub(crate) fn load(load: Load, language: Language) -> &'static str {
    match load {
        Load::Small => language.pick("small sends, 2 ms apart", "小消息，每隔 2 毫秒发一条"),
        Load::Slow => language.pick("small sends, slow reader", "小消息，接收方来得晚"),
        Load::Big => language.pick(
            "one big send, a small one behind",
            "一条大消息，后跟一条小消息",
        ),
    }
}

pub(crate) fn overrun(language: Language) -> &'static str {
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

/// What became of the messages of a trial.
pub(crate) fn verdict(trial: &Trial, language: Language) -> String {
    let (stuck, cut, lost) = (trial.stuck(), trial.cut(), trial.lost());
    if trial.decoded.is_some() && trial.whole() == trial.sent.len() {
        return language.pick("whole again", "解码后完整").to_owned();
    }
    let mut words = Vec::new();
    if stuck > 0 {
        words.push(language.pick("stuck", "粘包").to_owned());
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

/// How many sends became how many receives.
pub(crate) fn counts(trial: &Trial, language: Language) -> String {
    let (sends, receives) = (trial.sent.len(), trial.receives.len());
    match language {
        Language::English => format!("{sends} sent, {receives} recv"),
        Language::Chinese => format!("发 {sends} 次，收 {receives} 次"),
    }
}

pub(crate) fn overrun_arrived(overrun: &Overrun, language: Language) -> String {
    let (sent, arrived) = (overrun.sent, overrun.arrived);
    match language {
        Language::English if arrived == sent => format!("all {sent} arrived"),
        Language::Chinese if arrived == sent => format!("{sent} 条全部到达"),
        Language::English => format!("{arrived} of {sent} arrived"),
        Language::Chinese => format!("{sent} 条只到 {arrived} 条"),
    }
}

pub(crate) fn overrun_took(overrun: &Overrun, language: Language) -> String {
    let took = time(overrun.sending, language);
    language.pick(format!("sending took {took}"), format!("发送用了 {took}"))
}

/// When something happened, since the first send.
pub(crate) fn after(at: Duration, language: Language) -> String {
    let at = time(at, language);
    language.pick(format!("after {at}"), format!("{at}后"))
}

pub(crate) fn legend(language: Language) -> String {
    match language {
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
    let heads = language.pick(
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
    let mut tables: Vec<Table> = Load::ALL
        .into_iter()
        .map(|wanted| {
            let mut table = Table::new(load(wanted, language), heads);
            for trial in sticky.trials.iter().filter(|trial| trial.load == wanted) {
                let last = trial
                    .receives
                    .last()
                    .map_or(Duration::ZERO, |receive| receive.at);
                table.row([
                    way(trial.way, language).to_owned(),
                    trial
                        .sent
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" "),
                    trial
                        .receives
                        .iter()
                        .map(content)
                        .collect::<Vec<_>>()
                        .join(" "),
                    trial
                        .receives
                        .iter()
                        .map(|receive| receive.bytes().to_string())
                        .collect::<Vec<_>>()
                        .join(" "),
                    time(last, language),
                    verdict(trial, language),
                ]);
            }
            table
        })
        .collect();
    let heads = language.pick(
        ["how", "sent", "arrived", "sending took"],
        ["方式", "发送", "到达", "发送耗时"],
    );
    let mut table = Table::new(overrun(language), heads);
    for overrun in &sticky.overruns {
        table.row([
            way(overrun.way, language).to_owned(),
            overrun.sent.to_string(),
            overrun.arrived.to_string(),
            time(overrun.sending, language),
        ]);
    }
    tables.push(table);
    tables
}

/// What one receive returned: `[1: 1 2: 2…]`.
fn content(receive: &Receive) -> String {
    let parts: Vec<String> = receive
        .parts
        .iter()
        .map(|part| {
            let before = if part.from > 0 { "…" } else { "" };
            let after = if part.from + part.bytes < part.of {
                "…"
            } else {
                ""
            };
            let colon = if part.kind == Kind::Length { ":" } else { "" };
            format!("{before}{}{colon}{after}", part.message)
        })
        .collect();
    format!("[{}]", parts.join(" "))
}

/// What was seen, in two sentences.
pub(crate) fn seen(sticky: &Sticky, language: Language) -> [String; 2] {
    [
        seen_without_frames(sticky, language),
        seen_with_bounds(sticky, language),
    ]
}

fn seen_without_frames(sticky: &Sticky, language: Language) -> String {
    let bare = |trial: &&Trial| matches!(trial.way, Way::Nagle | Way::NoDelay);
    let sum =
        |count: fn(&Trial) -> usize| sticky.trials.iter().filter(bare).map(count).sum::<usize>();
    let (stuck, cut, sends) = (
        sum(Trial::stuck),
        sum(Trial::cut),
        sum(|trial| trial.sent.len()),
    );
    let waited = nagle_waited(sticky);
    match language {
        Language::English => {
            let what = match (stuck, cut) {
                (0, 0) => format!(
                    "Without frames nothing stuck together or was cut this time, which is luck: of {sends} messages each came alone"
                ),
                _ => format!(
                    "TCP carries bytes, not messages: of {sends} messages sent without frames {} came cut in pieces, and {} returned \
                     pieces of more than one",
                    cut,
                    counted(stuck, "receive", "receives")
                ),
            };
            match waited {
                Some(wait) => format!(
                    "{what}; Nagle's algorithm kept small sends back for up to {} until the first was acknowledged, TCP_NODELAY did not, but \
                     no option helps against a slow reader.",
                    time(wait, language)
                ),
                None => format!("{what}; Nagle's algorithm held nothing back on this machine."),
            }
        }
        Language::Chinese => {
            let what = match (stuck, cut) {
                (0, 0) => format!(
                    "不加长度头时，这一次没有粘包也没有拆包，只是运气好：{sends} 条消息各自到达"
                ),
                _ => format!(
                    "TCP 传的是字节流而不是消息：不加长度头的 {sends} 条消息里有 {cut} 条被拆开，有 {stuck} 次接收里混着不止一条消息"
                ),
            };
            match waited {
                Some(wait) => format!(
                    "{what}；Nagle 算法把小块数据攒住，最多等了 {}，直到第一块被确认才发出，TCP_NODELAY 则不等，但接收方来得晚时什么选项都没有用。",
                    time(wait, language)
                ),
                None => format!("{what}；在这台机器上 Nagle 算法没有攒住任何数据。"),
            }
        }
    }
}

/// For how long Nagle's algorithm kept small sends back: how much later the last one came than with
/// `TCP_NODELAY`.
fn nagle_waited(sticky: &Sticky) -> Option<Duration> {
    let trial = |way| sticky.trial(way, Load::Small);
    let (nagle, direct) = (trial(Way::Nagle)?, trial(Way::NoDelay)?);
    let second = |trial: &Trial| trial.receives.get(1).map(|receive| receive.at);
    let wait = second(nagle)?.checked_sub(second(direct)?)?;
    (nagle.receives.len() < direct.receives.len()).then_some(wait)
}

fn seen_with_bounds(sticky: &Sticky, language: Language) -> String {
    let of_way = |way| sticky.trials.iter().filter(move |trial| trial.way == way);
    let sent: usize = of_way(Way::Framed).map(|trial| trial.sent.len()).sum();
    let whole: usize = of_way(Way::Framed).map(Trial::whole).sum();
    let datagrams: Vec<&Trial> = of_way(Way::Datagrams).collect();
    let merged: usize = datagrams
        .iter()
        .map(|trial| trial.stuck() + trial.cut())
        .sum();
    let lost: usize = datagrams.iter().map(|trial| trial.lost()).sum();
    let missing = sticky
        .overrun(Way::Datagrams)
        .map_or(0, |overrun| overrun.sent - overrun.arrived);
    let waited = sticky
        .overrun(Way::Nagle)
        .map_or(Duration::ZERO, |overrun| overrun.sending);
    let waited = time(waited, language);
    let tcp_missing: usize = sticky
        .overruns
        .iter()
        .filter(|overrun| overrun.way != Way::Datagrams)
        .map(|overrun| overrun.sent - overrun.arrived)
        .sum();
    match language {
        Language::English => format!(
            "With a length before each message the decoder gave back {whole} of {sent} whole however their bytes came; UDP {} datagrams, but \
             {} of a message longer than the buffer and {} of those sent to a sleeping reader, where TCP made the sender wait ({waited}) and \
             lost {}.",
            if merged == 0 {
                "never merged or split"
            } else {
                "merged or split"
            },
            if lost == 0 {
                "cut nothing off".to_owned()
            } else {
                format!("threw away {lost} bytes")
            },
            if missing == 0 {
                "lost none".to_owned()
            } else {
                format!("lost {missing}")
            },
            if tcp_missing == 0 {
                "nothing".to_owned()
            } else {
                format!("{tcp_missing} messages")
            },
        ),
        Language::Chinese => format!(
            "每条消息前加上长度，无论字节怎样到达，解码器都还原了 {sent} 条中的 {whole} 条；UDP {}数据报，但{}，接收方睡着时{}，而 TCP 让发送方等待\
             （{waited}），{}。",
            if merged == 0 {
                "从不合并或拆开"
            } else {
                "合并或拆开了"
            },
            if lost == 0 {
                "没有截掉任何字节".to_owned()
            } else {
                format!("比缓冲区长的那条被截掉了 {lost} 字节")
            },
            if missing == 0 {
                "也没有丢失".to_owned()
            } else {
                format!("丢了 {missing} 条")
            },
            if tcp_missing == 0 {
                "一条不丢".to_owned()
            } else {
                format!("丢了 {tcp_missing} 条")
            },
        ),
    }
}
