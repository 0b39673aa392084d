//! `landline demo`: the main job on this machine, with a real server and clients as processes.

use std::{
    env, io,
    path::PathBuf,
    process::{Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use landline::paths::{TempDir, is_root};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
    streams::OutputStream,
    terminal::bytes,
};

/// The source, the copy on the server, and the copy back.
const COPIES: u64 = 3;

/// Run a self-contained demo on this machine
///
/// Starts a server and a client in a temporary folder, copies random data in both directions, runs
/// a command on the server, and removes everything.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline demo --size 64")]
pub(crate) struct Demo {
    /// Size of the data, in MiB
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    size: u64,
}

impl Run for Demo {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let folder = Arc::new(TempDir::create(&env::temp_dir())?);
        let stop = signals::stop()?;
        let done = tokio::select! {
            done = Stage::play(context.out.clone(), folder.clone(), self.size << 20) => done,
            () = stop => Err(Failure::interrupted()),
        };
        // A thread may still be writing into the folder; that ends it too.
        folder.remove();
        done.map(|()| ExitStatus::SUCCESS)
    }
}

/// A temporary folder with a server and the state folders of two clients. Dropping it ends the
/// server.
struct Stage {
    out: OutputStream,
    server: Child,
    address: String,
    invite: String,
    folder: Arc<TempDir>,
    rows: Vec<[String; 3]>,
}

impl Stage {
    async fn play(out: OutputStream, folder: Arc<TempDir>, size: u64) -> Result<(), Failure> {
        out.print(&format!(
            "making {} of random bytes in {}",
            bytes(size),
            folder.path().display()
        ));
        let noise = folder.clone();
        let source = tokio::task::spawn_blocking(move || noise.random_file("source", size, COPIES))
            .await
            .map_err(|error| Failure::local(error.to_string()))?;
        let source = source?.display().to_string();
        let mut stage = Self::set_up(out.clone(), folder).await?;

        stage.join().await?;
        let there = format!("landline://{}/copy", stage.address);
        let back = stage.folder.path().join("back").display().to_string();
        let up = stage.copy("a file there", size, &source, &there).await?;
        let down = stage.copy("and back", size, &there, &back).await?;
        if up != down {
            return Err(Failure::local(format!(
                "the digests differ: {up} and {down}"
            )));
        }
        stage.run_command().await?;
        stage.refuse_wrong_fingerprint().await?;
        stage.tear_down().await?;
        let rows = std::mem::take(&mut stage.rows);
        drop(stage);
        out.print(&format!(
            "\n{}\nboth ways    {up}\nleft behind  nothing",
            format_table(&rows)
        ));
        Ok(())
    }

    async fn set_up(out: OutputStream, folder: Arc<TempDir>) -> Result<Self, Failure> {
        let home = folder.create_folder("home")?;
        let mut command = landline_command()?;
        // Flags, so that this machine's settings do not matter.
        command.args([
            "serve",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--public-name",
            "127.0.0.1",
        ]);
        command.arg("--home").arg(&home);
        if is_root() {
            command.arg("--allow-root");
        }
        command
            .env("HOME", home)
            .env("LANDLINE_STATE", folder.path().join("server"));
        let mut server = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = server.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            stdout.read_line(&mut line).await.map_err(failed)?;
            // Discard the server's events, so that it never blocks on a full pipe.
            tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await });
        }
        let started: serde_json::Value = serde_json::from_str(&line)
            .map_err(|_| Failure::local("the server did not start; see its output above"))?;
        let text = |key: &str| {
            started
                .get(key)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        out.print(&format!(
            "server       {}  {}",
            text("listening"),
            text("fingerprint")
        ));
        let invite = landline::paths::read_secret_file(&PathBuf::from(text("invite_file")), 4096)
            .map_err(failed)?;
        let invite = String::from_utf8_lossy(&invite).trim().to_owned();
        Ok(Self {
            out,
            server,
            address: text("listening"),
            invite,
            folder,
            rows: Vec::new(),
        })
    }

    /// Runs a client with its state in the folder `state`, and `input` as standard input.
    async fn run_client(
        &self,
        state: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<Output, Failure> {
        let mut command = landline_command()?;
        command
            .args(arguments)
            .env("LANDLINE_STATE", self.folder.path().join(state));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.map_err(failed)?;
        }
        child.wait_with_output().await.map_err(failed)
    }

    async fn join(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let joined = self
            .run_client("client", &["join", "-", "--as", "demo"], &self.invite)
            .await?;
        expect_status(&joined, 0)?;
        self.rows.push([
            "join by invite".into(),
            String::new(),
            format_seconds(start.elapsed()),
        ]);
        Ok(())
    }

    /// Copies, and returns the digest that the client printed.
    async fn copy(
        &mut self,
        what: &str,
        size: u64,
        from: &str,
        to: &str,
    ) -> Result<String, Failure> {
        let start = Instant::now();
        let copied = self.run_client("client", &["cp", from, to], "").await?;
        expect_status(&copied, 0)?;
        let elapsed = start.elapsed();
        let rate = size as f64 / elapsed.as_secs_f64().max(0.001);
        self.rows.push([
            what.to_owned(),
            format!("{}/s", bytes(rate as u64)),
            format_seconds(elapsed),
        ]);
        let line = String::from_utf8_lossy(&copied.stdout).into_owned();
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Runs a command in the home of the user on the server, which has the copy.
    async fn run_command(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let host = format!("landline://{}", self.address);
        let ran = self
            .run_client("client", &["run", &host, "--", "ls", "copy"], "")
            .await?;
        expect_status(&ran, 0)?;
        if ran.stdout != b"copy\n" {
            return Err(Failure::local("the command has another output"));
        }
        self.rows.push([
            "a command there (ls)".into(),
            String::from_utf8_lossy(&ran.stdout).trim_end().to_owned(),
            format_seconds(start.elapsed()),
        ]);
        Ok(())
    }

    /// Joins with an invite that expects another certificate at this address.
    async fn refuse_wrong_fingerprint(&mut self) -> Result<(), Failure> {
        let (before, token) = self.invite.rsplit_once('.').unwrap_or_default();
        let (address, _) = before.split_once('#').unwrap_or_default();
        let forged = format!("{address}#{}.{token}", "0".repeat(64));
        self.out
            .print("\na client that expects another server prints:");
        let start = Instant::now();
        let refused = self
            .run_client("stranger", &["join", "-", "--as", "demo"], &forged)
            .await?;
        expect_status(&refused, 11)?;
        self.rows.push([
            "a wrong fingerprint".into(),
            "refused".into(),
            format_seconds(start.elapsed()),
        ]);
        Ok(())
    }

    async fn tear_down(&mut self) -> Result<(), Failure> {
        self.server.kill().await.map_err(failed)
    }
}

/// This program, to be run as another process.
fn landline_command() -> Result<Command, Failure> {
    let mut command = Command::new(env::current_exe().map_err(failed)?);
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

fn expect_status(output: &Output, expected: i32) -> Result<(), Failure> {
    match output.status.code() {
        Some(status) if status == expected => Ok(()),
        other => Err(Failure::local(format!(
            "a step ended with {other:?} instead of {expected}; see its output above"
        ))),
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::local(error.to_string())
}

fn format_seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn format_table(rows: &[[String; 3]]) -> String {
    let lines = rows
        .iter()
        .map(|[what, result, time]| format!("{what:<20} {result:>14} {time:>10}"));
    lines.collect::<Vec<_>>().join("\n")
}
