//! The texts about the life of a connection.

use std::io;

use super::{join_list, time};
use crate::{
    Language, Lifecycle, Table,
    lifecycle::{Action, Backlog, Call, CallTiming, Rebind, TcpState},
};

pub(crate) fn title(language: Language) -> &'static str {
    language.pick(
        "The life of a TCP connection, as the kernel reports it",
        "一条 TCP 连接的一生：内核看到的状态",
    )
}

/// What each side does in an action.
pub(crate) struct ActionText {
    /// What the client does; empty for nothing.
    pub(crate) client: &'static str,
    /// What the server does; empty for nothing.
    pub(crate) server: &'static str,
}

impl ActionText {
    /// Both sides in one line.
    fn to_line(&self, language: Language) -> String {
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

/// A TCP segment of an action.
pub(crate) struct Segment {
    /// Whether the client sends it.
    pub(crate) from_client: bool,
    /// Whether the segment arrives.
    pub(crate) arrives: bool,
    /// The text of the segment.
    pub(crate) name: &'static str,
}

/// The segments of an action.
pub(crate) fn segments(action: Action, language: Language) -> Vec<Segment> {
    let segment = |from_client, arrives, name| Segment {
        from_client,
        arrives,
        name,
    };
    match action {
        Action::Listen | Action::Close => Vec::new(),
        Action::Connect => vec![segment(
            true,
            false,
            language.pick("SYN, no room", "SYN，没有位置"),
        )],
        Action::MakeRoom => vec![
            segment(true, true, language.pick("SYN again", "重发 SYN")),
            segment(false, true, "SYN+ACK"),
            segment(true, true, "ACK"),
        ],
        Action::Send => vec![segment(
            true,
            true,
            language.pick("first bytes", "第一批数据"),
        )],
        Action::Finish => vec![segment(
            true,
            false,
            language.pick("FIN waits", "FIN 排队等待"),
        )],
        Action::Read => vec![segment(true, true, "FIN"), segment(false, true, "ACK")],
        Action::ServerClose => vec![segment(
            false,
            false,
            language.pick("FIN waits", "FIN 排队等待"),
        )],
        Action::ReadRest => vec![segment(false, true, "FIN"), segment(true, true, "ACK")],
    }
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
        None if lifecycle.has_kernel_states => language.pick("none", "无").to_owned(),
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
        states_table(lifecycle, language),
        calls_table(lifecycle, language),
        rebinds_table(lifecycle, language),
        callers_table(lifecycle, language),
    ]
}

fn states_table(lifecycle: &Lifecycle, language: Language) -> Table {
    let mut table = Table::new(
        language.pick("One connection", "一条连接"),
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
                "at the server",
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

/// What this system could not measure.
pub(crate) fn notes(lifecycle: &Lifecycle, language: Language) -> Vec<String> {
    let note = language.pick(
        "This system does not list the states of its connections (no /proc/net/tcp), so the first table cannot show them.",
        "本系统不提供连接状态列表（没有 /proc/net/tcp），所以第一张表无法显示状态。",
    );
    if lifecycle.has_kernel_states {
        Vec::new()
    } else {
        vec![note.to_owned()]
    }
}

/// The summary, in two sentences.
pub(crate) fn summary(lifecycle: &Lifecycle, language: Language) -> [String; 2] {
    [
        summarize_states(lifecycle, language),
        summarize_calls(lifecycle, language),
    ]
}

fn summarize_states(lifecycle: &Lifecycle, language: Language) -> String {
    let mut names: Vec<String> = Vec::new();
    for state in lifecycle
        .steps
        .iter()
        .flat_map(|step| [step.client, step.server])
        .flatten()
    {
        let name = state.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        let text = language.pick(
            "This system did not tell the states of the connection, though it went through all of them.",
            "本系统没有告诉我们连接的状态，虽然连接走完了全过程。",
        );
        return text.to_owned();
    }
    let last = lifecycle.steps.last();
    let lingers =
        last.is_some_and(|step| step.client == Some(TcpState::TimeWait) && step.server.is_none());
    match language {
        Language::English => format!(
            "One connection went through {}{}.",
            names.join(", "),
            if lingers {
                ", and the side that finished first stayed in TIME_WAIT when no process had it any more, while nothing was left of the other"
            } else {
                "; at its end no TIME_WAIT was left at the side that finished first"
            }
        ),
        Language::Chinese => format!(
            "一条连接依次经过了 {}{}。",
            names.join("、"),
            if lingers {
                "；先结束的一方在没有任何进程持有它之后仍停留在 TIME_WAIT，另一方则什么都没留下"
            } else {
                "；结束时先结束的一方没有留下 TIME_WAIT"
            }
        ),
    }
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
    let outcome = |rebind| {
        lifecycle
            .rebind(rebind)
            .map_or_else(String::new, |result| rebind_result(result, language))
    };
    let plain = outcome(Rebind::WithoutReuse);
    let reuse = outcome(Rebind::WithReuse);
    let living = outcome(Rebind::OpenListener);
    let callers = summarize_callers(&lifecycle.backlog, language);
    match language {
        Language::English => format!(
            "{} returned only when the other side acted, while connect() needs no accept(); to listen again after a close gave \"{plain}\" \
             without SO_REUSEADDR and \"{reuse}\" with it (\"{living}\" beside a living listener); {callers}.",
            if waiting.is_empty() {
                "No call".to_owned()
            } else {
                join_list(&waiting)
            },
        ),
        Language::Chinese => format!(
            "{}直到对方有动作才返回，而 connect() 不需要对方 accept()；关闭后再次监听，不设 SO_REUSEADDR 时“{plain}”，设置后“{reuse}”（另一个监听还在时\
             “{living}”）；{callers}。",
            if waiting.is_empty() {
                "没有调用".to_owned()
            } else {
                waiting.join("、")
            },
        ),
    }
}

fn summarize_callers(backlog: &Backlog, language: Language) -> String {
    let asked = backlog.requested;
    let all = backlog.callers.len();
    let before = backlog.before_accept();
    let after = backlog.after_accept();
    let half = backlog.half_open();
    match language {
        Language::English => {
            let believe = if half > 0 {
                format!(", {half} of them without the server having room for them (SYN_RECV)")
            } else {
                String::new()
            };
            format!(
                "of {all} callers of listen({asked}) {before} were connected at once, the others waited, and after one accept() {after} more connected{believe}"
            )
        }
        Language::Chinese => {
            let believe = if half > 0 {
                format!("，其中 {half} 个在服务端其实还没有位置（SYN_RECV）")
            } else {
                String::new()
            };
            format!(
                "listen({asked}) 的 {all} 个客户端里，{before} 个立即连上，其余的等待，accept() 一次后又连上 {after} 个{believe}"
            )
        }
    }
}
