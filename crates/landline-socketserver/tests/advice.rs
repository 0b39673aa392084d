//! What the compiler says about common mistakes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::{
    env,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The library that was built for this test, which is the newest.
fn library() -> PathBuf {
    let folder = env::current_exe().unwrap().parent().unwrap().to_owned();
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let libraries = files.filter(|file| {
        let name = file.file_name().into_string().unwrap_or_default();
        name.starts_with("liblandline_socketserver-") && name.ends_with(".rlib")
    });
    libraries
        .max_by_key(|file| file.metadata().unwrap().modified().unwrap())
        .unwrap()
        .path()
}

/// The errors of the compiler for a function with this body.
fn errors(body: &str) -> String {
    let library = library();
    let folder = library.parent().unwrap();
    let mut compiler = Command::new("rustc")
        // It writes the long names of types into files.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
        ])
        .args(["--crate-name", "mistake", "-o", "-", "-"])
        .arg("--extern")
        .arg(format!("landline_socketserver={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", folder.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!(
        "#![allow(unused_imports)]
         use landline_socketserver::{{*, blocking::*, datagram::*, framing::*, memory, tasks::*}};
         use std::{{io, net::{{TcpListener, TcpStream, UdpSocket}}}};
         fn blocking(_: &mut TcpConnection) -> io::Result<()> {{ Ok(()) }}
         async fn task(_: &mut TaskTcpConnection) -> io::Result<()> {{ Ok(()) }}
         fn serve(tcp: TcpListener, udp: UdpSocket, stop: &Shutdown) {{ {body} }}"
    );
    compiler
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = compiler.wait_with_output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn compiler_gives_advice() {
    let mistakes = [
        // The argument is right, and the result is not.
        (
            "async fn handler(_: &mut TcpConnection) -> io::Result<()> { Ok(()) }
             Server::new(tcp, handler).threads(stop);",
            "call `tasks` instead",
        ),
        (
            "fn handler(_: &mut TaskTcpConnection) -> io::Result<()> { Ok(()) }
             Server::new(tcp, handler).tasks(stop);",
            "call `pooled_tasks` or `threads`",
        ),
        (
            "async fn handler(_: &Datagram<'_>, _: &mut Outbox<'_>) -> io::Result<()> { Ok(()) }
             DatagramServer::new(udp, handler).inline(stop);",
            "for an `async fn`, call `tasks`",
        ),
        (
            "fn handler(_: Datagram<'static>, _: Outlet) -> io::Result<()> { Ok(()) }
             DatagramServer::new(udp, handler).tasks(stop);",
            "for a blocking function, call `inline` or `threads`",
        ),
        (
            "let wrapper = |stream: Timed<TcpStream>| async { Ok(stream) };
             Server::new(tcp, blocking).wrap(wrapper).threads(stop);",
            "needs a closure that returns a future",
        ),
        // The argument is another: the compiler prints the signature.
        (
            "Server::new(tcp, task).threads(stop);",
            "&'a mut Connection<Timed<TcpStream>>",
        ),
        (
            "Server::new(tcp, blocking).tasks(stop);",
            "&mut TaskConnection<TaskTimed<",
        ),
        // No function at all, or no handler that can be cloned.
        ("Server::new(tcp, 7).threads(stop);", "write `fn handler("),
        ("Server::new(tcp, 7).tasks(stop);", "write `async fn handler("),
        (
            "struct Echo; Server::new(tcp, Echo).processes(Processes::Each, stop);",
            "implement `blocking::Handler` for a type that is `Clone`",
        ),
        // The wrong kind of socket.
        (
            "Server::new(udp, blocking).threads(stop);",
            "use `DatagramServer`",
        ),
        (
            "DatagramServer::new(tcp, |_: &Datagram<'_>, _: &mut Outbox<'_>| Ok(())).inline(stop);",
            "Bind::new().udp(",
        ),
        (
            "let (memory, _) = memory::listener().unwrap();
             Server::new(memory, |_: &mut UnixConnection| Ok(())).processes(Processes::Each, stop);",
            "or another model",
        ),
        (
            "let _ = Framed::new(io::Cursor::new(vec![0]), 7);",
            "use `SizedFrames` or `JsonFrames`",
        ),
        ("Stopper::new().unwrap().0;", "keep it, or use `Shutdown::never`"),
    ];
    let mut missing = Vec::new();
    for (body, advice) in mistakes {
        let errors = errors(body);
        if !errors.contains(advice) {
            missing.push(format!("{body}\nlacks {advice}:\n{errors}"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
