//! The texts about the four models.

use super::{bytes, join_list, time};
use crate::{
    Language, Models, Table,
    models::{BLOCK, CLIENTS, IDLE_CONNECTIONS, LoadStats, Model, ModelStats, TASK_THREADS},
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
            format!("a task for each connection, on {TASK_THREADS} threads"),
            format!("每个连接一个协程，共 {TASK_THREADS} 个线程"),
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
            blocked: format!("Handlers block for {block}: others wait"),
        },
        Language::Chinese => Headings {
            long: "长连接：每秒应答数".to_owned(),
            short: "短连接：每秒应答数".to_owned(),
            long_latency: "长连接：请求到应答".to_owned(),
            short_latency: "短连接：连接到应答".to_owned(),
            memory: "每个连接增加的内存".to_owned(),
            blocked: format!("处理函数阻塞 {block}：其他人等多久"),
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
pub(crate) fn blocked_key(language: Language) -> [String; 3] {
    language.pick(
        [
            "1 blocks".to_owned(),
            format!("{TASK_THREADS} block"),
            format!("{TASK_THREADS} await instead"),
        ],
        [
            "1 个阻塞".to_owned(),
            format!("{TASK_THREADS} 个阻塞"),
            format!("{TASK_THREADS} 个改用 await"),
        ],
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
    let [one, some, waiting] = blocked_key(language);
    let mut blocked = Table::new(
        &headers.blocked,
        [language.pick("model", "模型"), &one, &some, &waiting],
    );
    for stats in &models.stats {
        let name = model(stats.model, language).to_owned();
        memory_table.add_row([
            name.clone(),
            memory(stats.memory, language),
            memory(stats.memory_each, language),
        ]);
        let waiting = stats
            .some_waiting
            .map_or_else(|| "-".to_owned(), |wait| time(wait, language));
        blocked.add_row([
            name,
            time(stats.one_blocked, language),
            time(stats.some_blocked, language),
            waiting,
        ]);
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

/// The summary, in two sentences.
pub(crate) fn summary(models: &Models, language: Language) -> [String; 2] {
    [
        summarize_load(models, language),
        summarize_blocking(models, language),
    ]
}

/// The texts that both languages' summaries of the loads contain.
struct LoadFacts {
    /// For each model that did not serve all clients: how many it served.
    starving: Vec<String>,
    /// Name and rate of a model.
    fastest_long: (&'static str, String),
    fastest_short: (&'static str, String),
    slowest_short: (&'static str, String),
    /// The model whose connections need the most memory, and that memory.
    heaviest: Option<(&'static str, String)>,
}

impl LoadFacts {
    fn of(models: &Models, language: Language) -> Self {
        let named = |stats: Option<&ModelStats>, per_second: fn(&ModelStats) -> f64| {
            stats.map_or(("", String::new()), |stats| {
                (model(stats.model, language), rate(per_second(stats)))
            })
        };
        let long = |stats: &ModelStats| stats.long.per_second;
        let short = |stats: &ModelStats| stats.short.per_second;
        let all = || models.stats.iter();
        let fair = all().filter(|stats| stats.long.served == CLIENTS);
        Self {
            starving: all()
                .filter(|stats| stats.long.served < CLIENTS)
                .map(|stats| starving(stats, language))
                .collect(),
            fastest_long: named(fair.max_by(|a, b| long(a).total_cmp(&long(b))), long),
            fastest_short: named(all().max_by(|a, b| short(a).total_cmp(&short(b))), short),
            slowest_short: named(all().min_by(|a, b| short(a).total_cmp(&short(b))), short),
            heaviest: all()
                .filter(|stats| stats.memory_each.is_some())
                .max_by_key(|stats| stats.memory_each)
                .map(|stats| {
                    (
                        model(stats.model, language),
                        memory(stats.memory_each, language),
                    )
                }),
        }
    }
}

fn starving(stats: &ModelStats, language: Language) -> String {
    let name = model(stats.model, language);
    let served = stats.long.served;
    language.pick(
        format!("{name} served {served} of {CLIENTS} clients"),
        format!("{name} 只服务了 {CLIENTS} 个客户端中的 {served} 个"),
    )
}

fn summarize_load(models: &Models, language: Language) -> String {
    let facts = LoadFacts::of(models, language);
    match language {
        Language::English => english_load(&facts),
        Language::Chinese => chinese_load(&facts),
    }
}

fn english_load(facts: &LoadFacts) -> String {
    let served = if facts.starving.is_empty() {
        "Every model served all clients at the same time".to_owned()
    } else {
        let starving: Vec<&str> = facts.starving.iter().map(String::as_str).collect();
        format!(
            "With long connections {} at the same time, the others waited in the backlog",
            join_list(&starving)
        )
    };
    let weight = facts
        .heaviest
        .as_ref()
        .map_or_else(String::new, |(name, weight)| {
            format!("; a connection weighs most with {name} ({weight})")
        });
    format!(
        "{served}; of those that served all, {} answered most over long connections ({}/s), and over short ones {} did ({}/s) and {} least \
         ({}/s){weight}.",
        facts.fastest_long.0,
        facts.fastest_long.1,
        facts.fastest_short.0,
        facts.fastest_short.1,
        facts.slowest_short.0,
        facts.slowest_short.1,
    )
}

fn chinese_load(facts: &LoadFacts) -> String {
    let served = if facts.starving.is_empty() {
        "每种模型都同时服务了全部客户端".to_owned()
    } else {
        format!(
            "长连接下 {}，其余的在 backlog 里等待",
            facts.starving.join("、")
        )
    };
    let weight = facts
        .heaviest
        .as_ref()
        .map_or_else(String::new, |(name, weight)| {
            format!("；每个连接最占内存的是 {name}（{weight}）")
        });
    format!(
        "{served}；在全部客户端都得到服务的模型里，长连接应答最多的是 {}（每秒 {}），短连接最多的是 {}（每秒 {}），最少的是 {}（每秒 {}）{weight}。",
        facts.fastest_long.0,
        facts.fastest_long.1,
        facts.fastest_short.0,
        facts.fastest_short.1,
        facts.slowest_short.0,
        facts.slowest_short.1,
    )
}

fn summarize_blocking(models: &Models, language: Language) -> String {
    // A wait of more than half of the block is a delay by it, and not by a busy machine.
    let is_held_up = |wait: std::time::Duration| wait > BLOCK / 2;
    let held_up =
        |wait: fn(&ModelStats) -> std::time::Duration, wanted: bool| -> Vec<&'static str> {
            let chosen = models
                .stats
                .iter()
                .filter(|stats| is_held_up(wait(stats)) == wanted);
            chosen.map(|stats| model(stats.model, language)).collect()
        };
    let by_one = held_up(|stats| stats.one_blocked, true);
    let by_some = held_up(|stats| stats.some_blocked, true);
    let never = held_up(|stats| stats.one_blocked.max(stats.some_blocked), false);
    let longest = models
        .stats
        .iter()
        .map(|stats| stats.some_blocked)
        .max()
        .unwrap_or_default();
    let awaiting = models
        .stats_of(Model::Tasks)
        .and_then(|stats| stats.some_waiting);
    let longest = time(longest, language);
    let awaiting = awaiting.map(|wait| time(wait, language));
    match language {
        Language::English => {
            let names = |names: &[&str]| {
                if names.is_empty() {
                    "no model".to_owned()
                } else {
                    join_list(names)
                }
            };
            format!(
                "One handler that blocked held up the others with {}, and {TASK_THREADS} did with {} (for up to {longest}), but never with {}{}.",
                names(&by_one),
                names(&by_some),
                names(&never),
                awaiting.map_or_else(String::new, |wait| format!(
                    "; tasks that await instead of blocking let the others through in {wait}"
                )),
            )
        }
        Language::Chinese => {
            let names = |names: &[&str]| {
                if names.is_empty() {
                    "没有模型".to_owned()
                } else {
                    names.join("、")
                }
            };
            format!(
                "一个处理函数阻塞时，拖住其他客户端的是：{}；{TASK_THREADS} 个阻塞时是：{}（最长 {longest}）；从不受影响的是：{}{}。",
                names(&by_one),
                names(&by_some),
                names(&never),
                awaiting.map_or_else(String::new, |wait| format!(
                    "；协程改用 await 等待时，其他人 {wait}内就得到应答"
                )),
            )
        }
    }
}
