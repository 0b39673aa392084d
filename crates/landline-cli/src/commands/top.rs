//! `landline top`: what runs on a server, and what it uses.

mod screen;

use std::{collections::HashMap, time::Duration};

use clap::Args;
use landline::{
    Error,
    admin::paging::SessionRow,
    client::{ClientSession, ask_sessions, first_sessions_request, receive_sessions},
    exec::{MachineLoad, ProgramUsage, first_top_request, receive_top, send_top},
    net::{Channel, Target},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::jobs::{seconds_of_microseconds, seconds_of_milliseconds};
use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal::{bytes, moment, shown_line, table},
};

/// The time between two samples of which only the second is shown.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// Show what runs on a server, and what it uses
///
/// Lists commands and jobs with their CPU and memory, and below them the sessions. Helpers, admins
/// and owners see all users. Other users see only their own, and need the right `exec`. At a
/// terminal, the list is updated each second until you press q. The keys c, m and t sort by CPU,
/// memory and time.
///
/// CPU is in percent of one processor. MEMORY counts shared memory once for each process.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landline top nas\n  landline top nas --json")]
pub(crate) struct Top {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    #[command(flatten)]
    access: Access,
}

impl Run for Top {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let mut monitor = Monitor {
            session: connect::find_session(context, &client, &self.host, &self.access).await?,
            channels: None,
            before: None,
        };
        let done = if !context.json && context.out.is_terminal() && context.input.is_terminal() {
            screen::run(context, &mut monitor).await
        } else {
            print_once(context, &mut monitor).await
        };
        // After a failure too: otherwise the server would wait for this client to return.
        monitor.finish().await;
        done.map(|()| ExitStatus::SUCCESS)
    }
}

/// Prints one sample.
async fn print_once(context: &Context, monitor: &mut Monitor) -> Result<(), Failure> {
    monitor.sample().await?;
    tokio::time::sleep(FIRST_INTERVAL).await;
    let sample = monitor.sample().await?;
    if context.json {
        context.out.print_json(&sample.to_json());
    } else {
        let text = sample.lines(Order::Processor).join("\n");
        context.out.print(&text);
    }
    Ok(())
}

/// Asks a server again and again.
struct Monitor {
    session: ClientSession,
    /// Those for commands and for sessions.
    channels: Option<(Channel, Channel)>,
    /// The processor time of each job, and when it was asked for.
    before: Option<(Instant, HashMap<String, u64>)>,
}

/// What is there at a moment.
struct Sample {
    machine: MachineLoad,
    programs: Vec<MeasuredProgram>,
    sessions: Vec<SessionRow>,
}

struct MeasuredProgram {
    usage: ProgramUsage,
    /// In percent of one processor; `None` before the second sample.
    processor: Option<f64>,
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Processor,
    Memory,
    Time,
}

impl Monitor {
    /// Asks once. After a failure the next call connects again.
    async fn sample(&mut self) -> Result<Sample, Error> {
        let channels = self.channels.take();
        let (mut commands, mut people) = match channels {
            Some((mut commands, people)) => {
                send_top(&mut commands).await?;
                (commands, people)
            }
            None => {
                let commands = self.session.open_channel(&first_top_request()?).await?;
                let people = self
                    .session
                    .open_channel(&first_sessions_request()?)
                    .await?;
                let mut people = people.login.channel;
                receive_sessions(&mut people).await?;
                (commands.login.channel, people)
            }
        };
        let asked = async {
            let (machine, programs) = receive_top(&mut commands).await?;
            let now = Instant::now();
            Ok((machine, programs, now, ask_sessions(&mut people).await?))
        }
        .await;
        self.channels = Some((commands, people));
        let (machine, programs, now, sessions) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                self.close().await;
                return Err(error);
            }
        };
        let times = programs
            .iter()
            .map(|program| (program.job.clone(), program.processor_time));
        let before = self.before.replace((now, times.collect()));
        let measure = |usage: ProgramUsage| {
            let processor = before.as_ref().and_then(|(at, times)| {
                let elapsed = now.duration_since(*at).as_secs_f64();
                let spent = usage.processor_time.saturating_sub(*times.get(&usage.job)?);
                Some(spent as f64 / 10_000.0 / elapsed.max(0.001))
            });
            MeasuredProgram { usage, processor }
        };
        Ok(Sample {
            machine,
            programs: programs.into_iter().map(measure).collect(),
            sessions,
        })
    }

    /// Ends the channels, if there are any.
    async fn close(&mut self) {
        if let Some((commands, people)) = self.channels.take() {
            commands.finish().await;
            people.finish().await;
        }
    }

    async fn finish(mut self) {
        self.close().await;
        self.session.finish().await;
    }
}

impl Sample {
    fn to_json(&self) -> Value {
        let programs = self.programs.iter().map(|program| {
            let mut value = json!(program.usage);
            if let Some(keys) = value.as_object_mut() {
                let rounded = program.processor.map(|it| (it * 10.0).round() / 10.0);
                keys.insert("cpu".to_owned(), json!(rounded));
                let started = seconds_of_milliseconds(program.usage.started);
                keys.insert("started".to_owned(), started);
                let time = seconds_of_microseconds(program.usage.processor_time);
                keys.insert("processor_time".to_owned(), time);
            }
            value
        });
        json!({
            "machine": {
                "processors": self.machine.processors,
                "load": self.machine.load as f64 / 100.0,
                "memory": self.machine.memory,
                "available": self.machine.available,
            },
            "jobs": programs.collect::<Vec<_>>(),
            "sessions": self.sessions,
        })
    }

    /// The lines for people, none of which is cut.
    fn lines(&self, order: Order) -> Vec<String> {
        let MachineLoad {
            processors,
            load,
            memory,
            available,
        } = self.machine;
        let mut head = format!("load {}.{:02} of {processors}", load / 100, load % 100);
        if memory > 0 {
            let used = bytes(memory.saturating_sub(available));
            head += &format!(", memory {used} of {}", bytes(memory));
        }
        let mut programs: Vec<&MeasuredProgram> = self.programs.iter().collect();
        programs.sort_by(|a, b| match order {
            Order::Processor => b
                .processor
                .unwrap_or(0.0)
                .total_cmp(&a.processor.unwrap_or(0.0)),
            Order::Memory => b.usage.memory.cmp(&a.usage.memory),
            Order::Time => b.usage.processor_time.cmp(&a.usage.processor_time),
        });
        let titles =
            ["USER", "JOB", "CPU", "TIME", "MEMORY", "PROCS", "COMMAND"].map(str::to_owned);
        let commands = table(titles, programs.into_iter().map(row));
        let titles = ["USER", "SINCE", "FROM", "DOING"].map(str::to_owned);
        let sessions = table(titles, self.sessions.iter().flat_map(session_rows));
        [head.as_str(), "", &commands, "", &sessions]
            .iter()
            .flat_map(|text| text.split('\n'))
            .map(str::to_owned)
            .collect()
    }
}

fn row(program: &MeasuredProgram) -> [String; 7] {
    let usage = &program.usage;
    let time = Duration::from_micros(usage.processor_time);
    let (seconds, hundredths) = (time.as_secs(), time.subsec_millis() / 10);
    [
        usage.user.to_string(),
        usage.name.clone().unwrap_or_else(|| usage.job.clone()),
        program
            .processor
            .map_or_else(|| "-".to_owned(), |it| format!("{it:.1}")),
        format!("{}:{:02}.{hundredths:02}", seconds / 60, seconds % 60),
        bytes(usage.memory),
        usage.processes.to_string(),
        shown_line(&String::from_utf8_lossy(&usage.command.0)),
    ]
}

fn session_rows(session: &SessionRow) -> Vec<[String; 4]> {
    let connections = session.connections.iter().map(|connection| {
        [
            session.user.to_string(),
            moment(connection.since),
            connection.peer.to_string(),
            shown_line(&connection.doing),
        ]
    });
    connections.collect()
}
