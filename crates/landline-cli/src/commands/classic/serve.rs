//! `landline classic serve`.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use landline::{
    Error,
    classic::{
        ClassicEvent, ClassicSink, Dialect, Model, Service,
        codec::{Accounts, UploadForm},
        command::{CommandForm, CommandOptions},
        listen,
        login::LoginOptions,
        serve_blocking, serve_tasks,
        talk::{Operator, TalkOptions},
        text::Reply,
        udp_chat::{self, ChatOptions},
        udp_echo,
        upload::UploadOptions,
    },
    paths::{Root, read_secret_file},
};
use landline_socketserver::Stopper;
use tokio::net::UdpSocket;

use super::{challenge, input, show};
use crate::{
    arguments::classic::{Listen, Serve, ServeCommand, ServeStream, ServeUpload},
    failure::Failure,
    signals,
    terminal::{print, print_json, say},
};

/// Output of a command that is gathered before it is sent, in bytes: what its length can say where that is an int32.
const OUTPUT_BYTES_MAX: u64 = i32::MAX as u64 - 1024;
/// The same where the length is a JSON number.
const JSON_OUTPUT_BYTES_MAX: u64 = 16 << 30;
/// The longest file of accounts, in bytes.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;
/// The pause of dialects that need none.
const NO_PAUSE: Duration = Duration::ZERO;

pub(super) async fn run(state: PathBuf, serve: Serve) -> Result<(), Failure> {
    match serve {
        Serve::Echo { stream, upper } => connections(stream, NO_PAUSE, Dialect::Echo(upper.upper)).await,
        Serve::Text { stream, reply } => {
            let reply = reply.map(|text| text.map_or(Reply::Same, Reply::Fixed));
            connections(stream, NO_PAUSE, Dialect::Text(reply)).await
        }
        Serve::Command(command) => commands(command, CommandForm::Sized, String::new()).await,
        Serve::CommandRaw { command, bye } => commands(command, CommandForm::Raw, bye).await,
        Serve::CommandJson(command) => commands(command, CommandForm::Json, String::new()).await,
        Serve::Upload(upload) => uploads(&state, upload, UploadForm::Framed).await,
        Serve::UploadBare(upload) => uploads(&state, upload, UploadForm::Bare).await,
        Serve::Download { stream, dir } => {
            let folder = Arc::new(Root::open_hiding(&dir, &state).map_err(folder)?);
            connections(stream, NO_PAUSE, Dialect::Download(folder)).await
        }
        Serve::Login { stream, pause, accounts, greeting } => {
            let options = LoginOptions { accounts: read_accounts(&accounts)?, greeting };
            connections(stream, pause.pause, Dialect::Login(options)).await
        }
        Serve::Challenge(stream) => {
            if stream.secret.secret_file.is_none() {
                return Err(Failure::usage("a challenge needs a secret: say --secret-file FILE"));
            }
            connections(stream, NO_PAUSE, Dialect::Challenge).await
        }
        Serve::UdpEcho { listen, upper } => {
            let socket = datagrams(&listen).await?;
            let charset = listen.encoding.encoding;
            let serving =
                udp_echo::serve(&socket, |from, datagram| udp_echo::answer(from, datagram, upper.upper, charset));
            tokio::select! {
                served = serving => served.map_err(Failure::from),
                () = signals::stop()? => Ok(()),
            }
        }
        Serve::UdpChat { listen, chat, forget } => {
            let socket = datagrams(&listen).await?;
            let charset = listen.encoding.encoding;
            let options = ChatOptions { charset, name: chat.name, bye: chat.bye, idle_time_max: forget };
            let (events, _printer) = show::printer(listen.json);
            Ok(udp_chat::serve(socket, &options, input::person(), signals::stop()?, &events).await?)
        }
        Serve::Talk { stream, pause, once, first, bye } => {
            let operator = Arc::new(Operator::new(input::person));
            let options = TalkOptions { operator, first, bye };
            serve_stream(stream, pause.pause, Dialect::Talk(options), Calls { one_at_a_time: true, once }).await
        }
    }
}

/// How many connections are taken.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    one_at_a_time: bool,
    once: bool,
}

async fn connections(stream: ServeStream, pause: Duration, dialect: Dialect) -> Result<(), Failure> {
    serve_stream(stream, pause, dialect, Calls::default()).await
}

async fn commands(command: ServeCommand, form: CommandForm, bye: String) -> Result<(), Failure> {
    let output_bytes_max = if form == CommandForm::Json { JSON_OUTPUT_BYTES_MAX } else { OUTPUT_BYTES_MAX };
    let options = CommandOptions {
        form,
        child_charset: command.child_encoding,
        bye,
        time_max: command.time_limit,
        output_bytes_max,
        spool_folder: std::env::temp_dir(),
    };
    connections(command.stream, command.pause.pause, Dialect::Command(options)).await
}

async fn uploads(state: &Path, upload: ServeUpload, form: UploadForm) -> Result<(), Failure> {
    let folder = Arc::new(Root::open_hiding(&upload.dir, state).map_err(folder)?);
    let options = UploadOptions { form, folder, overwrite: upload.overwrite, ack: upload.ack };
    connections(upload.stream, NO_PAUSE, Dialect::Upload(options)).await
}

/// A folder that cannot be served is a mistake on the command line, not one of the state.
fn folder(error: Error) -> Failure {
    Failure::usage(format!("--dir: {error}"))
}

fn read_accounts(path: &Path) -> Result<Accounts, Failure> {
    let bad = |problem: String| Error::Key { path: path.display().to_string(), problem };
    let bytes = read_secret_file(path, ACCOUNTS_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
    let text = str::from_utf8(&bytes).map_err(|_| bad("is not text in UTF-8".into()))?;
    Ok(text.parse().map_err(bad)?)
}

async fn serve_stream(stream: ServeStream, pause: Duration, dialect: Dialect, calls: Calls) -> Result<(), Failure> {
    let charset = stream.listen.encoding.encoding;
    let runs_commands = matches!(dialect, Dialect::Command(_));
    let challenge = challenge(&stream.secret)?;
    let is_open = challenge.is_none();
    let service = Service { dialect, charset, challenge, pause, idle_time_max: stream.idle };
    let (asked, backlog) = (address(&stream.listen.listen), stream.backlog);
    let listener = tokio::task::spawn_blocking(move || listen(&asked, backlog))
        .await
        .map_err(|error| Failure::local(error.to_string()))??;
    let here = listener.local_addr().map_err(|error| Failure::local(error.to_string()))?;
    if is_open && !here.ip().is_loopback() {
        if runs_commands {
            return Err(Failure::usage(
                "whoever reaches this could run commands here; beyond loopback say --secret-file FILE",
            ));
        }
        say(
            "whoever reaches this is served, and all of it travels in the clear (--secret-file FILE asks for a secret first)",
        );
    }
    announce(here, stream.listen.json);
    match stream.model.into() {
        Model::Tasks if !calls.one_at_a_time => {
            let (events, printer) = show::printer(stream.listen.json);
            serve_tasks(listener, service, signals::stop()?, &events).await?;
            drop(events);
            // The last events are printed before the process ends.
            let _ = tokio::task::spawn_blocking(move || printer.join()).await;
            Ok(())
        }
        model => blocking(listener, service, model, calls, stream.listen.json).await,
    }
}

/// Serves by a model that blocks, in a thread of its own.
async fn blocking(
    listener: TcpListener,
    service: Service,
    model: Model,
    calls: Calls,
    json: bool,
) -> Result<(), Failure> {
    let (stopper, shutdown) = Stopper::new().map_err(|error| Failure::local(error.to_string()))?;
    let shown = show::direct(json);
    let by_call = stopper.clone();
    let events: ClassicSink = Arc::new(move |event| {
        let has_ended = matches!(event, ClassicEvent::Closed { .. } | ClassicEvent::Failed { .. });
        shown(event);
        if calls.once && has_ended {
            by_call.stop();
        }
    });
    let stop = signals::stop()?;
    let connections_max = calls.one_at_a_time.then_some(1);
    let (done, served) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(serve_blocking(listener, service, model, connections_max, &shutdown, &events));
    });
    tokio::pin!(served);
    tokio::select! {
        served = &mut served => return ended(served),
        () = stop => stopper.stop(),
    }
    ended(served.await)
}

fn ended(served: Result<Result<(), Error>, tokio::sync::oneshot::error::RecvError>) -> Result<(), Failure> {
    Ok(served.map_err(|_| Failure::local("the server ended by a fault of its own"))??)
}

/// A socket for datagrams, announced.
async fn datagrams(listen: &Listen) -> Result<UdpSocket, Failure> {
    let address = address(&listen.listen);
    let failed = |source| Error::Listen { address: address.clone(), source };
    let socket = UdpSocket::bind(&address).await.map_err(failed)?;
    let here = socket.local_addr().map_err(failed)?;
    if !here.ip().is_loopback() {
        say("whoever reaches this is served, and all of it travels in the clear");
    }
    announce(here, listen.json);
    Ok(socket)
}

fn announce(here: SocketAddr, json: bool) {
    if json {
        print_json(&serde_json::json!({"listening": here.to_string()}));
    } else {
        print(&format!("listening on {here}"));
    }
}

/// A port alone is one of loopback.
fn address(text: &str) -> String {
    match text.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => text.to_owned(),
    }
}
