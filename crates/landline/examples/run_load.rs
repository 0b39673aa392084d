//! How many commands a second one session runs, for `cargo xtask bench run`.
//!
//! Arguments: the client's state, the server, the number of channels, the seconds.

#![allow(clippy::print_stdout, reason = "its result")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use landline::{
    Client, Error,
    client::ClientSession,
    exec::{CarryOutcome, ClosedOutput, Command, CommandCarrier, RunningCommand},
    login::{AuthMethod, Credential, FirstRequest},
};
use tokio::{sync::mpsc, task::JoinSet};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [state, host, channels, seconds] = words.as_slice() else {
        return Err("needs: STATE HOST CHANNELS SECONDS".into());
    };
    let client = Client::open(Path::new(state))?;
    let server = client.find(&host.parse()?)?;
    let method = AuthMethod::Key(Arc::new(client.own_key()?));
    let credential = Credential::new(server.user.clone(), method);
    let session = Arc::new(ClientSession::new(server, credential));
    let request = Command::argv(vec![b"true".to_vec()]).first_request(None, None, 0)?;
    // The first channel logs in, and the others attach.
    let mut opened = Vec::new();
    for _ in 0..channels.parse()? {
        opened.push(session.open_channel(&request).await?.login.channel);
    }
    let (begin, time) = (Instant::now(), Duration::from_secs(seconds.parse()?));
    let mut running = JoinSet::new();
    for channel in opened {
        running.spawn(run_again(channel, request.clone(), begin + time));
    }
    let mut runs = 0;
    while let Some(done) = running.join_next().await {
        runs += done??;
    }
    println!("{:.0}", f64::from(runs) / begin.elapsed().as_secs_f64());
    Ok(())
}

/// Runs the command again and again until this time. Returns how often.
async fn run_again(
    mut channel: landline::net::Channel,
    request: FirstRequest,
    until: Instant,
) -> Result<u32, Error> {
    let mut runs = 0;
    loop {
        let command = RunningCommand::receive(&mut channel).await?;
        let ((_typed, input), (_orders, control)) = (mpsc::channel(1), mpsc::channel(1));
        let (out, err) = (Box::new(std::io::sink()), Box::new(std::io::sink()));
        let mut carrier = command.carrier(input, control, out, err, false, ClosedOutput::Stop);
        let CarryOutcome::Ended(exit) = carrier.carry(&mut channel).await? else {
            return Err(Error::Lost("a command has no watchers".into()));
        };
        assert_eq!(exit.code, Some(0), "true");
        CommandCarrier::release(&mut channel).await?;
        runs += 1;
        if Instant::now() >= until {
            return Ok(runs);
        }
        request.send_further(&mut channel).await?;
    }
}
