//! The texts about the life of a connection.

use std::io;

use super::{
    join_list,
    steps::{action_text, passing, segments},
    time,
};
use crate::{
    Language, Lifecycle, Table,
    lifecycle::{Backlog, Call, CallTiming, Rebind, Step, TcpState},
};

pub(crate) fn title(language: Language) -> &'static str {
    language.pick(
        "The life of a TCP connection, as the kernel reports it",
        "一条 TCP 连接的一生：内核看到的状态",
    )
}

/// The text about a state in which a connection is held.
pub(crate) fn halt(step: Step, server_port: u16, language: Language) -> String {
    let done = action_text(step.action, language).to_line(language);
    let name = |state: Option<TcpState>| match state {
        Some(state) => state.to_string(),
        None => none(language).to_owned(),
    };
    let client_state = name(step.client);
    let server_state = name(step.server);
    let look = format!("ss -tan '( sport = :{server_port} or dport = :{server_port} )'");
    match language {
        Language::English => {
            format!(
                "{done}\n  client {client_state}, server {server_state}\n  {look}\n  Enter: continue"
            )
        }
        Language::Chinese => {
            format!(
                "{done}\n  客户端 {client_state}，服务端 {server_state}\n  {look}\n  回车：继续"
            )
        }
    }
}

/// The headings of the two parts of the picture.
pub(crate) fn plain_heading(language: Language) -> &'static str {
    language.pick(
        "1. A plain connection: handshake, data, close",
        "1. 一条普通的连接：三次握手、数据、四次挥手",
    )
}

pub(crate) fn held_heading(language: Language) -> &'static str {
    language.pick(
        "2. The short states, held until they were seen",
        "2. 让一闪而过的状态停下来",
    )
}

/// How to read the plain connection.
pub(crate) fn plain_legend(language: Language) -> &'static str {
    language.pick(
        "x and y: the initial sequence numbers. Dashed: a state too short to be seen.",
        "x、y：双方的初始序号。虚线框：一闪而过、看不到的状态。",
    )
}

/// The length of TIME_WAIT.
pub(crate) fn time_wait(lasts: std::time::Duration, language: Language) -> String {
    let lasts = time(lasts, language);
    language.pick(
        format!("TIME_WAIT lasts {lasts}"),
        format!("TIME_WAIT 持续 {lasts}"),
    )
}

/// The name of no socket at all.
fn none(language: Language) -> &'static str {
    language.pick("none (CLOSED)", "无（CLOSED）")
}

pub(crate) fn client(language: Language) -> &'static str {
    language.pick("client", "客户端")
}

pub(crate) fn server(language: Language) -> &'static str {
    language.pick("server", "服务端")
}

pub(crate) fn state(state: Option<TcpState>, lifecycle: &Lifecycle, language: Language) -> String {
    match state {
        Some(state) => state.to_string(),
        None if lifecycle.has_kernel_states => none(language).to_owned(),
        None => language.pick("not told", "未知").to_owned(),
    }
}

pub(crate) fn call(call: Call, language: Language) -> &'static str {
    match call {
        Call::Connect => language.pick("connect(), no accept()", "connect()，无人 accept"),
        Call::ConnectFull => language.pick("connect(), queue full", "connect()，队列已满"),
        Call::Accept => language.pick("accept(), no client", "accept()，没有客户端"),
        Call::Receive => language.pick("recv(), no bytes", "recv()，没有数据"),
        Call::ReceiveEnd => language.pick("recv(), other side closed", "recv()，对方已关闭"),
        Call::SendSmall => language.pick("send() of 12 bytes", "send() 12 字节"),
        Call::SendBig => language.pick("send() of 16 MiB", "send() 16 MiB"),
        Call::Close => language.pick("close(), bytes unread", "close()，对方未读完"),
    }
}

/// The event until which a call blocks.
pub(crate) fn until(call: Call, language: Language) -> &'static str {
    match call {
        Call::Connect => language.pick("the kernel answers the SYN", "内核应答 SYN"),
        Call::ConnectFull => language.pick(
            "there is room, and the SYN goes again",
            "有了位置且 SYN 重发",
        ),
        Call::Accept => language.pick("a client connects", "有客户端连上"),
        Call::Receive => language.pick("one byte is there", "至少有一个字节"),
        Call::ReceiveEnd => language.pick("at once: 0 bytes are the end", "立即返回：0 字节即结束"),
        Call::SendSmall => language.pick("at once: copied to the kernel", "立即返回：已拷入内核"),
        Call::SendBig => language.pick("the other side reads", "对方开始读"),
        Call::Close => language.pick("at once: the kernel continues", "立即返回：内核继续发送"),
    }
}

pub(crate) fn calls_heading(language: Language) -> &'static str {
    language.pick("Which call blocks until what", "哪个调用阻塞到什么时候")
}

pub(crate) fn peer_acts(language: Language) -> &'static str {
    language.pick("the other side acts", "对方有动作的时刻")
}

pub(crate) fn rebinds_heading(language: Language) -> &'static str {
    language.pick(
        "Listen again on the same port: what SO_REUSEADDR changes",
        "在同一端口再次监听：SO_REUSEADDR 的作用",
    )
}

pub(crate) fn rebind(rebind: Rebind, language: Language) -> &'static str {
    match rebind {
        Rebind::WithoutReuse => language.pick(
            "after a close (TIME_WAIT), without it",
            "刚关闭（TIME_WAIT），不设置",
        ),
        Rebind::WithReuse => language.pick(
            "after a close (TIME_WAIT), with it",
            "刚关闭（TIME_WAIT），设置",
        ),
        Rebind::OpenListener => {
            language.pick("beside a living listener, with it", "另一个监听还在，设置")
        }
    }
}

pub(crate) fn rebind_result(result: Result<(), io::ErrorKind>, language: Language) -> String {
    match result {
        Ok(()) => language.pick("listens", "成功").to_owned(),
        Err(io::ErrorKind::AddrInUse) => language.pick("address in use", "地址已被占用").to_owned(),
        Err(other) => other.to_string(),
    }
}

pub(crate) fn backlog_heading(backlog: &Backlog, language: Language) -> String {
    let asked = backlog.requested;
    let callers = backlog.callers.len();
    match language {
        Language::English => {
            format!(
                "listen({asked}), {callers} callers, one accept() after {}",
                time(backlog.accepted_at, language)
            )
        }
        Language::Chinese => {
            format!(
                "listen({asked})，{callers} 个客户端，{}后 accept() 一次",
                time(backlog.accepted_at, language)
            )
        }
    }
}

pub(crate) fn caller_name(number: usize, language: Language) -> String {
    language.pick(format!("caller {number}"), format!("客户端 {number}"))
}

pub(crate) fn connected(
    backlog: &Backlog,
    at: Option<std::time::Duration>,
    language: Language,
) -> String {
    match at {
        Some(at) => language.pick(
            format!("connected after {}", time(at, language)),
            format!("{}后连上", time(at, language)),
        ),
        None => {
            let waited = time(backlog.observed_for, language);
            language.pick(
                format!("still waiting after {waited}"),
                format!("{waited}后仍在等待"),
            )
        }
    }
}

pub(crate) fn tables(lifecycle: &Lifecycle, language: Language) -> Vec<Table> {
    vec![
        plain_table(lifecycle, language),
        states_table(lifecycle, language),
        calls_table(lifecycle, language),
        rebinds_table(lifecycle, language),
        callers_table(lifecycle, language),
    ]
}

/// A row for each segment. The states that are only passed through stand in parentheses.
fn plain_table(lifecycle: &Lifecycle, language: Language) -> Table {
    let mut table = Table::new(
        plain_heading(language),
        language.pick(
            ["what was done", "segment", "client", "server"],
            ["做了什么", "报文段", "客户端", "服务端"],
        ),
    );
    for step in &lifecycle.plain {
        let mut done = action_text(step.action, language).to_line(language);
        let (client, server) = passing(step.action);
        let passed =
            |state: Option<TcpState>| state.map_or_else(String::new, |state| format!("({state})"));
        let mut states = [passed(client), passed(server)];
        let segments = segments(step.action, language);
        let last = segments.len().saturating_sub(1);
        for index in 0..=last {
            let name = segments.get(index).map_or_else(String::new, |segment| {
                let arrow = if segment.from_client { "→" } else { "←" };
                format!("{arrow} {}", segment.name)
            });
            if index == last {
                states = [
                    state(step.client, lifecycle, language),
                    state(step.server, lifecycle, language),
                ];
            }
            let [client, server] = std::mem::take(&mut states);
            table.add_row([std::mem::take(&mut done), name, client, server]);
        }
    }
    table
}

fn states_table(lifecycle: &Lifecycle, language: Language) -> Table {
    let mut table = Table::new(
        held_heading(language),
        language.pick(
            ["what was done", "client", "server"],
            ["做了什么", "客户端", "服务端"],
        ),
    );
    for step in &lifecycle.steps {
        table.add_row([
            action_text(step.action, language).to_line(language),
            state(step.client, lifecycle, language),
            state(step.server, lifecycle, language),
        ]);
    }
    table
}

fn calls_table(lifecycle: &Lifecycle, language: Language) -> Table {
    let mut table = Table::new(
        calls_heading(language),
        language.pick(
            [
                "call",
                "returned after",
                "other side acted after",
                "it blocks until",
            ],
            ["调用", "返回用时", "对方动作于", "阻塞直到"],
        ),
    );
    for CallTiming {
        call: which,
        took,
        peer_acted,
    } in &lifecycle.calls
    {
        table.add_row([
            call(*which, language).to_owned(),
            time(*took, language),
            peer_acted.map_or_else(|| "-".to_owned(), |at| time(at, language)),
            until(*which, language).to_owned(),
        ]);
    }
    table
}

fn rebinds_table(lifecycle: &Lifecycle, language: Language) -> Table {
    let mut table = Table::new(
        rebinds_heading(language),
        language.pick(["when", "result"], ["情形", "结果"]),
    );
    for (which, result) in &lifecycle.rebinds {
        table.add_row([
            rebind(*which, language).to_owned(),
            rebind_result(*result, language),
        ]);
    }
    table
}

fn callers_table(lifecycle: &Lifecycle, language: Language) -> Table {
    let backlog = &lifecycle.backlog;
    let mut table = Table::new(
        &backlog_heading(backlog, language),
        language.pick(
            [
                "who",
                "connect()",
                "before accept()",
                "at last",
                "on the server",
            ],
            ["谁", "connect()", "accept() 之前", "最后", "在服务端"],
        ),
    );
    for (number, caller) in (1..).zip(&backlog.callers) {
        table.add_row([
            caller_name(number, language),
            connected(backlog, caller.connected, language),
            state(caller.before_accept, lifecycle, language),
            state(caller.client, lifecycle, language),
            state(caller.server, lifecycle, language),
        ]);
    }
    table
}

/// How to read the first table, and what this system could not measure.
pub(crate) fn notes(lifecycle: &Lifecycle, language: Language) -> Vec<String> {
    let legend = language.pick(
        "How to read it: x and y are the initial sequence numbers. States in parentheses are too short to be seen.",
        "读法：x、y 是双方的初始序号；括号里的状态一闪而过，看不到。",
    );
    let missing = language.pick(
        "This system does not list the states of its connections (no /proc/net/tcp), so the first tables cannot show them.",
        "本系统不提供连接状态列表（没有 /proc/net/tcp），所以前两张表无法显示状态。",
    );
    let missing = (!lifecycle.has_kernel_states).then_some(missing);
    [legend]
        .into_iter()
        .chain(missing)
        .map(str::to_owned)
        .collect()
}

/// The summary, in short sentences.
pub(crate) fn summary(lifecycle: &Lifecycle, language: Language) -> Vec<String> {
    let mut sentences = summarize_states(lifecycle, language);
    sentences.push(summarize_calls(lifecycle, language));
    sentences.push(summarize_rebinds(lifecycle, language));
    sentences.extend(summarize_callers(&lifecycle.backlog, language));
    sentences
}

fn summarize_states(lifecycle: &Lifecycle, language: Language) -> Vec<String> {
    if !lifecycle.has_kernel_states {
        let text = language.pick(
            "This system did not report the states of the connections.",
            "本系统没有报告连接的状态。",
        );
        return vec![text.to_owned()];
    }
    let names = |end: fn(&Step) -> Option<TcpState>| {
        let mut names: Vec<String> = Vec::new();
        for state in lifecycle.steps.iter().filter_map(end) {
            let name = state.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(language.pick(", ", "、"))
    };
    let client = names(|step| step.client);
    let server = names(|step| step.server);
    let mut sentences = vec![
        language.pick(
            format!("The client's end went through {client}."),
            format!("客户端依次经过 {client}。"),
        ),
        language.pick(
            format!("The server's end went through {server}."),
            format!("服务端依次经过 {server}。"),
        ),
    ];
    if let Some(lasts) = lifecycle.time_wait {
        let lasts = time(lasts, language);
        sentences.push(language.pick(
            format!("The side that closes first stays in TIME_WAIT, here for {lasts}. Nothing is left of the other side."),
            format!("先关闭的一方停留在 TIME_WAIT（这里是 {lasts}），另一方什么都不留下。"),
        ));
    } else if lifecycle.has_kernel_states {
        // `tcp_max_tw_buckets` of Linux. The experiment `models` closes many connections.
        sentences.push(
            language
                .pick(
                    "The kernel kept no TIME_WAIT, because too many connections have just closed. Run this again in a minute.",
                    "内核没有保留 TIME_WAIT，因为刚关闭的连接太多。请过一分钟再运行一次。",
                )
                .to_owned(),
        );
    }
    sentences
}

fn summarize_calls(lifecycle: &Lifecycle, language: Language) -> String {
    let waited = |call| {
        lifecycle
            .call(call)
            .is_some_and(|timing| timing.peer_acted.is_some_and(|at| timing.took >= at))
    };
    let waiting: Vec<&str> = [
        (Call::Accept, "accept()"),
        (Call::Receive, "recv()"),
        (Call::SendBig, language.pick("a big send()", "大块 send()")),
    ]
    .into_iter()
    .filter(|(call, _)| waited(*call))
    .map(|(_, name)| name)
    .collect();
    match language {
        Language::English => {
            let calls = if waiting.is_empty() {
                "No call".to_owned()
            } else {
                join_list(&waiting)
            };
            format!("{calls} returned only when the other side acted. connect() needs no accept().")
        }
        Language::Chinese => {
            let calls = if waiting.is_empty() {
                "没有调用".to_owned()
            } else {
                waiting.join("、")
            };
            format!("{calls}直到对方有动作才返回；connect() 不需要对方 accept()。")
        }
    }
}

fn summarize_rebinds(lifecycle: &Lifecycle, language: Language) -> String {
    let outcome = |rebind| {
        lifecycle
            .rebind(rebind)
            .map_or_else(String::new, |result| rebind_result(result, language))
    };
    let plain = outcome(Rebind::WithoutReuse);
    let reuse = outcome(Rebind::WithReuse);
    let living = outcome(Rebind::OpenListener);
    match language {
        Language::English => format!(
            "Listening again after a close: \"{plain}\" without SO_REUSEADDR, \"{reuse}\" with it. Beside a living listener: \"{living}\"."
        ),
        Language::Chinese => format!(
            "关闭后再次监听：不设 SO_REUSEADDR 时“{plain}”，设置后“{reuse}”；另一个监听还在时“{living}”。"
        ),
    }
}

fn summarize_callers(backlog: &Backlog, language: Language) -> Vec<String> {
    let asked = backlog.requested;
    let all = backlog.callers.len();
    let before = backlog.before_accept();
    let after = backlog.after_accept();
    let half = backlog.half_open();
    let mut sentences = vec![language.pick(
        format!(
            "Of {all} callers of listen({asked}), {before} connected at once and the others waited. After one accept(), {after} more connected."
        ),
        format!(
            "listen({asked}) 的 {all} 个客户端里，{before} 个立即连上，其余的等待；accept() 一次后又连上 {after} 个。"
        ),
    )];
    if half > 0 {
        sentences.push(language.pick(
            format!("{half} of those that connected are still in SYN_RECV on the server: it has no room for them."),
            format!("连上的客户端里，有 {half} 个在服务端还处于 SYN_RECV：没有位置。"),
        ));
    }
    sentences
}
