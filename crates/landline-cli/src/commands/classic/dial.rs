//! `landline classic dial`.

use std::{future::Future, io::Write, pin::pin, time::Duration};

use landline::net::HostPort;
use landline_classic::{
    Connection, Error, challenge,
    client::{connect, datagrams},
    codec::{Bursts, Charset, ChatLine, Side, Talk, UploadForm},
    command::{self, CommandForm},
    echo, login,
    talk::{Ending, Person, Scene, converse},
    text,
    udp_chat::{self, ChatOptions},
    udp_echo,
};
use tokio::{net::TcpStream, sync::mpsc};

use super::{challenge as secret, files, input, output::Output};
use crate::{
    arguments::classic::{Chat, Dial, DialCommand, DialDatagrams, DialStream, Pause},
    failure::Failure,
    terminal::{hidden, print, prompt, say, shown_line},
};

/// How long a client waits for anything: for as long as its user does.
const IDLE_TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long output without an end is waited for, before goodbye is said.
const FIRST_OUTPUT_TIME: Duration = Duration::from_secs(1);
/// The pause that ends output without an end.
const OUTPUT_PAUSE: Duration = Duration::from_millis(300);

pub(super) async fn run(
    dial: Dial,
    mut stop: impl Future<Output = ()> + Unpin,
) -> Result<(), Failure> {
    // It says goodbye before it ends.
    if let Dial::UdpChat { dial, chat } = dial {
        return join(dial, chat, stop).await;
    }
    tokio::select! {
        done = pin!(speak(dial)) => done,
        () = &mut stop => Err(Failure::interrupted()),
    }
}

async fn speak(dial: Dial) -> Result<(), Failure> {
    match dial {
        Dial::Echo { stream, text } => echo(&stream, text).await,
        Dial::Text {
            stream,
            reply,
            text,
        } => texts(&stream, reply, text).await,
        Dial::Command(command) => commands(command, CommandForm::Sized, "").await,
        Dial::CommandRaw { command, bye } => commands(command, CommandForm::Raw, &bye).await,
        Dial::CommandJson(command) => commands(command, CommandForm::Json, "").await,
        Dial::Upload(upload) => files::upload(upload, UploadForm::Framed).await,
        Dial::UploadBare(upload) => files::upload(upload, UploadForm::Bare).await,
        Dial::Download {
            stream,
            names,
            dir,
            overwrite,
            quiet,
        } => files::download(&stream, &names, &dir, overwrite, quiet).await,
        Dial::Login { stream, user } => log_in(&stream, &user).await,
        Dial::Challenge(stream) => {
            if stream.secret.secret_file.is_none() {
                return Err(Failure::usage(
                    "a challenge needs a secret: say --secret-file FILE",
                ));
            }
            challenge::passed(&mut line(&stream).await?).await?;
            print("ok");
            Ok(())
        }
        Dial::UdpEcho {
            dial,
            timeout,
            text,
        } => udp_echo(dial, timeout, text).await,
        Dial::Talk { stream, pause, bye } => talk(&stream, &pause, bye).await,
        Dial::UdpChat { .. } => Ok(()),
    }
}

/// A line to the server, its challenge answered.
pub(super) async fn line(stream: &DialStream) -> Result<Connection<TcpStream>, Failure> {
    let secret = secret(&stream.secret)?;
    let HostPort { host, port } = &stream.dial.address;
    Ok(connect(host, *port, secret.as_ref(), IDLE_TIME_MAX).await?)
}

pub(super) fn charset(stream: &DialStream) -> Charset {
    stream.dial.encoding.encoding
}

async fn echo(stream: &DialStream, text: Vec<String>) -> Result<(), Failure> {
    let line = line(stream).await?;
    let input = if text.is_empty() {
        input::chunks()
    } else {
        let (queue, input) = mpsc::channel(1);
        // There is room for one.
        let _ = queue.try_send(charset(stream).encode(&text.join(" ")));
        input
    };
    let mut output = Output::new(charset(stream));
    echo::exchange(line, input, &mut output).await?;
    if !text.is_empty() {
        let _ = output.write_all(&charset(stream).encode("\n"));
    }
    Ok(())
}

/// What was given on the command line, else line by line what comes from standard input.
struct Lines {
    given: Option<std::vec::IntoIter<String>>,
    person: Person,
    prompts: bool,
}

impl Lines {
    fn new(given: Vec<String>) -> Self {
        let given = (!given.is_empty()).then(|| given.into_iter());
        let prompts = given.is_none() && input::is_terminal();
        Self {
            given,
            person: input::person(),
            prompts,
        }
    }

    async fn next(&mut self) -> Option<String> {
        match &mut self.given {
            Some(given) => given.next(),
            None => {
                if self.prompts {
                    prompt("> ");
                }
                self.person.line().await
            }
        }
    }
}

async fn texts(stream: &DialStream, reply: bool, text: Vec<String>) -> Result<(), Failure> {
    let (mut line, charset) = (line(stream).await?, charset(stream));
    let mut lines = Lines::new(text);
    while let Some(text) = lines.next().await {
        text::send(&mut line, charset, &text).await?;
        if reply {
            let answer = text::receive(&mut line, charset).await?;
            print(&answer.ok_or_else(closed)?);
        }
    }
    line.close().await;
    Ok(())
}

fn closed() -> Failure {
    Error::Lost("the server has closed the line".into()).into()
}

async fn commands(options: DialCommand, form: CommandForm, bye: &str) -> Result<(), Failure> {
    let (mut line, charset) = (line(&options.stream).await?, charset(&options.stream));
    let mut output = Output::new(charset);
    let command = options.command.join(" ");
    let mut lines = Lines::new(if command.is_empty() {
        Vec::new()
    } else {
        vec![command]
    });
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
        last = answered?.ok_or_else(closed)?.code;
    }
    if form == CommandForm::Raw {
        // What a slow command says comes before the server reads this.
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

async fn log_in(stream: &DialStream, user: &str) -> Result<(), Failure> {
    let password = if input::is_terminal() {
        let asked = tokio::task::spawn_blocking(|| hidden("Password: ")).await;
        asked
            .ok()
            .and_then(Result::ok)
            .map(|typed| typed.to_string())
    } else {
        input::person().line().await
    };
    let password = password
        .ok_or_else(|| Failure::usage("the password is to be typed, or piped to standard input"))?;
    let mut line = line(stream).await?;
    let answer = login::log_in(&mut line, charset(stream), user, &password).await?;
    print(&answer);
    line.close().await;
    Ok(())
}

async fn udp_echo(
    dial: DialDatagrams,
    timeout: Duration,
    text: Vec<String>,
) -> Result<(), Failure> {
    let socket = datagrams(&dial.address.host, dial.address.port).await?;
    let charset = dial.encoding.encoding;
    let mut lines = Lines::new(text);
    while let Some(text) = lines.next().await {
        let answer = udp_echo::ask(&socket, &charset.encode(&text), timeout).await?;
        print(&shown_line(&charset.decode(&answer)));
    }
    Ok(())
}

async fn join(
    dial: DialDatagrams,
    chat: Chat,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let socket = datagrams(&dial.address.host, dial.address.port).await?;
    let options = ChatOptions {
        charset: dial.encoding.encoding,
        name: chat.name,
        bye: chat.bye,
        idle_time_max: IDLE_TIME_MAX,
    };
    let hear = |line: ChatLine| match line.name {
        Some(name) => print(&format!(
            "{}: {}",
            shown_line(&name),
            shown_line(&line.text)
        )),
        None => print(&shown_line(&line.text)),
    };
    Ok(udp_chat::chat(&socket, &options, input::person(), stop, hear).await?)
}

async fn talk(stream: &DialStream, pause: &Pause, bye: Option<String>) -> Result<(), Failure> {
    let (mut line, charset) = (line(stream).await?, charset(stream));
    let person = input::person();
    let bursts = Bursts::new(charset, pause.pause);
    let scene = |scene| match scene {
        Scene::Heard(text) => print(&shown_line(&text)),
        Scene::Turn if input::is_terminal() => prompt("> "),
        Scene::Turn => {}
    };
    let talk = Talk::new(Side::Caller, bye);
    let ending = converse(&mut line, bursts, charset, talk, || person.line(), scene).await;
    match ending? {
        Ending::Gone => say("the other side has hung up"),
        Ending::HungUp | Ending::Bye => {}
    }
    line.close().await;
    Ok(())
}
