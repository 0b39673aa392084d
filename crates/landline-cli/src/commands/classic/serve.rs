//! `landline classic serve`: the server of a dialect.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use landline::paths::Root;
use landline_classic::{
    ClassicEvent, ClassicSink, Dialect, Error, Model, Service,
    codec::{HeaderKeys, UploadForm, UpperCase},
    command::{CommandForm, CommandOptions},
    listen,
    login::{LoginOptions, read_accounts},
    serve_blocking, serve_tasks,
    talk::{Operator, Speaker, TalkOptions},
    text::{Reply, TextOptions},
    udp_chat::{self, ChatOptions},
    udp_echo::{self, UdpEchoOptions},
    udp_sink,
    upload::{SameName, UploadOptions},
};
use landline_socketserver::{Bind, Shutdown, Stopper};

use super::{
    arguments::{Chat, Listen, SameNameRule, ServeCommand, ServeDialect, ServeStream, ServeUpload},
    events,
    input::start_person,
    load_challenge, words,
};
use crate::{context::Context, failure::Failure, signals};

/// The most output of a command, in bytes: it is sent after its length, which is an int32.
const OUTPUT_BYTES_MAX: u64 = i32::MAX as u64 - 1024;
/// The most output of a command whose length is a JSON number, in bytes.
const JSON_OUTPUT_BYTES_MAX: u64 = 16 << 30;
/// The pause of dialects without one.
const NO_PAUSE: Duration = Duration::ZERO;

pub(super) async fn run(context: &Context, serve: ServeDialect) -> Result<(), Failure> {
    let own = context.clone();
    // Planning resolves names and opens folders, which blocks.
    let plan = tokio::task::spawn_blocking(move || make_plan(&own, serve)).await;
    match plan.map_err(|error| Failure::local(error.to_string()))?? {
        Plan::Stream(plan) => plan.serve(context).await,
        Plan::Echo { socket, options } => {
            let (stopper, shutdown) = make_stopper()?;
            let (events, printer) = events::start_printer(context.clone());
            serve_beside(stopper, move || {
                let served = udp_echo::serve(socket, options, &shutdown, &events);
                drop(events);
                // Print the last events before the process ends.
                let _ = printer.join();
                served
            })
            .await
        }
        Plan::Sink { socket } => {
            let (stopper, shutdown) = make_stopper()?;
            let (events, printer) = events::start_printer(context.clone());
            serve_beside(stopper, move || {
                let served = udp_sink::serve(socket, &shutdown, &events);
                drop(events);
                // Print the last events before the process ends.
                let _ = printer.join();
                served
            })
            .await
        }
        Plan::Chat { socket, options } => {
            let socket = socket
                .set_nonblocking(true)
                .and_then(|()| tokio::net::UdpSocket::from_std(socket));
            let socket = socket.map_err(|error| Failure::local(error.to_string()))?;
            let (events, _printer) = events::start_printer(context.clone());
            let person = start_person(context.input.clone());
            Ok(udp_chat::serve(socket, &options, person, signals::stop()?, &events).await?)
        }
    }
}

/// Serves by forked processes. The process must have a single thread.
pub(super) fn run_forking(context: &Context, serve: ServeDialect) -> Result<(), Failure> {
    // No dialect on datagrams forks.
    let Plan::Stream(plan) = make_plan(context, serve)? else {
        return Ok(());
    };
    let (stopper, shutdown) = make_stopper()?;
    signals::stop_forking(stopper.clone());
    let events = events::print_directly(context.clone());
    Ok(plan.serve_blocking(stopper, &shutdown, events)?)
}

/// A server that listens but does not accept yet.
enum Plan {
    Stream(Box<StreamPlan>),
    Echo {
        socket: UdpSocket,
        options: UdpEchoOptions,
    },
    Sink {
        socket: UdpSocket,
    },
    Chat {
        socket: UdpSocket,
        options: ChatOptions,
    },
}

fn make_plan(context: &Context, serve: ServeDialect) -> Result<Plan, Failure> {
    match serve {
        ServeDialect::Echo { stream, upper } => {
            plan_connections(context, stream, NO_PAUSE, Dialect::Echo(upper.upper))
        }
        ServeDialect::Text { stream, reply } => {
            let reply = reply.map(|text| text.map_or(Reply::Same, Reply::Fixed));
            let options = TextOptions::new(reply);
            plan_connections(context, stream, NO_PAUSE, Dialect::Text(options))
        }
        ServeDialect::Command(command) => {
            let keys = HeaderKeys::of_command();
            plan_commands(context, command, CommandForm::Sized, keys, String::new())
        }
        ServeDialect::CommandRaw { command, bye } => {
            let keys = HeaderKeys::of_command();
            plan_commands(context, command, CommandForm::Raw, keys, bye)
        }
        ServeDialect::CommandJson { command, keys } => {
            let keys = keys.to_keys();
            plan_commands(context, command, CommandForm::Json, keys, String::new())
        }
        ServeDialect::Upload(upload) => plan_uploads(context, upload, UploadForm::Framed),
        ServeDialect::UploadBare(upload) => plan_uploads(context, upload, UploadForm::Bare),
        ServeDialect::Download { stream, dir } => {
            let folder = open_folder(context, &dir)?;
            plan_connections(context, stream, NO_PAUSE, Dialect::Download(folder))
        }
        ServeDialect::Login {
            stream,
            pause,
            accounts,
            greeting,
        } => {
            let options = LoginOptions {
                accounts: read_accounts(&accounts)?,
                greeting,
            };
            plan_connections(context, stream, pause.pause, Dialect::Login(options))
        }
        ServeDialect::Challenge(stream) => {
            if stream.secret.secret_file.is_none() {
                return Err(Failure::in_both("usage", words::challenge_needs_secret()));
            }
            plan_connections(context, stream, NO_PAUSE, Dialect::Challenge)
        }
        ServeDialect::Sink(mut stream) => {
            stream.listen.show.show = true;
            plan_connections(context, stream, NO_PAUSE, Dialect::Sink)
        }
        ServeDialect::UdpSink(listen) => Ok(Plan::Sink {
            socket: bind_datagrams(context, &listen)?,
        }),
        ServeDialect::UdpEcho { listen, upper } => plan_udp_echo(context, &listen, upper.upper),
        ServeDialect::UdpChat {
            listen,
            chat,
            forget,
        } => plan_udp_chat(context, &listen, chat, forget),
        ServeDialect::Talk {
            stream,
            pause,
            once,
            first,
            reply,
            bye,
        } => {
            let calls = Calls {
                one_at_a_time: reply.is_none(),
                once,
            };
            let speaker = match reply {
                Some(reply) => Speaker::Script(reply),
                None => Speaker::Person(make_operator(context)),
            };
            let options = TalkOptions {
                speaker,
                first,
                bye,
            };
            plan_stream(context, stream, pause.pause, Dialect::Talk(options), calls)
        }
    }
}

fn plan_udp_echo(
    context: &Context,
    listen: &Listen,
    upper: Option<UpperCase>,
) -> Result<Plan, Failure> {
    Ok(Plan::Echo {
        socket: bind_datagrams(context, listen)?,
        options: UdpEchoOptions {
            upper,
            encodings: listen.encoding.of_server(),
            show: listen.show.show,
        },
    })
}

fn plan_udp_chat(
    context: &Context,
    listen: &Listen,
    chat: Chat,
    idle_time_max: Duration,
) -> Result<Plan, Failure> {
    let options = ChatOptions {
        encodings: listen.encoding.of_server(),
        name: chat.name,
        bye: chat.bye,
        idle_time_max,
        show: listen.show.show,
    };
    Ok(Plan::Chat {
        socket: bind_datagrams(context, listen)?,
        options,
    })
}

/// The person who talks at this end, through standard input.
fn make_operator(context: &Context) -> Arc<Operator> {
    let input = context.input.clone();
    Arc::new(Operator::new(move || start_person(input.clone())))
}

/// How many connections are accepted.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    one_at_a_time: bool,
    once: bool,
}

fn plan_connections(
    context: &Context,
    stream: ServeStream,
    pause: Duration,
    dialect: Dialect,
) -> Result<Plan, Failure> {
    plan_stream(context, stream, pause, dialect, Calls::default())
}

fn plan_commands(
    context: &Context,
    command: ServeCommand,
    form: CommandForm,
    keys: HeaderKeys,
    bye: String,
) -> Result<Plan, Failure> {
    if command.stream.secret.secret_file.is_none() && !command.open {
        return Err(Failure::in_both("usage", words::unproven_commands())
            .with_advice_in_both(words::unproven_commands_advice()));
    }
    let output_bytes_max = if form == CommandForm::Json {
        JSON_OUTPUT_BYTES_MAX
    } else {
        OUTPUT_BYTES_MAX
    };
    let options = CommandOptions {
        form,
        keys,
        child_charset: command.child_encoding,
        bye,
        time_max: command.time_limit,
        output_bytes_max,
        spool_folder: std::env::temp_dir(),
    };
    plan_connections(
        context,
        command.stream,
        command.pause.pause,
        Dialect::Command(options),
    )
}

fn plan_uploads(context: &Context, upload: ServeUpload, form: UploadForm) -> Result<Plan, Failure> {
    let folder = open_folder(context, &upload.dir)?;
    let options = UploadOptions {
        form,
        keys: upload.keys.of_form(form),
        folder,
        same_name: match upload.same_name {
            Some(SameNameRule::Number) => SameName::Number,
            Some(SameNameRule::Folder) => SameName::Folder,
            None if upload.overwrite => SameName::Replace,
            None => SameName::Refuse,
        },
        ack: upload.ack,
    };
    options.sweep();
    plan_connections(context, upload.stream, NO_PAUSE, Dialect::Upload(options))
}

/// Opens the folder of `--dir`, which hides the state folder.
fn open_folder(context: &Context, folder: &Path) -> Result<Arc<Root>, Failure> {
    let root = Root::open_hiding(folder, &context.client_state()?);
    // A bad folder is wrong usage: the state folder has nothing to do with it.
    root.map(Arc::new)
        .map_err(|error| Failure::in_both("usage", words::bad_folder(&error)))
}

/// A server for connections that listens.
struct StreamPlan {
    listener: TcpListener,
    service: Service,
    model: Model,
    calls: Calls,
}

fn plan_stream(
    context: &Context,
    stream: ServeStream,
    pause: Duration,
    dialect: Dialect,
    calls: Calls,
) -> Result<Plan, Failure> {
    let runs_commands = matches!(dialect, Dialect::Command(_));
    let challenge = load_challenge(&stream.secret)?;
    let is_open = challenge.is_none();
    let service = Service {
        dialect,
        encodings: stream.listen.encoding.of_server(),
        challenge,
        pause,
        idle_time_max: stream.idle,
        show: stream.listen.show.show,
    };
    let listener = listen(&complete_address(&stream.listen.listen), stream.backlog)?;
    let here = listener
        .local_addr()
        .map_err(|error| Failure::local(error.to_string()))?;
    if is_open && !here.ip().is_loopback() {
        context.err.print(&context.choose(if runs_commands {
            words::open_commands()
        } else {
            words::open_connections()
        }));
    }
    announce(context, here);
    let model = stream.model.into();
    Ok(Plan::Stream(Box::new(StreamPlan {
        listener,
        service,
        model,
        calls,
    })))
}

impl StreamPlan {
    async fn serve(self: Box<Self>, context: &Context) -> Result<(), Failure> {
        if self.model != Model::Tasks || self.calls.one_at_a_time || self.calls.once {
            let (stopper, shutdown) = make_stopper()?;
            let by_signal = stopper.clone();
            let (events, printer) = events::start_printer(context.clone());
            let serve = move || {
                let served = self.serve_blocking(stopper, &shutdown, events);
                // Print the last events before the process ends.
                let _ = printer.join();
                served
            };
            return serve_beside(by_signal, serve).await;
        }
        let (events, printer) = events::start_printer(context.clone());
        serve_tasks(self.listener, self.service, signals::stop()?, &events).await?;
        drop(events);
        // Print the last events before the process ends.
        let _ = tokio::task::spawn_blocking(move || printer.join()).await;
        Ok(())
    }

    /// Serves by a model that blocks this thread.
    fn serve_blocking(
        self,
        stopper: Stopper,
        shutdown: &Shutdown,
        print_event: ClassicSink,
    ) -> Result<(), Error> {
        let is_last = self.calls.once;
        let events: ClassicSink = Arc::new(move |event| {
            let has_ended = matches!(
                event,
                ClassicEvent::Closed { .. } | ClassicEvent::Failed { .. }
            );
            print_event(event);
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

fn make_stopper() -> Result<(Stopper, Shutdown), Failure> {
    Stopper::new().map_err(|error| Failure::local(error.to_string()))
}

/// Runs a blocking server in a thread, and stops it at a signal.
async fn serve_beside(
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
    Ok(served.map_err(|_| Failure::local("the server thread panicked"))??)
}

/// Binds a socket for datagrams, and prints its address.
fn bind_datagrams(context: &Context, listen: &Listen) -> Result<UdpSocket, Failure> {
    let address = complete_address(&listen.listen);
    let failed = |source| Error::Listen {
        address: address.clone(),
        source,
    };
    let socket = Bind::new().udp(address.as_str()).map_err(failed)?;
    let here = socket.local_addr().map_err(failed)?;
    if !here.ip().is_loopback() {
        context.err.print(&context.choose(words::open_datagrams()));
    }
    announce(context, here);
    Ok(socket)
}

fn announce(context: &Context, here: SocketAddr) {
    if context.json {
        context
            .out
            .print_json(&serde_json::json!({"listening": here.to_string()}));
    } else {
        context.out.print(&context.choose(words::listening(here)));
    }
}

/// Adds loopback to a port without an address.
fn complete_address(text: &str) -> String {
    match text.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => text.to_owned(),
    }
}
