//! What is said about the four models.

use super::{bytes, listed, time};
use crate::{
    Language, Models, Table,
    models::{BLOCK, CLIENTS, Figures, IDLE_CONNECTIONS, Model, Service, TASK_THREADS},
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

/// What a model is, in a few words.
pub(crate) fn model_is(model: Model, language: Language) -> String {
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

/// The heads of the panels of the picture.
pub(crate) struct Heads {
    pub(crate) long: String,
    pub(crate) short: String,
    pub(crate) long_latency: String,
    pub(crate) short_latency: String,
    pub(crate) memory: String,
    pub(crate) blocked: String,
}

pub(crate) fn heads(language: Language) -> Heads {
    let block = time(BLOCK, language);
    match language {
        Language::English => Heads {
            long: "Long connections: answers a second".to_owned(),
            short: "Short connections: answers a second".to_owned(),
            long_latency: "Long: request to answer".to_owned(),
            short_latency: "Short: connect to answer".to_owned(),
            memory: "Memory a connection adds".to_owned(),
            blocked: format!("Handlers block for {block}: others wait"),
        },
        Language::Chinese => Heads {
            long: "长连接：每秒应答数".to_owned(),
            short: "短连接：每秒应答数".to_owned(),
            long_latency: "长连接：请求到应答".to_owned(),
            short_latency: "短连接：连接到应答".to_owned(),
            memory: "每个连接增加的内存".to_owned(),
            blocked: format!("处理函数阻塞 {block}：其他人等多久"),
        },
    }
}

/// What the two bars of a latency panel are.
pub(crate) fn latency_key(language: Language) -> [&'static str; 2] {
    language.pick(
        ["half of them took less", "99 of 100 took less"],
        ["一半比这快", "99% 比这快"],
    )
}

/// What the bars of the panel of blocked handlers are.
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

pub(crate) fn served(service: &Service, language: Language) -> String {
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

/// Why connections add nothing where one is served at a time.
pub(crate) fn rest_in_kernel(language: Language) -> &'static str {
    language.pick("all but one wait in the kernel", "除一个外都在内核里等待")
}

pub(crate) fn tables(models: &Models, language: Language) -> Vec<Table> {
    let heads = heads(language);
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
    let services = |caption: &str, service: fn(&Figures) -> Service| {
        let mut table = Table::new(caption, columns);
        for figures in &models.figures {
            let service = service(figures);
            table.row([
                model(figures.model, language).to_owned(),
                rate(service.per_second),
                time(service.median, language),
                time(service.worst_hundredth, language),
                self::served(&service, language),
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
        &heads.blocked,
        [language.pick("model", "模型"), &one, &some, &waiting],
    );
    for figures in &models.figures {
        let name = model(figures.model, language).to_owned();
        memory_table.row([
            name.clone(),
            memory(figures.memory, language),
            memory(figures.memory_each, language),
        ]);
        let waiting = figures
            .some_waiting
            .map_or_else(|| "-".to_owned(), |wait| time(wait, language));
        blocked.row([
            name,
            time(figures.one_blocked, language),
            time(figures.some_blocked, language),
            waiting,
        ]);
    }
    vec![
        services(&heads.long, |figures| figures.long),
        services(&heads.short, |figures| figures.short),
        memory_table,
        blocked,
    ]
}

/// Which models are not among the figures, and why.
pub(crate) fn missing(models: &Models, language: Language) -> Vec<String> {
    let note = |(which, error): &(Model, String)| {
        let name = model(*which, language);
        language.pick(
            format!("{name} could not be measured on this system: {error}."),
            format!("本系统上无法测量 {name}：{error}。"),
        )
    };
    models.missing.iter().map(note).collect()
}

/// What this system could not tell, and what the figures are not.
pub(crate) fn notes(models: &Models, language: Language) -> Vec<String> {
    let mut notes = missing(models, language);
    if models
        .figures
        .iter()
        .any(|figures| figures.memory_each.is_none())
    {
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

/// What was seen, in two sentences.
pub(crate) fn seen(models: &Models, language: Language) -> [String; 2] {
    [
        seen_service(models, language),
        seen_blocked(models, language),
    ]
}

fn seen_service(models: &Models, language: Language) -> String {
    let name =
        |wanted: Option<&Figures>| wanted.map_or("", |figures| model(figures.model, language));
    let best = |rate: fn(&Figures) -> f64| {
        models
            .figures
            .iter()
            .max_by(|a, b| rate(a).total_cmp(&rate(b)))
    };
    let served_all = |figures: &&Figures| figures.long.served == CLIENTS;
    let fair: Vec<&Figures> = models.figures.iter().filter(served_all).collect();
    let starving: Vec<String> = models
        .figures
        .iter()
        .filter(|figures| figures.long.served < CLIENTS)
        .map(|figures| {
            let (name, served) = (model(figures.model, language), figures.long.served);
            language.pick(
                format!("{name} served {served} of {CLIENTS} clients"),
                format!("{name} 只服务了 {CLIENTS} 个客户端中的 {served} 个"),
            )
        })
        .collect();
    let quickest = fair
        .iter()
        .copied()
        .max_by(|a, b| a.long.per_second.total_cmp(&b.long.per_second));
    let short = best(|figures| figures.short.per_second);
    let slowest = models
        .figures
        .iter()
        .min_by(|a, b| a.short.per_second.total_cmp(&b.short.per_second));
    let rates = |figures: Option<&Figures>, rate: fn(&Figures) -> f64| {
        figures.map_or_else(String::new, |figures| self::rate(rate(figures)))
    };
    let heavy = models
        .figures
        .iter()
        .filter(|figures| figures.memory_each.is_some())
        .max_by_key(|figures| figures.memory_each);
    let weight = heavy.map(|figures| {
        (
            model(figures.model, language),
            memory(figures.memory_each, language),
        )
    });
    match language {
        Language::English => format!(
            "{}; of those that served all, {} answered most over long connections ({}/s), and over short ones {} did ({}/s) and {} least \
             ({}/s){}.",
            if starving.is_empty() {
                "Every model served all clients at the same time".to_owned()
            } else {
                let starving: Vec<&str> = starving.iter().map(String::as_str).collect();
                format!(
                    "With long connections {} at the same time, the others waited in the backlog",
                    listed(&starving)
                )
            },
            name(quickest),
            rates(quickest, |figures| figures.long.per_second),
            name(short),
            rates(short, |figures| figures.short.per_second),
            name(slowest),
            rates(slowest, |figures| figures.short.per_second),
            weight.map_or_else(String::new, |(name, weight)| format!(
                "; a connection weighs most with {name} ({weight})"
            )),
        ),
        Language::Chinese => format!(
            "{}；在全部客户端都得到服务的模型里，长连接应答最多的是 {}（每秒 {}），短连接最多的是 {}（每秒 {}），最少的是 {}（每秒 {}）{}。",
            if starving.is_empty() {
                "每种模型都同时服务了全部客户端".to_owned()
            } else {
                format!("长连接下 {}，其余的在 backlog 里等待", starving.join("、"))
            },
            name(quickest),
            rates(quickest, |figures| figures.long.per_second),
            name(short),
            rates(short, |figures| figures.short.per_second),
            name(slowest),
            rates(slowest, |figures| figures.short.per_second),
            weight.map_or_else(String::new, |(name, weight)| format!(
                "；每个连接最占内存的是 {name}（{weight}）"
            )),
        ),
    }
}

fn seen_blocked(models: &Models, language: Language) -> String {
    // Whoever waited for half of the block was held up by it, not by a busy machine.
    let is_held_up = |wait: std::time::Duration| wait > BLOCK / 2;
    let held_up = |wait: fn(&Figures) -> std::time::Duration, wanted: bool| -> Vec<&'static str> {
        let chosen = models
            .figures
            .iter()
            .filter(|figures| is_held_up(wait(figures)) == wanted);
        chosen
            .map(|figures| model(figures.model, language))
            .collect()
    };
    let by_one = held_up(|figures| figures.one_blocked, true);
    let by_some = held_up(|figures| figures.some_blocked, true);
    let never = held_up(
        |figures| figures.one_blocked.max(figures.some_blocked),
        false,
    );
    let longest = models
        .figures
        .iter()
        .map(|figures| figures.some_blocked)
        .max()
        .unwrap_or_default();
    let awaiting = models
        .of(Model::Tasks)
        .and_then(|figures| figures.some_waiting);
    let (longest, awaiting) = (
        time(longest, language),
        awaiting.map(|wait| time(wait, language)),
    );
    match language {
        Language::English => {
            let names = |names: &[&str]| {
                if names.is_empty() {
                    "no model".to_owned()
                } else {
                    listed(names)
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
