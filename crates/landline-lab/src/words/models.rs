//! The texts about the four models.

use super::{bytes, join_list, time};
use crate::{
    Language, Models, Table,
    models::{BLOCK, CLIENTS, IDLE_CONNECTIONS, LoadStats, Model, ModelStats},
};

pub(crate) fn title(language: Language) -> String {
    language.pick(
        format!("Four models, the same load: {CLIENTS} clients at the same time"),
        format!("四种模型，同样的负载：{CLIENTS} 个客户端同时请求"),
    )
}

pub(crate) fn model(model: Model, language: Language) -> &'static str {
    match model {
        Model::Inline => "inline",
        Model::Threads => language.pick("threads", "threads 线程"),
        Model::Processes => language.pick("processes", "processes 进程"),
        Model::Tasks => language.pick("tasks", "tasks 协程"),
    }
}

/// A short description of a model.
pub(crate) fn model_description(model: Model, language: Language) -> String {
    match model {
        Model::Inline => language
            .pick("one connection after the other", "一次只服务一个连接")
            .to_owned(),
        Model::Threads => language
            .pick("a thread for each connection", "每个连接一个线程")
            .to_owned(),
        Model::Processes => language
            .pick("a process for each connection", "每个连接一个进程")
            .to_owned(),
        Model::Tasks => language.pick(
            "a task for each connection, on one thread".to_owned(),
            "每个连接一个协程，共用一个线程".to_owned(),
        ),
    }
}

/// The headings of the picture's panels.
pub(crate) struct Headings {
    pub(crate) long: String,
    pub(crate) short: String,
    pub(crate) long_latency: String,
    pub(crate) short_latency: String,
    pub(crate) memory: String,
    pub(crate) blocked: String,
}

pub(crate) fn headers(language: Language) -> Headings {
    let block = time(BLOCK, language);
    match language {
        Language::English => Headings {
            long: "Long connections: answers a second".to_owned(),
            short: "Short connections: answers a second".to_owned(),
            long_latency: "Long: request to answer".to_owned(),
            short_latency: "Short: connect to answer".to_owned(),
            memory: "Memory a connection adds".to_owned(),
            blocked: format!("One handler takes {block}: the others wait"),
        },
        Language::Chinese => Headings {
            long: "长连接：每秒应答数".to_owned(),
            short: "短连接：每秒应答数".to_owned(),
            long_latency: "长连接：请求到应答".to_owned(),
            short_latency: "短连接：连接到应答".to_owned(),
            memory: "每个连接增加的内存".to_owned(),
            blocked: format!("一个处理函数用 {block}：其他人等多久"),
        },
    }
}

/// The legend of a latency panel's two bars.
pub(crate) fn latency_key(language: Language) -> [&'static str; 2] {
    language.pick(
        ["half of them took less", "99 of 100 took less"],
        ["一半比这快", "99% 比这快"],
    )
}

/// The legend of the bars about blocked handlers.
pub(crate) fn blocked_key(language: Language) -> [&'static str; 2] {
    language.pick(
        ["it blocks its thread", "it awaits instead"],
        ["阻塞所在线程", "改用 await"],
    )
}

pub(crate) fn clients_served(service: &LoadStats, language: Language) -> String {
    let served = service.served;
    match language {
        Language::English => format!("{served} of {CLIENTS} served"),
        Language::Chinese => format!("{CLIENTS} 个中服务了 {served} 个"),
    }
}

pub(crate) fn rate(per_second: f64) -> String {
    format!("{per_second:.0}")
}

pub(crate) fn memory(amount: Option<u64>, language: Language) -> String {
    amount.map_or_else(|| language.pick("not told", "未知").to_owned(), bytes)
}

/// The reason why connections add no memory with the inline model.
pub(crate) fn waiting_in_kernel(language: Language) -> &'static str {
    language.pick("all but one wait in the kernel", "除一个外都在内核里等待")
}

pub(crate) fn tables(models: &Models, language: Language) -> Vec<Table> {
    let headers = headers(language);
    let columns = language.pick(
        [
            "model",
            "answers/s",
            "median",
            "99 of 100",
            "clients served",
        ],
        ["模型", "应答/秒", "中位数", "99%", "得到服务的客户端"],
    );
    let services = |caption: &str, service: fn(&ModelStats) -> LoadStats| {
        let mut table = Table::new(caption, columns);
        for stats in &models.stats {
            let service = service(stats);
            table.add_row([
                model(stats.model, language).to_owned(),
                rate(service.per_second),
                time(service.median, language),
                time(service.percentile_99, language),
                clients_served(&service, language),
            ]);
        }
        table
    };
    let mut memory_table = Table::new(
        &language.pick(
            format!("Memory, {IDLE_CONNECTIONS} connections open"),
            format!("内存，打开 {IDLE_CONNECTIONS} 个连接"),
        ),
        language.pick(
            ["model", "server alone", "a connection adds"],
            ["模型", "服务器本身", "每个连接增加"],
        ),
    );
    let [blocks, awaits] = blocked_key(language);
    let mut blocked = Table::new(
        &headers.blocked,
        [language.pick("model", "模型"), blocks, awaits],
    );
    for stats in &models.stats {
        let name = model(stats.model, language).to_owned();
        memory_table.add_row([
            name.clone(),
            memory(stats.memory, language),
            memory(stats.memory_each, language),
        ]);
        let awaiting = stats
            .awaiting
            .map_or_else(|| "-".to_owned(), |wait| time(wait, language));
        blocked.add_row([name, time(stats.blocked, language), awaiting]);
    }
    vec![
        services(&headers.long, |stats| stats.long),
        services(&headers.short, |stats| stats.short),
        memory_table,
        blocked,
    ]
}

/// The models that could not be measured, with the reasons.
pub(crate) fn unavailable(models: &Models, language: Language) -> Vec<String> {
    let note = |(which, error): &(Model, String)| {
        let name = model(*which, language);
        language.pick(
            format!("{name} could not be measured on this system: {error}."),
            format!("本系统上无法测量 {name}：{error}。"),
        )
    };
    models.unavailable.iter().map(note).collect()
}

/// What this system could not measure, and what the numbers do not show.
pub(crate) fn notes(models: &Models, language: Language) -> Vec<String> {
    let mut notes = unavailable(models, language);
    if models.stats.iter().any(|stats| stats.memory_each.is_none()) {
        let note = language.pick(
            "This system does not tell how much memory processes share (no /proc/PID/smaps_rollup), so memory is not shown.",
            "本系统不提供进程共享内存的数据（没有 /proc/PID/smaps_rollup），所以无法显示内存。",
        );
        notes.push(note.to_owned());
    }
    let note = language.pick(
        "Clients and server share this machine; compare the models with each other, not with other machines.",
        "客户端和服务器在同一台机器上；请在模型之间比较，不要与别的机器比较。",
    );
    notes.push(note.to_owned());
    notes
}

/// The summary, in short sentences.
pub(crate) fn summary(models: &Models, language: Language) -> Vec<String> {
    let mut sentences = summarize_load(models, language);
    sentences.extend(summarize_blocking(models, language));
    sentences
}

fn summarize_load(models: &Models, language: Language) -> Vec<String> {
    let name = |stats: &ModelStats| model(stats.model, language);
    let all = || models.stats.iter();
    let starving: Vec<String> = all()
        .filter(|stats| stats.long.served < CLIENTS)
        .map(|stats| starving(stats, language))
        .collect();
    let mut sentences = starving;
    if sentences.is_empty() {
        sentences.push(language.pick(
            format!("Over long connections, every model served all {CLIENTS} clients."),
            format!("长连接下，每种模型都同时服务了全部 {CLIENTS} 个客户端。"),
        ));
    }
    let long = |stats: &&ModelStats| stats.long.per_second;
    let fair = all().filter(|stats| stats.long.served == CLIENTS);
    if let Some(most) = fair.max_by(|a, b| long(a).total_cmp(&long(b))) {
        let (name, rate) = (name(most), rate(most.long.per_second));
        sentences.push(language.pick(
            format!(
                "Of the models that served all, {name} answered the most over long connections ({rate}/s)."
            ),
            format!("服务了全部客户端的模型里，长连接应答最多的是 {name}（每秒 {rate}）。"),
        ));
    }
    let short = |stats: &&ModelStats| stats.short.per_second;
    let most = all().max_by(|a, b| short(a).total_cmp(&short(b)));
    let least = all().min_by(|a, b| short(a).total_cmp(&short(b)));
    if let (Some(most), Some(least)) = (most, least) {
        let (fast, many) = (name(most), rate(most.short.per_second));
        let (slow, few) = (name(least), rate(least.short.per_second));
        sentences.push(language.pick(
            format!("Over short connections, {fast} answered the most ({many}/s) and {slow} the fewest ({few}/s)."),
            format!("短连接应答最多的是 {fast}（每秒 {many}），最少的是 {slow}（每秒 {few}）。"),
        ));
    }
    let weighed = all().filter(|stats| stats.memory_each.is_some());
    if let Some(heaviest) = weighed.max_by_key(|stats| stats.memory_each) {
        let (name, memory) = (name(heaviest), memory(heaviest.memory_each, language));
        sentences.push(language.pick(
            format!("A connection needs the most memory with {name} ({memory})."),
            format!("每个连接最占内存的是 {name}（{memory}）。"),
        ));
    }
    sentences
}

fn starving(stats: &ModelStats, language: Language) -> String {
    let name = model(stats.model, language);
    let served = stats.long.served;
    language.pick(
        format!("Over long connections, {name} served {served} of {CLIENTS} clients. The others waited in the backlog."),
        format!("长连接下，{name} 只服务了 {CLIENTS} 个客户端中的 {served} 个，其余的在 backlog 里等待。"),
    )
}

fn summarize_blocking(models: &Models, language: Language) -> Vec<String> {
    // A wait of more than half of the block is a delay by it, and not by a busy machine.
    let is_held_up = |stats: &&ModelStats| stats.blocked > BLOCK / 2;
    let name = |stats: &ModelStats| model(stats.model, language);
    let (held, free): (Vec<&ModelStats>, Vec<&ModelStats>) =
        models.stats.iter().partition(is_held_up);
    let held_names: Vec<&str> = held.iter().map(|stats| name(stats)).collect();
    let free_names: Vec<&str> = free.iter().map(|stats| name(stats)).collect();
    let mut sentences = Vec::new();
    if let Some(longest) = held.iter().map(|stats| stats.blocked).max() {
        let longest = time(longest, language);
        sentences.push(language.pick(
            format!(
                "While one handler blocked its thread, all other clients of {} waited, for up to {longest}.",
                join_list(&held_names)
            ),
            format!(
                "一个处理函数阻塞时，{} 的其他客户端都要等待，最长 {longest}。",
                held_names.join("、")
            ),
        ));
    }
    if !free_names.is_empty() {
        sentences.push(language.pick(
            format!(
                "The other clients of {} did not wait.",
                join_list(&free_names)
            ),
            format!("{} 的其他客户端不受影响。", free_names.join("、")),
        ));
    }
    if let Some(wait) = models
        .stats_of(Model::Tasks)
        .and_then(|stats| stats.awaiting)
    {
        let wait = time(wait, language);
        sentences.push(language.pick(
            format!("A task that awaits instead of blocking lets the others through in {wait}."),
            format!("协程改用 await 等待时，其他人 {wait}内就得到应答。"),
        ));
    }
    sentences
}
