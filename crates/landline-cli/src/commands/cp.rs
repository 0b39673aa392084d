//! `landline cp`: copies one file.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use landline::{
    Client, Error, client,
    files::{
        Copied, Input, Output, Progress,
        client::{get, put, shown_path},
        messages::{Get, Put, SERVICE},
    },
    net::{Channel, Location, Target},
    paths::local,
    proto::Name,
};

use super::server_and_credential;
use crate::{
    arguments::Cp,
    draw,
    failure::Failure,
    terminal::{bytes, print, say},
};

pub(crate) async fn run(state: &Path, options: Cp) -> Result<(), Failure> {
    let client = Client::open(state)?;
    let stdout_is_taken = options.destination == Location::Stream;
    let start = Instant::now();
    let copy = async {
        match (&options.source, &options.destination) {
            (Location::Remote { target, path }, destination) if !is_remote(destination) => {
                download(&client, target, path, destination, &options).await
            }
            (source, Location::Remote { target, path }) if !is_remote(source) => {
                upload(&client, source, target, path, &options).await
            }
            (Location::Remote { .. }, _) => {
                Err(Failure::usage("both sides are remote; copy to this machine first, and from here on"))
            }
            _ => Err(Failure::usage("neither side is remote; one has to be host:path")),
        }
    };
    let (copied, place) = tokio::select! {
        done = copy => done?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::interrupted()),
    };
    let summary = format!("{}  {place}", copied.digest);
    if stdout_is_taken {
        say(&summary)
    } else {
        print(&summary)
    }
    if !options.quiet {
        say(&format!("{} copied and verified in {}", bytes(copied.length), rate(&copied, start.elapsed())));
    }
    Ok(())
}

async fn upload(
    client: &Client,
    source: &Location,
    target: &Target,
    path: &str,
    options: &Cp,
) -> Result<(Copied, String), Failure> {
    let (input, own_name) = match source {
        Location::Local(path) => (Input::File(local::source(path)?), local::own_name(path)),
        _ => (Input::Stream(Box::new(io::stdin()), "standard input"), None),
    };
    let (server, credential) = server_and_credential(client, target)?;
    let request = Put {
        path: remote_path(path),
        name: own_name.map(Name),
        length: input.length(),
        mode: input.mode(),
        replace: !options.no_clobber,
    };
    let connected = client::connect(&server, &credential, SERVICE, &request).await?;
    let mut channel = connected.login.channel;
    let progress = Arc::new(Progress::default());
    let work = put(&mut channel, input, &progress);
    let done = draw::while_drawing(&options.source.to_string(), options.quiet, &progress, work).await;
    let (copied, path) = end(channel, done).await?;
    Ok((copied, format!("{}:{}", server.host, shown_path(&path).display())))
}

async fn download(
    client: &Client,
    target: &Target,
    path: &str,
    destination: &Location,
    options: &Cp,
) -> Result<(Copied, String), Failure> {
    // The file is named by what was asked for, never by what the server says.
    let wanted = PathBuf::from(path);
    let (output, place) = match destination {
        Location::Local(place) => {
            let own_name = local::own_name(&wanted)
                .ok_or_else(|| Failure::usage(format!("{path:?} does not end in a file's name")))?;
            let destination = local::destination(place, &own_name)?;
            let place = destination.path.display().to_string();
            (Output::File(destination, !options.no_clobber), place)
        }
        _ => (Output::Stream(Box::new(Stdout(io::stdout())), "standard output"), "-".to_owned()),
    };
    let (server, credential) = server_and_credential(client, target)?;
    let connected = client::connect(&server, &credential, SERVICE, &Get { path: remote_path(path) }).await?;
    let mut channel = connected.login.channel;
    let progress = Arc::new(Progress::default());
    let work = get(&mut channel, output, &progress);
    let done = draw::while_drawing(&options.source.to_string(), options.quiet, &progress, work).await;
    Ok((end(channel, done).await?, place))
}

/// Ends the channel as the copy ended: in peace, or with the reason.
async fn end<T>(channel: Channel, done: Result<T, Error>) -> Result<T, Failure> {
    match done {
        Ok(done) => {
            channel.finish().await;
            Ok(done)
        }
        Err(error) => {
            match error.to_peer() {
                Some(reason) => channel.fail(&reason).await,
                None => channel.finish().await,
            }
            Err(error.into())
        }
    }
}

fn is_remote(location: &Location) -> bool {
    matches!(location, Location::Remote { .. })
}

/// `host:` alone is the account's home.
fn remote_path(path: &str) -> Name {
    Name(if path.is_empty() { b".".to_vec() } else { path.as_bytes().to_vec() })
}

fn rate(copied: &Copied, elapsed: Duration) -> String {
    let per_second = copied.length as f64 / elapsed.as_secs_f64().max(0.001);
    format!("{:.1} s, {}/s", elapsed.as_secs_f64(), bytes(per_second as u64))
}

/// Standard output without the buffer by lines that Rust puts in front of it.
struct Stdout(io::Stdout);

impl Write for Stdout {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
