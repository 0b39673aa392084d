//! `landline classic dial`: the client of a dialect.

use std::{future::Future, io::Write, pin::pin, time::Duration};

use landline::net::HostPort;
use landline_classic::{
    Connection, Error, challenge,
    client::{connect, connect_datagrams},
    codec::{Bursts, Charset, ChatLine, Talk, TalkSide, UploadForm},
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
    files,
    input::{start_chunks, start_person},
    load_challenge,
    output::PeerOutput,
};
use crate::{context::Context, failure::Failure, terminal::shown_line};

/// A client never times out; its user decides how long to wait.
const IDLE_TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long to wait for the first output if nothing marks its end.
const FIRST_OUTPUT_TIME: Duration = Duration::from_secs(1);
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
        () = &mut stop => Err(Failure::interrupted()),
    }
}

async fn speak(context: &Context, dial: Dial) -> Result<(), Failure> {
    match dial {
        Dial::Echo { stream, text } => exchange_echo(context, &stream, text).await,
        Dial::Text {
            stream,
            reply,
            text,
        } => send_texts(context, &stream, reply, text).await,
        Dial::Command(command) => run_commands(context, command, CommandForm::Sized, "").await,
        Dial::CommandRaw { command, bye } => {
            run_commands(context, command, CommandForm::Raw, &bye).await
        }
        Dial::CommandJson(command) => run_commands(context, command, CommandForm::Json, "").await,
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
                return Err(Failure::usage(
                    "a challenge needs a secret; add --secret-file FILE",
                ));
            }
            challenge::await_confirmation(&mut connect_to(&stream).await?).await?;
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
pub(super) async fn connect_to(stream: &DialStream) -> Result<Connection<TcpStream>, Failure> {
    let challenge = load_challenge(&stream.secret)?;
    let HostPort { host, port } = &stream.dial.address;
    Ok(connect(host, *port, challenge.as_ref(), IDLE_TIME_MAX).await?)
}

pub(super) fn charset(stream: &DialStream) -> Charset {
    stream.dial.encoding.encoding
}

async fn exchange_echo(
    context: &Context,
    stream: &DialStream,
    text: Vec<String>,
) -> Result<(), Failure> {
    if text.is_empty() {
        context.check_input()?;
    }
    let line = connect_to(stream).await?;
    let input = if text.is_empty() {
        start_chunks(context.input.clone())
    } else {
        let (queue, input) = mpsc::channel(1);
        // The queue is empty, so this never waits.
        let _ = queue.try_send(charset(stream).encode(&text.join(" ")));
        input
    };
    let mut output = PeerOutput::new(&context.out, charset(stream));
    echo::exchange(line, input, &mut output).await?;
    if !text.is_empty() {
        let _ = output.write_all(&charset(stream).encode("\n"));
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
    let (mut line, charset) = (connect_to(stream).await?, charset(stream));
    let mut lines = Lines::new(context, text)?;
    while let Some(text) = lines.next().await {
        text::send(&mut line, charset, &text).await?;
        if reply {
            let answer = text::receive(&mut line, charset).await?;
            context.out.print(&answer.ok_or_else(connection_closed)?);
        }
    }
    line.close().await;
    Ok(())
}

fn connection_closed() -> Failure {
    Error::Lost("the server closed the connection".into()).into()
}

async fn run_commands(
    context: &Context,
    options: DialCommand,
    form: CommandForm,
    bye: &str,
) -> Result<(), Failure> {
    let (mut line, charset) = (connect_to(&options.stream).await?, charset(&options.stream));
    let mut output = PeerOutput::new(&context.out, charset);
    let command = options.command.join(" ");
    let given = if command.is_empty() {
        Vec::new()
    } else {
        vec![command]
    };
    let mut lines = Lines::new(context, given)?;
    let mut last = None;
    while let Some(command) = lines.next().await {
        if command.trim().is_empty() {
            continue;
        }
        command::send(&mut line, charset, &command).await?;
        if form == CommandForm::Raw {
            let wait = (Some(FIRST_OUTPUT_TIME), Some(OUTPUT_PAUSE));
            let is_open = command::receive_raw(&mut line, wait.0, wait.1, &mut output).await;
            if !is_open? {
                return Ok(());
            }
            continue;
        }
        let answered = command::receive_answer(&mut line, charset, form, &mut output).await;
        last = answered?.ok_or_else(connection_closed)?.code;
    }
    if form == CommandForm::Raw {
        // The server reads this only after the last command has ended.
        command::send(&mut line, charset, bye).await?;
        line.finish().await?;
        command::receive_raw(&mut line, None, None, &mut output).await?;
    } else {
        line.close().await;
    }
    match last {
        Some(code) if code != 0 => Err(Failure::of_command(code)),
        _ => Ok(()),
    }
}

async fn log_in(context: &Context, stream: &DialStream, user: &str) -> Result<(), Failure> {
    let password = if context.input.is_terminal() {
        let prompter = context.prompter.clone();
        let typed = tokio::task::spawn_blocking(move || prompter.ask_hidden("Password: ")).await;
        typed
            .ok()
            .and_then(Result::ok)
            .map(|typed| typed.to_string())
    } else {
        context.check_input()?;
        start_person(context.input.clone()).next_line().await
    };
    let password = password
        .ok_or_else(|| Failure::usage("the password must be typed, or piped to standard input"))?;
    let mut line = connect_to(stream).await?;
    let answer = login::log_in(&mut line, charset(stream), user, &password).await?;
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
    let socket = connect_datagrams(&dial.address.host, dial.address.port).await?;
    let charset = dial.encoding.encoding;
    let mut lines = Lines::new(context, text)?;
    while let Some(text) = lines.next().await {
        let answer = udp_echo::ask(&socket, &charset.encode(&text), timeout).await?;
        context.out.print(&shown_line(&charset.decode(&answer)));
    }
    Ok(())
}

async fn join_chat(
    context: &Context,
    dial: DialDatagrams,
    chat: Chat,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let socket = connect_datagrams(&dial.address.host, dial.address.port).await?;
    let options = ChatOptions {
        charset: dial.encoding.encoding,
        name: chat.name,
        bye: chat.bye,
        idle_time_max: IDLE_TIME_MAX,
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
    Ok(udp_chat::chat(&socket, &options, person, stop, print_line).await?)
}

async fn talk(
    context: &Context,
    stream: &DialStream,
    pause: &Pause,
    bye: Option<String>,
) -> Result<(), Failure> {
    context.check_input()?;
    let (mut line, charset) = (connect_to(stream).await?, charset(stream));
    let person = start_person(context.input.clone());
    let bursts = Bursts::new(charset, pause.pause);
    let scene = |scene| match scene {
        TalkEvent::Received(text) => context.out.print(&shown_line(&text)),
        TalkEvent::YourTurn if context.input.is_terminal() => context.err.prompt("> "),
        TalkEvent::YourTurn => {}
    };
    let talk = Talk::new(TalkSide::Caller, bye);
    let ending = converse(
        &mut line,
        bursts,
        charset,
        talk,
        || person.next_line(),
        scene,
    )
    .await;
    match ending? {
        Ending::Gone => context.err.print("the other side has hung up"),
        Ending::HungUp | Ending::Bye => {}
    }
    line.close().await;
    Ok(())
}
