//! `landline classic serve`.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use landline::paths::Root;
use landline_classic::{
    ClassicEvent, ClassicSink, Dialect, Error, Model, Service,
    codec::{Charset, UploadForm, Upper},
    command::{CommandForm, CommandOptions},
    listen,
    login::{LoginOptions, read_accounts},
    serve_blocking, serve_tasks,
    talk::{Operator, TalkOptions},
    text::Reply,
    udp_chat::{self, ChatOptions},
    udp_echo,
    upload::UploadOptions,
};
use landline_socketserver::{Bind, Shutdown, Stopper};

use super::{challenge, input, show};
use crate::{
    arguments::classic::{Listen, Serve, ServeCommand, ServeStream, ServeUpload},
    failure::Failure,
    signals,
    terminal::{print, print_json, say},
};

/// Output of a command that is gathered before it is sent, in bytes: what its length can say where
/// that is an int32.
const OUTPUT_BYTES_MAX: u64 = i32::MAX as u64 - 1024;
/// The same where the length is a JSON number.
const JSON_OUTPUT_BYTES_MAX: u64 = 16 << 30;
/// The pause of dialects that need none.
const NO_PAUSE: Duration = Duration::ZERO;

pub(super) async fn run(state: PathBuf, serve: Serve) -> Result<(), Failure> {
    // Names are resolved and folders opened.
    let plan = tokio::task::spawn_blocking(move || plan(&state, serve)).await;
    match plan.map_err(|error| Failure::local(error.to_string()))?? {
        Plan::Stream(plan) => plan.serve().await,
        Plan::Echo {
            socket,
            upper,
            charset,
        } => {
            let (stopper, shutdown) = stopper()?;
            beside(stopper, move || {
                udp_echo::serve(socket, upper, charset, &shutdown)
            })
            .await
        }
        Plan::Chat {
            socket,
            options,
            json,
        } => {
            let socket = socket
                .set_nonblocking(true)
                .and_then(|()| tokio::net::UdpSocket::from_std(socket));
            let socket = socket.map_err(|error| Failure::local(error.to_string()))?;
            let (events, _printer) = show::printer(json);
            Ok(
                udp_chat::serve(socket, &options, input::person(), signals::stop()?, &events)
                    .await?,
            )
        }
    }
}

/// Serves by processes, from one that has no thread but this.
pub(super) fn run_forking(state: &Path, serve: Serve) -> Result<(), Failure> {
    // Datagrams are served by one process.
    let Plan::Stream(plan) = plan(state, serve)? else {
        return Ok(());
    };
    let (stopper, shutdown) = stopper()?;
    signals::stop_forking(stopper.clone());
    // No thread prints, as a process that forks has none.
    let show = show::direct(plan.json);
    Ok(plan.serve_blocking(stopper, &shutdown, show)?)
}

/// A server that listens and does not serve yet.
enum Plan {
    Stream(Box<StreamPlan>),
    Echo {
        socket: UdpSocket,
        upper: Option<Upper>,
        charset: Charset,
    },
    Chat {
        socket: UdpSocket,
        options: ChatOptions,
        json: bool,
    },
}

fn plan(state: &Path, serve: Serve) -> Result<Plan, Failure> {
    match serve {
        Serve::Echo { stream, upper } => connections(stream, NO_PAUSE, Dialect::Echo(upper.upper)),
        Serve::Text { stream, reply } => {
            let reply = reply.map(|text| text.map_or(Reply::Same, Reply::Fixed));
            connections(stream, NO_PAUSE, Dialect::Text(reply))
        }
        Serve::Command(command) => commands(command, CommandForm::Sized, String::new()),
        Serve::CommandRaw { command, bye } => commands(command, CommandForm::Raw, bye),
        Serve::CommandJson(command) => commands(command, CommandForm::Json, String::new()),
        Serve::Upload(upload) => uploads(state, upload, UploadForm::Framed),
        Serve::UploadBare(upload) => uploads(state, upload, UploadForm::Bare),
        Serve::Download { stream, dir } => {
            let folder = Arc::new(Root::open_hiding(&dir, state).map_err(folder)?);
            connections(stream, NO_PAUSE, Dialect::Download(folder))
        }
        Serve::Login {
            stream,
            pause,
            accounts,
            greeting,
        } => {
            let options = LoginOptions {
                accounts: read_accounts(&accounts)?,
                greeting,
            };
            connections(stream, pause.pause, Dialect::Login(options))
        }
        Serve::Challenge(stream) => {
            if stream.secret.secret_file.is_none() {
                return Err(Failure::usage(
                    "a challenge needs a secret: say --secret-file FILE",
                ));
            }
            connections(stream, NO_PAUSE, Dialect::Challenge)
        }
        Serve::UdpEcho { listen, upper } => {
            let charset = listen.encoding.encoding;
            Ok(Plan::Echo {
                socket: datagrams(&listen)?,
                upper: upper.upper,
                charset,
            })
        }
        Serve::UdpChat {
            listen,
            chat,
            forget,
        } => {
            let charset = listen.encoding.encoding;
            let options = ChatOptions {
                charset,
                name: chat.name,
                bye: chat.bye,
                idle_time_max: forget,
            };
            Ok(Plan::Chat {
                socket: datagrams(&listen)?,
                options,
                json: listen.json,
            })
        }
        Serve::Talk {
            stream,
            pause,
            once,
            first,
            bye,
        } => {
            let operator = Arc::new(Operator::new(input::person));
            let options = TalkOptions {
                operator,
                first,
                bye,
            };
            stream_plan(
                stream,
                pause.pause,
                Dialect::Talk(options),
                Calls {
                    one_at_a_time: true,
                    once,
                },
            )
        }
    }
}

/// How many connections are taken.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    one_at_a_time: bool,
    once: bool,
}

fn connections(stream: ServeStream, pause: Duration, dialect: Dialect) -> Result<Plan, Failure> {
    stream_plan(stream, pause, dialect, Calls::default())
}

fn commands(command: ServeCommand, form: CommandForm, bye: String) -> Result<Plan, Failure> {
    let output_bytes_max = if form == CommandForm::Json {
        JSON_OUTPUT_BYTES_MAX
    } else {
        OUTPUT_BYTES_MAX
    };
    let options = CommandOptions {
        form,
        child_charset: command.child_encoding,
        bye,
        time_max: command.time_limit,
        output_bytes_max,
        spool_folder: std::env::temp_dir(),
    };
    connections(
        command.stream,
        command.pause.pause,
        Dialect::Command(options),
    )
}

fn uploads(state: &Path, upload: ServeUpload, form: UploadForm) -> Result<Plan, Failure> {
    let folder = Arc::new(Root::open_hiding(&upload.dir, state).map_err(folder)?);
    let options = UploadOptions {
        form,
        folder,
        overwrite: upload.overwrite,
        ack: upload.ack,
    };
    options.sweep();
    connections(upload.stream, NO_PAUSE, Dialect::Upload(options))
}

/// A folder that cannot be served is a mistake on the command line, not one of the state.
fn folder(error: landline::paths::Error) -> Failure {
    Failure::usage(format!("--dir: {error}"))
}

/// A server for connections that listens.
struct StreamPlan {
    listener: TcpListener,
    service: Service,
    model: Model,
    calls: Calls,
    json: bool,
}

fn stream_plan(
    stream: ServeStream,
    pause: Duration,
    dialect: Dialect,
    calls: Calls,
) -> Result<Plan, Failure> {
    let charset = stream.listen.encoding.encoding;
    let runs_commands = matches!(dialect, Dialect::Command(_));
    let challenge = challenge(&stream.secret)?;
    let is_open = challenge.is_none();
    let service = Service {
        dialect,
        charset,
        challenge,
        pause,
        idle_time_max: stream.idle,
    };
    let listener = listen(&address(&stream.listen.listen), stream.backlog)?;
    let here = listener
        .local_addr()
        .map_err(|error| Failure::local(error.to_string()))?;
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
    let (model, json) = (stream.model.into(), stream.listen.json);
    Ok(Plan::Stream(Box::new(StreamPlan {
        listener,
        service,
        model,
        calls,
        json,
    })))
}

impl StreamPlan {
    async fn serve(self: Box<Self>) -> Result<(), Failure> {
        if self.model != Model::Tasks || self.calls.one_at_a_time {
            let (stopper, shutdown) = stopper()?;
            let by_signal = stopper.clone();
            let (events, printer) = show::printer(self.json);
            let serve = move || {
                let served = self.serve_blocking(stopper, &shutdown, events);
                // The last events are printed before the process ends.
                let _ = printer.join();
                served
            };
            return beside(by_signal, serve).await;
        }
        let (events, printer) = show::printer(self.json);
        serve_tasks(self.listener, self.service, signals::stop()?, &events).await?;
        drop(events);
        // The last events are printed before the process ends.
        let _ = tokio::task::spawn_blocking(move || printer.join()).await;
        Ok(())
    }

    /// Serves by a model that blocks, on this thread and those it starts.
    fn serve_blocking(
        self,
        stopper: Stopper,
        shutdown: &Shutdown,
        show: ClassicSink,
    ) -> Result<(), Error> {
        let is_last = self.calls.once;
        let events: ClassicSink = Arc::new(move |event| {
            let has_ended = matches!(
                event,
                ClassicEvent::Closed { .. } | ClassicEvent::Failed { .. }
            );
            show(event);
            if is_last && has_ended {
                stopper.stop();
            }
        });
        let connections_max = self.calls.one_at_a_time.then_some(1);
        serve_blocking(
            self.listener,
            self.service,
            self.model,
            connections_max,
            shutdown,
            &events,
        )
    }
}

fn stopper() -> Result<(Stopper, Shutdown), Failure> {
    Stopper::new().map_err(|error| Failure::local(error.to_string()))
}

/// Lets a server that blocks run in a thread of its own, and stops it at a signal.
async fn beside(
    stopper: Stopper,
    serve: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<(), Failure> {
    let stop = signals::stop()?;
    let (done, mut served) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(serve());
    });
    let served = tokio::select! {
        served = &mut served => served,
        () = stop => {
            stopper.stop();
            served.await
        }
    };
    Ok(served.map_err(|_| Failure::local("the server ended by a fault of its own"))??)
}

/// A socket for datagrams, announced.
fn datagrams(listen: &Listen) -> Result<UdpSocket, Failure> {
    let address = address(&listen.listen);
    let failed = |source| Error::Listen {
        address: address.clone(),
        source,
    };
    let socket = Bind::new().udp(address.as_str()).map_err(failed)?;
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
