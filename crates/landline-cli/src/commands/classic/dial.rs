//! `landline classic dial`: the client of a dialect.

use std::{future::Future, io::Write, pin::pin, time::Duration};

use landline::net::HostPort;
use landline_classic::{
    Connection, DatagramConnection, Error, REFUSED, challenge,
    client::{connect, connect_datagrams},
    codec::{Bursts, ChatLine, Encodings, HeaderKeys, Talk, TalkSide, UploadForm},
    command::{self, CommandForm},
    echo, login,
    talk::{Ending, LineSource, TalkEvent, converse},
    text,
    udp_chat::{self, ChatOptions},
    udp_echo,
};
use tokio::{net::TcpStream, sync::mpsc};

use super::{
    arguments::{Chat, Dial, DialCommand, DialDatagrams, DialStream, Pause},
    events::watcher,
    files,
    input::{start_chunks, start_person},
    load_challenge,
    output::PeerOutput,
    words,
};
use crate::{context::Context, failure::Failure, terminal::shown_line};

/// A client never times out; its user decides how long to wait.
const IDLE_TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long to wait for the first output if nothing marks its end.
const FIRST_OUTPUT_TIME: Duration = Duration::from_secs(1);
/// How long to wait for a server that has no more to say.
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// The pause that ends output if nothing marks its end.
const OUTPUT_PAUSE: Duration = Duration::from_millis(300);

pub(super) async fn run(
    context: &Context,
    dial: Dial,
    mut stop: impl Future<Output = ()> + Unpin,
) -> Result<(), Failure> {
    // A chat handles the signal itself: it sends its last word first.
    if let Dial::UdpChat { dial, chat } = dial {
        return join_chat(context, dial, chat, stop).await;
    }
    tokio::select! {
        done = pin!(speak(context, dial)) => done,
        () = &mut stop => Err(Failure::in_both("interrupted", words::interrupted())),
    }
}

async fn speak(context: &Context, dial: Dial) -> Result<(), Failure> {
    match dial {
        Dial::Echo { stream, wait, text } => exchange_echo(context, &stream, wait, text).await,
        Dial::Send {
            stream,
            pause,
            wait,
            text,
        } => send_pieces(context, &stream, pause.pause, wait, text).await,
        Dial::UdpSend { dial, pause, text } => {
            send_datagrams(context, &dial, pause.pause, text).await
        }
        Dial::Text {
            stream,
            reply,
            text,
        } => send_texts(context, &stream, reply, text).await,
        Dial::Command(command) => {
            let keys = HeaderKeys::of_command();
            run_commands(context, command, CommandForm::Sized, &keys).await
        }
        Dial::CommandRaw { command, wait } => run_raw_commands(context, command, wait).await,
        Dial::CommandJson { command, keys } => {
            run_commands(context, command, CommandForm::Json, &keys.to_keys()).await
        }
        Dial::Upload(upload) => files::upload(context, upload, UploadForm::Framed).await,
        Dial::UploadBare(upload) => files::upload(context, upload, UploadForm::Bare).await,
        Dial::Download {
            stream,
            names,
            dir,
            overwrite,
            quiet,
        } => files::download(context, &stream, &names, &dir, overwrite, quiet).await,
        Dial::Login { stream, user } => log_in(context, &stream, &user).await,
        Dial::Challenge(stream) => {
            if stream.secret.secret_file.is_none() {
                return Err(Failure::in_both("usage", words::challenge_needs_secret()));
            }
            challenge::await_confirmation(&mut connect_to(context, &stream).await?).await?;
            context.out.print("ok");
            Ok(())
        }
        Dial::UdpEcho {
            dial,
            timeout,
            text,
        } => exchange_datagrams(context, dial, timeout, text).await,
        Dial::Talk { stream, pause, bye } => talk(context, &stream, &pause, bye).await,
        Dial::UdpChat { .. } => Ok(()),
    }
}

/// Connects to the server and answers its challenge.
pub(super) async fn connect_to(
    context: &Context,
    stream: &DialStream,
) -> Result<Connection<TcpStream>, Failure> {
    let challenge = load_challenge(&stream.secret)?;
    let HostPort { host, port } = &stream.dial.address;
    let watcher = stream
        .dial
        .show
        .show
        .then(|| watcher(context, stream.dial.address.to_string()));
    Ok(connect(host, *port, challenge.as_ref(), IDLE_TIME_MAX, watcher).await?)
}

/// Opens a socket for datagrams to the server.
async fn connect_datagrams_to(
    context: &Context,
    dial: &DialDatagrams,
) -> Result<DatagramConnection, Failure> {
    let HostPort { host, port } = &dial.address;
    let mut connection = connect_datagrams(host, *port).await?;
    if dial.show.show {
        connection.set_watcher(watcher(context, dial.address.to_string()));
    }
    Ok(connection)
}

pub(super) fn encodings(stream: &DialStream) -> Encodings {
    stream.dial.encoding.of_client()
}

async fn exchange_echo(
    context: &Context,
    stream: &DialStream,
    wait: Duration,
    text: Vec<String>,
) -> Result<(), Failure> {
    if text.is_empty() {
        context.check_input()?;
    }
    let encodings = encodings(stream);
    let line = connect_to(context, stream).await?;
    let input = if text.is_empty() {
        start_chunks(context.input.clone())
    } else {
        let (queue, input) = mpsc::channel(1);
        // The queue is empty, so this never waits.
        let _ = queue.try_send(encodings.sent.encode(&text.join(" ")));
        input
    };
    let mut output = PeerOutput::new(&context.out, encodings.received);
    let exchanged = echo::exchange(line, encodings, input, wait, &mut output).await;
    if !text.is_empty() {
        let _ = output.write_all(&encodings.received.encode("\n"));
    }
    Ok(exchanged?)
}

/// Sends each text with one send, and prints what comes back.
async fn send_pieces(
    context: &Context,
    stream: &DialStream,
    pause: Option<Duration>,
    wait: Duration,
    texts: Vec<String>,
) -> Result<(), Failure> {
    let encodings = encodings(stream);
    let mut line = connect_to(context, stream).await?;
    for (index, text) in texts.iter().enumerate() {
        if let Some(pause) = pause.filter(|_| index > 0) {
            tokio::time::sleep(pause).await;
        }
        line.send(&encodings.sent.encode(text)).await?;
    }
    line.finish().await?;
    let mut output = PeerOutput::new(&context.out, encodings.received);
    command::receive_raw(&mut line, Some(wait), Some(wait), &mut output).await?;
    Ok(())
}

async fn send_datagrams(
    context: &Context,
    dial: &DialDatagrams,
    pause: Option<Duration>,
    texts: Vec<String>,
) -> Result<(), Failure> {
    let connection = connect_datagrams_to(context, dial).await?;
    for (index, text) in texts.iter().enumerate() {
        if let Some(pause) = pause.filter(|_| index > 0) {
            tokio::time::sleep(pause).await;
        }
        let datagram = dial.encoding.of_client().sent.encode(text);
        connection.send(&datagram).await?;
    }
    Ok(())
}

/// The texts of the command line, else the lines of standard input.
struct Lines<'a> {
    context: &'a Context,
    given: Option<std::vec::IntoIter<String>>,
    person: LineSource,
}

impl<'a> Lines<'a> {
    fn new(context: &'a Context, given: Vec<String>) -> Result<Self, Failure> {
        if given.is_empty() {
            context.check_input()?;
        }
        Ok(Self {
            context,
            given: (!given.is_empty()).then(|| given.into_iter()),
            person: start_person(context.input.clone()),
        })
    }

    async fn next(&mut self) -> Option<String> {
        match &mut self.given {
            Some(given) => given.next(),
            None => {
                if self.context.input.is_terminal() {
                    self.context.err.prompt("> ");
                }
                self.person.next_line().await
            }
        }
    }
}

async fn send_texts(
    context: &Context,
    stream: &DialStream,
    reply: bool,
    text: Vec<String>,
) -> Result<(), Failure> {
    let (mut line, encodings) = (connect_to(context, stream).await?, encodings(stream));
    let mut lines = Lines::new(context, text)?;
    while let Some(text) = lines.next().await {
        text::send(&mut line, encodings, &text).await?;
        if reply {
            let answer = text::receive(&mut line, encodings).await?;
            let answer = answer.ok_or_else(connection_closed)?;
            if answer != text {
                check_answer(&answer)?;
            }
            context.out.print(&answer);
        }
    }
    if let Some(answer) = text::settle(line, encodings, SETTLE_TIME).await? {
        check_answer(&answer)?;
        context.out.print(&answer);
    }
    Ok(())
}

/// Fails if a server of landline answered to a mistake.
fn check_answer(answer: &str) -> Result<(), Failure> {
    if answer.starts_with(REFUSED) {
        return Err(Failure::in_both(
            "dialect",
            words::of_other_side(answer.trim_end()),
        ));
    }
    Ok(())
}

fn connection_closed() -> Failure {
    Error::Lost(words::server_has_closed()).into()
}

/// The commands of the command line, or the lines of standard input.
fn commands<'a>(context: &'a Context, command: &[String]) -> Result<Lines<'a>, Failure> {
    let command = command.join(" ");
    let given = if command.is_empty() {
        Vec::new()
    } else {
        vec![command]
    };
    Lines::new(context, given)
}

async fn run_commands(
    context: &Context,
    options: DialCommand,
    form: CommandForm,
    keys: &HeaderKeys,
) -> Result<(), Failure> {
    let encodings = encodings(&options.stream);
    let mut line = connect_to(context, &options.stream).await?;
    let mut output = PeerOutput::new(&context.out, encodings.received);
    let mut lines = commands(context, &options.command)?;
    let mut last = None;
    while let Some(command) = lines.next().await {
        if command.trim().is_empty() {
            continue;
        }
        command::send(&mut line, encodings.sent, &command).await?;
        let answering =
            command::receive_answer(&mut line, encodings.received, form, keys, &mut output);
        let answered = answering.await;
        last = answered?.ok_or_else(connection_closed)?.code;
    }
    line.close().await;
    match last {
        Some(code) if code != 0 => {
            Err(Failure::of_command(code).with_chinese(format!("命令结束，状态 {code}")))
        }
        _ => Ok(()),
    }
}

/// Runs commands whose output has no end: each ends by silence, the last also with the connection.
async fn run_raw_commands(
    context: &Context,
    options: DialCommand,
    wait: Duration,
) -> Result<(), Failure> {
    let encodings = encodings(&options.stream);
    let mut line = connect_to(context, &options.stream).await?;
    let mut output = PeerOutput::new(&context.out, encodings.received);
    let mut lines = commands(context, &options.command)?;
    while let Some(command) = lines.next().await {
        if command.trim().is_empty() {
            continue;
        }
        command::send(&mut line, encodings.sent, &command).await?;
        let (first, pause) = (Some(FIRST_OUTPUT_TIME), Some(OUTPUT_PAUSE));
        if !command::receive_raw(&mut line, first, pause, &mut output).await? {
            return match lines.next().await {
                Some(_) => Err(connection_closed()),
                None => Ok(()),
            };
        }
    }
    // A server that knows the end of a stream closes the connection after the last command.
    line.finish().await?;
    command::receive_raw(&mut line, Some(wait), Some(wait), &mut output).await?;
    Ok(())
}

async fn log_in(context: &Context, stream: &DialStream, user: &str) -> Result<(), Failure> {
    let password = if context.input.is_terminal() {
        let prompter = context.prompter.clone();
        let question = context.choose(words::password_prompt());
        let typed = tokio::task::spawn_blocking(move || prompter.ask_hidden(&question)).await;
        typed
            .ok()
            .and_then(Result::ok)
            .map(|typed| typed.to_string())
    } else {
        context.check_input()?;
        start_person(context.input.clone()).next_line().await
    };
    let password = password.ok_or_else(|| Failure::in_both("usage", words::password_needed()))?;
    let mut line = connect_to(context, stream).await?;
    let answer = login::log_in(&mut line, encodings(stream), user, &password).await?;
    context.out.print(&answer);
    line.close().await;
    Ok(())
}

async fn exchange_datagrams(
    context: &Context,
    dial: DialDatagrams,
    timeout: Duration,
    text: Vec<String>,
) -> Result<(), Failure> {
    let connection = connect_datagrams_to(context, &dial).await?;
    let encodings = dial.encoding.of_client();
    let mut lines = Lines::new(context, text)?;
    while let Some(text) = lines.next().await {
        let answer = udp_echo::ask(&connection, &encodings.sent.encode(&text), timeout).await?;
        let answer = encodings.received.try_decode(&answer);
        let answer = answer.map_err(Error::from)?;
        if !text.starts_with(REFUSED) {
            check_answer(&answer)?;
        }
        context.out.print(&shown_line(&answer));
    }
    Ok(())
}

async fn join_chat(
    context: &Context,
    dial: DialDatagrams,
    chat: Chat,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let connection = connect_datagrams_to(context, &dial).await?;
    let options = ChatOptions {
        encodings: dial.encoding.of_client(),
        name: chat.name,
        bye: chat.bye,
        idle_time_max: IDLE_TIME_MAX,
        show: false,
    };
    let print_line = |line: ChatLine| match line.name {
        Some(name) => context.out.print(&format!(
            "{}: {}",
            shown_line(&name),
            shown_line(&line.text)
        )),
        None => context.out.print(&shown_line(&line.text)),
    };
    context.check_input()?;
    let person = start_person(context.input.clone());
    Ok(udp_chat::chat(&connection, &options, person, stop, print_line).await?)
}

async fn talk(
    context: &Context,
    stream: &DialStream,
    pause: &Pause,
    bye: Option<String>,
) -> Result<(), Failure> {
    context.check_input()?;
    let (mut line, encodings) = (connect_to(context, stream).await?, encodings(stream));
    let person = start_person(context.input.clone());
    let bursts = Bursts::new(encodings.received, pause.pause);
    let scene = |scene| match scene {
        TalkEvent::Received(text) => context.out.print(&shown_line(&text)),
        TalkEvent::YourTurn if context.input.is_terminal() => context.err.prompt("> "),
        TalkEvent::YourTurn => {}
    };
    let talk = Talk::new(TalkSide::Caller, bye);
    let ending = converse(
        &mut line,
        bursts,
        encodings.sent,
        talk,
        || person.next_line(),
        scene,
    )
    .await;
    match ending? {
        Ending::Gone => context.err.print(&context.choose(words::hung_up())),
        Ending::HungUp | Ending::Bye => {}
    }
    line.close().await;
    Ok(())
}
